"""Emitter and AuditTrail: call the hooks `on_event` and `on_audit`."""

import time
from asyncio import CancelledError
from collections.abc import Callable
from types import CoroutineType
from typing import ClassVar, Final, Generic, TypeVar

from fastapi_stepup._log import logger
from fastapi_stepup._options import is_plain_function
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.events import AuditRecord, Event

SLOW_HOOK: Final = 0.05

Item = TypeVar("Item")


class Hooks(Generic[Item]):
    """Calls the user's hooks, one after the other.

    - A hook is called in line, in order, on the thread where the thing happens.
    - A hook that raises changes nothing: its item is dropped, and one warning is logged. The hooks
      after it are called.
    - A hook that takes longer than 50 ms is reported once in the log. It holds its caller up each
      time, so it should only count, or put the item into a queue of its own.

    Args:
        hooks: A plain function of one item, a list or tuple of such, or `None`. A coroutine would
            not be awaited.

    Raises:
        ConfigurationError: A hook is not callable, or is a coroutine function.
    """

    __slots__ = ("_warned", "hooks")

    option: ClassVar[str]

    def __init__(self, hooks: object = None) -> None:
        given = hooks if isinstance(hooks, (list, tuple)) else () if hooks is None else (hooks,)
        for hook in given:
            if not is_plain_function(hook):
                msg = (
                    f"{self.option} takes a plain function of one argument, or a list of such; "
                    "it is called in line."
                )
                raise ConfigurationError(msg)
        self.hooks: tuple[Callable[[Item], object], ...] = tuple(given)
        self._warned: set[tuple[int, str]] = set()

    def __bool__(self) -> bool:
        return bool(self.hooks)

    def __call__(self, item: Item) -> None:
        """Call each hook with *item*. Never raises an `Exception`."""
        for position, hook in enumerate(self.hooks):
            started = time.perf_counter()
            try:
                result = hook(item)
            except (Exception, CancelledError):  # noqa: BLE001  # it must not change a decision
                self._warn_once(position, "failed")
            else:
                if isinstance(result, CoroutineType):
                    result.close()
                    self._warn_once(position, "returned a coroutine, which is not awaited")
            if time.perf_counter() - started > SLOW_HOOK:
                self._warn_once(position, "took longer than 50 ms, and requests wait for it")

    def _warn_once(self, position: int, problem: str) -> None:
        if (position, problem) not in self._warned:
            self._warned.add((position, problem))
            logger.warning("The %s hook %s; this is not logged again.", self.option, problem)


class Emitter(Hooks[Event]):
    """Calls the hooks of `on_event` with events; see `Hooks`."""

    __slots__ = ()

    option = "on_event"


class AuditTrail(Hooks[AuditRecord]):
    """Calls the hooks of `on_audit` with records; see `Hooks`."""

    __slots__ = ()

    option = "on_audit"

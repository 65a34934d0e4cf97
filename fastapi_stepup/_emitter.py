"""Emitter: calls the `on_event` hook."""

import time
from asyncio import CancelledError
from inspect import iscoroutinefunction
from types import CoroutineType
from typing import Final

from fastapi_stepup._log import logger
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.events import Event, EventHook

SLOW_HOOK: Final = 0.05


class Emitter:
    """Calls the user's hook with events.

    - A hook is called in line, in order, on the thread where the event happens.
    - A hook that raises changes nothing: its event is dropped, and one warning is logged.
    - A hook that takes longer than 50 ms is reported once in the log. It holds its caller up each
      time, so it should only count, or put the event into a queue of its own.

    Args:
        hook: Called with each event, or `None`. A plain function: a coroutine would not be awaited.

    Raises:
        ConfigurationError: *hook* is not callable, or is a coroutine function.
    """

    __slots__ = ("_warned", "hook")

    def __init__(self, hook: EventHook | None = None) -> None:
        called = getattr(hook, "__call__", None)  # noqa: B004  # its type tells, not that it exists
        if hook is not None and (
            not callable(hook) or iscoroutinefunction(hook) or iscoroutinefunction(called)
        ):
            msg = "on_event takes a plain function of one event; it is called in line."
            raise ConfigurationError(msg)
        self.hook: EventHook | None = hook
        self._warned: set[str] = set()

    def __bool__(self) -> bool:
        return self.hook is not None

    def __call__(self, event: Event) -> None:
        """Call the hook with *event*, if there is one. Never raises an `Exception`."""
        hook = self.hook
        if hook is None:
            return
        started = time.perf_counter()
        try:
            result = hook(event)
        except (Exception, CancelledError):  # noqa: BLE001  # A hook must not change a decision.
            self._warn_once("failed")
        else:
            if isinstance(result, CoroutineType):
                result.close()
                self._warn_once("returned a coroutine, which is not awaited")
        if time.perf_counter() - started > SLOW_HOOK:
            self._warn_once("took longer than 50 ms, and requests wait for it")

    def _warn_once(self, problem: str) -> None:
        if problem not in self._warned:
            self._warned.add(problem)
            logger.warning("The on_event hook %s; this is not logged again.", problem)

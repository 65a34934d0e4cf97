"""Emitter: calls the `on_event` hook."""

import os
import time
from asyncio import CancelledError
from collections.abc import Callable
from functools import partial
from inspect import iscoroutinefunction
from queue import SimpleQueue
from threading import Thread
from types import CoroutineType
from typing import Final

from fastapi_stepup._log import logger
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.events import Event, EventHook

SLOW_HOOK: Final = 0.05
MAX_WAITING_EVENTS: Final = 1000


class Emitter:
    """Hands events to the user's hook, which can neither break nor hold up what it watches.

    A hook is called in line. One that raises is complained about once in the log, and its event is
    dropped. One that takes longer than 50 ms holds its caller up that one time: from then on a
    thread of its own calls it, in order, from a queue of 1000 events; what does not fit is dropped.

    Args:
        hook: Called with each event, or `None`. A plain function: nobody would await a coroutine.

    Raises:
        ConfigurationError: *hook* is not callable, or is a coroutine function.
    """

    __slots__ = ("_complaints", "_courier", "hook")

    def __init__(self, hook: EventHook | None = None) -> None:
        called = getattr(hook, "__call__", None)  # noqa: B004  # its type tells, not that it exists
        if hook is not None and (
            not callable(hook) or iscoroutinefunction(hook) or iscoroutinefunction(called)
        ):
            msg = "on_event takes a plain function of one event; it is called in line."
            raise ConfigurationError(msg)
        self.hook: EventHook | None = hook
        self._complaints: set[str] = set()
        self._courier: _Courier | None = None

    def __bool__(self) -> bool:
        return self.hook is not None

    def __call__(self, event: Event) -> None:
        """Give *event* to the hook, if there is one; never raises."""
        hook = self.hook
        if hook is None:
            return
        if self._courier is not None:
            self._courier.take(event)
            return
        started = time.perf_counter()
        self._call(hook, event)
        if time.perf_counter() - started > SLOW_HOOK:
            self._complain("is slow, so that a thread of its own calls it from here on")
            self._courier = _Courier(partial(self._call, hook))

    def _call(self, hook: EventHook, event: Event) -> None:
        try:
            result = hook(event)
        except (Exception, CancelledError):  # noqa: BLE001  # no hook may touch a verdict
            self._complain("failed")
        else:
            if isinstance(result, CoroutineType):
                result.close()
                self._complain("returned a coroutine, which nobody awaits")

    def _complain(self, what: str) -> None:
        if what not in self._complaints:
            self._complaints.add(what)
            logger.warning("The on_event hook %s; this is not logged again.", what)


class _Courier:
    """Calls a slow hook from a thread that never keeps the program from ending."""

    def __init__(self, call: Callable[[Event], None]) -> None:
        self._call = call
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._queue: SimpleQueue[Event] = SimpleQueue()
        Thread(target=self._deliver, name="fastapi-stepup-events", daemon=True).start()

    def take(self, event: Event) -> None:
        if self._process != os.getpid():
            self._start()  # A fork leaves threads behind.
        if self._queue.qsize() < MAX_WAITING_EVENTS:
            self._queue.put(event)

    def _deliver(self) -> None:
        while True:
            self._call(self._queue.get())

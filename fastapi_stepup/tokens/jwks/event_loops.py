"""Event loops: the running one, calls into another one, and tasks that wait together."""

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

import anyio

WOKEN_AT_ONCE: Final = 16
LET_IN_AT_ONCE: Final = 500


def running_loop() -> object | None:
    """Return the running event loop: asyncio's loop, trio's token, or nothing."""
    if _is_trio():
        token: object = sys.modules["trio.lowlevel"].current_trio_token()
        return token
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _is_trio() -> bool:
    # Another thread may be importing it at this moment: then this one is not in trio.
    is_trio: bool = getattr(sys.modules.get("trio.lowlevel"), "in_trio_task", bool)()
    return is_trio


def is_closed(loop: Any) -> bool:
    """Return whether *loop* is closed; trio's ends its tasks first and never counts as closed."""
    return isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed()


def call_soon(loop: Any, function: Callable[[], object]) -> bool:
    """Have *loop* call *function*; return whether the loop took it. Any thread may ask."""
    is_asyncio = isinstance(loop, asyncio.AbstractEventLoop)
    schedule = loop.call_soon_threadsafe if is_asyncio else loop.run_sync_soon
    try:
        schedule(function)
    except RuntimeError:  # closed; trio's RunFinishedError is one too
        return False
    return True


def spawn(
    run: Callable[[], Coroutine[Any, Any, None]], on_end: Callable[[], object]
) -> "asyncio.Task[None] | None":
    """Start *run* as a task of the running loop, with none of the caller's context variables.

    *on_end* is called at the end of an asyncio task, even if it is cancelled before it runs at
    all. A trio task always runs up to its first checkpoint, so that its own `finally` is enough.

    Returns:
        The asyncio task, to which the loop keeps no reference.
    """
    loop = running_loop()
    if not isinstance(loop, asyncio.AbstractEventLoop):
        sys.modules["trio.lowlevel"].spawn_system_task(run)
        return None
    task = loop.create_task(run(), context=Context())
    task.add_done_callback(lambda _: on_end())
    return task


class Waiters:
    """Tasks of one event loop that wait for one thing, woken a few at a time.

    Each one that wakes wakes the next one: if thousands woke in one turn of the loop, whatever
    they go on to do would hold up everything else in it.
    """

    def __init__(self, loop: object) -> None:
        self.loop = loop
        self._waiting: OrderedDict[anyio.Event, None] = OrderedDict()
        self._released = anyio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def are_released(self) -> bool:
        """Return whether `release` was called."""
        return self._released.is_set()

    async def wait(self) -> None:
        """Wait for `release`."""
        if self._released.is_set():
            return
        event = anyio.Event()
        self._waiting[event] = None
        try:
            await event.wait()
        finally:
            self._waiting.pop(event, None)
            # Even if it was cancelled in the same turn: the next one relies on it.
            if event.is_set():
                self._wake_next()

    async def wait_up_to(self, seconds: float) -> None:
        """Wait for `release` ahead of the others, but no longer than *seconds*."""
        with anyio.move_on_after(seconds):
            await self._released.wait()

    def release(self) -> None:
        """Wake all, in order; to be called in their event loop."""
        if not self._released.is_set():
            self._released.set()
            for _ in range(WOKEN_AT_ONCE):
                self._wake_next()

    def _wake_next(self) -> None:
        if self._waiting:
            event, _ = self._waiting.popitem(last=False)
            event.set()


class Slices:
    """Lets tasks through in slices, in order, one slice in each turn of the event loop.

    Thousands of tasks may start in one turn. If each did at once what comes next, nothing else
    would run in that loop until the last one had done it.

    Tasks of several loops count together, so one may wait for some turns more than it has to.
    """

    def __init__(self) -> None:
        # Adding and discarding are atomic; a number that threads count with would drift.
        self._waiting: set[object] = set()

    async def enter(self) -> None:
        """Wait for the next turn of the event loop that has a place."""
        place = object()
        self._waiting.add(place)
        try:
            for _ in range(1 + (len(self._waiting) - 1) // LET_IN_AT_ONCE):
                # On asyncio without anyio: thousands of tasks come by here in one turn.
                await (anyio.lowlevel.checkpoint() if _is_trio() else asyncio.sleep(0))
        finally:
            self._waiting.discard(place)

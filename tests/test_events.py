"""The event hook: told everything, and unable to break or hold up what it watches."""

import asyncio
import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, get_args

import pytest

from fastapi_stepup._emitter import MAX_WAITING_EVENTS, SLOW_HOOK, Emitter
from fastapi_stepup.errors import ConfigurationError, FailureReason, RejectReason
from fastapi_stepup.events import (
    Event,
    FetchStarted,
    TokenRejected,
    UnknownKid,
    printable_kid,
)

EVENT = FetchStarted(1)


async def _coroutine_function(event: Event) -> None:
    """A hook that nobody would await."""


class _AsynchronousHook:
    """An object that is called like a coroutine function."""

    async def __call__(self, event: Event) -> None:
        """Never run."""


def test_a_hook_gets_every_event_in_order() -> None:
    """In line, as it happens."""
    seen: list[Event] = []
    emit = Emitter(seen.append)
    assert emit
    emit(EVENT)
    emit(TokenRejected(RejectReason.EXPIRED))
    assert seen == [EVENT, TokenRejected(RejectReason.EXPIRED)]


def test_no_hook_is_no_cost() -> None:
    """Without a hook an emitter is false, so that events need not even be made."""
    emit = Emitter()
    assert not emit
    emit(EVENT)


@pytest.mark.parametrize(
    "hook",
    [
        pytest.param(_coroutine_function, id="JW-086-async"),
        pytest.param(functools.partial(_coroutine_function), id="JW-086-async-partial"),
        pytest.param(_AsynchronousHook(), id="JW-086-async-object"),
        pytest.param("print", id="text"),
        pytest.param(7, id="number"),
    ],
)
def test_what_cannot_be_called_in_line_is_refused(hook: Any) -> None:
    """An asynchronous hook fails at construction: its events would be lost."""
    with pytest.raises(ConfigurationError, match="on_event takes a plain function"):
        Emitter(hook)


@pytest.mark.parametrize("events", [pytest.param(2, id="JW-086-async-in-disguise")])
def test_a_hook_that_is_asynchronous_in_disguise_is_complained_about(
    events: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The coroutine is closed, so that nothing warns of it later, and it is told once."""
    emit = Emitter(lambda _: _coroutine_function(EVENT))
    for _ in range(events):
        emit(EVENT)
    assert [record.getMessage() for record in caplog.records] == [
        "The on_event hook returned a coroutine, which nobody awaits; this is not logged again."
    ]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ValueError("secret"), id="JW-086-raises"),
        pytest.param(RecursionError(), id="JW-086-recursion"),
        pytest.param(MemoryError(), id="JW-086-memory"),
        pytest.param(asyncio.CancelledError(), id="JW-086-cancelled"),
        pytest.param(ExceptionGroup("many", [OSError()]), id="JW-086-group"),
    ],
)
def test_a_hook_that_raises_is_complained_about_once(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, without the error's text; later events are still handed over."""
    calls: list[Event] = []

    def explode(event: Event) -> None:
        calls.append(event)
        raise error

    emit = Emitter(explode)
    for _ in range(3):
        emit(EVENT)
    assert calls == [EVENT] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "The on_event hook failed; this is not logged again."
    ]


def test_a_hook_may_end_the_program() -> None:
    """What is not an error passes: an interrupt is not ours to swallow."""

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Emitter(interrupt)(EVENT)


def test_a_hook_may_cause_events() -> None:
    """A hook that runs into itself ends at the stack's limit, and its caller goes on."""
    emit: Emitter

    def again(event: Event) -> None:
        emit(event)

    emit = Emitter(again)
    emit(EVENT)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("events", [pytest.param(80, id="JW-086-slow")])
def test_a_slow_hook_holds_its_caller_up_once(
    events: int, caplog: pytest.LogCaptureFixture
) -> None:
    """From the second event on a thread calls it, in order, and the caller goes on at once."""
    seen: list[Event] = []
    threads: set[str] = set()
    pause = [SLOW_HOOK * 1.2]

    def dawdle(event: Event) -> None:
        time.sleep(pause[0])
        seen.append(event)
        threads.add(threading.current_thread().name)

    emit = Emitter(dawdle)
    emit(FetchStarted(0))
    assert threads == {threading.current_thread().name}
    started = time.perf_counter()
    pause[0] = 0.01
    for number in range(1, events):
        emit(FetchStarted(number))
    assert time.perf_counter() - started < 0.3
    _wait_for(lambda: len(seen) == events)
    assert seen == [FetchStarted(number) for number in range(events)]
    assert "fastapi-stepup-events" in threads
    assert len(caplog.records) == 1


def test_a_hook_that_hangs_costs_bounded_memory() -> None:
    """What does not fit into the queue is dropped."""
    hanging, first = threading.Event(), threading.Event()
    seen: list[Event] = []

    def hang(event: Event) -> None:
        if first.is_set():
            hanging.wait(5)
        else:
            first.set()
            time.sleep(SLOW_HOOK * 1.2)
        seen.append(event)

    emit = Emitter(hang)
    emit(EVENT)
    for _ in range(3 * MAX_WAITING_EVENTS):
        emit(EVENT)
    hanging.set()
    _wait_for(lambda: len(seen) >= MAX_WAITING_EVENTS)
    assert len(seen) <= MAX_WAITING_EVENTS + 2


def test_a_courier_starts_again_in_a_forked_child() -> None:
    """A fork leaves the thread behind; the child gets one of its own."""
    seen: list[Event] = []
    first: list[float] = [SLOW_HOOK * 1.2]

    def dawdle(event: Event) -> None:
        time.sleep(first.pop() if first else 0)
        seen.append(event)

    emit = Emitter(dawdle)
    emit(EVENT)
    courier = emit._courier
    assert courier is not None
    parents = courier._queue
    courier._process -= 1
    emit(EVENT)
    _wait_for(lambda: len(seen) == 2)
    assert courier._queue is not parents
    assert parents.empty()


@pytest.mark.parametrize(
    ("kid", "printed"),
    [
        pytest.param("SK2abc", "SK2abc", id="plain"),
        pytest.param("a\nb\r\x1b[31m", "a\\nb\\r\\x1b[31m", id="OB-002"),
        pytest.param("x" * 300, "x" * 64, id="OB-002-long"),
        pytest.param("\n" * 64, "\\n" * 32, id="OB-002-long-when-escaped"),
        pytest.param("\u202egpj", "\\u202egpj", id="OB-002-bidi"),
        pytest.param("\ud800", "\\ud800", id="OB-002-surrogate"),
        pytest.param("it's", "it's", id="quote"),
        pytest.param("both ' and \"", "both \\' and \"", id="quotes"),
    ],
)
def test_a_kid_is_made_fit_for_a_log_line(kid: str, printed: str) -> None:
    """Escaped and cut: one line, ASCII, at most 64 characters."""
    assert printable_kid(kid) == printed
    assert len(printable_kid(kid)) <= 64


BOUNDED = {int, float, bool, FailureReason, RejectReason}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=f"OB-003-{kind.__name__}") for kind in get_args(Event)]
)
def test_every_field_of_an_event_is_bounded(kind: type[Event]) -> None:
    """Numbers, enums, and words from a fixed list; `kid` is the one exception, for logs."""
    for field in dataclasses.fields(kind):
        words = get_args(field.type)
        closed = field.type in BOUNDED or (words and all(isinstance(word, str) for word in words))
        named_by_us = (kind.__name__, field.name) in {
            ("UnknownKid", "kid"),
            ("KeySkipped", "reason"),
            ("ReportOnly", "code"),
        }
        assert closed or named_by_us


def test_an_event_cannot_be_changed() -> None:
    """Hooks share nothing with validation."""
    event = UnknownKid("negative", "k")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.kid = "x"  # type: ignore[misc]


def test_the_package_logs_under_one_name() -> None:
    """Applications can tune or silence it as a whole."""
    assert logging.getLogger("fastapi_stepup").handlers == []

"""The event hook: it gets every event and can neither change nor break a decision."""

import asyncio
import functools
import threading
import time
from typing import Any

import pytest

from fastapi_stepup._emitter import SLOW_HOOK, AuditTrail, Emitter
from fastapi_stepup.errors import ConfigurationError, RejectReason
from fastapi_stepup.events import AuditRecord, Event, FetchStarted, TokenRejected

EVENT = FetchStarted(1)


async def _coroutine_function(event: Event) -> None:
    """A hook that is not awaited."""


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
def test_a_hook_that_is_asynchronous_in_disguise_is_reported_once(
    events: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The coroutine is closed, so that Python warns of nothing later; one line is logged."""
    emit = Emitter(lambda _: _coroutine_function(EVENT))
    for _ in range(events):
        emit(EVENT)
    assert [record.getMessage() for record in caplog.records] == [
        "The on_event hook returned a coroutine, which is not awaited; this is not logged again."
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
def test_a_hook_that_raises_is_reported_once(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, without the error's text; later events still reach the hook."""
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
    """An interrupt is no error of the hook and passes."""

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


def test_a_slow_hook_is_reported_once_and_stays_in_line(caplog: pytest.LogCaptureFixture) -> None:
    """Each event waits for the hook, in order and on the caller's own thread."""
    seen: list[tuple[Event, int]] = []

    def dawdle(event: Event) -> None:
        time.sleep(0.06)
        seen.append((event, threading.get_ident()))

    emit = Emitter(dawdle)
    for number in range(3):
        emit(FetchStarted(number))

    assert seen == [(FetchStarted(number), threading.get_ident()) for number in range(3)]
    assert [record.getMessage() for record in caplog.records] == [
        "The on_event hook took longer than 50 ms, and requests wait for it; "
        "this is not logged again."
    ]


def test_each_hook_of_a_list_is_called_and_watched_on_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that raises does not keep the event from the next one; each is reported once."""
    seen: list[Event] = []

    def explode(event: Event) -> None:
        raise ValueError

    emit = Emitter([explode, seen.append, explode])
    emit(EVENT)
    emit(EVENT)

    assert seen == [EVENT, EVENT]
    assert len(caplog.records) == 2


def test_audit_trail_is_called_as_events_are(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the option that the hook was given to."""

    def explode(record: AuditRecord) -> None:
        raise ValueError

    AuditTrail(explode)(AuditRecord(1.0, "access", "refused"))

    assert [record.getMessage() for record in caplog.records] == [
        "The on_audit hook failed; this is not logged again."
    ]
    with pytest.raises(ConfigurationError, match="on_audit takes a plain function"):
        AuditTrail([explode, "text"])


def test_a_hook_of_less_than_50_ms_is_not_slow(caplog: pytest.LogCaptureFixture) -> None:
    """The bound is the documented one."""
    Emitter(lambda _: time.sleep(0.02))(EVENT)

    assert SLOW_HOOK == 0.05
    assert caplog.records == []

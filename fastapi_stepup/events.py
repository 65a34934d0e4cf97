"""Typed events for operators: what validation did, without tokens, addresses or user ids.

Every field has low cardinality or is a number, so an event can become a metric as it is. The one
exception is `kid`, which comes from a token: it is escaped and cut to 64 characters, for logs only.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from fastapi_stepup.errors import RejectReason

logger: Final = logging.getLogger("fastapi_stepup")

_KID_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class FetchStarted:
    """A key set fetch began; `attempt` counts from 1 within one refresh."""

    attempt: int


@dataclass(frozen=True, slots=True)
class FetchSucceeded:
    """A key set is in force: how long it took (seconds), what it holds and what changed."""

    duration: float
    keys: int
    added: int
    removed: int
    changed: int
    size: int


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A key set fetch failed; the previous set stays. `next_try` is seconds from now."""

    reason: str
    attempt: int
    next_try: float


@dataclass(frozen=True, slots=True)
class KeySkipped:
    """A member of the key set is not used; `alarming` when it should never be published."""

    reason: str
    alarming: bool = False


@dataclass(frozen=True, slots=True)
class StaleServed:
    """A key of a set past its soft limit was served; `age` in seconds."""

    age: float


@dataclass(frozen=True, slots=True)
class HardExpired:
    """The key set passed its hard limit: nothing is verified until a fetch succeeds."""

    age: float


@dataclass(frozen=True, slots=True)
class UnknownKid:
    """A token named a key that the set lacks, and what was done about it."""

    outcome: Literal["fetched", "joined", "negative", "throttled", "failed"]
    kid: str


@dataclass(frozen=True, slots=True)
class TokenRejected:
    """A token was refused."""

    reason: RejectReason


@dataclass(frozen=True, slots=True)
class TokenCache:
    """The verdict cache answered, missed or dropped entries."""

    outcome: Literal["hit", "miss", "evict"]


@dataclass(frozen=True, slots=True)
class ReportOnly:
    """A request passed that would have been refused; `code` is the problem code."""

    code: str


Event = (
    FetchStarted
    | FetchSucceeded
    | FetchFailed
    | KeySkipped
    | StaleServed
    | HardExpired
    | UnknownKid
    | TokenRejected
    | TokenCache
    | ReportOnly
)
EventHook = Callable[[Event], object]


class Emitter:
    """Hands events to the user's hook, which can neither break nor hold up what it watches.

    A hook is called in line, so it should only count or enqueue. What it raises is logged once
    and dropped; a coroutine function is refused, since nobody would await it.

    Args:
        hook: Called with each event, or `None`.

    Raises:
        TypeError: *hook* is not callable, or is a coroutine function.
    """

    __slots__ = ("_complained", "hook")

    def __init__(self, hook: EventHook | None = None) -> None:
        from inspect import iscoroutinefunction  # noqa: PLC0415  # slow to import, rarely needed

        if hook is not None and (not callable(hook) or iscoroutinefunction(hook)):
            msg = "on_event takes a plain function of one event; it is called in line."
            raise TypeError(msg)
        self.hook = hook
        self._complained = False

    def __bool__(self) -> bool:
        return self.hook is not None

    def __call__(self, event: Event) -> None:
        """Give *event* to the hook, if there is one; never raises."""
        if self.hook is None:
            return
        try:
            self.hook(event)
        except Exception:  # noqa: BLE001  # whatever a hook raises must not touch a verdict
            if not self._complained:
                self._complained = True
                logger.warning("The on_event hook failed; further failures are not logged.")


def printable_kid(kid: str) -> str:
    """Return *kid* fit for a log line: escaped, at most 64 characters."""
    return ascii(kid[:_KID_LENGTH])[1:-1][:_KID_LENGTH]

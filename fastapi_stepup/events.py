"""Typed events for operators: what validation did, without tokens, addresses or user ids.

Every field has low cardinality or is a number, so an event can become a metric as it is. The one
exception is `kid`, which comes from a token: it is escaped and cut to 64 characters, for logs only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from fastapi_stepup.errors import FailureReason, RejectReason

_KID_LENGTH: Final = 64

KidOutcome = Literal["fetched", "negative", "throttled", "failed"]


@dataclass(frozen=True, slots=True)
class FetchStarted:
    """A key set fetch began; `attempt` counts from 1 within one refresh."""

    attempt: int


@dataclass(frozen=True, slots=True)
class FetchSucceeded:
    """A key set is in force: how long it took (seconds), what it holds and what changed.

    `keys` is how many are usable; `added`, `removed` and `changed` compare with the set before, by
    `kid`; `size` is the body in bytes, 0 when the server said that nothing has changed.
    """

    duration: float
    keys: int
    added: int
    removed: int
    changed: int
    size: int


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A refresh failed, retry included; the previous set stays.

    `attempt` counts the failures since the last success, `next_try` is seconds from now.
    """

    reason: FailureReason
    attempt: int
    next_try: float


@dataclass(frozen=True, slots=True)
class KeySkipped:
    """A member of the key set is not used; `alarming` when it should never be published.

    Told when the members that are skipped change, not at every refresh.
    """

    reason: str
    alarming: bool = False


@dataclass(frozen=True, slots=True)
class StaleServed:
    """A set past its soft limit is being served; told once a second at most. `age` in seconds."""

    age: float


@dataclass(frozen=True, slots=True)
class HardExpired:
    """The key set passed its hard limit: nothing is verified until a fetch succeeds; told once."""

    age: float


@dataclass(frozen=True, slots=True)
class UnknownKid:
    """A token named a key that the set lacks, and what was done about it.

    `fetched`: a fetch sent since does not have it either; `negative`: that was so a moment ago;
    `throttled`: too many were asked for; `failed`: the fetch failed, or it is too early for one.
    """

    outcome: KidOutcome
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


def printable_kid(kid: str) -> str:
    """Return *kid* fit for a log line: escaped, at most 64 characters."""
    return ascii(kid[:_KID_LENGTH])[1:-1][:_KID_LENGTH]

"""Event classes for operators, without tokens, addresses or user ids.

Each field is a number or has few values, so an event can become a metric as it is. The exception is
`kid`, which comes from a token: it is escaped and cut to 64 characters, for logs only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from fastapi_stepup.errors import FailureReason, RejectReason

_KID_LENGTH: Final = 64

KidOutcome = Literal["fetched", "negative", "throttled", "failed"]


@dataclass(frozen=True, slots=True)
class FetchStarted:
    """A fetch of the key set began; `attempt` counts from 1 within one refresh."""

    attempt: int


@dataclass(frozen=True, slots=True)
class FetchSucceeded:
    """A key set was fetched and is in use.

    `duration` is in seconds. `keys` counts the usable ones; `added`, `removed` and `changed`
    compare with the set before, by `kid`. `size` is the body in bytes, 0 after a 304.
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
    """A member of the key set is skipped; `alarming` if it should never have been published.

    Emitted when the skipped members change, not at every refresh.
    """

    reason: str
    alarming: bool = False


@dataclass(frozen=True, slots=True)
class StaleServed:
    """A stale set is served: once a second at most. `age` is in seconds."""

    age: float


@dataclass(frozen=True, slots=True)
class HardExpired:
    """The key set expired: nothing is verified until a fetch succeeds. Once per outage."""

    age: float


@dataclass(frozen=True, slots=True)
class UnknownKid:
    """A token names a key that the set lacks.

    - `fetched`: a set that was fetched for it lacks it too.
    - `negative`: such a fetch lacked it a moment ago.
    - `throttled`: too many unknown keys were asked for.
    - `failed`: the fetch failed, or it is too early for the next one.
    """

    outcome: KidOutcome
    kid: str


@dataclass(frozen=True, slots=True)
class TokenRejected:
    """A token was rejected."""

    reason: RejectReason


@dataclass(frozen=True, slots=True)
class TokenCache:
    """The cache of verified tokens had an entry, had none, or dropped some."""

    outcome: Literal["hit", "miss", "evict"]


@dataclass(frozen=True, slots=True)
class ReportOnly:
    """Report-only mode let a request pass; `code` is the problem code of the refusal."""

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

"""Events for operators, without tokens, addresses or user ids, and records for auditors.

Each field is a number or has few values, so an event can become a metric as it is. The exception is
`kid`, which comes from a token: it is escaped and cut to 64 characters, for logs only.

*Decision events* are the ones from `StepUpAsked` on: what entry points and helper routes decided.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fastapi_stepup.errors import FailureReason, RejectReason

_KID_LENGTH: Final = 64

KidOutcome = Literal["fetched", "negative", "throttled", "failed"]
EntryPointName = Literal["dependency", "middleware", "decorator", "handler"]
AskedReason = Literal[
    "step_up_missing", "step_up_expired", "step_up_used", "amr_missing", "acr_missing"
]
MethodName = Literal["otp", "totp", "magiclink", "enchantedlink", "passkey", "oauth", "sso", "notp"]
FinishOutcome = Literal["finished", "refused", "failed"]
LimitedStep = Literal["start", "try", "public_try", "poll"]
OneTimeOutcome = Literal["spent", "given_back", "used", "busy", "unavailable"]


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


@dataclass(frozen=True, slots=True)
class StepUpAsked:
    """A valid session was refused because a step-up is missing.

    `reason` is the first unmet requirement of the nearest alternative. `entry_point` is where the
    refusal was made; `handler` stands for calls of `guard.authorize`.
    """

    reason: AskedReason
    entry_point: EntryPointName


@dataclass(frozen=True, slots=True)
class StepUpMet:
    """A session met a policy; `age` of its step-up is in seconds, by the guard's clock."""

    age: float


@dataclass(frozen=True, slots=True)
class StepUpStarted:
    """A helper route sent a code or link, or gave out a challenge or a provider's address."""

    method: MethodName


@dataclass(frozen=True, slots=True)
class StepUpFinished:
    """A helper route was asked to finish a step-up.

    - `finished`: the session is stepped up.
    - `refused`: the proof or the caller was not good enough (4xx).
    - `failed`: Descope, keys or a hook could not be asked (5xx).

    `duration` is that of this request in seconds, not of the user's way to it. A poll that has
    nothing yet is no event.
    """

    method: MethodName
    outcome: FinishOutcome
    duration: float


@dataclass(frozen=True, slots=True)
class RateLimited:
    """A limit of the helper routes was reached (`StepUpLimits`); `what` was not let through."""

    what: LimitedStep


@dataclass(frozen=True, slots=True)
class OneTimeUse:
    """A one-time step-up was used, or could not be.

    - `spent`: the request it was for has succeeded.
    - `given_back`: that request failed, so the step-up is still good.
    - `used`: it was spent before; the request was refused.
    - `busy`: another request holds it; this one was refused.
    - `unavailable`: the store could not be asked; the request was refused.

    `purpose` is the name that the route declares.
    """

    purpose: str
    outcome: OneTimeOutcome


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
    | StepUpAsked
    | StepUpMet
    | StepUpStarted
    | StepUpFinished
    | RateLimited
    | OneTimeUse
)
EventHook = Callable[[Event], object]
EventHooks = EventHook | Sequence[EventHook]

AuditAction = Literal["access", "start", "finish", "one_time"]
AuditOutcome = Literal["succeeded", "refused", "failed", "reported"]


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One decision about a caller, for an audit trail.

    - `access`: a policy was met, or a request was refused. A session that passes where no step-up
      is asked for leaves no record.
    - `start`, `finish`: a helper route began a step-up, or ended one.
    - `one_time`: a one-time step-up was spent, given back, or could not be used.

    Never holds a token, a code, an address, a path's values or a query.

    Attributes:
        time: Epoch seconds, by the guard's clock.
        action: As above.
        outcome: `reported` in report-only mode; `failed` where something could not be asked (5xx).
        subject: The user: a keyed digest, or `sub` as it is with `audit_subjects="plain"`. `None`
            where no token says it.
        issuer: The issuer of the session.
        purpose: The declared purpose of a one-time step-up.
        method: The method of a helper route.
        reason: Why it did not succeed: an unmet requirement (`step_up_expired`), a
            `RejectReason`, or a problem code.
        route: The template of the route's path (`/orders/{order_id}`).
        request_id: `X-Request-ID`, else the trace id of `traceparent`; the caller chooses both.
    """

    time: float
    action: AuditAction
    outcome: AuditOutcome
    subject: str | None = None
    issuer: str | None = None
    purpose: str | None = None
    method: str | None = None
    reason: str | None = None
    route: str | None = None
    request_id: str | None = None


AuditHook = Callable[[AuditRecord], object]
AuditHooks = AuditHook | Sequence[AuditHook]


def printable_kid(kid: str) -> str:
    """Return *kid* fit for a log line: escaped, at most 64 characters."""
    return ascii(kid[:_KID_LENGTH])[1:-1][:_KID_LENGTH]

"""Decisions: reports what entry points and helper routes decide, as events and audit records."""

import hmac
import re
import secrets
from collections.abc import Callable
from typing import Any, Final, Literal, cast, get_args

from starlette.exceptions import WebSocketException
from starlette.requests import HTTPConnection

from fastapi_stepup._emitter import AuditTrail, Emitter
from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._options import one_of
from fastapi_stepup.claims import CLAIMS_SCOPE_KEY, Claims
from fastapi_stepup.errors import (
    ConfigurationError,
    ImpersonationRefused,
    InvalidToken,
    StepUpError,
    StepUpRequired,
)
from fastapi_stepup.events import (
    AskedReason,
    AuditAction,
    AuditOutcome,
    AuditRecord,
    EntryPointName,
    StepUpAsked,
    StepUpMet,
)
from fastapi_stepup.guard.refusals import ClosedWebSocket
from fastapi_stepup.guard.request_state import asked_policies
from fastapi_stepup.guard.route_policies import serving_route
from fastapi_stepup.policy.policy import StepUpPolicy

AuditSubjects = Literal["digest", "plain"]

_SHORTEST_KEY: Final = 16
_DIGEST: Final = 32  # hexadecimal digits: 128 bits
_SERVER_ERROR: Final = 500
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:@=+/-]{1,128}")
_TRACE: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


class Decisions(SetOnce):
    """Reports decisions to the hooks of one guard.

    - Costs nothing where no hook is given: callers ask `active` first.
    - Never changes or breaks a decision; see `Hooks`.

    Args:
        guard: The guard that decides.
        emit: Called with each event.
        audit: Called with each record.
        subjects: How records name the user.
        key: Keys the digests of users, at least 16 bytes. By default a random one: digests of one
            process can then be compared with each other, and with nothing else.
        clock: Gives epoch seconds.

    Raises:
        ConfigurationError: *subjects* is unknown, or *key* is too short or no text.
    """

    def __init__(
        self,
        guard: object,
        *,
        emit: Emitter,
        audit: AuditTrail,
        subjects: AuditSubjects,
        key: str | bytes | None,
        clock: Callable[[], float],
    ) -> None:
        self.active: bool = bool(emit) or bool(audit)
        self.emit: Emitter = emit
        self.audit: AuditTrail = audit
        self._guard = guard
        self._plain: bool = one_of("audit_subjects", subjects, get_args(AuditSubjects)) == "plain"
        self._key: bytes = _checked_key(key)
        self._clock = clock

    def met(self, connection: HTTPConnection, policy: StepUpPolicy, claims: Claims) -> None:
        """Report that *claims* met *policy*, unless the same was reported for this connection."""
        if policy in (asked_policies(connection, self._guard) or ()):
            return
        if self.emit:
            self.emit(StepUpMet(_age_of(claims, self._clock())))
        self.record(connection, "access", "succeeded", claims=claims)

    def refused(
        self,
        connection: HTTPConnection,
        error: StepUpError | WebSocketException,
        entry_point: EntryPointName,
        *,
        reported: bool = False,
    ) -> None:
        """Report a refusal.

        Args:
            connection: The request or WebSocket.
            error: Why it is refused. Other errors than ours are no decision.
            entry_point: Which entry point refuses it.
            reported: True if report-only mode lets it pass all the same.
        """
        error = error.refusal if isinstance(error, ClosedWebSocket) else error
        if not self.active or not isinstance(error, StepUpError):
            return
        claims = None
        if isinstance(error, (StepUpRequired, ImpersonationRefused)):
            claims = connection.scope.get(CLAIMS_SCOPE_KEY, {}).get(self._guard)
        reason = reason_of(error)
        if isinstance(error, StepUpRequired) and not reported:
            self.emit(StepUpAsked(cast("AskedReason", reason), entry_point))
        outcome = "reported" if reported else outcome_of(error)
        self.record(connection, "access", outcome, claims=claims, reason=reason)

    def record(
        self,
        connection: HTTPConnection,
        action: AuditAction,
        outcome: AuditOutcome,
        *,
        claims: Claims | None = None,
        method: str | None = None,
        purpose: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Give a record to the hooks of `on_audit`, if there are any.

        Args:
            connection: The request or WebSocket that was decided about.
            action: The kind of decision.
            outcome: Its outcome.
            claims: The session or refresh token's claims, if they were verified.
            method: The method of a helper route.
            purpose: The purpose of a one-time step-up.
            reason: Why it did not succeed.
        """
        if not self.audit:
            return
        self.audit(
            AuditRecord(
                time=self._clock(),
                action=action,
                outcome=outcome,
                subject=None if claims is None else self._subject(claims),
                issuer=None if claims is None else claims.issuer,
                purpose=purpose,
                method=method,
                reason=reason,
                route=getattr(serving_route(connection.scope), "path", None),
                request_id=_request_id(connection),
            )
        )

    def _subject(self, claims: Claims) -> str:
        if self._plain:
            return claims.subject
        named = f"{claims.issuer}\0{claims.subject}".encode(errors="backslashreplace")
        return hmac.digest(self._key, named, "sha256").hex()[:_DIGEST]


def _age_of(claims: Claims, now: float) -> float:
    """Return the age of the step-up in seconds, as `max_age` counts it; never below 0."""
    proved = claims.evidence.proved_at
    return max(0.0, now - (claims.issued_at if proved is None else proved))


def reason_of(error: StepUpError) -> str:
    """Return the reason of a refusal in a word: an unmet requirement, a rejection, or the code."""
    if isinstance(error, StepUpRequired):
        first = error.members["unmet"][0]
        return f"{first['requirement']}_{first['reason']}"
    return error.reason.value if isinstance(error, InvalidToken) else error.code


def outcome_of(error: StepUpError) -> Literal["refused", "failed"]:
    """Return `failed` where something could not be asked, else `refused`."""
    return "failed" if error.status >= _SERVER_ERROR else "refused"


def _request_id(connection: HTTPConnection) -> str | None:
    """Return what names the request in other logs, if it is harmless."""
    given = connection.headers.get("x-request-id", "")
    if _REQUEST_ID.fullmatch(given):
        return given
    trace = _TRACE.fullmatch(connection.headers.get("traceparent", ""))
    return None if trace is None else trace[1]


def _checked_key(key: Any) -> bytes:
    if key is None:
        return secrets.token_bytes(_SHORTEST_KEY * 2)
    encoded = key.encode() if isinstance(key, str) else key
    if not isinstance(encoded, bytes) or len(encoded) < _SHORTEST_KEY:
        del key, encoded  # Error reports show the variables of each frame.
        msg = f"audit_key is a secret of at least {_SHORTEST_KEY} bytes, as text or bytes."
        raise ConfigurationError(msg)
    return encoded

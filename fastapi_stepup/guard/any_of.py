"""any_of: several guards as one, where the issuer of a token chooses among them."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, NoReturn, Self
from weakref import WeakValueDictionary

from starlette.requests import HTTPConnection

from fastapi_stepup._json import parse_object
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ConfigurationError, InvalidToken, RejectReason, Unauthenticated
from fastapi_stepup.events import TokenRejected
from fastapi_stepup.guard.credentials import Credential, CredentialReader
from fastapi_stepup.guard.guard import GuardHealth, StepUpGuard
from fastapi_stepup.guard.refusals import Refusals
from fastapi_stepup.guard.step_up_endpoints import StepUpEndpoints
from fastapi_stepup.tokens.jws import decode_segment
from fastapi_stepup.tokens.verifier import TokenVerifier

_LONGEST_TOKEN: Final = 64 * 1024
_SEGMENTS: Final = 3

# The same guards are one guard, so that `any_of(a, b)` may be written out at each route.
_made: "Final[WeakValueDictionary[tuple[int, ...], AnyOfGuards]]" = WeakValueDictionary()


def any_of(*guards: StepUpGuard) -> StepUpGuard:
    """Return a guard that lets in what any of *guards* lets in.

    ```python
    Fresh = Annotated[Claims, Depends(RequireStepUp(any_of(customers, staff), max_age="5m"))]
    ```

    - The issuer in the token chooses the guard. That alone is read before the token is verified, so
      a token of another issuer causes no fetch. Everything else the chosen guard decides.
    - A token in a cookie is taken only for a guard that reads that cookie.
    - Policies ask for what tokens of all of them can prove.
    - Challenges name the realm of the first guard, and the helper routes of the session's own.
    - Decisions are reported to the hooks of the first guard; each one reports its own keys and
      tokens.
    - The same guards in the same order give the same object.

    Args:
        *guards: Guards of different issuers; one of several is taken apart.

    Raises:
        ConfigurationError: There is none, one is no guard, two are for the same issuer, or only
            some of them are in report-only mode.
    """
    members: dict[StepUpGuard, None] = {}
    for guard in guards:
        if not isinstance(guard, StepUpGuard):
            msg = f"any_of takes guards, not {type(guard).__name__}."
            raise ConfigurationError(msg)
        members.update(dict.fromkeys(guard.members))
    if not members:
        msg = "any_of takes at least one guard."
        raise ConfigurationError(msg)
    listed = tuple(members)
    if len(listed) == 1:
        return listed[0]
    key = tuple(map(id, listed))  # They are alive as long as what is kept under it.
    return _made.get(key) or _made.setdefault(key, AnyOfGuards(listed))


class AnyOfGuards(StepUpGuard):
    """Several guards as one; made by `any_of`."""

    def __init__(self, guards: tuple[StepUpGuard, ...]) -> None:
        _check_members(guards)
        first = guards[0]
        self._members = guards
        super().__init__(
            verifier=IssuerSwitch(guards),
            descope=None,
            credentials=AnyOfReader(guards),
            parts_on=_refuse_transport,
            realm=first.realm,
            resource_metadata=first.refusals.resource_metadata,
            report_only=first.report_only,
            on_event=first.decisions.emit,
            on_audit=first.decisions.audit.hooks,
            one_time=first.one_time.store,
            one_time_lease=first.one_time.lease,
            clock=first.clock,
        )

    @property
    def members(self) -> tuple[StepUpGuard, ...]:  # type: ignore[override]  # others than itself
        """The guards that it stands for."""
        return self._members

    def _make_refusals(self, **options: Any) -> Refusals:
        return _AnyOfRefusals(self._members, **options)

    def health(self) -> GuardHealth:
        """Return the state of the guard that is worst off."""
        states = [guard.health() for guard in self._members]
        return next((state for state in states if not state.ok), states[0])

    async def __aenter__(self) -> Self:
        for guard in self._members:
            await guard.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for guard in self._members:
            await guard.__aexit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"any_of({', '.join(map(repr, self._members))})"


class IssuerSwitch(TokenVerifier):
    """Verifies a token with the guard whose issuer it names."""

    def __init__(self, guards: tuple[StepUpGuard, ...]) -> None:
        self._guards = guards
        verifiers = [guard.verifier for guard in guards]
        self.issuers: frozenset[str] = frozenset().union(*(each.issuers for each in verifiers))
        self.leeway: float = min(each.leeway for each in verifiers)
        self.marks_step_up: bool = all(each.marks_step_up for each in verifiers)

    async def verify(self, token: str) -> Claims:
        """Return the claims of a token that the chosen guard verifies; see `TokenVerifier`."""
        guard = chosen(self._guards, token)
        if guard is None:
            del token
            raise _foreign(self._guards)
        pending = guard.verifier.verify(token)
        # Reports of uncaught errors show the local variables of each frame.
        del token
        return await pending

    async def verify_refresh(self, token: str) -> Claims:
        """Reject: refresh tokens belong to the helper routes of one guard.

        Raises:
            InvalidToken: Always.
        """
        del token
        raise InvalidToken(RejectReason.NOT_A_SESSION)

    def accepts_issuer(self, issuer: str) -> bool:
        """Return whether one of the guards does."""
        return any(guard.verifier.accepts_issuer(issuer) for guard in self._guards)

    def clear(self) -> None:
        """Empty the cache of each guard."""
        for guard in self._guards:
            guard.verifier.clear()

    def forget(self, subject: str) -> None:
        """Drop the cached tokens of *subject* in each guard."""
        for guard in self._guards:
            guard.verifier.forget(subject)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(repr(g.verifier) for g in self._guards)})"


class AnyOfReader(CredentialReader):
    """Finds the token of a connection with the reader of the guard that it is for."""

    def __init__(self, guards: tuple[StepUpGuard, ...]) -> None:
        cookies = [guard.credentials.session_cookie for guard in guards]
        super().__init__(
            session_cookie=next((name for name in cookies if name is not None), None),
            refresh_cookie=None,
        )
        self._guards = guards

    def read(self, connection: HTTPConnection) -> Credential:
        """Return the token, by the first guard whose reader finds one of its own issuer.

        Raises:
            Unauthenticated: No reader finds any.
            InvalidToken: A token was found, and none of the issuer of the guard that reads it.
            InvalidRequest: As the reader that says so.
            CrossSiteRequest: As the reader that says so.
        """
        has_token = False
        for guard in self._guards:
            try:
                credential = guard.credentials.read(connection)
            except Unauthenticated:
                continue
            if chosen((guard,), credential.token) is not None:
                return credential
            has_token = True
        # Not given on to be judged by another guard, which may not read that cookie.
        raise _foreign(self._guards) if has_token else Unauthenticated

    def has_token_field(self, connection: HTTPConnection) -> bool:
        """Return whether one of the readers sees a field with a token."""
        return any(guard.credentials.has_token_field(connection) for guard in self._guards)


class _AnyOfRefusals(Refusals):
    """Refusals that point to the helper routes of the guard whose session was refused."""

    def __init__(self, guards: tuple[StepUpGuard, ...], **options: Any) -> None:
        super().__init__(**options)
        self._guards = guards

    @property
    def endpoints(self) -> tuple[StepUpEndpoints, ...]:
        """The helper routers of all guards."""
        return tuple(each for guard in self._guards for each in guard.refusals.endpoints)

    def endpoints_for(self, claims: Claims | None) -> tuple[StepUpEndpoints, ...]:
        """Return the helper routers of the guard whose claims these are."""
        if claims is None:
            return self.endpoints
        return tuple(
            each
            for guard in self._guards
            if guard.verifier.accepts_issuer(claims.issuer)
            for each in guard.refusals.endpoints
        )


def chosen(guards: Iterable[StepUpGuard], token: Any) -> StepUpGuard | None:
    """Return the guard whose issuer *token* names. The token is not verified yet."""
    issuer = _issuer_in(token)
    if issuer is None:
        return None
    return next((guard for guard in guards if guard.verifier.accepts_issuer(issuer)), None)


def _foreign(guards: tuple[StepUpGuard, ...]) -> InvalidToken:
    """Report a token of no listed issuer, and return the error to raise."""
    guards[0].decisions.emit(TokenRejected(RejectReason.ISSUER))
    return InvalidToken(RejectReason.ISSUER)


def _issuer_in(token: Any) -> str | None:
    """Return the `iss` of a compact JWS, as far as it can be read."""
    if not isinstance(token, str) or len(token) > _LONGEST_TOKEN or not token.isascii():
        return None
    segments = token.split(".", _SEGMENTS)
    payload = decode_segment(segments[1].encode()) if len(segments) == _SEGMENTS else None
    members = None if payload is None else parse_object(payload)
    issuer = None if members is None else members.get("iss")
    return issuer if isinstance(issuer, str) else None


def _refuse_transport(transport: object) -> NoReturn:  # noqa: ARG001  # none would do
    msg = "Attach an emulator to each of the guards in any_of(…), not to all of them at once."
    raise ConfigurationError(msg)


def _check_members(guards: tuple[StepUpGuard, ...]) -> None:
    for guard in guards:
        for other in guards:
            if guard is not other and any(
                map(guard.verifier.accepts_issuer, other.verifier.issuers)
            ):
                msg = (
                    f"{guard!r} and {other!r} take tokens of the same issuer, so it cannot choose "
                    "between them: make one guard of both."
                )
                raise ConfigurationError(msg)
    if len({guard.report_only for guard in guards}) > 1:
        msg = "Either all guards in any_of(…) are in report-only mode, or none is."
        raise ConfigurationError(msg)

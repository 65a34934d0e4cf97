"""The response to a finished step-up: verify the new session, answer it as body or cookies."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fastapi_stepup._log import logger
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import DescopeError, InvalidToken, SubjectMismatch
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.providers.descope.responses import DescopeTokens
from fastapi_stepup.router.cookies import CookieWriter
from fastapi_stepup.router.schemas import SteppedUpSession

Source = Literal["body", "cookie"]


@dataclass(frozen=True, slots=True, repr=False)
class Caller:
    """The user who steps up, and the way in which their tokens came.

    Args:
        claims: The claims of the session; of the refresh token where *has_session* is false.
        has_session: False if the session ran out on the way and the refresh token says who it is.
        session_by: How the session token came, or should go back. A header counts as the body.
        refresh_by: How the refresh token came; `None` if none came.
        refresh_token: The refresh token, if it is a good one of this user.
    """

    claims: Claims
    has_session: bool = True
    session_by: Source = "body"
    refresh_by: Source | None = None
    refresh_token: str | None = None

    @property
    def user_id(self) -> str:
        """Descope's id of the user."""
        return user_id(self.claims)


async def session_response(
    guard: StepUpGuard,
    request: Request,
    caller: Caller,
    tokens: DescopeTokens,
    cookies: CookieWriter,
) -> Response:
    """Verify the tokens of a finished step-up and answer each the way the caller's own came.

    - The new session must be valid, stepped up and the caller's: same `iss`, same `sub`.
    - A new refresh token must belong to the same user.
    - No token is passed on before all of them are checked.
    - A token becomes a cookie only if the one it replaces was a cookie.
    - Members of the session that did not survive the step-up are named in `lost`.

    Args:
        guard: Verifies.
        request: The caller's request.
        caller: The user, and how the tokens came.
        tokens: The tokens that Descope handed out.
        cookies: Sets the cookies.

    Raises:
        SubjectMismatch: It is another user's session.
        DescopeError: The session is not valid or not stepped up.
        KeysUnavailable: It cannot be verified at the moment.
    """
    session = await _verified(guard.verifier.verify(tokens.session_token))
    _check_owner(session, caller)
    if not session.stepped_up or session.impersonated:
        raise DescopeError
    names, now = guard.credentials, guard.clock()
    expires_in = max(0, int(session.expires_at - now))
    refresh_expires_in = 0
    if tokens.refresh_token is not None:
        refresh = await _verified(guard.verifier.verify_refresh(tokens.refresh_token))
        if user_id(refresh) != caller.user_id:
            raise SubjectMismatch
        if refresh.impersonated:
            raise DescopeError
        refresh_expires_in = max(0, int(refresh.expires_at - now))
    # With header sessions only, a session that ran out may still come back with a refresh cookie.
    session_cookie = caller.session_by == "cookie" and names.session_cookie is not None
    refresh_cookie = caller.refresh_by == "cookie"
    answer = SteppedUpSession(
        session_token=None if session_cookie else tokens.session_token,
        refresh_token=None if refresh_cookie else tokens.refresh_token,
        expires_at=int(session.expires_at),
        expires_in=expires_in,
        subject=session.subject,
        lost=_lost(session, caller),
    )
    response = JSONResponse(answer.model_dump(exclude=set() if answer.lost else {"lost"}))
    if session_cookie:
        by_script = caller.refresh_by == "body"
        cookies.set_session(
            response, request, tokens.session_token, expires_in, by_script=by_script
        )
    if refresh_cookie and tokens.refresh_token is not None:
        cookies.set_refresh(response, request, tokens.refresh_token, refresh_expires_in)
    return response


def user_id(claims: Claims) -> str:
    """Return Descope's id of the user: `dsub` where a JWT template overrides `sub`."""
    real = claims.get("dsub")
    return real if isinstance(real, str) and real else claims.subject


def _check_owner(session: Claims, caller: Caller) -> None:
    """Raise `SubjectMismatch` unless *session* is the caller's."""
    if user_id(session) != caller.user_id:
        raise SubjectMismatch
    mine = caller.claims
    # A refresh token's `sub` and `iss` may differ: JWT templates change the session token alone.
    if caller.has_session and (session.issuer, session.subject) != (mine.issuer, mine.subject):
        raise SubjectMismatch


def _lost(session: Claims, caller: Caller) -> list[Literal["tenant", "custom_claims"]]:
    """Return what the caller's session had and the new one has not, and log it."""
    lost: list[Literal["tenant", "custom_claims"]] = []
    if caller.claims.get("dct") != session.get("dct") and caller.claims.get("dct"):
        lost.append("tenant")
    if caller.claims.get("nsec") != session.get("nsec") and caller.claims.get("nsec"):
        lost.append("custom_claims")
    if lost:
        logger.warning("Descope did not keep what the session had: %s.", ", ".join(lost))
    return lost


async def _verified(verification: Awaitable[Claims]) -> Claims:
    """Turn "your token is bad" into "Descope's answer is bad": the caller did nothing wrong."""
    try:
        return await verification
    except InvalidToken:
        pass
    raise DescopeError

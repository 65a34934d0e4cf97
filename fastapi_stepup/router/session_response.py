"""The response to a finished step-up: verify the new session, answer it as body or cookies."""

from collections.abc import Awaitable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import DescopeError, InvalidToken, SubjectMismatch
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.providers.descope.responses import DescopeTokens
from fastapi_stepup.router.schemas import SteppedUpSession


async def session_response(
    guard: StepUpGuard,
    request: Request,
    caller: Claims,
    tokens: DescopeTokens,
    *,
    refresh_by_cookie: bool = False,
    cookie_domain: str | None = None,
) -> Response:
    """Verify the tokens of a finished step-up and answer them the way the caller's own came.

    - The new session must be valid, stepped up and the caller's: same `iss`, same `sub`.
    - A new refresh token must belong to the same user.
    - No token is passed on before all of them are checked.

    Args:
        guard: Verifies.
        request: The caller's request.
        caller: The session that it presented.
        tokens: The tokens that Descope handed out.
        refresh_by_cookie: True if the caller's refresh token came as a cookie and not in the
            body. The new one is a cookie then, even if the session came in the header: no script
            may see a token that was kept from scripts.
        cookie_domain: `Domain` of the cookies.

    Raises:
        SubjectMismatch: It is another user's session.
        DescopeError: The session is not valid or not stepped up.
        KeysUnavailable: It cannot be verified at the moment.
    """
    session = await _verified(guard.verifier.verify(tokens.session_token))
    if (session.issuer, session.subject, user_id(session)) != (
        caller.issuer,
        caller.subject,
        user_id(caller),
    ):
        raise SubjectMismatch
    if not session.stepped_up or session.impersonated:
        raise DescopeError
    names, now = guard.credentials, guard.clock()
    expires_in = max(0, int(session.expires_at - now))
    by_cookie = names.read(request).source == "cookie"
    answer = SteppedUpSession(
        session_token=tokens.session_token,
        refresh_token=tokens.refresh_token,
        expires_at=int(session.expires_at),
        expires_in=expires_in,
        subject=session.subject,
    )
    cookies: list[tuple[str, str, int]] = []
    if by_cookie and names.session_cookie is not None:
        cookies.append((names.session_cookie, tokens.session_token, expires_in))
        answer.session_token = None
    if tokens.refresh_token is not None:
        refresh = await _verified(guard.verifier.verify_refresh(tokens.refresh_token))
        if user_id(refresh) != user_id(caller):
            raise SubjectMismatch
        if refresh.impersonated:
            raise DescopeError
        if names.refresh_cookie is not None and (by_cookie or refresh_by_cookie):
            lifetime = max(0, int(refresh.expires_at - now))
            cookies.append((names.refresh_cookie, tokens.refresh_token, lifetime))
            answer.refresh_token = None
    response = JSONResponse(answer.model_dump())
    for name, value, lifetime in cookies:
        response.set_cookie(
            name,
            value,
            max_age=lifetime,
            path="/",
            domain=cookie_domain,
            secure=True,
            httponly=True,
            samesite="lax",
        )
    return response


def user_id(claims: Claims) -> str:
    """Return Descope's id of the user: `dsub` where a JWT template overrides `sub`."""
    real = claims.get("dsub")
    return real if isinstance(real, str) and real else claims.subject


async def _verified(verification: Awaitable[Claims]) -> Claims:
    """Turn "your token is bad" into "Descope's answer is bad": the caller did nothing wrong."""
    try:
        return await verification
    except InvalidToken:
        pass
    raise DescopeError

"""StepUpFlow: who the caller is, limits, and the end of a step-up; shared by all methods."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fastapi_stepup._secret import Secret
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import (
    DeliveryUnavailable,
    ImpersonationRefused,
    InvalidBody,
    InvalidToken,
    NoStepUpMethod,
    RefreshTokenRequired,
    SubjectMismatch,
)
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.request_state import kept_token
from fastapi_stepup.providers.descope.requests import KeptClaims
from fastapi_stepup.providers.descope.responses import DescopeTokens, DescopeUser
from fastapi_stepup.router.cookies import CookieWriter
from fastapi_stepup.router.rate_limits import Limiter
from fastapi_stepup.router.schemas import Pending, StepUpRequestBody
from fastapi_stepup.router.session_response import Caller, Source, session_response, user_id


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """The caller as Descope knows them.

    Args:
        user: The user of the refresh token, who is the caller.
        refresh_token: The refresh token that they step up with.
        kept: What the step-up should keep of the session.
    """

    user: DescopeUser
    refresh_token: str
    kept: KeptClaims


class StepUpFlow:
    """The steps that the methods of one router share: identify, count, finish.

    Args:
        guard: Authorizes the callers and talks to Descope.
        limiter: Counts; `None` counts nothing.
        redirect_uris: Pages that links and providers may send the user back to.
        enroll_uri: Page where a user without a usable method can enrol one.
        cookies: Sets the cookies of a finished step-up.
        can_step_up: Returns true if any method of the router is usable by the user.
    """

    def __init__(
        self,
        guard: StepUpGuard,
        *,
        limiter: Limiter | None,
        redirect_uris: tuple[str, ...],
        enroll_uri: str | None,
        cookies: CookieWriter,
        can_step_up: Callable[[DescopeUser], bool],
    ) -> None:
        self.guard = guard
        self.limiter = limiter
        self.redirect_uris = redirect_uris
        self.enroll_uri = enroll_uri
        self.cookies = cookies
        self._can_step_up = can_step_up

    def caller_with_session(
        self, request: Request, claims: Claims, body: StepUpRequestBody
    ) -> Caller:
        """Return the caller whose session has these claims.

        A refresh token that is not a good one of the same user is left out here: `begin` and
        `attempt` refuse it, and steps that need none go on without it.

        Raises:
            InvalidRequest: The refresh cookie comes twice.
        """
        # A token that the app gave to `authorize` came in neither.
        is_given = kept_token(request, self.guard) is not None
        source = "body" if is_given else self.guard.credentials.read(request).source
        caller = Caller(claims, session_by="cookie" if source == "cookie" else "body")
        token = self._refresh_token(request, body)
        if token is None:
            return caller
        return replace(
            caller, refresh_token=token, refresh_by="body" if body.refresh_token else "cookie"
        )

    async def caller_by_refresh_token(self, request: Request, body: StepUpRequestBody) -> Caller:
        """Return the caller whose session ran out: the user of their refresh token.

        Nothing is read from the session token, so it need not be a real one. A refresh token gives
        a new session at Descope anyway, so this opens nothing that is closed to its holder.

        Raises:
            RefreshTokenRequired: No refresh token came.
            CrossSiteRequest: It came as a cookie, without evidence that a page of ours sent it.
            InvalidToken: It is no good one.
            ImpersonationRefused: It is an impersonator's.
            KeysUnavailable: It cannot be verified at the moment.
        """
        token = self._refresh_token(request, body)
        if token is None:
            raise RefreshTokenRequired
        by_cookie = not body.refresh_token
        if by_cookie:
            self.guard.credentials.require_same_origin(request)
        claims = await self.guard.verifier.verify_refresh(token)
        refuse_impersonated(claims)
        way: Source = "cookie" if by_cookie else "body"
        return Caller(
            claims,
            has_session=False,
            # The browser drops a session cookie when it runs out, so its absence says nothing.
            session_by="body" if self.guard.credentials.has_token_field(request) else way,
            refresh_by=way,
            refresh_token=token,
        )

    async def begin(self, request: Request, caller: Caller, name: str) -> Identity:
        """Identify the caller, and count a code or link that is about to be sent.

        Counted for the refresh token, and for its user once Descope said that it honours it: a
        revoked one spends nothing of its user.

        Raises:
            TooManyAttempts: Too much was sent already.
            RefreshTokenRequired: No refresh token came.
            ImpersonationRefused: The refresh token is an impersonator's.
            SubjectMismatch: The refresh token belongs to another user.
        """
        refresh_token = await self._own_refresh_token(caller)
        await self._count_start(request, _name_of(refresh_token), name)
        identity = await self._identity(caller, refresh_token)
        await self._count_start(None, caller.user_id, name)
        return identity

    async def attempt(self, request: Request, caller: Caller) -> Identity:
        """Identify the caller, and count a code that is about to be tried; raises as `begin`."""
        refresh_token = await self._own_refresh_token(caller)
        await self._count_try(request, _name_of(refresh_token))
        identity = await self._identity(caller, refresh_token)
        await self._count_try(None, caller.user_id)
        return identity

    async def redeem(self, request: Request, caller: Caller) -> None:
        """Count a proof that is about to be tried and names its user itself.

        Without a good refresh token it counts apart: who holds a session token alone cannot spend
        the tries of its user.

        Raises:
            TooManyAttempts: Too many were tried.
            InvalidToken: The session ran out, and Descope no longer honours the refresh token.
            SubjectMismatch: The session ran out, and the refresh token is another user's.
        """
        if caller.has_session:
            await self._count_try(request, await self._counted_as(caller))
        else:
            await self.attempt(request, caller)

    async def poll(self, caller: Caller) -> None:
        """Count a question to Descope that neither sends nor tries anything.

        Raises:
            TooManyAttempts: It was asked too often.
            InvalidToken: As `redeem`.
            SubjectMismatch: As `redeem`.
        """
        if caller.has_session:
            await self._count_poll(await self._counted_as(caller))
            return
        await self._asked_identity(caller)

    async def redeem_publicly(self, request: Request) -> None:
        """Count a proof that an unknown caller is about to try.

        Raises:
            TooManyAttempts: Too many were tried from the same address.
        """
        if self.limiter is not None:
            await self.limiter.count_public_try(address=self.limiter.address_of(request))

    async def identify(self, caller: Caller) -> DescopeUser:
        """Return the user of the refresh token, who must be the caller, and count a question.

        Raises:
            TooManyAttempts: Descope was asked too often.
            RefreshTokenRequired: No refresh token came.
            ImpersonationRefused: It is an impersonator's.
            SubjectMismatch: It belongs to another user.
        """
        return (await self._asked_identity(caller)).user

    def refuse_unusable(self, user: DescopeUser) -> None:
        """Refuse a user who cannot step up by the method they asked for.

        Raises:
            NoStepUpMethod: No other method here is usable either.
            DeliveryUnavailable: Another method is.
        """
        if not self._can_step_up(user):
            raise NoStepUpMethod(enroll_uri=self.enroll_uri)
        raise DeliveryUnavailable

    def redirect_uri(self, asked: str | None) -> str:
        """Return the page to send the user back to: one of the configured URIs, exactly.

        Raises:
            InvalidBody: *asked* is not one of them.
        """
        if asked is None:
            return self.redirect_uris[0]
        if asked not in self.redirect_uris:
            raise InvalidBody([{"field": "redirect_uri", "problem": "not_allowed"}])
        return asked

    async def finish(self, request: Request, caller: Caller, tokens: DescopeTokens) -> Response:
        """Return the response to a finished step-up; see `session_response`."""
        return await session_response(self.guard, request, caller, tokens, self.cookies)

    async def finish_poll(
        self, request: Request, caller: Caller, tokens: DescopeTokens | None
    ) -> Response:
        """Return the response to a poll: 202 while there are no tokens, else as `finish`."""
        if tokens is None:
            return JSONResponse(Pending().model_dump(), 202)
        return await self.finish(request, caller, tokens)

    def _refresh_token(self, request: Request, body: StepUpRequestBody) -> str | None:
        token = body.refresh_token or self.guard.credentials.refresh_token(request)
        return None if token is None else Secret(token)

    async def _own_refresh_token(self, caller: Caller) -> str:
        """Return the caller's refresh token after checking that it is a good one of theirs."""
        if caller.refresh_token is None:
            raise RefreshTokenRequired
        if caller.has_session:
            refresh = await self.guard.verifier.verify_refresh(caller.refresh_token)
            refuse_impersonated(refresh)
            if user_id(refresh) != caller.user_id:
                raise SubjectMismatch
        return caller.refresh_token

    async def _asked_identity(self, caller: Caller) -> Identity:
        """Identify the caller, and count a question to Descope as `begin` counts."""
        refresh_token = await self._own_refresh_token(caller)
        await self._count_poll(_name_of(refresh_token))
        identity = await self._identity(caller, refresh_token)
        await self._count_poll(caller.user_id)
        return identity

    async def _counted_as(self, caller: Caller) -> str:
        """Return the name under which the caller counts."""
        try:
            await self._own_refresh_token(caller)
        except (ImpersonationRefused, InvalidToken, RefreshTokenRequired, SubjectMismatch):
            return f"session {caller.user_id}"
        return caller.user_id

    async def _count_start(self, request: Request | None, subject: str, method: str) -> None:
        """Count a start of *subject*, and of the address of *request* unless it was counted."""
        if self.limiter is not None:
            address = None if request is None else self.limiter.address_of(request)
            await self.limiter.count_start(subject=subject, address=address, method=method)

    async def _count_try(self, request: Request | None, subject: str) -> None:
        """Count a try of *subject*, and of the address of *request* unless it was counted."""
        if self.limiter is not None:
            address = None if request is None else self.limiter.address_of(request)
            await self.limiter.count_try(subject=subject, address=address)

    async def _count_poll(self, subject: str) -> None:
        if self.limiter is not None:
            await self.limiter.count_poll(subject=subject)

    async def _identity(self, caller: Caller, refresh_token: str) -> Identity:
        user = await self.guard.descope.me(refresh_token)
        if user.user_id != caller.user_id:
            raise SubjectMismatch
        return Identity(user, refresh_token, KeptClaims.of(caller.claims))


def _name_of(refresh_token: str) -> str:
    """Return the name under which a verified refresh token counts."""
    # Without the signature: the same one can be written in several ways.
    signed = refresh_token.rpartition(".")[0]
    return f"refresh {hashlib.sha256(signed.encode()).hexdigest()}"


def refuse_impersonated(claims: Claims) -> None:
    """Raise `ImpersonationRefused` for a token of another party that acts for the user.

    An impersonator could talk the user out of a code, and then become them.
    """
    if claims.impersonated:
        raise ImpersonationRefused

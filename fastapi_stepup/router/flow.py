"""StepUpFlow: who the caller is, limits, and the end of a step-up; shared by all methods."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fastapi_stepup._secret import Secret
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import (
    DeliveryUnavailable,
    ImpersonationRefused,
    InvalidBody,
    NoStepUpMethod,
    RefreshTokenRequired,
    SubjectMismatch,
)
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.providers.descope.responses import DescopeTokens, DescopeUser
from fastapi_stepup.router.rate_limits import Limiter, client_address
from fastapi_stepup.router.schemas import Pending, StepUpRequestBody
from fastapi_stepup.router.session_response import session_response, user_id


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """The caller as Descope knows them, and the refresh token that they step up with."""

    user: DescopeUser
    refresh_token: str


class StepUpFlow:
    """The steps that the methods of one router share: identify, count, finish.

    Args:
        guard: Authorizes the callers and talks to Descope.
        limiter: Counts; `None` counts nothing.
        redirect_uris: Pages that links and providers may send the user back to.
        enroll_uri: Page where a user without a usable method can enrol one.
        cookie_domain: `Domain` of the cookies.
        can_step_up: Returns true if any method of the router is usable by the user.
    """

    def __init__(
        self,
        guard: StepUpGuard,
        *,
        limiter: Limiter | None,
        redirect_uris: tuple[str, ...],
        enroll_uri: str | None,
        cookie_domain: str | None,
        can_step_up: Callable[[DescopeUser], bool],
    ) -> None:
        self.guard = guard
        self.limiter = limiter
        self.redirect_uris = redirect_uris
        self.enroll_uri = enroll_uri
        self.cookie_domain = cookie_domain
        self._can_step_up = can_step_up

    async def begin(
        self, request: Request, caller: Claims, body: StepUpRequestBody, name: str
    ) -> Identity:
        """Identify the caller, and count a code or link that is about to be sent.

        Raises:
            TooManyAttempts: Too much was sent already.
            RefreshTokenRequired: No refresh token came.
            ImpersonationRefused: The refresh token is an impersonator's.
            SubjectMismatch: The refresh token belongs to another user.
        """
        refresh_token = await self._own_refresh_token(request, caller, body)
        if self.limiter is not None:
            await self.limiter.count_start(
                subject=user_id(caller),
                address=client_address(request.scope.get("client")),
                method=name,
            )
        return await self._identity(caller, refresh_token)

    async def attempt(self, request: Request, caller: Claims, body: StepUpRequestBody) -> Identity:
        """Identify the caller, and count a code that is about to be tried; raises as `begin`."""
        refresh_token = await self._own_refresh_token(request, caller, body)
        await self.count_try(request, user_id(caller))
        return await self._identity(caller, refresh_token)

    async def identify(self, caller: Claims, refresh_token: str) -> Identity:
        """Return the user of the refresh token, who must be the caller.

        Raises:
            ImpersonationRefused: It is an impersonator's.
            SubjectMismatch: It belongs to another user.
        """
        return await self._identity(caller, await self._owned(caller, refresh_token))

    async def count_try(self, request: Request, subject: str | None) -> None:
        """Count a proof that is about to be tried.

        Raises:
            TooManyAttempts: Too many were tried.
        """
        if self.limiter is not None:
            address = client_address(request.scope.get("client"))
            await self.limiter.count_try(subject=subject, address=address)

    async def count_poll(self, caller: Claims) -> None:
        """Count a question to Descope that neither sends nor tries anything.

        Raises:
            TooManyAttempts: It was asked too often.
        """
        if self.limiter is not None:
            await self.limiter.count_poll(subject=user_id(caller))

    async def _own_refresh_token(
        self, request: Request, caller: Claims, body: StepUpRequestBody
    ) -> str:
        refresh_token = body.refresh_token or self.guard.credentials.refresh_token(request)
        if refresh_token is None:
            raise RefreshTokenRequired
        return await self._owned(caller, refresh_token)

    async def _owned(self, caller: Claims, refresh_token: str) -> str:
        refresh = await self.guard.verifier.verify_refresh(refresh_token)
        if refresh.impersonated:
            raise ImpersonationRefused
        if user_id(refresh) != user_id(caller):
            raise SubjectMismatch
        return Secret(refresh_token)

    async def _identity(self, caller: Claims, refresh_token: str) -> Identity:
        user = await self.guard.descope.me(refresh_token)
        if user.user_id != user_id(caller):
            raise SubjectMismatch
        return Identity(user, refresh_token)

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

    async def finish(
        self, request: Request, caller: Claims, tokens: DescopeTokens, body: StepUpRequestBody
    ) -> Response:
        """Return the response to a finished step-up; see `session_response`."""
        return await session_response(
            self.guard,
            request,
            caller,
            tokens,
            refresh_by_cookie=not body.refresh_token
            and self.guard.credentials.refresh_token(request) is not None,
            cookie_domain=self.cookie_domain,
        )

    async def finish_poll(
        self,
        request: Request,
        caller: Claims,
        tokens: DescopeTokens | None,
        body: StepUpRequestBody,
    ) -> Response:
        """Return the response to a poll: 202 while there are no tokens, else as `finish`."""
        if tokens is None:
            return JSONResponse(Pending().model_dump(), 202)
        return await self.finish(request, caller, tokens, body)

"""Codes of an authenticator app."""

from starlette.requests import Request
from starlette.responses import Response

from fastapi_stepup.providers.descope.responses import DescopeUser
from fastapi_stepup.router.methods.base import MethodRoute, StepUpMethod
from fastapi_stepup.router.schemas import (
    SteppedUpSession,
    TOTPVerify,
)
from fastapi_stepup.router.session_response import Caller


class TOTP(StepUpMethod, name="totp"):
    """A code of an authenticator app: one call."""

    def routes(self) -> list[MethodRoute]:
        return [
            MethodRoute(
                "/totp/verify",
                "verify_uri",
                TOTPVerify,
                # Not `finishes`: nothing was begun, and the refresh token has no tenant to keep.
                SteppedUpSession,
                self.verify,
                "Exchange an authenticator code for a stepped-up session",
            )
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [(self.name, None)] if user.totp else []

    async def verify(self, request: Request, caller: Caller, body: TOTPVerify) -> Response:
        identity = await self.flow.attempt(request, caller)
        if not identity.user.totp:
            self.flow.refuse_unusable(identity.user)
        login_id = identity.user.login_id()
        tokens = await self.descope.verify_totp(
            login_id, body.code, identity.refresh_token, kept=identity.kept
        )
        return await self.flow.finish(request, caller, tokens)

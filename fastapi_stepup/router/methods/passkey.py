"""Passkeys (WebAuthn)."""

from starlette.requests import Request
from starlette.responses import Response

from fastapi_stepup.errors import PageOriginRequired
from fastapi_stepup.providers.descope.responses import DescopeUser
from fastapi_stepup.router.methods.base import MethodRoute, StepUpMethod
from fastapi_stepup.router.schemas import (
    PasskeyFinish,
    PasskeyStarted,
    SteppedUpSession,
    StepUpRequestBody,
)
from fastapi_stepup.router.session_response import Caller


class Passkey(StepUpMethod, name="passkey"):
    """A passkey, through the browser's WebAuthn API."""

    def routes(self) -> list[MethodRoute]:
        return [
            MethodRoute(
                "/passkey/start",
                "start_uri",
                StepUpRequestBody,
                PasskeyStarted,
                self.start,
                "Begin a step-up by passkey",
            ),
            MethodRoute(
                "/passkey/finish",
                "finish_uri",
                PasskeyFinish,
                SteppedUpSession,
                self.finish,
                "Exchange a passkey's answer for a stepped-up session",
                finishes=True,
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [(self.name, None)] if user.passkey else []

    async def start(self, request: Request, caller: Caller, _: StepUpRequestBody) -> PasskeyStarted:
        origin = self.flow.guard.credentials.page_origin(request)
        if origin is None:
            raise PageOriginRequired
        identity = await self.flow.begin(request, caller, self.name)
        if not identity.user.passkey:
            self.flow.refuse_unusable(identity.user)
        challenge = await self.descope.start_passkey(
            identity.user.login_id(), origin, identity.refresh_token, kept=identity.kept
        )
        return PasskeyStarted(transaction_id=challenge.transaction_id, options=challenge.options)

    async def finish(self, request: Request, caller: Caller, body: PasskeyFinish) -> Response:
        await self.flow.redeem(request, caller)
        tokens = await self.descope.finish_passkey(body.transaction_id, body.response)
        return await self.flow.finish(request, caller, tokens)

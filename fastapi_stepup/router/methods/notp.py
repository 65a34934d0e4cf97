"""WhatsApp messages that the user sends."""

from starlette.requests import Request
from starlette.responses import Response

from fastapi_stepup.providers.descope.responses import DescopeUser
from fastapi_stepup.router.methods.base import MethodRoute, StepUpMethod, masked
from fastapi_stepup.router.schemas import (
    NOTPStarted,
    Poll,
    SteppedUpSession,
    StepUpRequestBody,
)
from fastapi_stepup.router.session_response import Caller


class NOTP(StepUpMethod, name="notp"):
    """A WhatsApp message that the user sends, while this device polls."""

    def routes(self) -> list[MethodRoute]:
        return [
            MethodRoute(
                "/notp/start",
                "start_uri",
                StepUpRequestBody,
                NOTPStarted,
                self.start,
                "Begin a step-up by the user's own WhatsApp message",
            ),
            MethodRoute(
                "/notp/poll",
                "poll_uri",
                Poll,
                SteppedUpSession,
                self.poll,
                "Ask whether the message has come",
                pending=True,
                finishes=True,
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [] if user.phone is None else [(self.name, masked(user.phone))]

    async def start(self, request: Request, caller: Caller, _: StepUpRequestBody) -> NOTPStarted:
        identity = await self.flow.begin(request, caller, self.name)
        if identity.user.phone is None:
            self.flow.refuse_unusable(identity.user)
        message = await self.descope.start_notp(
            identity.user.login_id("whatsapp"), identity.refresh_token, kept=identity.kept
        )
        return NOTPStarted(
            pending_ref=message.pending_ref,
            authorization_uri=message.authorization_uri,
            image=message.image,
        )

    async def poll(self, request: Request, caller: Caller, body: Poll) -> Response:
        await self.flow.poll(caller)
        tokens = await self.descope.poll_notp(body.pending_ref)
        return await self.flow.finish_poll(request, caller, tokens)

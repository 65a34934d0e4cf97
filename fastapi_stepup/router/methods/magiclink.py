"""Magic links by e-mail or text message."""

from starlette.requests import Request
from starlette.responses import Response

from fastapi_stepup.providers.descope.responses import DescopeUser
from fastapi_stepup.router.methods.base import MethodRoute, StepUpMethod, masked
from fastapi_stepup.router.schemas import (
    LinkVerify,
    MagicLinkStart,
    Started,
    SteppedUpSession,
)
from fastapi_stepup.router.session_response import Caller


class MagicLink(StepUpMethod, name="magiclink"):
    """A link that the user opens; its page hands the token back."""

    def routes(self) -> list[MethodRoute]:
        return [
            MethodRoute(
                "/magiclink/start",
                "start_uri",
                MagicLinkStart,
                Started,
                self.start,
                "Send a magic link",
            ),
            MethodRoute(
                "/magiclink/verify",
                "verify_uri",
                LinkVerify,
                SteppedUpSession,
                self.verify,
                "Exchange a magic link's token for a stepped-up session",
                finishes=True,
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        address = user.email or user.phone
        return [] if address is None else [(self.name, masked(address))]

    async def start(self, request: Request, caller: Caller, body: MagicLinkStart) -> Started:
        uri = self.flow.redirect_uri(body.redirect_uri)
        identity = await self.flow.begin(request, caller, f"magiclink {body.delivery}")
        if not identity.user.can_receive(body.delivery):
            self.flow.refuse_unusable(identity.user)
        destination = await self.descope.start_magic_link(
            body.delivery,
            identity.user.login_id(body.delivery),
            uri,
            identity.refresh_token,
            kept=identity.kept,
        )
        return Started(delivery=body.delivery, destination=destination)

    async def verify(self, request: Request, caller: Caller, body: LinkVerify) -> Response:
        await self.flow.redeem(request, caller)
        tokens = await self.descope.verify_magic_link(body.token)
        return await self.flow.finish(request, caller, tokens)

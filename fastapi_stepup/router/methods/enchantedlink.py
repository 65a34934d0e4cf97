"""Enchanted links, which may be opened on another device."""

from starlette.requests import Request
from starlette.responses import Response

from fastapi_stepup.providers.descope.responses import DescopeUser
from fastapi_stepup.router.methods.base import MethodRoute, StepUpMethod, masked
from fastapi_stepup.router.schemas import (
    EnchantedLinkStart,
    EnchantedLinkStarted,
    LinkVerified,
    LinkVerify,
    Poll,
    SteppedUpSession,
)
from fastapi_stepup.router.session_response import Caller


class EnchantedLink(StepUpMethod, name="enchantedlink"):
    """A link that may be opened on another device, while this one polls."""

    def routes(self) -> list[MethodRoute]:
        return [
            MethodRoute(
                "/enchantedlink/start",
                "start_uri",
                EnchantedLinkStart,
                EnchantedLinkStarted,
                self.start,
                "Send an enchanted link",
            ),
            MethodRoute(
                "/enchantedlink/poll",
                "poll_uri",
                Poll,
                SteppedUpSession,
                self.poll,
                "Ask whether the link was opened",
                pending=True,
                finishes=True,
            ),
            MethodRoute(
                "/enchantedlink/verify",
                "verify_uri",
                LinkVerify,
                LinkVerified,
                self.verify,
                "Confirm an enchanted link, from the page that it opens",
                public=True,
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [] if user.email is None else [(self.name, masked(user.email))]

    async def start(
        self, request: Request, caller: Caller, body: EnchantedLinkStart
    ) -> EnchantedLinkStarted:
        uri = self.flow.redirect_uri(body.redirect_uri)
        identity = await self.flow.begin(request, caller, self.name)
        if identity.user.email is None:
            self.flow.refuse_unusable(identity.user)
        link = await self.descope.start_enchanted_link(
            identity.user.login_id("email"), uri, identity.refresh_token, kept=identity.kept
        )
        return EnchantedLinkStarted(
            pending_ref=link.pending_ref, link_id=link.link_id, destination=link.destination
        )

    async def poll(self, request: Request, caller: Caller, body: Poll) -> Response:
        await self.flow.poll(caller)
        tokens = await self.descope.poll_enchanted_link(body.pending_ref)
        return await self.flow.finish_poll(request, caller, tokens)

    async def verify(self, request: Request, _: None, body: LinkVerify) -> LinkVerified:
        # The device that opens the link has no session; the token is all there is.
        await self.flow.redeem_publicly(request)
        await self.descope.verify_enchanted_link(body.token)
        return LinkVerified()

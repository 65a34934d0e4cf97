"""Social providers."""

from starlette.requests import Request
from starlette.responses import Response

from fastapi_stepup.providers.descope.responses import DescopeUser
from fastapi_stepup.router.methods.base import MethodRoute, StepUpMethod
from fastapi_stepup.router.schemas import (
    Callback,
    OAuthStart,
    ProviderStarted,
    SteppedUpSession,
)
from fastapi_stepup.router.session_response import Caller


class OAuth(StepUpMethod, name="oauth"):
    """A login at a social provider; the page it comes back to hands the code in."""

    def routes(self) -> list[MethodRoute]:
        return [
            MethodRoute(
                "/oauth/start",
                "start_uri",
                OAuthStart,
                ProviderStarted,
                self.start,
                "Begin a step-up at a social provider",
            ),
            MethodRoute(
                "/oauth/callback",
                "callback_uri",
                Callback,
                SteppedUpSession,
                self.callback,
                "Exchange a provider's code for a stepped-up session",
                finishes=True,
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [(self.name, None)] if user.providers else []

    async def start(self, request: Request, caller: Caller, body: OAuthStart) -> ProviderStarted:
        uri = self.flow.redirect_uri(body.redirect_uri)
        identity = await self.flow.begin(request, caller, self.name)
        if not self.usable_by(identity.user):
            self.flow.refuse_unusable(identity.user)
        return ProviderStarted(
            authorization_uri=await self.descope.start_oauth(
                body.provider, uri, identity.refresh_token, kept=identity.kept
            )
        )

    async def callback(self, request: Request, caller: Caller, body: Callback) -> Response:
        await self.flow.redeem(request, caller)
        tokens = await self.descope.exchange_oauth(body.code)
        return await self.flow.finish(request, caller, tokens)

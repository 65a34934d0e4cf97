"""Identity providers of the user's tenants."""

from starlette.requests import Request
from starlette.responses import Response

from fastapi_stepup.providers.descope.responses import DescopeUser
from fastapi_stepup.router.methods.base import MethodRoute, StepUpMethod
from fastapi_stepup.router.schemas import (
    Callback,
    ProviderStarted,
    SSOStart,
    SteppedUpSession,
)
from fastapi_stepup.router.session_response import Caller


class SSO(StepUpMethod, name="sso"):
    """A login at the identity provider of one of the user's tenants."""

    def routes(self) -> list[MethodRoute]:
        return [
            MethodRoute(
                "/sso/start",
                "start_uri",
                SSOStart,
                ProviderStarted,
                self.start,
                "Begin a step-up at a tenant's identity provider",
            ),
            MethodRoute(
                "/sso/callback",
                "callback_uri",
                Callback,
                SteppedUpSession,
                self.callback,
                "Exchange the identity provider's code for a stepped-up session",
                finishes=True,
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [(self.name, None)] if user.tenants else []

    async def start(self, request: Request, caller: Caller, body: SSOStart) -> ProviderStarted:
        uri = self.flow.redirect_uri(body.redirect_uri)
        identity = await self.flow.begin(request, caller, self.name)
        if body.tenant not in identity.user.tenants:
            self.flow.refuse_unusable(identity.user)
        return ProviderStarted(
            authorization_uri=await self.descope.start_sso(
                body.tenant, uri, identity.refresh_token, kept=identity.kept
            )
        )

    async def callback(self, request: Request, caller: Caller, body: Callback) -> Response:
        await self.flow.redeem(request, caller)
        tokens = await self.descope.exchange_sso(body.code)
        return await self.flow.finish(request, caller, tokens)

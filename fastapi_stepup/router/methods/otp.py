"""One-time codes by e-mail, text message, call or WhatsApp."""

from starlette.requests import Request
from starlette.responses import Response

from fastapi_stepup.errors import InvalidBody
from fastapi_stepup.providers.descope.requests import Delivery
from fastapi_stepup.providers.descope.responses import DescopeUser
from fastapi_stepup.router.flow import StepUpFlow
from fastapi_stepup.router.methods.base import MethodRoute, StepUpMethod, masked
from fastapi_stepup.router.schemas import (
    OTPStart,
    OTPVerify,
    Started,
    SteppedUpSession,
)
from fastapi_stepup.router.session_response import Caller


class OTP(StepUpMethod, name="otp"):
    """A code by e-mail, text message, call or WhatsApp."""

    def __init__(self, flow: StepUpFlow, deliveries: tuple[Delivery, ...]) -> None:
        super().__init__(flow)
        self.deliveries = deliveries

    def routes(self) -> list[MethodRoute]:
        return [
            MethodRoute("/otp/start", "start_uri", OTPStart, Started, self.start, "Send a code"),
            MethodRoute(
                "/otp/verify",
                "verify_uri",
                OTPVerify,
                SteppedUpSession,
                self.verify,
                "Exchange a code for a stepped-up session",
                finishes=True,
            ),
        ]

    def offers(self) -> list[str]:
        return list(self.deliveries)

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [(d, masked(user.address(d))) for d in self.deliveries if user.can_receive(d)]

    async def start(self, request: Request, caller: Caller, body: OTPStart) -> Started:
        self._offered(body.delivery)
        identity = await self.flow.begin(request, caller, f"otp {body.delivery}")
        if not identity.user.can_receive(body.delivery):
            self.flow.refuse_unusable(identity.user)
        login_id = identity.user.login_id(body.delivery)
        destination = await self.descope.start_otp(
            body.delivery, login_id, identity.refresh_token, kept=identity.kept
        )
        return Started(delivery=body.delivery, destination=destination)

    async def verify(self, request: Request, caller: Caller, body: OTPVerify) -> Response:
        self._offered(body.delivery)
        identity = await self.flow.attempt(request, caller)
        login_id = identity.user.login_id(body.delivery)
        tokens = await self.descope.verify_otp(body.delivery, login_id, body.code)
        return await self.flow.finish(request, caller, tokens)

    def _offered(self, delivery: Delivery) -> None:
        if delivery not in self.deliveries:
            raise InvalidBody([{"field": "delivery", "problem": "not_offered"}])

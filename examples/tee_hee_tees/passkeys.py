"""Adding a passkey needs a step-up: an open browser alone must not add a credential."""

from typing import Annotated, Any

from fastapi import APIRouter, Cookie, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from examples.tee_hee_tees.signin import REFRESH_COOKIE, SignIn
from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, errors

RefreshToken = Annotated[str | None, Cookie(alias=REFRESH_COOKIE)]


class NewPasskey(BaseModel):
    """What `navigator.credentials.create` takes, as JSON."""

    transaction_id: str
    options: dict[str, Any]


class CreatedPasskey(BaseModel):
    """What it made."""

    model_config = ConfigDict(extra="forbid")

    transaction_id: Annotated[str, Field(max_length=256)]
    response: dict[str, Any]


def passkey_routes(sign_in: SignIn, guard: StepUpGuard) -> APIRouter:
    """Return the two routes behind the profile's button."""
    routes = APIRouter(prefix="/profile/passkey")
    Proven = Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]

    @routes.post("/start")
    async def start(
        request: Request, claims: Proven, refresh_token: RefreshToken = None
    ) -> NewPasskey:
        """Begin."""
        origin = guard.credentials.page_origin(request)
        if origin is None:
            raise errors.PageOriginRequired
        if refresh_token is None:
            raise errors.RefreshTokenRequired
        user = await guard.descope.me(refresh_token)
        # Both tokens are cookies, and either may have been planted.
        if user.user_id != claims.subject:
            raise errors.SubjectMismatch
        transaction_id, options = await sign_in.new_passkey(
            user.login_id(), origin=origin, refresh_token=refresh_token
        )
        return NewPasskey(transaction_id=transaction_id, options=options)

    @routes.post("/finish", dependencies=[Depends(RequireStepUp(guard, max_age="5m"))])
    async def finish(body: CreatedPasskey) -> dict[str, bool]:
        """Have Descope keep it."""
        await sign_in.keep_passkey(body.transaction_id, body.response)
        return {"added": True}

    return routes

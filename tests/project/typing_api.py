"""The public API as a type checker shows it to a user. Checked by mypy, never run."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, assert_type

import httpx
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.websockets import WebSocket

from fastapi_stepup import (
    Challenge,
    Claims,
    DescopeClient,
    JWKSCache,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpPolicy,
    TokenVerifier,
    claims_from,
    errors,
    install,
    stepup_router,
)
from fastapi_stepup.testing import DescopeEmulator, Tokens, assert_step_up_challenge

guard = StepUpGuard.for_descope()
assert_type(guard, StepUpGuard)
assert_type(guard.project_id, str)
assert_type(guard.base_url, str)
assert_type(guard.verifier, TokenVerifier)
assert_type(guard.keys, JWKSCache)
assert_type(guard.descope, DescopeClient)
assert_type(guard.health().ok, bool)

app = FastAPI(lifespan=guard.lifespan)
install(app, guard)
install(Starlette(lifespan=guard.lifespan), guard)
app.include_router(stepup_router(guard, prefix="/auth", deliveries=("email", "sms")))
assert_type(stepup_router(guard), APIRouter)

SignedIn = Annotated[Claims, Depends(RequireSession(guard))]
SteppedUp = Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m", amr=["sms"]))]
RequireStepUp(guard, max_age=timedelta(minutes=5))
RequireStepUp(guard, max_age=300, amr="webauthn")
RequireStepUp(guard, policy=StepUpPolicy(max_age=60.0, acr=("phr",)))
RequireStepUp("P2…")  # type: ignore[arg-type]
RequireStepUp(guard, maxage=300)  # type: ignore[call-arg]
RequireStepUp(guard, "5m")  # type: ignore[call-arg]
StepUpGuard.for_descope("P2…", audiance="x")  # type: ignore[call-arg]
StepUpGuard.for_descope("P2…", warmup="eager")  # type: ignore[arg-type]
StepUpGuard.for_descope("P2…", transport=httpx.HTTPTransport())  # type: ignore[arg-type]
stepup_router(guard, deliveries=("fax",))  # type: ignore[arg-type]


@app.post("/checkout")
def checkout(claims: SteppedUp) -> str:
    """Read the claims."""
    assert_type(claims, Claims)
    assert_type(claims.subject, str)
    assert_type(claims.issued_at, float)
    assert_type(claims.stepped_up, bool)
    assert_type(claims.amr, tuple[str, ...])
    assert_type(claims.tenants, Mapping[str, Any])
    assert_type(claims.raw, Mapping[str, Any])
    claims.raw = {}  # type: ignore[misc]
    return claims.subject


@app.websocket("/chat")
async def chat(websocket: WebSocket, claims: SignedIn) -> None:
    """Ask again, within the handler."""
    assert_type(await guard.authorize(websocket, StepUpPolicy(max_age="1d")), Claims)
    assert_type(await guard.recheck(websocket), Claims)


async def within_a_handler(request: Request) -> None:
    """Ask from any ASGI code."""
    assert_type(await guard.authorize(request), Claims)
    assert_type(await guard.verify("eyJ…"), Claims)
    assert_type(claims_from(request), Claims)
    async with guard as entered:
        assert_type(entered, StepUpGuard)


def refused(error: errors.StepUpError, header: str) -> None:
    """Read a refusal."""
    assert_type(error.status_code, int)
    assert_type(error.problem, errors.Problem)
    assert_type(error.challenge(), Challenge | None)
    assert_type(Challenge.parse(header), list[Challenge])
    assert_type(Challenge.parse(header)[0].max_age, int | None)


def test_of_an_app(emulator: DescopeEmulator, response: httpx.Response) -> None:
    """Test an app against the emulator."""
    with emulator.attach(guard) as attached:
        assert_type(attached, DescopeEmulator)
    assert_type(emulator.sign_in("ann@example.com"), Tokens)
    assert_type(emulator.outbox[-1].code, str)
    assert_step_up_challenge(response, max_age=300)

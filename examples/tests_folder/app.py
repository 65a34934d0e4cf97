"""An app under test: a profile, a checkout, and an export that only a passkey opens."""

from typing import Annotated

from fastapi import Depends, FastAPI

from fastapi_stepup import (
    Claims,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    install,
    presets,
    stepup_router,
)

guard = StepUpGuard.for_descope("P2LocalEmulatorProject000001")
app = FastAPI(lifespan=guard.lifespan)
install(app, guard)
app.include_router(stepup_router(guard, methods=["otp", "passkey"]))


@app.get("/profile")
async def profile(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> str:
    """Show who is signed in."""
    return claims.subject


@app.post("/checkout")
async def checkout(claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]) -> str:
    """Place an order."""
    return f"Order placed for {claims.subject}."


@app.post(
    "/export", dependencies=[Depends(RequireStepUp(guard, policy=presets.phishing_resistant))]
)
async def export() -> str:
    """Export everything."""
    return "exported"

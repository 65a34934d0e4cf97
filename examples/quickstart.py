"""A checkout that asks for step-up. Run it with `python -m examples.quickstart`."""

from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, install, stepup_router
from fastapi_stepup.testing import DescopeEmulator

guard = StepUpGuard.for_descope("P2LocalEmulatorProject000001")  # your Descope project

app = FastAPI(lifespan=guard.lifespan)
install(app, guard)
app.include_router(stepup_router(guard))


@app.post("/checkout")
async def checkout(claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]) -> str:
    """Place the order of a user who has just proved that it is them."""
    return f"Order placed for {claims.subject}."


if __name__ == "__main__":  # on the local emulator: no account, no network
    with DescopeEmulator(project_id=guard.project_id).attach(guard) as descope:
        ann = descope.sign_in("ann@example.com")
        app.mount("/descope", descope)
        print(f"SESSION={ann.session_token}\nREFRESH={ann.refresh_token}")
        uvicorn.run(app)

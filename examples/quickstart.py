"""A checkout that asks for step-up. Run it with `python -m examples.quickstart`."""

from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

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
        client = TestClient(app, headers=ann.headers)
        refresh = {"delivery": "email", "refresh_token": ann.refresh_token}

        print(client.post("/checkout").json())  # 401: what is missing, and where to get it
        print(client.post("/step-up/otp/start", json=refresh).json())  # a code is "sent"
        code = {"code": descope.outbox[-1].code}
        session = client.post("/step-up/otp/verify", json=refresh | code).json()
        client.headers["Authorization"] = f"Bearer {session['session_token']}"
        print(client.post("/checkout").json())  # 200: the order is placed

"""An app whose routes are open, guarded, and guarded by two guards."""

from typing import Annotated

from fastapi import Depends, FastAPI

from fastapi_stepup import (
    Claims,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    any_of,
)
from fastapi_stepup.web.rules import StepUpRule

guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")
Recent = Annotated[Claims, Depends(RequireStepUp(guard, max_age="2m", amr=["totp"]))]
app = FastAPI(openapi_url=None)
closed = FastAPI(openapi_url=None)


@app.get("/")
def home() -> None:
    """Be open, and change nothing."""


@app.post("/open")
def change() -> None:
    """Be open, and change state."""


@app.post("/pay")
@closed.post("/pay")
def pay(
    claims: Annotated[
        Claims, Depends(RequireStepUp(guard, max_age="2m", amr=["totp"], once="pay"))
    ],
) -> None:
    """Ask for a factor."""


@closed.get("/me")
def me(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> None:
    """Ask for a session."""


closed.add_middleware(StepUpMiddleware, guard=guard, rules=[StepUpRule("/me", "session")])
staff = StepUpGuard.for_oidc("https://staff.example", audience="https://api.example")
several = FastAPI(openapi_url=None)
several.get("/", dependencies=[Depends(RequireStepUp(any_of(guard, staff), max_age="2m"))])(home)
unguarded = FastAPI()
not_an_app = 7

"""The guarded API, and the built pages in front of it."""

from pathlib import Path
from secrets import token_hex
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field
from starlette.staticfiles import StaticFiles

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, install

PAGES = Path(__file__).parent / "dist"


class Transfer(BaseModel):
    """The request."""

    euros: Annotated[int, Field(gt=0)]


class Receipt(BaseModel):
    """The reply."""

    reference: str
    by: str
    euros: int


def create_app(project_id: str, emulator_url: str | None = None, pages: Path = PAGES) -> FastAPI:
    """Return the app.

    Args:
        project_id: The Descope project.
        emulator_url: The emulator that stands in for Descope, if one does.
        pages: The folder that `npm run build` has written.
    """
    guard = StepUpGuard.for_descope(project_id, base_url=emulator_url)
    app = FastAPI(title="Transfers", lifespan=guard.lifespan)
    install(app, guard)
    SteppedUp = Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]

    @app.post("/api/transfers", status_code=201)
    async def transfer(claims: SteppedUp, wanted: Transfer) -> Receipt:
        """Make a transfer, for a user who has just confirmed that it is them."""
        return Receipt(reference=f"T-{token_hex(3)}", by=claims.subject, euros=wanted.euros)

    @app.get("/settings.json")
    async def settings() -> dict[str, str]:
        """Return the settings of the pages."""
        settings = {"projectId": project_id}
        return {**settings, "baseUrl": emulator_url} if emulator_url else settings

    app.mount("/", StaticFiles(directory=pages, html=True))
    return app

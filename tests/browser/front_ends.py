"""The blocks of `docs/how-to/front-ends.md`, and an app that is made of them."""

import re
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request, UploadFile
from starlette.responses import HTMLResponse, Response

import fastapi_stepup
from fastapi_stepup import Claims, RequireStepUp, StepUpGuard
from fastapi_stepup.testing import DescopeEmulator

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "front-ends.md"


def blocks(language: str) -> list[str]:
    """Return the blocks of the page in this language."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def block(language: str, words: str) -> str:
    """Return the one block that has these *words* in it."""
    (found,) = [one for one in blocks(language) if words in one]
    return found


def files() -> dict[str, str]:
    """Return the scripts that are named in their first line, by their names."""
    named = (re.match(r"// ([\w-]+\.js)\b", one) for one in blocks("js"))
    return {found[1]: found.string for found in named if found}


def run(code: str, app: FastAPI, guard: StepUpGuard) -> None:
    """Run a Python block in a module that has *app*, *guard* and the names of the package."""
    names = {name: getattr(fastapi_stepup, name) for name in fastapi_stepup.__all__}
    exec(compile(code, str(PAGE), "exec"), {**names, "app": app, "guard": guard})


def create_app() -> FastAPI:
    """Return an app on its own emulator: the page's server, its pages and its scripts."""
    emulator = DescopeEmulator()
    guard = StepUpGuard.for_descope(emulator.project_id, transport=emulator.transport)
    app = FastAPI()
    app.state.emulator = emulator
    stepped_up = Depends(RequireStepUp(guard, max_age="5m"))
    run(block("python", "include_router("), app, guard)
    run(block("python", "/confirm"), app, guard)

    @app.post("/checkout")
    async def checkout(claims: Annotated[Claims, stepped_up], request: Request) -> Any:
        return {"paid": (await request.body()).decode(), "amr": list(claims.amr)}

    @app.post("/fragment")
    async def fragment(claims: Annotated[Claims, stepped_up], request: Request) -> HTMLResponse:
        body = (await request.body()).decode()
        return HTMLResponse(f"<b>Paid {body} by {claims.amr[0]}</b>")

    @app.post("/receipts")
    async def receipts(claims: Annotated[Claims, stepped_up], file: UploadFile) -> int:
        return len(await file.read())

    @app.get("/account")
    async def account(claims: Annotated[Claims, stepped_up], tab: str = "") -> HTMLResponse:
        return HTMLResponse(f"<title>Account {tab}</title><h1>Your account</h1>")

    @app.get("/")
    async def home() -> HTMLResponse:
        return HTMLResponse("<title>Home</title><main></main>")

    @app.get("/static/{name}")
    async def script(name: str) -> Response:
        return Response(files()[name], media_type="text/javascript")

    app.mount("/descope", emulator)
    return app

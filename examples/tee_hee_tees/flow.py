"""Descope's flow in place of the dialog's own methods, where the shop has Descope's component.

Descope's component talks to Descope from the browser, with the refresh token. Here no script may
read that, so the calls go to the shop's own `/descope`, which adds it from the cookie and passes
them on to the emulator. The flow's session comes back to the page, which hands it to the shop.
"""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from pydantic import BaseModel, Field
from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, JSONResponse
from starlette.types import Receive, Scope, Send

from examples.tee_hee_tees.access import PageAccess, same_origin
from examples.tee_hee_tees.forms import see
from examples.tee_hee_tees.signin import REFRESH_COOKIE, SignedIn
from fastapi_stepup import Claims, StepUpGuard, errors
from fastapi_stepup.testing import DescopeEmulator

FLOW_COOKIE: Final = "tees_flow"
MOUNTED: Final = "/descope"
# What the component loads and calls; nothing else of the emulator can be reached here.
PASSED_ON: Final = ("/v1/flow/", "/pages/", "/npm/", "/_provider/")
TOKEN_IN_A_PAGE: Final = 16_384


class NoComponent(ValueError):
    """A folder has no component of Descope's."""


@dataclass(frozen=True, slots=True)
class FlowFiles:
    """Descope's npm packages in a `node_modules` folder.

    Args:
        folder: The folder.

    Raises:
        NoComponent: `@descope/web-component` is not there.
    """

    folder: Path

    def __post_init__(self) -> None:
        if not self.component.is_file():
            raise NoComponent(
                f"{self.folder} has no @descope/web-component: run `npm install "
                "@descope/web-component` and pass the node_modules folder."
            )

    @property
    def component(self) -> Path:
        """The component's script."""
        return self.folder / "@descope" / "web-component" / "dist" / "index.js"

    @property
    def ui(self) -> Path | None:
        """The package that gives flows Descope's look, if it is there."""
        package = self.folder / "@descope" / "web-components-ui"
        return package if package.is_dir() else None


@dataclass(frozen=True, slots=True)
class FlowSwitch:
    """The switch that a page shows.

    Attributes:
        is_available: Whether the shop has the component.
        is_on: Whether this browser wants the flow.
        project_id: The project of the flow.
        base_url: The shop's `/descope`, as this browser knows it.
        nonce: The page's nonce, new for each page.
    """

    is_available: bool
    is_on: bool
    project_id: str
    base_url: str
    nonce: str

    @property
    def options(self) -> str:
        """The options of `stepup.js`, as JSON."""
        return json.dumps(
            {
                "projectId": self.project_id,
                "baseUrl": self.base_url,
                "baseStaticUrl": f"{self.base_url}/pages",
                # Below a path, the base of the elements is the whole URL; any version will do.
                "baseCdnUrl": (
                    f"{self.base_url}/npm/@descope/web-components-ui@latest/dist/umd/index.js"
                ),
                "nonce": self.nonce,
            }
        )

    @property
    def policy(self) -> str:
        """The policy of a page with the flow: its component makes styles and loads scripts."""
        return (
            "default-src 'none'; script-src 'self'; "
            f"style-src 'self' 'nonce-{self.nonce}'; img-src 'self' data:; "
            "font-src 'self'; connect-src 'self'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        )


class Flow:
    """The shop's flow.

    Args:
        emulator: The emulator; a project of your own would need a host of the shop's domain.
        files: Descope's packages, if the shop was started with them.
    """

    def __init__(self, emulator: DescopeEmulator, files: FlowFiles | None) -> None:
        self.emulator = emulator
        self.files = files

    def switch(self, request: Request) -> FlowSwitch:
        """Return the switch for one page."""
        is_available = self.files is not None
        return FlowSwitch(
            is_available,
            is_available and request.cookies.get(FLOW_COOKIE) == "on",
            self.emulator.project_id,
            f"{request.url.scheme}://{request.url.netloc}{MOUNTED}",
            secrets.token_urlsafe(16),
        )

    def routes(self, access: PageAccess, guard: StepUpGuard) -> APIRouter:
        """Return the component's file, the switch, and the way back of a session."""
        routes = APIRouter(include_in_schema=False, dependencies=[Depends(same_origin)])
        Session = Annotated[Claims, Depends(access.session)]

        @routes.get("/flow/component.js")
        def component() -> Response:
            if self.files is None:
                raise HTTPException(404, "The shop was started without Descope's component.")
            return FileResponse(self.files.component, media_type="text/javascript")

        @routes.post("/flow")
        def change(turn: Annotated[Switched, Form()]) -> Response:
            response = see("/cart")
            # Lax: a magic link leads here from a mailbox.
            response.set_cookie(FLOW_COOKIE, turn.flow, secure=True, httponly=True, samesite="lax")
            return response

        @routes.post("/flow/session")
        async def keep(response: Response, claims: Session, flowed: Flowed) -> dict[str, bool]:
            """Keep the session that a flow of the same user has ended with."""
            fresh = await guard.verify(flowed.session_token)
            if fresh.subject != claims.subject:
                raise errors.SubjectMismatch
            # The browser's own refresh token stays good.
            SignedIn(fresh, flowed.session_token, None, None).set_cookies(response)
            return {"stepped_up": fresh.stepped_up}

        return routes


class FlowCalls:
    """Passes calls of the component on to the emulator, as an ASGI app.

    Args:
        emulator: The emulator.
    """

    def __init__(self, emulator: DescopeEmulator) -> None:
        self.emulator = emulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, with the refresh token of the cookie."""
        request = Request(scope)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        try:
            same_origin(request)
        except HTTPException as refusal:
            await JSONResponse({"detail": refusal.detail}, 403)(scope, receive, send)
            return
        if not path.startswith(PASSED_ON):
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
            return
        refresh_token = request.cookies.get(REFRESH_COOKIE)
        if path.startswith("/v1/") and refresh_token:
            scope = {**scope, "headers": list(scope["headers"])}
            bearer = f"Bearer {self.emulator.project_id}:{refresh_token}"
            MutableHeaders(scope=scope)["Authorization"] = bearer
        await self.emulator(scope, receive, send)


class Switched(BaseModel):
    """The switch as a form sends it."""

    flow: Annotated[str, Field(pattern=r"^(on|off)$")]


class Flowed(BaseModel):
    """The session that a flow has ended with."""

    session_token: Annotated[str, Field(max_length=TOKEN_IN_A_PAGE)]

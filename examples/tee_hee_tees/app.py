"""The shop as an application factory, so that each test has a shop of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.tee_hee_tees.access import PageAccess, SignInFirst
from examples.tee_hee_tees.flow import MOUNTED, Flow, FlowCalls, FlowFiles
from examples.tee_hee_tees.pages import (
    account_pages,
    cart_pages,
    checkout_route,
    demo_inbox,
    shop_window,
)
from examples.tee_hee_tees.passkeys import passkey_routes
from examples.tee_hee_tees.people import People
from examples.tee_hee_tees.signin import SignIn
from examples.tee_hee_tees.signin_pages import SignInPages
from examples.tee_hee_tees.staff import refund_routes
from examples.tee_hee_tees.store import Store
from examples.tee_hee_tees.views import HERE, Views
from fastapi_stepup import StepUpGuard, install, stepup_router
from fastapi_stepup.testing import DescopeEmulator

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not `no-referrer`: with it browsers send `Origin: null` along with the shop's own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
DOCS: Final = "/docs"
# FastAPI's page of Swagger UI has a script in it, and loads the rest from there.
DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "img-src 'self' data: https://fastapi.tiangolo.com; connect-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
TITLES: Final = {
    403: "You cannot do that here",
    404: "Nothing on this shelf",
    405: "Not like that",
    422: "That does not fit",
    503: "Back in a moment",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a shop is set up.

    Args:
        database: The SQLite file with carts and orders.
        project_id: The Descope project; `None` runs on an emulator in this process.
        transport: Where the shop's own HTTP goes instead of the network.
        guard: Further options of `StepUpGuard.for_descope`.
        redis_url: Where several shops count the tries of a user together.
        flow: Descope's npm packages; with them a shop on the emulator runs Descope's flow.
    """

    database: Path = Path("tee_hee_tees.sqlite3")
    project_id: str | None = None
    transport: httpx.AsyncBaseTransport | None = None
    guard: Mapping[str, Any] = field(default_factory=dict)
    redis_url: str | None = None
    flow: FlowFiles | None = None


def create_app(settings: Settings) -> FastAPI:
    """Return a shop; `app.state.emulator` is its emulator, or `None` on a real project."""
    ui = settings.flow.ui if settings.flow else None
    emulator = None if settings.project_id else DescopeEmulator(ui=ui)
    transport = emulator.transport if emulator else settings.transport
    guard = StepUpGuard.for_descope(
        emulator.project_id if emulator else settings.project_id,
        transport=transport,
        **settings.guard,
    )
    store = Store(settings.database)
    people = People(emulator) if emulator else None
    flow = Flow(emulator, settings.flow) if emulator else None
    views = Views(store, people, flow)
    access = PageAccess(guard)

    app = FastAPI(
        title="Tee-Hee Tees",
        lifespan=guard.lifespan,
        docs_url=DOCS if emulator else None,
        redoc_url=None,
    )
    app.state.emulator = emulator
    install(app, guard, docs=emulator is not None)
    app.include_router(
        stepup_router(
            guard,
            methods=("otp", "totp", "passkey"),
            deliveries=("email", "sms"),
            redis_url=settings.redis_url,
        )
    )
    app.include_router(checkout_route(store, guard))
    app.include_router(shop_window(views, access))
    app.include_router(cart_pages(views, access, store))
    app.include_router(account_pages(views, access, store))
    app.include_router(refund_routes(views, access, store, guard))
    sign_in = SignIn(guard, transport=transport)
    app.include_router(passkey_routes(sign_in, guard))
    app.include_router(
        SignInPages(views, store, sign_in, people.welcome if people else None).routes()
    )
    if people:
        app.include_router(demo_inbox(views, access))
    if flow:
        app.include_router(flow.routes(access, guard))
    if emulator and settings.flow:
        app.mount(MOUNTED, FlowCalls(emulator))
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.add_middleware(SecurityHeaders)

    @app.exception_handler(SignInFirst)
    async def sign_in_first(_: Request, wish: SignInFirst) -> Response:
        return RedirectResponse(f"/sign-in?next={wish.page}", HTTPStatus.SEE_OTHER)

    async def sorry(
        request: Request, status: int, text: str, headers: Mapping[str, str] | None
    ) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"detail": text}, status, headers)
        title = TITLES.get(status, "That did not work")
        claims = await access.visitor(request)
        page = await run_in_threadpool(
            partial(views.page, status=status, title=title, text=text),
            request,
            "error.html",
            claims,
        )
        page.headers.update(headers or {})
        return page

    @app.exception_handler(AnyHTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return await sorry(request, error.status_code, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def misfit(request: Request, _: RequestValidationError) -> Response:
        return await sorry(request, 422, "Some of what was sent is not what this page takes.", None)

    return app


class SecurityHeaders:
    """Adds what tells a browser to run nothing but the shop's own files, and to cache no page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if scope["path"] == DOCS:
                    headers["Content-Security-Policy"] = DOCS_POLICY
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache" if "etag" in headers else "no-store")
            await send(message)

        await self.app(scope, receive, send_secured)

"""install beside what an app has: handlers, instrumentation, mounts, an `openapi` of its own."""

import json
from collections.abc import Callable
from itertools import product
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    install,
    requires_step_up,
)
from fastapi_stepup.errors import StepUpError, StepUpRequired
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge

ANN = "ann@example.com"


def by_dependency(app: FastAPI, guard: StepUpGuard) -> ASGIApp:
    """Guard a route by a dependency."""
    app.post("/pay", dependencies=[Depends(RequireStepUp(guard))])(lambda: "paid")
    return app


def by_middleware(app: FastAPI, guard: StepUpGuard) -> ASGIApp:
    """Guard the app by its own middleware."""
    app.add_middleware(StepUpMiddleware, guard=guard)
    return app


def by_middleware_around(app: FastAPI, guard: StepUpGuard) -> ASGIApp:
    """Guard the app from outside."""
    return StepUpMiddleware(app, guard=guard)


def by_decorator(app: FastAPI, guard: StepUpGuard) -> ASGIApp:
    """Guard an endpoint by the decorator."""

    @app.post("/pay")
    @requires_step_up(guard)
    def pay(request: Request) -> None: ...

    return app


def in_the_handler(app: FastAPI, guard: StepUpGuard) -> ASGIApp:
    """Ask the guard in the handler."""

    @app.post("/pay")
    async def pay(request: Request) -> str:
        return (await guard.authorize(request, StepUpPolicy())).subject

    return app


def in_a_middleware(app: FastAPI, guard: StepUpGuard) -> ASGIApp:
    """Ask the guard in a middleware of the app's own."""

    async def ask(request: Request, call_next: Any) -> Response:
        await guard.authorize(request, StepUpPolicy())
        raise AssertionError

    app.add_middleware(BaseHTTPMiddleware, dispatch=ask)
    return app


def on_a_mounted_app(app: FastAPI, guard: StepUpGuard) -> ASGIApp:
    """Guard a route of an app that is mounted and has a handler for 401 too."""
    mounted = FastAPI()
    mounted.add_exception_handler(401, to_login)
    mounted.post("/pay", dependencies=[Depends(RequireStepUp(guard))])(lambda: "paid")
    app.mount("/", mounted)
    return app


ENTRY_POINTS = [
    by_dependency,
    by_middleware,
    by_middleware_around,
    by_decorator,
    in_the_handler,
    in_a_middleware,
    on_a_mounted_app,
]


async def to_login(request: Request, error: Exception) -> Response:
    """Answer as an app with pages does."""
    return RedirectResponse("/login", 303)


def in_its_own_form(request: Request, error: Exception) -> Response:
    """Answer as an app with an error format of its own does, from a thread."""
    return JSONResponse({"error": type(error).__name__}, 418)


KEYS: list[tuple[Any, ...]] = [
    (401,),
    (403,),
    (HTTPException,),
    (StarletteHTTPException,),
    (Exception,),
    (500,),
    (401, 403, HTTPException, Exception),
]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize("handler", [to_login, in_its_own_form])
def test_handlers_of_the_app_do_not_swallow_the_challenge(
    entry_point: Callable[..., ASGIApp],
    handler: Any,
    guard: StepUpGuard,
    descope: DescopeEmulator,
) -> None:
    """For any status or class, registered before or after `install`."""
    headers = descope.sign_in(ANN).headers
    for keys, install_first in product(KEYS, (True, False)):
        app = FastAPI()
        if install_first:
            install(app, guard)
        for each in keys:
            app.add_exception_handler(each, handler)
        if not install_first:
            install(app, guard)
        client = TestClient(entry_point(app, guard), follow_redirects=False)

        response = client.post("/pay", headers=headers)

        assert_step_up_challenge(response)
        assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("key", [401, HTTPException])
def test_handlers_of_the_app_answer_its_own_errors(key: Any, guard: StepUpGuard) -> None:
    """Only refusals come before them; they stay where they are for the app to look at."""
    app = FastAPI()
    app.add_exception_handler(key, to_login)
    install(app, guard)

    @app.get("/own")
    def own() -> None:
        raise HTTPException(401)

    assert TestClient(app, follow_redirects=False).get("/own").headers["location"] == "/login"
    assert app.exception_handlers[key] is to_login


@pytest.mark.parametrize("entry_point", ENTRY_POINTS[:-1])
def test_a_handler_for_refusals_answers(
    entry_point: Callable[..., ASGIApp], guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """An app with an error format of its own gives refusals that form, in either order."""
    headers = descope.sign_in(ANN).headers
    for kind, install_first in product((StepUpError, StepUpRequired), (True, False)):
        app = FastAPI()
        if install_first:
            install(app, guard)
        app.add_exception_handler(kind, in_its_own_form)
        app.add_exception_handler(401, to_login)
        if not install_first:
            install(app, guard)
        client = TestClient(entry_point(app, guard))

        response = client.post("/pay", headers=headers)

        assert (response.status_code, response.json()) == (418, {"error": "StepUpRequired"})


def test_websockets_are_denied_before_a_handler_for_401(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The handshake gets the same answer."""
    app = FastAPI()
    app.add_exception_handler(401, to_login)
    install(app, guard)

    @app.websocket("/ws")
    async def chat(_: Annotated[Claims, Depends(RequireStepUp(guard))]) -> None: ...

    with pytest.raises(WebSocketDenialResponse) as denied:
        TestClient(app).websocket_connect("/ws", headers=descope.sign_in(ANN).headers).__enter__()
    assert_step_up_challenge(denied.value)


def test_a_refusal_after_the_reply_has_started_goes_on(guard: StepUpGuard) -> None:
    """It cannot be answered any more; the server gets the error."""

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await guard.authorize(Request(scope))

    class Late:
        """A middleware that asks too late."""

        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await (late if scope["type"] == "http" else self.app)(scope, receive, send)

    app = Starlette()
    install(app, guard)
    app.add_middleware(Late)

    with TestClient(app) as client, pytest.raises(StepUpError):
        client.get("/")


def mounts(inner: Starlette) -> dict[str, Starlette]:
    """Return apps on which *inner* is mounted in different ways."""

    class Wrapped:
        """A middleware around it."""

        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        def routes(self) -> None:
            """Be called what the routes of an app are called, and be something else."""

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    return {
        "mount": Starlette(routes=[Mount("/sub", inner)]),
        "wrapped": Starlette(routes=[Mount("/sub", Wrapped(inner))]),
        "host": Starlette(routes=[Host("testserver", Starlette(routes=[Mount("/sub", inner)]))]),
        "router": Starlette(routes=[Mount("/sub", Router(routes=[Mount("/", inner)]))]),
        "fastapi": FastAPI(routes=[Mount("/sub", inner)]),
    }


@pytest.mark.parametrize("place", ["mount", "wrapped", "host", "router", "fastapi"])
def test_mounted_apps_are_installed_too(place: str, guard: StepUpGuard) -> None:
    """Those that are mounted when the outer app starts to serve."""
    inner = FastAPI()
    inner.add_exception_handler(401, to_login)
    inner.get("/pay", dependencies=[Depends(RequireStepUp(guard))])(lambda: "paid")
    outer = mounts(inner)[place]
    install(outer, guard)

    response = TestClient(outer, follow_redirects=False).get("/sub/pay")

    assert response.headers["content-type"] == "application/problem+json"
    assert "401" in inner.openapi()["paths"]["/pay"]["get"]["responses"]


def test_a_mounted_app_that_serves_already_is_left_alone(guard: StepUpGuard) -> None:
    """It is too late for it, and no error for the outer one."""
    inner = FastAPI()
    inner.get("/pay", dependencies=[Depends(RequireStepUp(guard))])(lambda: "paid")
    TestClient(inner).get("/pay")
    outer = Starlette(routes=[Mount("/sub", inner), Mount("/plain", PlainTextResponse("x"))])
    install(outer, guard)
    client = TestClient(outer)

    assert client.get("/sub/pay").json()["detail"]["code"] == "unauthenticated"
    assert client.get("/plain/").text == "x"


def custom_openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return an `openapi` as FastAPI's documentation writes it."""

    def openapi() -> dict[str, Any]:
        app.openapi_schema = get_openapi(title="Own", version="1", routes=app.routes)
        return app.openapi_schema

    return openapi


@pytest.mark.parametrize("when", ["before", "after", "after-and-install-again"])
def test_an_openapi_of_the_app_is_described(when: str, guard: StepUpGuard) -> None:
    """Set before `install`, or after it: then when the app serves, or at the next call."""
    app = FastAPI()
    if when == "before":
        app.openapi = custom_openapi(app)  # type: ignore[method-assign]
    install(app, guard)
    app.post("/pay", dependencies=[Depends(RequireStepUp(guard))])(lambda: "paid")
    if when != "before":
        app.openapi = custom_openapi(app)  # type: ignore[method-assign]
    if when == "after-and-install-again":
        install(app, guard)

    schema = app.openapi() if when != "after" else TestClient(app).get("/openapi.json").json()

    assert schema["info"]["title"] == "Own"
    assert schema["paths"]["/pay"]["post"]["x-step-up"] == {"stepped_up": True}


def test_an_openapi_that_extends_ours_is_described_once(guard: StepUpGuard) -> None:
    """Descriptions that are there already are not added again."""
    app = FastAPI()
    install(app, guard)
    app.post("/pay", dependencies=[Depends(RequireStepUp(guard))])(lambda: "paid")
    ours = app.openapi
    before = json.dumps(ours())

    def openapi() -> dict[str, Any]:
        return ours() | {"x-logo": "logo.svg"}

    app.openapi = openapi  # type: ignore[method-assign]
    install(app, guard)

    assert json.dumps({k: v for k, v in app.openapi().items() if k != "x-logo"}) == before
    assert app.openapi()["x-logo"] == "logo.svg"


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
def test_an_app_that_builds_its_stack_otherwise_is_served_too(
    kind: Any, guard: StepUpGuard
) -> None:
    """The layer is then outside of all."""

    class Own(kind):  # type: ignore[misc]
        """An app without Starlette's outermost middleware."""

        def build_middleware_stack(self) -> ASGIApp:
            """Return the rest of it."""
            app: ASGIApp = super().build_middleware_stack().app
            return app

    app = Own(routes=[Route("/pay", requires_step_up(guard)(plain))])
    install(app, guard)

    response = TestClient(app).get("/pay")

    assert response.headers["content-type"] == "application/problem+json"


async def plain(request: Request) -> None:
    """Answer nothing."""

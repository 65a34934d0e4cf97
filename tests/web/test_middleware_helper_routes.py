"""StepUpMiddleware: what it lets through to the helper routes with a session alone."""

from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from fastapi_stepup import RequireStepUp, StepUpGuard, StepUpMiddleware, install, stepup_router
from fastapi_stepup.testing import DescopeEmulator, SigningKey
from tests.support.exchange import ANN, exchange, scope_for

SECRET = "SECRET"
START = "/step-up/otp/start"


def with_helpers(guard: StepUpGuard, *routers: APIRouter) -> FastAPI:
    """Return an app with the helper routes and, for all other requests, a route with data."""
    app = FastAPI()
    install(app, guard)
    for router in routers or (stepup_router(guard),):
        app.include_router(router)
    app.add_api_route("/{path:path}", lambda: SECRET, methods=["GET", "POST", "DELETE"])
    return app


def status_of(app: ASGIApp, method: str, path: str, token: str) -> Any:
    """Return the status of the answer to a request with *token*, its path as it is written."""
    headers = [(b"authorization", f"Bearer {token}".encode())]
    return exchange(app, scope_for(path, method, headers=headers))[0][0]["status"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/{START}"),
        ("POST", f"//{START}"),
        ("GET", START),
        ("DELETE", START),
        ("DELETE", "/step-up/status"),
    ],
)
def test_the_path_of_a_helper_route_opens_no_other_route(
    method: str, path: str, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Another spelling or another method leads to the route with data, which asks for step-up."""
    app = with_helpers(guard)
    app.add_middleware(StepUpMiddleware, guard=guard)

    assert status_of(app, method, path, descope.sign_in(ANN).session_token) == 401


def test_the_name_of_a_helper_route_opens_no_other_route(guard: StepUpGuard) -> None:
    """Behind the middleware, and for a dependency of the whole app."""
    helpers = stepup_router(guard)
    app = FastAPI(dependencies=[Depends(RequireStepUp(guard))])
    for route in helpers.routes:
        assert isinstance(route, Route)
        app.add_api_route(f"/own/{route.name}", lambda: SECRET, name=route.name, methods=["POST"])
    app.include_router(helpers)
    paths = [getattr(route, "path", "") for route in app.routes]
    paths = [path for path in paths if path.startswith("/own/")]

    assert len(paths) > 3
    for served in (app, StepUpMiddleware(app, guard=guard)):
        client = TestClient(served)
        assert {client.post(path).status_code for path in paths} == {401}


def test_a_route_before_the_helper_route_stays_closed(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The route that serves the request counts, not the one that has the path too."""
    shadow = APIRouter()
    shadow.add_api_route(START, lambda: SECRET, methods=["POST"])
    app = with_helpers(guard, shadow, stepup_router(guard))
    app.add_middleware(StepUpMiddleware, guard=guard)

    response = TestClient(app).post(START, headers=descope.sign_in(ANN).headers)

    assert response.status_code == 401


@pytest.mark.parametrize("place", ["around", "inside", "mounted", "behind-another"])
def test_the_helper_routes_need_a_session_alone(
    place: str, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """At each place of the middleware; an unknown refresh token is the route's own refusal."""

    class Opaque:
        """A middleware that does not show what it wraps."""

        def __init__(self, app: ASGIApp) -> None:
            self._wrapped = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self._wrapped(scope, receive, send)

    app: Any = with_helpers(guard)
    path = START
    if place == "behind-another":
        app.add_middleware(Opaque)
    if place in {"inside", "behind-another"}:
        app.add_middleware(StepUpMiddleware, guard=guard)
    else:
        app = StepUpMiddleware(app, guard=guard)
    if place == "mounted":
        app, path = Starlette(routes=[Mount("/sub", app)]), f"/sub{START}"

    response = TestClient(app).post(
        path, headers=descope.sign_in(ANN).headers, json={"delivery": "email"}
    )

    assert response.json()["code"] == "refresh_token_required"


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(
            Router([Route("/{path:path}", PlainTextResponse(SECRET), methods=["POST"])]),
            id="router",
        ),
        pytest.param(PlainTextResponse(SECRET), id="no-routes-to-see"),
    ],
)
def test_the_helper_routes_outside_of_a_mount_open_nothing_in_it(
    inner: ASGIApp, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """What is no app, below a mount, has none of its own: the one in the scope is the outer one."""
    app = FastAPI()
    app.include_router(stepup_router(guard))
    app.mount("/sub", StepUpMiddleware(inner, guard=guard))

    response = TestClient(app).post(f"/sub{START}", headers=descope.sign_in(ANN).headers)

    assert response.status_code == 401


def test_the_root_path_of_an_inner_app_counts(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """FastAPI puts it in place of the mount's, so another route serves the request."""
    inner = with_helpers(guard)
    inner.root_path = "/elsewhere"
    app = StepUpMiddleware(Starlette(routes=[Mount("/sub", inner)]), guard=guard)

    token = descope.sign_in(ANN).session_token

    assert status_of(app, "POST", f"/sub{START}", token) == 401


@pytest.mark.parametrize("has_expired_token", [False, True])
def test_a_step_up_can_be_finished_after_the_session_ran_out(
    *, has_expired_token: bool, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The refresh token says who it is; the start and other routes still need the session."""
    app = with_helpers(guard)
    app.add_middleware(StepUpMiddleware, guard=guard)
    client = TestClient(app)
    session = descope.sign_in(ANN)
    started = client.post(
        START,
        headers=session.headers,
        json={"delivery": "email", "refresh_token": session.refresh_token},
    )
    assert started.is_success
    expired = descope.token(exp=1, iat=1)
    client.headers.update({"Authorization": f"Bearer {expired}"} if has_expired_token else {})
    proof = {
        "delivery": "email",
        "code": descope.outbox[-1].code,
        "refresh_token": session.refresh_token,
    }

    assert client.post(START, json=proof).status_code == 401
    assert client.post("/step-up/otp/verify/x", json=proof).status_code == 401
    assert client.get("/step-up/otp/verify").status_code == 401
    assert client.post("/step-up/otp/verify", json={}).status_code == 401
    assert client.post("/step-up/otp/verify", json=proof).json()["stepped_up"] is True


def test_a_forged_token_is_refused_at_once(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Only a session that is missing or expired is left to the route that finishes."""
    app = with_helpers(guard)
    app.add_middleware(StepUpMiddleware, guard=guard)
    token = descope.token(key=SigningKey())

    response = TestClient(app).post(
        "/step-up/otp/verify",
        headers={"Authorization": f"Bearer {token}"},
        json={"refresh_token": descope.sign_in(ANN).refresh_token},
    )

    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")


def test_a_public_helper_route_is_reached(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """A link may be opened on a device that has no session; other methods of its path stay shut."""
    pages = ("https://shop.example/link",)
    app = with_helpers(guard, stepup_router(guard, methods=["enchantedlink"], redirect_uris=pages))
    app.add_middleware(StepUpMiddleware, guard=guard)

    client = TestClient(app)

    response = client.post("/step-up/enchantedlink/verify", json={"token": "t"})

    assert (response.status_code, response.json()["code"]) == (400, "link_rejected")
    assert client.get("/step-up/enchantedlink/verify").status_code == 401
    assert client.post("/step-up/enchantedlink/start", json={}).status_code == 401

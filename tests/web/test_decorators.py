"""`requires_step_up` on functions, classes and WebSockets."""

import functools
import pkgutil
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from fastapi_stepup import StepUpGuard, StepUpPolicy, claims_from, requires_step_up
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge

ANN = "ann@example.com"


def asynchronous(guard: StepUpGuard) -> ASGIApp:
    """Return an app with a coroutine function as endpoint."""

    @requires_step_up(guard, StepUpPolicy(max_age=60))
    async def pay(request: Request) -> Response:
        return PlainTextResponse(claims_from(request).subject)

    return Starlette(routes=[Route("/pay", pay)])


def synchronous(guard: StepUpGuard) -> ASGIApp:
    """Return an app with a plain function as endpoint."""

    @requires_step_up(guard, StepUpPolicy(max_age=60))
    def pay(request: Request) -> Response:
        return PlainTextResponse(claims_from(request).subject)

    return Starlette(routes=[Route("/pay", pay)])


def fastapi_function(guard: StepUpGuard) -> ASGIApp:
    """Return an app whose endpoint has parameters of FastAPI, passed by name."""
    app = FastAPI()

    @app.get("/pay")
    @requires_step_up(guard, StepUpPolicy(max_age=60))
    def pay(request: Request, amount: int = 1) -> Response:
        return PlainTextResponse(claims_from(request).subject)

    return app


def method(guard: StepUpGuard) -> ASGIApp:
    """Return an app with one method of a class guarded."""

    class Pay(HTTPEndpoint):
        """An endpoint."""

        @requires_step_up(guard, StepUpPolicy(max_age=60))
        async def get(self, request: Request) -> Response:
            return PlainTextResponse(claims_from(request).subject)

    return Starlette(routes=[Route("/pay", Pay)])


def whole_class(guard: StepUpGuard) -> ASGIApp:
    """Return an app with a class guarded."""

    @requires_step_up(guard, StepUpPolicy(max_age=60))
    class Pay(HTTPEndpoint):
        """An endpoint."""

        def get(self, request: Request) -> Response:
            return PlainTextResponse(claims_from(request).subject)

    assert (Pay.__name__, Pay.__doc__) == ("Pay", "An endpoint.")
    return Starlette(routes=[Route("/pay", Pay)])


def callable_object(guard: StepUpGuard) -> ASGIApp:
    """Return an app with an object as endpoint that is awaited when called."""

    class Pay:
        """An endpoint."""

        async def __call__(self, request: Request) -> Response:
            return PlainTextResponse(claims_from(request).subject)

    app = FastAPI()
    app.add_api_route("/pay", requires_step_up(guard, StepUpPolicy(max_age=60))(Pay()))
    return app


def partial(guard: StepUpGuard) -> ASGIApp:
    """Return an app with a partial function as endpoint."""

    async def pay(greeting: str, request: Request) -> Response:
        return PlainTextResponse(greeting + claims_from(request).subject)

    guarded = requires_step_up(guard, StepUpPolicy(max_age=60))(functools.partial(pay, ""))
    return Starlette(routes=[Route("/pay", guarded, methods=["GET"])])


@pytest.mark.parametrize(
    "build",
    [asynchronous, synchronous, fastapi_function, method, whole_class, callable_object, partial],
)
def test_endpoints(build: Any, guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Refused without a session and without a step-up; then the endpoint runs and has claims."""
    client = TestClient(build(guard))
    ann = descope.step_up(ANN)

    assert client.get("/pay").status_code == 401
    assert_step_up_challenge(
        client.get("/pay", headers=descope.step_up(ANN, age=61).headers), max_age=60
    )
    assert client.get("/pay", headers=ann.headers).text == ann.user_id


def websocket_function(guard: StepUpGuard) -> ASGIApp:
    """Return an app with a coroutine function for a socket."""

    @requires_step_up(guard)
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(claims_from(websocket).subject)
        await websocket.close()

    return Starlette(routes=[WebSocketRoute("/ws", chat)])


def websocket_class(guard: StepUpGuard) -> ASGIApp:
    """Return an app with a class for a socket."""

    @requires_step_up(guard)
    class Chat(WebSocketEndpoint):
        """A socket."""

        async def on_connect(self, websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_text(claims_from(websocket).subject)
            await websocket.close()

    return Starlette(routes=[WebSocketRoute("/ws", Chat)])


@pytest.mark.parametrize("build", [websocket_function, websocket_class])
def test_websockets(build: Any, guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Denied before they are accepted, or opened with claims."""
    client = TestClient(build(guard))
    ann = descope.step_up(ANN)

    denied_socket = client.websocket_connect("/ws", headers=descope.sign_in(ANN).headers)
    with pytest.raises(WebSocketDenialResponse) as denied:
        denied_socket.__enter__()
    assert_step_up_challenge(denied.value)
    with client.websocket_connect("/ws", headers=ann.headers) as websocket:
        assert websocket.receive_text() == ann.user_id


@pytest.mark.parametrize(
    ("guard_given", "policy"), [(False, None), (True, "5m"), (True, "session"), (True, 300)]
)
def test_arguments_that_are_none_are_refused(
    guard_given: object, policy: Any, guard: StepUpGuard
) -> None:
    """The message shows what to write; `@requires_step_up` without a call is one of them."""
    with pytest.raises(ConfigurationError, match=r"Write @requires_step_up\(guard\)"):
        requires_step_up(guard if guard_given else None, policy)  # type: ignore[arg-type]


def no_connection(req: Any) -> None:
    """Have no parameter that is known."""


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        pytest.param(no_connection, "needs a parameter named request or websocket", id="name"),
        pytest.param(dict, "neither an HTTPEndpoint nor a WebSocketEndpoint", id="class"),
        pytest.param(pkgutil.walk_packages, "is a generator", id="generator"),
        pytest.param(Request.stream, "is a generator", id="async-generator"),
    ],
)
def test_endpoints_that_cannot_be_guarded_are_refused(
    endpoint: Any, message: str, guard: StepUpGuard
) -> None:
    """At decoration, not at the first request."""
    with pytest.raises(ConfigurationError, match=message):
        requires_step_up(guard)(endpoint)

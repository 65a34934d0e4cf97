"""StepUpMiddleware: its answers, as the app or the socket gives them."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from fastapi_stepup import (
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    claims_from,
    install,
    stepup_router,
)
from fastapi_stepup.errors import StepUpError
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge
from tests.support.attack_requests import SECRET, anything
from tests.support.exchange import ANN, exchange, scope_for

POLICY = StepUpPolicy(max_age="5m")


async def asynchronous_handler(request: Request, error: Exception) -> Response:
    """Answer in the app's own way."""
    return JSONResponse({"ours": type(error).__name__}, 418)


def synchronous_handler(request: Request, error: Exception) -> Response:
    """Answer in the app's own way, from a thread."""
    return JSONResponse({"ours": type(error).__name__}, 418)


def raising_handler(request: Request, error: Exception) -> Response:
    """Fail."""
    raise LookupError


@pytest.mark.parametrize("key", [401, StepUpError, HTTPException])
@pytest.mark.parametrize("handler", [asynchronous_handler, synchronous_handler])
@pytest.mark.parametrize("place", ["inside", "around"])
def test_a_replaced_exception_handler_answers(
    key: Any, handler: Callable[..., Any], place: str, guard: StepUpGuard
) -> None:
    """The app's own answer, as for any of its exceptions, and still no handler runs."""
    handlers: dict[Any, Any] = {key: handler, Exception: raising_handler}
    app = FastAPI(exception_handlers=handlers)
    app.add_api_route("/pay", lambda: SECRET)
    if place == "inside":
        app.add_middleware(StepUpMiddleware, guard=guard)
    served = app if place == "inside" else StepUpMiddleware(app, guard=guard)

    response = TestClient(served).get("/pay")

    assert (response.status_code, response.json()) == (418, {"ours": "Unauthenticated"})


def test_a_broken_exception_handler_opens_nothing(guard: StepUpGuard) -> None:
    """Its error goes on to the server, like any failure of the app."""
    app = Starlette(
        exception_handlers={StepUpError: raising_handler}, routes=[Mount("/", anything)]
    )
    client = TestClient(StepUpMiddleware(app, guard=guard), raise_server_exceptions=False)

    assert client.get("/").status_code == 500


def test_a_rule_that_fails_opens_nothing(guard: StepUpGuard) -> None:
    """An error while a rule is looked up is an error, not a pass."""

    class Broken(StepUpRule):
        """A rule that cannot say."""

        def matches(self, path: str, method: str | None) -> bool:
            raise LookupError

    app = StepUpMiddleware(anything, guard=guard, rules=[Broken("/", "public")])

    assert TestClient(app, raise_server_exceptions=False).get("/").status_code == 500


def test_plain_asgi_apps_get_bare_problems(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Without an app that answers exceptions the problem goes out as it is; a 404 as text."""
    client = TestClient(StepUpMiddleware(anything, guard=guard))

    response = client.get("/")
    lost = client.get("/%0a", headers=descope.step_up(ANN).headers)

    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "unauthenticated"
    assert (lost.status_code, lost.text) == (404, "Not Found")


def test_a_mounted_app_is_answered_as_it_would_itself(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """In front of a mounted app, the answers and the helper routes are that app's."""
    sub = FastAPI()
    install(sub, guard)
    sub.include_router(stepup_router(guard))
    sub.add_api_route("/pay", lambda: SECRET)
    app = FastAPI()
    app.mount("/sub", StepUpMiddleware(sub, guard=guard))

    response = TestClient(app).get("/sub/pay", headers=descope.sign_in(ANN).headers)

    assert response.headers["content-type"] == "application/problem+json"
    problem = assert_step_up_challenge(response)
    assert problem["step_up"]["start_uri"] == "/sub/step-up/otp/start"


def test_in_front_of_a_mount(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """As a mount's own middleware its rules are relative to the mount."""
    middleware = [Middleware(StepUpMiddleware, guard=guard, rules=[StepUpRule("/open", "public")])]
    app = Starlette(routes=[Mount("/sub", anything, middleware=middleware), Mount("/", anything)])
    client = TestClient(app)

    assert client.get("/sub/open").text == SECRET
    assert client.get("/sub/pay").status_code == 401
    assert client.get("/open").text == SECRET
    assert client.get("/sub/pay", headers=descope.step_up(ANN).headers).text == SECRET


# -- WebSockets


async def greet(websocket: WebSocket) -> None:
    """Accept, and say who is there."""
    await websocket.accept()
    await websocket.send_text(claims_from(websocket).subject)
    await websocket.close()


def test_websockets(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Let in, or denied with the answer that a request gets."""
    inner = Starlette(routes=[WebSocketRoute("/ws", greet)])
    client = TestClient(StepUpMiddleware(inner, guard=guard))
    ann = descope.step_up(ANN)

    with client.websocket_connect("/ws", headers=ann.headers) as websocket:
        assert websocket.receive_text() == ann.user_id
    for headers, code in (
        ({}, "unauthenticated"),
        (descope.step_up(ANN, expires_in=-10).headers, "invalid_token"),
        (descope.sign_in(ANN).headers, "insufficient_user_authentication"),
    ):
        websocket = client.websocket_connect("/ws", headers=headers)
        with pytest.raises(WebSocketDenialResponse) as denied:
            websocket.__enter__()
        assert (denied.value.status_code, denied.value.json()["code"]) == (401, code)


def test_websockets_without_denial_responses(guard: StepUpGuard) -> None:
    """A server that cannot deny closes the socket with 1008 before it is accepted."""
    app = StepUpMiddleware(Starlette(routes=[WebSocketRoute("/ws", greet)]), guard=guard)

    messages, _ = exchange(app, scope_for("/ws", type="websocket"))

    assert messages == [{"type": "websocket.close", "code": 1008, "reason": "unauthenticated"}]


def test_a_public_websocket_is_passed_on(guard: StepUpGuard) -> None:
    """A public rule without methods is for WebSockets too; one with methods is not."""

    async def accept(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    inner = Starlette(routes=[WebSocketRoute("/ws", accept), WebSocketRoute("/get", accept)])
    rules = [StepUpRule("/ws", "public"), StepUpRule("/get", "public", methods=["GET"])]
    client = TestClient(StepUpMiddleware(inner, guard=guard, rules=rules))

    with client.websocket_connect("/ws") as websocket, pytest.raises(WebSocketDisconnect):
        websocket.receive_text()
    websocket = client.websocket_connect("/get")
    with pytest.raises(WebSocketDenialResponse):
        websocket.__enter__()

"""What a client sees: one table of situations, and each entry point answers all of them alike."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpGuard,
    StepUpPolicy,
    install,
    stepup_router,
)
from fastapi_stepup.testing import DescopeEmulator
from tests.contract.situations import (
    ANN,
    SESSION_ROWS,
    STEP_UP_ROWS,
    Fields,
    Row,
    bearer,
)


@dataclass(frozen=True)
class EntryPoint:
    """A way into an app, and how its answer is written."""

    app: Callable[[StepUpGuard, StepUpPolicy], ASGIApp]
    media_type: str
    is_wrapped: bool = False
    is_websocket: bool = False
    path: str = "/pay"

    def answer(self, guard: StepUpGuard, policy: StepUpPolicy, fields: Fields) -> httpx2.Response:
        """Return the answer to one connection."""
        client = TestClient(self.app(guard, policy), base_url="https://testserver")
        headers = httpx2.Headers(fields)
        if not self.is_websocket:
            return client.post(self.path, headers=headers, json={"delivery": "email"})
        websocket = client.websocket_connect(self.path, headers=headers)
        with pytest.raises(WebSocketDenialResponse) as denial:
            websocket.__enter__()
        return denial.value


def through_fastapi(guard: StepUpGuard, policy: StepUpPolicy) -> FastAPI:
    """Return an app with a dependency, on a route and on a WebSocket."""
    app = FastAPI()
    stepped_up = Annotated[Claims, Depends(RequireStepUp(guard, policy=policy))]

    @app.post("/pay")
    def pay(claims: stepped_up) -> str:
        return claims.subject

    @app.websocket("/ws")
    async def converse(websocket: WebSocket, claims: stepped_up) -> None:
        await websocket.accept()
        await websocket.close(1000, claims.subject)

    return app


def through_fastapi_installed(guard: StepUpGuard, policy: StepUpPolicy) -> FastAPI:
    """Return the same app, installed."""
    app = through_fastapi(guard, policy)
    install(app, guard)
    return app


def through_starlette(guard: StepUpGuard, policy: StepUpPolicy) -> Starlette:
    """Return an app without FastAPI, whose endpoint asks the guard itself."""

    async def pay(request: Request) -> Response:
        claims = await guard.authorize(request, policy)
        return Response(claims.subject)

    return Starlette(routes=[Route("/pay", pay, methods=["POST"])])


def through_starlette_installed(guard: StepUpGuard, policy: StepUpPolicy) -> Starlette:
    """Return the same app, installed."""
    app = through_starlette(guard, policy)
    install(app, guard)
    return app


def through_router(guard: StepUpGuard, policy: StepUpPolicy) -> FastAPI:
    """Return an app with the helper routes."""
    app = FastAPI()
    app.include_router(stepup_router(guard))
    return app


FASTAPI = EntryPoint(through_fastapi, "application/json", is_wrapped=True)
INSTALLED = EntryPoint(through_fastapi_installed, "application/problem+json")
STARLETTE = EntryPoint(through_starlette, "application/problem+json")
STARLETTE_INSTALLED = EntryPoint(through_starlette_installed, "application/problem+json")
WEBSOCKET = EntryPoint(
    through_fastapi, "application/json", is_wrapped=True, is_websocket=True, path="/ws"
)
WEBSOCKET_INSTALLED = EntryPoint(
    through_fastapi_installed, "application/problem+json", is_websocket=True, path="/ws"
)
ROUTER_START = EntryPoint(
    through_router, "application/json", is_wrapped=True, path="/step-up/otp/start"
)
ROUTER_VERIFY = EntryPoint(
    through_router, "application/json", is_wrapped=True, path="/step-up/otp/verify"
)

ENTRY_POINTS = {
    "fastapi": FASTAPI,
    "fastapi-installed": INSTALLED,
    "starlette": STARLETTE,
    "starlette-installed": STARLETTE_INSTALLED,
    "websocket": WEBSOCKET,
    "websocket-installed": WEBSOCKET_INSTALLED,
}
ROUTER_ENTRY_POINTS = {
    "router-start": ROUTER_START,
    "router-verify": ROUTER_VERIFY,
}


def assert_answered(response: httpx2.Response, entry_point: EntryPoint, row: Row) -> None:
    """Assert status, headers and body, each exactly."""
    assert response.status_code == row.status
    assert response.headers.get_list("www-authenticate") == list(filter(None, [row.header]))
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == entry_point.media_type
    body = json.loads(response.content)
    assert body == ({"detail": row.problem} if entry_point.is_wrapped else row.problem)


@pytest.mark.parametrize("row", [*SESSION_ROWS, *STEP_UP_ROWS])
def test_each_entry_point_answers_each_situation(
    row: Row, guard: StepUpGuard, descope: DescopeEmulator, subtests: pytest.Subtests
) -> None:
    """Status, challenge and problem are those of the table, at each entry point."""
    fields = row.fields(descope)
    for name, entry_point in ENTRY_POINTS.items():
        with subtests.test(name):
            response = entry_point.answer(guard, row.policy, fields)

            assert_answered(response, entry_point, row)
            assert "retry-after" not in response.headers


@pytest.mark.parametrize("row", SESSION_ROWS)
def test_the_helper_routes_answer_each_situation_of_a_session(
    row: Row, guard: StepUpGuard, descope: DescopeEmulator, subtests: pytest.Subtests
) -> None:
    """The helper routes ask for a session, and refuse as any guarded route does."""
    descope.create_user(ANN)
    fields = httpx2.Headers(row.fields(descope))
    for name, entry_point in ROUTER_ENTRY_POINTS.items():
        with subtests.test(name):
            client = TestClient(entry_point.app(guard, row.policy), base_url="https://testserver")
            code = {"code": "123456"} if name == "router-verify" else {}

            response = client.post(
                entry_point.path, headers=fields, json={"delivery": "email", **code}
            )

            assert_answered(response, entry_point, row)
            assert "retry-after" not in response.headers


def test_each_entry_point_answers_503_without_keys(
    guard: StepUpGuard, descope: DescopeEmulator, subtests: pytest.Subtests
) -> None:
    """Without keys no client is told to sign in again: 503 and when to come back."""
    token = descope.step_up(ANN).session_token
    descope.fail(503, times=100, path="/v2/keys")
    for name, entry_point in (ENTRY_POINTS | ROUTER_ENTRY_POINTS).items():
        with subtests.test(name):
            response = entry_point.answer(guard, StepUpPolicy(), bearer(token))

            assert_answered(response, entry_point, Row(lambda _: [], 503, "keys_unavailable"))
            assert 1 <= int(response.headers["retry-after"]) <= 60


@pytest.mark.parametrize("entry_point", [FASTAPI, INSTALLED, STARLETTE, STARLETTE_INSTALLED])
def test_each_entry_point_opens_to_a_stepped_up_session(
    entry_point: EntryPoint, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """What the table asks for is enough, and the handler knows who it is."""
    ann = descope.step_up(ANN, age=200)

    response = entry_point.answer(
        guard, StepUpPolicy(max_age=300, amr="mfa"), bearer(ann.session_token)
    )

    assert (response.status_code, ann.user_id in response.text) == (200, True)


def test_the_websocket_opens_to_a_stepped_up_session(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """What the table asks for is enough, and the handler knows who it is."""
    ann = descope.step_up(ANN)
    client = TestClient(through_fastapi(guard, StepUpPolicy()))

    with client.websocket_connect("/ws", headers=ann.headers) as websocket:
        message = websocket.receive()

    assert (message["code"], message["reason"]) == (1000, ann.user_id)


def test_connections_are_all_the_guard_needs(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """A bare `HTTPConnection` will do, so that any ASGI code can ask."""
    ann = descope.step_up(ANN)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        claims = await guard.authorize(HTTPConnection(scope), StepUpPolicy())
        await Response(claims.subject)(scope, receive, send)

    assert TestClient(app).post("/pay", headers=ann.headers).text == ann.user_id

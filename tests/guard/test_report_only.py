"""Report-only mode: the decision is made and told, and the request passes."""

import logging
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    requires_step_up,
)
from fastapi_stepup.events import Event, ReportOnly
from fastapi_stepup.testing import DescopeEmulator
from tests.support.attack_requests import SECRET, anything

ANN = "ann@example.com"


@pytest.fixture
def events() -> list[Event]:
    """What the guard told."""
    return []


@pytest.fixture
def guard(events: list[Event]) -> StepUpGuard:
    """A guard that reports only."""
    return StepUpGuard.for_descope(
        "P2abcdefghijklmnopqrstuvwxyz", report_only=True, on_event=events.append
    )


def reported(events: list[Event]) -> list[str]:
    """Return the codes of what passed."""
    return [event.code for event in events if isinstance(event, ReportOnly)]


def test_it_is_loud(caplog: pytest.LogCaptureFixture) -> None:
    """In the log at the start, and in `health`; enforcing guards are neither."""
    guard = StepUpGuard.for_descope("P2x", report_only=True)
    assert "Report-only mode" in caplog.text
    assert guard.health().report_only
    caplog.clear()
    assert not StepUpGuard.for_descope("P2x").health().report_only
    assert caplog.text == ""


@pytest.mark.usefixtures("descope")
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({}, "unauthenticated", id="nobody"),
        pytest.param({"Authorization": "Bearer x.y.z"}, "invalid_token", id="bad-token"),
        pytest.param({"Authorization": "Bearer"}, "invalid_request", id="unreadable"),
        pytest.param({"Cookie": "DS=x"}, "cross_site_request", id="cross-site"),
    ],
)
def test_the_middleware_refuses_nothing(
    headers: dict[str, str],
    code: str,
    guard: StepUpGuard,
    events: list[Event],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What would be refused passes, with one event and one line that hold no request data."""
    client = TestClient(StepUpMiddleware(anything, guard=guard))
    caplog.clear()

    assert client.post("/", headers=headers).text == SECRET
    assert reported(events) == [code]
    messages = [r.message for r in caplog.records if r.name == "fastapi_stepup"]
    assert messages == [f"Report only: a request passed that enforcement answers {code}."]


def test_what_meets_the_policy_is_not_reported(
    guard: StepUpGuard, descope: DescopeEmulator, events: list[Event]
) -> None:
    """Only what enforcement would change counts."""
    client = TestClient(
        StepUpMiddleware(anything, guard=guard, rules=[StepUpRule("/me", "session")])
    )

    assert client.get("/", headers=descope.step_up(ANN).headers).text == SECRET
    assert client.get("/me", headers=descope.sign_in(ANN).headers).text == SECRET
    assert reported(events) == []
    assert client.get("/", headers=descope.sign_in(ANN).headers).text == SECRET
    assert reported(events) == ["insufficient_user_authentication"]


def test_an_outage_of_the_keys_is_reported(
    guard: StepUpGuard, descope: DescopeEmulator, events: list[Event]
) -> None:
    """Nothing can be verified, and nothing is refused for it."""
    descope.fail(503, times=9)
    client = TestClient(StepUpMiddleware(anything, guard=guard))

    assert client.get("/", headers=descope.step_up(ANN).headers).text == SECRET
    assert reported(events) == ["keys_unavailable"]


def test_hostile_paths_pass_too(
    guard: StepUpGuard, descope: DescopeEmulator, events: list[Event]
) -> None:
    """The app answers them as before; both refusals are told."""
    assert TestClient(StepUpMiddleware(anything, guard=guard)).get("/pay%0a").text == SECRET
    assert reported(events) == ["unauthenticated", "not_found"]


def test_a_dependency_owes_claims(
    guard: StepUpGuard, descope: DescopeEmulator, events: list[Event]
) -> None:
    """It lets a session pass that is not stepped up, and still asks for a session."""
    app = FastAPI()

    @app.get("/pay")
    def pay(claims: Annotated[Claims, Depends(RequireStepUp(guard))]) -> str:
        return claims.subject

    client = TestClient(app)
    ann = descope.sign_in(ANN)

    assert client.get("/pay", headers=ann.headers).json() == ann.user_id
    assert reported(events) == ["insufficient_user_authentication"]
    assert client.get("/pay").status_code == 401
    assert len(reported(events)) == 1


def converse(guard: StepUpGuard) -> Any:
    """Return an endpoint that rechecks before it answers."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        claims = await guard.recheck(websocket)
        await websocket.send_text(claims.subject)
        await websocket.close()

    return endpoint


def test_recheck_reports(guard: StepUpGuard, descope: DescopeEmulator, events: list[Event]) -> None:
    """A policy is reported, again and again; without a session there are no claims to return."""
    routes = [
        WebSocketRoute("/ws", converse(guard)),
        WebSocketRoute("/decorated", requires_step_up(guard)(converse(guard))),
    ]
    client = TestClient(
        StepUpMiddleware(Starlette(routes=routes), guard=guard, default=StepUpPolicy())
    )
    ann = descope.sign_in(ANN)

    with client.websocket_connect("/ws", headers=ann.headers) as websocket:
        assert websocket.receive_text() == ann.user_id
    assert reported(events) == 2 * ["insufficient_user_authentication"]
    with client.websocket_connect("/decorated", headers=ann.headers) as websocket:
        assert websocket.receive_text() == ann.user_id
    with client.websocket_connect("/ws") as websocket, pytest.raises(WebSocketDisconnect) as closed:
        websocket.receive_text()
    assert (closed.value.code, closed.value.reason) == (1008, "unauthenticated")


def test_the_log_has_no_token(
    guard: StepUpGuard, descope: DescopeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of a session that passed nor of one that would not."""
    caplog.set_level(logging.DEBUG)
    tokens = [descope.sign_in(ANN).session_token, descope.token(su="true")]
    client = TestClient(StepUpMiddleware(anything, guard=guard))

    for token in tokens:
        client.get("/", headers={"Authorization": f"Bearer {token}"})

    assert [token for token in tokens if token in caplog.text] == []

"""Report-only mode: the decision is made and reported, and the request passes."""

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
from fastapi_stepup.errors import StepUpRequired, Unauthenticated
from fastapi_stepup.events import Event, ReportOnly
from fastapi_stepup.guard.report_only import authorize_or_report
from fastapi_stepup.testing import DescopeEmulator
from tests.guard.connections import ANN, PROJECT, request_with
from tests.support.attack_requests import SECRET, anything


@pytest.fixture
def events() -> list[Event]:
    """What the guard reported."""
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
    """The app answers them as before; both refusals are reported."""
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


@pytest.mark.anyio
async def test_guard_that_enforces_refuses(descope: DescopeEmulator) -> None:
    """An entry point that owes the handler no claims refuses all the same."""
    guard, ann = StepUpGuard.for_descope(PROJECT), descope.step_up(ANN, age=100)

    with descope.attach(guard):
        request = request_with(ann.headers)
        claims = await authorize_or_report(guard, request, StepUpPolicy(max_age=200))
        assert claims is not None
        assert claims.subject == ann.user_id
        with pytest.raises(StepUpRequired):
            await authorize_or_report(guard, request_with(ann.headers), StepUpPolicy(max_age=60))
        with pytest.raises(Unauthenticated):
            await authorize_or_report(guard, request_with({}))


@pytest.mark.anyio
async def test_report_only_lets_pass_and_says_so(
    descope: DescopeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A policy is only reported; but what owes claims still asks for a session."""
    events: list[Event] = []
    guard = StepUpGuard.for_descope(PROJECT, report_only=True, on_event=events.append)
    assert guard.health().report_only
    with descope.attach(guard):
        plain = request_with(descope.sign_in(ANN).headers)
        assert (await guard.authorize(plain, StepUpPolicy())).stepped_up is False
        assert await authorize_or_report(guard, plain, StepUpPolicy()) is not None
        assert await authorize_or_report(guard, request_with({}), StepUpPolicy()) is None
        with pytest.raises(Unauthenticated):
            await guard.authorize(request_with({}), StepUpPolicy())

    assert [event.code for event in events if isinstance(event, ReportOnly)] == [
        "insufficient_user_authentication",
        "insufficient_user_authentication",
        "unauthenticated",
    ]
    assert "step-up is not enforced" in caplog.text
    assert caplog.text.count("a request passed that enforcement answers") == 3

"""The log of refusals: one line each with the reason, for operators, and never a token."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from fastapi_stepup import RequireStepUp, StepUpGuard, StepUpPolicy, stepup_router
from fastapi_stepup.errors import InvalidToken
from fastapi_stepup.testing import DescopeEmulator, SigningKey
from tests.guard.connections import ANN, PROJECT

NOW = int(time.time())

SITUATIONS: list[Any] = [
    pytest.param(lambda d: {}, "401 unauthenticated", id="nothing"),
    pytest.param(lambda d: {"Authorization": "Bearer"}, "400 invalid_request",
                 id="unreadable"),
    pytest.param(lambda d: {"Cookie": f"DS={d.sign_in(ANN).session_token}"},
                 "403 cross_site_request", id="cross-site"),
    pytest.param(lambda d: bearer("x.y.z"), "401 invalid_token (malformed)", id="nonsense"),
    pytest.param(lambda d: bearer(d.token(key=SigningKey())), "401 invalid_token (signature)",
                 id="forged"),
    pytest.param(lambda d: bearer(d.token(exp=NOW - 60)), "401 invalid_token (expired)",
                 id="expired"),
    pytest.param(lambda d: bearer(d.token(iat=NOW + 86_400, exp=NOW + 90_000)),
                 "401 invalid_token (not_yet_valid)", id="skew"),
    pytest.param(lambda d: bearer(d.token(iss="https://evil.example/P2x")),
                 "401 invalid_token (issuer)", id="issuer"),
    pytest.param(lambda d: bearer(d.token(aud="another")), "401 invalid_token (audience)",
                 id="audience"),
    pytest.param(lambda d: bearer(d.token(drn="DSR")), "401 invalid_token (not_a_session)",
                 id="refresh-token"),
    pytest.param(lambda d: bearer(d.sign_in(ANN, amr=("sms",)).session_token),
                 "401 insufficient_user_authentication (step_up missing, amr missing)",
                 id="no-step-up"),
    pytest.param(lambda d: bearer(d.step_up(ANN, age=99).session_token),
                 "401 insufficient_user_authentication (step_up expired)", id="too-old"),
    pytest.param(lambda d: bearer(d.token(su=True, act={"sub": "U2admin"})),
                 "403 impersonation_refused", id="impersonated"),
]  # fmt: skip


def bearer(token: str) -> dict[str, str]:
    """Return the header fields for *token*."""
    return {"Authorization": f"Bearer {token}"}


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines of the package, those at DEBUG marked as that."""
    return [
        r.getMessage()
        for r in caplog.records
        if r.name == "fastapi_stepup" and r.levelno == logging.DEBUG
    ]


@pytest.mark.parametrize(("headers", "line"), SITUATIONS)
def test_refusal_leaves_one_line(
    headers: Callable[[DescopeEmulator], dict[str, str]],
    line: str,
    guard: StepUpGuard,
    descope: DescopeEmulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its reason is in the log alone: a client is told no more than the code."""
    app = FastAPI()
    app.include_router(stepup_router(guard, limits=None))
    policy = StepUpPolicy(max_age=60, amr=["email"])

    @app.post("/pay", dependencies=[Depends(RequireStepUp(guard, policy=policy))])
    def pay() -> None:
        """Never reached."""

    sent = headers(descope)
    with caplog.at_level(logging.DEBUG):
        response = TestClient(app).post("/pay", headers=sent)

    assert ours(caplog) == [f"Refused: {line}."]
    assert not any(value.split()[-1] in caplog.text for value in sent.values() if "." in value)
    assert response.status_code == int(line[:3])


def test_websocket_leaves_one_line(
    guard: StepUpGuard, descope: DescopeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """However it is refused."""
    app = FastAPI()

    @app.websocket("/ws")
    async def converse(websocket: WebSocket) -> None:
        await guard.authorize(websocket, StepUpPolicy())

    with caplog.at_level(logging.DEBUG), pytest.raises(WebSocketDenialResponse):
        TestClient(app).websocket_connect("/ws", headers=descope.sign_in(ANN).headers).__enter__()

    assert ours(caplog) == ["Refused: 401 insufficient_user_authentication (step_up missing)."]


@pytest.mark.anyio
async def test_verify_leaves_one_line(
    guard: StepUpGuard, descope: DescopeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """So does `guard.verify`, and its error still says no more than before."""
    token = descope.token(aud="another")
    with caplog.at_level(logging.DEBUG), pytest.raises(InvalidToken) as refusal:
        await guard.verify(token)

    assert ours(caplog) == ["Refused: 401 invalid_token (audience)."]
    assert "audience" not in f"{refusal.value} {refusal.value.problem}"
    assert token not in caplog.text


@pytest.mark.anyio
async def test_outage_leaves_one_line(
    guard: StepUpGuard, descope: DescopeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside what the key set says itself."""
    descope.fail(503, times=9)

    @(app := FastAPI()).get("/pay", dependencies=[Depends(RequireStepUp(guard))])
    def pay() -> None:
        """Never reached."""

    with caplog.at_level(logging.DEBUG):
        TestClient(app).get("/pay", headers=descope.step_up(ANN).headers)

    assert "Refused: 503 keys_unavailable." in ours(caplog)


def test_reported_refusal_is_logged_as_that(
    descope: DescopeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """What passes is not called refused."""
    guard = StepUpGuard.for_descope(PROJECT, report_only=True)

    @(app := FastAPI()).get("/pay", dependencies=[Depends(RequireStepUp(guard))])
    def pay() -> None:
        """Reached."""

    with descope.attach(guard), caplog.at_level(logging.DEBUG):
        assert TestClient(app).get("/pay", headers=descope.sign_in(ANN).headers).status_code == 200

    assert ours(caplog) == []

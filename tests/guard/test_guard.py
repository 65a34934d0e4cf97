"""StepUpGuard: lifespan, health, verify."""

import socket
import time

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import (
    RequireStepUp,
    StepUpGuard,
)
from fastapi_stepup.errors import (
    InvalidToken,
    KeysUnavailable,
)
from fastapi_stepup.testing import DescopeEmulator
from tests.guard.connections import ANN, PROJECT, Clock


@pytest.fixture
def nobody_listens() -> str:
    """A base URL on loopback where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_unreachable_base_url_is_answered_503_with_a_sentence(
    nobody_listens: str, descope: DescopeEmulator
) -> None:
    """The client learns that it may try again, and nothing about where we looked."""
    guard = StepUpGuard.for_descope(PROJECT, base_url=nobody_listens)
    app = FastAPI()

    @app.get("/pay", dependencies=[Depends(RequireStepUp(guard))])
    def pay() -> None:
        """Never reached."""

    response = TestClient(app).get("/pay", headers=descope.step_up(ANN).headers)

    assert response.status_code == 503
    assert response.json()["detail"]["detail"] == (
        "Sessions cannot be verified right now. Try again shortly."
    )
    assert nobody_listens not in response.text


def test_repr_shows_the_project_only() -> None:
    """The guard's `repr` is fit for a log."""
    assert repr(StepUpGuard.for_descope("P1")) == "StepUpGuard(project_id='P1')"


@pytest.mark.anyio
async def test_entering_the_guard_fetches_the_keys_once(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """`async with guard` warms the keys up, so that no request has to wait for them."""
    assert (guard.health().ok, guard.health().keys.state) == (False, "empty")
    async with guard as entered:
        assert entered is guard
        assert (guard.health().ok, guard.health().keys.state) == (True, "fresh")
        await guard.verify(descope.sign_in(ANN).session_token)

    assert [request.path for request in descope.requests] == [f"/v2/keys/{PROJECT}"]


def test_lifespan_warms_the_keys_up(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """`FastAPI(lifespan=guard.lifespan)` does the same when the app starts."""
    with TestClient(FastAPI(lifespan=guard.lifespan)):
        assert guard.health().ok

    assert len(descope.requests) == 1


@pytest.mark.anyio
async def test_best_effort_starts_without_keys(
    guard: StepUpGuard, descope: DescopeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """By default an outage at start is logged, and requests fetch the keys later."""
    descope.fail(500, times=2)

    async with guard:
        assert guard.health().keys.state == "empty"

    assert "Starting without verification keys" in caplog.text


@pytest.mark.anyio
async def test_require_refuses_to_start_without_keys(descope: DescopeEmulator) -> None:
    """`warmup="require"` makes an outage at start visible to the one who starts the app."""
    guard = StepUpGuard.for_descope(PROJECT, warmup="require")
    descope.fail(500, times=2)

    with descope.attach(guard):
        with pytest.raises(KeysUnavailable):
            await guard.__aenter__()
        await anyio.sleep(1.1)
        async with guard:
            assert guard.health().ok


@pytest.mark.anyio
async def test_lazy_waits_for_a_request(descope: DescopeEmulator) -> None:
    """`warmup="lazy"` fetches nothing at start."""
    guard = StepUpGuard.for_descope(PROJECT, warmup="lazy")

    with descope.attach(guard):
        async with guard:
            assert descope.requests == []
        await guard.verify(descope.sign_in(ANN).session_token)

    assert len(descope.requests) == 1


@pytest.mark.anyio
async def test_verify_names_the_realm_in_its_challenge(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """What `verify` raises can be answered as it is."""
    with pytest.raises(InvalidToken) as refusal:
        await guard.verify("x.y.z")

    challenge = refusal.value.challenge()
    assert challenge is not None
    assert challenge.realm == PROJECT


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("age", "state", "ok"),
    [(0, "fresh", True), (400, "stale", True), (7300, "expired", False)],
)
async def test_health_is_ok_while_keys_can_be_served(
    age: float, state: str, *, ok: bool, descope: DescopeEmulator
) -> None:
    """A set that is served on through an outage takes no instance out of service."""
    clock = Clock()
    guard = StepUpGuard.for_descope(PROJECT, clock=clock, keys_ttl=60, keys_max_stale=3600)
    assert not guard.health().ok
    with descope.attach(guard):
        await guard.verify(descope.sign_in(ANN).session_token)
        clock.ahead = age

        health = guard.health()

    assert (health.keys.state, health.ok) == (state, ok)


@pytest.mark.anyio
async def test_leaving_the_guard_ends_its_fetches(descope: DescopeEmulator) -> None:
    """Of every set of parts: no task is left behind in the event loop."""
    cancelled = anyio.Event()

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()
            return httpx.Response(500)  # pragma: no cover - it sleeps until it is cancelled

    guard = StepUpGuard.for_descope(PROJECT, transport=Slow(), warmup="lazy")
    token = descope.sign_in(ANN).session_token
    with anyio.move_on_after(0.05):
        async with guard:
            await guard.verify(token)
    with anyio.fail_after(1):
        await cancelled.wait()


def test_guard_reads_the_clock_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that freeze time freeze a guard that was made before."""
    guard = StepUpGuard.for_descope(PROJECT)
    monkeypatch.setattr(time, "time", lambda: 1234.5)

    assert guard.clock() == 1234.5

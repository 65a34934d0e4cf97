"""Event loops and tasks: cancellation, shutdown, loops that end, apps without a lifespan."""

import asyncio
import gc
import sys
import time
import types

import anyio
import anyio.from_thread
import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import RequireSession, StepUpGuard
from fastapi_stepup._http import HTTPClient
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.tokens.jwks.event_loops import Waiters, running_loop
from tests.support.jwks_server import (
    PROJECT,
    CacheHarness,
    Endpoint,
    VerifierHarness,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops, one after the other."""
    return str(request.param)


@pytest.fixture
def site() -> VerifierHarness:
    """A verifier that has seen nothing yet."""
    return VerifierHarness()


@pytest.mark.parametrize("cancelled", [0, 10])
async def test_those_who_wait_for_a_fetch_wake_a_few_at_a_time(cancelled: int) -> None:
    """However many they are, the loop has turns for other work in between.

    Some that are cancelled on the way leave no other one asleep.
    """
    waiters = Waiters(running_loop())
    ended: list[int] = []
    scopes = [anyio.CancelScope() for _ in range(200)]

    async def wait(number: int) -> None:
        with scopes[number]:
            await waiters.wait()
        ended.append(number)

    most = before = 0
    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(wait, number)
        await anyio.wait_all_tasks_blocked()
        for scope in scopes[:cancelled]:
            scope.cancel()
        waiters.release()
        for scope in scopes[100 : 100 + cancelled]:
            scope.cancel()
        with anyio.fail_after(5):
            while len(ended) < 200:
                await anyio.lowlevel.checkpoint()
                most, before = max(most, len(ended) - before), len(ended)
        await waiters.wait()
    # trio runs the tasks of one turn in any order: two batches may pass between two looks.
    assert 1 <= most <= 2 * 16 + 2 * cancelled


@pytest.mark.parametrize("cancelled", [0, 300])
async def test_before_there_are_keys_tokens_are_looked_at_in_slices(
    site: VerifierHarness, cancelled: int
) -> None:
    """Of 2,500 that come in one turn of the loop, no more than 500 are looked at in one."""
    outcomes: list[str] = []
    scopes = [anyio.CancelScope() for _ in range(2500)]

    async def request(number: int) -> None:
        with scopes[number]:
            outcomes.append(await site.outcome("no token"))

    most = before = 0
    async with anyio.create_task_group() as group:
        for number in range(2500):
            group.start_soon(request, number)
        await anyio.lowlevel.checkpoint()
        for scope in scopes[:cancelled]:
            scope.cancel()
        with anyio.fail_after(10):
            while len(outcomes) < 2500 - cancelled:
                await anyio.lowlevel.checkpoint()
                most, before = max(most, len(outcomes) - before), len(outcomes)
    # trio runs the tasks of one turn in any order: two slices may pass between two looks.
    assert 200 <= most <= 2 * 500
    assert set(outcomes) == {"401"}
    assert site.fetches == 0
    assert await site.outcome("no token") == "401"


@pytest.mark.parametrize("requests", [pytest.param(1000, id="JW-002-tokens")])
async def test_a_thousand_concurrent_cold_requests_make_one_fetch(
    site: VerifierHarness, requests: int
) -> None:
    """All of them pass, after one fetch."""
    token = site.descope.sign_in("ann@example.com").session_token
    outcomes: list[str] = []

    async def request() -> None:
        outcomes.append(await site.outcome(token))

    async with anyio.create_task_group() as group:
        for _ in range(requests):
            group.start_soon(request)
    assert outcomes == ["200"] * requests
    assert site.fetches == 1


@pytest.mark.parametrize("cancelled", [pytest.param(1, id="JW-067"), pytest.param(3, id="all")])
async def test_a_cancelled_request_does_not_end_a_shared_fetch(cancelled: int) -> None:
    """A client that goes away does not end the fetch: the others, and later ones, are served."""
    harness = CacheHarness()
    harness.endpoint.gate = anyio.Event()
    results: list[str] = []
    scopes: list[anyio.CancelScope] = []

    async def ask() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            results.append(await harness.outcome("k1"))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        for scope in scopes[:cancelled]:
            scope.cancel()
        await anyio.wait_all_tasks_blocked()
        harness.endpoint.gate.set()
    assert results == ["found"] * (3 - cancelled)
    assert await harness.outcome("k1") == "found"
    assert harness.fetches == 1


@pytest.mark.parametrize("waiting", [pytest.param(0, id="JW-069"), pytest.param(3, id="waiters")])
async def test_closing_ends_a_fetch_under_way(waiting: int) -> None:
    """A shutdown stops the fetch, tells who waits for it, and leaves the cache usable."""
    harness = CacheHarness()
    harness.endpoint.gate = anyio.Event()
    results: list[str] = []

    async def ask() -> None:
        results.append(await harness.outcome("k1"))

    async with anyio.create_task_group() as group:
        for _ in range(waiting):
            group.start_soon(ask)
        with anyio.move_on_after(0.01):
            await harness.outcome("k1")
        await harness.keys.aclose()
    assert results == ["unavailable"] * waiting
    assert not harness.keys._refresher._refreshes
    assert harness.keys.health().failures == 0
    await harness.keys.aclose()
    harness.endpoint.gate = None
    assert await harness.outcome("k1") == "found"


async def test_closing_in_one_loop_leaves_the_fetches_of_another_alone() -> None:
    """An app that stops in its own loop does not take another app's fetch along."""
    harness = CacheHarness()
    harness.endpoint.gate = anyio.Event()
    results: list[str] = []

    async def ask() -> None:
        results.append(await harness.outcome("k1"))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(lambda: anyio.run(harness.keys.aclose))
        harness.endpoint.gate.set()
    assert results == ["found"]


async def test_a_fetch_that_ignores_its_deadline_holds_no_caller_for_ever() -> None:
    """A transport that cannot be cancelled costs its waiters a bounded wait, and is given up."""
    endpoint = Endpoint()
    stuck = anyio.Event()

    async def ignore_cancellation(request: httpx.Request) -> httpx.Response:
        with anyio.CancelScope(shield=not stuck.is_set()):
            await stuck.wait()
        return await endpoint(request)

    http = HTTPClient(httpx.MockTransport(ignore_cancellation), total_timeout=0.05)
    harness = CacheHarness(endpoint, options={"http": http})
    refresh = harness.keys._refresher.start()
    refresh.overdue = time.monotonic() + 0.1
    assert await harness.outcome("k1") == "unavailable"
    stuck.set()
    assert await harness.outcome("k1") == "found"
    await harness.finish_refreshes()


def test_a_loop_that_ends_over_a_background_fetch_leaves_nothing_behind(
    anyio_backend: str,
) -> None:
    """Without any lifespan, the end of the loop ends the fetch without a warning."""
    harness = CacheHarness()
    anyio.run(harness.outcome, "k1", backend=anyio_backend)
    harness.clock.now += 400

    async def read_and_leave(checkpoints: int) -> None:
        harness.endpoint.gate = anyio.Event()
        assert harness.keys.cached("k1") is not None
        for _ in range(checkpoints):
            await anyio.lowlevel.checkpoint()

    for checkpoints in range(8):
        anyio.run(read_and_leave, checkpoints, backend=anyio_backend)
        assert not harness.keys._refresher._refreshes
    harness.endpoint.gate = None
    assert anyio.run(harness.outcome, "k1", backend=anyio_backend) == "found"
    gc.collect()


@pytest.mark.parametrize("loops", [pytest.param(4, id="JW-070-loops")])
def test_one_cache_serves_loop_after_loop(loops: int, anyio_backend: str) -> None:
    """Each loop may fetch and refresh; what one has learnt serves the next, asyncio or trio."""
    harness = CacheHarness()
    for number in range(loops):
        backend = ("asyncio", "trio")[number % 2]
        assert anyio.run(harness.outcomes, "k1", "k1", backend=backend) == ["found"] * 2
        harness.clock.now += 3600 + 1
    assert harness.fetches == loops
    assert anyio.run(harness.outcome, "k1", backend=anyio_backend) == "found"


def test_loops_that_were_closed_over_a_fetch_are_let_go() -> None:
    """A loop that was closed without an end to its tasks is not held for good."""
    harness = CacheHarness()
    anyio.run(harness.outcome, "k1")
    harness.clock.now += 400

    async def read() -> None:
        harness.endpoint.gate = anyio.Event()
        assert harness.keys.cached("k1") is not None

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it would tell of the pending task
    loop.run_until_complete(read())
    loop.close()
    assert harness.keys._refresher._refreshes
    anyio.run(read)
    gc.collect()
    assert not harness.keys._refresher._refreshes


async def test_waiting_for_a_refresh_that_is_over_returns_at_once() -> None:
    """It may end between the moment a task finds it and the moment it begins to wait."""
    refresher = CacheHarness().keys._refresher
    refresh = refresher.start()
    assert refresher.start() is refresh
    await refresher.wait(refresh)
    with anyio.fail_after(0.1):
        await refresher.wait(refresh)


def test_trio_may_be_half_imported_by_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """An asyncio loop is served while some other thread is still importing trio."""
    monkeypatch.setitem(sys.modules, "trio.lowlevel", types.ModuleType("trio.lowlevel"))
    assert anyio.run(CacheHarness().outcome, "k1", backend="asyncio") == "found"


async def test_a_disconnected_client_does_not_end_the_fetch(site: VerifierHarness) -> None:
    """A request that is cancelled while it waits for the first fetch does not end the others."""
    token = site.descope.sign_in("ann@example.com").session_token
    outcomes: list[str] = []

    async def request() -> None:
        outcomes.append(await site.outcome(token))

    async with anyio.create_task_group() as group, anyio.create_task_group() as doomed:
        doomed.start_soon(request)
        group.start_soon(request)
        group.start_soon(request)
        await anyio.lowlevel.checkpoint()
        doomed.cancel_scope.cancel()
    assert outcomes == ["200", "200"]
    assert site.fetches == 1


def _app(guard: StepUpGuard, **options: object) -> FastAPI:
    app = FastAPI(**options)  # type: ignore[arg-type]

    @app.get("/me", dependencies=[Depends(RequireSession(guard))])
    async def me() -> dict[str, bool]:
        return {"ok": True}

    return app


@pytest.fixture
def guard() -> StepUpGuard:
    """A guard as an application makes it."""
    return StepUpGuard.for_descope(PROJECT, base_url="https://api.descope.com")


@pytest.mark.parametrize("clients", [pytest.param(2, id="JW-070-test-client")])
def test_a_test_client_needs_no_lifespan(guard: StepUpGuard, clients: int) -> None:
    """Each request of a bare TestClient runs in a loop of its own, and all are served."""
    app = _app(guard)
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        ann = descope.sign_in("ann@example.com")
        for _ in range(clients):
            client = TestClient(app)
            assert [client.get("/me", headers=ann.headers).status_code for _ in range(2)] == [
                200,
                200,
            ]
    assert len(descope.requests) == 1


@pytest.mark.parametrize("prefix", [pytest.param("/shop", id="JW-073")])
def test_a_mounted_app_whose_lifespan_never_runs_is_served(guard: StepUpGuard, prefix: str) -> None:
    """Starlette runs the outer app's lifespan only; the first request opens what it needs."""
    outer = FastAPI()
    outer.mount(prefix, _app(guard, lifespan=guard.lifespan))
    with DescopeEmulator(PROJECT).attach(guard) as descope, TestClient(outer) as client:
        assert not descope.requests
        ann = descope.sign_in("ann@example.com")
        assert client.get(f"{prefix}/me", headers=ann.headers).status_code == 200


@pytest.mark.parametrize("age", [pytest.param(400, id="JW-069-app")])
def test_an_app_that_stops_during_a_background_fetch_is_quiet(age: float) -> None:
    """The fetch is cancelled with the app; nothing is left, and nothing warns."""
    descope = DescopeEmulator(PROJECT)
    endpoint = Endpoint(keys=[dict(descope.signing_key.jwk)])
    guard = StepUpGuard.for_descope(PROJECT, transport=httpx.MockTransport(endpoint))
    ann = descope.sign_in("ann@example.com")
    with TestClient(_app(guard, lifespan=guard.lifespan)) as client:
        assert client.get("/me", headers=ann.headers).status_code == 200
        endpoint.gate = anyio.Event()
        guard.keys._state._wall = lambda: time.time() + age
        assert client.get("/me", headers=ann.headers).status_code == 200
        assert guard.keys._refresher._refreshes
    assert not guard.keys._refresher._refreshes

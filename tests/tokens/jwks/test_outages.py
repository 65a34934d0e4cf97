"""Keys through outages: stale serving, backoff, the hard limit, recovery and the log."""

import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import anyio
import anyio.from_thread
import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import JWKSCache, RequireSession, StepUpGuard, TokenVerifier
from fastapi_stepup.errors import FailureReason, KeysUnavailable
from fastapi_stepup.events import (
    FetchFailed,
    HardExpired,
    StaleServed,
)
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.keys import SigningKey
from tests.support.jwks_server import (
    KEYS_PATH,
    PROJECT,
    CacheHarness,
    Clock,
    Endpoint,
    VerifierHarness,
    jwk,
    under_kid,
)
from tests.support.raw_server import Peer, listening

pytestmark = pytest.mark.anyio


@pytest.fixture
def site() -> VerifierHarness:
    """A verifier that has seen nothing yet."""
    return VerifierHarness()


@pytest.mark.parametrize("minutes", [pytest.param(60, id="JW-007")])
async def test_an_outage_is_bridged_until_the_hard_limit(minutes: int) -> None:
    """An unreachable endpoint changes no answer until the set is too old."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.endpoint.fail()
    for minute in range(1, minutes):
        harness.clock.now += 60
        assert await harness.outcome("k1") == "found", minute
        await harness.finish_refreshes()
    assert harness.keys.health().state == "stale"
    assert harness.events_of(StaleServed)
    harness.clock.now += 61
    assert await harness.outcome("k1") == "unavailable"
    assert harness.keys.health().state == "expired"
    assert harness.keys.cached("k1") is None


@pytest.mark.parametrize("tries", [pytest.param(2, id="JW-009")])
async def test_an_endpoint_that_is_down_from_the_start_means_503(tries: int) -> None:
    """With no set at all nothing can be said, neither for requests nor for a warm-up."""
    harness = CacheHarness()
    harness.endpoint.break_down()
    with pytest.raises(KeysUnavailable) as refusal:
        await harness.keys.warm_up()
    assert refusal.value.headers["Retry-After"] == "1"
    assert await harness.outcome("k1") == "unavailable"
    assert harness.fetches == tries


async def test_an_outage_is_met_by_backoff() -> None:
    """JW-010: 1000 requests in ten seconds of outage make a handful of attempts, not 1000."""
    harness = CacheHarness()
    harness.endpoint.fail()
    for _ in range(1000):
        assert await harness.outcome("k1") == "unavailable"
        harness.clock.now += 0.01
    assert 3 <= len(harness.events_of(FetchFailed)) <= 8


@pytest.mark.parametrize(
    ("fail", "tries"),
    [
        pytest.param(lambda e: e.break_down(), 2, id="JW-010-refused"),
        *[
            pytest.param(lambda e, status=status: e.fail(status), tries, id=f"JW-010-{status}")
            for status, tries in (
                (429, 2), (500, 2), (503, 2), (599, 2), (404, 1), (428, 1), (430, 1), (499, 1),
            )
        ],
    ],
)  # fmt: skip
async def test_what_may_pass_at_once_is_tried_again_at_once(
    fail: Callable[[Endpoint], None], tries: int
) -> None:
    """Once; both tries are one failure, and the next request meets the backoff."""
    harness = CacheHarness()
    fail(harness.endpoint)
    assert await harness.outcomes("k1", "k1") == ["unavailable"] * 2
    assert len(harness.events_of(FetchFailed)) == 1
    assert harness.fetches == tries


async def test_backoff_doubles_up_to_a_minute_with_jitter() -> None:
    """Each wait is between a tenth and the whole of 1, 2, 4, … 60 seconds."""
    harness = CacheHarness()
    harness.endpoint.fail()
    for failures in range(1, 12):
        await harness.outcome("k1")
        waiting = harness.keys.health().next_try
        ceiling = min(60, 2 ** (failures - 1))
        assert ceiling / 10 <= waiting <= ceiling
        harness.clock.now += waiting
    assert harness.keys.health().failures == 11
    first = []
    for _ in range(20):
        harness = CacheHarness()
        harness.endpoint.fail()
        await harness.outcome("k1")
        first.append(harness.keys.health().next_try)
    assert 0.1 <= min(first) < max(first) < 1


@pytest.mark.parametrize("recovered", [pytest.param(200, id="JW-011")])
async def test_an_outage_heals_by_itself(recovered: int) -> None:
    """The first allowed try after an outage puts a set in force, and the count starts over."""
    harness = CacheHarness()
    harness.endpoint.fail()
    assert await harness.outcome("k1") == "unavailable"
    harness.endpoint.fail(recovered)
    harness.endpoint.recover()
    assert await harness.outcome("k1") == "unavailable"
    harness.clock.now += harness.keys.health().next_try
    assert await harness.outcome("k1") == "found"
    health = harness.keys.health()
    assert (health.failures, health.next_try, health.last_error) == (0, 0, None)


def _in_seconds(seconds: int) -> str:
    moment = datetime.fromtimestamp(Clock().now + seconds, tz=UTC)
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(
    ("retry_after", "shortest", "longest", "fetches"),
    [
        pytest.param("30", 30, 30, 1, id="JW-013-seconds"),
        pytest.param("1000000000", 60, 60, 1, id="JW-013-capped"),
        pytest.param("9" * 5000, 60, 60, 1, id="JW-013-endless"),
        pytest.param(_in_seconds(30), 30, 30, 1, id="JW-013-date"),
        pytest.param(_in_seconds(30).replace("GMT", "-0000"), 30, 30, 1, id="JW-013-date-unzoned"),
        pytest.param(_in_seconds(-30), 0.1, 1, 1, id="JW-013-date-past"),
        pytest.param("Mon, 1 Jan 99999999999 00:00:00 GMT", 0.1, 1, 2, id="JW-013-date-absurd"),
        pytest.param("soon", 0.1, 1, 2, id="JW-013-garbage"),
        pytest.param("1e9", 0.1, 1, 2, id="JW-013-float"),
        pytest.param("-5", 0.1, 1, 2, id="JW-013-negative"),
        pytest.param("", 0.1, 1, 2, id="JW-013-empty"),
        pytest.param("30, 30", 0.1, 1, 2, id="JW-013-twice"),
    ],
)
async def test_retry_after_is_honoured_within_bounds(
    retry_after: str, shortest: float, longest: float, fetches: int
) -> None:
    """The endpoint may ask for up to a minute; what cannot be read is as if it were not there."""
    harness = CacheHarness()
    harness.endpoint.fail(503, **{"Retry-After": retry_after})
    await harness.outcome("k1")
    assert shortest <= harness.keys.health().next_try <= longest
    assert harness.fetches == fetches


async def test_retry_after_counts_for_too_many_requests_too() -> None:
    """RFC 6585 section 4: a 429 may have one."""
    harness = CacheHarness()
    harness.endpoint.fail(429, **{"Retry-After": "30"})
    await harness.outcome("k1")
    assert (harness.keys.health().next_try, harness.fetches) == (30, 1)


@pytest.mark.parametrize("refreshes", [pytest.param(70, id="OB-011")])
async def test_the_log_reports_an_outage_once(
    refreshes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning at the start, one error at the hard limit, one line at the end."""
    harness = CacheHarness()
    with caplog.at_level(logging.DEBUG, logger="fastapi_stepup"):
        await harness.outcome("k1")
        harness.endpoint.fail()
        for _ in range(refreshes):
            harness.clock.now += 61
            await harness.outcome("k1")
            await harness.outcome("k1")
            await harness.finish_refreshes()
        harness.endpoint.recover()
        harness.clock.now += 61
        assert await harness.outcome("k1") == "found"
    loud = [(r.levelname, r.getMessage()) for r in caplog.records if r.levelno >= logging.INFO]
    assert [level for level, _ in loud if level != "INFO"] == ["WARNING", "ERROR"]
    assert "client_error" in loud[0][1]
    assert "again after" in loud[-1][1]
    assert len(harness.events_of(HardExpired)) == 1
    assert harness.events_of(HardExpired)[0].age > 3600


async def test_an_idle_night_is_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    """A set that expired without a request is fetched again without an error in the log."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.clock.now += 8 * 3600
    assert await harness.outcome("k1") == "found"
    assert not caplog.records
    assert not harness.events_of(HardExpired)


async def test_the_hard_limit_may_pass_between_two_tries() -> None:
    """It is reported when a request first meets it, not only when the next try fails."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.endpoint.fail(503, **{"Retry-After": "60"})
    harness.clock.now += 3600 - 10
    await harness.outcome("k1")
    await harness.finish_refreshes()
    harness.clock.now += 20
    assert await harness.outcomes("k1", "k1") == ["unavailable"] * 2
    assert len(harness.events_of(HardExpired)) == 1
    assert harness.fetches == 2


async def test_stale_serving_is_reported_once_a_second() -> None:
    """A busy server in an outage is not buried in events."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.endpoint.fail()
    await harness.refresh()
    for _ in range(100):
        harness.clock.now += 0.05
        assert harness.keys.cached("k1") is not None
    assert 5 <= len(harness.events_of(StaleServed)) <= 7
    await harness.finish_refreshes()


async def test_a_server_that_loses_its_keys_for_a_moment_logs_no_user_out() -> None:
    """An empty set, then a wrong one, then the right one: good kids pass all along."""
    harness = CacheHarness()
    await harness.outcome("k1")
    for keys in ([], [jwk("k1", 0, use="enc")], [jwk("k1", 0, alg="HS256")]):
        harness.endpoint.keys = keys
        await harness.refresh()
        assert await harness.outcome("k1") == "found"
        harness.clock.now -= 400
    assert harness.keys.health().last_error is FailureReason.NO_USABLE_KEY


async def test_rotation_and_revocation(site: VerifierHarness) -> None:
    """A new key works at once; an old one until it leaves the set, at the next refresh."""
    old = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(old) == "200"
    site.descope.rotate_keys()
    rotated = site.descope.sign_in("ann@example.com").session_token
    assert [await site.outcome(token) for token in (rotated, old)] == ["200", "200"]
    site.descope.revoke_keys()
    assert await site.outcome(old) == "200"
    site.clock.now += 310
    await site.outcome(old)
    await site.finish_refreshes()
    assert [await site.outcome(token) for token in (rotated, old)] == ["401", "401"]
    fresh = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(fresh) == "200"


@pytest.mark.parametrize("hours", [pytest.param(1, id="JW-007-tokens")])
async def test_an_outage_from_beginning_to_end(site: VerifierHarness, hours: int) -> None:
    """Good tokens pass until the hard limit, then 503 without delay, and it heals by itself."""
    token = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(token) == "200"
    site.break_down()
    for _ in range(59 * hours):
        site.clock.now += 60
        assert await site.outcome(token) == "200"
        assert await site.outcome(under_kid(token, "new")) in {"401", "503"}
        await site.finish_refreshes()
    site.clock.now += 61
    assert await site.outcome(token) == "503"
    attempts = site.fetches
    started = time.perf_counter()
    with pytest.raises(KeysUnavailable) as refusal:
        await site.verifier.verify(token)
    for _ in range(100):
        assert await site.outcome(token) == "503"
    assert time.perf_counter() - started < 1
    assert 1 <= int(refusal.value.headers["Retry-After"]) <= 60
    assert site.fetches == attempts
    assert await site.outcome("garbage") == "401"
    site.descope.reset()
    site.clock.now += 61
    assert await site.outcome(token) == "200"
    assert site.verifier.keys.health().state == "fresh"
    assert len([event for event in site.events if isinstance(event, HardExpired)]) == 1


async def test_keys_over_a_real_socket_and_through_its_failures() -> None:
    """A served key set, then a server that stalls: stale keys serve, and no request waits."""
    descope = DescopeEmulator(PROJECT)
    body = json.dumps({"keys": [descope.signing_key.jwk]}).encode()
    stalled = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        if stalled.is_set():
            peer.over.wait(5)
        peer.answer("200 OK", body)

    clock = Clock(time.time())
    with listening(serve) as server:
        keys = JWKSCache(server.url + KEYS_PATH, wall=clock, monotonic=clock)
        verifier = TokenVerifier(keys, project_id=PROJECT)
        token = descope.sign_in("ann@example.com").session_token
        await verifier.verify(token)
        stalled.set()
        clock.now += 400
        started = time.perf_counter()
        for _ in range(20):
            await verifier.verify(token)
        assert time.perf_counter() - started < 1
        await anyio.sleep(0.1)
        await keys.aclose()
        assert keys.health().state == "stale"
    assert server.connections == 2


async def test_a_revoked_set_is_noticed_even_if_only_bad_tokens_arrive(
    site: VerifierHarness,
) -> None:
    """Any token with a known kid keeps the refresh going, good or not."""
    await site.verifier.keys.warm_up()
    site.clock.now += 310
    assert await site.outcome(site.descope.token(key=SigningKey())) == "401"
    await site.finish_refreshes()
    assert site.fetches == 2


def _app(guard: StepUpGuard, **options: object) -> FastAPI:
    app = FastAPI(**options)  # type: ignore[arg-type]

    @app.get("/me", dependencies=[Depends(RequireSession(guard))])
    async def me() -> dict[str, bool]:
        return {"ok": True}

    return app


@pytest.mark.parametrize(
    ("warmup", "state"), [("require", "fresh"), ("best-effort", "fresh"), ("lazy", "empty")]
)
def test_the_lifespan_warms_keys_up(warmup: str, state: str) -> None:
    """Except where it waits for a request."""
    guard = StepUpGuard.for_descope(PROJECT, warmup=warmup)  # type: ignore[arg-type]
    with (
        DescopeEmulator(PROJECT).attach(guard),
        TestClient(_app(guard, lifespan=guard.lifespan)) as client,
    ):
        assert guard.health().keys.state == state
        assert guard.health().ok == (state == "fresh")
        assert client.get("/me").status_code == 401


@pytest.mark.parametrize("warmup", [pytest.param("require", id="JW-009-require")])
def test_a_start_that_requires_keys_fails_without_them(warmup: str) -> None:
    """The app does not come up."""
    guard = StepUpGuard.for_descope(PROJECT, warmup=warmup)  # type: ignore[arg-type]
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        descope.fail(503, 10)
        client = TestClient(_app(guard, lifespan=guard.lifespan))
        with pytest.raises(KeysUnavailable):
            client.__enter__()


@pytest.mark.parametrize("warmup", ["best-effort", "lazy"])
def test_other_starts_go_on_without_keys_and_heal(warmup: str) -> None:
    """Requests get 503 with `Retry-After` until the endpoint is back."""
    guard = StepUpGuard.for_descope(PROJECT, warmup=warmup)  # type: ignore[arg-type]
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        ann = descope.sign_in("ann@example.com")
        descope.fail(503, 10)
        with TestClient(_app(guard, lifespan=guard.lifespan)) as client:
            reply = client.get("/me", headers=ann.headers)
            assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
            assert not guard.health().ok
            descope.reset()
            guard.keys._state._next_try = 0
            assert client.get("/me", headers=ann.headers).status_code == 200
            assert guard.health().ok

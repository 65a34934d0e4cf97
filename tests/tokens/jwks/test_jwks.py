"""The key set cache: its three ages, its budgets, and what it makes of every bad answer."""

import asyncio
import gc
import json
import logging
import multiprocessing
import os
import sys
import threading
import types
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.from_thread
import httpx
import pytest

from fastapi_stepup._http import HTTPClient, HTTPRequest, HTTPResponse
from fastapi_stepup.errors import ConfigurationError, FailureReason, InvalidToken, KeysUnavailable
from fastapi_stepup.events import (
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    HardExpired,
    KeySkipped,
    StaleServed,
    UnknownKid,
)
from fastapi_stepup.tokens.jwks.cache import (
    BACKOFF,
    MAX_STALE,
    NEGATIVE_KIDS,
    TTL,
    JWKSCache,
    KeysHealth,
    _after_fork_in_child,
    _running_loop,
)
from tests.support.jwks_server import URL, Bench, Clock, Endpoint, jwk

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "waiters",
    [
        pytest.param(1, id="JW-001"),
        pytest.param(200, id="JW-002"),
        pytest.param(1000, id="JW-002-thousand"),
    ],
)
async def test_a_cold_cache_makes_one_fetch_for_all_who_ask(waiters: int) -> None:
    """However many ask a cold cache at once, the endpoint is asked once and all are served."""
    bench = Bench()
    assert await bench.outcomes(*["k1"] * waiters) == ["found"] * waiters
    assert bench.fetches == 1


@pytest.mark.parametrize("calls", [pytest.param(1000, id="JW-003")])
async def test_a_fresh_set_is_not_fetched_again(calls: int) -> None:
    """Requests inside the soft limit cost no fetch."""
    bench = Bench()
    for _ in range(calls):
        assert await bench.outcome("k1") == "found"
        bench.clock.now += 0.2 * TTL / calls
    assert bench.fetches == 1


@pytest.mark.parametrize(
    ("readers", "past"),
    [
        pytest.param(1, 1.2 * TTL, id="JW-005"),
        pytest.param(200, 1.2 * TTL, id="JW-006"),
        pytest.param(1, 0.995 * TTL, id="refresh-ahead"),
    ],
)
async def test_a_due_refresh_runs_behind_the_readers(readers: int, past: float) -> None:
    """Past the soft limit, or shortly before it, readers get the old set and one fetch starts."""
    bench = Bench()
    await bench.outcome("k1")
    bench.clock.now += past
    bench.endpoint.gate = anyio.Event()
    for _ in range(readers):
        assert bench.keys.cached("k1") is not None
    with anyio.fail_after(0.5):
        assert await bench.outcomes(*["k1"] * readers) == ["found"] * readers
    await anyio.wait_all_tasks_blocked()
    assert bench.fetches == 2
    bench.endpoint.gate.set()
    await bench.settle()
    assert bench.keys.health().state == "fresh"
    assert bench.keys.health().age == 0


@pytest.mark.parametrize("minutes", [pytest.param(60, id="JW-007")])
async def test_an_outage_is_bridged_until_the_hard_limit(minutes: int) -> None:
    """An unreachable endpoint costs nobody anything until the set is too old."""
    bench = Bench()
    await bench.outcome("k1")
    bench.endpoint.fail()
    for minute in range(1, minutes):
        bench.clock.now += 60
        assert await bench.outcome("k1") == "found", minute
        await bench.settle()
    assert bench.keys.health().state == "stale"
    assert bench.told(StaleServed)
    bench.clock.now += 61
    assert await bench.outcome("k1") == "unavailable"
    assert bench.keys.health().state == "expired"
    assert bench.keys.cached("k1") is None


@pytest.mark.parametrize("tries", [pytest.param(2, id="JW-009")])
async def test_an_endpoint_that_is_down_from_the_start_means_503(tries: int) -> None:
    """With no set at all nothing can be said, neither for requests nor for a warm-up."""
    bench = Bench()
    bench.endpoint.break_down()
    with pytest.raises(KeysUnavailable) as refusal:
        await bench.keys.warm_up()
    assert refusal.value.headers["Retry-After"] == "1"
    assert await bench.outcome("k1") == "unavailable"
    assert bench.fetches == tries


@pytest.mark.parametrize(
    ("fail", "tries"),
    [
        pytest.param(lambda e: e.fail(503), 2, id="JW-010-503"),
        pytest.param(lambda e: e.fail(429), 2, id="JW-010-429"),
        pytest.param(lambda e: e.break_down(), 2, id="JW-010-refused"),
        pytest.param(lambda e: e.fail(404), 1, id="JW-010-404"),
    ],
)
async def test_an_outage_is_met_by_backoff(fail: Callable[[Endpoint], None], tries: int) -> None:
    """1000 requests in ten seconds of outage make a handful of attempts, not 1000."""
    bench = Bench()
    fail(bench.endpoint)
    for _ in range(1000):
        assert await bench.outcome("k1") == "unavailable"
        bench.clock.now += 0.01
    failures = bench.told(FetchFailed)
    assert 3 <= len(failures) <= 8
    assert bench.fetches == tries * len(failures)


async def test_backoff_doubles_up_to_a_minute_with_jitter() -> None:
    """Each wait is between a tenth and the whole of 1, 2, 4, … 60 seconds."""
    bench = Bench()
    bench.endpoint.fail()
    for failures in range(1, 12):
        await bench.outcome("k1")
        waiting = bench.keys.health().next_try
        ceiling = min(BACKOFF[1], 2 ** (failures - 1))
        assert ceiling / 10 <= waiting <= ceiling
        bench.clock.now += waiting
    assert bench.keys.health().failures == 11


@pytest.mark.parametrize("recovered", [pytest.param(200, id="JW-011")])
async def test_an_outage_heals_by_itself(recovered: int) -> None:
    """The first allowed try after an outage puts a set in force, and the count starts over."""
    bench = Bench()
    bench.endpoint.fail()
    assert await bench.outcome("k1") == "unavailable"
    bench.endpoint.fail(recovered)
    bench.endpoint.recover()
    assert await bench.outcome("k1") == "unavailable"
    bench.clock.now += bench.keys.health().next_try
    assert await bench.outcome("k1") == "found"
    health = bench.keys.health()
    assert (health.failures, health.next_try, health.last_error) == (0, 0, None)


def _in_seconds(seconds: int) -> str:
    moment = datetime.fromtimestamp(Clock().now + seconds, tz=UTC)
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "shortest", "longest"),
    [
        pytest.param("30", 30, 30, id="JW-013-seconds"),
        pytest.param("1000000000", 60, 60, id="JW-013-capped"),
        pytest.param("9" * 5000, 60, 60, id="JW-013-endless"),
        pytest.param(_in_seconds(30), 30, 30, id="JW-013-date"),
        pytest.param(_in_seconds(30).replace("GMT", "-0000"), 30, 30, id="JW-013-date-unzoned"),
        pytest.param(_in_seconds(-30), 0.1, 1, id="JW-013-date-past"),
        pytest.param("Mon, 1 Jan 99999999999 00:00:00 GMT", 0.1, 1, id="JW-013-date-absurd"),
        pytest.param("soon", 0.1, 1, id="JW-013-garbage"),
        pytest.param("1e9", 0.1, 1, id="JW-013-float"),
        pytest.param("-5", 0.1, 1, id="JW-013-negative"),
        pytest.param("", 0.1, 1, id="JW-013-empty"),
        pytest.param("30, 30", 0.1, 1, id="JW-013-twice"),
    ],
)
async def test_retry_after_is_honoured_within_bounds(
    status: int, retry_after: str, shortest: float, longest: float
) -> None:
    """The endpoint may ask for up to a minute; what cannot be read is as if it were not there."""
    bench = Bench()
    bench.endpoint.fail(status, **{"Retry-After": retry_after})
    await bench.outcome("k1")
    assert shortest <= bench.keys.health().next_try <= longest
    assert bench.fetches == 1 if longest >= 30 or "past" in retry_after else bench.fetches <= 2


BAD_ANSWERS = [
    *[
        pytest.param(
            lambda _, status=status, target=target: httpx.Response(
                status, headers={"Location": target}
            ),
            FailureReason.REDIRECT,
            id=f"JW-014-{status}-{name}",
        )
        for status in (301, 302, 303, 307, 308)
        for name, target in (
            ("attacker", "https://attacker.example/jwks.json"),
            ("http", "http://keys.example/v2/keys/P2x"),
            ("metadata", "http://169.254.169.254/latest"),
        )
    ],
    pytest.param(
        lambda _: httpx.Response(200, html="<html>Sign in to the Wi-Fi</html>"),
        FailureReason.NOT_JSON,
        id="JW-015",
    ),
    pytest.param(
        lambda _: httpx.Response(200, json={"keys": []}), FailureReason.NO_USABLE_KEY, id="JW-017"
    ),
    pytest.param(
        lambda _: httpx.Response(200, content=b'{"keys":["\xff\xfe"]}'),
        FailureReason.NOT_JSON,
        id="JW-018-bad-utf-8",
    ),
    pytest.param(
        lambda _: httpx.Response(200, content=json.dumps({"keys": [jwk("k1")]}).encode("utf-16")),
        FailureReason.NOT_JSON,
        id="JW-018-utf-16",
    ),
    pytest.param(
        lambda _: httpx.Response(
            200, content=json.dumps({"keys": [jwk("k1")]}).encode("utf-8-sig")
        ),
        FailureReason.NOT_JSON,
        id="JW-018-bom",
    ),
    pytest.param(
        lambda _: httpx.Response(200, content=b'{"keys":' + b"[" * 60_000),
        FailureReason.NOT_JSON,
        id="JW-019",
    ),
    pytest.param(
        lambda _: httpx.Response(200, content=b"[" * 200_000),
        FailureReason.TOO_LARGE,
        id="JW-019-200000",
    ),
    pytest.param(
        lambda _: httpx.Response(200, json={"keys": {"k1": jwk("k1")}}),
        FailureReason.NOT_A_KEY_SET,
        id="keys-an-object",
    ),
    pytest.param(
        lambda _: httpx.Response(200, json=[jwk("k1")]), FailureReason.NOT_JSON, id="a-bare-list"
    ),
    pytest.param(
        lambda _: httpx.Response(200, json=jwk("k1")), FailureReason.NOT_A_KEY_SET, id="a-bare-key"
    ),
    pytest.param(
        lambda _: httpx.Response(200, json={"keys": [jwk(f"k{n}") for n in range(65)]}),
        FailureReason.TOO_MANY_KEYS,
        id="65-keys",
    ),
    pytest.param(
        lambda _: httpx.Response(200, content=b'{"keys":[],"keys":[]}'),
        FailureReason.NOT_JSON,
        id="duplicate-member",
    ),
    pytest.param(lambda _: httpx.Response(204), FailureReason.STATUS, id="204"),
    pytest.param(
        lambda _: httpx.Response(206, json={"keys": [jwk("k9")]}), FailureReason.STATUS, id="206"
    ),
    pytest.param(
        lambda _: httpx.Response(403, json={"keys": [jwk("k9")]}),
        FailureReason.CLIENT_ERROR,
        id="403-with-keys",
    ),
    pytest.param(
        lambda _: httpx.Response(304, headers={"ETag": '"x"'}),
        FailureReason.REDIRECT,
        id="JW-065-unasked",
    ),
    pytest.param(
        lambda _: httpx.Response(
            200, stream=httpx.ByteStream(b"{}"), headers={"Content-Encoding": "gzip"}
        ),
        FailureReason.ENCODING,
        id="gzip",
    ),
]


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS)
async def test_a_bad_answer_leaves_the_old_set_in_force(
    answer: Callable[[httpx.Request], httpx.Response], reason: FailureReason
) -> None:
    """Whatever is no key set is a failed fetch: counted, backed off from, and changes nothing."""
    bench = Bench()
    await bench.outcome("k1")
    generation = bench.keys.generation
    bench.endpoint.answer = answer
    await bench.refresh()
    assert bench.keys.cached("k1") is not None
    assert bench.keys.generation == generation
    health = bench.keys.health()
    assert (health.failures, health.last_error) == (1, reason)
    assert [request.url for request in bench.endpoint.requests] == [httpx.URL(URL)] * 2


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS)
async def test_a_bad_answer_to_a_cold_cache_is_503(
    answer: Callable[[httpx.Request], httpx.Response], reason: FailureReason
) -> None:
    """Without an old set the same answers mean that nothing can be verified."""
    bench = Bench(Endpoint(answer=answer))
    assert await bench.outcome("k1") == "unavailable"
    assert bench.keys.health().last_error is reason


@pytest.mark.parametrize(
    "rotations",
    [pytest.param(1, id="JW-029"), pytest.param(2, id="JW-030")],
)
async def test_a_rotated_key_is_found_at_once(rotations: int) -> None:
    """A kid that was published since the last fetch costs one forced fetch, twice in a row too."""
    bench = Bench()
    await bench.outcome("k1")
    await bench.refresh()
    fetches = bench.fetches
    for rotation in range(rotations):
        bench.clock.now += 1
        bench.endpoint.keys = [jwk(f"new-{rotation}"), *bench.endpoint.keys]
        assert await bench.outcomes(*[f"new-{rotation}"] * 20) == ["found"] * 20
    assert bench.fetches == fetches + rotations


async def test_the_unknown_kid_budget_refills() -> None:
    """After the burst of two there is one forced fetch per cooldown."""
    bench = Bench(options={"cooldown": 10})
    await bench.outcome("k1")
    for number in range(5):
        assert await bench.outcome(f"x{number}") == "unknown"
    assert bench.fetches == 3
    bench.clock.now += 9
    await bench.outcome("y")
    assert bench.fetches == 3
    bench.clock.now += 1
    await bench.outcome("y")
    await bench.outcome("z")
    assert bench.fetches == 4
    outcomes = [event.outcome for event in bench.told(UnknownKid)]
    assert outcomes == ["fetched"] * 2 + ["throttled"] * 4 + ["fetched", "throttled"]


async def test_a_routine_refresh_does_not_use_up_the_unknown_kid_budget() -> None:
    """The two budgets are apart, so that a refresh a moment ago blinds nobody to a fresh key."""
    bench = Bench()
    await bench.outcome("k1")
    for _ in range(3):
        await bench.refresh()
    bench.endpoint.keys = [jwk("k2")]
    assert await bench.outcome("k2") == "found"
    assert bench.fetches == 5


@pytest.mark.parametrize(
    ("wait", "found"),
    [
        pytest.param(59, "unknown", id="JW-033-remembered"),
        pytest.param(61, "found", id="JW-033-forgotten"),
    ],
)
async def test_a_kid_that_was_unknown_is_remembered_for_a_minute(wait: float, found: str) -> None:
    """A published kid is found once the memory of its absence fades."""
    bench = Bench()
    await bench.outcome("k1")
    assert await bench.outcome("late") == "unknown"
    bench.endpoint.keys = [jwk("k1"), jwk("late", 1)]
    assert await bench.outcome("late") == "unknown"
    assert bench.fetches == 2
    bench.clock.now += wait
    assert await bench.outcome("late") == found


@pytest.mark.parametrize("change", [pytest.param("publish", id="JW-033-next-refresh")])
async def test_a_change_of_the_set_clears_the_memory_of_unknown_kids(change: str) -> None:
    """A set that changed may hold what the one before it lacked."""
    bench = Bench()
    await bench.outcome("k1")
    assert await bench.outcomes("late", "other") == ["unknown"] * 2
    bench.endpoint.keys = [jwk("k1"), jwk(change, 1)]
    await bench.refresh()
    assert not bench.keys._world.negative
    bench.endpoint.keys.append(jwk("late", 1))
    assert await bench.outcome("late") == "found"


@pytest.mark.parametrize("kids", [pytest.param(3000, id="JW-034")])
async def test_the_memory_of_unknown_kids_is_bounded(kids: int) -> None:
    """Random kids push each other out: never more than 256 are remembered."""
    bench = Bench()
    await bench.outcome("k1")
    results = await bench.outcomes(*[f"random-{number}" for number in range(kids)])
    assert results == ["unknown"] * kids
    assert len(bench.keys._world.negative) == NEGATIVE_KIDS
    assert bench.fetches <= 3


@pytest.mark.parametrize(
    ("past", "outcome"),
    [
        pytest.param(400, "unavailable", id="JW-037"),
        pytest.param(0, "unknown", id="JW-037-fresh"),
    ],
)
async def test_an_unknown_kid_during_an_outage(past: float, outcome: str) -> None:
    """Pinned: a set past its soft limit is too old to call a kid unknown, a fresh one is not."""
    bench = Bench()
    await bench.outcome("k1")
    bench.clock.now += past
    bench.endpoint.fail()
    assert await bench.outcome("k2") == outcome
    assert await bench.outcome("k2") == outcome
    assert await bench.outcome("k1") == "found"
    assert bench.fetches == 2
    assert {event.outcome for event in bench.told(UnknownKid)} == {"failed"}


async def test_a_kid_is_not_called_unknown_by_a_fetch_that_left_before_it_was_published() -> None:
    """Who joins a fetch under way and finds nothing gets a fetch that started later."""
    bench = Bench()
    await bench.outcome("k1")
    bench.clock.now += 400
    bench.endpoint.gate = anyio.Event()
    bench.keys.cached("k1")
    await anyio.wait_all_tasks_blocked()
    bench.endpoint.keys = [jwk("k1"), jwk("k2", 1)]
    results: list[str] = []

    async def ask(kid: str) -> None:
        results.append(await bench.outcome(kid))

    async with anyio.create_task_group() as group:
        for kid in ("k2", "k2", "k3"):
            group.start_soon(ask, kid)
        await anyio.wait_all_tasks_blocked()
        bench.endpoint.gate.set()
    assert sorted(results) == ["found", "found", "unknown"]
    assert bench.fetches == 3


async def test_a_cold_cache_asks_once_for_an_unknown_kid() -> None:
    """The fetch that a kid caused itself is conclusive: a second one would tell no more."""
    bench = Bench()
    assert await bench.outcome("nobody") == "unknown"
    assert await bench.outcome("nobody") == "unknown"
    assert bench.fetches == 1
    assert [event.outcome for event in bench.told(UnknownKid)] == ["fetched", "negative"]


async def test_unknown_kids_that_start_together_share_one_fetch() -> None:
    """Whatever is sent after they came answers for all of them."""
    bench = Bench()
    assert await bench.outcomes("a", "b", "c", "d") == ["unknown"] * 4
    assert bench.fetches == 1
    assert [event.outcome for event in bench.told(UnknownKid)] == ["fetched"] * 4


@pytest.mark.parametrize("removed", [pytest.param("k1", id="JW-039")])
async def test_a_removed_key_is_gone_after_the_next_refresh(removed: str) -> None:
    """A shorter set is authoritative: it replaces, it is not merged."""
    bench = Bench(Endpoint(keys=[jwk("k1"), jwk("k2", 1)]))
    assert await bench.outcomes(removed, "k2") == ["found"] * 2
    generation = bench.keys.generation
    bench.endpoint.keys = [jwk("k2", 1)]
    await bench.refresh()
    assert bench.keys.cached(removed) is None
    assert await bench.outcomes(removed, "k2") == ["unknown", "found"]
    assert bench.keys.generation > generation
    assert bench.told(FetchSucceeded)[1].removed == 1


@pytest.mark.parametrize("kid", [pytest.param("k1", id="JW-041")])
async def test_new_material_under_an_old_kid_replaces_the_key(kid: str) -> None:
    """The same kid with another key counts as a change: new generation, new key, an event."""
    bench = Bench()
    await bench.outcome(kid)
    old, generation = bench.keys.cached(kid), bench.keys.generation
    bench.endpoint.keys = [jwk(kid, 1)]
    await bench.refresh()
    new = bench.keys.cached(kid)
    assert old is not None
    assert new is not None
    assert old.identity != new.identity
    assert bench.keys.generation > generation
    succeeded = bench.told(FetchSucceeded)[1]
    assert (succeeded.added, succeeded.removed, succeeded.changed) == (0, 0, 1)


@pytest.mark.parametrize(
    ("second", "outcome", "skipped"),
    [
        pytest.param(1, "unknown", [KeySkipped("duplicate_kid", alarming=True)], id="JW-042"),
        pytest.param(0, "found", [], id="JW-043"),
    ],
)
async def test_two_keys_under_one_kid(second: int, outcome: str, skipped: list[KeySkipped]) -> None:
    """Different keys under one kid make it unusable and harm no other; identical ones are one."""
    bench = Bench(Endpoint(keys=[jwk("k1"), jwk("k1", second), jwk("k2", 2)]))
    assert await bench.outcomes("k1", "k2") == [outcome, "found"]
    assert bench.told(KeySkipped) == skipped


@pytest.mark.parametrize(
    ("headers", "lifetime"),
    [
        pytest.param({}, 300, id="JW-063-absent"),
        pytest.param({"Cache-Control": "max-age=10"}, 60, id="JW-063-short"),
        pytest.param({"Cache-Control": "max-age=120"}, 120, id="JW-063-within"),
        pytest.param({"Cache-Control": "public, MAX-AGE = 120"}, 120, id="JW-063-case"),
        pytest.param({"Cache-Control": 'max-age="120"'}, 120, id="JW-063-quoted"),
        pytest.param({"Cache-Control": "max-age=86400"}, 3600, id="JW-063-long"),
        pytest.param({"Cache-Control": "max-age=" + "9" * 5000}, 3600, id="JW-063-endless"),
        pytest.param({"Cache-Control": "max-age=-1"}, 60, id="JW-063-negative"),
        pytest.param({"Cache-Control": "max-age=1e99"}, 60, id="JW-063-float"),
        pytest.param({"Cache-Control": "max-age=abc"}, 60, id="JW-063-text"),
        pytest.param({"Cache-Control": "max-age=²"}, 60, id="JW-063-superscript"),
        pytest.param({"Cache-Control": "max-age"}, 60, id="JW-063-valueless"),
        pytest.param({"Cache-Control": "max-age=600, max-age=900"}, 60, id="JW-063-two"),
        pytest.param({"Cache-Control": "max-age=600, max-age=600"}, 600, id="JW-063-same-twice"),
        pytest.param({"Cache-Control": "no-store"}, 60, id="JW-063-no-store"),
        pytest.param({"Cache-Control": "no-cache, max-age=900"}, 60, id="JW-063-no-cache"),
        pytest.param({"Cache-Control": "s-maxage=900"}, 300, id="JW-063-s-maxage"),
        pytest.param({"Cache-Control": "x-max-age=900"}, 300, id="JW-063-other-name"),
        pytest.param({"Cache-Control": "max-age=900", "Age": "500"}, 400, id="JW-063-age"),
        pytest.param({"Cache-Control": "max-age=900", "Age": "5000"}, 60, id="JW-063-too-old"),
        pytest.param({"Cache-Control": "max-age=900", "Age": "-1"}, 900, id="JW-063-bad-age"),
        pytest.param({"Age": "500"}, 300, id="JW-063-age-alone"),
        pytest.param({"Expires": "0", "Date": "0"}, 300, id="JW-066-expires"),
        pytest.param({"Date": "Sat, 1 Jan 9999 00:00:00 GMT"}, 300, id="JW-066-date"),
        pytest.param({"Last-Modified": "not a date"}, 300, id="JW-066-last-modified"),
    ],
)
async def test_the_soft_limit_follows_the_reply_within_bounds(
    headers: dict[str, str], lifetime: float
) -> None:
    """`Cache-Control` and `Age` set the soft limit between a minute and an hour, give or take."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    body = json.dumps({"keys": [jwk("k1")]}).encode()
    endpoint = Endpoint(answer=lambda _: httpx.Response(200, content=body, headers=raw))
    bench = Bench(endpoint, options={"max_stale": 86400})
    await bench.outcome("k1")
    bench.clock.now += 0.8 * lifetime
    bench.keys.cached("k1")
    await bench.settle()
    assert bench.fetches == 1
    bench.clock.now += 0.3 * lifetime
    bench.keys.cached("k1")
    await bench.settle()
    assert bench.fetches == 2


@pytest.mark.parametrize(
    ("options", "lifetime"),
    [
        pytest.param({"max_stale": 0}, 300, id="hard-limit-below-max-age"),
        pytest.param({"ttl": 7200, "max_stale": 7200}, 3600, id="cap-below-hard-limit"),
    ],
)
async def test_a_long_max_age_never_outlives_the_hard_limit(
    options: dict[str, Any], lifetime: float
) -> None:
    """The server may lengthen the soft limit up to an hour, and up to the hard limit."""
    bench = Bench(Endpoint(headers={"Cache-Control": "max-age=999999"}), options=options)
    await bench.outcome("k1")
    bench.clock.now += 0.8 * lifetime
    assert bench.keys.cached("k1") is not None
    await bench.settle()
    assert bench.fetches == 1
    bench.clock.now += 0.2 * lifetime
    bench.keys.cached("k1")
    await bench.settle()
    assert bench.fetches == 2


@pytest.mark.parametrize("ttl", [60, 300, 3600])
async def test_refreshes_are_spread(ttl: float) -> None:
    """Workers that start together do not refresh together, and none earlier than 0.81 ttl."""
    due = set()
    for _ in range(8):
        bench = Bench(options={"ttl": ttl})
        await bench.outcome("k1")
        snapshot = bench.keys._world.snapshot
        assert snapshot is not None
        due.add(snapshot.due_monotonic - bench.clock.now)
        assert snapshot.due_monotonic - snapshot.monotonic == snapshot.due_wall - snapshot.wall
    assert len(due) > 1
    assert 0.8 * ttl < min(due) < max(due) < ttl


@pytest.mark.parametrize(
    ("etag", "confirmed"),
    [
        pytest.param('"v1"', '"v1"', id="strong"),
        pytest.param('"v1"', 'W/"v1"', id="weakened-on-the-way"),
        pytest.param('W/"v1"', None, id="not-repeated"),
    ],
)
async def test_a_304_to_our_own_question_confirms_the_set(etag: str, confirmed: str | None) -> None:
    """The set is fresh again, unchanged, and the next question is conditional again."""
    bench = Bench(Endpoint(headers={"ETag": etag}))
    await bench.outcome("k1")
    generation = bench.keys.generation
    bench.endpoint.answer = lambda _: httpx.Response(
        304, headers={} if confirmed is None else {"ETag": confirmed}
    )
    await bench.refresh()
    await bench.refresh()
    asked = [request.headers.get("if-none-match") for request in bench.endpoint.requests]
    assert asked == [None, etag, etag]
    assert bench.keys.health().age == 0
    assert bench.keys.generation == generation
    assert [event.size for event in bench.told(FetchSucceeded)][1:] == [0, 0]


@pytest.mark.parametrize("changed", [pytest.param('"v2"', id="JW-065")])
async def test_a_304_about_another_version_is_a_failed_fetch(changed: str) -> None:
    """It is not believed, and the next question is not conditional, so that it heals."""
    bench = Bench(Endpoint(headers={"ETag": '"v1"'}))
    await bench.outcome("k1")
    bench.endpoint.answer = lambda _: httpx.Response(304, headers={"ETag": changed})
    await bench.refresh()
    assert bench.keys.health().last_error is FailureReason.NOT_MODIFIED
    bench.endpoint.recover()
    await bench.refresh()
    assert "if-none-match" not in bench.endpoint.requests[-1].headers
    assert bench.keys.health().state == "fresh"


@pytest.mark.parametrize(
    "etag",
    [
        pytest.param("v1", id="unquoted"),
        pytest.param('"' + "x" * 300 + '"', id="long"),
        pytest.param('"a b"', id="space"),
        pytest.param('"a"b"', id="quote"),
        pytest.param('"\u00e9"', id="non-ascii"),
    ],
)
async def test_an_unfit_etag_is_not_sent_back(etag: str) -> None:
    """What is no entity tag is not repeated to the server."""
    raw = [(b"ETag", etag.encode("latin-1"))]
    body = json.dumps({"keys": [jwk("k1")]}).encode()
    bench = Bench(Endpoint(answer=lambda _: httpx.Response(200, content=body, headers=raw)))
    await bench.outcome("k1")
    await bench.refresh()
    assert "if-none-match" not in bench.endpoint.requests[-1].headers


@pytest.mark.parametrize("cancelled", [pytest.param(1, id="JW-067"), pytest.param(3, id="all")])
async def test_a_cancelled_request_does_not_end_a_shared_fetch(cancelled: int) -> None:
    """Clients that go away take nobody along: the others, and later ones, are served."""
    bench = Bench()
    bench.endpoint.gate = anyio.Event()
    results: list[str] = []
    scopes: list[anyio.CancelScope] = []

    async def ask() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            results.append(await bench.outcome("k1"))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        for scope in scopes[:cancelled]:
            scope.cancel()
        await anyio.wait_all_tasks_blocked()
        bench.endpoint.gate.set()
    assert results == ["found"] * (3 - cancelled)
    assert await bench.outcome("k1") == "found"
    assert bench.fetches == 1


@pytest.mark.parametrize("waiting", [pytest.param(0, id="JW-069"), pytest.param(3, id="waiters")])
async def test_closing_ends_a_fetch_under_way(waiting: int) -> None:
    """A shutdown stops the fetch, tells who waits for it, and leaves the cache usable."""
    bench = Bench()
    bench.endpoint.gate = anyio.Event()
    results: list[str] = []

    async def ask() -> None:
        results.append(await bench.outcome("k1"))

    async with anyio.create_task_group() as group:
        for _ in range(waiting):
            group.start_soon(ask)
        with anyio.move_on_after(0.01):
            await bench.outcome("k1")
        await bench.keys.aclose()
    assert results == ["unavailable"] * waiting
    assert not bench.keys._aloft
    assert not bench.keys._world.flights
    assert bench.keys.health().failures == 0
    await bench.keys.aclose()
    bench.endpoint.gate = None
    assert await bench.outcome("k1") == "found"


def test_a_loop_that_ends_over_a_background_fetch_leaves_nothing_behind(
    anyio_backend: str,
) -> None:
    """Without any lifespan, the end of the loop ends the fetch without a warning."""
    bench = Bench()
    anyio.run(bench.outcome, "k1", backend=anyio_backend)
    bench.clock.now += 400

    async def read_and_leave(checkpoints: int) -> None:
        bench.endpoint.gate = anyio.Event()
        assert bench.keys.cached("k1") is not None
        for _ in range(checkpoints):
            await anyio.lowlevel.checkpoint()

    for checkpoints in range(8):
        anyio.run(read_and_leave, checkpoints, backend=anyio_backend)
        assert not bench.keys._aloft
        assert not bench.keys._world.flights
    bench.endpoint.gate = None
    assert anyio.run(bench.outcome, "k1", backend=anyio_backend) == "found"
    gc.collect()


@pytest.mark.parametrize("loops", [pytest.param(4, id="JW-070-loops")])
def test_one_cache_serves_loop_after_loop(loops: int, anyio_backend: str) -> None:
    """Each loop may fetch and refresh; what one has learnt serves the next, asyncio or trio."""
    bench = Bench()
    for number in range(loops):
        backend = ("asyncio", "trio")[number % 2]
        assert anyio.run(bench.outcomes, "k1", "k1", backend=backend) == ["found"] * 2
        bench.clock.now += MAX_STALE + 1
    assert bench.fetches == loops
    assert anyio.run(bench.outcome, "k1", backend=anyio_backend) == "found"


@pytest.mark.parametrize("threads", [pytest.param(8, id="JW-070-threads")])
def test_one_cache_serves_loops_in_threads_at_once(threads: int) -> None:
    """Loops in threads fetch side by side, each once, and all get their keys."""
    bench = Bench()
    results: list[list[str]] = []
    barrier = threading.Barrier(threads)

    def work(number: int) -> None:
        barrier.wait()
        backend = ("asyncio", "trio")[number % 2]
        results.append(anyio.run(bench.outcomes, *["k1"] * 20, backend=backend))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [["found"] * 20] * threads
    assert 1 <= bench.fetches <= threads
    assert not bench.keys._aloft


async def test_a_late_older_answer_never_replaces_a_newer_set() -> None:
    """Of two fetches in two loops, the one that was sent later wins, whichever lands last."""
    bench = Bench()
    await bench.outcome("k1")
    bench.clock.now += 400
    bench.endpoint.gate = anyio.Event()
    bench.keys.cached("k1")
    await anyio.wait_all_tasks_blocked()
    first_gate, bench.endpoint.gate = bench.endpoint.gate, None
    bench.endpoint.keys = [jwk("k1", 1)]
    await anyio.to_thread.run_sync(lambda: anyio.run(bench.refresh))
    newer = bench.keys.cached("k1")
    generation = bench.keys.generation
    first_gate.set()
    await bench.settle()
    assert bench.keys.cached("k1") is newer
    assert bench.keys.generation == generation
    assert len(bench.told(FetchSucceeded)) == 2


async def test_a_late_older_failure_does_not_count_against_a_newer_set() -> None:
    """A fetch that fails after a later one has succeeded backs nobody off."""
    bench = Bench()
    await bench.outcome("k1")
    bench.clock.now += 400
    bench.endpoint.gate = anyio.Event()
    bench.endpoint.fail()
    bench.keys.cached("k1")
    await anyio.wait_all_tasks_blocked()
    first_gate, bench.endpoint.gate = bench.endpoint.gate, None
    bench.endpoint.recover()
    await anyio.to_thread.run_sync(lambda: anyio.run(bench.refresh))
    first_gate.set()
    await bench.settle()
    assert bench.keys.health().failures == 0
    assert not bench.told(FetchFailed)


async def test_a_304_confirms_only_the_set_that_was_asked_about() -> None:
    """When another loop put a newer set in force meanwhile, the old set's 304 changes nothing."""
    bench = Bench(Endpoint(headers={"ETag": '"v1"'}))
    await bench.outcome("k1")
    bench.clock.now += 400
    bench.endpoint.gate = anyio.Event()
    bench.endpoint.answer = lambda _: httpx.Response(304, headers={"ETag": '"v0"'})
    bench.keys.cached("k1")
    await anyio.wait_all_tasks_blocked()
    first_gate, bench.endpoint.gate = bench.endpoint.gate, None
    bench.endpoint.recover()
    bench.endpoint.headers, bench.endpoint.keys = {"ETag": '"v2"'}, [jwk("k1", 1)]
    await anyio.to_thread.run_sync(lambda: anyio.run(bench.refresh))
    first_gate.set()
    await bench.settle()
    snapshot = bench.keys._world.snapshot
    assert snapshot is not None
    assert snapshot.etag == '"v2"'


@pytest.mark.parametrize("after", [pytest.param("fork", id="JW-071")])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests leave threads
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_goes_on_with_the_keys_it_inherited(after: str) -> None:
    """Though a thread held the lock at the fork, the child reads, expires and fetches anew."""
    context: Any = multiprocessing.get_context(after)
    receiver, sender = context.Pipe(duplex=False)
    bench, twin = Bench(), Bench()
    anyio.run(bench.outcome, "k1")
    anyio.run(twin.outcome, "k1")
    child = context.Process(target=_live_on, args=(bench, sender))
    with bench.keys._lock:
        child.start()
        child.join(10)
    assert child.exitcode == 0
    told = receiver.recv()
    _live_on(twin, sender)
    assert told == receiver.recv() == (["found", "found"], 2)
    assert bench.fetches == 1


def _live_on(bench: Bench, sender: Any) -> None:
    """Use a cache in a new loop until it has to fetch, and send what came of it."""
    outcomes = [anyio.run(bench.outcome, "k1")]
    bench.clock.now += MAX_STALE + 1
    outcomes.append(anyio.run(bench.outcome, "k1"))
    sender.send((outcomes, bench.fetches))


def test_workers_forked_from_one_process_do_not_refresh_in_step() -> None:
    """Each child of a preloading server plans its refresh anew; locks and fetches start over."""
    bench = Bench()
    anyio.run(bench.outcome, "k1")
    static = JWKSCache.static({"keys": [jwk("k1")]})
    lock, before = bench.keys._lock, bench.keys._world.snapshot
    _after_fork_in_child()
    after = bench.keys._world.snapshot
    assert bench.keys._lock is not lock
    assert before is not None
    assert after is not None
    assert (after.keys, after.generation) == (before.keys, before.generation)
    assert after.due_wall != before.due_wall
    assert static.health().state == "fresh"


def test_loops_that_were_closed_over_a_fetch_are_let_go() -> None:
    """A loop that was closed without an end to its tasks is not held for good."""
    bench = Bench()
    anyio.run(bench.outcome, "k1")
    bench.clock.now += 400

    async def read() -> None:
        bench.endpoint.gate = anyio.Event()
        assert bench.keys.cached("k1") is not None

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it would tell of the pending task
    loop.run_until_complete(read())
    loop.close()
    assert bench.keys._world.flights
    anyio.run(read)
    gc.collect()
    assert not bench.keys._aloft
    assert not bench.keys._world.flights


def test_a_reader_without_a_loop_is_served_and_starts_nothing() -> None:
    """A plain thread can read; the refresh is left to whoever has an event loop."""
    bench = Bench()
    anyio.run(bench.outcome, "k1")
    bench.clock.now += 400
    assert bench.keys.cached("k1") is not None
    assert bench.keys.cached("k2") is None
    assert bench.fetches == 1


@pytest.mark.parametrize(
    ("monotonic", "wall", "state"),
    [
        pytest.param(0, 86400, "expired", id="JW-074-forward"),
        pytest.param(0, -86400, "fresh", id="JW-074-backward"),
        pytest.param(400, -86400, "stale", id="JW-074-backward-while-running"),
        pytest.param(0, 7200, "expired", id="JW-075"),
        pytest.param(0, 400, "stale", id="JW-075-short"),
    ],
)
async def test_the_age_is_the_larger_of_two_clocks(
    monotonic: float, wall: float, state: str
) -> None:
    """A clock that jumps, or one that stops, can only make a set look older than it is."""
    clocks = {"monotonic": Clock(1000.0), "wall": Clock()}
    bench = Bench(options=clocks)
    await bench.outcome("k1")
    clocks["monotonic"].now += monotonic
    clocks["wall"].now += wall
    assert bench.keys.health().state == state
    assert await bench.outcome("k1") == "found"
    await bench.settle()
    assert bench.fetches == 1 + (state != "fresh")


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:8085/v2/keys/P2x", id="JW-078-loopback"),
        pytest.param(URL, id="https"),
    ],
)
def test_a_good_url_is_kept(url: str) -> None:
    """The cache fetches from exactly the URL that it was given."""
    assert JWKSCache(url).url == url


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://keys.example/jwks", id="JW-078-http"),
        pytest.param("file:///etc/passwd", id="JW-077-file"),
    ],
)
def test_a_bad_url_is_refused(url: str) -> None:
    """The cache takes what `base_url` takes; see its own tests for the rest."""
    with pytest.raises(ConfigurationError):
        JWKSCache(url)


@pytest.mark.parametrize(
    "options",
    [
        *[
            pytest.param({name: value}, id=f"CF-003-{name}-{label}")
            for name in ("ttl", "max_stale", "cooldown")
            for label, value in (
                ("negative", -1),
                ("nan", float("nan")),
                ("inf", float("inf")),
                ("bool", True),
                ("text", "300"),
                ("none", None),
                ("huge", 10**400),
            )
        ],
        pytest.param({"ttl": 59.9}, id="CF-003-ttl-short"),
        pytest.param({"ttl": 86401}, id="CF-003-ttl-long"),
        pytest.param({"ttl": 600, "max_stale": 300}, id="CF-003-hard-below-soft"),
        pytest.param({"algorithms": ()}, id="CF-001-no-algorithm"),
        pytest.param({"on_event": "print"}, id="CF-003-hook"),
    ],
)
def test_options_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    """A wrong option fails at construction."""
    with pytest.raises(ConfigurationError):
        JWKSCache(URL, **options)


async def test_no_stale_set_is_served_where_that_is_turned_off() -> None:
    """With `max_stale=0` the soft limit is the hard one; refresh-ahead still hides the fetch."""
    bench = Bench(options={"max_stale": 0})
    await bench.outcome("k1")
    bench.endpoint.fail()
    bench.clock.now += TTL
    assert await bench.outcome("k1") == "found"
    bench.clock.now += 1
    assert await bench.outcome("k1") == "unavailable"
    assert not bench.told(StaleServed)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("empty", id="JW-087-empty"),
        pytest.param("fresh", id="JW-087-fresh"),
        pytest.param("stale", id="JW-087-stale"),
        pytest.param("expired", id="JW-087-expired"),
    ],
)
async def test_health_tells_the_state_and_no_secret(state: str) -> None:
    """In each state: what it is, how old, how many keys, and no kid, URL or key."""
    bench = Bench()
    if state != "empty":
        await bench.outcome("k1")
        bench.endpoint.fail()
        bench.clock.now += {"fresh": 10, "stale": 400, "expired": 4000}[state]
        await bench.outcome("k1")
        await bench.settle()
    health = bench.keys.health()
    assert health.state == state
    assert health.keys == (state != "empty")
    assert (health.age is None) == (state == "empty")
    assert (health.failures, health.next_try > 0) == (
        (1, True) if state in {"stale", "expired"} else (0, False)
    )
    assert not any(secret in repr(health) for secret in ("k1", "keys.example", "P2x"))
    assert "k1" not in repr(bench.keys.cached("k1"))


@pytest.mark.parametrize("refreshes", [pytest.param(70, id="OB-011")])
async def test_the_log_tells_an_outage_once(
    refreshes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning at the start, one error at the hard limit, one line at the end."""
    bench = Bench()
    with caplog.at_level(logging.DEBUG, logger="fastapi_stepup"):
        await bench.outcome("k1")
        bench.endpoint.fail()
        for _ in range(refreshes):
            bench.clock.now += 61
            await bench.outcome("k1")
            await bench.outcome("k1")
            await bench.settle()
        bench.endpoint.recover()
        bench.clock.now += 61
        assert await bench.outcome("k1") == "found"
    loud = [(r.levelname, r.getMessage()) for r in caplog.records if r.levelno >= logging.INFO]
    assert [level for level, _ in loud if level != "INFO"] == ["WARNING", "ERROR"]
    assert "client_error" in loud[0][1]
    assert "again after" in loud[-1][1]
    assert len(bench.told(HardExpired)) == 1
    assert bench.told(HardExpired)[0].age > MAX_STALE


async def test_an_idle_night_is_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    """A set that expired because nobody asked is fetched again without an error in the log."""
    bench = Bench()
    await bench.outcome("k1")
    bench.clock.now += 8 * 3600
    assert await bench.outcome("k1") == "found"
    assert not caplog.records
    assert not bench.told(HardExpired)


async def test_the_hard_limit_may_pass_between_two_tries() -> None:
    """It is told when a request first meets it, not only when the next try fails."""
    bench = Bench()
    await bench.outcome("k1")
    bench.endpoint.fail(503, **{"Retry-After": "60"})
    bench.clock.now += MAX_STALE - 10
    await bench.outcome("k1")
    await bench.settle()
    bench.clock.now += 20
    assert await bench.outcomes("k1", "k1") == ["unavailable"] * 2
    assert len(bench.told(HardExpired)) == 1
    assert bench.fetches == 2


async def test_a_bad_member_is_told_once_and_again_when_it_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Skipped members make events and (alarming ones) warnings when they change only."""
    private = jwk("private", 1, d="AQAB")
    bench = Bench(Endpoint(keys=[jwk("k1"), private, jwk("enc", 1, use="enc")]))
    await bench.outcome("k1")
    await bench.refresh()
    await bench.refresh()
    expected = [KeySkipped("private_members", alarming=True), KeySkipped("use")]
    assert bench.told(KeySkipped) == expected
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    bench.endpoint.keys = [jwk("k1"), private]
    await bench.refresh()
    bench.endpoint.keys = [jwk("k1")]
    await bench.refresh()
    assert bench.told(KeySkipped) == [*expected, expected[0]]


async def test_the_events_of_a_life() -> None:
    """A fetch, a change, an outage and its end, told in order and in numbers."""
    bench = Bench()
    await bench.outcome("k1")
    bench.endpoint.keys = [jwk("k1"), jwk("k2", 1)]
    await bench.refresh()
    bench.endpoint.break_down()
    await bench.refresh()
    bench.clock.now += 30
    bench.keys.cached("k1")
    kinds = [type(event) for event in bench.events]
    assert kinds == [
        FetchStarted,
        FetchSucceeded,
        StaleServed,
        FetchStarted,
        FetchSucceeded,
        StaleServed,
        FetchStarted,
        FetchStarted,
        FetchFailed,
        StaleServed,
    ]
    assert [event.attempt for event in bench.told(FetchStarted)] == [1, 1, 1, 2]
    first, second = bench.told(FetchSucceeded)
    assert (first.keys, first.added, first.removed, first.changed) == (1, 1, 0, 0)
    assert (second.keys, second.added, second.removed, second.changed) == (2, 1, 0, 0)
    assert first.size > 300
    failed = bench.told(FetchFailed)[0]
    assert (failed.reason, failed.attempt) == (FailureReason.CONNECT, 1)
    await bench.keys.aclose()


async def test_stale_serving_is_told_once_a_second() -> None:
    """A busy server in an outage is not buried in events."""
    bench = Bench()
    await bench.outcome("k1")
    bench.endpoint.fail()
    await bench.refresh()
    for _ in range(100):
        bench.clock.now += 0.05
        assert bench.keys.cached("k1") is not None
    assert 5 <= len(bench.told(StaleServed)) <= 7
    await bench.settle()


class _Surprising(HTTPClient):
    """An HTTP client with a bug in it."""

    async def send(
        self, request: HTTPRequest, *, deadline: float | None = None, max_body: int = 65536
    ) -> HTTPResponse:
        raise KeyError("surprise")


async def test_an_unexpected_failure_is_a_failure_like_any_other() -> None:
    """Nobody awaits the fetch, so whatever goes wrong in it is counted and nothing escapes."""
    bench = Bench(options={"http": _Surprising()})
    assert await bench.outcome("k1") == "unavailable"
    assert bench.keys.health().last_error is FailureReason.UNEXPECTED


async def test_one_refresh_has_one_deadline_for_both_of_its_tries() -> None:
    """A waiter waits for the total deadline, not for one per try."""
    endpoint = Endpoint(gate=anyio.Event())
    http = HTTPClient(httpx.MockTransport(endpoint), total_timeout=0.1)
    bench = Bench(endpoint, options={"http": http})
    started = anyio.current_time()
    assert await bench.outcomes("k1", "k1") == ["unavailable"] * 2
    assert anyio.current_time() - started < 0.4
    assert bench.fetches == 1
    assert bench.keys.health().last_error is FailureReason.TIMEOUT


async def test_a_fetch_that_ignores_its_deadline_holds_nobody_for_ever() -> None:
    """A transport that cannot be cancelled costs its waiters a bounded wait, and is given up."""
    endpoint = Endpoint()
    stuck = anyio.Event()

    async def ignore_cancellation(request: httpx.Request) -> httpx.Response:
        with anyio.CancelScope(shield=not stuck.is_set()):
            await stuck.wait()
        return await endpoint(request)

    http = HTTPClient(httpx.MockTransport(ignore_cancellation), total_timeout=0.05)
    bench = Bench(endpoint, options={"http": http})
    flight = bench.keys._take_off(bench.keys._world, _running_loop())
    flight.overdue = anyio.current_time() + 0.1
    assert await bench.outcome("k1") == "unavailable"
    stuck.set()
    assert await bench.outcome("k1") == "found"
    await bench.settle()


STATIC = {"keys": [jwk("k1"), jwk("private", 1, d="AQAB"), jwk("enc", 1, use="enc")]}


async def test_static_keys_pass_the_same_policy_and_never_expire(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Usable members serve for good, the others are skipped and told of, and nothing is fetched."""
    events: list[object] = []
    keys = JWKSCache.static(STATIC, on_event=events.append)
    await keys.warm_up()
    assert keys.cached("k1") is await keys.key("k1")
    for skipped in ("private", "enc", "unknown"):
        assert keys.cached(skipped) is None
        with pytest.raises(InvalidToken):
            await keys.key(skipped)
    assert keys.health() == KeysHealth("fresh", None, 1, 0, 0.0, None)
    assert events == [KeySkipped("private_members", alarming=True), KeySkipped("use")]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert keys.generation > 0


@pytest.mark.parametrize(
    ("jwks", "word"),
    [
        pytest.param({}, "not_a_key_set", id="no-keys"),
        pytest.param({"keys": {}}, "not_a_key_set", id="object"),
        pytest.param(json.dumps(STATIC), "not_a_key_set", id="text"),
        pytest.param([jwk("k1")], "not_a_key_set", id="list"),
        pytest.param(None, "not_a_key_set", id="none"),
        pytest.param({"keys": []}, "no_usable_key", id="empty"),
        pytest.param({"keys": STATIC["keys"][1:]}, "no_usable_key", id="none-usable"),
        pytest.param({"keys": [jwk("k1")] * 65}, "too_many_keys", id="many"),
    ],
)
def test_a_static_set_without_a_usable_key_is_refused(jwks: Any, word: str) -> None:
    """A guard that could verify nothing fails at construction, and says why."""
    with pytest.raises(ConfigurationError, match=word):
        JWKSCache.static(jwks)


async def test_static_keys_can_be_set_aside() -> None:
    """While they are, keys come over HTTP, as in a test against the emulator."""
    endpoint = Endpoint(keys=[jwk("k2", 1)])
    keys = JWKSCache.static(STATIC, url=URL)
    with keys.set_aside(HTTPClient(httpx.MockTransport(endpoint))):
        assert (await keys.key("k2")).kid == "k2"
        assert keys.cached("k1") is None
    assert keys.cached("k1") is not None
    assert keys.cached("k2") is None
    assert [str(request.url) for request in endpoint.requests] == [URL]


async def test_what_is_set_aside_comes_back_as_it_was() -> None:
    """Keys, budgets, backoff and the memory of unknown kids belong to one side only."""
    bench, other = Bench(), Endpoint(keys=[jwk("k1", 1)])
    assert await bench.outcomes("k1", "x") == ["found", "unknown"]
    real = bench.keys.cached("k1")
    generations = {bench.keys.generation}
    with bench.keys.set_aside(HTTPClient(httpx.MockTransport(other))):
        assert bench.keys.health().state == "empty"
        assert bench.keys.generation == 0
        assert await bench.outcome("k1") == "found"
        assert bench.keys.cached("k1") is not real
        generations.add(bench.keys.generation)
        other.fail()
        await bench.refresh()
        assert bench.keys.health().failures == 1
        bench.clock.now -= 400
    assert bench.keys.cached("k1") is real
    assert bench.keys.health().failures == 0
    assert await bench.outcome("x") == "unknown"
    assert bench.fetches == 1
    generations.add(bench.keys.generation)
    assert len(generations) == 2


async def test_a_fetch_in_flight_lands_where_it_was_sent_from() -> None:
    """Neither side ever sees keys of the other, in whichever order fetches and blocks end."""
    bench, other = Bench(), Endpoint(keys=[jwk("k2", 1)])
    bench.endpoint.gate, other.gate = anyio.Event(), anyio.Event()
    results: list[str] = []

    async def ask(kid: str) -> None:
        results.append(f"{kid} {await bench.outcome(kid)}")

    async with anyio.create_task_group() as group:
        group.start_soon(ask, "k1")
        await anyio.wait_all_tasks_blocked()
        with bench.keys.set_aside(HTTPClient(httpx.MockTransport(other))):
            group.start_soon(ask, "k2")
            await anyio.wait_all_tasks_blocked()
            bench.endpoint.gate.set()
            await anyio.wait_all_tasks_blocked()
            assert bench.keys.health().state == "empty"
        assert bench.keys.cached("k1") is not None
        other.gate.set()
    assert sorted(results) == ["k1 found", "k2 found"]
    assert bench.keys.cached("k2") is None
    assert (bench.fetches, len(other.requests)) == (1, 1)


async def test_a_retry_goes_where_the_first_try_went() -> None:
    """Rerouting the HTTP client between two tries of one refresh does not divert the second one."""
    transport = Endpoint()
    http = HTTPClient(httpx.MockTransport(transport))
    bench = Bench(transport, options={"http": http})
    transport.break_down()
    stranger = Endpoint(keys=[jwk("stranger", 1)])
    async with anyio.create_task_group() as group:
        group.start_soon(bench.outcome, "k1")
        await anyio.wait_all_tasks_blocked()
        with (
            http.rerouted(httpx.MockTransport(stranger)),
            bench.keys.set_aside(HTTPClient(httpx.MockTransport(stranger))),
        ):
            await bench.settle()
    assert bench.fetches == 2
    assert not stranger.requests
    assert bench.keys.health().failures == 1


def test_blocks_that_set_aside_may_overlap() -> None:
    """Two threads' blocks that end in the order they began leave the real state in force."""
    bench = Bench()
    anyio.run(bench.outcome, "k1")
    first, second = bench.keys.set_aside(), bench.keys.set_aside()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert bench.keys.cached("k1") is None
    second.__exit__(None, None, None)
    assert bench.keys.cached("k1") is not None


async def test_a_cache_without_a_hook_is_silent() -> None:
    """Events cost nothing where nobody listens."""
    keys = JWKSCache(URL, http=HTTPClient(httpx.MockTransport(Endpoint())))
    with pytest.raises(InvalidToken):
        await keys.key("nobody")


async def test_warming_up_twice_fetches_once() -> None:
    """A warm-up with a usable set at hand does nothing."""
    bench = Bench()
    await bench.keys.warm_up()
    await bench.keys.warm_up()
    assert bench.fetches == 1


@pytest.mark.parametrize("members", [pytest.param(1, id="JW-090")])
async def test_a_key_in_hand_is_not_touched_by_a_refresh(members: int) -> None:
    """Who holds a key or a snapshot goes on with it, whatever the set becomes meanwhile."""
    bench = Bench()
    await bench.outcome("k1")
    key, snapshot = bench.keys.cached("k1"), bench.keys._world.snapshot
    bench.endpoint.keys = [jwk("k2", 1)]
    await bench.refresh()
    assert key is not None
    assert snapshot is not None
    assert snapshot.keys["k1"] is key
    assert len(snapshot.keys) == members
    with pytest.raises(TypeError):
        snapshot.keys["k2"] = key  # type: ignore[index]


@pytest.mark.parametrize("hook", [pytest.param("raises", id="JW-086")])
async def test_a_hook_that_raises_changes_no_outcome(hook: str) -> None:
    """Found, unknown and unavailable are what they are without it."""

    def explode(event: object) -> None:
        raise ValueError(hook)

    bench = Bench(options={"on_event": explode})
    assert await bench.outcomes("k1", "k2") == ["found", "unknown"]
    bench.endpoint.fail()
    await bench.refresh()
    bench.clock.now += MAX_STALE
    assert await bench.outcome("k1") == "unavailable"


@pytest.mark.parametrize("variable", [pytest.param("request", id="no-request-context")])
async def test_a_fetch_does_not_inherit_the_context_of_the_request(variable: str) -> None:
    """Context variables of the request that happens to start it do not reach the fetch."""
    of_request: ContextVar[str] = ContextVar("of_request", default="none")
    seen: list[str] = []
    bench = Bench(options={"on_event": lambda _: seen.append(of_request.get())})
    of_request.set(variable)
    await bench.outcome("k1")
    assert seen == ["none", "none"]


async def test_the_age_counts_from_the_question_not_from_the_answer() -> None:
    """A slow answer is as old as its question (RFC 9111 section 4.2.3)."""
    bench = Bench()
    bench.endpoint.gate = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(bench.outcome, "k1")
        await anyio.wait_all_tasks_blocked()
        bench.clock.now += 4
        bench.endpoint.gate.set()
    assert bench.keys.health().age == 4
    assert bench.told(FetchSucceeded)[0].duration == 4


async def test_closing_in_one_loop_leaves_the_fetches_of_another_alone() -> None:
    """An app that stops in its own loop does not take another app's fetch along."""
    bench = Bench()
    bench.endpoint.gate = anyio.Event()
    results: list[str] = []

    async def ask() -> None:
        results.append(await bench.outcome("k1"))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(lambda: anyio.run(bench.keys.aclose))
        bench.endpoint.gate.set()
    assert results == ["found"]


async def test_the_hard_limit_may_pass_while_readers_wait() -> None:
    """A set that expires under a slow refresh is not served, and what arrives serves again."""
    bench = Bench()
    await bench.outcome("k1")
    bench.clock.now += MAX_STALE - 1
    bench.endpoint.gate = anyio.Event()
    assert bench.keys.cached("k1") is not None
    await anyio.wait_all_tasks_blocked()
    bench.clock.now += 2
    assert bench.keys.cached("k1") is None
    async with anyio.create_task_group() as group:
        group.start_soon(bench.outcome, "k1")
        await anyio.wait_all_tasks_blocked()
        bench.endpoint.gate.set()
    assert bench.keys.cached("k1") is not None
    assert bench.fetches == 2


async def test_two_caches_on_one_endpoint_share_nothing() -> None:
    """Budgets, backoff and keys are each cache's own."""
    endpoint = Endpoint()
    first, second = Bench(endpoint), Bench(endpoint)
    for number in range(4):
        await first.outcome(f"x{number}")
    assert second.keys.health().state == "empty"
    assert await second.outcomes("k1", "x0") == ["found", "unknown"]


async def test_a_server_that_loses_its_keys_for_a_moment_does_not_log_anybody_out() -> None:
    """An empty set, then a wrong one, then the right one: good kids pass all along."""
    bench = Bench()
    await bench.outcome("k1")
    for keys in ([], [jwk("k1", 0, use="enc")], [jwk("k1", 0, alg="HS256")]):
        bench.endpoint.keys = keys
        await bench.refresh()
        assert await bench.outcome("k1") == "found"
        bench.clock.now -= 400
    assert bench.keys.health().last_error is FailureReason.NO_USABLE_KEY


def test_trio_may_be_half_imported_by_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """An asyncio loop is served while some other thread is still importing trio."""
    monkeypatch.setitem(sys.modules, "trio.lowlevel", types.ModuleType("trio.lowlevel"))
    assert anyio.run(Bench().outcome, "k1", backend="asyncio") == "found"

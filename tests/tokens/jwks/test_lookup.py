"""JWKSCache: kid -> key, options, ages and health."""

import subprocess
import sys
import time
from typing import Any

import anyio
import anyio.from_thread
import httpx
import pytest

from fastapi_stepup import JWKSCache
from fastapi_stepup._http import HTTPClient
from fastapi_stepup.errors import ConfigurationError, InvalidToken
from fastapi_stepup.events import (
    FetchSucceeded,
    KeySkipped,
    StaleServed,
)
from tests.support.jwks_server import (
    URL,
    CacheHarness,
    Clock,
    Endpoint,
    jwk,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("calls", [pytest.param(1000, id="JW-003")])
async def test_a_fresh_set_is_not_fetched_again(calls: int) -> None:
    """Requests inside the soft limit cost no fetch."""
    harness = CacheHarness()
    for _ in range(calls):
        assert await harness.outcome("k1") == "found"
        harness.clock.now += 0.2 * 300 / calls
    assert harness.fetches == 1


def test_a_reader_without_a_loop_is_served_and_starts_nothing() -> None:
    """A plain thread can read; the refresh is left to readers in an event loop."""
    harness = CacheHarness()
    anyio.run(harness.outcome, "k1")
    harness.clock.now += 400
    assert harness.keys.cached("k1") is not None
    assert harness.keys.cached("k2") is None
    assert harness.fetches == 1


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
    harness = CacheHarness(options=clocks)
    await harness.outcome("k1")
    clocks["monotonic"].now += monotonic
    clocks["wall"].now += wall
    assert harness.keys.health().state == state
    assert await harness.outcome("k1") == "found"
    await harness.finish_refreshes()
    assert harness.fetches == 1 + (state != "fresh")


async def test_the_age_counts_from_the_question_not_from_the_answer() -> None:
    """A slow answer is as old as its question (RFC 9111 section 4.2.3)."""
    harness = CacheHarness()
    harness.endpoint.gate = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(harness.outcome, "k1")
        await anyio.wait_all_tasks_blocked()
        harness.clock.now += 4
        harness.endpoint.gate.set()
    assert harness.keys.health().age == 4
    assert harness.events_of(FetchSucceeded)[0].duration == 4


@pytest.mark.parametrize("removed", [pytest.param("k1", id="JW-039")])
async def test_a_removed_key_is_gone_after_the_next_refresh(removed: str) -> None:
    """A shorter set is authoritative: it replaces, it is not merged."""
    harness = CacheHarness(Endpoint(keys=[jwk("k1"), jwk("k2", 1)]))
    assert await harness.outcomes(removed, "k2") == ["found"] * 2
    generation = harness.keys.generation
    harness.endpoint.keys = [jwk("k2", 1)]
    await harness.refresh()
    assert harness.keys.cached(removed) is None
    assert await harness.outcomes(removed, "k2") == ["unknown", "found"]
    assert harness.keys.generation > generation
    assert harness.events_of(FetchSucceeded)[1].removed == 1


@pytest.mark.parametrize("kid", [pytest.param("k1", id="JW-041")])
async def test_new_material_under_an_old_kid_replaces_the_key(kid: str) -> None:
    """The same kid with another key counts as a change: new generation, new key, an event."""
    harness = CacheHarness()
    await harness.outcome(kid)
    old, generation = harness.keys.cached(kid), harness.keys.generation
    harness.endpoint.keys = [jwk(kid, 1)]
    await harness.refresh()
    new = harness.keys.cached(kid)
    assert old is not None
    assert new is not None
    assert old.identity != new.identity
    assert harness.keys.generation > generation
    succeeded = harness.events_of(FetchSucceeded)[1]
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
    harness = CacheHarness(Endpoint(keys=[jwk("k1"), jwk("k1", second), jwk("k2", 2)]))
    assert await harness.outcomes("k1", "k2") == [outcome, "found"]
    assert harness.events_of(KeySkipped) == skipped


@pytest.mark.parametrize("members", [pytest.param(1, id="JW-090")])
async def test_a_key_in_hand_is_not_touched_by_a_refresh(members: int) -> None:
    """A caller that holds a key or a snapshot goes on with it, whatever the set becomes."""
    harness = CacheHarness()
    await harness.outcome("k1")
    key, snapshot = harness.keys.cached("k1"), harness.keys._state.snapshot
    harness.endpoint.keys = [jwk("k2", 1)]
    await harness.refresh()
    assert key is not None
    assert snapshot is not None
    assert snapshot.keys["k1"] is key
    assert len(snapshot.keys) == members
    with pytest.raises(TypeError):
        snapshot.keys["k2"] = key  # type: ignore[index]


async def test_two_caches_on_one_endpoint_share_nothing() -> None:
    """Budgets, backoff and keys are each cache's own."""
    endpoint = Endpoint()
    first, second = CacheHarness(endpoint), CacheHarness(endpoint)
    for number in range(4):
        await first.outcome(f"x{number}")
    assert second.keys.health().state == "empty"
    assert await second.outcomes("k1", "x0") == ["found", "unknown"]


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
    """The cache takes what `checked_base_url` takes; see its own tests for the rest."""
    with pytest.raises(ConfigurationError, match=r"^url must"):
        JWKSCache(url)


NO_SECONDS = [-1, float("nan"), float("inf"), True, "300", None, 10**400]


@pytest.mark.parametrize(
    ("option", "values"),
    [
        pytest.param("ttl", [*NO_SECONDS, 59.9, 86401], id="CF-003-ttl"),
        pytest.param("max_stale", [*NO_SECONDS, 1, 299, 86401], id="CF-003-max_stale"),
        pytest.param("cooldown", [*NO_SECONDS, 0.9, 601], id="CF-003-cooldown"),
        pytest.param("algorithms", [()], id="CF-001-no-algorithm"),
        pytest.param("on_event", ["print"], id="CF-003-hook"),
    ],
)
def test_options_out_of_bounds_are_refused(
    option: str, values: list[Any], subtests: pytest.Subtests
) -> None:
    """A wrong option fails at construction, and the message names it."""
    for value in values:
        with subtests.test(value=value), pytest.raises(ConfigurationError, match=option):
            JWKSCache(URL, **{option: value})


def test_bounds_are_inclusive(subtests: pytest.Subtests) -> None:
    """The ends of each range are allowed; a set is served for `ttl` at least."""
    bounds: list[tuple[dict[str, Any], float]] = [
        ({}, 3600),
        ({"ttl": 60, "cooldown": 1}, 3600),
        ({"ttl": 86400, "max_stale": 86400, "cooldown": 600}, 86400),
        ({"ttl": 600, "max_stale": 600}, 600),
        ({"max_stale": 0}, 300),
    ]
    for options, hard_limit in bounds:
        with subtests.test(options=options):
            cache = JWKSCache(URL, **options)
            assert cache.ttl == options.get("ttl", 300)
            assert cache.max_stale == options.get("max_stale", 3600)
            assert cache.hard_limit == hard_limit


@pytest.mark.parametrize("name", ["time", "monotonic"])
async def test_clocks_that_a_test_freezes_are_followed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing binds the clock before it is read."""
    cache = JWKSCache(URL, http=HTTPClient(httpx.MockTransport(Endpoint())))
    await cache.key("k1")
    later = getattr(time, name)() + 400
    monkeypatch.setattr(time, name, lambda: later)
    assert cache.health().state == "stale"
    assert cache.cached("k1") is not None
    await cache.aclose()


async def test_no_stale_set_is_served_where_that_is_turned_off() -> None:
    """With `max_stale=0` the soft limit is the hard one; refresh-ahead still hides the fetch."""
    harness = CacheHarness(options={"max_stale": 0})
    await harness.outcome("k1")
    harness.endpoint.fail()
    harness.clock.now += 300
    assert await harness.outcome("k1") == "found"
    harness.clock.now += 1
    assert await harness.outcome("k1") == "unavailable"
    assert not harness.events_of(StaleServed)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("empty", id="JW-087-empty"),
        pytest.param("fresh", id="JW-087-fresh"),
        pytest.param("stale", id="JW-087-stale"),
        pytest.param("expired", id="JW-087-expired"),
    ],
)
async def test_health_shows_the_state_and_no_secret(state: str) -> None:
    """In each state: what it is, how old, how many keys, and no kid, URL or key."""
    harness = CacheHarness()
    if state != "empty":
        await harness.outcome("k1")
        harness.endpoint.fail()
        harness.clock.now += {"fresh": 10, "stale": 400, "expired": 4000}[state]
        await harness.outcome("k1")
        await harness.finish_refreshes()
    health = harness.keys.health()
    assert health.state == state
    assert health.keys == (state != "empty")
    assert (health.age is None) == (state == "empty")
    assert (health.failures, health.next_try > 0) == (
        (1, True) if state in {"stale", "expired"} else (0, False)
    )
    assert not any(secret in repr(health) for secret in ("k1", "keys.example", "P2x"))
    assert "k1" not in repr(harness.keys.cached("k1"))


async def test_a_cache_without_a_hook_is_silent() -> None:
    """Events cost nothing without a hook."""
    keys = JWKSCache(URL, http=HTTPClient(httpx.MockTransport(Endpoint())))
    with pytest.raises(InvalidToken):
        await keys.key("missing")


@pytest.mark.parametrize("hook", [pytest.param("raises", id="JW-086")])
async def test_a_hook_that_raises_changes_no_outcome(hook: str) -> None:
    """Found, unknown and unavailable are what they are without it."""

    def explode(event: object) -> None:
        raise ValueError(hook)

    harness = CacheHarness(options={"on_event": explode})
    assert await harness.outcomes("k1", "k2") == ["found", "unknown"]
    harness.endpoint.fail()
    await harness.refresh()
    harness.clock.now += 3600
    assert await harness.outcome("k1") == "unavailable"


async def test_warming_up_twice_fetches_once() -> None:
    """A warm-up with a usable set at hand does nothing."""
    harness = CacheHarness()
    await harness.keys.warm_up()
    await harness.keys.warm_up()
    assert harness.fetches == 1


@pytest.mark.slow
@pytest.mark.parametrize("option", [pytest.param("-O", id="CF-013")])
def test_rejections_hold_without_assertions(option: str) -> None:
    """Under `python -O` the checks are still there."""
    program = (
        "import asyncio, json\n"
        "import httpx\n"
        "from fastapi_stepup import JWKSCache, errors\n"
        "from fastapi_stepup._http import HTTPClient\n"
        "from fastapi_stepup._urls import checked_base_url\n"
        "answer = lambda _: httpx.Response(200, json={'keys': [{'kty': 'oct', 'k': 'AA'}]})\n"
        "keys = JWKSCache('https://x.example', http=HTTPClient(httpx.MockTransport(answer)))\n"
        "try:\n"
        "    asyncio.run(keys.key('k'))\n"
        "except errors.KeysUnavailable:\n"
        "    print(keys.health().last_error.value, __debug__)\n"
        "for build in (\n"
        "    lambda: JWKSCache('https://x.example', ttl=-1),\n"
        "    lambda: checked_base_url('url', 'http://x.example'),\n"
        "    lambda: HTTPClient(total_timeout=0),\n"
        "):\n"
        "    try:\n"
        "        build()\n"
        "    except errors.ConfigurationError:\n"
        "        print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, option, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["no_usable_key", "False", "refused", "refused", "refused"]

"""Tokens that name no known key: how many fetches they force, and what is remembered."""

from typing import Any

import anyio
import anyio.from_thread
import pytest

from fastapi_stepup.events import (
    UnknownKid,
)
from fastapi_stepup.testing.keys import SigningKey
from tests.support.jwks_server import (
    CacheHarness,
    VerifierHarness,
    jwk,
    under_kid,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def site() -> VerifierHarness:
    """A verifier that has seen nothing yet."""
    return VerifierHarness()


@pytest.mark.parametrize(
    "rotations",
    [pytest.param(1, id="JW-029"), pytest.param(2, id="JW-030")],
)
async def test_a_rotated_key_is_found_at_once(rotations: int) -> None:
    """A kid that was published since the last fetch costs one forced fetch, twice in a row too."""
    harness = CacheHarness()
    await harness.outcome("k1")
    await harness.refresh()
    fetches = harness.fetches
    for rotation in range(rotations):
        harness.clock.now += 1
        harness.endpoint.keys = [jwk(f"new-{rotation}"), *harness.endpoint.keys]
        assert await harness.outcomes(*[f"new-{rotation}"] * 20) == ["found"] * 20
    assert harness.fetches == fetches + rotations


@pytest.mark.parametrize(("options", "cooldown"), [({"cooldown": 10}, 10), ({}, 30)])
async def test_the_unknown_kid_budget_refills(options: dict[str, Any], cooldown: float) -> None:
    """After the burst of two there is one forced fetch per cooldown."""
    harness = CacheHarness(options=options)
    await harness.outcome("k1")
    for number in range(5):
        assert await harness.outcome(f"x{number}") == "unknown"
    assert harness.fetches == 3
    harness.clock.now += cooldown - 1
    await harness.outcome("y")
    assert harness.fetches == 3
    harness.clock.now += 1
    await harness.outcome("y")
    await harness.outcome("z")
    assert harness.fetches == 4
    outcomes = [event.outcome for event in harness.events_of(UnknownKid)]
    assert outcomes == ["fetched"] * 2 + ["throttled"] * 4 + ["fetched", "throttled"]


async def test_a_routine_refresh_does_not_use_up_the_unknown_kid_budget() -> None:
    """The two budgets are apart, so that a new key is found right after a refresh."""
    harness = CacheHarness()
    await harness.outcome("k1")
    for _ in range(3):
        await harness.refresh()
    harness.endpoint.keys = [jwk("k2")]
    assert await harness.outcome("k2") == "found"
    assert harness.fetches == 5


@pytest.mark.parametrize(
    ("wait", "found"),
    [
        pytest.param(59, "unknown", id="JW-033-remembered"),
        pytest.param(61, "found", id="JW-033-forgotten"),
    ],
)
async def test_a_kid_that_was_unknown_is_remembered_for_a_minute(wait: float, found: str) -> None:
    """A published kid is found once the memory of its absence fades."""
    harness = CacheHarness()
    await harness.outcome("k1")
    assert await harness.outcome("late") == "unknown"
    harness.endpoint.keys = [jwk("k1"), jwk("late", 1)]
    assert await harness.outcome("late") == "unknown"
    assert harness.fetches == 2
    harness.clock.now += wait
    assert await harness.outcome("late") == found


@pytest.mark.parametrize(
    ("others", "found"),
    [
        pytest.param(["new"], "found", id="JW-033-next-refresh"),
        pytest.param([], "unknown", id="unchanged"),
    ],
)
async def test_a_change_of_the_set_clears_the_memory_of_unknown_kids(
    others: list[str], found: str
) -> None:
    """A set that changed may hold what the one before it lacked, and an unchanged one may not."""
    harness = CacheHarness()
    await harness.outcome("k1")
    assert await harness.outcome("late") == "unknown"
    harness.endpoint.keys = [jwk(kid, 1) for kid in ("k1", *others)]
    harness.endpoint.keys[0] = jwk("k1")
    assert await harness.outcome("new") == ("found" if others else "unknown")
    harness.endpoint.keys.append(jwk("late", 1))
    harness.clock.now += 31
    assert await harness.outcome("late") == found
    assert harness.fetches == 3 + len(others)


@pytest.mark.parametrize("kids", [pytest.param(1000, id="JW-034")])
async def test_the_memory_of_unknown_kids_is_bounded(kids: int) -> None:
    """Random kids push each other out: never more than 256 are remembered."""
    harness = CacheHarness()
    await harness.outcome("k1")
    results = await harness.outcomes(*[f"random-{number}" for number in range(kids)])
    assert results == ["unknown"] * kids
    assert len(harness.keys._unknown_kids) == 256
    assert harness.fetches <= 3


@pytest.mark.parametrize(
    ("past", "outcome"),
    [
        pytest.param(400, "unavailable", id="JW-037"),
        pytest.param(0, "unknown", id="JW-037-fresh"),
    ],
)
async def test_an_unknown_kid_during_an_outage(past: float, outcome: str) -> None:
    """Pinned: a set past its soft limit is too old to call a kid unknown, a fresh one is not."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.clock.now += past
    harness.endpoint.fail()
    assert await harness.outcome("k2") == outcome
    assert await harness.outcome("k2") == outcome
    assert await harness.outcome("k1") == "found"
    assert harness.fetches == 2
    assert {event.outcome for event in harness.events_of(UnknownKid)} == {"failed"}


async def test_a_kid_is_not_called_unknown_by_a_fetch_that_left_before_it_was_published() -> None:
    """A caller that joins a running fetch and finds nothing gets a fetch that started later."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.clock.now += 400
    harness.endpoint.gate = anyio.Event()
    harness.keys.cached("k1")
    await anyio.wait_all_tasks_blocked()
    harness.endpoint.keys = [jwk("k1"), jwk("k2", 1)]
    results: list[str] = []

    async def ask(kid: str) -> None:
        results.append(await harness.outcome(kid))

    async with anyio.create_task_group() as group:
        for kid in ("k2", "k2", "k3"):
            group.start_soon(ask, kid)
        await anyio.wait_all_tasks_blocked()
        harness.endpoint.gate.set()
    assert sorted(results) == ["found", "found", "unknown"]
    assert harness.fetches == 3


async def test_a_cold_cache_asks_once_for_an_unknown_kid() -> None:
    """The fetch that a kid caused itself is conclusive: a second one would tell no more."""
    harness = CacheHarness()
    assert await harness.outcome("missing") == "unknown"
    assert await harness.outcome("missing") == "unknown"
    assert harness.fetches == 1
    assert [event.outcome for event in harness.events_of(UnknownKid)] == ["fetched", "negative"]


async def test_unknown_kids_that_start_together_share_one_fetch() -> None:
    """Whatever is sent after they came answers for all of them."""
    harness = CacheHarness()
    assert await harness.outcomes("a", "b", "c", "d") == ["unknown"] * 4
    assert harness.fetches == 1
    assert [event.outcome for event in harness.events_of(UnknownKid)] == ["fetched"] * 4


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("tokens", [pytest.param(1000, id="JW-031")])
async def test_random_kids_force_two_fetches_at_most(site: VerifierHarness, tokens: int) -> None:
    """A thousand of them within ten seconds, and good tokens pass all along."""
    token = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(token) == "200"
    for number in range(tokens):
        assert await site.outcome(under_kid(token, f"random-{number}")) == "401"
        site.clock.now += 10 / tokens
        if number % 100 == 0:
            assert await site.outcome(token) == "200"
    assert site.fetches <= 3
    counted = [event.outcome for event in site.events if isinstance(event, UnknownKid)]
    assert (counted.count("fetched"), counted.count("throttled")) == (2, tokens - 2)


@pytest.mark.parametrize("forgeries", [pytest.param(1000, id="JW-038")])
async def test_bad_signatures_change_nothing(site: VerifierHarness, forgeries: int) -> None:
    """A known kid with a bad signature neither evicts the key nor costs a fetch."""
    token = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(token) == "200"
    generation = site.verifier.keys.generation
    forged = site.descope.token(key=SigningKey())
    for _ in range(forgeries):
        assert await site.outcome(forged) == "401"
    assert await site.outcome(token) == "200"
    assert site.verifier.keys.generation == generation
    assert site.fetches == 1


@pytest.mark.parametrize("kids", [pytest.param(5000, id="JW-089")])
async def test_unknown_kids_leave_memory_flat(site: VerifierHarness, kids: int) -> None:
    """Whatever is remembered about tokens that name no key is bounded."""
    token = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(token) == "200"
    site.verifier.keys._emit.hooks = ()
    for number in range(kids):
        await site.outcome(under_kid(token, f"random-{number}"))
        site.clock.now += 0.1
    keys = site.verifier.keys
    assert len(keys._unknown_kids) <= 256
    assert not keys._refresher._refreshes

"""Loops in threads at once, and processes that fork."""

import multiprocessing
import os
import threading
from typing import Any

import anyio
import anyio.from_thread
import httpx
import pytest

from fastapi_stepup import JWKSCache, StepUpGuard
from fastapi_stepup.events import (
    FetchFailed,
    FetchSucceeded,
)
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.tokens.jwks.cache import _after_fork_in_child
from tests.support.jwks_server import (
    PROJECT,
    CacheHarness,
    Endpoint,
    jwk,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("threads", [pytest.param(8, id="JW-070-threads")])
def test_one_cache_serves_loops_in_threads_at_once(threads: int) -> None:
    """Loops in threads fetch side by side, each once, and all get their keys."""
    harness = CacheHarness()
    results: list[list[str]] = []
    barrier = threading.Barrier(threads)

    def work(number: int) -> None:
        barrier.wait()
        backend = ("asyncio", "trio")[number % 2]
        results.append(anyio.run(harness.outcomes, *["k1"] * 20, backend=backend))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [["found"] * 20] * threads
    assert 1 <= harness.fetches <= threads
    assert not harness.keys._refresher._refreshes


@pytest.fixture
def guard() -> StepUpGuard:
    """A guard as an application makes it."""
    return StepUpGuard.for_descope(PROJECT, base_url="https://api.descope.com")


def test_loops_in_threads_share_one_guard(guard: StepUpGuard) -> None:
    """Requests from several event loops at once, asyncio and trio, all pass."""
    results: list[int] = []
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        token = descope.sign_in("ann@example.com").session_token

        async def visit() -> None:
            results.extend([len((await guard.verify(token)).subject) for _ in range(20)])

        def work(number: int) -> None:
            anyio.run(visit, backend=("asyncio", "trio")[number % 2])

        workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(results) == 120
    assert 1 <= len(descope.requests) <= 6


async def test_a_late_older_answer_never_replaces_a_newer_set() -> None:
    """Of two fetches in two loops, the one that was sent later wins, whichever lands last."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.clock.now += 400
    harness.endpoint.gate = anyio.Event()
    harness.keys.cached("k1")
    await anyio.wait_all_tasks_blocked()
    first_gate, harness.endpoint.gate = harness.endpoint.gate, None
    harness.endpoint.keys = [jwk("k1", 1)]
    await anyio.to_thread.run_sync(lambda: anyio.run(harness.refresh))
    newer = harness.keys.cached("k1")
    generation = harness.keys.generation
    first_gate.set()
    await harness.finish_refreshes()
    assert harness.keys.cached("k1") is newer
    assert harness.keys.generation == generation
    assert len(harness.events_of(FetchSucceeded)) == 2


async def test_a_late_older_failure_does_not_count_against_a_newer_set() -> None:
    """A fetch that fails after a later one has succeeded backs nobody off."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.clock.now += 400
    harness.endpoint.gate = anyio.Event()
    harness.endpoint.fail()
    harness.keys.cached("k1")
    await anyio.wait_all_tasks_blocked()
    first_gate, harness.endpoint.gate = harness.endpoint.gate, None
    harness.endpoint.recover()
    await anyio.to_thread.run_sync(lambda: anyio.run(harness.refresh))
    first_gate.set()
    await harness.finish_refreshes()
    assert harness.keys.health().failures == 0
    assert not harness.events_of(FetchFailed)


async def test_a_304_confirms_only_the_set_that_was_asked_about() -> None:
    """When another loop put a newer set in force meanwhile, the old set's 304 changes nothing."""
    harness = CacheHarness(Endpoint(headers={"ETag": '"v1"'}))
    await harness.outcome("k1")
    harness.clock.now += 400
    harness.endpoint.gate = anyio.Event()
    harness.endpoint.answer = lambda _: httpx.Response(304, headers={"ETag": '"v0"'})
    harness.keys.cached("k1")
    await anyio.wait_all_tasks_blocked()
    first_gate, harness.endpoint.gate = harness.endpoint.gate, None
    harness.endpoint.recover()
    harness.endpoint.headers, harness.endpoint.keys = {"ETag": '"v2"'}, [jwk("k1", 1)]
    await anyio.to_thread.run_sync(lambda: anyio.run(harness.refresh))
    first_gate.set()
    await harness.finish_refreshes()
    snapshot = harness.keys._state.snapshot
    assert snapshot is not None
    assert snapshot.etag == '"v2"'


@pytest.mark.parametrize("after", [pytest.param("fork", id="JW-071")])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests leave threads
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_goes_on_with_the_keys_it_inherited(after: str) -> None:
    """Though a thread held the lock at the fork, the child reads, expires and fetches anew."""
    context: Any = multiprocessing.get_context(after)
    receiver, sender = context.Pipe(duplex=False)
    harness, twin = CacheHarness(), CacheHarness()
    anyio.run(harness.outcome, "k1")
    anyio.run(twin.outcome, "k1")
    child = context.Process(target=_live_on, args=(harness, sender))
    with harness.keys._state.lock:
        child.start()
        child.join(10)
    assert child.exitcode == 0
    told = receiver.recv()
    _live_on(twin, sender)
    assert told == receiver.recv() == (["found", "found"], 2)
    assert harness.fetches == 1


def _live_on(harness: CacheHarness, sender: Any) -> None:
    """Use a cache in a new loop until it has to fetch, and send what came of it."""
    outcomes = [anyio.run(harness.outcome, "k1")]
    harness.clock.now += 3600 + 1
    outcomes.append(anyio.run(harness.outcome, "k1"))
    sender.send((outcomes, harness.fetches))


def test_workers_forked_from_one_process_do_not_refresh_in_step() -> None:
    """Each child of a preloading server plans its refresh anew; locks and fetches start over."""
    harness = CacheHarness()
    anyio.run(harness.outcome, "k1")
    static = JWKSCache.static({"keys": [jwk("k1")]})
    lock, before = harness.keys._state.lock, harness.keys._state.snapshot
    _after_fork_in_child()
    after = harness.keys._state.snapshot
    assert harness.keys._state.lock is not lock
    assert before is not None
    assert after is not None
    assert (after.keys, after.generation) == (before.keys, before.generation)
    assert after.due_wall != before.due_wall
    assert static.health().state == "fresh"

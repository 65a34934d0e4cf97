"""Loops in threads at once, and processes that fork."""

import asyncio
import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
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
def test_a_cold_start_in_many_loops_makes_one_fetch(threads: int) -> None:
    """All event loops of the process wait for the one that asked first, asyncio and trio alike."""
    harness = CacheHarness(Endpoint(delay=0.3))
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
    assert harness.fetches == 1
    assert not harness.keys._refresher._refreshes


def test_a_cold_start_in_many_loops_that_fails_makes_one_fetch_too() -> None:
    """A failure is the result for all of them: none tries again before the backoff allows it."""
    harness = CacheHarness(Endpoint(delay=0.3))
    harness.endpoint.fail()
    results: list[str] = []
    workers = [
        threading.Thread(target=lambda: results.append(anyio.run(harness.outcome, "k1")))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == ["unavailable"] * 4
    assert harness.fetches == 1


def _close(loop: asyncio.AbstractEventLoop, harness: CacheHarness) -> None:
    loop.close()


def _stand_still(loop: asyncio.AbstractEventLoop, harness: CacheHarness) -> None:
    """Leave *loop* as it is: not closed, and not running."""


def _stop_keys(loop: asyncio.AbstractEventLoop, harness: CacheHarness) -> None:
    loop.run_until_complete(harness.keys.aclose())


def _cancel_all(loop: asyncio.AbstractEventLoop, harness: CacheHarness) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


@pytest.mark.parametrize(
    ("backend", "end"),
    [
        ("asyncio", _close),
        ("trio", _close),
        ("asyncio", _stand_still),
        ("trio", _stop_keys),
        ("asyncio", _cancel_all),
    ],
)
def test_a_loop_that_ends_over_a_fetch_leaves_no_other_loop_waiting(
    backend: str,
    end: Callable[[asyncio.AbstractEventLoop, CacheHarness], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another loop that waits for its fetch makes one of its own, long before any deadline."""
    if end is _stand_still:  # The next test waits for as long as a loop really may stand still.
        monkeypatch.setattr("fastapi_stepup.tokens.jwks.refresh._POLL", 0.05)
    harness = CacheHarness(Endpoint(silent=1))
    results: list[list[str]] = []

    def wait() -> None:
        results.append(anyio.run(harness.outcomes, "k1", "k1", backend=backend))

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it would report the pending tasks
    waiting = loop.create_task(harness.outcome("k1"))
    while not harness.fetches:
        loop.run_until_complete(asyncio.sleep(0.01))
    other = threading.Thread(target=wait)
    other.start()
    time.sleep(0.2)
    end(loop, harness)
    other.join(4.5)  # the fetch that hangs has 5 seconds
    assert results == [["found", "found"]]
    assert harness.fetches == 2
    loop.close()
    del waiting
    gc.collect()


def test_a_loop_that_was_held_up_gets_the_keys_that_another_one_fetched() -> None:
    """Its own fetch was given up meanwhile; that is no failure for those who wait there."""
    harness = CacheHarness(Endpoint(silent=1))
    results: list[str] = []

    def wait() -> None:
        results.append(anyio.run(harness.outcome, "k1"))

    async def hold_up() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            other = threading.Thread(target=wait)
            other.start()
            other.join(30)  # holding the loop up is the point

    async def ask() -> None:
        results.append(await harness.outcome("k1"))

    anyio.run(hold_up)
    assert results == ["found", "found"]
    assert harness.fetches == 2


def test_a_waiting_loop_that_ends_does_not_end_the_fetch() -> None:
    """The loop that fetches has no task to wake there, and serves its own."""
    harness = CacheHarness()
    harness.endpoint.gate = anyio.Event()

    async def fetch() -> str:
        async with anyio.create_task_group() as group:
            results: list[str] = []

            async def ask() -> None:
                results.append(await harness.outcome("k1"))

            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(leave)
            assert harness.endpoint.gate is not None
            harness.endpoint.gate.set()
        return results[0]

    def leave() -> None:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)  # it would report the pending tasks
        task = loop.create_task(harness.outcome("k1"))
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()
        del task

    assert anyio.run(fetch) == "found"
    assert harness.fetches == 1
    gc.collect()


def test_waiters_outlive_the_cancellation_of_every_other_task_in_their_loop() -> None:
    """Also where the task that watches over the fetch of another loop is cancelled."""
    harness = CacheHarness(Endpoint(delay=0.4))
    results: list[str] = []

    async def sweep() -> None:
        async def ask() -> None:
            results.append(await harness.outcome("k1"))

        survivor = asyncio.create_task(ask())
        for pause in (0.05, 0, 0):
            await asyncio.sleep(pause)
            for task in asyncio.all_tasks() - {survivor, asyncio.current_task()}:
                task.cancel()
        await survivor

    owner = threading.Thread(target=lambda: results.append(anyio.run(harness.outcome, "k1")))
    owner.start()
    while not harness.fetches:
        time.sleep(0.01)
    anyio.run(sweep)
    owner.join()
    assert results == ["found", "found"]
    assert harness.fetches == 1


async def test_a_fetch_past_its_deadline_is_the_result_for_every_loop() -> None:
    """A transport that cannot be cancelled costs each loop one deadline, not one after another."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.clock.now += 4000
    harness.endpoint.gate = anyio.Event()
    results: list[str] = []

    async def ask() -> None:
        results.append(await harness.outcome("k1"))

    def ask_elsewhere() -> None:
        anyio.run(ask)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(anyio.to_thread.run_sync, ask_elsewhere)
        (refresh,) = harness.keys._refresher._refreshes
        while len(refresh.waiters) < 2:  # noqa: ASYNC110  # nothing announces a waiter
            await anyio.sleep(0.01)
        gate = harness.give_up_refresh()
    assert results == ["unavailable", "unavailable"]
    assert harness.fetches == 2
    gate.set()
    await harness.finish_refreshes()


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
    assert len(descope.requests) == 1


async def test_a_late_older_answer_never_replaces_a_newer_set() -> None:
    """Of two fetches in two loops, the one that was sent later wins, whichever lands last."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.clock.now += 400
    harness.endpoint.gate = anyio.Event()
    harness.keys.cached("k1")
    await anyio.wait_all_tasks_blocked()
    first_gate = harness.give_up_refresh()
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
    """A fetch that fails after a later one has succeeded causes no backoff."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.clock.now += 400
    harness.endpoint.gate = anyio.Event()
    harness.endpoint.fail()
    harness.keys.cached("k1")
    await anyio.wait_all_tasks_blocked()
    first_gate = harness.give_up_refresh()
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
    first_gate = harness.give_up_refresh()
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
    received = receiver.recv()
    _live_on(twin, sender)
    assert received == receiver.recv() == (["found", "found"], 2)
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
    anyio.run(harness.outcomes, "k1", "missing")
    assert len(harness.keys._unknown_kids) == 1
    static = JWKSCache.static({"keys": [jwk("k1")]})
    lock, before = harness.keys._state.lock, harness.keys._state.snapshot
    _after_fork_in_child()
    after = harness.keys._state.snapshot
    assert harness.keys._state.lock is not lock
    assert len(harness.keys._unknown_kids) == 0
    assert before is not None
    assert after is not None
    assert (after.keys, after.generation) == (before.keys, before.generation)
    assert after.due_wall != before.due_wall
    assert static.health().state == "fresh"

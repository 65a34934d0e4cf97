"""Stores of one-time step-ups: in memory and in Redis alike, and what each has of its own."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import anyio
import pytest
import redis

from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.guard.one_time_store import (
    MemoryStore,
    OneTimeStore,
    RedisStore,
    StoreIsFull,
)
from tests.router.test_redis import SERVERS, free_port, running


@pytest.fixture(scope="module")
def urls() -> Iterator[Callable[[tuple[str, ...]], str]]:
    """Start each kind of server once."""
    known: dict[tuple[str, ...], str] = {}
    with ExitStack() as stack:

        def url_of(command: tuple[str, ...]) -> str:
            if command not in known:
                known[command] = stack.enter_context(running(command, free_port()))
            return known[command]

        yield url_of


@pytest.fixture(params=[pytest.param(None, id="in-memory"), *SERVERS])
def store(request: pytest.FixtureRequest, urls: Callable[[tuple[str, ...]], str]) -> OneTimeStore:
    """A store in this process, or in a Redis."""
    return MemoryStore() if request.param is None else RedisStore(urls(request.param))


def fresh() -> str:
    """Return a key that no other test uses."""
    return f"key-{time.monotonic_ns()}"


@pytest.mark.anyio
async def test_one_holder_at_a_time(store: OneTimeStore) -> None:
    """Others are told that it is busy; the holder may ask again, and what it gives back is free."""
    key = fresh()

    assert await store.hold(key, "a", lease=60) == "held"
    assert await store.hold(key, "b", lease=60) == "busy"
    assert await store.hold(key, "a", lease=60) == "held"
    assert await store.hold(fresh(), "b", lease=60) == "held"
    await store.settle(key, "a", spent=False, keep=60)
    assert await store.hold(key, "b", lease=60) == "held"


@pytest.mark.anyio
async def test_what_is_used_stays_used(store: OneTimeStore) -> None:
    """For the time it must be remembered, by any holder, and whatever is given back later."""
    key = fresh()
    await store.hold(key, "a", lease=60)

    await store.settle(key, "a", spent=True, keep=0.4)
    await store.settle(key, "a", spent=False, keep=60)

    assert await store.hold(key, "a", lease=60) == "used"
    assert await store.hold(key, "b", lease=60) == "used"
    await anyio.sleep(0.5)
    assert await store.hold(key, "b", lease=60) == "held"


@pytest.mark.anyio
async def test_hold_ends_with_its_lease(store: OneTimeStore) -> None:
    """The next one passes; the late holder frees nothing then, but can still use it up."""
    key = fresh()
    await store.hold(key, "a", lease=0.2)
    await anyio.sleep(0.3)

    assert await store.hold(key, "b", lease=60) == "held"
    await store.settle(key, "a", spent=False, keep=60)
    assert await store.hold(key, "c", lease=60) == "busy"
    await store.settle(key, "a", spent=True, keep=60)
    await store.settle(key, "b", spent=False, keep=60)
    assert await store.hold(key, "c", lease=60) == "used"


@pytest.mark.anyio
async def test_closed_store_may_be_used_again(store: OneTimeStore) -> None:
    """An app may be started more than once; what is used stays so."""
    key = fresh()
    await store.settle(key, "a", spent=True, keep=60)

    await store.aclose()

    assert await store.hold(key, "b", lease=60) == "used"


def test_one_of_forty_threads_holds(store: OneTimeStore) -> None:
    """Each with an event loop of its own."""
    key, found, ready = fresh(), [], threading.Barrier(40)

    def attempt(holder: str) -> None:
        ready.wait()
        found.append(asyncio.run(store.hold(key, holder, lease=60)))

    threads = [threading.Thread(target=attempt, args=(str(n),)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == ["busy"] * 39 + ["held"]


class Ticking:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.mark.anyio
async def test_memory_is_bounded_and_drops_nothing_that_counts() -> None:
    """When it is full of what still counts, it refuses; what has ended frees its place."""
    clock = Ticking()
    store = MemoryStore(size=4, clock=clock)
    for number in range(4):
        await store.settle(str(number), "a", spent=True, keep=10)

    with pytest.raises(StoreIsFull):
        await store.hold("more", "a", lease=5)
    with pytest.raises(StoreIsFull):
        await store.settle("more", "a", spent=True, keep=5)
    assert await store.hold("0", "b", lease=5) == "used"
    await store.settle("0", "b", spent=True, keep=20)
    clock.now += 10
    assert await store.hold("more", "a", lease=5) == "held"
    assert [store.is_used(key) for key in ("0", "1", "more")] == [True, False, False]


@pytest.mark.anyio
async def test_full_sweeps_are_a_second_apart() -> None:
    """A flood of requests cannot make each one look through all keys."""
    clock = Ticking()
    store = MemoryStore(size=3, clock=clock)
    for key, keep in (("a", 50), ("b", 50), ("c", 0.5)):
        await store.settle(key, "x", spent=True, keep=keep)
    with pytest.raises(StoreIsFull):
        await store.hold("d", "x", lease=5)

    clock.now += 0.5
    await store.settle("c", "x", spent=False, keep=5)  # ended already, so there is nothing to free
    store._entries.move_to_end("c")
    with pytest.raises(StoreIsFull):
        await store.hold("d", "x", lease=5)
    clock.now += 0.5
    store._entries.move_to_end("c")
    assert await store.hold("d", "x", lease=5) == "held"
    assert "c" not in store._entries


@pytest.mark.anyio
async def test_memory_forgets_what_has_ended() -> None:
    """A few at a time, long before it is full."""
    clock = Ticking()
    store = MemoryStore(clock=clock)
    for number in range(200):
        clock.now += 1
        await store.hold(str(number), "a", lease=10)

    assert len(store._entries) <= 20


@pytest.mark.anyio
@pytest.mark.parametrize("server", SERVERS)
async def test_redis_shows_no_user_and_forgets(
    server: tuple[str, ...], urls: Callable[[tuple[str, ...]], str]
) -> None:
    """Two stores on one Redis are one; a failure of it is an exception."""
    url, key = urls(server), fresh()
    one, other = RedisStore(url), RedisStore(url)

    assert await one.hold(key, "a", lease=60) == "held"
    assert await other.hold(key, "b", lease=60) == "busy"
    with closing(redis.Redis.from_url(url)) as client:
        keys: Any = client.keys("*")
    assert f"fastapi-stepup:once:{key}".encode() in keys


@pytest.mark.anyio
async def test_redis_that_is_down_raises() -> None:
    """At once, at each step."""
    store = RedisStore(f"redis://127.0.0.1:{free_port()}")

    with pytest.raises(Exception, match=r"127\.0\.0\.1|network"):
        await store.hold("k", "a", lease=60)
    for spent in (True, False):
        with pytest.raises(Exception, match=r"127\.0\.0\.1|network"):
            await store.settle("k", "a", spent=spent, keep=60)
    await store.aclose()


def test_redis_url_is_checked() -> None:
    """Where the store is made, without what may be a password."""
    with pytest.raises(ConfigurationError, match=r"redis_url must be a redis:// .*\(scheme\)\.$"):
        RedisStore("http://:secret@127.0.0.1")

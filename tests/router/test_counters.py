"""Counters: moving windows of bounded memory, dropped in small steps, safe when they overflow."""

import hashlib
import inspect
import logging
import multiprocessing
import os
import threading
import tracemalloc
from itertools import pairwise

import pytest

from fastapi_stepup.router.counters import (
    EXACT,
    ROWS,
    SHARDS,
    SLOTS,
    WIDTH,
    Counters,
    _after_fork,
    _Sketch,
)


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(name: object) -> bytes:
    """Return a key as the limiter makes them."""
    return hashlib.sha256(str(name).encode()).digest()[:16]


def passed(counters: Counters, name: object, amount: int = 3, window: float = 60) -> bool:
    """Return whether one more hit passes."""
    return counters.hit(key(name), amount, window) is None


@pytest.mark.parametrize("amount", [1, 3, 10])
def test_window_moves_with_each_hit(amount: int) -> None:
    """A hit leaves the window exactly as long after it came as the window is."""
    clock = Clock()
    counters = Counters(size=1000, windows=[60], clock=clock)
    for _ in range(amount):
        assert passed(counters, "a", amount)
        clock.now += 1

    assert counters.hit(key("a"), amount, 60) == 60 - amount
    clock.now += 60 - amount - 0.001
    assert not passed(counters, "a", amount)
    clock.now += 0.001
    assert passed(counters, "a", amount)
    assert not passed(counters, "a", amount)


@pytest.mark.parametrize("amount", [11, 300])
def test_many_hits_are_counted_in_slots(amount: int) -> None:
    """A large limit holds in every window, and a hit is gone after an eighth more of it."""
    clock = Clock()
    counters = Counters(size=1000, windows=[160], clock=clock)
    hits: list[float] = []
    for _ in range(4 * amount):
        if passed(counters, "a", amount, 160):
            hits.append(clock.now)
        clock.now += 320 / amount

    for start in hits:
        assert sum(start <= hit < start + 160 for hit in hits) <= amount
    assert len(hits) >= amount


def test_slots_are_free_after_the_window_and_an_eighth() -> None:
    """All of a large limit is there again then."""
    clock = Clock()
    counters = Counters(size=1000, windows=[160], clock=clock)
    assert all(passed(counters, "a", 900, 160) for _ in range(900))
    assert not passed(counters, "a", 900, 160)

    clock.now += 180.001
    assert all(passed(counters, "a", 900, 160) for _ in range(900))
    assert not passed(counters, "a", 900, 160)


def test_keys_count_apart() -> None:
    """Another user, or the same under another limit, has a count of its own."""
    counters = Counters(size=1000, windows=[60])

    assert [passed(counters, name, 1) for name in ("a", "b", "a")] == [True, True, False]


def test_old_keys_are_dropped_a_few_at_a_time() -> None:
    """After one to two of the longest windows, by whatever hits come."""
    clock = Clock()
    counters = Counters(size=100_000, windows=[60, 10], clock=clock)
    for n in range(10_000):
        passed(counters, n)
    assert len(counters) == 10_000

    clock.now += 200
    left = []
    for n in range(64 * 3):
        passed(counters, f"late {n}")
        left.append(len(counters))

    assert left[0] > 9_000
    assert max(a - b for a, b in pairwise(left)) < 600
    assert left[-1] == 64 * 3


def test_old_keys_are_dropped_while_new_ones_keep_coming() -> None:
    """No more than two windows and a bit of them are there at a time."""
    clock = Clock()
    counters = Counters(size=100_000, windows=[60], clock=clock)
    for n in range(20_000):
        passed(counters, n)
        clock.now += 0.05

    assert 1_200 <= len(counters) <= 3_200


def test_key_that_is_hit_now_and_then_is_kept() -> None:
    """Turning the generations over loses no hit that is still in its window."""
    clock = Clock()
    counters = Counters(size=1000, windows=[60], clock=clock)
    hits = []
    for _ in range(400):
        if passed(counters, "a", 3):
            hits.append(clock.now)
        passed(counters, clock.now)
        clock.now += 7.3

    for start in hits:
        assert sum(start <= hit < start + 60 for hit in hits) <= 3
    assert len(hits) > 100


def test_number_of_keys_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """More keys than there is room for share a sketch, which the log says once."""
    caplog.set_level(logging.WARNING)
    counters = Counters(size=640, windows=[60])

    refused = sum(not passed(counters, n, 10) for n in range(20_000))

    assert len(counters) <= 640
    assert refused == 0
    assert [r.getMessage() for r in caplog.records] == [
        "More users or addresses than counters: limits hold, and may come early."
    ]


def test_flood_lifts_no_limit() -> None:
    """Neither of a key that was there before it, nor of one that came after."""
    clock = Clock()
    counters = Counters(size=64, windows=[60], clock=clock)
    before = [passed(counters, "before", 5) for _ in range(5)]
    for n in range(5_000):
        passed(counters, n, 5)
    after = [passed(counters, "after", 5) for _ in range(9)]

    assert before == [True] * 5
    assert not passed(counters, "before", 5)
    assert after.count(True) <= 5
    assert after[-1] is False
    clock.now += 59
    assert not passed(counters, "after", 5)
    # Two windows later all is forgotten, and a key may count again.
    clock.now += 61.1
    assert passed(counters, "after", 5)
    clock.now += 1000
    assert passed(counters, "after", 5)


@pytest.mark.parametrize("amount", [3, 40])
def test_key_of_the_sketch_keeps_its_hits_when_there_is_room_again(amount: int) -> None:
    """A shard that turns over gives no key a second share of the same window."""
    clock = Clock()
    counters = Counters(size=64, windows=[60], clock=clock)
    for n in range(1_000):
        passed(counters, n, amount)
    clock.now += 50
    names = [f"after {n}" for n in range(20)]
    hits: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(300):
        for name in names:
            hits[name] += [clock.now for _ in range(amount) if passed(counters, name, amount)]
        clock.now += 1

    for times in hits.values():
        for start in times:
            assert sum(start <= hit < start + 60 for hit in times) <= amount
    assert all(len(times) >= 2 * amount for times in hits.values())


def test_overflow_says_how_long_to_wait() -> None:
    """Until the sketch starts a new window, a second at least."""
    clock = Clock()
    counters = Counters(size=1, windows=[60], clock=clock)
    for n in range(200):
        passed(counters, n, 1)
    overflowed = next(n for n in range(200, 300) if passed(counters, n, 1))

    clock.now += 20
    assert counters.hit(key(overflowed), 1, 60) == 40
    clock.now += 39.9
    assert counters.hit(key(overflowed), 1, 60) == 1


def test_threads_share_one_count() -> None:
    """Of any number of parallel hits no more than the limit pass."""
    counters = Counters(size=1000, windows=[60])
    results: list[bool] = []

    def hit() -> None:
        results.extend(passed(counters, "a", 50) for _ in range(100))

    threads = [threading.Thread(target=hit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == [False] * 750 + [True] * 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_process_counts_though_a_thread_held_the_lock() -> None:
    """The lock of the parent is not the child's."""
    counters = Counters(size=1000, windows=[60])
    context = multiprocessing.get_context("fork")
    with counters._lock:
        child = context.Process(target=passed, args=(counters, "a"))
        child.start()
        child.join(20)

    assert child.exitcode == 0


def test_lock_is_a_new_one_after_a_fork() -> None:
    """Of all counters that there are: what the child runs first."""
    counters = Counters(size=1000, windows=[60])
    with counters._lock:
        _after_fork()
        assert passed(counters, "a")


@pytest.mark.parametrize(
    ("amount", "hits", "most"), [(10, 1, 250), (10, 10, 250), (900, 3, 250), (900, 30, 300)]
)
def test_counter_takes_less_than_250_bytes(amount: int, hits: int, most: int) -> None:
    """With all of a small limit's hits; with all slots of a large one it is 300."""
    clock = Clock()
    keys = [key(n) for n in range(2048)]
    counters = Counters(size=1 << 12, windows=[600], clock=clock)
    tracemalloc.start()
    for _ in range(hits):
        for each in keys:
            counters.hit(each, amount, 600)
        clock.now += 20
    # Other threads and the coverage tracer take memory too.
    ours = tracemalloc.Filter(True, inspect.getsourcefile(Counters) or "")  # noqa: FBT003
    snapshot = tracemalloc.take_snapshot().filter_traces([ours])
    tracemalloc.stop()
    used = sum(trace.size for trace in snapshot.traces)

    assert len(counters) == 2048
    assert used / 2048 < most


def test_figures_are_the_documented_ones() -> None:
    """Of the class's docstring and the changelog."""
    assert (SHARDS, EXACT, SLOTS) == (64, 10, 8)
    assert (ROWS, WIDTH) == (3, 65_536)
    assert len(Counters(size=640)._shards) == 64


def sketched(sketch: _Sketch, name: object, now: float, amount: int = 5) -> bool:
    """Return whether one more hit of a sketch passes."""
    return sketch.hit(key(name), amount, now) is None


def test_sketch_counts_this_window_and_the_one_before() -> None:
    """Three hits at its end and two after it are five; only a whole window later they are gone."""
    sketch = _Sketch(1000, 60)
    assert [sketched(sketch, "a", 1059) for _ in range(3)] == [True] * 3

    assert [sketched(sketch, "a", 1060) for _ in range(3)] == [True, True, False]
    assert [sketched(sketch, "b", 1060) for _ in range(6)] == [True] * 5 + [False]
    assert [sketched(sketch, "a", 1120) for _ in range(4)] == [True, True, True, False]
    assert [sketched(sketch, "a", 1300) for _ in range(6)] == [True] * 5 + [False]


def test_sketch_goes_by_the_smallest_of_its_cells() -> None:
    """Keys that share a cell or two with others are not counted as those, old or new."""
    sketch = _Sketch(1000, 60)
    one, other = 12 * b"a" + b"0000", 4 * b"a" + 8 * b"b" + b"0000"
    assert [sketch.hit(one, 3, 1000) for _ in range(4)][:3] == [None] * 3

    assert sketch.hit(other, 3, 1000) is None
    assert sketch.hit(other, 3, 1061) is None
    assert sketch.hit(one, 3, 1061) is not None
    assert sketch.hit(other, 3, 1061) is None
    assert sketch.hit(other, 3, 1061) is not None


def test_shards_turn_over_one_after_the_other() -> None:
    """Spread over the longest window, from now on."""
    counters = Counters(size=640, windows=[64], clock=Clock())

    assert [shard.turns_at for shard in counters._shards] == [1000.0 + n for n in range(64)]

"""Limits in memory: what a million users leave behind, and how long one count may take."""

import gc
import hashlib
import tracemalloc
from collections.abc import Iterator
from itertools import count
from time import thread_time_ns

from benchmarks.measuring import MIB, Contender, Effort, Figure, at_most, below, compared, race
from fastapi_stepup.router.counters import Counters
from fastapi_stepup.router.rate_limits import STRANGERS, SUBJECTS

_AMOUNT = 10
_WINDOW = 600.0
_SUBJECTS = 1_000_000
_LIMIT = 64.0
_PER_COUNTER = 250.0
_LONGEST = 5.0
_MILLISECOND = 1e6
_numbers = count()


def _keys(number: int) -> Iterator[bytes]:
    for _ in range(number):
        yield hashlib.sha256(f"U{next(_numbers)}".encode()).digest()[:16]


def _counters(size: int) -> Counters:
    return Counters(size=size, windows=[_WINDOW])


def figures(effort: Effort) -> list[Figure]:
    """Return the memory of a million users, and the longest single count on the way."""
    subjects = int(_SUBJECTS * min(1.0, effort.cached_tokens / 10_000))
    gc.collect()
    tracemalloc.start()
    users, strangers = _counters(SUBJECTS), _counters(STRANGERS)
    for key in _keys(max(1, min(subjects, SUBJECTS) // 2)):
        users.hit(key, _AMOUNT, _WINDOW)
    per_counter = tracemalloc.get_traced_memory()[0] / len(users)
    for key in _keys(subjects):
        users.hit(key, _AMOUNT, _WINDOW)
    for key in _keys(subjects // 8):
        strangers.hit(key, _AMOUNT, _WINDOW)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    note = f"{subjects:,} subjects"
    return [
        Figure(
            name="limits: memory of a counter",
            value=per_counter,
            unit="bytes",
            target=below(_PER_COUNTER),
        ),
        Figure(
            name="limits: memory of all users and of strangers' addresses",
            value=used / MIB,
            unit="MiB",
            target=below(_LIMIT),
            note=note,
        ),
        Figure(
            name="limits: longest single count",
            # The least of three: the collector may stop one of them for what others left behind.
            value=min(_longest(subjects // 3) for _ in range(3)) / _MILLISECOND,
            unit="ms",
            target=below(_LONGEST),
            note=f"{note} in three turns, CPU time",
        ),
    ]


def _longest(subjects: int) -> int:
    """Return the nanoseconds of the slowest of *subjects* counts, old keys' end included."""
    now = [0.0]
    counters = Counters(size=SUBJECTS, windows=[_WINDOW], clock=lambda: now[0])
    longest = 0
    for key in _keys(subjects):
        now[0] += 3 * _WINDOW / subjects
        started = thread_time_ns()
        counters.hit(key, _AMOUNT, _WINDOW)
        longest = max(longest, thread_time_ns() - started)
    return longest


async def growth(effort: Effort) -> list[Figure]:
    """Return how a count grows with the users that were counted before."""
    contenders = []
    share = min(1.0, effort.cached_tokens / 10_000)
    for known in (100, int(100_000 * share), int(300_000 * share)):
        counters = _counters(SUBJECTS)
        for key in _keys(known):
            counters.hit(key, _AMOUNT, _WINDOW)
        contenders.append(_counting(counters, 4 * effort.batch))
    few, many, most = await race(contenders, rounds=effort.rounds)
    return [
        compared("limits: a count among 100,000 users / 100", many, few, target=at_most(2)),
        compared("limits: a count beyond the bound / among 100", most, few, target=at_most(4)),
    ]


def _counting(counters: Counters, size: int) -> Contender:
    async def turn() -> None:
        for key in _keys(size):
            counters.hit(key, _AMOUNT, _WINDOW)

    return Contender(turn=turn, calls=size)

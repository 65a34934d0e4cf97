"""Moving windows in the memory of this process, of bounded size.

Not the memory storage of `limits`: that one keeps every key for good, and looks through all of
them in a thread of its own after nearly every hit.
"""

import math
import os
import threading
import weakref
from array import array
from collections.abc import Callable, Iterable
from itertools import count
from struct import Struct, unpack_from
from typing import Final

from fastapi_stepup._clock import monotonic
from fastapi_stepup._log import logger

SHARDS: Final = 64
EXACT: Final = 10
SLOTS: Final = 8
ROWS: Final = 3
WIDTH: Final = 1 << 16

_HIT: Final = Struct("dI")
_FULL: Final = 0xFFFF

_all: Final["weakref.WeakSet[Counters]"] = weakref.WeakSet()


class Counters:
    """Counts hits by key, each within a window that moves.

    - Counting is atomic. Any number of threads and event loops may share one.
    - Of any window no more than the limit pass. A limit above `EXACT` may count a hit for up to an
      eighth of its window longer.
    - At most *size* keys are kept apart. Further ones share a sketch: it never counts too few, and
      may count too many. So a flood of keys never lifts a limit.
    - A key is dropped one to two of the longest windows after its last hit, a few keys at a time.

    Args:
        size: Number of keys kept apart.
        windows: The windows that are counted, in seconds.
        clock: Gives seconds that never go back.
    """

    def __init__(
        self,
        *,
        size: int,
        windows: Iterable[float] = (60,),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._longest = max(windows, default=60)
        self._shard_size = max(1, size // SHARDS)
        now = clock()
        # Each shard turns over at its own time, so that no hit has to drop all old keys.
        self._shards = [_Shard(now + self._longest * number / SHARDS) for number in range(SHARDS)]
        self._tended = count()
        self._sketches: dict[tuple[int, float], _Sketch] = {}
        self._overflowed = False
        _all.add(self)

    def __len__(self) -> int:
        """Return the number of keys that are kept apart."""
        return sum(len(shard) for shard in self._shards)

    def hit(self, key: bytes, amount: int, window: float) -> float | None:
        """Count once; return the seconds to wait when the limit is reached.

        Args:
            key: A digest: evenly distributed, and of its own for each limit.
            amount: How many hits the window may have.
            window: Its length in seconds.
        """
        with self._lock:
            now = self._clock()
            # Tend one more shard each time, or keys of a quiet shard would stay.
            self._shards[next(self._tended) % SHARDS].turn_over(now, self._longest)
            shard = self._shards[key[0] % SHARDS]
            shard.turn_over(now, self._longest)
            hits = shard.take(key)
            # The key itself has been taken out: one that is known always has its place.
            if len(shard) >= self._shard_size:
                return self._hit_sketch(key, amount, window, now)
            if hits is None:
                # Its earlier hits may be in the sketch, from before the shard had a free place.
                sketch = self._sketches.get((amount, window))
                hits = b"" if sketch is None else sketch.hits(key, now)
            left = _within(hits, now)
            if _total(left) >= amount:
                shard.young[key] = left
                ends: float = unpack_from("d", left)[0]
                return ends - now
            shard.young[key] = _added(left, now, amount, window)
            return None

    def _hit_sketch(self, key: bytes, amount: int, window: float, now: float) -> float | None:
        if not self._overflowed:
            self._overflowed = True
            logger.warning(
                "More users or addresses than counters: limits hold, and may come early."
            )
        sketch = self._sketches.get((amount, window))
        if sketch is None:
            sketch = self._sketches[(amount, window)] = _Sketch(now, window)
        return sketch.hit(key, amount, now)

    def _forget_lock(self) -> None:
        # A thread of the parent process may have held it, and there is none here to let it go.
        self._lock = threading.Lock()


class _Shard:
    """Part of the keys, in two generations. A key that is hit moves to the young one."""

    __slots__ = ("old", "turns_at", "young")

    def __init__(self, turns_at: float) -> None:
        self.young: dict[bytes, bytes] = {}
        self.old: dict[bytes, bytes] = {}
        self.turns_at = turns_at

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def turn_over(self, now: float, longest: float) -> None:
        """Drop the old generation when all of its hits have left their windows."""
        if now < self.turns_at:
            return
        if now >= self.turns_at + longest:
            self.young = {}
        self.old, self.young = self.young, {}
        self.turns_at = now + longest + longest / SLOTS

    def take(self, key: bytes) -> bytes | None:
        """Remove and return the hits of *key*."""
        hits = self.young.pop(key, None)
        return self.old.pop(key, None) if hits is None else hits


class _Sketch:
    """A count-min sketch with conservative update: counts of any number of keys in fixed memory.

    A key has one cell in each row, shared with other keys, and the smallest of them counts. Two
    generations stand for the window, so a hit counts for one to two windows.
    """

    def __init__(self, now: float, window: float) -> None:
        self._window = window
        self._ends = now + window
        self._now, self._before = _cells(), _cells()

    def hit(self, key: bytes, amount: int, now: float) -> float | None:
        """Count once; return the seconds to wait when the limit is reached."""
        self._turn_over(now)
        places = _places(key)
        current = min(self._now[place] for place in places)
        earlier = min(self._before[place] for place in places)
        if current + earlier >= min(amount, _FULL):
            return max(1.0, self._ends - now)
        for place in places:
            self._now[place] = max(self._now[place], current + 1)
        return None

    def hits(self, key: bytes, now: float) -> bytes:
        """Return the hits of *key* as they are kept apart, each with the latest end it can have."""
        self._turn_over(now)
        places = _places(key)
        earlier = min(self._before[place] for place in places)
        current = min(self._now[place] for place in places)
        # The old generation was over when the young one began, a window before `_ends`.
        kept = ((self._ends, earlier), (now + self._window, current))
        return b"".join(_HIT.pack(ends, number) for ends, number in kept if number)

    def _turn_over(self, now: float) -> None:
        if now >= self._ends:
            is_idle = now >= self._ends + self._window
            self._before = _cells() if is_idle else self._now
            self._now = _cells()
            self._ends = now + self._window


def _places(key: bytes) -> list[int]:
    """Return the cell of *key* in each row."""
    return [
        row * WIDTH + int.from_bytes(key[4 * row : 4 * row + 4], "big") % WIDTH
        for row in range(ROWS)
    ]


def _cells() -> "array[int]":
    return array("H", bytes(2 * ROWS * WIDTH))


def _within(hits: bytes, now: float) -> bytes:
    """Return the hits that are still in the window; the oldest come first."""
    start = 0
    while start < len(hits) and unpack_from("d", hits, start)[0] <= now:
        start += _HIT.size
    return hits[start:] if start else hits


def _total(hits: bytes) -> int:
    return sum(number for _, number in _HIT.iter_unpack(hits))


def _added(hits: bytes, now: float, amount: int, window: float) -> bytes:
    """Return *hits* with one more, in the slot in which it ends where there are slots."""
    ends = now + window
    if amount > EXACT:
        width = window / SLOTS
        ends = math.ceil(ends / width) * width
        if hits:
            last, number = _HIT.unpack_from(hits, len(hits) - _HIT.size)
            if last == ends:
                return hits[: -_HIT.size] + _HIT.pack(ends, number + 1)
    return hits + _HIT.pack(ends, 1)


def _after_fork() -> None:
    for counters in _all:
        counters._forget_lock()  # noqa: SLF001  # its own class, in the child of a fork


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_after_fork)

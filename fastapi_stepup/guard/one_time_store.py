"""OneTimeStore: where one-time step-ups are held and used up; in this process or in Redis."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeVar, runtime_checkable

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from fastapi_stepup._clock import monotonic
from fastapi_stepup._redis import redis_storage

HoldOutcome = Literal["held", "busy", "used"]
Answer = TypeVar("Answer")

SIZE: Final = 1 << 16
PREFIX: Final = "fastapi-stepup:once:"

_USED: Final = ""
_SWEPT: Final = 2  # old entries looked at for each new one, so that none stays for long
_FULL_SWEEP: Final = 1.0  # seconds between two
_THREADS: Final = 40

# A holder may repeat its own hold: a client may send again what it got no answer to.
_HOLD: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return holder == '' and 'used' or 'busy'
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'held'
"""
_GIVE_BACK: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 'done'
"""


_OUTCOMES: Final[dict[bytes, HoldOutcome]] = {b"held": "held", b"busy": "busy", b"used": "used"}


@runtime_checkable
class OneTimeStore(Protocol):
    """Remembers which one-time step-ups are held and which are used.

    - Each call is one atomic operation: of any number of holds on a free key, one succeeds.
    - A key is opaque text, the same in every process. It says nothing about a user.
    - A call that fails raises; the request is then answered 503 `one_time_unavailable`.
    """

    async def hold(self, key: str, holder: str, *, lease: float) -> HoldOutcome:
        """Hold *key* for *holder*, if no other holds it and it is not used.

        Args:
            key: The step-up and its purpose.
            holder: Names the request. A hold that it has already is renewed.
            lease: Seconds after which the hold ends by itself, as if it were given back.
        """
        ...

    async def settle(self, key: str, holder: str, *, spent: bool, keep: float) -> None:
        """End the hold of *holder*.

        Args:
            key: The step-up and its purpose.
            holder: Names the request.
            spent: True if the key is used from now on, even if another holds it. False if it is
                free again, unless another holds it or it is used.
            keep: Seconds for which a used key must be remembered.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. The store may be used again afterwards."""
        ...


class StoreIsFull(Exception):
    """The store is full. No key is dropped that may still be asked for."""


class MemoryStore:
    """A `OneTimeStore` in the memory of this process.

    - Any number of threads and event loops may share one.
    - At most *size* keys. When they all still count, further ones are refused: dropping one would
      let a step-up be used twice.
    - Does not know of other processes: several need Redis, or another store that they share.

    Args:
        size: The most keys to remember.
        clock: Gives seconds that never go back.
    """

    def __init__(self, *, size: int = SIZE, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._size = size
        self._lock = threading.Lock()
        # Key to holder, or to `_USED`, and until when.
        self._entries: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._next_full_sweep = 0.0

    async def hold(self, key: str, holder: str, *, lease: float) -> HoldOutcome:
        """Hold *key* for *holder*; see `OneTimeStore.hold`.

        Raises:
            StoreIsFull: The store is full.
        """
        now = self._clock()
        with self._lock:
            known = self._live(key, now)
            if known is not None and known != holder:
                return "used" if known == _USED else "busy"
            self._put(key, (holder, now + lease), now)
        return "held"

    async def settle(self, key: str, holder: str, *, spent: bool, keep: float) -> None:
        """End the hold of *holder*; see `OneTimeStore.settle`.

        Raises:
            StoreIsFull: The store is full.
        """
        now = self._clock()
        with self._lock:
            if spent:
                self._put(key, (_USED, now + keep), now)
            elif self._live(key, now) == holder:
                del self._entries[key]

    def is_used(self, key: str) -> bool:
        """Return whether *key* is used."""
        with self._lock:
            return bool(self._entries) and self._live(key, self._clock()) == _USED

    async def aclose(self) -> None:
        """Do nothing: what is used stays used."""

    def _live(self, key: str, now: float) -> str | None:
        holder, until = self._entries.get(key, (None, now))
        return holder if until > now else None

    def _put(self, key: str, entry: tuple[str, float], now: float) -> None:
        if key not in self._entries:
            for _ in range(min(_SWEPT, len(self._entries))):
                oldest = next(iter(self._entries))
                if self._entries[oldest][1] <= now:
                    del self._entries[oldest]
                else:
                    self._entries.move_to_end(oldest)
            if len(self._entries) >= self._size:
                self._sweep(now)
        self._entries[key] = entry

    def _sweep(self, now: float) -> None:
        if now >= self._next_full_sweep:
            self._next_full_sweep = now + _FULL_SWEEP
            for key in [key for key, (_, until) in self._entries.items() if until <= now]:
                del self._entries[key]
        if len(self._entries) >= self._size:
            raise StoreIsFull


class RedisStore:
    """A `OneTimeStore` in a Redis that processes share.

    - Each step is one script or one command, so atomic.
    - Serves any number of threads and event loops, of asyncio and trio.
    - Does not hold where Redis drops keys that have not expired: it needs the `maxmemory-policy`
      `noeviction`, and what it loses in a crash can be used again.

    Args:
        redis_url: The Redis, `redis://…` or another URL that the package `limits` takes.

    Raises:
        ConfigurationError: It cannot be used, or the extra `redis` is missing.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis: Any = redis_storage(redis_url).storage
        self._hold = self._redis.register_script(_HOLD)
        self._give_back = self._redis.register_script(_GIVE_BACK)

    async def hold(self, key: str, holder: str, *, lease: float) -> HoldOutcome:
        """Hold *key* for *holder*; see `OneTimeStore.hold`."""
        arguments = [holder, _milliseconds(lease)]
        answer: Any = await _in_thread(lambda: self._hold([PREFIX + key], arguments))
        return _OUTCOMES[answer if isinstance(answer, bytes) else str(answer).encode()]

    async def settle(self, key: str, holder: str, *, spent: bool, keep: float) -> None:
        """End the hold of *holder*; see `OneTimeStore.settle`."""
        name = PREFIX + key
        if spent:
            await _in_thread(lambda: self._redis.set(name, _USED, px=_milliseconds(keep)))
        else:
            await _in_thread(lambda: self._give_back([name], [holder]))

    async def aclose(self) -> None:
        """Close the connections. They are opened again when they are needed."""
        await _in_thread(self._redis.close)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


# Threads of their own: those of sync handlers may all wait for a hold.
_threads: Final[RunVar[CapacityLimiter]] = RunVar("fastapi_stepup_one_time")


async def _in_thread(call: Callable[[], Answer]) -> Answer:
    try:
        limiter = _threads.get()
    except LookupError:
        limiter = CapacityLimiter(_THREADS)
        _threads.set(limiter)
    return await to_thread.run_sync(call, limiter=limiter)

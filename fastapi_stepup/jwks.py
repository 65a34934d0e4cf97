"""JWKSCache: kid -> key, from a set that is fetched rarely and kept through outages.

Three ages. A set is *fresh* up to `ttl`; then it is served while a background fetch replaces it;
after `max_stale` without a successful fetch nothing is served and callers get 503. Age is the
larger of the monotonic and the wall clock's, since one of them stops while a machine sleeps and
the other one jumps.
"""

import asyncio
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, Self
from weakref import WeakKeyDictionary

import anyio
from cachetools import TTLCache

from fastapi_stepup.errors import ConfigurationError, InvalidToken, KeysUnavailable, RejectReason
from fastapi_stepup.events import (
    Emitter,
    EventHook,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    HardExpired,
    KeySkipped,
    StaleServed,
    UnknownKid,
    logger,
    printable_kid,
)
from fastapi_stepup.jwk import MAX_KEYS, VerificationKey, load_keys
from fastapi_stepup.jws import allowed_algorithms
from fastapi_stepup.upstream import (
    Reply,
    Request,
    Upstream,
    UpstreamFailure,
    base_url,
    retry_after,
)

TTL: Final = 300.0
MAX_STALE: Final = 3600.0
MIN_TTL: Final = 60.0
REFRESH_AHEAD: Final = 0.1
UNKNOWN_KID_BURST: Final = 2
UNKNOWN_KID_COOLDOWN: Final = 30.0
NEGATIVE_KIDS: Final = 256
NEGATIVE_TTL: Final = 60.0
BACKOFF: Final = (1.0, 60.0)

_RETRYABLE: Final = frozenset({"connect", "timeout", "transport"})
_DIRECTIVE: Final = re.compile(r"(?:^|,)[ \t]*(max-age|no-store|no-cache)(?:=\"?([0-9]+)\"?)?")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One key set with the moment it was confirmed, on two clocks; replaced, never changed."""

    keys: Mapping[str, VerificationKey]
    generation: int
    sequence: int
    monotonic: float
    wall: float
    ttl: float
    etag: str | None


@dataclass(slots=True)
class _Flight:
    """A fetch under way in one event loop, which nobody's cancellation can end."""

    sequence: int
    epoch: object
    done: anyio.Event = field(default_factory=anyio.Event)
    landed: bool = False
    task: "asyncio.Task[None] | None" = None


@dataclass(frozen=True, slots=True)
class KeysHealth:
    """The state of the key set, safe to show: no key, no kid, no URL.

    `state` is `empty`, `fresh`, `stale` (served, refresh due) or `expired`; `age` and `next_try`
    are seconds; `last_error` is the reason of the latest failure since the last success.
    """

    state: Literal["empty", "fresh", "stale", "expired"]
    age: float | None
    keys: int
    failures: int
    next_try: float
    last_error: str | None


class JWKSCache:
    """Holds the verification keys of one issuer and finds them by `kid`.

    Guarantees: readers never wait except on the very first use and past the hard limit; one fetch
    per event loop at a time, which no cancelled request can kill; a failed fetch never empties the
    set; an unknown `kid` costs at most two forced fetches per minute however many are tried; keys
    that break the key policy (`fastapi_stepup.jwk`) are skipped one by one.

    Does not verify who published the set: TLS does.

    Args:
        url: Where the JWK set is; https, or http on a loopback host.
        algorithms: Algorithms that tokens may use.
        ttl: Seconds until a background refresh is due, 60 to 86400; the window in which a revoked
            key still works. `Cache-Control` may shorten or lengthen it within 60 to *max_stale*.
        max_stale: Seconds after the last good fetch past which nothing is served; 0 for never
            serving a stale set.
        cooldown: Seconds between forced fetches for unknown kids once the burst of two is spent.
        upstream: Sends the requests.
        on_event: Called with each event.
        monotonic: A clock that never goes back, in seconds.
        wall: The wall clock, in epoch seconds.

    Raises:
        ConfigurationError: An argument is out of bounds; the message says what is allowed.

    References:
        RFC 7517 section 5; RFC 8725 section 3; RFC 9111 section 4.2.
    """

    def __init__(
        self,
        url: str,
        *,
        algorithms: tuple[str, ...] = ("RS256",),
        ttl: float = TTL,
        max_stale: float = MAX_STALE,
        cooldown: float = UNKNOWN_KID_COOLDOWN,
        upstream: Upstream | None = None,
        on_event: EventHook | Emitter | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.url = base_url("url", url)
        self.algorithms = allowed_algorithms(algorithms)
        self.ttl = _bounded("ttl", ttl, MIN_TTL, 86400)
        self.max_stale = _bounded("max_stale", max_stale, 0, 86400)
        if 0 < self.max_stale < self.ttl:
            msg = "max_stale must be 0 or at least ttl."
            raise ConfigurationError(msg)
        self.hard_limit = max(self.max_stale, self.ttl)
        self.upstream = upstream or Upstream()
        self._emit = on_event if isinstance(on_event, Emitter) else Emitter(on_event)
        self._monotonic, self._wall = monotonic, wall
        self._cooldown = _bounded("cooldown", cooldown, 1, 600)
        self._static = False
        self._clear()

    def _clear(self) -> None:
        self._epoch = object()
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._flights: WeakKeyDictionary[object, _Flight] = WeakKeyDictionary()
        self._sequence = 0
        self._failures = 0
        self._next_try = 0.0
        self._last_error: str | None = None
        self._tokens = float(UNKNOWN_KID_BURST)
        self._tokens_at = self._monotonic()
        self._negative: TTLCache[str, None] = TTLCache(
            NEGATIVE_KIDS, NEGATIVE_TTL, timer=self._monotonic
        )

    @classmethod
    def static(cls, jwks: Mapping[str, Any], *, algorithms: tuple[str, ...] = ("RS256",)) -> Self:
        """Return a cache that holds *jwks* for good and never fetches (offline use).

        The keys pass the same policy as fetched ones.

        Raises:
            ConfigurationError: No key in it is usable.
        """
        cache = cls("https://static.invalid/jwks.json", algorithms=algorithms)
        keys, _ = load_keys(_members(jwks) or (), cache.algorithms)
        if not keys:
            msg = "The static key set holds no usable key: each needs kid, kty and fitting alg."
            raise ConfigurationError(msg)
        cache._static = True
        cache._snapshot = Snapshot(MappingProxyType(keys), 1, 0, 0, 0, 0, None)
        return cache

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Work on an empty cache until the block ends, then have the old state back."""
        names = [name for name in vars(self) if name.startswith("_") and name != "_emit"]
        before = {name: vars(self)[name] for name in names}
        if not self._static:
            self._clear()
        try:
            yield
        finally:
            vars(self).update(before)

    @property
    def generation(self) -> int:
        """Changes whenever the keys change: what was verified under another one is void."""
        return 0 if self._snapshot is None else self._snapshot.generation

    def cached(self, kid: str) -> VerificationKey | None:
        """Return the key for *kid* without waiting, or `None` when only `key` can tell.

        Starts the background refresh when it is due. Needs a running event loop for that.
        """
        snapshot = self._snapshot
        if snapshot is None or self._static:
            return None if snapshot is None else snapshot.keys.get(kid)
        age = self._age(snapshot)
        if age > snapshot.ttl * (1 - REFRESH_AHEAD):
            if age > self.hard_limit:
                return None
            if self._may_try():
                self._take_off()
            if age > snapshot.ttl and self._emit:
                self._emit(StaleServed(age))
        return snapshot.keys.get(kid)

    async def key(self, kid: str) -> VerificationKey:
        """Return the key for *kid*, fetching when there is cause to.

        Call it only for tokens that could be genuine in every other respect: an unknown kid may
        cost a fetch.

        Raises:
            InvalidToken: The issuer has no such key, as far as we may find out.
            KeysUnavailable: There is no usable set and none can be had.
        """
        known = self.cached(kid)
        if known is not None:
            return known
        if self._static:
            raise InvalidToken(RejectReason.UNKNOWN_KEY)
        if self._usable() is None:
            await self._ensure()
            return self.cached(kid) or self._unknown(kid, "fetched", remember=True)
        return await self._search(kid)

    async def _search(self, kid: str) -> VerificationKey:
        """Look for a kid that the usable set lacks: it may have been published just now."""
        with self._lock:
            remembered = kid in self._negative
        if remembered:
            return self._unknown(kid, "negative")
        flight = self._flights.get(_loop())
        joined = flight is not None
        if flight is None:
            if not self._may_try():
                return self._unknown(kid, "failed")
            if not self._take_token():
                return self._unknown(kid, "throttled")
            flight = self._take_off()
        await flight.done.wait()
        known = self.cached(kid)
        if known is not None:
            return known
        if not flight.landed:
            return self._unknown(kid, "failed")
        return self._unknown(kid, "joined" if joined else "fetched", remember=True)

    def _unknown(
        self,
        kid: str,
        outcome: Literal["fetched", "joined", "negative", "throttled", "failed"],
        *,
        remember: bool = False,
    ) -> VerificationKey:
        if remember:
            with self._lock:
                self._negative[kid] = None
        if self._emit:
            self._emit(UnknownKid(outcome, printable_kid(kid)))
        if outcome == "failed" and not self._is_fresh():
            # The set is too old to say that the key does not exist.
            raise KeysUnavailable(retry_after=self._retry_after())
        raise InvalidToken(RejectReason.UNKNOWN_KEY)

    async def _ensure(self) -> None:
        """Wait for a usable set.

        Raises:
            KeysUnavailable: The fetch failed, or it is too early for another one.
        """
        flight = self._flights.get(_loop())
        if flight is None and self._may_try():
            flight = self._take_off()
        if flight is not None:
            await flight.done.wait()
        if self._usable() is None:
            raise KeysUnavailable(retry_after=self._retry_after())

    async def warm_up(self) -> None:
        """Fetch the set now if there is no usable one.

        Raises:
            KeysUnavailable: It cannot be had.
        """
        if not self._static and self._usable() is None:
            await self._ensure()

    def health(self) -> KeysHealth:
        """Return the state of the set; takes no lock and starts nothing."""
        snapshot = self._snapshot
        next_try = max(0.0, self._next_try - self._monotonic())
        failures, error = self._failures, self._last_error
        if snapshot is None:
            return KeysHealth("empty", None, 0, failures, next_try, error)
        if self._static:
            return KeysHealth("fresh", 0.0, len(snapshot.keys), 0, 0.0, None)
        age = self._age(snapshot)
        state: Literal["fresh", "stale", "expired"] = "fresh"
        if age > snapshot.ttl:
            state = "stale" if age <= self.hard_limit else "expired"
        return KeysHealth(state, age, len(snapshot.keys), failures, next_try, error)

    # -- ages and budgets

    def _age(self, snapshot: Snapshot) -> float:
        return max(self._monotonic() - snapshot.monotonic, self._wall() - snapshot.wall)

    def _usable(self) -> Snapshot | None:
        snapshot = self._snapshot
        if snapshot is None or self._age(snapshot) > self.hard_limit:
            return None
        return snapshot

    def _is_fresh(self) -> bool:
        snapshot = self._snapshot
        return snapshot is not None and self._age(snapshot) <= snapshot.ttl

    def _may_try(self) -> bool:
        return self._monotonic() >= self._next_try

    def _retry_after(self) -> int:
        return 1 + int(max(0.0, self._next_try - self._monotonic()))

    def _take_token(self) -> bool:
        with self._lock:
            now = self._monotonic()
            refilled = self._tokens + (now - self._tokens_at) / self._cooldown
            self._tokens, self._tokens_at = min(float(UNKNOWN_KID_BURST), refilled), now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    # -- fetching

    def _take_off(self) -> _Flight:
        """Start a fetch in this event loop, or return the one under way."""
        loop = _loop()
        flight = self._flights.get(loop)
        if flight is None:
            with self._lock:
                self._sequence += 1
                flight = _Flight(self._sequence, self._epoch)
                self._flights[loop] = flight
            if isinstance(loop, asyncio.AbstractEventLoop):
                flight.task = loop.create_task(self._fly(flight))
            else:
                _trio().lowlevel.spawn_system_task(self._fly, flight)
        return flight

    async def _fly(self, flight: _Flight) -> None:
        """Fetch, and land the result; whatever happens, waiters are woken and nothing escapes."""
        try:
            reply = await self._fetch()
            self._land(flight, reply)
        except UpstreamFailure as failure:
            self._fail(flight, failure.reason, failure.retry_after)
        except Exception:  # noqa: BLE001  # nobody awaits this task; a set must survive anything
            self._fail(flight, "unexpected")
        finally:
            if self._flights.get(_loop()) is flight:
                del self._flights[_loop()]
            flight.done.set()

    async def aclose(self) -> None:
        """Stop a fetch under way in this event loop; those who wait for it are told."""
        flight = self._flights.get(_loop())
        if flight is not None and flight.task is not None:
            flight.task.cancel()
            await flight.done.wait()

    async def _fetch(self) -> Reply:
        snapshot = self._snapshot
        etag = None if snapshot is None else snapshot.etag
        headers = {} if etag is None else {"If-None-Match": etag}
        request = Request("GET", self.url, headers=headers)
        try:
            reply = await self._send(request, attempt=1)
            if reply.status < 500 or "retry-after" in reply.headers:  # noqa: PLR2004
                return reply
        except UpstreamFailure as failure:
            if failure.reason not in _RETRYABLE:
                raise
        await anyio.sleep(random.uniform(0.05, 0.25))  # noqa: S311  # jitter
        return await self._send(request, attempt=2)

    async def _send(self, request: Request, *, attempt: int) -> Reply:
        if self._emit:
            self._emit(FetchStarted(attempt))
        return await self.upstream.send(request)

    def _land(self, flight: _Flight, reply: Reply) -> None:
        """Put the set of *reply* in force, or refuse the reply as a failed fetch."""
        before = self._snapshot
        if reply.status == 304 and before is not None and before.etag is not None:  # noqa: PLR2004
            if reply.headers.get("etag", before.etag) != before.etag:
                reason = "not_modified_mismatch"
                raise UpstreamFailure(reason)
            keys: Mapping[str, VerificationKey] = before.keys
            etag: str | None = before.etag
        else:
            keys, etag = self._read(reply), _etag(reply)
        self._put(flight, keys, etag, reply)

    def _read(self, reply: Reply) -> Mapping[str, VerificationKey]:
        if reply.status != 200:  # noqa: PLR2004
            reason = f"status_{reply.status // 100}xx"
            raise UpstreamFailure(reason, retry_after=retry_after(reply, now=self._wall()))
        members = _members(reply.json_object())
        if members is None:
            reason = "not_a_key_set"
            raise UpstreamFailure(reason)
        keys, skipped = load_keys(members, self.algorithms)
        for skip in skipped:
            if skip.alarming:
                logger.warning("The key set holds a key that must not be used: %s.", skip.reason)
            if self._emit:
                self._emit(KeySkipped(skip.reason, skip.alarming))
        if not keys:
            reason = "no_usable_key"
            raise UpstreamFailure(reason)
        return MappingProxyType(keys)

    def _put(
        self,
        flight: _Flight,
        keys: Mapping[str, VerificationKey],
        etag: str | None,
        reply: Reply,
    ) -> None:
        started = self._monotonic()
        with self._lock:
            before = self._snapshot
            newer = before is not None and before.sequence > flight.sequence
            if newer or flight.epoch is not self._epoch:
                return  # Another loop's later fetch landed first, or the cache was set aside.
            old = {} if before is None else before.keys
            changed = {kid for kid in keys.keys() & old.keys() if _differs(keys[kid], old[kid])}
            added, removed = keys.keys() - old.keys(), old.keys() - keys.keys()
            generation = 1 if before is None else before.generation
            if before is not None and (added or removed or changed):
                generation += 1
                self._negative.clear()
            self._snapshot = Snapshot(
                keys=keys,
                generation=generation,
                sequence=flight.sequence,
                monotonic=self._monotonic(),
                wall=self._wall(),
                ttl=self._jittered(_lifetime(reply, self.ttl, self.hard_limit)),
                etag=etag,
            )
            self._failures, self._next_try, self._last_error = 0, 0.0, None
            flight.landed = True
        if self._emit:
            duration = self._monotonic() - started
            self._emit(
                FetchSucceeded(
                    duration, len(keys), len(added), len(removed), len(changed), len(reply.body)
                )
            )

    def _fail(self, flight: _Flight, reason: str, asked: float | None = None) -> None:
        """Keep the old set, count the failure and back off: doubling, with jitter."""
        if flight.epoch is not self._epoch:
            return
        shortest, longest = BACKOFF
        with self._lock:
            self._failures += 1
            delay = min(longest, shortest * 2 ** min(self._failures - 1, 16))
            delay *= random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
            delay = max(delay, min(asked or 0.0, longest))
            self._next_try = self._monotonic() + delay
            self._last_error = reason
        snapshot = self._snapshot
        logger.warning("Fetching the key set failed (%s); next try in %.0f s.", reason, delay)
        self._emit(FetchFailed(reason, self._failures, delay))
        if snapshot is not None and self._age(snapshot) > self.hard_limit:
            self._emit(HardExpired(self._age(snapshot)))

    def _jittered(self, ttl: float) -> float:
        """Spread refreshes by ten percent, so that many workers do not come in step."""
        return min(ttl * random.uniform(0.9, 1.1), self.hard_limit)  # noqa: S311


def _lifetime(reply: Reply, default: float, longest: float) -> float:
    """Return the soft limit: the reply's own freshness within bounds, else *default*."""
    found = {
        m[1]: m[2] for m in _DIRECTIVE.finditer(reply.headers.get("cache-control", "").lower())
    }
    if "no-store" in found or "no-cache" in found:
        return MIN_TTL
    seconds = found.get("max-age")
    if seconds is None:
        return default
    age = reply.headers.get("age", "0")
    elapsed = int(age[:10]) if age.isascii() and age.isdigit() else 0
    return min(max(float(seconds[:10]) - elapsed, MIN_TTL), max(longest, MIN_TTL))


def _etag(reply: Reply) -> str | None:
    value: str = reply.headers.get("etag", "")
    return value if 0 < len(value) <= 256 and value.isascii() and value.isprintable() else None  # noqa: PLR2004


def _members(jwks: Mapping[str, Any]) -> list[Any] | None:
    members = jwks.get("keys")
    return members if isinstance(members, list) and 0 < len(members) <= MAX_KEYS else None


def _differs(new: VerificationKey, old: VerificationKey) -> bool:
    return new.identity != old.identity


def _bounded(name: str, value: float, lowest: float, highest: float) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not lowest <= value <= highest:
        msg = f"{name} is a number of seconds from {lowest:g} to {highest:g}, not {value!r}."
        raise ConfigurationError(msg)
    return float(value)


def _loop() -> object:
    """Return what stands for the running event loop: asyncio's loop, or trio's token."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return _trio().lowlevel.current_trio_token()


def _trio() -> Any:
    # Only present where somebody runs trio, in which case it is imported already.
    return sys.modules["trio"]

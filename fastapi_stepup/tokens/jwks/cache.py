"""JWKSCache: kid -> key, from a set that is fetched rarely and kept through outages.

Three ages. A set is *fresh* up to its soft limit; then it is served while a background fetch
replaces it; after `max_stale` without a successful fetch nothing is served and callers get 503. Age
is the larger of the monotonic and the wall clock's, since one of them stops while a machine sleeps
and the other one jumps.
"""

import asyncio
import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field, replace
from itertools import count
from types import MappingProxyType
from typing import Any, Final, Literal, Self
from weakref import WeakSet

import anyio
import anyio.lowlevel
from cachetools import TTLCache

from fastapi_stepup._emitter import Emitter
from fastapi_stepup._http import (
    HTTPClient,
    HTTPFailure,
    HTTPRequest,
    HTTPResponse,
    retry_after,
)
from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._log import logger
from fastapi_stepup._urls import checked_base_url
from fastapi_stepup.errors import (
    ConfigurationError,
    FailureReason,
    InvalidToken,
    KeysUnavailable,
    RejectReason,
)
from fastapi_stepup.events import (
    EventHook,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    HardExpired,
    KeySkipped,
    KidOutcome,
    StaleServed,
    UnknownKid,
    printable_kid,
)
from fastapi_stepup.tokens.jwk import MAX_KEYS, Skipped, VerificationKey, load_keys
from fastapi_stepup.tokens.jws import allowed_algorithms

TTL: Final = 300.0
MAX_STALE: Final = 3600.0
MIN_TTL: Final = 60.0
MAX_TTL: Final = 3600.0
REFRESH_AHEAD: Final = 0.1
UNKNOWN_KID_BURST: Final = 2
UNKNOWN_KID_COOLDOWN: Final = 30.0
NEGATIVE_KIDS: Final = 256
NEGATIVE_TTL: Final = 60.0
BACKOFF: Final = (1.0, 60.0)

_NEVER: Final = float("inf")
_DAY: Final = 86400
_JITTER: Final = (0.9, 1.1)
_RETRY_PAUSE: Final = (0.05, 0.25)
_RETRYABLE: Final = frozenset(
    {FailureReason.CONNECT, FailureReason.TIMEOUT, FailureReason.TRANSPORT}
)
_GRACE: Final = 1.0
_ENTITY_TAG: Final = re.compile(r'(?:W/)?"[!#-~]{0,250}"')
_caches: "Final[WeakSet[JWKSCache]]" = WeakSet()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One key set with the moment it was asked for, on two clocks; replaced, never changed.

    `lifetime` is the soft limit in seconds, as configured or told by the server. A reader that
    comes later than `due_monotonic` or `due_wall` starts the next fetch.
    """

    keys: Mapping[str, VerificationKey]
    generation: int
    sequence: int
    monotonic: float
    wall: float
    lifetime: float
    due_monotonic: float
    due_wall: float
    etag: str | None


@dataclass(slots=True, eq=False)
class _World:
    """All that was learnt through one HTTP client; nothing in it is ever used for another."""

    http: HTTPClient
    negative: TTLCache[str, None]
    tokens_at: float
    tokens: float = float(UNKNOWN_KID_BURST)
    static: bool = False
    snapshot: Snapshot | None = None
    flights: "dict[object, _Flight]" = field(default_factory=dict)
    sequence: int = 0
    failures: int = 0
    next_try: float = -_NEVER
    last_error: FailureReason | None = None
    skipped: tuple[Skipped, ...] = ()
    stale_told: float = -_NEVER
    expiry_told: bool = False


@dataclass(slots=True, eq=False)
class _Flight:
    """A fetch under way in one event loop, which nobody's cancellation can end."""

    world: _World
    loop: object
    base: Snapshot | None
    overdue: float
    sequence: int = 0
    monotonic: float = 0.0
    wall: float = 0.0
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    task: "asyncio.Task[None] | None" = None


@dataclass(frozen=True, slots=True)
class KeysHealth:
    """The state of the key set, safe to show: no key, no kid, no URL.

    `state` is `empty`, `fresh`, `stale` (served, refresh due) or `expired`; `age` and `next_try`
    are seconds; `failures` counts since the last success, of which `last_error` is the latest.
    """

    state: Literal["empty", "fresh", "stale", "expired"]
    age: float | None
    keys: int
    failures: int
    next_try: float
    last_error: FailureReason | None


class JWKSCache(SetOnce):
    """Holds the verification keys of one issuer and finds them by `kid`.

    Guarantees: readers never wait except on the very first use and past the hard limit, and then no
    longer than the HTTP client's total deadline; one fetch per event loop at a time, which no
    cancelled request can kill; a failed fetch never empties the set; an answer that was asked for
    earlier never replaces a later one; an unknown `kid` costs at most two forced fetches and one
    more per *cooldown*, however many are tried; keys that break the key policy
    (`tokens.jwk`) are skipped one by one. Works on any number of event loops (asyncio
    and trio) and threads, in forked children, and with nothing ever started or closed.

    A fetch counts as failed, and the old set stays, for anything but a 200 with a JSON object of
    1 to 64 keys of which one is usable, or a 304 to our own `If-None-Match`. A byte order mark is
    refused (RFC 8259 section 8.1 forbids senders to add one).

    Does not verify who published the set: TLS does.

    Args:
        url: Where the JWK set is; https, or http on a loopback host.
        algorithms: Algorithms that tokens may use.
        ttl: Seconds until a background refresh is due, 60 to 86400; the window in which a revoked
            key still works. `Cache-Control` and `Age` may shorten it to 60 or lengthen it to 3600;
            `no-store`, and what is unreadable or contradicts itself, mean 60 (RFC 9111 section
            4.2.1). `Expires`, `Date` and `s-maxage`, which is for shared caches, are not looked at.
        max_stale: Seconds after the last good fetch past which nothing is served; 0 for never
            serving a stale set.
        cooldown: Seconds between forced fetches for unknown kids once the burst of two is spent.
        http: Sends the requests, the way it goes when the cache is made; later rerouting of
            it does not reach the cache (`set_aside` does).
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
        http: HTTPClient | None = None,
        on_event: EventHook | Emitter | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.url: str = checked_base_url("url", url)
        self.algorithms: frozenset[str] = allowed_algorithms(algorithms)
        self.ttl: float = _bounded("ttl", ttl, MIN_TTL, _DAY)
        self.max_stale: float = _bounded("max_stale", max_stale, 0, _DAY)
        if 0 < self.max_stale < self.ttl:
            msg = "max_stale must be 0 or at least ttl."
            raise ConfigurationError(msg)
        self.hard_limit: float = max(self.max_stale, self.ttl)
        self._emit = on_event if isinstance(on_event, Emitter) else Emitter(on_event)
        self._monotonic, self._wall = monotonic, wall
        self._cooldown = _bounded("cooldown", cooldown, 1, 600)
        # Reentrant, because the garbage collector may end a dead loop's fetch at any point.
        self._lock = threading.RLock()
        self._generations = count(1)
        self._aloft: set[_Flight] = set()
        self._world = self._new_world((http or HTTPClient()).pinned())
        self._worlds = [self._world]
        _caches.add(self)

    def _new_world(self, http: HTTPClient) -> _World:
        negative: TTLCache[str, None] = TTLCache(NEGATIVE_KIDS, NEGATIVE_TTL, timer=self._monotonic)
        return _World(http, negative, self._monotonic())

    @classmethod
    def static(
        cls,
        jwks: Mapping[str, Any],
        *,
        algorithms: tuple[str, ...] = ("RS256",),
        url: str = "https://static.invalid/jwks.json",
        on_event: EventHook | Emitter | None = None,
    ) -> Self:
        """Return a cache that holds *jwks* for good and never fetches (offline use).

        The keys pass the same policy as fetched ones; what is skipped is logged once.

        Args:
            jwks: A JWK set, parsed.
            algorithms: Algorithms that tokens may use.
            url: Where keys are looked for while the static ones are set aside, as in tests.
            on_event: Called with each event.

        Raises:
            ConfigurationError: No key in it is usable.
        """
        cache = cls(url, algorithms=algorithms, on_event=on_event)
        members = jwks.get("keys") if isinstance(jwks, Mapping) else None
        try:
            keys, skipped = cache._usable_keys(members)
        except HTTPFailure as failure:
            msg = (
                f"The static key set cannot be used ({failure.reason.value}): it takes a parsed "
                f"JWK set with 1 to {MAX_KEYS} public keys, each with kid, kty and a fitting alg."
            )
            raise ConfigurationError(msg) from None
        cache._tell_skipped(cache._world, skipped)
        snapshot = Snapshot(
            keys=MappingProxyType(keys),
            generation=next(cache._generations),
            sequence=0,
            monotonic=cache._monotonic(),
            wall=cache._wall(),
            lifetime=_NEVER,
            due_monotonic=_NEVER,
            due_wall=_NEVER,
            etag=None,
        )
        cache._world.static, cache._world.snapshot = True, snapshot
        return cache

    @contextmanager
    def set_aside(self, http: HTTPClient | None = None) -> Iterator[None]:
        """Work on an empty cache until the block ends, then have the old state back.

        A fetch that is under way goes on to where it was going, and what it brings is kept for the
        state it was meant for. Blocks may nest and overlap; the latest one that is open counts.

        Args:
            http: Sends the requests meanwhile.
        """
        world = self._new_world(self._world.http if http is None else http.pinned())
        with self._lock:
            self._worlds.append(world)
            self._world = world
        try:
            yield
        finally:
            with self._lock:
                self._worlds.remove(world)
                self._world = self._worlds[-1]

    @property
    def generation(self) -> int:
        """Changes whenever the keys change, and is never the same for two different sets.

        What was verified under another generation is void. Read it before the key that it goes
        with: then a change in between can only make a verdict look older than it is.
        """
        snapshot = self._world.snapshot
        return 0 if snapshot is None else snapshot.generation

    def cached(self, kid: str) -> VerificationKey | None:
        """Return the key for *kid* without waiting, or `None` when only `key` can tell.

        Starts the background refresh when it is due and an event loop is running here.
        """
        return self._lookup(self._world, kid)

    def _lookup(self, world: _World, kid: str) -> VerificationKey | None:
        snapshot = world.snapshot
        if snapshot is None:
            return None
        due = self._monotonic() > snapshot.due_monotonic or self._wall() > snapshot.due_wall
        if due and not self._tend(world, snapshot):
            return None
        return snapshot.keys.get(kid)

    def _tend(self, world: _World, snapshot: Snapshot) -> bool:
        """Start the refresh that is due, and say whether the set may be served meanwhile."""
        age = self._age(snapshot)
        if age > self.hard_limit:
            return False
        loop = _running_loop()
        if loop is not None and self._may_try(world) and self._current(world, loop) is None:
            self._take_off(world, loop)
        if age > snapshot.lifetime and self._monotonic() >= world.stale_told + 1:
            world.stale_told = self._monotonic()
            self._emit(StaleServed(age))
        return True

    async def key(self, kid: str) -> VerificationKey:
        """Return the key for *kid*, fetching when there is cause to.

        Call it only for tokens that could be genuine in every other respect: an unknown kid may
        cost a fetch.

        Raises:
            InvalidToken: The issuer has no such key, as far as we may find out. That holds for an
                outage too while the set is fresh.
            KeysUnavailable: There is no usable set and none can be had; or there is one past its
                soft limit that lacks the key, and a newer one cannot be had.
        """
        world = self._world
        known = self._lookup(world, kid)
        if known is not None:
            return known
        if world.static:
            raise InvalidToken(RejectReason.UNKNOWN_KEY)
        asked_after = world.sequence
        if self._usable(world) is None:
            await self._ensure(world)
            known = self._lookup(world, kid)
        return known or await self._search(world, kid, asked_after)

    async def _search(self, world: _World, kid: str, asked_after: int) -> VerificationKey:
        """Look for a kid that the usable set lacks: it may have been published just now.

        A set tells that a kid does not exist only if it was asked for after the kid was: a fetch
        that was under way already may have been answered before the key was published.
        """
        with self._lock:
            remembered = kid in world.negative
        if remembered:
            raise self._unknown(world, kid, "negative")
        loop = _running_loop()
        flight = self._current(world, loop)
        known = None
        if flight is not None:
            await self._wait(flight)
            known = self._lookup(world, kid)
        if known is None and not _is_later(world.snapshot, asked_after):
            flight = self._current(world, loop)
            if flight is None:
                if not self._may_try(world):
                    raise self._unknown(world, kid, "failed")
                if not self._take_token(world):
                    raise self._unknown(world, kid, "throttled")
                flight = self._take_off(world, loop)
            await self._wait(flight)
            known = self._lookup(world, kid)
        if known is not None:
            return known
        if not _is_later(world.snapshot, asked_after):
            raise self._unknown(world, kid, "failed")
        raise self._unknown(world, kid, "fetched")

    def _unknown(
        self, world: _World, kid: str, outcome: KidOutcome
    ) -> InvalidToken | KeysUnavailable:
        """Note that a kid is unknown, and return what to raise for it."""
        if outcome == "fetched":
            with self._lock:
                world.negative[kid] = None
        if self._emit:
            self._emit(UnknownKid(outcome, printable_kid(kid)))
        if outcome == "failed" and not self._is_fresh(world):
            # The set is too old to say that the key does not exist.
            return KeysUnavailable(retry_after=self._retry_after(world))
        return InvalidToken(RejectReason.UNKNOWN_KEY)

    async def _ensure(self, world: _World) -> None:
        """Wait for a usable set.

        Raises:
            KeysUnavailable: The fetch failed, or it is too early for another one.
        """
        loop = _running_loop()
        flight = self._current(world, loop)
        if flight is None and self._may_try(world):
            flight = self._take_off(world, loop)
        if flight is not None:
            await self._wait(flight)
        if self._usable(world) is None:
            self._tell_expired(world)
            raise KeysUnavailable(retry_after=self._retry_after(world))

    async def _wait(self, flight: _Flight) -> None:
        """Wait for a fetch, but no longer than it should take."""
        with anyio.move_on_after(flight.overdue - anyio.current_time()):
            await flight.done.wait()

    async def warm_up(self) -> None:
        """Fetch the set now if there is no usable one.

        Raises:
            KeysUnavailable: It cannot be had.
        """
        world = self._world
        if not world.static and self._usable(world) is None:
            await self._ensure(world)

    def health(self) -> KeysHealth:
        """Return the state of the set; takes no lock and starts nothing."""
        world = self._world
        snapshot, failures, error = world.snapshot, world.failures, world.last_error
        next_try = max(0.0, world.next_try - self._monotonic())
        if snapshot is None:
            return KeysHealth("empty", None, 0, failures, next_try, error)
        if world.static:
            return KeysHealth("fresh", None, len(snapshot.keys), 0, 0.0, None)
        age = self._age(snapshot)
        state: Literal["fresh", "stale", "expired"] = "fresh"
        if age > snapshot.lifetime:
            state = "stale" if age <= self.hard_limit else "expired"
        return KeysHealth(state, age, len(snapshot.keys), failures, next_try, error)

    def _age(self, snapshot: Snapshot) -> float:
        return max(self._monotonic() - snapshot.monotonic, self._wall() - snapshot.wall)

    def _usable(self, world: _World) -> Snapshot | None:
        snapshot = world.snapshot
        if snapshot is None or self._age(snapshot) > self.hard_limit:
            return None
        return snapshot

    def _is_fresh(self, world: _World) -> bool:
        snapshot = world.snapshot
        return snapshot is not None and self._age(snapshot) <= snapshot.lifetime

    def _may_try(self, world: _World) -> bool:
        return self._monotonic() >= world.next_try

    def _retry_after(self, world: _World) -> float:
        return max(1.0, world.next_try - self._monotonic())

    def _take_token(self, world: _World) -> bool:
        with self._lock:
            now = self._monotonic()
            refilled = world.tokens + (now - world.tokens_at) / self._cooldown
            world.tokens, world.tokens_at = min(float(UNKNOWN_KID_BURST), refilled), now
            if world.tokens < 1:
                return False
            world.tokens -= 1
            return True

    def _current(self, world: _World, loop: object) -> _Flight | None:
        """Return the fetch under way in *loop*, unless it has outlived its deadline."""
        flight = world.flights.get(loop)
        if flight is None or anyio.current_time() > flight.overdue:
            return None
        return flight

    def _take_off(self, world: _World, loop: object) -> _Flight:
        """Start a fetch in this event loop, which owes nothing to the request that starts it."""
        overdue = anyio.current_time() + world.http.total_timeout + _GRACE
        flight = _Flight(world, loop, world.snapshot, overdue)
        with self._lock:
            # Loops that were closed over a fetch: nobody else would ever let go of them.
            for dead in [f for f in self._aloft if getattr(f.loop, "is_closed", bool)()]:
                self._aloft.discard(dead)
                dead.world.flights.pop(dead.loop, None)
            world.flights[loop] = flight
            self._aloft.add(flight)
        if isinstance(loop, asyncio.AbstractEventLoop):
            flight.task = loop.create_task(self._fly(flight), context=Context())
            # A loop that shuts down may cancel the task before it has run at all.
            flight.task.add_done_callback(lambda _: self._settle(flight))
        else:
            sys.modules["trio.lowlevel"].spawn_system_task(self._fly, flight)
        return flight

    async def _fly(self, flight: _Flight) -> None:
        """Fetch, and land the result; whatever happens, waiters are woken and nothing escapes."""
        try:
            with flight.scope:
                await anyio.lowlevel.checkpoint()
                self._land(flight, await self._fetch(flight))
        except HTTPFailure as failure:
            self._fail(flight, failure.reason, failure.retry_after)
        except Exception:  # noqa: BLE001  # nobody awaits this task; a set must survive anything
            logger.debug("Fetching the key set failed in a way nobody thought of.", exc_info=True)
            self._fail(flight, FailureReason.UNEXPECTED)
        finally:
            self._settle(flight)

    def _settle(self, flight: _Flight) -> None:
        with self._lock:
            if flight.world.flights.get(flight.loop) is flight:
                del flight.world.flights[flight.loop]
            self._aloft.discard(flight)
        flight.done.set()

    async def aclose(self) -> None:
        """Stop fetches under way in this event loop; those who wait for one are told.

        The cache can be used on: it opens again when it is asked for a key.
        """
        loop = _running_loop()
        for flight in [f for f in self._aloft.copy() if f.loop is loop]:
            flight.scope.cancel()
            await flight.done.wait()

    async def _fetch(self, flight: _Flight) -> HTTPResponse:
        """Return the reply to a conditional request, made again once if that is worth while."""
        deadline = anyio.current_time() + flight.world.http.total_timeout
        reply = await self._attempt(flight, 1, deadline)
        pause = random.uniform(*_RETRY_PAUSE)  # noqa: S311  # jitter, not a secret
        if _is_passing(reply, now=self._wall()) and anyio.current_time() + pause < deadline:
            await anyio.sleep(pause)
            reply = await self._attempt(flight, 2, deadline)
        if isinstance(reply, HTTPFailure):
            raise reply
        return reply

    async def _attempt(
        self, flight: _Flight, attempt: int, deadline: float
    ) -> HTTPResponse | HTTPFailure:
        self._emit(FetchStarted(attempt))
        with self._lock:
            flight.world.sequence += 1
            flight.sequence = flight.world.sequence
        flight.monotonic, flight.wall = self._monotonic(), self._wall()
        etag = None if flight.base is None else flight.base.etag
        headers = {} if etag is None else {"If-None-Match": etag}
        request = HTTPRequest("GET", self.url, headers=headers)
        try:
            return await flight.world.http.send(request, deadline=deadline - anyio.current_time())
        except HTTPFailure as failure:
            return failure

    def _land(self, flight: _Flight, reply: HTTPResponse) -> None:
        """Put the set of *reply* in force, or refuse the reply as a failed fetch."""
        base = flight.base
        if reply.status == 304 and base is not None and base.etag is not None:  # noqa: PLR2004
            if not _same_etag(reply.headers.get("etag", base.etag), base.etag):
                self._forget_etag(flight)
                raise HTTPFailure(FailureReason.NOT_MODIFIED)
            self._put(flight, reply, base.keys, base.etag)
            return
        keys, skipped = self._read(reply)
        if self._put(flight, reply, MappingProxyType(keys), _etag(reply)):
            self._tell_skipped(flight.world, skipped)

    def _read(self, reply: HTTPResponse) -> tuple[dict[str, VerificationKey], list[Skipped]]:
        if reply.status != 200:  # noqa: PLR2004
            asked = retry_after(reply, now=self._wall())
            raise HTTPFailure(_status_reason(reply.status), retry_after=asked)
        return self._usable_keys(reply.json_object().get("keys"))

    def _usable_keys(self, members: Any) -> tuple[dict[str, VerificationKey], list[Skipped]]:
        if not isinstance(members, list):
            raise HTTPFailure(FailureReason.NOT_A_KEY_SET)
        if len(members) > MAX_KEYS:
            raise HTTPFailure(FailureReason.TOO_MANY_KEYS)
        keys, skipped = load_keys(members, self.algorithms)
        if not keys:
            raise HTTPFailure(FailureReason.NO_USABLE_KEY)
        return keys, skipped

    def _put(
        self,
        flight: _Flight,
        reply: HTTPResponse,
        keys: Mapping[str, VerificationKey],
        etag: str | None,
    ) -> bool:
        """Put *keys* in force, unless what is in force was asked for later."""
        world = flight.world
        lifetime = _lifetime(reply, self.ttl, self.hard_limit)
        with self._lock:
            before = world.snapshot
            if _is_later(before, flight.sequence):
                return False
            old = {} if before is None else before.keys
            shared = keys.keys() & old.keys()
            changed = sum(keys[kid].identity != old[kid].identity for kid in shared)
            added, removed = len(keys) - len(shared), len(old) - len(shared)
            same = before is not None and not (added or removed or changed)
            if not same:
                world.negative.clear()
            snapshot = Snapshot(
                keys=keys,
                generation=before.generation if before and same else next(self._generations),
                sequence=flight.sequence,
                monotonic=flight.monotonic,
                wall=flight.wall,
                lifetime=lifetime,
                due_monotonic=_NEVER,
                due_wall=_NEVER,
                etag=etag,
            )
            world.snapshot = self._scheduled(snapshot)
            failures, world.failures = world.failures, 0
            world.next_try, world.last_error, world.expiry_told = -_NEVER, None, False
        if failures:
            logger.info("The key set could be fetched again after %d failures.", failures)
        duration = self._monotonic() - flight.monotonic
        self._emit(FetchSucceeded(duration, len(keys), added, removed, changed, len(reply.body)))
        return True

    def _fail(self, flight: _Flight, reason: FailureReason, asked: float | None = None) -> None:
        """Keep the old set, count the failure and back off: doubling, with jitter."""
        world = flight.world
        shortest, longest = BACKOFF
        with self._lock:
            if _is_later(world.snapshot, flight.sequence):
                return
            world.failures += 1
            failures = world.failures
            delay = min(longest, shortest * 2 ** min(failures - 1, 16))
            delay *= random.uniform(0.1, 1.0)  # noqa: S311  # jitter, not a secret
            delay = max(delay, min(asked or 0.0, longest))
            world.next_try = self._monotonic() + delay
            world.last_error = reason
        # Once per outage: what follows is news to nobody.
        say = logger.warning if failures == 1 else logger.debug
        say("Fetching the key set failed (%s); next try in %.1f s.", reason.value, delay)
        self._emit(FetchFailed(reason, failures, delay))
        self._tell_expired(world)

    def _forget_etag(self, flight: _Flight) -> None:
        """Ask for the whole set next time: this server's 304 cannot be relied on."""
        with self._lock:
            if flight.base is not None and flight.world.snapshot is flight.base:
                flight.world.snapshot = replace(flight.base, etag=None)

    def _tell_expired(self, world: _World) -> None:
        snapshot = world.snapshot
        if snapshot is not None and not world.expiry_told:
            age = self._age(snapshot)
            if age > self.hard_limit:
                world.expiry_told = True
                logger.error("The key set is past its hard limit: answering 503 until it is back.")
                self._emit(HardExpired(age))

    def _tell_skipped(self, world: _World, skipped: list[Skipped]) -> None:
        told, world.skipped = world.skipped, tuple(skipped)
        if world.skipped == told:
            return
        for skip in skipped:
            if skip.alarming:
                logger.warning("The key set holds a key that must not be used: %s.", skip.reason)
            self._emit(KeySkipped(skip.reason, skip.alarming))

    def _scheduled(self, snapshot: Snapshot) -> Snapshot:
        """Return *snapshot* with its refresh planned: jittered, so that workers get out of step."""
        ahead = snapshot.lifetime * (1 - REFRESH_AHEAD)
        due = ahead * random.uniform(*_JITTER)  # noqa: S311  # not a secret
        return replace(
            snapshot, due_monotonic=snapshot.monotonic + due, due_wall=snapshot.wall + due
        )

    def _start_over_in_child(self) -> None:
        """Drop what a fork leaves unusable (locks, fetches) and keep the keys.

        The child's refreshes get their own jitter: a preloading server forks many workers.
        """
        self._lock = threading.RLock()
        self._aloft = set()
        for world in self._worlds:
            world.flights = {}
            if world.snapshot is not None and not world.static:
                world.snapshot = self._scheduled(world.snapshot)


def _after_fork_in_child() -> None:
    for cache in tuple(_caches):
        cache._start_over_in_child()  # noqa: SLF001  # this module's own hook


# Not on Windows, where nothing forks.
getattr(os, "register_at_fork", dict)(after_in_child=_after_fork_in_child)


def _lifetime(reply: HTTPResponse, default: float, longest: float) -> float:
    """Return how long *reply* says that it is fresh, within bounds, else *default*."""
    field_value: str = reply.headers.get("cache-control", "")
    directives = [
        (name.strip().lower(), value.strip().strip('"'))
        for name, _, value in (part.partition("=") for part in field_value.split(","))
    ]
    names = {name for name, _ in directives}
    ages = {value for name, value in directives if name == "max-age"}
    if not names.isdisjoint({"no-store", "no-cache"}):
        return MIN_TTL
    if not ages:
        return default
    if len(ages) > 1 or not all(_is_number(value) for value in ages):
        return MIN_TTL
    age = reply.headers.get("age", "")
    elapsed = float(age[:10]) if _is_number(age) else 0.0
    return min(max(float(ages.pop()[:10]) - elapsed, MIN_TTL), MAX_TTL, longest)


def _is_later(snapshot: Snapshot | None, sequence: int) -> bool:
    return snapshot is not None and snapshot.sequence > sequence


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_passing(reply: HTTPResponse | HTTPFailure, *, now: float) -> bool:
    """Whether a failure may be over in a moment, and the other side did not ask to wait."""
    if isinstance(reply, HTTPFailure):
        return reply.reason in _RETRYABLE
    busy = reply.status >= 500 or reply.status == 429  # noqa: PLR2004
    return busy and retry_after(reply, now=now) is None


def _status_reason(status: int) -> FailureReason:
    if status == 429:  # noqa: PLR2004
        return FailureReason.THROTTLED
    by_class = {
        3: FailureReason.REDIRECT,
        4: FailureReason.CLIENT_ERROR,
        5: FailureReason.SERVER_ERROR,
    }
    return by_class.get(status // 100, FailureReason.STATUS)


def _etag(reply: HTTPResponse) -> str | None:
    value: str = reply.headers.get("etag", "")
    return value if _ENTITY_TAG.fullmatch(value) else None


def _same_etag(one: str, other: str) -> bool:
    """Compare weakly, as `If-None-Match` does (RFC 9110 section 13.1.2)."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def _bounded(name: str, value: float, lowest: float, highest: float) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not lowest <= value <= highest:
        msg = f"{name} is a number of seconds from {lowest:g} to {highest:g}, not {value!r}."
        raise ConfigurationError(msg)
    return float(value)


def _running_loop() -> object | None:
    """Return what stands for the running event loop: asyncio's loop, trio's token, or nothing."""
    trio: Any = sys.modules.get("trio.lowlevel")
    # Another thread may be importing it at this moment: then this one is not in trio.
    if getattr(trio, "in_trio_task", bool)():
        token: object = trio.current_trio_token()
        return token
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

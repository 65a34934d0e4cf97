"""JWKSCache: kid -> key, from a set that is fetched rarely and kept through outages.

Three ages. A set is *fresh* up to its soft limit; then it is served while a background fetch
replaces it; after `max_stale` without a successful fetch nothing is served and callers get 503.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Self
from weakref import WeakSet

from fastapi_stepup import _options
from fastapi_stepup._emitter import Emitter
from fastapi_stepup._http import HTTPClient, HTTPFailure
from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._urls import checked_base_url
from fastapi_stepup.errors import ConfigurationError, InvalidToken, KeysUnavailable, RejectReason
from fastapi_stepup.events import EventHooks, KidOutcome, UnknownKid, printable_kid
from fastapi_stepup.tokens.jwk import MAX_KEYS, VerificationKey
from fastapi_stepup.tokens.jwks.discovery import Discovery, FixedLocation, metadata_urls
from fastapi_stepup.tokens.jwks.event_loops import running_loop
from fastapi_stepup.tokens.jwks.freshness import MIN_TTL
from fastapi_stepup.tokens.jwks.refresh import Refresher, usable_keys
from fastapi_stepup.tokens.jwks.state import KeySetState, KeysHealth, Snapshot
from fastapi_stepup.tokens.jwks.unknown_kids import COOLDOWN, UnknownKids
from fastapi_stepup.tokens.jws import allowed_algorithms

TTL: Final = 300.0
MAX_STALE: Final = 3600.0

_DAY: Final = 86400
_caches: "Final[WeakSet[JWKSCache]]" = WeakSet()


class JWKSCache(SetOnce):
    """Holds the verification keys of one issuer and finds them by `kid`.

    Guarantees:
    - Readers never wait except on the very first use and past the hard limit, and then no longer
      than the HTTP client's total deadline.
    - One fetch per process at a time, which no cancelled request can end. An event loop that ends
      over a fetch does not keep the others waiting.
    - After a failed fetch the next one waits 1, 2, 4, … up to 60 seconds, less some jitter, or as
      long as `Retry-After` says, up to 60. A `KeysUnavailable` passes that time on.
    - A failed fetch never empties the set; an answer that was asked for earlier never replaces a
      later one.
    - An unknown `kid` costs at most two forced fetches and one more per *cooldown*, however many
      are tried.
    - Keys that break the key policy (`tokens.jwk`) are skipped one by one.
    - Works on any number of event loops (asyncio and trio) and threads, in forked children, and
      with nothing ever started or closed.

    Does not verify who published the set: TLS does.

    Args:
        url: Where the JWK set is; https, or http on a loopback host.
        algorithms: Algorithms that tokens may use.
        ttl: Seconds until a background refresh is due, 60 to 86400; the window in which a revoked
            key still works. `Cache-Control` and `Age` may shorten it to 60 or lengthen it to 3600
            (see `freshness.lifetime`).
        max_stale: Seconds after the last good fetch past which nothing is served, up to 86400 and
            not below *ttl*; 0 for never serving a stale set.
        cooldown: Seconds between forced fetches for unknown kids once the burst of two is spent,
            1 to 600.
        http: Sends the requests.
        on_event: Called with each event.
        monotonic: A clock that never goes back, in seconds; `time.monotonic` without it.
        wall: The wall clock, in epoch seconds; `time.time` without it.

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
        cooldown: float = COOLDOWN,
        http: HTTPClient | None = None,
        on_event: EventHooks | Emitter | None = None,
        monotonic: Callable[[], float] | None = None,
        wall: Callable[[], float] | None = None,
    ) -> None:
        self.url: str = checked_base_url("url", url)
        self.algorithms: frozenset[str] = allowed_algorithms(algorithms)
        self.ttl: float = _options.seconds("ttl", ttl, MIN_TTL, _DAY)
        self.max_stale: float = _options.seconds("max_stale", max_stale, 0, _DAY)
        if 0 < self.max_stale < self.ttl:
            msg = "max_stale must be 0 or at least ttl."
            raise ConfigurationError(msg)
        self.hard_limit: float = max(self.max_stale, self.ttl)
        self._emit = on_event if isinstance(on_event, Emitter) else Emitter(on_event)
        self._state = KeySetState(
            hard_limit=self.hard_limit, monotonic=monotonic, wall=wall, emit=self._emit
        )
        self._unknown_kids = UnknownKids(
            self._state, _options.seconds("cooldown", cooldown, 1, 600)
        )
        self._http = http or HTTPClient()
        self._refresher = Refresher(
            FixedLocation(self.url),
            algorithms=self.algorithms,
            ttl=self.ttl,
            http=self._http,
            state=self._state,
            emit=self._emit,
        )
        self._is_static = False
        _caches.add(self)

    @classmethod
    def static(
        cls,
        jwks: Mapping[str, Any],
        *,
        algorithms: tuple[str, ...] = ("RS256",),
        url: str = "https://static.invalid/jwks.json",
        on_event: EventHooks | Emitter | None = None,
    ) -> Self:
        """Return a cache that holds *jwks* for good and never fetches (offline use).

        The keys pass the same policy as fetched ones; skipped ones are logged once.

        Args:
            jwks: A JWK set, parsed.
            algorithms: Algorithms that tokens may use.
            url: Where the keys would be fetched from, as in tests against an emulator.
            on_event: Called with each event.

        Raises:
            ConfigurationError: No key in it is usable.
        """
        cache = cls(url, algorithms=algorithms, on_event=on_event)
        members = jwks.get("keys") if isinstance(jwks, Mapping) else None
        try:
            keys, skipped = usable_keys(members, cache.algorithms)
        except HTTPFailure as failure:
            msg = (
                f"The static key set cannot be used ({failure.reason.value}): it takes a parsed "
                f"JWK set with 1 to {MAX_KEYS} public keys, each with kid, kty and a fitting alg."
            )
            raise ConfigurationError(msg) from None
        cache._state.report_skipped(skipped)
        cache._state.hold(keys)
        cache._is_static = True
        return cache

    @classmethod
    def discovered(
        cls,
        issuer: str,
        *,
        algorithms: tuple[str, ...] = ("RS256",),
        ttl: float = TTL,
        max_stale: float = MAX_STALE,
        http: HTTPClient | None = None,
        on_event: EventHooks | Emitter | None = None,
        monotonic: Callable[[], float] | None = None,
        wall: Callable[[], float] | None = None,
    ) -> Self:
        """Return a cache that finds the key set by the issuer's metadata.

        That is fetched under the rules that hold for keys, with each refresh of theirs and for no
        request; see `Discovery`. `url` is where the metadata is.

        Args:
            issuer: The issuer: an https URL, or http on a loopback host.
            algorithms: See the class, as for all others.
            ttl: Seconds until a background refresh is due.
            max_stale: Seconds after the last good fetch past which nothing is served.
            http: Sends the requests.
            on_event: Called with each event.
            monotonic: A clock that never goes back.
            wall: The wall clock.

        Raises:
            ConfigurationError: An argument is out of bounds; the message says what is allowed.

        References:
            RFC 8414 section 3, OpenID Connect Discovery 1.0 section 4.
        """
        cache = cls(
            metadata_urls(issuer)[0],
            algorithms=algorithms,
            ttl=ttl,
            max_stale=max_stale,
            http=http,
            on_event=on_event,
            monotonic=monotonic,
            wall=wall,
        )
        cache._refresher.location = Discovery(issuer, http=cache._http, state=cache._state)
        return cache

    @property
    def generation(self) -> int:
        """Changes whenever the keys change, and is never the same for two different sets.

        A token verified under another generation is void. Read it before the key that it goes with:
        then a change in between can only make a token look older than it is.
        """
        snapshot = self._state.snapshot
        return 0 if snapshot is None else snapshot.generation

    def cached(self, kid: str) -> VerificationKey | None:
        """Return the key for *kid* without waiting, or `None` if `key` has to be asked.

        Starts the background refresh when it is due and an event loop is running here.
        """
        snapshot = self._state.snapshot
        if snapshot is None:
            return None
        if self._state.is_due(snapshot):
            if self._state.is_expired(snapshot):
                return None
            self._refresh_in_background(snapshot)
        return snapshot.keys.get(kid)

    def _refresh_in_background(self, snapshot: Snapshot) -> None:
        if running_loop() and self._state.may_try() and self._refresher.current() is None:
            self._refresher.start()
        self._state.report_stale(snapshot)

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
        known = self.cached(kid)
        if known is not None:
            return known
        if self._is_static:
            raise InvalidToken(RejectReason.UNKNOWN_KEY)
        asked_after = self._state.sequence
        if not self._state.is_usable():
            await self._ensure()
            known = self.cached(kid)
        return known or await self._search(kid, asked_after)

    async def _search(self, kid: str, asked_after: int) -> VerificationKey:
        """Look for a kid that the usable set lacks: it may have been published just now.

        Only a set that was requested later proves that the kid does not exist. A fetch that is
        running already may have been answered before the key was published.
        """
        if self._unknown_kids.is_remembered(kid):
            raise self._unknown(kid, "negative")
        known = None
        refresh = self._refresher.current()
        if refresh is not None:
            await self._refresher.wait(refresh)
            known = self.cached(kid)
        if known is None and not self._state.is_newer_than(asked_after):
            refresh = self._refresher.current()
            if refresh is None:
                if not self._state.may_try():
                    raise self._unknown(kid, "failed")
                if not self._unknown_kids.take_fetch():
                    raise self._unknown(kid, "throttled")
                refresh = self._refresher.start()
            await self._refresher.wait(refresh)
            known = self.cached(kid)
        if known is not None:
            return known
        if not self._state.is_newer_than(asked_after):
            raise self._unknown(kid, "failed")
        self._unknown_kids.remember(kid)
        raise self._unknown(kid, "fetched")

    def _unknown(self, kid: str, outcome: KidOutcome) -> InvalidToken | KeysUnavailable:
        """Report that a kid is unknown, and return the error for it."""
        if self._emit:
            self._emit(UnknownKid(outcome, printable_kid(kid)))
        if outcome == "failed" and not self._state.is_fresh():
            # The set is too old to say that the key does not exist.
            return KeysUnavailable(retry_after=self._state.retry_after())
        return InvalidToken(RejectReason.UNKNOWN_KEY)

    async def _ensure(self) -> None:
        """Wait for a usable set.

        Raises:
            KeysUnavailable: The fetch failed, or it is too early for another one.
        """
        refresh = self._refresher.current()
        if refresh is None and self._state.may_try():
            refresh = self._refresher.start()
        if refresh is not None:
            await self._refresher.wait(refresh)
        if not self._state.is_usable():
            self._state.report_expired()
            raise KeysUnavailable(retry_after=self._state.retry_after())

    async def warm_up(self) -> None:
        """Fetch the set now if there is no usable one.

        Raises:
            KeysUnavailable: It cannot be had.
        """
        if not self._state.is_usable():
            await self._ensure()

    def health(self) -> KeysHealth:
        """Return the state of the set; takes no lock and starts nothing."""
        return self._state.health()

    async def aclose(self) -> None:
        """Stop refreshes that run in this event loop; those who wait for one get an error.

        The cache can be used on: it opens again when it is asked for a key.
        """
        await self._refresher.aclose()

    def _restart_in_child(self) -> None:
        self._state.restart_in_child()
        self._unknown_kids.restart_in_child()
        self._refresher.restart_in_child()


def _after_fork_in_child() -> None:
    for cache in tuple(_caches):
        cache._restart_in_child()  # noqa: SLF001  # this module's own hook


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)

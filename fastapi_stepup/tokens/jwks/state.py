"""KeySetState: the key set in force, its age, its health, and when the next fetch may start."""

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import count
from types import MappingProxyType
from typing import Any, Final, Literal

from fastapi_stepup._emitter import Emitter
from fastapi_stepup._log import logger
from fastapi_stepup.errors import FailureReason
from fastapi_stepup.events import (
    FetchFailed,
    FetchSucceeded,
    HardExpired,
    KeySkipped,
    StaleServed,
)
from fastapi_stepup.tokens.jwk import Skipped, VerificationKey

REFRESH_AHEAD: Final = 0.1
BACKOFF: Final = (1.0, 60.0)

_NEVER: Final = float("inf")
_JITTER: Final = (0.9, 1.1)


@dataclass(frozen=True, slots=True)
class Sent:
    """The number of a request and the moment it was sent, on two clocks."""

    sequence: int
    monotonic: float
    wall: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One key set; replaced, never changed.

    `lifetime` is the soft limit in seconds, as configured or set by the server. A reader that
    comes later than `due_monotonic` or `due_wall` starts the next fetch.
    """

    keys: Mapping[str, VerificationKey]
    generation: int
    sent: Sent
    lifetime: float
    due_monotonic: float
    due_wall: float
    etag: str | None


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


class KeySetState:
    """Everything known about one key set.

    Readers take `snapshot` once and use no lock; writers hold `lock`. Age is the larger of the
    monotonic and the wall clock's, since one stops while a machine sleeps and the other one jumps.

    Does not fetch.

    Args:
        hard_limit: Seconds after the last good fetch past which the set is not served.
        monotonic: A clock that never goes back, in seconds; `time.monotonic` without it.
        wall: The wall clock, in epoch seconds; `time.time` without it.
        emit: Takes the events.
    """

    def __init__(
        self,
        *,
        hard_limit: float,
        monotonic: Callable[[], float] | None,
        wall: Callable[[], float] | None,
        emit: Emitter,
    ) -> None:
        self.hard_limit: float = hard_limit
        self._monotonic, self._wall = monotonic, wall
        # Reentrant, because the garbage collector may end a dead loop's fetch at any point.
        self.lock: AbstractContextManager[Any] = threading.RLock()
        self.snapshot: Snapshot | None = None
        self.sequence: int = 0
        self._generations = count(1)
        self._emit = emit
        self._failures = 0
        self._next_try = -_NEVER
        self._last_error: FailureReason | None = None
        self._skipped: tuple[Skipped, ...] = ()
        self._stale_reported_at = -_NEVER
        self._expiry_reported = False

    # The clocks are looked up at each call, so that tests that freeze time freeze them too.

    def monotonic(self) -> float:
        """Return the seconds of a clock that never goes back."""
        return (self._monotonic or time.monotonic)()

    def wall(self) -> float:
        """Return the epoch seconds."""
        return (self._wall or time.time)()

    @property
    def generation(self) -> int:
        """Changes whenever the keys change; 0 before there are any."""
        snapshot = self.snapshot
        return 0 if snapshot is None else snapshot.generation

    def age(self, snapshot: Snapshot) -> float:
        """Return the seconds since *snapshot* was asked for."""
        return self.seconds_since(snapshot.sent)

    def seconds_since(self, sent: Sent) -> float:
        """Return the seconds since *sent*, by the clock that says more."""
        return max(self.monotonic() - sent.monotonic, self.wall() - sent.wall)

    def moment(self) -> Sent:
        """Return this moment, as that of no request for keys."""
        return Sent(0, self.monotonic(), self.wall())

    def is_due(self, snapshot: Snapshot) -> bool:
        """Return whether a refresh of *snapshot* is due."""
        # Each look at a key asks this: the clocks are called without a step in between.
        return (self._monotonic or time.monotonic)() > snapshot.due_monotonic or (
            self._wall or time.time
        )() > snapshot.due_wall

    def is_expired(self, snapshot: Snapshot) -> bool:
        """Return whether *snapshot* is too old to be served."""
        return self.age(snapshot) > self.hard_limit

    def is_usable(self) -> bool:
        """Return whether there is a set that may be served."""
        snapshot = self.snapshot
        return snapshot is not None and not self.is_expired(snapshot)

    def is_fresh(self) -> bool:
        """Return whether there is a set within its soft limit."""
        snapshot = self.snapshot
        return snapshot is not None and self.age(snapshot) <= snapshot.lifetime

    def is_newer_than(self, sequence: int) -> bool:
        """Return whether the set in force was asked for later than request number *sequence*."""
        snapshot = self.snapshot
        return snapshot is not None and snapshot.sent.sequence > sequence

    def may_try(self) -> bool:
        """Return whether the backoff allows a fetch now."""
        return self.monotonic() >= self._next_try

    def retry_after(self) -> float:
        """Return the seconds until a fetch is allowed, one at least."""
        return max(1.0, self._next_try - self.monotonic())

    def sending(self) -> Sent:
        """Return the next request's number and moment."""
        with self.lock:
            self.sequence += 1
            return Sent(self.sequence, self.monotonic(), self.wall())

    def hold(self, keys: Mapping[str, VerificationKey]) -> None:
        """Put *keys* in force for good."""
        self.hard_limit = _NEVER
        sent = self.moment()
        keys = MappingProxyType(dict(keys))
        self.snapshot = Snapshot(keys, next(self._generations), sent, _NEVER, _NEVER, _NEVER, None)

    def publish(
        self,
        keys: Mapping[str, VerificationKey],
        sent: Sent,
        *,
        lifetime: float,
        etag: str | None,
        size: int,
    ) -> bool:
        """Put *keys* in force, unless the set in force was asked for later; return whether it did.

        Args:
            keys: The usable keys by `kid`.
            sent: The request that brought them.
            lifetime: The soft limit in seconds.
            etag: The entity tag for the next request.
            size: Bytes of the body, for the event.
        """
        with self.lock:
            before = self.snapshot
            if self.is_newer_than(sent.sequence):
                return False
            old = {} if before is None else before.keys
            shared = keys.keys() & old.keys()
            changed = sum(keys[kid].identity != old[kid].identity for kid in shared)
            added, removed = len(keys) - len(shared), len(old) - len(shared)
            same = before is not None and not (added or removed or changed)
            generation = before.generation if before and same else next(self._generations)
            self.snapshot = _scheduled(
                Snapshot(keys, generation, sent, lifetime, _NEVER, _NEVER, etag)
            )
            failures, self._failures = self._failures, 0
            self._next_try, self._last_error, self._expiry_reported = -_NEVER, None, False
        if failures:
            logger.info("The key set could be fetched again after %d failures.", failures)
        duration = self.monotonic() - sent.monotonic
        self._emit(FetchSucceeded(duration, len(keys), added, removed, changed, size))
        return True

    def fail(self, reason: FailureReason, sent: Sent, asked: float | None = None) -> None:
        """Keep the set, count the failure and back off: doubling, with jitter.

        Args:
            reason: Why the fetch failed.
            sent: The request that failed; nothing happens if a later one has succeeded.
            asked: Seconds that the server asked to wait; a minute at most is granted.
        """
        shortest, longest = BACKOFF
        with self.lock:
            if self.is_newer_than(sent.sequence):
                return
            self._failures += 1
            failures = self._failures
            delay = min(longest, shortest * 2 ** min(failures - 1, 16))
            delay *= random.uniform(0.1, 1.0)  # noqa: S311  # jitter, not a secret
            delay = max(delay, min(asked or 0.0, longest))
            self._next_try = self.monotonic() + delay
            self._last_error = reason
        # Log once per outage.
        log = logger.warning if failures == 1 else logger.debug
        log("Fetching the key set failed (%s); next try in %.1f s.", reason.value, delay)
        self._emit(FetchFailed(reason, failures, delay))
        self.report_expired()

    def forget_etag(self, base: Snapshot) -> None:
        """Make the next request unconditional if *base* is still in force."""
        with self.lock:
            if self.snapshot is base:
                self.snapshot = replace(base, etag=None)

    def report_stale(self, snapshot: Snapshot) -> None:
        """Report that *snapshot* is served past its soft limit, once a second at most."""
        age = self.age(snapshot)
        if age > snapshot.lifetime and self.monotonic() >= self._stale_reported_at + 1:
            self._stale_reported_at = self.monotonic()
            self._emit(StaleServed(age))

    def report_expired(self) -> None:
        """Report that the set is past its hard limit, once per outage."""
        snapshot = self.snapshot
        if snapshot is None or self._expiry_reported:
            return
        age = self.age(snapshot)
        if age > self.hard_limit:
            self._expiry_reported = True
            logger.error("The key set is past its hard limit: answering 503 until it is back.")
            self._emit(HardExpired(age))

    def report_skipped(self, skipped: list[Skipped]) -> None:
        """Report the members that are not used, when they have changed."""
        reported, self._skipped = self._skipped, tuple(skipped)
        if self._skipped == reported:
            return
        for skip in skipped:
            if skip.alarming:
                logger.warning("The key set holds a key that must not be used: %s.", skip.reason)
            self._emit(KeySkipped(skip.reason, skip.alarming))

    def health(self) -> KeysHealth:
        """Return the state of the set; takes no lock."""
        snapshot, failures, error = self.snapshot, self._failures, self._last_error
        next_try = max(0.0, self._next_try - self.monotonic())
        if snapshot is None:
            return KeysHealth("empty", None, 0, failures, next_try, error)
        if snapshot.lifetime == _NEVER:
            return KeysHealth("fresh", None, len(snapshot.keys), 0, 0.0, None)
        age = self.age(snapshot)
        state: Literal["fresh", "stale", "expired"] = "fresh"
        if age > snapshot.lifetime:
            state = "stale" if age <= self.hard_limit else "expired"
        return KeysHealth(state, age, len(snapshot.keys), failures, next_try, error)

    def restart_in_child(self) -> None:
        """Renew the lock, which another thread may have held at the fork.

        The next refresh gets jitter of its own: a preloading server forks many workers.
        """
        self.lock = threading.RLock()
        if self.snapshot is not None:
            self.snapshot = _scheduled(self.snapshot)


def _scheduled(snapshot: Snapshot) -> Snapshot:
    """Return *snapshot* with its refresh planned: jittered, so that workers get out of step."""
    ahead = snapshot.lifetime * (1 - REFRESH_AHEAD)
    due = ahead * random.uniform(*_JITTER)  # noqa: S311  # not a secret
    sent = snapshot.sent
    return replace(snapshot, due_monotonic=sent.monotonic + due, due_wall=sent.wall + due)

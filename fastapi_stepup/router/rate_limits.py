"""StepUpLimits: how often step-ups may be started and tried, per user and per client address.

Descope has limits of its own, but it counts a backend's calls by the backend's address, so one
guesser could spend them for every user. Limits are read, and counted in Redis, by the `limits`
package. While Redis fails, this process counts alone: an outage neither locks users out nor lifts
the limits.
"""

import hashlib
import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Final

import anyio
from starlette.requests import HTTPConnection

from fastapi_stepup._emitter import Emitter
from fastapi_stepup._log import logger
from fastapi_stepup._redis import redis_storage
from fastapi_stepup.errors import ConfigurationError, TooManyAttempts
from fastapi_stepup.events import LimitedStep, RateLimited
from fastapi_stepup.router.counters import Counters

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import MovingWindowRateLimiter

SUBJECTS: Final = 1 << 17
STRANGERS: Final = 1 << 15

_IPV6_SITE: Final = 64
_REDIS_PAUSE: Final = 5.0


@dataclass(frozen=True, slots=True)
class StepUpLimits:
    """Limits of the helper routes, in the notation of the `limits` package (`"5/10 minutes"`).

    Several in one string, as `"1/30 seconds; 5/hour"`, all hold. Each window moves. `None` turns a
    limit off; Descope's own stay.

    Args:
        starts_per_subject: Codes and links that one user may have sent.
        starts_per_address: The same for one client address (an IPv6 /64 counts as one).
        resend_cooldown: How soon one user may have the next one sent by the same method.
        tries_per_subject: Codes that one user may try, right or wrong.
        tries_per_address: The same for one client address.
        polls_per_subject: How often one user may ask whether a link was opened, or for the status
            with a refresh token.

    A request spends the counters of a user only with that user's refresh token. A session token
    alone, and the route that needs no session, have counters of their own.
    """

    starts_per_subject: str | None = "10/10 minutes"
    starts_per_address: str | None = "200/10 minutes"
    resend_cooldown: str | None = None
    tries_per_subject: str | None = "10/10 minutes"
    tries_per_address: str | None = "500/10 minutes"
    polls_per_subject: str | None = "900/10 minutes"


class Limiter:
    """Counts starts, tries and polls; one instance for all routes of one router.

    - A request counts before anything is sent to Descope.
    - Counting is atomic: of any number of parallel tries no more than the limit pass.
    - A request that one limit refuses does not count for the wider ones after it.
    - Serves any number of event loops and threads. Memory is bounded; see `Counters`.

    Args:
        limits: The limits.
        namespace: Keeps the counters of projects apart.
        redis_url: The Redis to count in (`redis://…`); this process by default.
        emit: Called with an event where a limit is reached.

    Raises:
        ConfigurationError: A limit cannot be read, or Redis is asked for and its package is
            missing.
    """

    def __init__(
        self,
        limits: StepUpLimits,
        *,
        namespace: str,
        redis_url: str | None = None,
        emit: Emitter | None = None,
    ) -> None:
        if not isinstance(limits, StepUpLimits):
            msg = "limits is a StepUpLimits, or None for no limits of our own."
            raise ConfigurationError(msg)
        self._namespace = namespace
        self._emit = Emitter() if emit is None else emit
        try:
            from limits import parse_many  # noqa: PLC0415  # an extra
        except ImportError:
            msg = "Limits need the extra: pip install 'fastapi-stepup[limits]', or limits=None."
            raise ConfigurationError(msg) from None

        def parsed(**notations: str | None) -> "list[tuple[str, RateLimitItem]]":
            given = [(by, limit) for by, limit in notations.items() if limit is not None]
            return [(by, item) for by, limit in given for item in parse_many(limit)]

        every: list[RateLimitItem] = []
        try:
            # From the narrowest on: who is told to wait has not spent the others' share.
            self._starts = parsed(
                method=limits.resend_cooldown,
                subject=limits.starts_per_subject,
                address=limits.starts_per_address,
            )
            self._tries = parsed(subject=limits.tries_per_subject, address=limits.tries_per_address)
            self._polls = parsed(subject=limits.polls_per_subject)
            every = [item for _, item in (*self._starts, *self._tries, *self._polls)]
            readable = all(item.amount > 0 for item in every)
        except (ValueError, TypeError, AttributeError):
            readable = False
        if not readable:
            msg = 'A limit is written like "5/10 minutes"; None turns it off.'
            raise ConfigurationError(msg)
        windows = [float(item.get_expiry()) for item in every]
        self._users = Counters(size=SUBJECTS, windows=windows)
        # Apart: a flood from unknown callers cannot push users out of their counters.
        self._strangers = Counters(size=STRANGERS, windows=windows)
        self._counts_addresses = any(by == "address" for by, _ in (*self._starts, *self._tries))
        self._warned = False
        self._redis = None if redis_url is None else _redis_limiter(redis_url)
        self._lock = threading.Lock()
        self._redis_again = 0.0  # when to try again after a failure; 0 while it works

    async def count_start(self, *, subject: str, address: str | None, method: str) -> None:
        """Count a code or link that is about to be sent.

        Raises:
            TooManyAttempts: One limit is reached; `retry_after` says for how long.
        """
        keys = {"subject": subject, "address": address, "method": f"{method} {subject}"}
        await self._count("start", self._starts, keys)

    async def count_try(self, *, subject: str, address: str | None) -> None:
        """Count a code or proof that is about to be tried.

        Raises:
            TooManyAttempts: One limit is reached; `retry_after` says for how long.
        """
        await self._count("try", self._tries, {"subject": subject, "address": address})

    async def count_public_try(self, *, address: str | None) -> None:
        """Count a proof that an unknown caller is about to try.

        It has a count of its own: users behind the same address keep theirs.

        Raises:
            TooManyAttempts: The limit is reached; `retry_after` says for how long.
        """
        keys = {"subject": None, "address": address}
        await self._count("public_try", self._tries, keys, self._strangers)

    async def count_poll(self, *, subject: str) -> None:
        """Count a question to Descope that neither sends nor tries anything.

        Raises:
            TooManyAttempts: The limit is reached; `retry_after` says for how long.
        """
        await self._count("poll", self._polls, {"subject": subject})

    async def _count(
        self,
        step: LimitedStep,
        limits: "Iterable[tuple[str, RateLimitItem]]",
        keys: "Mapping[str, str | None]",
        counters: Counters | None = None,
    ) -> None:
        for by, limit in limits:
            key = keys[by]
            if key is None:
                continue
            waiting = await self._hit(limit, f"{step} {by} {key}", counters or self._users)
            if waiting is not None:
                self._emit(RateLimited(step))
                raise TooManyAttempts(retry_after=max(1, math.ceil(waiting)))

    async def _hit(self, limit: "RateLimitItem", what: str, counters: Counters) -> float | None:
        """Count once; return the seconds to wait when the limit is reached."""
        # Hashed: no user id is readable in Redis, and no key is longer than any other.
        digest = hashlib.sha256(f"{self._namespace} {what} {limit}".encode())
        # Always here too, so that an outage of Redis does not begin with empty counters.
        waiting = counters.hit(digest.digest()[:16], limit.amount, float(limit.get_expiry()))
        if self._redis is None or not self._redis_is_due():
            return waiting
        try:
            waiting = await anyio.to_thread.run_sync(
                _hit_redis, self._redis, limit, digest.hexdigest()
            )
        except Exception as error:  # noqa: BLE001  # whatever a Redis client raises
            self._redis_failed(type(error).__name__)
        else:
            self._redis_answered()
        return waiting

    def address_of(self, connection: HTTPConnection) -> str | None:
        """Return the address under which *connection* counts; see `client_address`.

        Warns once where a proxy forwards the real address and the server does not take it: all
        users behind the proxy share one limit then.
        """
        client = connection.scope.get("client")
        if self._counts_addresses and not self._warned and _is_untrusted(connection, client):
            self._warned = True
            logger.warning(
                "Requests come with X-Forwarded-For or Forwarded, which the server does not "
                "trust: all users behind the proxy share one address limit. Let the server take "
                "the proxy's word, as uvicorn does with --forwarded-allow-ips."
            )
        return client_address(client)

    def _redis_is_due(self) -> bool:
        now = time.monotonic()
        with self._lock:
            if now < self._redis_again:
                return False
            if self._redis_again:
                # One request finds out whether it is back; the others need not wait for that.
                self._redis_again = now + _REDIS_PAUSE
            return True

    def _redis_failed(self, name: str) -> None:
        with self._lock:
            is_news = not self._redis_again
            self._redis_again = time.monotonic() + _REDIS_PAUSE
        if is_news:
            logger.warning("Redis cannot count (%s); this process counts alone.", name)

    def _redis_answered(self) -> None:
        with self._lock:
            is_news, self._redis_again = bool(self._redis_again), 0.0
        if is_news:
            logger.info("Redis counts again.")


def _redis_limiter(redis_url: object) -> "MovingWindowRateLimiter":
    from limits import strategies  # noqa: PLC0415  # an extra

    return strategies.MovingWindowRateLimiter(redis_storage(redis_url))


def _hit_redis(
    limiter: "MovingWindowRateLimiter", limit: "RateLimitItem", key: str
) -> float | None:
    if limiter.hit(limit, "fastapi-stepup", key):
        return None
    stats: Any = limiter.get_window_stats(limit, "fastapi-stepup", key)
    return float(stats.reset_time) - time.time()


def _is_untrusted(connection: HTTPConnection, client: tuple[str, int] | None) -> bool:
    """Return whether forwarding fields name other clients than the one the server reports."""
    if client is None:
        return False
    fields = connection.headers.getlist("x-forwarded-for") + connection.headers.getlist("forwarded")
    return bool(fields) and client[0] not in " ".join(fields)


def client_address(client: tuple[str, int] | None) -> str | None:
    """Return the client's address, or the /64 of an IPv6 one.

    Args:
        client: `scope["client"]`; behind a proxy the server has to set it, as uvicorn does for
            `--forwarded-allow-ips`. Forwarding fields are not read here: any client can send them.
    """
    if client is None or not client[0]:
        return None
    try:
        address = ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> _IPV6_SITE << _IPV6_SITE))

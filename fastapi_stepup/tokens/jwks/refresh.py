"""Refresher: fetches one key set into its state, from any event loop."""

import asyncio
import random
import sys
from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import anyio
import anyio.lowlevel

from fastapi_stepup._emitter import Emitter
from fastapi_stepup._http import HTTPClient, HTTPFailure, HTTPRequest, HTTPResponse, retry_after
from fastapi_stepup._log import logger
from fastapi_stepup.errors import FailureReason
from fastapi_stepup.events import FetchStarted
from fastapi_stepup.tokens.jwk import MAX_KEYS, Skipped, VerificationKey, load_keys
from fastapi_stepup.tokens.jwks.freshness import entity_tag, is_same_entity_tag, lifetime
from fastapi_stepup.tokens.jwks.state import KeySetState, Sent, Snapshot

_RETRY_PAUSE: Final = (0.05, 0.25)
_RETRYABLE: Final = frozenset(
    {FailureReason.CONNECT, FailureReason.TIMEOUT, FailureReason.TRANSPORT}
)
_GRACE: Final = 1.0
_NOT_SENT: Final = Sent(0, 0.0, 0.0)


@dataclass(slots=True, eq=False)
class _Refresh:
    """A running refresh in one event loop.

    Cancelling a waiter does not cancel it.
    """

    loop: object
    base: Snapshot | None
    overdue: float
    sent: Sent = _NOT_SENT
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    task: "asyncio.Task[None] | None" = None


class Refresher:
    """Fetches one key set: one fetch per event loop at a time, tried again once.

    A fetch counts as failed, and the old set stays, for anything but a 200 with a JSON object of
    1 to 64 keys of which one is usable, or a 304 to our own `If-None-Match`. A byte order mark is
    refused (RFC 8259 section 8.1 forbids senders to add one).

    Args:
        url: Where the JWK set is.
        algorithms: Algorithms that tokens may use.
        ttl: The soft limit in seconds where the server sets none.
        http: Sends the requests.
        state: Takes the results.
        emit: Takes the events.
    """

    def __init__(
        self,
        url: str,
        *,
        algorithms: frozenset[str],
        ttl: float,
        http: HTTPClient,
        state: KeySetState,
        emit: Emitter,
    ) -> None:
        self._url, self._algorithms, self._ttl = url, algorithms, ttl
        self._http, self._state, self._emit = http, state, emit
        self._refreshes: set[_Refresh] = set()

    def current(self) -> _Refresh | None:
        """Return the refresh that runs in this event loop, unless it has outlived its deadline."""
        loop = running_loop()
        for refresh in self._refreshes.copy():
            if refresh.loop is loop and anyio.current_time() <= refresh.overdue:
                return refresh
        return None

    def start(self) -> _Refresh:
        """Start a refresh in this event loop, which owes nothing to the request that starts it."""
        loop = running_loop()
        overdue = anyio.current_time() + self._http.total_timeout + _GRACE
        refresh = _Refresh(loop, self._state.snapshot, overdue)
        with self._state.lock:
            # Loops that were closed over a refresh cannot finish it.
            dead = [r for r in self._refreshes if getattr(r.loop, "is_closed", bool)()]
            self._refreshes.difference_update(dead)
            self._refreshes.add(refresh)
        if isinstance(loop, asyncio.AbstractEventLoop):
            refresh.task = loop.create_task(self._run(refresh), context=Context())
            # A loop that shuts down may cancel the task before it has run at all.
            refresh.task.add_done_callback(lambda _: self._finish(refresh))
        else:
            sys.modules["trio.lowlevel"].spawn_system_task(self._run, refresh)
        return refresh

    async def wait(self, refresh: _Refresh) -> None:
        """Wait for *refresh*, but no longer than it should take."""
        with anyio.move_on_after(refresh.overdue - anyio.current_time()):
            await refresh.done.wait()

    async def aclose(self) -> None:
        """Cancel the refreshes that run in this event loop, and wake those who wait for them."""
        loop = running_loop()
        for refresh in [r for r in self._refreshes.copy() if r.loop is loop]:
            refresh.scope.cancel()
            await refresh.done.wait()

    def restart_in_child(self) -> None:
        """Drop the refreshes, whose event loops a fork leaves behind."""
        self._refreshes = set()

    async def _run(self, refresh: _Refresh) -> None:
        """Fetch and apply the result; waiters are woken in any case, and nothing escapes."""
        try:
            with refresh.scope:
                await anyio.lowlevel.checkpoint()
                self._apply(refresh, await self._fetch(refresh))
        except HTTPFailure as failure:
            self._state.fail(failure.reason, refresh.sent, failure.retry_after)
        except Exception:  # noqa: BLE001  # nobody awaits this task; a set must survive anything
            logger.debug("Fetching the key set failed unexpectedly.", exc_info=True)
            self._state.fail(FailureReason.UNEXPECTED, refresh.sent)
        finally:
            self._finish(refresh)

    def _finish(self, refresh: _Refresh) -> None:
        with self._state.lock:
            self._refreshes.discard(refresh)
        refresh.done.set()

    async def _fetch(self, refresh: _Refresh) -> HTTPResponse:
        """Return the reply to a conditional request, made again once if that is worth while."""
        deadline = anyio.current_time() + self._http.total_timeout
        reply = await self._attempt(refresh, 1, deadline)
        pause = random.uniform(*_RETRY_PAUSE)  # noqa: S311  # jitter, not a secret
        if _is_passing(reply, now=self._state.wall()) and anyio.current_time() + pause < deadline:
            await anyio.sleep(pause)
            reply = await self._attempt(refresh, 2, deadline)
        if isinstance(reply, HTTPFailure):
            raise reply
        return reply

    async def _attempt(
        self, refresh: _Refresh, attempt: int, deadline: float
    ) -> HTTPResponse | HTTPFailure:
        self._emit(FetchStarted(attempt))
        refresh.sent = self._state.sending()
        etag = None if refresh.base is None else refresh.base.etag
        headers = {} if etag is None else {"If-None-Match": etag}
        request = HTTPRequest("GET", self._url, headers=headers)
        try:
            return await self._http.send(request, deadline=deadline - anyio.current_time())
        except HTTPFailure as failure:
            return failure

    def _apply(self, refresh: _Refresh, reply: HTTPResponse) -> None:
        """Put the set of *reply* in force, or count the reply as a failed fetch."""
        base = refresh.base
        if reply.status == 304 and base is not None and base.etag is not None:  # noqa: PLR2004
            if not is_same_entity_tag(reply.headers.get("etag", base.etag), base.etag):
                # This server's 304 cannot be relied on.
                self._state.forget_etag(base)
                raise HTTPFailure(FailureReason.NOT_MODIFIED)
            self._publish(refresh, reply, base.keys, base.etag)
            return
        if reply.status != 200:  # noqa: PLR2004
            asked = retry_after(reply, now=self._state.wall())
            raise HTTPFailure(_status_reason(reply.status), retry_after=asked)
        keys, skipped = usable_keys(reply.json_object().get("keys"), self._algorithms)
        if self._publish(refresh, reply, MappingProxyType(keys), entity_tag(reply)):
            self._state.report_skipped(skipped)

    def _publish(
        self,
        refresh: _Refresh,
        reply: HTTPResponse,
        keys: Mapping[str, VerificationKey],
        etag: str | None,
    ) -> bool:
        return self._state.publish(
            keys,
            refresh.sent,
            lifetime=lifetime(reply, default=self._ttl, longest=self._state.hard_limit),
            etag=etag,
            size=len(reply.body),
        )


def usable_keys(
    members: Any, algorithms: frozenset[str]
) -> tuple[dict[str, VerificationKey], list[Skipped]]:
    """Return the usable keys by `kid` among the `keys` of a JWK set, and what is skipped.

    Raises:
        HTTPFailure: `NOT_A_KEY_SET`, `TOO_MANY_KEYS` or `NO_USABLE_KEY`.
    """
    if not isinstance(members, list):
        raise HTTPFailure(FailureReason.NOT_A_KEY_SET)
    if len(members) > MAX_KEYS:
        raise HTTPFailure(FailureReason.TOO_MANY_KEYS)
    keys, skipped = load_keys(members, algorithms)
    if not keys:
        raise HTTPFailure(FailureReason.NO_USABLE_KEY)
    return keys, skipped


def running_loop() -> object | None:
    """Return the running event loop: asyncio's loop, trio's token, or nothing."""
    trio: Any = sys.modules.get("trio.lowlevel")
    # Another thread may be importing it at this moment: then this one is not in trio.
    if getattr(trio, "in_trio_task", bool)():
        token: object = trio.current_trio_token()
        return token
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _is_passing(reply: HTTPResponse | HTTPFailure, *, now: float) -> bool:
    """Return whether a failure may be over in a moment, and the server did not ask to wait."""
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

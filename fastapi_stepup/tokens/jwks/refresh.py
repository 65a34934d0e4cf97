"""Refresher: fetches one key set into its state, from any event loop."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

import anyio
import anyio.lowlevel

from fastapi_stepup._emitter import Emitter
from fastapi_stepup._http import (
    HTTPClient,
    HTTPFailure,
    HTTPRequest,
    HTTPResponse,
    retry_after,
    status_reason,
)
from fastapi_stepup._log import logger
from fastapi_stepup.errors import FailureReason
from fastapi_stepup.events import FetchStarted
from fastapi_stepup.tokens.jwk import MAX_KEYS, Skipped, VerificationKey, load_keys
from fastapi_stepup.tokens.jwks.discovery import KeySetLocation
from fastapi_stepup.tokens.jwks.event_loops import (
    Waiters,
    call_soon,
    is_closed,
    running_loop,
    spawn,
)
from fastapi_stepup.tokens.jwks.freshness import entity_tag, is_same_entity_tag, lifetime
from fastapi_stepup.tokens.jwks.state import KeySetState, Sent, Snapshot

_SERVER_ERROR: Final = HTTPStatus.INTERNAL_SERVER_ERROR
_TOO_MANY: Final = HTTPStatus.TOO_MANY_REQUESTS
_RETRY_PAUSE: Final = (0.05, 0.25)
_RETRYABLE: Final = frozenset(
    {FailureReason.CONNECT, FailureReason.TIMEOUT, FailureReason.TRANSPORT}
)
_GRACE: Final = 1.0
_POLL: Final = 0.25
_PATIENCE: Final = 4
_NOT_SENT: Final = Sent(0, 0.0, 0.0)


@dataclass(slots=True, eq=False)
class _Refresh:
    """A refresh that runs in one event loop, and the tasks of any loop that wait for it.

    Cancelling a waiter does not cancel it.
    """

    loop: object
    base: Snapshot | None
    overdue: float
    sent: Sent = _NOT_SENT
    url: str = ""
    etag: str | None = None
    is_decided: bool = False
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    waiters: dict[object, Waiters] = field(default_factory=dict)
    task: "asyncio.Task[None] | None" = None


class Refresher:
    """Fetches one key set: one fetch per process at a time, tried again once.

    - A fetch runs in the event loop that starts it, and all loops wait for it.
    - A fetch whose loop is closed, ends or stands still for about a second is given up. The first
      waiter of another loop starts the next one.
    - A fetch counts as failed, and the old set stays, for anything but a 200 with a JSON object of
      1 to 64 keys of which one is usable, or a 304 to our own `If-None-Match`. A byte order mark
      is refused (RFC 8259 section 8.1 forbids senders to add one).

    Args:
        location: Knows where the JWK set is.
        algorithms: Algorithms that tokens may use.
        ttl: The soft limit in seconds where the server sets none.
        http: Sends the requests.
        state: Takes the results; its lock guards the list of refreshes.
        emit: Takes the events.
    """

    def __init__(
        self,
        location: KeySetLocation,
        *,
        algorithms: frozenset[str],
        ttl: float,
        http: HTTPClient,
        state: KeySetState,
        emit: Emitter,
    ) -> None:
        self.location: KeySetLocation = location
        self._algorithms, self._ttl = algorithms, ttl
        self._http, self._state, self._emit = http, state, emit
        self._current: _Refresh | None = None
        # Where the set in force came from: an entity tag is good for its own URL only.
        self._published_from: str | None = None
        # All that run, those that were given up included: nothing else refers to their tasks.
        self._refreshes: set[_Refresh] = set()

    def current(self) -> _Refresh | None:
        """Return the refresh to wait for, unless it has outlived its deadline or its loop."""
        refresh = self._current
        if refresh is None or time.monotonic() > refresh.overdue or is_closed(refresh.loop):
            return None
        return refresh

    def start(self) -> _Refresh:
        """Return the current refresh, or start one in this event loop.

        It owes nothing to the request that starts it.
        """
        loop = running_loop()
        with self._state.lock:
            refresh = self.current()
            if refresh is not None:
                return refresh
            # Loops that were closed over a refresh cannot finish it.
            closed = [r for r in self._refreshes.copy() if is_closed(r.loop)]
            self._refreshes.difference_update(closed)
            overdue = time.monotonic() + self._http.total_timeout + _GRACE
            refresh = self._current = _Refresh(loop, self._state.snapshot, overdue)
            self._refreshes.add(refresh)
        refresh.task = spawn(partial(self._run, refresh), partial(self._finish, refresh))
        return refresh

    async def wait(self, refresh: _Refresh) -> None:
        """Wait until *refresh*, or one that takes its place, has a result.

        Returns without one if *refresh* was stopped in this event loop, as by `aclose`.
        """
        loop = running_loop()
        await self._wait_for_end(refresh)
        while self._is_undecided(refresh):
            if refresh.loop is loop and refresh not in self._refreshes:
                return
            refresh = self.start()
            await self._wait_for_end(refresh)

    async def aclose(self) -> None:
        """Cancel the refreshes that run in this event loop, and wake those who wait for them."""
        loop = running_loop()
        for refresh in [r for r in self._refreshes.copy() if r.loop is loop]:
            refresh.scope.cancel()
            await self._wait_for_end(refresh)

    def restart_in_child(self) -> None:
        """Drop the refreshes: a fork leaves their event loops behind."""
        self._current, self._refreshes = None, set()

    def _is_undecided(self, refresh: _Refresh) -> bool:
        """Return whether *refresh* ended without a result, and nothing else has happened since."""
        unchanged = self._state.snapshot is refresh.base
        return unchanged and not refresh.is_decided and self._state.may_try()

    async def _wait_for_end(self, refresh: _Refresh) -> None:
        loop = running_loop()
        with self._state.lock:
            if refresh not in self._refreshes:
                return
            waiters = refresh.waiters.get(loop)
            if waiters is None:
                waiters = refresh.waiters[loop] = Waiters(loop)
                waiters.task = spawn(
                    partial(self._watch, refresh, waiters),
                    partial(self._dismiss, refresh, waiters),
                )
        await waiters.wait()

    async def _watch(self, refresh: _Refresh, waiters: Waiters) -> None:
        """Give *refresh* up when it outlives its deadline or its event loop stands still.

        Runs once in each event loop that waits, and wakes the waiters there when it ends.
        """
        unanswered = 0

        def answer() -> None:
            nonlocal unanswered
            unanswered = 0

        try:
            while self._current is refresh and not waiters.are_released:
                if time.monotonic() > refresh.overdue:
                    refresh.is_decided = True
                    self._give_up(refresh)
                elif unanswered > _PATIENCE or not call_soon(refresh.loop, answer):
                    self._give_up(refresh)
                unanswered += 1
                await waiters.wait_up_to(_POLL)
        finally:
            self._dismiss(refresh, waiters)

    def _give_up(self, refresh: _Refresh) -> None:
        """Make way for another refresh, and wake those who wait for this one."""
        with self._state.lock:
            if self._current is refresh:
                self._current = None
            waiting = tuple(refresh.waiters.values())
        for waiters in waiting:
            call_soon(waiters.loop, waiters.release)

    def _dismiss(self, refresh: _Refresh, waiters: Waiters) -> None:
        """Wake *waiters*; a task that waits again gets another watch."""
        with self._state.lock:
            if refresh.waiters.get(waiters.loop) is waiters:
                del refresh.waiters[waiters.loop]
        waiters.release()

    async def _run(self, refresh: _Refresh) -> None:
        """Fetch and apply the result; waiters are woken in any case, and nothing escapes."""
        try:
            with refresh.scope:
                await anyio.lowlevel.checkpoint()
                self._apply(refresh, await self._fetch(refresh))
                refresh.is_decided = True
        except HTTPFailure as failure:
            refresh.is_decided = True
            self._state.fail(failure.reason, refresh.sent, failure.retry_after)
        except Exception:  # noqa: BLE001  # no caller awaits this task; a set must survive anything
            refresh.is_decided = True
            logger.debug("Fetching the key set failed unexpectedly.", exc_info=True)
            self._state.fail(FailureReason.UNEXPECTED, refresh.sent)
        finally:
            self._finish(refresh)

    def _finish(self, refresh: _Refresh) -> None:
        with self._state.lock:
            self._refreshes.discard(refresh)
            self._give_up(refresh)

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
        try:
            refresh.url = await self.location.url(deadline)
            base = refresh.base if refresh.url == self._published_from else None
            refresh.etag = None if base is None else base.etag
            headers = {} if refresh.etag is None else {"If-None-Match": refresh.etag}
            request = HTTPRequest("GET", refresh.url, headers=headers)
            return await self._http.send(request, deadline=deadline - anyio.current_time())
        except HTTPFailure as failure:
            return failure

    def _apply(self, refresh: _Refresh, reply: HTTPResponse) -> None:
        """Put the set of *reply* in force, or count the reply as a failed fetch."""
        base, etag = refresh.base, refresh.etag
        if reply.status == HTTPStatus.NOT_MODIFIED and base is not None and etag is not None:
            if not is_same_entity_tag(reply.headers.get("etag", etag), etag):
                # This server's 304 cannot be relied on.
                self._state.forget_etag(base)
                raise HTTPFailure(FailureReason.NOT_MODIFIED)
            self._publish(refresh, reply, base.keys, etag)
            return
        if reply.status != HTTPStatus.OK:
            asked = retry_after(reply, now=self._state.wall())
            raise HTTPFailure(status_reason(reply.status), retry_after=asked)
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
        published = self._state.publish(
            keys,
            refresh.sent,
            lifetime=lifetime(reply, default=self._ttl, longest=self._state.hard_limit),
            etag=etag,
            size=len(reply.body),
        )
        if published:
            self._published_from = refresh.url
        return published


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


def _is_passing(reply: HTTPResponse | HTTPFailure, *, now: float) -> bool:
    """Return whether a failure may be over in a moment, and the server did not ask to wait."""
    if isinstance(reply, HTTPFailure):
        return reply.reason in _RETRYABLE
    busy = reply.status >= _SERVER_ERROR or reply.status == _TOO_MANY
    return busy and retry_after(reply, now=now) is None

"""One-time step-ups: held for a request, then spent or given back."""

import json
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._log import logger
from fastapi_stepup._options import duration
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ConfigurationError, OneTimeUnavailable, StepUpBusy
from fastapi_stepup.events import AuditOutcome, OneTimeOutcome, OneTimeUse
from fastapi_stepup.guard.decisions import Decisions
from fastapi_stepup.guard.one_time_store import MemoryStore, OneTimeStore, RedisStore
from fastapi_stepup.policy.policy import StepUpPolicy

LEASE: Final = 60
HOLDS_SCOPE_KEY: Final = "fastapi_stepup.holds"

_KEPT_LONGER: Final = 60  # seconds that another process may accept a token after this one
_SETTLE_TIMEOUT: Final = 5
_ERROR: Final = 400
_AUDITED: Final[dict[OneTimeOutcome, tuple[AuditOutcome, str | None]]] = {
    "spent": ("succeeded", None),
    "given_back": ("succeeded", "given_back"),
    "used": ("refused", "step_up_used"),
    "busy": ("refused", "step_up_busy"),
    "unavailable": ("failed", "one_time_unavailable"),
}
_NEVER_SPEND: Final = frozenset({"HEAD", "OPTIONS"})


@dataclass(slots=True, eq=False)
class Hold:
    """A step-up that is held for a request; to be settled once.

    Args:
        claims: Whose step-up it is.
        purpose: What it is used for.
        key: What the store knows it by; `None` where there is nothing to settle.
        keep: Seconds for which it is remembered when it is used.
        holder: Names the request.
        is_settled: True from the time when it is being settled.
        decisions: Reports what becomes of it.
    """

    claims: Claims
    purpose: str
    key: str | None = None
    keep: float = 0
    holder: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    is_settled: bool = False
    decisions: Decisions | None = field(default=None, repr=False)


class StepUpIsUsed(Exception):
    """The step-up was good for one use and had that. The guard makes the refusal of it."""


class OneTimeUses(SetOnce):
    """Holds step-ups for requests, and settles them.

    - Of any number of requests with one step-up, one at a time may use it for a purpose, and none
      once it is used.
    - A request that asks twice, at two entry points, holds once.
    - HEAD and OPTIONS never hold: they change nothing.

    Args:
        store: Where it is remembered; this process by default.
        redis_url: A Redis where it is remembered instead.
        lease: Longest time for which a request holds a step-up, as a duration. A process that dies
            holds it no longer; a handler that takes longer may be overtaken.

    Raises:
        ConfigurationError: An argument cannot be used, or both stores are given.
    """

    def __init__(
        self,
        *,
        store: Any = None,
        redis_url: Any = None,
        lease: Any = LEASE,
    ) -> None:
        if redis_url is not None:
            if store is not None:
                msg = "Give one_time=, a store of your own, or redis_url=, not both."
                raise ConfigurationError(msg)
            store = RedisStore(redis_url)
        elif store is None:
            store = MemoryStore()
        elif not isinstance(store, OneTimeStore):
            msg = "one_time is a OneTimeStore: an object with hold, settle and aclose."
            raise ConfigurationError(msg)
        self.store: OneTimeStore = store
        self.lease: int = duration("one_time_lease", lease)
        if self.lease < 1:
            msg = "one_time_lease is at least one second."
            raise ConfigurationError(msg)
        # The longest max_age of each declared purpose, where logins are counted.
        self._ages: dict[str, int] = {}
        # Used, but the store did not learn of it: at least this process knows.
        self._unwritten = MemoryStore()

    def declare(self, purpose: str, policy: StepUpPolicy) -> None:
        """Take note of a *policy* that an entry point has for *purpose*."""
        self._ages[purpose] = max(_longest(policy), self._ages.get(purpose, 0))

    def longest_age(self, purpose: str, policy: StepUpPolicy) -> int:
        """Return the longest `max_age` by which a login could be used for *purpose* again."""
        return max(_longest(policy), self._ages.get(purpose, 0))

    async def hold(
        self,
        connection: HTTPConnection,
        owner: object,
        hold: Hold,
        *,
        keep: float,
        login: float | None = None,
    ) -> None:
        """Hold a step-up for *connection*, unless the request holds it already or never spends.

        Args:
            connection: The request or WebSocket.
            owner: The guard.
            hold: The step-up and its purpose; it gets what the store knows it by.
            keep: Seconds for which the step-up is still good, leeway included.
            login: What a step-up is known by, instead of all that the token says: the time of the
                login, in epoch seconds.

        Raises:
            StepUpIsUsed: It was used for this purpose before.
            StepUpBusy: Another request holds it.
            OneTimeUnavailable: The store failed.
        """
        key = step_up_key(hold.claims, hold.purpose, login)
        holds: dict[object, tuple[Hold, ...]] = connection.scope.get(HOLDS_SCOPE_KEY, {})
        own = holds.get(owner, ())
        if _never_spends(connection) or any(h.key == key and not h.is_settled for h in own):
            return
        hold.key, hold.keep = key, max(1, keep) + _KEPT_LONGER
        await self._ask_store(connection, hold)
        connection.scope[HOLDS_SCOPE_KEY] = {**holds, owner: (*own, hold)}

    async def _ask_store(self, connection: HTTPConnection, hold: Hold) -> None:
        key = hold.key or ""
        outcome: object = "used"
        if not self._unwritten.is_used(key):
            try:
                outcome = await self.store.hold(key, hold.holder, lease=self.lease)
            except Exception as error:  # noqa: BLE001  # whatever a store raises
                outcome = "unavailable"
                _report_failure(error, "held, so the request is refused")
            except BaseException:
                # Cancelled, and the store may hold it by now.
                await self.settle(connection, hold, spent=False)
                raise
        if outcome == "held":
            return
        if outcome == "used":
            self._tell(connection, hold, "used")
            raise StepUpIsUsed
        if outcome == "busy":
            self._tell(connection, hold, "busy")
            raise StepUpBusy
        self._tell(connection, hold, "unavailable")
        raise OneTimeUnavailable

    async def settle(self, connection: HTTPConnection, hold: Hold, *, spent: bool) -> None:
        """Use a held step-up up, or give it back. Does nothing for one that is settled.

        Is not interrupted where anyio cancels the request. Where asyncio cancels the task itself,
        at least this process knows that the step-up is used.

        Raises:
            OneTimeUnavailable: It is used, and the store failed. This process knows that it is
                used; others may not, once the lease has ended.
        """
        if hold.key is None or hold.is_settled:
            return
        hold.is_settled = True
        failure: Exception | None = TimeoutError()
        with anyio.move_on_after(_SETTLE_TIMEOUT, shield=True):
            try:
                await self.store.settle(hold.key, hold.holder, spent=spent, keep=hold.keep)
                failure = None
            except Exception as error:  # noqa: BLE001  # whatever a store raises
                failure = error
            except BaseException:
                if spent:  # asyncio cancels what anyio shields
                    await self._unwritten.settle(hold.key, hold.holder, spent=True, keep=hold.keep)
                raise
        if failure is None:
            self._tell(connection, hold, "spent" if spent else "given_back")
            return
        self._tell(connection, hold, "unavailable")
        if not spent:
            _report_failure(failure, "given back: it is held until its lease ends")
            return
        _report_failure(failure, "used up: another process may take it when its lease ends")
        await self._unwritten.settle(hold.key, hold.holder, spent=True, keep=hold.keep)
        raise OneTimeUnavailable

    def _tell(self, connection: HTTPConnection, hold: Hold, outcome: OneTimeOutcome) -> None:
        decisions = hold.decisions
        if decisions is None or not decisions.active:
            return
        decisions.emit(OneTimeUse(hold.purpose, outcome))
        audited, reason = _AUDITED[outcome]
        decisions.record(
            connection,
            "one_time",
            audited,
            claims=hold.claims,
            purpose=hold.purpose,
            reason=reason,
        )


def step_up_key(claims: Claims, purpose: str, login: float | None = None) -> str:
    """Return what a step-up is remembered by for *purpose*.

    It is made of issuer, subject and a digest of all that the token says, not of the token's text:
    one payload may have several signatures. It tells nothing about the user. Two step-ups of a user
    whose tokens say the same, down to the second, are one.

    Args:
        claims: The claims of the verified token.
        purpose: What it is used for.
        login: The time of the login, which stands for the digest where a token can be refreshed.
    """
    proof: object = login
    if login is None:
        proof = sha256(json.dumps(claims.raw, sort_keys=True).encode()).hexdigest()
    named = json.dumps([claims.issuer, claims.subject, proof, purpose])
    return sha256(named.encode()).hexdigest()


def is_good_answer(error: BaseException) -> bool:
    """Return whether what a handler raises is a way to answer 2xx or 3xx, such as a redirect."""
    return isinstance(error, HTTPException) and error.status_code < _ERROR


def _longest(policy: StepUpPolicy) -> int:
    return max(each.max_age or 0 for each in policy.alternatives)


def _never_spends(connection: HTTPConnection) -> bool:
    return connection.scope.get("method") in _NEVER_SPEND


def _report_failure(error: Exception, consequence: str) -> None:
    # The kind alone: its text may hold the URL of the store.
    logger.error("A one-time step-up cannot be %s (%s).", consequence, type(error).__name__)

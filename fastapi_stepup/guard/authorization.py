"""Authorization: a connection and a policy in, verified claims or the right refusal out.

Longer than other modules: the ways in (`authorize`, `once`, `recheck`) share their refusals.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

from starlette.exceptions import WebSocketException
from starlette.requests import HTTPConnection

from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._secret import Secret
from fastapi_stepup.claims import CLAIMS_SCOPE_KEY, Claims
from fastapi_stepup.errors import StepUpError, StepUpRequired
from fastapi_stepup.events import EntryPointName
from fastapi_stepup.guard.conditions import checked_purpose
from fastapi_stepup.guard.credentials import CredentialReader
from fastapi_stepup.guard.decisions import Decisions
from fastapi_stepup.guard.factory import GuardParts
from fastapi_stepup.guard.one_time import Hold, OneTimeUses, StepUpIsUsed, is_good_answer
from fastapi_stepup.guard.policy_lints import MaxAgeLint
from fastapi_stepup.guard.refusals import Refusals
from fastapi_stepup.guard.request_state import (
    TOKENS_SCOPE_KEY,
    asked_policies,
    drop_claims,
    keep_claims,
    keep_policy,
    keep_token,
    kept_claims,
    kept_token,
)
from fastapi_stepup.guard.route_policies import policies_of_route
from fastapi_stepup.policy.policy import (
    StepUpPolicy,
    all_of,
    check_asks_something,
    check_limits_age,
)
from fastapi_stepup.tokens.verifier import TokenVerifier


class Authorization(SetOnce):
    """What a guard decides about connections; `StepUpGuard` is the one kind of it.

    Attributes:
        credentials: Finds the token of a connection.
        clock: Gives epoch seconds.
        refusals: Makes the refusals complete.
        decisions: Reports each decision to the hooks.
        one_time: Holds and spends one-time step-ups.
        marks_step_up: True if tokens say whether the session is stepped up.
        report_only: True if refusals are reported instead of made.
    """

    credentials: CredentialReader
    clock: Callable[[], float]
    refusals: Refusals
    decisions: Decisions
    one_time: OneTimeUses
    marks_step_up: bool
    report_only: bool
    # The last one counts. Adding, removing and reading one are atomic: no lock is needed.
    _bundles: list[GuardParts]
    _lint: MaxAgeLint

    @property
    def members(self) -> tuple[Self, ...]:
        """The guards that it stands for: itself, unless `any_of` made it."""
        return (self,)

    @property
    def verifier(self) -> TokenVerifier:
        """Verifies tokens."""
        return self._parts.verifier

    @property
    def _parts(self) -> GuardParts:
        """The parts in use. Take them once a call, which then stays on one side of a swap."""
        return self._bundles[-1]

    async def authorize(
        self,
        connection: HTTPConnection,
        policy: StepUpPolicy | None = None,
        *,
        token: str | None = None,
        entry_point: EntryPointName | None = "handler",
    ) -> Claims:
        """Return the claims of the session that *connection* presents, if it meets *policy*.

        - The claims are kept in the scope, where `claims_from` reads them. A second call for the
          same request verifies nothing again while the token lives, but always asks the policy.
        - The mounted helper routes of this guard are let through with a session alone, whatever the
          policy: a dependency of the whole app must not close the way to step up.

        A token that comes in the first message of a WebSocket, or in a subprotocol, is given as
        *token*. Later calls and `recheck` for this connection use it too:

        ```python
        await websocket.accept()
        await guard.authorize(websocket, policy, token=await websocket.receive_text())
        ```

        Args:
            connection: A request or a WebSocket.
            policy: What the session must meet; `None` asks for a session only.
            token: The session token, where it is in no header field. It needs no same-origin
                evidence, so do not take it from a cookie. Entry points in front of the handler
                do not know it: where the header has a weaker one, they refuse the request.
            entry_point: How events name the place of a refusal; `None` reports none, for callers
                that may let the request pass all the same.

        Raises:
            StepUpError: The refusal to answer with, complete with challenge and helper routes.
            WebSocketException: Instead, with code 1008, for a WebSocket that cannot be answered
                over HTTP: it is accepted already, or the server lacks the denial extension.
        """
        if token is not None:
            keep_token(connection, self, Secret(token))
            drop_claims(connection, self)
            del token
        try:
            parts = self._bundles[-1]  # `_parts` without the call
            kept = CLAIMS_SCOPE_KEY in connection.scope
            claims = self._known(connection, parts) if kept else None
            if claims is None:
                claims = await self._verifying(connection, parts)
                keep_claims(connection, self, parts, claims)
        except StepUpError as error:
            raise self._without_claims(connection, error, entry_point) from None
        if policy is not None:
            try:
                policy.enforce(claims, now=self.clock())
            except StepUpError as error:
                self._refuse(connection, policy, claims, error, entry_point)
            else:
                if self.decisions.active:
                    self.decisions.met(connection, policy, claims)
                if id(policy) not in self._lint.done:
                    self._lint.look(policy, claims)
        keep_policy(connection, self, policy)
        return claims

    def _without_claims(
        self, connection: HTTPConnection, error: StepUpError, entry_point: EntryPointName | None
    ) -> StepUpError | WebSocketException:
        """Report that there is no valid session, and return the refusal to raise."""
        if entry_point is not None and not self.refusals.leaves_to_route(connection, error):
            self.decisions.refused(connection, error, entry_point)
        return self.refusals.shaped(connection, error)

    def _refuse(
        self,
        connection: HTTPConnection,
        policy: StepUpPolicy,
        claims: Claims,
        error: StepUpError,
        entry_point: EntryPointName | None,
    ) -> None:
        """Raise the refusal of claims that do not meet *policy*, unless it is only reported."""
        if not self.marks_step_up:
            check_asks_something(policy)
        if isinstance(error, StepUpRequired):
            if self.refusals.leads_to_step_up(connection):
                return
            policy, error = self._all_that_is_asked(connection, policy, claims, error)
        is_reported = self.refusals.is_reported(error.code)
        if is_reported or entry_point is not None:
            place = entry_point or "middleware"
            self.decisions.refused(connection, error, place, reported=is_reported)
        if not is_reported:
            raise self.refusals.shaped(connection, error, policy=policy, claims=claims) from None

    def _all_that_is_asked(
        self,
        connection: HTTPConnection,
        policy: StepUpPolicy,
        claims: Claims,
        error: StepUpRequired,
    ) -> tuple[StepUpPolicy, StepUpError]:
        """Return what all entry points of the route ask together, and the refusal that names it."""
        together = all_of(dict.fromkeys((*policies_of_route(connection, self), policy)))
        try:
            together.enforce(claims, now=self.clock())
        except StepUpError as merged:
            return together, merged
        return policy, error  # together they were too much to name

    @asynccontextmanager
    async def once(
        self, connection: HTTPConnection, purpose: str, policy: StepUpPolicy | None = None
    ) -> AsyncIterator[Claims]:
        """Let one step-up be used once for *purpose*, by the block: for use in a handler.

        ```python
        async with guard.once(request, "delete-account", StepUpPolicy(max_age="2m")) as claims:
            await delete_account(claims.subject)
        ```

        - The step-up is held while the block runs, spent when it ends, and given back when it
          raises, unless what it raises is an `HTTPException` below 400, such as a redirect. A
          refusal that is returned from the block does not give it back: raise it.
        - Of any number of requests one passes; one that comes meanwhile is answered 409.
        - A block within another one for the same purpose and request holds nothing more.
        - HEAD and OPTIONS spend nothing, nor does report-only mode.

        Args:
            connection: A request or a WebSocket.
            purpose: A name, shared by all that share the one use.
            policy: What the session must meet; plain step-up by default.

        Raises:
            StepUpError: As `authorize`; also `StepUpBusy`, `OneTimeUnavailable`, and
                `StepUpRequired` for a step-up that is used.
            WebSocketException: As `authorize`.
        """
        hold = await self.hold(connection, purpose, StepUpPolicy() if policy is None else policy)
        try:
            yield hold.claims
        except BaseException as error:
            await self.settle(connection, hold, spent=is_good_answer(error))
            raise
        await self.settle(connection, hold, spent=True)

    async def hold(
        self,
        connection: HTTPConnection,
        purpose: str,
        policy: StepUpPolicy,
        *,
        entry_point: EntryPointName = "handler",
    ) -> Hold:
        """Do what `authorize` does, and hold the step-up for *purpose*; `settle` has to follow.

        For entry points; `once` does both.

        Raises:
            StepUpError: As `once`.
            WebSocketException: As `once`.
        """
        name = checked_purpose(purpose)
        self._check_once(policy)
        claims = await self.authorize(connection, policy, entry_point=entry_point)
        if self.report_only or self.refusals.leads_to_step_up(connection):
            return Hold(claims, name)
        member, now = self._member_of(claims), self.clock()
        until, login = claims.expires_at + member.verifier.leeway, None
        if not member.ends_step_ups:
            login = claims.evidence.proved_at or 0
            until = max(until, login + member.one_time.longest_age(name, policy))
        hold = Hold(claims, name, decisions=self.decisions)
        error: StepUpError
        try:
            await member.one_time.hold(connection, member, hold, keep=until - now, login=login)
        except StepUpIsUsed:
            policy = all_of(dict.fromkeys((*policies_of_route(connection, self), policy)))
            error = policy.used_refusal(claims, now=now, since=login)
        except StepUpError as failed:
            error = failed
        else:
            return hold
        self.decisions.refused(connection, error, entry_point)
        raise self.refusals.shaped(connection, error, policy=policy, claims=claims) from None

    def declare_once(self, purpose: str, policy: StepUpPolicy) -> None:
        """Take note that an entry point spends step-ups for *purpose*.

        Raises:
            ConfigurationError: *policy* has an alternative without `max_age`, and tokens of this
                issuer can be refreshed within one login.
        """
        self._check_once(policy)
        for member in self.members:
            member.one_time.declare(purpose, policy)

    def _check_once(self, policy: StepUpPolicy) -> None:
        if not all(member.ends_step_ups for member in self.members):
            check_limits_age(policy)

    def _member_of(self, claims: Claims) -> Self:
        """Return the guard that verified *claims*: the store of step-ups is its own."""
        members = self.members
        named = (each for each in members if each.verifier.accepts_issuer(claims.issuer))
        return next(named, members[0])

    @property
    def ends_step_ups(self) -> bool:
        """True if a refresh ends a step-up, so that no second token tells of the same one."""
        return self._parts.descope is not None

    async def settle(self, connection: HTTPConnection, hold: Hold, *, spent: bool) -> None:
        """Use up what `hold` returned, or give it back.

        Raises:
            OneTimeUnavailable: It is used, and the store failed.
            WebSocketException: The same, for a WebSocket that has no HTTP answer.
        """
        try:
            await self._member_of(hold.claims).one_time.settle(connection, hold, spent=spent)
        except StepUpError as error:
            raise self.refusals.shaped(connection, error) from None

    async def recheck(self, connection: HTTPConnection) -> Claims:
        """Return the claims of a long-lived connection if it would still be let in now.

        For WebSockets, and for replies that are streamed. Verifies the token again (it may have
        expired, its key may be revoked) and asks every policy again that let this connection in (a
        step-up may have become too old). Call it before each sensitive message, or now and then.

        ```python
        async def stream(request: Request) -> AsyncIterator[str]:
            async for event in events():
                try:
                    await guard.recheck(request)
                except StepUpError:
                    return  # The reply has started: it can only end.
                yield event
        ```

        Raises:
            WebSocketException: It would not; code 1008, with the problem code as its reason.
            StepUpError: Instead, for a request, and for a WebSocket that is not accepted yet.
            LookupError: This guard never let the connection in.
        """
        policies = asked_policies(connection, self)
        if policies is None:
            kind = "WebSocket" if connection.scope["type"] == "websocket" else "request"
            msg = f"recheck asks again what authorize asked before: authorize the {kind} first."
            raise LookupError(msg)
        try:
            parts = self._parts
            claims = await self._verifying(connection, parts)
        except StepUpError as error:
            drop_claims(connection, self)
            self.decisions.refused(connection, error, "handler")
            raise self.refusals.shaped(connection, error) from None
        keep_claims(connection, self, parts, claims)
        for policy in policies:
            await self.authorize(connection, policy)
        return claims

    def _known(self, connection: HTTPConnection, parts: GuardParts) -> Claims | None:
        """Return the claims that are kept in the scope, if they still hold."""
        claims = kept_claims(connection, self, parts)
        # A WebSocket may live longer than its token.
        if claims is None or claims.expires_at + parts.verifier.leeway <= self.clock():
            return None
        return claims

    def _verifying(self, connection: HTTPConnection, parts: GuardParts) -> Awaitable[Claims]:
        """Return what verifies the token that *connection* presents.

        Raises:
            StepUpError: There is no token, or none that can be read.
        """
        given = kept_token(connection, self) if TOKENS_SCOPE_KEY in connection.scope else None
        return parts.verifier.verify(self.credentials.token(connection) if given is None else given)

"""StepUpMiddleware: the guard in front of a whole app, as pure ASGI, closed by default."""

from collections.abc import Sequence
from typing import Any, Final

from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from fastapi_stepup._immutable import SetOnce
from fastapi_stepup.errors import ConfigurationError, StepUpError
from fastapi_stepup.guard.conditions import Conditional, Once, is_asked, policy_in
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.one_time import Hold
from fastapi_stepup.guard.refusals import POLICY_VIOLATION, can_be_answered
from fastapi_stepup.guard.report_only import authorize_or_report
from fastapi_stepup.guard.route_policies import keep_rules
from fastapi_stepup.policy.policy import StepUpPolicy, check_asks_something
from fastapi_stepup.web.caching import keeping_private
from fastapi_stepup.web.exception_handlers import answer
from fastapi_stepup.web.one_use import serve_once, settle_all
from fastapi_stepup.web.rule_table import Protection, RuleTable
from fastapi_stepup.web.rules import Access, StepUpRule, checked_access, checked_rules

_NOT_FOUND: Final = "not_found"


class StepUpMiddleware(SetOnce):
    """Asks the guard before anything of the wrapped app runs.

    - The first rule that matches exactly decides. *default* decides where no rule matches; it asks
      for step-up, so a forgotten route is closed. See `StepUpRule` for what matches.
    - Works in front of FastAPI, Starlette and any other ASGI app, on HTTP and WebSocket.
    - Leaves the claims in the scope. Dependencies and `claims_from` find them there.
    - Takes the path as the app's router takes it. An unroutable path is never passed on: 401
      without a session, else 404. Such a path does not start with a slash, has control characters,
      backslashes or dot segments, or is longer than 2,048 characters.
    - Answers a refusal as the app answers its exceptions, so as a dependency does.
    - Does not touch the body, nor the reply of what it lets pass. It only adds
      `Cache-Control: private` to a reply to a session, where the app says nothing about caching.
    - Does not answer CORS preflights, which carry no token: put `CORSMiddleware` outside of it.
    - Does not open anything without *rules*, the documentation included. At the helper routes of
      *guard* a session is enough where a policy asks for step-up, or it could never be done. Those
      that finish a step-up decide themselves where the session ran out, as does the one public
      route, which an enchanted link leads to.

    Args:
        app: The app to protect.
        guard: The guard that decides.
        rules: Rules in order of precedence.
        default: What everything else must present; `"public"` opens it on purpose.

    Raises:
        ConfigurationError: An argument cannot be used; the message says what can.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        guard: StepUpGuard,
        rules: Sequence[StepUpRule] = (),
        default: Access | None = None,
    ) -> None:
        if not isinstance(guard, StepUpGuard):
            msg = "StepUpMiddleware takes guard=StepUpGuard.for_descope(…)."
            raise ConfigurationError(msg)
        self.app = app
        self.guard = guard
        self.rules: tuple[StepUpRule, ...] = checked_rules(rules)
        self.default: Access = (
            StepUpPolicy() if default is None else checked_access("default", default)
        )
        for access in (self.default, *(rule.require for rule in self.rules)):
            if isinstance(access, StepUpPolicy) and not guard.marks_step_up:
                check_asks_something(access)
        for rule in self.rules:
            if rule.once is not None and isinstance(rule.require, StepUpPolicy):
                guard.declare_once(rule.once, rule.require)
        self.table: RuleTable = RuleTable(self.rules, self.default)
        self._guarded_app = _application(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection.

        Raises:
            RuntimeError: The scope is of a type that cannot be judged, so it is not let through.
        """
        kind = scope["type"]
        if kind == "lifespan":
            await self.app(scope, receive, send)
            return
        if kind not in {"http", "websocket"}:
            msg = f"StepUpMiddleware cannot guard connections of type {kind!r}."
            raise RuntimeError(msg)
        self._name_app(scope)
        path = get_route_path(scope) or "/"
        is_unroutable, required = self.table.decide(path, scope.get("method"))
        if required:
            connection: Request | WebSocket = (
                Request(scope) if kind == "http" else WebSocket(scope, receive, send)
            )
            admitted = await self._admitted(connection, required)
            if not isinstance(admitted, tuple):
                await answer(admitted, scope, receive, send)
                return
            if is_unroutable and not self.guard.refusals.is_reported(_NOT_FOUND):
                await answer(_no_such_path(scope), scope, receive, send)
                return
            if kind == "http":
                send = keeping_private(send)
            if admitted:
                await serve_once(
                    self.app, self.guard, connection, admitted, receive=receive, send=send
                )
                return
        await self.app(scope, receive, send)

    def _name_app(self, scope: Scope) -> None:
        """Put the app into *scope* early, as it is about to do: it decides paths, names routes."""
        if self._guarded_app is not None:
            scope["app"] = self._guarded_app
            if getattr(self._guarded_app, "root_path", ""):
                scope["root_path"] = self._guarded_app.root_path

    async def _admitted(
        self, connection: Request | WebSocket, required: tuple[Protection, ...]
    ) -> tuple[Hold, ...] | StepUpError | WebSocketException:
        """Return what *connection* holds if it meets all that is *required*, else its refusal."""
        try:
            for protection in required:
                if isinstance(protection, Conditional):
                    required = await self._without_conditions(connection, required)
                    break
            keep_rules(connection, self.guard, required)
            for protection in required:
                await authorize_or_report(self.guard, connection, policy_in(protection))
        except (StepUpError, WebSocketException) as error:
            # Asked for at the helper routes, a step-up could never be done: a session suffices.
            is_left = self.guard.refusals.is_left_to_helper_route(connection, error, self.app)
            if is_left:
                return ()
            self.guard.decisions.refused(connection, error, "middleware")
            return error
        # Not before all else is met: a request that is refused holds nothing.
        one_time = [each for each in required if isinstance(each, Once)]
        refusals = self.guard.refusals
        if not one_time or refusals.report_only:
            return ()
        if refusals.is_for_helper_route(connection, self.app):
            return ()
        return await self._held(connection, one_time)

    async def _held(
        self, connection: Request | WebSocket, one_time: list[Once]
    ) -> tuple[Hold, ...] | StepUpError | WebSocketException:
        """Return what *connection* holds, a step-up for each purpose, else its refusal."""
        holds: list[Hold] = []
        try:
            for each in one_time:  # one by one: those held so far are given back
                hold = await self.guard.hold(
                    connection, each.purpose, each.policy, entry_point="middleware"
                )
                holds.append(hold)
        except BaseException as error:
            await settle_all(self.guard, connection, holds, spent=False)
            if isinstance(error, (StepUpError, WebSocketException)):
                return error
            raise
        return tuple(holds)

    async def _without_conditions(
        self, connection: HTTPConnection, required: tuple[Protection, ...]
    ) -> tuple[Protection, ...]:
        """Return what is *required* of this connection, now that each condition is asked.

        All are asked before a policy is, so that one refusal names all, and only for sessions.

        Raises:
            StepUpError: There is no session, so no condition ran.
            WebSocketException: The same, for a WebSocket that has no HTTP answer.
        """
        if await authorize_or_report(self.guard, connection) is None:
            return ()  # It is reported; a condition counts on a session.
        asked: list[Protection] = []
        for each in required:
            if not isinstance(each, Conditional):
                asked.append(each)
            else:
                is_yes = await is_asked(each.when, connection)
                asked.append(each.policy if is_yes else "session")
        return tuple(asked)


def _no_such_path(scope: Scope) -> HTTPException | WebSocketException:
    if can_be_answered(scope):
        return HTTPException(404)
    return WebSocketException(POLICY_VIOLATION, _NOT_FOUND)


def _application(app: Any) -> Any:
    """Return the app inside of *app* that has exception handlers, or `None`.

    `None` for a middleware within an app's own stack: that app is in the scope.
    """
    while app is not None and not isinstance(app, Starlette):
        app = getattr(app, "app", None)
    return app

"""Refusals: the realm, the way to step up and the WebSocket close of an error."""

from typing import Any, Final

from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection
from starlette.types import Scope
from starlette.websockets import WebSocketState

from fastapi_stepup._emitter import Emitter
from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._log import logger
from fastapi_stepup._options import flag
from fastapi_stepup._urls import checked_redirect_uri
from fastapi_stepup.challenge import Challenge
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import (
    ConfigurationError,
    InvalidToken,
    RejectReason,
    StepUpError,
    StepUpRequired,
    Unauthenticated,
)
from fastapi_stepup.events import ReportOnly
from fastapi_stepup.guard.paths import router_in
from fastapi_stepup.guard.route_policies import route_ahead
from fastapi_stepup.guard.step_up_endpoints import StepUpEndpoints
from fastapi_stepup.policy.policy import StepUpPolicy

POLICY_VIOLATION: Final = 1008
PROBLEM_MEDIA_TYPE: Final = "application/problem+json"

_DENIAL: Final = "websocket.http.response"


class ClosedWebSocket(WebSocketException):
    """A refusal of a WebSocket that has no HTTP answer: close code 1008 and the problem code.

    Args:
        refusal: What an HTTP request would have been answered.
    """

    def __init__(self, refusal: StepUpError) -> None:
        self.refusal = refusal
        super().__init__(POLICY_VIOLATION, reason=refusal.code)


class Refusals(SetOnce):
    """Turns an error into the answer for one connection, or into a report.

    Args:
        realm: The protection space named in challenges.
        report_only: True if refusals are reported instead of made.
        emit: Called with each report.
        resource_metadata: The URL of the API's metadata, for each challenge; `None` names none.

    Raises:
        ConfigurationError: *realm* or *resource_metadata* cannot be put into a header, or
            *report_only* is no boolean.
    """

    def __init__(
        self,
        *,
        realm: str,
        report_only: bool,
        emit: Emitter,
        resource_metadata: str | None = None,
    ) -> None:
        self.realm: str = _checked_realm(realm)
        self.resource_metadata: str | None = (
            None
            if resource_metadata is None
            else checked_redirect_uri("resource_metadata", resource_metadata)
        )
        self.report_only: bool = flag("report_only", report_only)
        if report_only:
            logger.warning("Report-only mode: step-up is not enforced, refusals are reported.")
        self._emit = emit
        self._endpoints: list[StepUpEndpoints] = []

    @property
    def endpoints(self) -> tuple[StepUpEndpoints, ...]:
        """The helper routers that exist, mounted in an app or not."""
        return tuple(self._endpoints)

    def endpoints_for(self, claims: Claims | None) -> tuple[StepUpEndpoints, ...]:  # noqa: ARG002  # all are one issuer's
        """Return the helper routers by which a session with *claims* could be stepped up."""
        return self.endpoints

    def mount(self, endpoints: StepUpEndpoints) -> None:
        """Let challenges point to a helper router, wherever its routes are in the app."""
        self._endpoints.append(endpoints)

    def is_reported(self, code: str) -> bool:
        """Return whether a refusal is only reported; if so, log it and emit the event.

        Args:
            code: The problem code of the refusal.
        """
        if self.report_only:
            logger.warning("Report only: a request passed that enforcement answers %s.", code)
            self._emit(ReportOnly(code))
        return self.report_only

    def leads_to_step_up(self, connection: HTTPConnection) -> bool:
        """Return whether *connection* is for one of the mounted helper routes.

        A step-up asked there, by a dependency of the app or of a parent router, could never be
        done. The routes themselves ask for a session. Goes by the route that serves the request, so
        it is false wherever routing is still to come.
        """
        route = connection.scope.get("route")
        return any(endpoints.has(route) for endpoints in self.endpoints)

    def is_left_to_helper_route(
        self, connection: HTTPConnection, error: Exception, app: object
    ) -> bool:
        """Return whether *app* will serve *connection* by a helper route that decides itself.

        For entry points that decide before routing; see `leads_to_step_up`.

        - Each helper route decides itself where a step-up is required.
        - One that finishes a step-up, or is public, does so too where the session is missing or
          expired.

        Args:
            connection: The request, as *app* gets it.
            error: Why it would be refused.
            app: The app behind the entry point, or middleware around it.
        """
        is_sessionless = is_without_session(error)
        if not is_sessionless and not isinstance(error, StepUpRequired):
            return False
        route = self._route_ahead(connection, app)
        if is_sessionless:
            return self._needs_no_session(route)
        return any(endpoints.has(route) for endpoints in self.endpoints)

    def leaves_to_route(self, connection: HTTPConnection, error: Exception) -> bool:
        """Return whether the helper route that serves *connection* decides itself.

        For dependencies of the whole app or of a parent router, which run before the route's own:
        where the session is missing or expired, and the route needs none.
        """
        return is_without_session(error) and self._needs_no_session(connection.scope.get("route"))

    def _needs_no_session(self, route: object) -> bool:
        return any(endpoints.needs_no_session(route) for endpoints in self.endpoints)

    def is_for_helper_route(self, connection: HTTPConnection, app: object) -> bool:
        """Return whether *app* will serve *connection* by one of the mounted helper routes."""
        route = self._route_ahead(connection, app)
        return any(endpoints.has(route) for endpoints in self._endpoints)

    def _route_ahead(self, connection: HTTPConnection, app: object) -> object:
        scope = connection.scope
        # Not the app in the scope below a mount: it may be the one outside of the mount.
        if router_in(app) is None and "router" not in scope:
            app = scope.get("app")
        return route_ahead(scope, app)

    def shaped(
        self,
        connection: HTTPConnection,
        error: StepUpError,
        *,
        policy: StepUpPolicy | None = None,
        claims: Claims | None = None,
    ) -> StepUpError | WebSocketException:
        """Return what to raise for *error*: complete, and in the way that *connection* can take.

        Logs the reason at DEBUG. A WebSocket that cannot be answered over HTTP gets close code 1008
        and the problem code: it is accepted already, or the server lacks the denial extension.

        Args:
            connection: The refused request or WebSocket.
            error: Why it is refused.
            policy: The policy that is not met, if it is that.
            claims: Whose session does not meet it.
        """
        logger.debug("Refused: %s.", error.log_line)
        members: dict[str, Any] = {}
        if isinstance(error, StepUpRequired):
            step_up = self._step_up_member(connection, policy, claims)
            members = {} if step_up is None else {"step_up": step_up}
        error.bind(realm=self.realm, resource_metadata=self.resource_metadata, **members)
        if connection.scope["type"] == "websocket":
            state = getattr(connection, "application_state", WebSocketState.CONNECTING)
            if state is not WebSocketState.CONNECTING or not can_be_answered(connection.scope):
                return ClosedWebSocket(error.with_traceback(None))
        if _is_left_to_starlette(connection, error):
            # Its own handler writes any body as text.
            error.headers = {**error.headers, "Content-Type": PROBLEM_MEDIA_TYPE}
        # The frames it went through hold the token, which error reporters collect.
        return error.with_traceback(None)

    def _step_up_member(
        self, connection: HTTPConnection, policy: StepUpPolicy | None, claims: Claims | None
    ) -> dict[str, Any] | None:
        """Return where this caller can step up, as paths of this app.

        `None` where no mounted method leads the caller to what the policy asks for.
        """
        for endpoints in self.endpoints_for(claims):
            methods = endpoints.methods_for(policy, claims)
            member = endpoints.described(connection, methods) if methods else None
            if member is not None:
                return member
        return None


def is_without_session(error: Exception) -> bool:
    """Return whether *error* says that there is no session, or one that expired."""
    if isinstance(error, InvalidToken):
        return error.reason is RejectReason.EXPIRED
    return isinstance(error, Unauthenticated)


def can_be_answered(scope: Scope) -> bool:
    """Return whether the server takes an HTTP answer: a request, or a WebSocket it can deny."""
    return scope["type"] == "http" or _DENIAL in (scope.get("extensions") or {})


def _is_left_to_starlette(connection: HTTPConnection, error: StepUpError) -> bool:
    """Return whether the app has no handler for *error*. FastAPI always has one."""
    handlers = getattr(connection.scope.get("app"), "exception_handlers", None)
    if handlers is None:
        return False
    # Not `Exception`: a handler for it answers what no other handles, and Starlette handles this.
    kinds = [kind for kind in type(error).__mro__ if issubclass(kind, HTTPException)]
    return not any(key in handlers for key in (error.status, *kinds))


def _checked_realm(realm: str) -> str:
    try:
        Challenge.bearer(realm=realm)
    except (ValueError, TypeError):
        msg = f"realm must be printable ASCII text without quotes and backslashes, not {realm!r}."
        raise ConfigurationError(msg) from None
    return realm

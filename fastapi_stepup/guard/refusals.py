"""Refusals: the realm, the way to step up and the WebSocket close of an error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection
from starlette.types import Scope
from starlette.websockets import WebSocketState

from fastapi_stepup._emitter import Emitter
from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._log import logger
from fastapi_stepup._options import flag
from fastapi_stepup.challenge import Challenge
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ConfigurationError, StepUpError, StepUpRequired
from fastapi_stepup.events import ReportOnly
from fastapi_stepup.guard.paths import path_as_written, paths_of
from fastapi_stepup.policy.alternative import Clause, unmet_clauses
from fastapi_stepup.policy.policy import StepUpPolicy
from fastapi_stepup.providers.descope.amr import can_prove, is_machine

POLICY_VIOLATION: Final = 1008
PROBLEM_MEDIA_TYPE: Final = "application/problem+json"

_OTP: Final = "otp"
_DENIAL: Final = "websocket.http.response"


@dataclass(frozen=True, slots=True)
class StepUpEndpoints:
    """The routes of one mounted helper router, and what it offers.

    Args:
        methods: What challenges list, in order.
        uris: For each kind of method the names of its routes, by what a challenge calls them.
        status_name: The name of the status route.
        flow_id: The Descope flow that front ends may run instead, if any.
        further_names: Names of further routes that a caller needs in order to step up.
    """

    methods: tuple[str, ...]
    uris: Mapping[str, Mapping[str, str]]
    status_name: str
    flow_id: str | None = None
    further_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all routes that challenges point to."""
        return (*(name for uris in self.uris.values() for name in uris.values()), self.status_name)

    def has(self, route: object) -> bool:
        """Return whether *route* is one of these."""
        name = getattr(route, "name", None)
        return name in self.names or name in self.further_names

    def methods_for(self, policy: StepUpPolicy | None, claims: Claims | None) -> tuple[str, ...]:
        """Return the methods by which the user of *claims* could come to meet *policy*.

        - None for an access key, which has no user.
        - Those that prove an `amr` value that the session lacks. None for an alternative of which
          they could prove a part only.
        - Where the session lacks no value: those that prove one again, else all.
        - Does not know which methods the user has enrolled: the status route does.
        """
        if claims is not None and is_machine(claims):
            return ()
        if policy is None:
            return self.methods
        known = () if claims is None else claims.amr
        leading: set[str] = set()
        for alternative in policy.alternatives:
            leading |= self._leading_to(alternative.amr, known)
        return tuple(method for method in self.methods if method in leading)

    def _leading_to(self, clauses: tuple[Clause, ...], known: tuple[str, ...]) -> set[str]:
        unmet = unmet_clauses(clauses, known)
        proving = [
            {method for method in self.methods if can_prove(method, clause, known)}
            for clause in unmet or clauses
        ]
        if unmet and not all(proving):
            return set()
        return set().union(*proving) or set(self.methods)

    def described(
        self, connection: HTTPConnection, methods: Sequence[str]
    ) -> dict[str, Any] | None:
        """Return the problem's `step_up` member; `None` where the routes are not in the app.

        Args:
            connection: The refused request.
            methods: What to offer of `methods`.
        """
        paths = paths_of(connection, *self.names)
        if paths is None:
            return None
        path_of = dict(zip(self.names, paths, strict=True))
        # The contract's two members are those of OTP, whose methods are its deliveries; every other
        # method is under its own name.
        kinds = {method if method in self.uris else _OTP for method in methods}
        offered = {
            kind: {uri: path_of[name] for uri, name in names.items()}
            for kind, names in self.uris.items()
            if kind in kinds
        }
        member: dict[str, Any] = {
            **offered.pop(_OTP, {}),
            "methods": list(methods),
            "status_uri": path_of[self.status_name],
        }
        if self.flow_id is not None:
            member["flow_id"] = self.flow_id
        if offered:
            member["uris"] = offered
        return member


class Refusals(SetOnce):
    """Turns an error into the answer for one connection, or into a report.

    Args:
        realm: The protection space named in challenges.
        report_only: True if refusals are reported instead of made.
        emit: Called with each report.

    Raises:
        ConfigurationError: *realm* cannot be put into a header, or *report_only* is no boolean.
    """

    def __init__(self, *, realm: str, report_only: bool, emit: Emitter) -> None:
        self.realm: str = _checked_realm(realm)
        self.report_only: bool = flag("report_only", report_only)
        if report_only:
            logger.warning("Report-only mode: step-up is not enforced, refusals are reported.")
        self._emit = emit
        self._endpoints: list[StepUpEndpoints] = []

    @property
    def endpoints(self) -> tuple[StepUpEndpoints, ...]:
        """The helper routers that exist, mounted in an app or not."""
        return tuple(self._endpoints)

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
        return any(endpoints.has(route) for endpoints in self._endpoints)

    def is_step_up_path(self, connection: HTTPConnection) -> bool:
        """Return whether the path of *connection* is that of a mounted helper route.

        For entry points that decide before routing; see `leads_to_step_up`.
        """
        own = path_as_written(connection)
        paths = (paths_of(connection, *endpoints.names) for endpoints in self._endpoints)
        return any(own in found for found in paths if found is not None)

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
        error.bind(realm=self.realm, **members)
        if connection.scope["type"] == "websocket":
            state = getattr(connection, "application_state", WebSocketState.CONNECTING)
            if state is not WebSocketState.CONNECTING or not can_be_answered(connection.scope):
                return WebSocketException(POLICY_VIOLATION, reason=error.code)
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
        for endpoints in self._endpoints:
            methods = endpoints.methods_for(policy, claims)
            member = endpoints.described(connection, methods) if methods else None
            if member is not None:
                return member
        return None


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

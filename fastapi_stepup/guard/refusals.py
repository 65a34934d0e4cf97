"""Refusals: the realm, the way to step up and the WebSocket close of an error."""

from collections.abc import Callable, Mapping
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
from fastapi_stepup.errors import ConfigurationError, StepUpError, StepUpRequired
from fastapi_stepup.events import ReportOnly
from fastapi_stepup.guard.paths import paths_of

POLICY_VIOLATION: Final = 1008
PROBLEM_MEDIA_TYPE: Final = "application/problem+json"

_DENIAL: Final = "websocket.http.response"


@dataclass(frozen=True, slots=True)
class StepUpEndpoints:
    """The routes of one mounted helper router, and what it offers.

    Args:
        methods: What challenges list, in order.
        uris: For each kind of method the names of its routes, by what a challenge calls them.
        status_name: The name of the status route, if challenges shall name it.
        flow_id: The Descope flow that front ends may run instead, if any.
    """

    methods: tuple[str, ...]
    uris: Mapping[str, Mapping[str, str]]
    status_name: str | None
    flow_id: str | None

    def described(self, connection: HTTPConnection) -> dict[str, Any] | None:
        """Return the problem's `step_up` member; `None` where the routes are not in the app."""
        names = [name for uris in self.uris.values() for name in uris.values()]
        if self.status_name is not None:
            names.append(self.status_name)
        paths = paths_of(connection, *names)
        return None if paths is None else self._member(dict(zip(names, paths, strict=True)).get)

    def _member(self, path_of: Callable[[str], str | None]) -> dict[str, Any]:
        paths = {
            method: {uri: path_of(name) for uri, name in names.items()}
            for method, names in self.uris.items()
        }
        # The contract's two members are those of OTP; every other method is under its own name.
        member: dict[str, Any] = {**paths.pop("otp", {}), "methods": list(self.methods)}
        if self.status_name is not None:
            member["status_uri"] = path_of(self.status_name)
        if self.flow_id is not None:
            member["flow_id"] = self.flow_id
        if paths:
            member["uris"] = paths
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

    def shaped(
        self, connection: HTTPConnection, error: StepUpError
    ) -> StepUpError | WebSocketException:
        """Return what to raise for *error*: complete, and in the way that *connection* can take.

        A WebSocket that cannot be answered over HTTP gets close code 1008 and the problem code: it
        is accepted already, or the server lacks the denial extension.
        """
        step_up = self._step_up_member(connection) if isinstance(error, StepUpRequired) else None
        error.bind(realm=self.realm, **({} if step_up is None else {"step_up": step_up}))
        if connection.scope["type"] == "websocket":
            state = getattr(connection, "application_state", WebSocketState.CONNECTING)
            if state is not WebSocketState.CONNECTING or not can_be_answered(connection.scope):
                return WebSocketException(POLICY_VIOLATION, reason=error.code)
        if _is_left_to_starlette(connection, error):
            # Its own handler writes any body as text.
            error.headers = {**error.headers, "Content-Type": PROBLEM_MEDIA_TYPE}
        # The frames it went through hold the token, which error reporters collect.
        return error.with_traceback(None)

    def _step_up_member(self, connection: HTTPConnection) -> dict[str, Any] | None:
        """Return where to step up, as paths of this app."""
        for endpoints in self._endpoints:
            member = endpoints.described(connection)
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

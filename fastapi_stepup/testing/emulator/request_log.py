"""RequestLog: records requests and makes ordered failures."""

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastapi_stepup.testing.emulator.errors import (
    INVALID_TOKEN,
    MALFORMED,
    RATE_LIMITED,
    SERVER_ERROR,
    ErrorReply,
    Refusal,
)
from fastapi_stepup.testing.emulator.models import ReceivedRequest

_KNOWN_ERRORS: Final = {error.status: error for error in (INVALID_TOKEN, RATE_LIMITED)}


@dataclass
class _Failure:
    status: int
    times: int
    path: str
    body: bytes
    headers: Mapping[str, str]


class RequestLog:
    """Records every request and answers some with an ordered failure.

    Attributes:
        requests: The received requests, oldest first.
    """

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self._failures: list[_Failure] = []
        self._lock = threading.Lock()

    def fail(
        self,
        status: int,
        times: int,
        retry_after: int | None,
        *,
        path: str,
        code: str | None,
        body: bytes | None,
    ) -> None:
        """Order failures, as `DescopeEmulator.fail` says."""
        if status in _KNOWN_ERRORS:
            known = _KNOWN_ERRORS[status]
        else:
            known = SERVER_ERROR if status >= SERVER_ERROR.status else MALFORMED
        error = ErrorReply(status, code or known.code, known.description)
        refusal = Refusal(error, retry_after=retry_after)
        reply = JSONResponse(refusal.body, status, refusal.headers)
        headers = {"content-type": "application/json", **refusal.headers}
        content = bytes(reply.body) if body is None else body
        with self._lock:
            self._failures.append(_Failure(status, times, path, content, headers))

    def renew_lock(self) -> None:
        """Take a new lock: a thread of the parent process may hold the present one."""
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Remove requests and failures."""
        with self._lock:
            self.requests.clear()
            self._failures.clear()

    async def handle(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Record one request, then answer it by *app* or by the failure that is due."""
        request = Request(scope, receive)
        body = await request.body()

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await (self._failed(request, body) or app)(scope, replay, send)

    def _failed(self, request: Request, body: bytes) -> Response | None:
        """Record the request and return the failure that is due, if any."""
        try:
            decoded = json.loads(body)
        except ValueError:
            decoded = None
        path = route_of(request.scope)
        received = ReceivedRequest(
            request.method, path, request.url.query, dict(request.headers), decoded
        )
        with self._lock:
            self.requests.append(received)
            for failure in self._failures:
                if failure.times > 0 and path.startswith(failure.path):
                    failure.times -= 1
                    return Response(failure.body, failure.status, failure.headers)
        return None


def tidy(scope: Scope) -> Scope:
    """Return *scope* with doubled slashes in its path made one.

    The Python SDK joins base URL and path as text, so a trailing slash doubles one.
    """
    return {**scope, "path": re.sub("//+", "/", scope["path"])}


def route_of(scope: Scope) -> str:
    """Return the path below the emulator's mount point."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))

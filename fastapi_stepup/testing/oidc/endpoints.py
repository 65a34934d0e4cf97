"""The URLs of an emulated issuer: metadata and keys, the requests to them, and their faults."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import anyio
import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from fastapi_stepup.testing.emulator.models import ReceivedRequest

Fault: TypeAlias = Literal["unreachable", "slow", "redirect", "big", "not_json"]
"""The ways, besides an HTTP status, in which an emulated issuer fails."""

_SLOW_SECONDS: Final = 60
_BIG: Final = 1024 * 1024


@dataclass
class _Ordered:
    fault: Fault | int
    times: int | None
    path: str


class Endpoints:
    """An ASGI app of GET endpoints, found by their whole URL, with ordered faults.

    Args:
        documents: Returns the JSON document of each URL as it is at the moment.

    Attributes:
        requests: The received requests, oldest first.
    """

    def __init__(self, documents: Callable[[], Mapping[str, object]]) -> None:
        self.requests: list[ReceivedRequest] = []
        self._documents = documents
        self._ordered: list[_Ordered] = []
        self._lock = threading.Lock()

    def fail(self, fault: Fault | int, times: int | None, path: str) -> None:
        """Order a fault, as `OIDCIssuer.fail` says."""
        if not isinstance(fault, int) and fault not in get_args(Fault):
            raise ValueError(f"A fault is an HTTP status or one of {', '.join(get_args(Fault))}.")
        with self._lock:
            self._ordered.append(_Ordered(fault, times, path))

    def recover(self) -> None:
        """Drop all ordered faults."""
        with self._lock:
            self._ordered.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record one request, then answer it with its document or with the fault that is due."""
        request = Request(scope, receive)
        headers = dict(request.headers)
        received = ReceivedRequest(
            request.method, request.url.path, request.url.query, headers, json=None
        )
        with self._lock:
            self.requests.append(received)
            fault = self._due(received.path)
        response = self._document(request) if fault is None else await _failed(fault)
        await response(scope, receive, send)

    def _due(self, path: str) -> Fault | int | None:
        for ordered in self._ordered:
            if ordered.times != 0 and path.startswith(ordered.path):
                if ordered.times is not None:
                    ordered.times -= 1
                return ordered.fault
        return None

    def _document(self, request: Request) -> Response:
        documents = self._documents()
        url = str(request.url)
        if url not in documents:
            return JSONResponse({"error": "not_found"}, 404)
        if request.method != "GET":
            return JSONResponse({"error": "method_not_allowed"}, 405, {"Allow": "GET"})
        content = json.dumps(documents[url])
        return Response(content, media_type="application/json")


async def _failed(fault: Fault | int) -> Response:
    if fault == "unreachable":
        raise httpx.ConnectError("The emulated issuer is down.")
    if fault == "slow":
        await anyio.sleep(_SLOW_SECONDS)
        return Response(status_code=504)
    if fault == "redirect":
        return Response(status_code=302, headers={"Location": "https://elsewhere.example/"})
    if fault == "big":
        return Response(b'{"padding":"' + b"x" * _BIG + b'"}', media_type="application/json")
    if fault == "not_json":
        return Response("<!doctype html><title>Sign in</title>", media_type="text/html")
    return JSONResponse({"error": "server_error"}, fault)

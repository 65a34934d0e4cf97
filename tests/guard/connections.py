"""Connections as a server hands them on, and what a reader makes of them."""

import time
import traceback
from types import TracebackType
from typing import Any

from starlette.requests import HTTPConnection, Request

from fastapi_stepup import errors
from fastapi_stepup.guard.credentials import CredentialReader

ANN = "ann@example.com"


PROJECT = "P2abcdefghijklmnopqrstuvwxyz"


class Clock:
    """The real time, and some more."""

    ahead = 0.0

    def __call__(self) -> float:
        """Return epoch seconds."""
        return time.time() + self.ahead


def request_with(headers: dict[str, str], **scope: Any) -> Request:
    """Return a request with *headers*."""
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    given = {"type": "http", "method": "POST", "path": "/pay", "headers": fields}
    return Request(given | scope)


Header = tuple[str, str]


SAME: Header = ("sec-fetch-site", "same-origin")


HOST: Header = ("host", "app.example.com")


def connection(
    *headers: Header, method: str = "GET", scheme: str = "https", kind: str = "http"
) -> HTTPConnection:
    """Return a connection as a server hands it on: raw bytes, in this order."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    scope: dict[str, Any] = {"type": kind, "scheme": scheme, "path": "/", "headers": raw}
    if kind == "http":
        scope["method"] = method
    return HTTPConnection(scope)


def read(reader: CredentialReader, given: HTTPConnection) -> str | type[Exception]:
    """Return the token that *given* presents, or the kind of refusal."""
    try:
        return reader.read(given).token
    except errors.StepUpError as error:
        return type(error)


def locals_of_ours(frames: TracebackType | None) -> str:
    """Return the `repr` of every local variable in a frame of the package."""
    return "\n".join(
        repr(frame.f_locals)
        for frame, _ in traceback.walk_tb(frames)
        if "/fastapi_stepup/" in frame.f_code.co_filename
    )

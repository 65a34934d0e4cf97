"""Exposing `WWW-Authenticate` to pages of other origins."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import Message

_EXPOSE: Final = "Access-Control-Expose-Headers"
_REFUSALS: Final = frozenset({400, 401, 429, 503})
_FIELDS: Final = ("WWW-Authenticate", "Retry-After")


def expose_challenge(message: Message) -> None:
    """Let a cross-origin page read `WWW-Authenticate` and `Retry-After` of a refusal.

    Only where CORS already lets the page read the answer; what is exposed already stays.

    References:
        Fetch standard, section 3.3.6; RFC 9449 section 7.1.
    """
    if message["status"] not in _REFUSALS:
        return
    headers = MutableHeaders(scope=message)
    exposed = [part.strip() for part in headers.get(_EXPOSE, "").split(",")]
    known = {part.lower() for part in exposed}
    added = [name for name in _FIELDS if name in headers and name.lower() not in known]
    if added and "access-control-allow-origin" in headers:
        headers[_EXPOSE] = ", ".join([*filter(None, exposed), *added])

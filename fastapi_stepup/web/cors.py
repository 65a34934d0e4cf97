"""Exposing `WWW-Authenticate` to pages of other origins."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EXPOSE: Final = "Access-Control-Expose-Headers"
_REFUSALS: Final = frozenset({400, 401, 429, 503})
_FIELDS: Final = ("WWW-Authenticate", "Retry-After")


class ChallengeExposure:
    """Adds `WWW-Authenticate` and `Retry-After` to what a cross-origin page may read of a refusal.

    Only where CORS already lets the page read the answer; what is exposed already stays.

    Args:
        app: The app whose answers pass through.

    References:
        Fetch standard, section 3.3.6; RFC 9449 section 7.1.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _REFUSALS:
                headers = MutableHeaders(scope=message)
                exposed = [part.strip() for part in headers.get(_EXPOSE, "").split(",")]
                known = {part.lower() for part in exposed}
                added = [n for n in _FIELDS if n in headers and n.lower() not in known]
                if added and "access-control-allow-origin" in headers:
                    headers[_EXPOSE] = ", ".join([*filter(None, exposed), *added])
            await send(message)

        await self.app(scope, receive, sending)

"""Cache headers of replies that depend on a credential."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

_APP_HAS_SPOKEN: Final = ("cache-control", "expires", "pragma")


def keep_private(message: Message) -> None:
    """Let only the user's own cache keep the reply that starts with *message*.

    Adds `Cache-Control: private` and `Vary: Authorization, Cookie` (RFC 9111 section 5.2.2.7). Does
    nothing where the app has said something about caching itself.
    """
    headers = MutableHeaders(scope=message)
    if not any(name in headers for name in _APP_HAS_SPOKEN):
        headers["Cache-Control"] = "private"
        for name in ("Authorization", "Cookie"):
            headers.add_vary_header(name)


def keeping_private(send: Send) -> Send:
    """Return *send*, but for a reply that depends on a credential."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            keep_private(message)
        await send(message)

    return sending

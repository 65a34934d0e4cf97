"""Cache headers of replies that depend on a credential."""

from collections.abc import Awaitable
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

_APP_HAS_SPOKEN: Final = frozenset({b"cache-control", b"expires", b"pragma"})
_PRIVATE: Final = (b"cache-control", b"private")
_VARY: Final = (b"vary", b"Authorization, Cookie")


def keep_private(message: Message) -> None:
    """Let only the user's own cache keep the reply that starts with *message*.

    Adds `Cache-Control: private` and `Vary: Authorization, Cookie` (RFC 9111 section 5.2.2.7). Does
    nothing where the app has said something about caching itself.
    """
    fields = list(message.get("headers", ()))
    names = {name.lower() for name, _ in fields}
    if not _APP_HAS_SPOKEN.isdisjoint(names):
        return
    # The usual case without `MutableHeaders`, which goes through all fields seven times.
    message["headers"] = [*fields, _PRIVATE] if b"vary" in names else [*fields, _PRIVATE, _VARY]
    if b"vary" in names:
        headers = MutableHeaders(scope=message)
        for name in ("Authorization", "Cookie"):
            headers.add_vary_header(name)


def keeping_private(send: Send) -> Send:
    """Return *send*, but for a reply that depends on a credential."""

    def sending(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            keep_private(message)
        return send(message)

    return sending

"""DocsLayer: Swagger UI that answers challenges and signs users of an emulator in."""

import re
from collections.abc import Callable
from html import escape
from typing import Any, Final

from starlette._utils import get_route_path
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastapi_stepup._json import parse_object
from fastapi_stepup.browser.assets import respond_docs_script
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.paths import of_this_host
from fastapi_stepup.providers.descope.client import DescopeClient
from fastapi_stepup.providers.descope.emulated import is_emulated, sign_in_on_emulator
from fastapi_stepup.web.dependencies import SCHEME_NAME
from fastapi_stepup.web.host_names import hostname_in, is_local_name, is_rebound

_MAX_BODY: Final = 4096
_NONCE: Final = re.compile(r"'nonce-([A-Za-z0-9+/_=-]+)'")
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


def docs_path(app: Any, docs: bool | str) -> str:  # noqa: FBT001  # as it was given
    """Return the path of the app's Swagger UI.

    Raises:
        ConfigurationError: The app has none, or *docs* is no path.
    """
    path = getattr(app, "docs_url", None) if docs is True else docs
    if isinstance(path, str) and _PATH.fullmatch(path):
        return path
    msg = (
        "docs=True needs an app with Swagger UI: FastAPI(docs_url=…). A page of your own is named "
        'by its path: docs="/docs".'
    )
    raise ConfigurationError(msg)


class DocsLayer:
    """Adds a script to the page of Swagger UI, and serves what that script needs.

    - The script answers challenges by the dialog of `stepup.js`, and sends the request once more.
    - On an emulator the dialog "Authorize" signs its users in. Anywhere else it takes a refresh
      token, and nothing signs anybody in. Pages of other sites cannot sign in either.
    - The page loads two files from below its own path, which need no session. Its own
      `Content-Security-Policy` stays; a nonce of it is put on the script.

    Does not make the page itself: that is FastAPI's, or the app's own.

    Args:
        app: The app inside.
        path: The path of the page.
        guard: The guard whose sessions the page uses.
    """

    def __init__(self, app: ASGIApp, *, path: str, guard: StepUpGuard) -> None:
        self.app = app
        self.path = path
        self.guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        path = get_route_path(scope) if scope["type"] == "http" else ""
        if path == self.path:
            await self._serve_page(scope, receive, send)
            return
        if path.startswith(f"{self.path}/"):
            response = await self._response(path.removeprefix(f"{self.path}/"), scope, receive)
            if response is not None:
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _response(self, name: str, scope: Scope, receive: Receive) -> Response | None:
        """Return the answer to a request of the script, `None` if it is for the app."""
        request = Request(scope, receive)
        if name == "sign-in" and request.method == "POST":
            return await self._sign_in(request)
        if request.method in {"GET", "HEAD"}:
            return await respond_docs_script(name, request)
        return None

    async def _sign_in(self, request: Request) -> Response:
        no_store = {"Cache-Control": "no-store"}
        # Not a type that a form or a script of another site could send unasked.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return Response(status_code=415, headers=no_store)
        if _is_foreign(request):
            return Response(status_code=403, headers=no_store)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY:
                return Response(status_code=413, headers=no_store)
        login_id = (parse_object(body) or {}).get("login_id")
        if not isinstance(login_id, str) or not login_id:
            return Response(status_code=422, headers=no_store)
        descope = self._emulated()
        tokens = None if descope is None else await sign_in_on_emulator(descope, login_id)
        if tokens is None:
            return Response(status_code=404, headers=no_store)
        return JSONResponse(tokens, headers=no_store)

    def _emulated(self) -> DescopeClient | None:
        """Return the client of the emulator that the guard is on at the moment, if it is."""
        descope: DescopeClient | None = getattr(self.guard, "descope", None)  # or another issuer
        return descope if descope is not None and is_emulated(descope) else None

    async def _serve_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Uncompressed, so that a tag can be put in.
        fields = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        page = Page(send, lambda headers: self._tag(scope, headers))
        await self.app({**scope, "headers": fields}, receive, page.send)

    def _tag(self, scope: Scope, headers: Headers) -> bytes:
        base = of_this_host(scope.get("root_path", ""), self.path)
        if base is None:
            return b""
        attributes = {
            "src": f"{base}/swagger-ui-stepup.js",
            "data-scheme": SCHEME_NAME,
            "data-stepup": f"{base}/stepup.js",
        }
        if self._emulated() is not None:
            attributes["data-sign-in"] = f"{base}/sign-in"
        if nonce := _NONCE.search(headers.get("Content-Security-Policy", "")):
            attributes["nonce"] = nonce[1]
        shown = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
        return f"<script {shown}></script>".encode()


def _is_foreign(request: Request) -> bool:
    """Return whether a page of another site sends *request*, as far as the browser says."""
    if is_rebound(request.scope):
        return True
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    if site is not None or origin is None:
        return site not in {None, "same-origin"}
    # A proxy for development may have changed the host.
    host = request.headers.get("host", "")
    return origin.partition("://")[2] != host and not is_local_name(hostname_in(origin))


class Page:
    """Takes a reply and passes it on, with a tag behind `<head>` if it is a page of Swagger UI.

    Args:
        send: Where it goes.
        tag: Makes the tag from the header fields of the reply.
    """

    def __init__(self, send: Send, tag: Callable[[Headers], bytes]) -> None:
        self._send = send
        self._tag = tag
        self._start: Message = {}
        self._body = b""

    async def send(self, message: Message) -> None:
        """Take one message; an HTML reply is kept until it is complete."""
        if message["type"] == "http.response.start":
            media_type = Headers(raw=message["headers"]).get("content-type", "")
            if media_type.startswith("text/html"):
                self._start = message
                return
        if not self._start:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        headers = MutableHeaders(raw=list(self._start["headers"]))
        body = self._body
        if b"SwaggerUIBundle" in body:
            body = body.replace(b"<head>", b"<head>" + self._tag(headers), 1)
            headers["Content-Length"] = str(len(body))
        await self._send({**self._start, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})

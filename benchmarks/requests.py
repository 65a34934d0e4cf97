"""The apps that are measured, and requests to them without a server in between."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import APIKeyHeader
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from fastapi_stepup import Claims, RequireSession, StepUpGuard

Message = MutableMapping[str, Any]


def scope_for(path: str, token: str | None) -> dict[str, Any]:
    """Return a fresh ASGI scope of a `GET`, with the fields that a browser's `fetch` sends."""
    headers = [
        (b"host", b"api.example"),
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"),
        (b"accept", b"application/json"),
        (b"accept-language", b"en-GB,en;q=0.5"),
        (b"accept-encoding", b"gzip, deflate, br, zstd"),
        (b"sec-fetch-mode", b"cors"),
        (b"sec-fetch-site", b"same-origin"),
    ]
    if token is not None:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    if message.get("status", 200) != 200:
        raise AssertionError(message)


def getter(app: ASGIApp, path: str, token: str | None = None) -> Callable[[], Awaitable[None]]:
    """Return what makes one `GET` of *path*; any answer but a 200 is an error."""

    async def get() -> None:
        await app(scope_for(path, token), _receive, _send)

    return get


async def read_header(connection: HTTPConnection) -> str:
    """Read the `Authorization` field and nothing else: the least that a dependency can do."""
    return connection.headers["authorization"]


async def refuse(connection: HTTPConnection) -> str:
    """Refuse whatever comes, as FastAPI's documentation shows it."""
    raise HTTPException(401, connection.headers["authorization"][:6])


def app_with(guard: StepUpGuard) -> FastAPI:
    """Return an app with one route of each kind, whose handlers all do the same.

    `/guarded` asks for a session, `/header` reads the field only, `/scheme` does so with FastAPI's
    own `APIKeyHeader`, which FastAPI treats as it treats ours, for the sake of the documentation;
    `/refused` answers 401 to all, and `/public` depends on nothing.
    """
    app = FastAPI()

    @app.get("/guarded")
    async def guarded(_: Annotated[Claims, Depends(RequireSession(guard))]) -> dict[str, str]:
        return {"order": "12"}

    @app.get("/header")
    async def header(_: Annotated[str, Depends(read_header)]) -> dict[str, str]:
        return {"order": "12"}

    @app.get("/scheme")
    async def scheme(
        _: Annotated[str, Depends(APIKeyHeader(name="Authorization"))],
    ) -> dict[str, str]:
        return {"order": "12"}

    @app.get("/refused")
    async def refused(_: Annotated[str, Depends(refuse)]) -> dict[str, str]:
        return {"order": "12"}

    @app.get("/public")
    async def public() -> dict[str, str]:
        return {"order": "12"}

    return app

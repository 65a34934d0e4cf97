"""The apps that are measured, and requests to them without a server in between."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import APIKeyHeader
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from fastapi_stepup import RequireSession, RequireStepUp, StepUpGuard

Message = MutableMapping[str, Any]

_FIELDS: Final = [
    (b"host", b"api.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-GB,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"sec-fetch-mode", b"cors"),
    (b"sec-fetch-site", b"same-origin"),
]


def scope_for(path: str, token: str, *, field: str = "bearer") -> dict[str, Any]:
    """Return a fresh ASGI scope of a `GET`, with the fields that a browser's `fetch` sends.

    Args:
        path: The path.
        token: A session token.
        field: How it comes: as a `bearer`, or as a `cookie`.
    """
    presented = (
        (b"authorization", f"Bearer {token}".encode())
        if field == "bearer"
        else (b"cookie", f"theme=dark; DS={token}".encode())
    )
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
        "headers": [*_FIELDS, presented],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    if message.get("status", 200) != 200:
        raise AssertionError(message)


async def request(app: ASGIApp, path: str, token: str, *, field: str = "bearer") -> None:
    """Make one `GET` of *path*; any answer but a 200 is an error."""
    await app(scope_for(path, token, field=field), _receive, _send)


async def read_header(connection: HTTPConnection) -> str:
    """Read the `Authorization` field and nothing else: the least that a dependency can do."""
    return connection.headers["authorization"]


async def read_cookies(connection: HTTPConnection) -> str:
    """Read the `Cookie` field and nothing else."""
    return connection.headers["cookie"]


async def _refuse(connection: HTTPConnection) -> str:
    """Refuse whatever comes, as FastAPI's documentation shows it."""
    raise HTTPException(401, connection.headers["authorization"][:6])


def decoding(decode: Callable[[str], object]) -> Callable[[HTTPConnection], Awaitable[object]]:
    """Return the dependency that people write with PyJWT."""

    async def decoded(connection: HTTPConnection) -> object:
        return decode(connection.headers["authorization"].removeprefix("Bearer "))

    return decoded


def apps_with(
    guard: StepUpGuard, decode: Callable[[str], object] | None = None
) -> dict[str, FastAPI]:
    """Return apps by the one path that each of them has: routes further down cost more.

    The handlers all do the same. `/guarded` asks for a session and `/stepped` for a step-up.
    `/header` and `/cookie` read that field only, `/scheme` does so with FastAPI's own
    `APIKeyHeader`, which FastAPI treats as it treats ours, for the sake of the documentation.
    `/decode` calls *decode*, `/refused` answers 401 to all, and `/public` depends on nothing.
    """
    scheme = APIKeyHeader(name="Authorization")
    apps = {
        "/guarded": _app("/guarded", RequireSession(guard)),
        "/stepped": _app("/stepped", RequireStepUp(guard, max_age="30m", amr="email")),
        "/header": _app("/header", read_header),
        "/cookie": _app("/cookie", read_cookies),
        "/scheme": _app("/scheme", scheme),
        "/refused": _app("/refused", _refuse),
        "/public": _app("/public", None),
    }
    if decode is not None:
        apps["/decode"] = _app("/decode", decoding(decode))
    return apps


def _app(path: str, dependency: Callable[..., Any] | None) -> FastAPI:
    app = FastAPI()
    if dependency is None:

        @app.get(path)
        async def public() -> dict[str, str]:
            return {"order": "12"}

        return app

    @app.get(path)
    async def dependent(_: Annotated[Any, Depends(dependency)]) -> dict[str, str]:
        return {"order": "12"}

    return app

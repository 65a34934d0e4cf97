"""Hostile requests, and an app that they attack: in process, or served by a real server.

`python -m tests.support.attack_requests uvicorn-h11 8000` serves it. Its tokens are good for itself
only.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal
from urllib.parse import unquote

import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from fastapi_stepup import StepUpGuard, StepUpMiddleware, StepUpPolicy, StepUpRule, install
from fastapi_stepup.testing import DescopeEmulator

SECRET: Final = "handler data"
METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


@dataclass(frozen=True)
class Sent:
    """A request without a token, as it is written on the wire.

    Args:
        target: The request target, percent-encoded.
        method: The method.
        fields: Header fields besides `Host`; a `Host` here takes its place.
        answers: The statuses that a server may answer; servers differ in what they parse.
    """

    target: str
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()
    answers: tuple[int, ...] = (401,)

    @property
    def raw(self) -> bytes:
        """The bytes of the request; its connection ends with the answer."""
        defaults = {"Host": "shop.example", "Connection": "close"}
        given = {name for name, _ in self.fields}
        fields = [*((n, v) for n, v in defaults.items() if n not in given), *self.fields]
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{n}: {v}" for n, v in fields)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    @property
    def scope(self) -> dict[str, Any]:
        """The ASGI scope of the request, from a server that lets everything through."""
        path, _, query = self.target.partition("?")
        fields = (*self.fields, ("Host", "shop.example"))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(n.lower().encode(), v.encode("latin-1")) for n, v in fields],
            "client": ("192.0.2.1", 50000),
            "server": ("shop.example", 80),
        }


UNPARSED: Final = (400, 401, 404, 405, 501)
PREFLIGHT: Final = (
    ("Origin", "https://evil.example"),
    ("Access-Control-Request-Method", "POST"),
)


def _rows(number: str, *sent: Sent) -> dict[str, Sent]:
    return {f"{number}-{index}": each for index, each in enumerate(sent, 1)}


def _targets(number: str, *targets: str, answers: tuple[int, ...] = (401,)) -> dict[str, Sent]:
    return _rows(number, *(Sent(target, answers=answers) for target in targets))


def _hosts(number: str, *hosts: str) -> dict[str, Sent]:
    return _rows(
        number, *(Sent("/admin/pay", fields=(("Host", h),), answers=(400, 401)) for h in hosts)
    )


# Each by its number in the catalogue.
HOSTILE: Final = {
    **_targets("MW-001", "/admin/pay"),
    **_targets("MW-002", "/admin/pay/"),
    **_targets("MW-003", "//admin/pay", "/admin//pay", "///admin/pay", answers=UNPARSED),
    **_targets("MW-005", "/admin%2Fpay", "/%61dmin/pay", "/admin/%70ay"),
    **_targets("MW-006", "/admin%252Fpay", "/admin/%252e%252e/"),
    **_targets("MW-007", "/admin/pay%0a", "/admin/pay%0d", "/admin/pay%0d%0a"),
    **_targets("MW-009", "/adm%0ain/pay", "/admin%09/pay"),
    **_targets("MW-010", "/n/5%0a"),
    **_targets(
        "MW-011",
        "/admin/./pay",
        "/x/../admin/pay",
        "/health/../admin/pay",
        "/health/%2e%2e/admin/pay",
        "/%2e/admin/pay",
        "/admin/pay/.",
        answers=UNPARSED,
    ),
    **_targets("MW-013", "/admin\\pay", "/admin%5Cpay", answers=UNPARSED),
    **_targets("MW-014", "/admin/pay%3Fx", "/admin/pay#x", "/admin/pay%23", answers=UNPARSED),
    **_targets("MW-015", "http://evil.example/admin/pay", "//evil/admin/pay", answers=UNPARSED),
    **_targets("MW-015-relative", "admin/pay", "*", "", answers=UNPARSED),
    **_hosts(
        "MW-017", "localhost/health?x=", "a@b", "ex ample", "", "internal.example", "shop.example."
    ),
    **_rows(
        "MW-017-two",
        Sent("/admin/pay", fields=(("Host", "a"), ("Host", "b")), answers=(400, 401)),
    ),
    **_rows(
        "MW-018",
        Sent("/admin/pay", fields=(("X-Original-URL", "/health"),)),
        Sent("/admin/pay", fields=(("X-Rewrite-URL", "/health"),)),
        Sent("/admin/pay", fields=(("X-Forwarded-Prefix", "/health"),)),
        Sent("/admin/pay", fields=(("X-Forwarded-Uri", "/health"), ("Script-Name", "/admin"))),
    ),
    **_rows(
        "MW-019",
        Sent("/admin/pay", "POST", (("X-HTTP-Method-Override", "GET"), ("Content-Length", "0"))),
        Sent("/admin/pay?_method=GET", "POST", (("Content-Length", "0"),)),
    ),
    **_rows(
        "MW-021",
        *(
            Sent("/admin/pay", method, answers=UNPARSED)
            for method in ("get", "GET ", "FOO", "TRACE", "CONNECT", "PROPFIND", "QUERY", "post")
        ),
        Sent("/graphql/", "FOO", answers=UNPARSED),
        Sent("/graphql/", "get", answers=UNPARSED),
    ),
    **_rows("MW-021-head", Sent("/admin/pay", "HEAD"), Sent("/graphql/", "HEAD")),
    **_rows("MW-022", Sent("/admin/pay", "OPTIONS"), Sent("/graphql/", "OPTIONS")),
    **_rows(
        "MW-025",
        Sent("/admin/pay", "OPTIONS", PREFLIGHT),
        Sent("/graphql/", "OPTIONS", PREFLIGHT),
    ),
    **_targets("MW-027", "/sub/pay", "/sub//pay", "/sub/pay%0a"),
    **_targets("MW-030", "/healthz", "/health%2f..%2fadmin/pay", "/health/..%5cadmin/pay"),
    **_targets("MW-031", "/docs/", "/docsx", "/docs%00", answers=(400, 401)),
    **_targets("MW-033", "/pay/7", "/pay/%37"),
    **_targets("MW-034", "/files/a/../b", "/files/..%2f..%2fadmin", answers=UNPARSED),
    **_targets("MW-035", "/static/secret.txt", "/static//secret.txt", "/graphql/", "/graphql/x"),
    **_rows("MW-035-host", Sent("/hosted", fields=(("Host", "internal.example"),))),
    **_targets("MW-037", "/nothing", "/admin/nothing", "/"),
    **_targets("MW-039", "/openapi.json", "/redoc", "/docs/oauth2-redirect"),
    **_rows(
        "MW-047",
        Sent(
            "/admin/pay",
            fields=(
                ("X-User", "admin"),
                ("X-Descope-Claims", '{"su":true}'),
                ("fastapi_stepup.claims", "{}"),
            ),
        ),
    ),
    **_rows("HD-001", Sent("/admin/pay")),
    **_rows(
        "HD-021",
        *(
            Sent("/admin/pay", fields=((name, "Bearer x.y.z"),))
            for name in ("Proxy-Authorization", "X-Authorization", "X-Forwarded-Authorization")
        ),
    ),
    **_targets("HD-022", "/admin/pay?access_token=x.y.z", "/admin/pay?token=x.y.z"),
}


async def anything(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve as a GraphQL app would: whatever the method, whatever the path below."""
    await PlainTextResponse(SECRET)(scope, receive, send)


def hostile_app(guard: StepUpGuard, files: Path) -> FastAPI:
    """Return an app without a single dependency: the middleware is all that protects it.

    Public are `/docs` and `/health` with all below; `/whoami` asks for a session, all else for a
    step-up.
    """
    app = FastAPI()
    install(app, guard)
    app.add_middleware(
        StepUpMiddleware,
        guard=guard,
        rules=[
            StepUpRule("/health/*", "public"),
            StepUpRule("/docs", "public"),
            StepUpRule("/whoami", "session"),
        ],
        default=StepUpPolicy(),
    )

    @app.get("/health")
    def health() -> str:
        return "well"

    @app.api_route("/admin/pay", methods=METHODS)
    @app.get("/n/{number:int}")
    @app.get("/pay/{payment}")
    @app.get("/files/{path:path}")
    @app.get("/whoami")
    def secret() -> str:
        return SECRET

    @app.websocket("/ws")
    async def converse(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    sub = FastAPI()
    sub.add_api_route("/pay", secret)
    app.mount("/sub", sub)

    def hosted(request: Request) -> Response:
        return PlainTextResponse(SECRET)

    app.router.routes.append(Host("internal.example", Starlette(routes=[Route("/hosted", hosted)])))
    (files / "secret.txt").write_text(SECRET)
    app.mount("/static", StaticFiles(directory=files))
    app.mount("/graphql", anything)
    router = APIRouter(prefix="/included", routes=[Mount("/deep", anything)])
    app.include_router(router)
    return app


def serve_uvicorn(app: FastAPI, port: int, *, http: Literal["h11", "httptools"]) -> None:
    """Serve *app* with uvicorn on one of its parsers."""
    uvicorn.run(app, port=port, http=http, log_level="critical")


def serve_hypercorn(app: FastAPI, port: int) -> None:
    """Serve *app* with hypercorn."""
    import hypercorn.asyncio  # noqa: PLC0415  # of the extra interop

    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "CRITICAL"
    asyncio.run(hypercorn.asyncio.serve(app, config))  # type: ignore[arg-type]  # its own types


def serve_granian(app: FastAPI, port: int) -> None:
    """Serve *app* with granian."""
    import granian.server.embed as granian  # noqa: PLC0415  # of the extra interop
    from granian.constants import Interfaces  # noqa: PLC0415

    server = granian.Server(app, port=port, interface=Interfaces.ASGI, log_enabled=False)
    asyncio.run(server.serve())


SERVERS: Final[dict[str, Callable[[FastAPI, int], None]]] = {
    "uvicorn-h11": partial(serve_uvicorn, http="h11"),
    "uvicorn-httptools": partial(serve_uvicorn, http="httptools"),
    "hypercorn": serve_hypercorn,
    "granian": serve_granian,
}


def main(server: str, port: int) -> None:
    """Serve the app on loopback with *server*; the first line printed is a stepped-up token."""
    guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")
    descope = DescopeEmulator(project_id=guard.project_id)
    with TemporaryDirectory() as directory, descope.attach(guard):
        sys.stdout.write(descope.step_up("ann@example.com").session_token + "\n")
        sys.stdout.flush()
        SERVERS[server](hostile_app(guard, Path(directory)), port)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

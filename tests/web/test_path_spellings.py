"""Paths: no spelling of a protected path gets data, for routes of every shape."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote

import anyio
import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given, settings, strategies as st
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message

from fastapi_stepup import (
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
)
from fastapi_stepup.testing import DescopeEmulator
from tests.support.attack_requests import SECRET, Sent, anything

ANN = "ann@example.com"


class Endpoint(HTTPEndpoint):
    """An endpoint class."""

    async def get(self, request: Request) -> Response:
        """Answer."""
        return PlainTextResponse(SECRET)


def secret() -> str:
    """Answer for any parameters."""
    return SECRET


def plain(request: Request) -> Response:
    """Answer as a Starlette endpoint."""
    return PlainTextResponse(SECRET)


ROUTES = {
    "/exact": "/exact",
    "/with/slash/": "/with/slash/",
    "/deep/er/path": "/deep/er/path",
    "/pay/{id}": "/pay/7",
    "/two/{a}/and/{b}": "/two/1/and/2",
    "/int/{n:int}": "/int/5",
    "/float/{n:float}": "/float/1.5",
    "/uuid/{n:uuid}": "/uuid/00000000-0000-4000-8000-000000000000",
    "/rest/{p:path}": "/rest/a/b",
    "/middle/{p:path}/end": "/middle/a/b/end",
    "/suffix/{id}.json": "/suffix/1.json",
    "/dotted.path": "/dotted.path",
    "/.well-known/x": "/.well-known/x",
    "/käse": "/käse",
    "/Mixed/Case": "/Mixed/Case",
    "/semi;colon": "/semi;colon",
    "/a-b_c~d": "/a-b_c~d",
    "/tr{x}iple{y}": "/tr1iple2",
}
MOUNTED = {
    "/sub/pay": "/sub/pay",
    "/sub/{id}": "/sub/1",
    "/sub/deeper/pay": "/sub/deeper/pay",
    "/tenant/{tenant}/pay": "/tenant/t/pay",
    "/graphql/*": "/graphql/",
    "/graphql-like/*": "/graphql-like/query",
    "/bare/*": "/bare/pay",
    "/static/*": "/static/secret.txt",
    "/static/private/*": "/static/private/secret.txt",
    "/starlette": "/starlette",
    "/class": "/class",
    "/any": "/any",
    "/v1/included": "/v1/included",
    "/v1/v2/nested": "/v1/v2/nested",
    "/v1/twice": "/v1/twice",
    "/again/twice": "/again/twice",
    "/v1/mounted/*": "/v1/mounted/x",
    "/v1/starlette": "/v1/starlette",
    "/hosted": "/hosted",
    "/late": "/late",
    "/docs": "/docs",
    "/redoc": "/redoc",
    "/openapi.json": "/openapi.json",
}
SHAPES = ROUTES | MOUNTED
DATA = (SECRET.encode(), b"swagger-ui", b"openapi", b"redoc")


def shapes_app(files: Path) -> FastAPI:
    """Return an app with routes of every shape, none of which guards itself."""
    app = FastAPI()
    for template in ROUTES:
        app.add_api_route(template, secret)
    deeper = FastAPI()
    deeper.add_api_route("/pay", secret)
    sub = FastAPI(routes=[Mount("/deeper", deeper)])
    sub.add_api_route("/pay", secret)
    sub.add_api_route("/{id}", secret)
    app.mount("/sub", sub)
    app.mount("/tenant/{tenant}", Router(routes=[Route("/pay", plain)]))
    app.mount("/graphql", anything)
    app.mount("/graphql-like", Starlette(routes=[Mount("/", anything)]))
    app.mount("/bare", Router(routes=[Route("/pay", plain, methods=["POST", "GET"])]))
    (files / "private").mkdir(parents=True, exist_ok=True)
    for place in (files, files / "private"):
        (place / "secret.txt").write_text(SECRET)
    app.mount("/static", StaticFiles(directory=files))
    app.add_route("/starlette", plain)
    app.router.routes.append(Route("/class", Endpoint))
    app.router.routes.append(Route("/any", Router(default=anything)))
    nested = APIRouter(prefix="/v2")
    nested.add_api_route("/nested", secret)
    twice = APIRouter()
    twice.add_api_route("/twice", secret)
    router = APIRouter(prefix="/v1")
    router.add_api_route("/included", secret)
    router.include_router(nested)
    router.include_router(twice)
    router.add_route("/v1/starlette", plain)
    app.include_router(router)
    app.include_router(twice, prefix="/again")
    hosted = Starlette(routes=[Route("/hosted", plain)])
    app.mount("/v1/mounted", anything)
    app.add_api_route("/late", secret)
    app.router.routes.append(Host("shop.example", hosted))
    return app


def closed(guard: StepUpGuard, files: Path) -> ASGIApp:
    """Return the app behind nothing but the default."""
    return StepUpMiddleware(shapes_app(files), guard=guard)


def listed(guard: StepUpGuard, files: Path) -> ASGIApp:
    """Return the app open on purpose, but for a rule for each of its routes."""
    app = shapes_app(files)
    app.add_middleware(
        StepUpMiddleware,
        guard=guard,
        rules=[StepUpRule(template, StepUpPolicy()) for template in SHAPES],
        default="public",
    )
    return app


def spellings(path: str) -> list[str]:
    """Return what servers make of the catalogue's ways to write *path*."""
    head, _, tail = path[1:].partition("/")
    return [
        path,
        f"{path}/",
        f"/{path}",
        f"//{path}",
        path.replace("/", "//"),
        path[1:],
        f"{path}\n",
        f"{path}\r\n",
        f"{path}\0",
        f"{path}\x7f",
        f"{path}/.",
        f"/.{path}",
        f"/x/..{path}",
        f"/x/%2e%2e{path}",
        f"/{head}/./{tail}",
        f"/{head}//{tail}",
        f"/{head}\\{tail}",
        f"/{head[:1]}\n{head[1:]}/{tail}",
        f"/{head}\t/{tail}",
        f"/%{ord(path[1]):x}{path[2:]}",
        f"/{head}%2F{tail}",
        f"{path}?x",
        f"{path}#x",
        f"{path};x",
        f"{path}%20",
        f"{path} ",
        f"http://evil.example{path}",
        f"//evil.example{path}",
        path.upper(),
        path.swapcase(),
    ]


def data_from(app: ASGIApp, path: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """Return the status if a request for *path* gets data of a handler."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    scope = Sent("/", method, tuple(headers.items())).scope | {"path": path}
    anyio.run(app, scope, anyio.sleep_forever, send)  # type: ignore[arg-type]  # never returns
    body = b"".join(message.get("body", b"") for message in messages)
    return f"{messages[0]['status']} {path!r}" if any(d in body for d in DATA) else None


@pytest.fixture(scope="module")
def shapes_guard() -> StepUpGuard:
    """The guard of the apps of all shapes."""
    return StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")


@pytest.fixture(scope="module", params=[closed, listed])
def shapes(
    request: pytest.FixtureRequest,
    shapes_guard: StepUpGuard,
    tmp_path_factory: pytest.TempPathFactory,
) -> ASGIApp:
    """The app of all shapes, closed by default or where the rules list what is closed."""
    app: ASGIApp = request.param(shapes_guard, tmp_path_factory.mktemp("files"))
    return app


def test_every_shape_has_data(
    shapes: ASGIApp, shapes_guard: StepUpGuard, subtests: pytest.Subtests
) -> None:
    """With a token each of them answers, so there is something to protect."""
    for path in SHAPES.values():
        with (
            subtests.test(path=path),
            DescopeEmulator(shapes_guard.project_id).attach(shapes_guard) as descope,
        ):
            assert data_from(shapes, path, descope.step_up(ANN).headers) is not None


def test_no_spelling_of_a_path_gets_data(shapes: ASGIApp, subtests: pytest.Subtests) -> None:
    """Nor does another method."""
    for path in SHAPES.values():
        with subtests.test(path=path):
            found = [data_from(shapes, spelling, {}) for spelling in spellings(path)]
            methods = [
                data_from(shapes, path, {}, method) for method in ("HEAD", "get", "FOO", "POST")
            ]

            assert {*found, *methods} == {None}


def encoded(path: str, position: int) -> str:
    """Write one character as its percent-encoding."""
    at = position % len(path)
    return (
        path[:at]
        + quote(path[at], safe="").replace(path[at], f"%{ord(path[at]):02x}")
        + path[at + 1 :]
    )


def inserted(path: str, position: int, text: str) -> str:
    """Put *text* into the path."""
    at = position % (len(path) + 1)
    return path[:at] + text + path[at:]


def swapped(path: str, position: int) -> str:
    """Swap the case of one character."""
    at = position % len(path)
    return path[:at] + path[at].swapcase() + path[at + 1 :]


POSITIONS = st.integers(0, 60)
SLASHES = ["/", "//", "/./", "/../", "/x/../", "\\", "%2f", "\u2215", "\uff0f"]
CONTROLS = ["\n", "\r", "\t", "\0", "\x85", "\u2028", "\xad", "%0a", " "]
TEXTS = st.sampled_from(
    [*SLASHES, *CONTROLS, ";", "?", "#", "%", "%2e%2e/", "%25", ".", "..", "\u0130", "~", "*"]
)
MUTATIONS: st.SearchStrategy[Callable[[str], str]] = st.one_of(
    POSITIONS.map(lambda n: lambda path: encoded(path, n)),
    POSITIONS.map(lambda n: lambda path: swapped(path, n)),
    st.tuples(POSITIONS, TEXTS).map(lambda nt: lambda path: inserted(path, *nt)),
    st.tuples(POSITIONS, st.text(max_size=2)).map(lambda nt: lambda path: inserted(path, *nt)),
    st.just(str.upper),
    st.just(unquote),
    st.just(lambda path: quote(path, safe="")),
    st.just(lambda path: path.replace("/", "//")),
    st.just(lambda path: path.rstrip("/")),
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    path=st.sampled_from(list(SHAPES.values())),
    mutations=st.lists(MUTATIONS, min_size=1, max_size=4),
    decodings=st.integers(0, 2),
)
def test_no_mutation_of_a_path_gets_data(
    shapes: ASGIApp, path: str, mutations: list[Callable[[str], str]], decodings: int
) -> None:
    """For any spelling by a client, decoded any number of times."""
    for mutation in mutations:
        path = mutation(path) or "/"
    for _ in range(decodings):
        path = unquote(path)

    assert data_from(shapes, path, {}) is None

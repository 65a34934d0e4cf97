"""paths_of: the app's own paths, as a client of this host has to write them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, routing
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from fastapi_stepup.guard.paths import paths_of


async def here(request: Request) -> Response:
    """Answer the path of the route `there`."""
    return JSONResponse(paths_of(request, "there"))


async def there(request: Request) -> Response:
    """Answer that this is it."""
    return JSONResponse("there")


HERE = Route("/here", here)
THERE = Route("/to/there", there, name="there")


def starlette(*routes: BaseRoute) -> Starlette:
    """Return an app with *routes*."""
    return Starlette(routes=list(routes))


INCLUDES_MOUNTS = pytest.mark.skipif(
    not hasattr(routing, "iter_route_contexts"),
    reason="this FastAPI leaves mounts out where it includes a router",
)


def fastapi(prefix: str = "", mounted: Sequence[BaseRoute] = (), name: str = "there") -> FastAPI:
    """Return a FastAPI app whose routes are in an included router."""
    app, router = FastAPI(), APIRouter()
    router.add_api_route("/here", here, response_model=None)
    router.add_api_route("/to/there", there, response_model=None, name=name)
    router.routes.extend(mounted)
    app.include_router(router, prefix=prefix)
    return app


def opaque(inner: ASGIApp, below: str = "") -> ASGIApp:
    """Return an app that no other app can look into."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        root = scope.get("root_path", "") + below
        await inner({**scope, "root_path": root}, receive, send)

    return app


class Wrapped:
    """A middleware as people write them, which keeps the app in `app`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the connection on."""
        await self.app(scope, receive, send)


BOTH = starlette(HERE, THERE)
TENANTS = starlette(Mount("/{tenant}", BOTH))


@pytest.mark.parametrize(
    ("app", "page", "path"),
    [
        pytest.param(BOTH, "/here", "/to/there", id="plain"),
        pytest.param(starlette(Mount("/a", BOTH)), "/a/here", "/a/to/there", id="mount"),
        pytest.param(starlette(Mount("/a", BOTH, name="a")), "/a/here", "/a/to/there", id="named"),
        pytest.param(
            starlette(Mount("/a", starlette(Mount("/b", BOTH, name="b")), name="a")),
            "/a/b/here",
            "/a/b/to/there",
            id="named-in-named",
        ),
        pytest.param(
            starlette(Mount("/a", starlette(HERE)), Mount("/b", starlette(THERE), name="b")),
            "/a/here",
            "/b/to/there",
            id="in-a-sibling",
        ),
        pytest.param(
            starlette(Mount("/a", starlette(HERE), name="a"), THERE),
            "/a/here",
            "/to/there",
            id="in-the-outer",
        ),
        pytest.param(
            starlette(Mount("/a", routes=[HERE]), THERE),
            "/a/here",
            "/to/there",
            id="mounted-routes",
        ),
        pytest.param(TENANTS, "/acme/here", "/acme/to/there", id="parameter"),
        pytest.param(TENANTS, "/a%20b%3F/here", "/a%20b%3F/to/there", id="parameter-encoded"),
        pytest.param(
            starlette(Mount("/{tenant}", TENANTS)),
            "/x/acme/here",
            "/x/acme/to/there",
            id="parameter-twice",
        ),
        pytest.param(
            starlette(Mount("/{region}", TENANTS)),
            "/eu/acme/here",
            "/eu/acme/to/there",
            id="two-parameters",
        ),
        pytest.param(
            starlette(Mount("/{number:int}", BOTH)), "/007/here", "/7/to/there", id="int-parameter"
        ),
        pytest.param(
            starlette(Mount("/s/{tenant}", starlette(HERE)), Mount("/t/{tenant}", routes=[THERE])),
            "/s/acme/here",
            "/t/acme/to/there",
            id="parameter-in-a-sibling",
        ),
        pytest.param(
            starlette(Mount("/s", starlette(HERE)), Mount("/t/{tenant}", routes=[THERE])),
            "/s/here",
            None,
            id="parameter-that-the-request-lacks",
        ),
        pytest.param(
            starlette(Mount("/{tenant:path}", BOTH)), "/a/%2e%2e/here", None, id="dot-segments"
        ),
        pytest.param(TENANTS, "/{other}/here", "/%7Bother%7D/to/there", id="braces"),
        pytest.param(fastapi(), "/here", "/to/there", id="included"),
        pytest.param(fastapi("/v1"), "/v1/here", "/v1/to/there", id="included-with-prefix"),
        pytest.param(
            fastapi("/{tenant}"), "/acme/here", "/acme/to/there", id="included-with-parameter"
        ),
        pytest.param(
            fastapi("/v1", [Mount("/sub", routes=[HERE])]),
            "/v1/sub/here",
            "/v1/to/there",
            id="below-an-included-router",
            marks=INCLUDES_MOUNTS,
        ),
        pytest.param(
            fastapi("/v1", [Mount("/sub", routes=[THERE])], name="other"),
            "/v1/here",
            "/v1/sub/to/there",
            id="mounted-in-an-included-router",
            marks=INCLUDES_MOUNTS,
        ),
        pytest.param(
            starlette(Mount("/a", BOTH), Mount("/b", BOTH), THERE),
            "/b/here",
            "/b/to/there",
            id="nearest",
        ),
        pytest.param(
            starlette(Mount("/a", BOTH), Mount("/ab", BOTH)),
            "/ab/here",
            "/ab/to/there",
            id="nearest-by-segment",
        ),
        pytest.param(
            starlette(Mount("/a", CORSMiddleware(BOTH)), Mount("/b", starlette(HERE))),
            "/b/here",
            "/a/to/there",
            id="through-middleware",
        ),
        pytest.param(starlette(Mount("/a", opaque(BOTH))), "/a/here", "/a/to/there", id="opaque"),
        pytest.param(
            starlette(Mount("/a", opaque(starlette(Mount("/x", routes=[HERE]), THERE)))),
            "/a/x/here",
            "/a/to/there",
            id="mount-below-opaque",
        ),
        pytest.param(Wrapped(Wrapped(BOTH)), "/here", "/to/there", id="wrapped"),
        pytest.param(starlette(HERE), "/here", None, id="nowhere"),
        pytest.param(
            starlette(Mount("/files", StaticFiles(check_dir=False)), Mount("/a", BOTH)),
            "/a/here",
            "/a/to/there",
            id="beside-files",
        ),
        pytest.param(
            starlette(WebSocketRoute("/ws", there), Mount("/a", BOTH)),
            "/a/here",
            "/a/to/there",
            id="beside-a-websocket",
        ),
        pytest.param(
            starlette(Host("testserver", BOTH), Host("other.example", starlette(THERE))),
            "/here",
            "/to/there",
            id="host",
        ),
        pytest.param(
            starlette(Host("other.example", starlette(THERE)), HERE), "/here", None, id="other-host"
        ),
        pytest.param(Router([HERE, THERE]), "/here", "/to/there", id="router-alone"),
    ],
)
def test_path_leads_to_the_route(app: ASGIApp, page: str, path: str | None) -> None:
    """The one that this request can reach; or none, and never one that is not there."""
    for root_path in ("", "/behind/a-proxy"):
        client = TestClient(app, root_path=root_path)

        found = client.get(f"http://testserver{root_path}{page}").json()

        assert found == (path and [root_path + path])
        if path is not None:
            assert client.get(f"http://testserver{found[0]}").json() == "there"


@pytest.mark.parametrize("key", ["root_path", "app_root_path"])
def test_root_path_cannot_lead_to_another_host(key: str, subtests: pytest.Subtests) -> None:
    """What a proxy or a path parameter puts in front stays a path of this host."""
    rows: dict[str, tuple[str, str | None]] = {
        "two-slashes": ("//evil.example", "/evil.example/to/there"),
        "three-slashes": ("///evil.example", "/evil.example/to/there"),
        "backslash": ("/\\evil.example", "/%5Cevil.example/to/there"),
        "backslashes": ("\\\\evil.example", "/%5C%5Cevil.example/to/there"),
        "tab": ("/\t/evil.example", "/%09/evil.example/to/there"),
        "controls": ("/a\r\nb?c#d", "/a%0D%0Ab%3Fc%23d/to/there"),
        "scheme": ("https://evil.example", "/https://evil.example/to/there"),
        "surrogate": ("/\ud800", "/%3F/to/there"),
        "slash": ("/", "/to/there"),
        "slash-at-the-end": ("/shop/", "/shop/to/there"),
        "no-slash": ("shop", "/shop/to/there"),
        "dot-segments": ("/a/../b", None),
        "dot": ("/.", None),
    }
    for name, (root_path, path) in rows.items():
        with subtests.test(name):
            scope = {
                "type": "http",
                "path": "/here",
                "headers": [],
                "router": BOTH.router,
                key: root_path,
            }

            assert paths_of(HTTPConnection(scope), "there") == (path and (path,))


def test_parameter_that_the_route_cannot_have_is_no_path(subtests: pytest.Subtests) -> None:
    """A scope may hold anything under the parameter's name."""
    rows: list[str] = ["a/b", "", "..", "."]
    for value in rows:
        with subtests.test(value=value):
            scope = {"type": "http", "path": "/", "headers": [], "path_params": {"tenant": value}}

            assert paths_of(HTTPConnection(scope | {"app": TENANTS}), "there") is None


def test_value_is_not_read_as_a_template() -> None:
    """One parameter's value cannot pull in another's."""
    app = starlette(Mount("/{a}/{b}", BOTH))

    assert TestClient(app).get("/{b}/x/here").json() == ["/%7Bb%7D/x/to/there"]


def test_app_without_routes_has_no_paths(subtests: pytest.Subtests) -> None:
    """Neither as the outermost nor as the innermost."""
    rows: list[object] = [None, opaque(BOTH), 5]
    for app in rows:
        with subtests.test(app=app):
            scope = {"type": "http", "path": "/", "headers": [], "router": app, "app": app}

            assert paths_of(HTTPConnection(scope), "there") is None


@pytest.mark.parametrize("build", [starlette, lambda *r: fastapi("/v1", r)])
def test_all_names_or_none(build: Callable[..., Any]) -> None:
    """A half of them leads nowhere."""
    app = build(Route("/a", there, name="a"), Route("/b", there, name="b"))
    connection = HTTPConnection({"type": "http", "path": "/", "headers": [], "app": app})
    prefix = "/v1" if isinstance(app, FastAPI) else ""

    assert paths_of(connection, "a", "b") == (f"{prefix}/a", f"{prefix}/b")
    assert paths_of(connection, "a", "c") is None
    assert paths_of(connection) == ()

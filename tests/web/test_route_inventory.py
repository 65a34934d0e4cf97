"""`guarded_routes`: the entry points in front of each route, and the open routes."""

import functools
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from fastapi_stepup import (
    GuardedRoute,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    guarded_routes,
    requires_step_up,
    stepup_router,
)
from fastapi_stepup.testing import DescopeEmulator
from tests.support.attack_requests import SECRET, anything

POLICY = StepUpPolicy(max_age="5m")
PLAIN = StepUpPolicy()


def secret() -> str:
    """Answer."""
    return SECRET


def plain(request: Request) -> Response:
    """Answer as a Starlette endpoint."""
    return PlainTextResponse(SECRET)


async def chat(websocket: WebSocket) -> None:
    """Accept."""
    await websocket.accept()


def entry_points(app: Any, guard: StepUpGuard) -> dict[tuple[str, str], list[Any]]:
    """Return the entry points in front of each method of each path."""
    found = guarded_routes(app, guard)
    return {(r.path, method): list(r.entry_points) for r in found for method in r.methods}


def bare_fastapi(**options: Any) -> FastAPI:
    """Return an app without documentation routes."""
    return FastAPI(openapi_url=None, **options)


def test_dependencies(guard: StepUpGuard) -> None:
    """On the app, on routers, on routes, on included ones and below other dependencies."""
    step_up, session = RequireStepUp(guard, policy=POLICY), RequireSession(guard)

    class User:
        """A dependency that has one."""

        def __init__(self, claims: Annotated[Any, Security(session)]) -> None: ...

    app = bare_fastapi()
    router = APIRouter(prefix="/router", dependencies=[Depends(step_up)])
    router.add_api_route("/pay", secret, methods=["POST"])
    nested = APIRouter(prefix="/nested")
    nested.add_api_route("/{id}", secret, dependencies=[Depends(session)])
    router.include_router(nested)
    app.include_router(router, prefix="/v1")
    app.add_api_route("/me", secret, dependencies=[Depends(User)])
    app.add_api_route("/open", secret)
    app.add_api_websocket_route("/ws", chat, dependencies=[Depends(step_up)])

    by_dependency = ("dependency", POLICY)
    assert entry_points(app, guard) == {
        ("/v1/router/pay", "POST"): [by_dependency],
        ("/v1/router/nested/{id}", "GET"): [("dependency", "session"), by_dependency],
        ("/me", "GET"): [("dependency", "session")],
        ("/open", "GET"): [],
        ("/ws", "WEBSOCKET"): [by_dependency],
    }
    assert all(route.is_open for route in guarded_routes(app, StepUpGuard.for_descope("P2x")))


def test_an_app_whose_dependencies_guard_it_all(guard: StepUpGuard) -> None:
    """And the helper routes ask for a session, but for the status route."""
    app = bare_fastapi(dependencies=[Depends(RequireStepUp(guard))])
    app.add_api_route("/a", secret)

    assert entry_points(app, guard) == {("/a", "GET"): [("dependency", PLAIN)]}
    helper = FastAPI(routes=stepup_router(guard).routes)
    helping = [r for r in guarded_routes(helper, guard) if r.path.startswith("/step-up")]
    asked = {asked for r in helping if "status" not in r.path for asked in r.entry_points}
    assert asked == {("dependency", "session")}


def test_decorators(guard: StepUpGuard) -> None:
    """On functions, methods' classes and sockets; several, and below other decorators."""
    other = StepUpGuard.for_descope("P2x")

    guarded: Any = requires_step_up(guard)(requires_step_up(guard, POLICY)(plain))
    around: Any = functools.update_wrapper(functools.partial(guarded), guarded)

    class Endpoint(HTTPEndpoint):
        """An endpoint."""

        post = staticmethod(plain)

    class Socket(WebSocketEndpoint):
        """A socket."""

    marked: Any = requires_step_up(guard)(Endpoint)

    class Replaced(marked):  # type: ignore[misc]
        """A subclass that lost its guard."""

        dispatch = Endpoint.dispatch

    app = Starlette(
        routes=[
            Route("/function", guarded),
            Route("/around", around),
            Route("/class", marked),
            Route("/replaced", Replaced),
            Route("/unguarded", Endpoint, methods=["POST"]),
            Route("/foreign", requires_step_up(other)(plain)),
            WebSocketRoute("/socket", requires_step_up(guard)(Socket)),
            WebSocketRoute("/chat", requires_step_up(guard)(chat)),
        ]
    )
    by_decorator = ("decorator", PLAIN)
    expected: dict[tuple[str, str], list[Any]] = {
        ("/class", "POST"): [by_decorator],
        ("/replaced", "POST"): [],
        ("/unguarded", "POST"): [],
        ("/socket", "WEBSOCKET"): [by_decorator],
        ("/chat", "WEBSOCKET"): [by_decorator],
    }
    for method in ("GET", "HEAD"):
        expected["/function", method] = [by_decorator, ("decorator", POLICY)]
        expected["/around", method] = [by_decorator, ("decorator", POLICY)]
        expected["/foreign", method] = []
    assert entry_points(app, guard) == expected


RULES = [
    StepUpRule("/open/*", "public"),
    StepUpRule("/read", "public", methods=["GET"]),
    StepUpRule("/me/*", "session"),
    StepUpRule("/users/1", "public"),
    StepUpRule("/items/{id:int}", POLICY),
]


def test_middleware_rules(guard: StepUpGuard) -> None:
    """A route is listed by group of methods, and is open where any of its paths is."""
    app = bare_fastapi()
    app.add_middleware(StepUpMiddleware, guard=guard, rules=RULES, default="session")
    app.add_middleware(CORSMiddleware)
    app.add_api_route("/open/{id}", secret)
    app.add_api_route("/read", secret, methods=["GET", "POST"])
    app.add_api_route("/me/{p:path}", secret)
    app.add_api_route("/users/{id}", secret)
    app.add_api_route("/items/{id}", secret)
    app.add_api_route("/items/{id:int}", secret, methods=["PUT"])
    app.add_api_route("/other/{id:uuid}", secret)
    app.add_api_websocket_route("/ws", chat)

    assert entry_points(app, guard) == {
        ("/open/{id}", "GET"): [],
        ("/read", "GET"): [],
        ("/read", "POST"): [("middleware", "session")],
        ("/me/{p:path}", "GET"): [("middleware", "session")],
        ("/users/{id}", "GET"): [],
        ("/items/{id}", "GET"): [("middleware", POLICY), ("middleware", "session")],
        ("/items/{id:int}", "PUT"): [("middleware", POLICY)],
        ("/other/{id:uuid}", "GET"): [("middleware", "session")],
        ("/ws", "WEBSOCKET"): [("middleware", "session")],
    }


def test_a_rule_for_some_values_leaves_a_route_open(guard: StepUpGuard) -> None:
    """`/items/{id:int}` protects no item whose id is a word."""
    app = bare_fastapi()
    app.add_middleware(StepUpMiddleware, guard=guard, rules=RULES, default="public")
    app.add_api_route("/items/{id}", secret, methods=["DELETE"])

    assert [r.path for r in guarded_routes(app, guard) if r.mutates and r.is_open] == [
        "/items/{id}"
    ]


def test_mounts_and_hosts(guard: StepUpGuard, tmp_path: Path) -> None:
    """Each middleware sees the path below its own place; opaque apps are listed as one route."""
    inner = Starlette(routes=[Route("/pay", plain, methods=["POST"]), Route("/open/x", plain)])
    own = Middleware(StepUpMiddleware, guard=guard, rules=RULES)
    foreign = StepUpMiddleware(inner, guard=StepUpGuard.for_descope("P2x"))
    around = StepUpMiddleware(CORSMiddleware(inner), guard=guard, rules=RULES)
    app = Starlette(
        routes=[
            Mount("/a", around),
            Mount("/b", inner, middleware=[own]),
            Mount("/c", foreign),
            Mount("/files", StaticFiles(directory=tmp_path)),
            Mount("/graphql", StepUpMiddleware(anything, guard=guard, rules=RULES)),
            Mount("/asgi", anything),
            Mount(
                "/asgi-open-get",
                StepUpMiddleware(
                    anything, guard=guard, rules=[StepUpRule("/*", "public", methods=["GET"])]
                ),
            ),
            Host("shop.example", Router(routes=[Route("/hosted", plain, methods=["POST"])])),
            Route("/route", plain, methods=["POST"], middleware=[own]),
            Route("/any", Router(default=anything)),
        ]
    )

    found = entry_points(app, guard)

    step_up = [("middleware", PLAIN)]
    assert found["/a/pay", "POST"] == found["/b/pay", "POST"] == step_up
    assert found["/a/open/x", "GET"] == found["/b/open/x", "GET"] == []
    assert found["/c/pay", "POST"] == found["/hosted", "POST"] == []
    assert found["/files/{path:path}", "GET"] == found["/any", "*"] == []
    assert found["/graphql/{path:path}", "*"] == []  # its rules open some of it
    assert found["/asgi/{path:path}", "*"] == found["/asgi-open-get/{path:path}", "*"] == []
    assert found["/route", "POST"] == step_up


def test_around_the_whole_app(guard: StepUpGuard) -> None:
    """A middleware around the app, and an opaque app behind one."""
    app = bare_fastapi()
    app.add_api_route("/pay", secret, methods=["POST"])

    assert entry_points(StepUpMiddleware(app, guard=guard), guard) == {
        ("/pay", "POST"): [("middleware", PLAIN)]
    }
    opaque = guarded_routes(StepUpMiddleware(anything, guard=guard), guard)
    assert [(r.path, r.is_open, r.mutates) for r in opaque] == [("/{path:path}", False, True)]


def test_documentation_is_listed(guard: StepUpGuard) -> None:
    """`/docs` and the schema are routes like others."""
    listed = {route.path for route in guarded_routes(FastAPI(), guard)}

    assert listed == {"/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}


@pytest.mark.parametrize(
    ("methods", "found", "expected"),
    [
        ({"GET", "HEAD"}, (), (True, False, False)),
        ({"POST"}, (("dependency", "session"),), (False, True, False)),
        ({"WEBSOCKET"}, (("decorator", PLAIN),), (False, True, True)),
    ],
)
def test_a_route_says(methods: Any, found: Any, expected: Any) -> None:
    """That it is open, mutates or asks for a step-up."""
    route = GuardedRoute("/a", frozenset(methods), found)

    assert (route.is_open, route.mutates, route.asks_step_up) == expected


def test_methods_of_endpoints(guard: StepUpGuard, tmp_path: Path) -> None:
    """A class has those that it handles or lists; an ASGI app has any; files have two."""

    class Endpoint(HTTPEndpoint):
        """An endpoint."""

        get = staticmethod(plain)
        delete = staticmethod(plain)

    class Raw:
        """An ASGI app as a class: Starlette constructs it with the scope."""

        def __init__(self, *_: Any) -> None: ...

    app = Starlette(
        routes=[
            Route("/class", Endpoint),
            Route("/listed", Endpoint, methods=["DELETE"]),
            Route("/raw", Raw),
            Mount("/files", StaticFiles(directory=tmp_path)),
        ]
    )

    assert [(r.path, set(r.methods), r.mutates) for r in guarded_routes(app, guard)] == [
        ("/class", {"GET", "DELETE"}, True),
        ("/listed", {"DELETE"}, True),
        ("/raw", {"*"}, True),
        ("/files/{path:path}", {"GET", "HEAD"}, False),
    ]


def test_a_route_cannot_be_changed() -> None:
    """A test may rely on what it has read."""
    route = GuardedRoute("/a", frozenset(), ())

    with pytest.raises(FrozenInstanceError):
        route.path = "/b"  # type: ignore[misc]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_safe_methods_do_not_mutate(method: str) -> None:
    """RFC 9110 section 9.2.1; any other does, beside them too."""
    assert not GuardedRoute("/a", frozenset({method}), ()).mutates
    assert GuardedRoute("/a", frozenset({method, "QUERY"}), ()).mutates
    assert not GuardedRoute("/a", frozenset({"GET", "HEAD", "OPTIONS", "TRACE"}), ()).mutates


def test_routes_without_a_path_count_as_the_root(guard: StepUpGuard) -> None:
    """FastAPI lets a router with a prefix have a route with an empty path."""
    router = APIRouter(prefix="/list")
    router.add_api_route("", secret, dependencies=[Depends(RequireSession(guard))])
    app = bare_fastapi()
    app.include_router(router)

    assert entry_points(app, guard) == {("/list", "GET"): [("dependency", "session")]}


def test_what_is_listed_as_open_is_open(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """And what is not, is not: the listing and the app agree."""
    app = FastAPI()
    app.add_middleware(StepUpMiddleware, guard=guard, rules=RULES, default="session")
    app.add_api_route("/open/x", secret)
    app.add_api_route("/me/x", secret)
    app.mount("/open/plain", Starlette(routes=[Route("/x", plain)]))
    app.mount("/other/plain", Starlette(routes=[Route("/x", plain)]))
    app.add_api_websocket_route("/open/ws", chat)
    app.add_api_websocket_route("/ws", chat)
    client = TestClient(app)

    for route in guarded_routes(app, guard):
        if "GET" in route.methods:
            assert client.get(route.path).status_code == (200 if route.is_open else 401)
        elif route.is_open:
            with client.websocket_connect(route.path):
                assert route.path == "/open/ws"


def test_helper_routes_are_never_open(guard: StepUpGuard) -> None:
    """Helper routes that need no session count as open on purpose."""
    app = FastAPI()
    app.include_router(
        stepup_router(guard, methods=["otp", "enchantedlink"], redirect_uris=("https://a.example",))
    )

    routes = guarded_routes(app, guard)
    assert [route.path for route in routes if route.mutates and route.is_open] == []
    public = {route.path for route in routes if ("helper", "public") in route.entry_points}
    assert all(route.doors == route.entry_points for route in routes)  # its first name
    assert public == {
        "/step-up/enchantedlink/verify",
        "/step-up/enchantedlink/verify/",
        "/step-up/status",
        "/step-up/status/",
    }
    assert not [route for route in routes if route.asks_step_up]

"""One decision, many doors: the same bytes from each, and no way around any of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, unquote

import anyio
import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI
from hypothesis import given, settings, strategies as st
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp, Message
from starlette.websockets import WebSocket

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    install,
    requires_step_up,
    stepup_router,
)
from fastapi_stepup.testing import DescopeEmulator, SigningKey
from tests.support.attack_requests import SECRET, Sent, anything

ANN = "ann@example.com"

# -- the same answers


def fastapi_app(guard: StepUpGuard) -> FastAPI:
    """Return an installed app with the helper routes."""
    app = FastAPI()
    install(app, guard)
    app.include_router(stepup_router(guard))
    return app


def by_dependency(guard: StepUpGuard, policy: StepUpPolicy) -> ASGIApp:
    """Return an app that a dependency guards."""
    app = fastapi_app(guard)
    door = Annotated[Claims, Depends(RequireStepUp(guard, policy=policy))]

    @app.post("/pay")
    def pay(claims: door) -> PlainTextResponse:
        return PlainTextResponse(SECRET)

    @app.websocket("/pay")
    async def chat(websocket: WebSocket, claims: door) -> None:
        await greet(websocket)

    return app


async def greet(websocket: WebSocket) -> None:
    """Accept and close with the data as the reason."""
    await websocket.accept()
    await websocket.close(1000, SECRET)


def open_app(guard: StepUpGuard) -> FastAPI:
    """Return an app that nothing guards."""
    app = fastapi_app(guard)
    app.add_api_route("/pay", lambda: PlainTextResponse(SECRET), methods=["POST"])
    app.add_api_websocket_route("/pay", greet)
    return app


def by_middleware(guard: StepUpGuard, policy: StepUpPolicy) -> ASGIApp:
    """Return an app that its own middleware guards."""
    app = open_app(guard)
    app.add_middleware(
        StepUpMiddleware, guard=guard, rules=[StepUpRule("/pay", policy)], default="session"
    )
    return app


def by_middleware_around(guard: StepUpGuard, policy: StepUpPolicy) -> ASGIApp:
    """Return an app in a middleware."""
    return StepUpMiddleware(open_app(guard), guard=guard, default=policy)


def by_decorator(guard: StepUpGuard, policy: StepUpPolicy) -> ASGIApp:
    """Return an app whose endpoints are decorated."""
    app = fastapi_app(guard)

    @app.post("/pay")
    @requires_step_up(guard, policy)
    def pay(request: Request) -> PlainTextResponse:
        return PlainTextResponse(SECRET)

    app.add_api_websocket_route("/pay", requires_step_up(guard, policy)(greet))
    return app


def in_the_handler(guard: StepUpGuard, policy: StepUpPolicy) -> ASGIApp:
    """Return an app whose endpoints ask the guard themselves."""
    app = fastapi_app(guard)

    @app.post("/pay")
    async def pay(request: Request) -> PlainTextResponse:
        await guard.authorize(request, policy)
        return PlainTextResponse(SECRET)

    @app.websocket("/pay")
    async def chat(websocket: WebSocket) -> None:
        await guard.authorize(websocket, policy)
        await greet(websocket)

    return app


DOORS = [by_dependency, by_middleware, by_middleware_around, by_decorator, in_the_handler]


def answers(
    app: ASGIApp, headers: list[tuple[str, str]]
) -> list[tuple[int, list[tuple[str, str]], bytes]]:
    """Return the answers to a request and to a WebSocket handshake, whole."""
    client = TestClient(app)
    fields = httpx2.Headers(headers)
    response = client.post("/pay", headers=fields)
    websocket = client.websocket_connect("/pay", headers=fields)
    with pytest.raises(WebSocketDenialResponse) as denied:
        websocket.__enter__()
    return [(r.status_code, r.headers.multi_items(), r.content) for r in (response, denied.value)]


def bearer(token: str) -> list[tuple[str, str]]:
    """Return the field that presents a token."""
    return [("Authorization", f"Bearer {token}")]


def cookie(token: str) -> list[tuple[str, str]]:
    """Return the field that presents a token in the session cookie."""
    return [("Cookie", f"DS={token}")]


@pytest.mark.parametrize(
    ("fields", "policy", "status", "code"),
    [
        pytest.param(lambda _: [], StepUpPolicy(), 401, "unauthenticated", id="HD-001"),
        pytest.param(
            lambda d: 2 * bearer(d.step_up(ANN).session_token),
            StepUpPolicy(),
            400,
            "invalid_request",
            id="two-tokens",
        ),
        pytest.param(
            lambda d: bearer("x.y.z") + cookie(d.step_up(ANN).session_token),
            StepUpPolicy(),
            401,
            "invalid_token",
            id="HD-019",
        ),
        pytest.param(
            lambda d: bearer(d.token(su=True, key=SigningKey())),
            StepUpPolicy(),
            401,
            "invalid_token",
            id="forged",
        ),
        pytest.param(
            lambda d: bearer(d.step_up(ANN).refresh_token),
            StepUpPolicy(),
            401,
            "invalid_token",
            id="refresh-token",
        ),
        pytest.param(
            lambda d: cookie(d.step_up(ANN).session_token),
            StepUpPolicy(),
            403,
            "cross_site_request",
            id="CK-006",
        ),
        pytest.param(
            lambda d: [*cookie(d.step_up(ANN).session_token), ("Sec-Fetch-Site", "same-site")],
            StepUpPolicy(),
            403,
            "cross_site_request",
            id="CK-005",
        ),
        pytest.param(
            lambda d: cookie(f"x; DS={d.step_up(ANN).session_token}"),
            StepUpPolicy(),
            400,
            "invalid_request",
            id="CK-014",
        ),
        pytest.param(
            lambda d: bearer(d.token(su=True, act={"sub": "x"})),
            StepUpPolicy(),
            403,
            "impersonation_refused",
            id="impersonated",
        ),
        pytest.param(
            lambda d: bearer(d.sign_in(ANN).session_token),
            StepUpPolicy(max_age="5m", amr=["webauthn"], acr=["phr"]),
            401,
            "insufficient_user_authentication",
            id="everything-unmet",
        ),
        pytest.param(
            lambda d: bearer(d.step_up(ANN, age=310).session_token),
            StepUpPolicy(max_age="5m"),
            401,
            "insufficient_user_authentication",
            id="too-old",
        ),
    ],
)
def test_every_door_gives_the_same_bytes(
    fields: Callable[[DescopeEmulator], list[tuple[str, str]]],
    policy: StepUpPolicy,
    status: int,
    code: str,
    guard: StepUpGuard,
) -> None:
    """Status, header fields and body, on requests and on WebSockets."""
    with DescopeEmulator(guard.project_id).attach(guard) as descope:
        headers = fields(descope)
        given = [answer for door in DOORS for answer in answers(door(guard, policy), headers)]

    assert given == len(given) * [given[0]]
    assert given[0][0] == status
    assert f'"code":"{code}"'.encode() in given[0][2]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("by", [bearer, cookie])
def test_every_door_opens(
    door: Callable[[StepUpGuard, StepUpPolicy], ASGIApp],
    by: Callable[[str], list[tuple[str, str]]],
    guard: StepUpGuard,
    descope: DescopeEmulator,
) -> None:
    """With what the policy asks for, by header and by a cookie of the same site (CK-003)."""
    client = TestClient(door(guard, StepUpPolicy(max_age="5m")))
    headers = httpx2.Headers(
        [*by(descope.step_up(ANN).session_token), ("Sec-Fetch-Site", "same-origin")]
    )

    assert client.post("/pay", headers=headers).text == SECRET
    with client.websocket_connect("/pay", headers=headers) as websocket:
        assert websocket.receive()["reason"] == SECRET


# -- no way around


class Endpoint(HTTPEndpoint):
    """An endpoint class."""

    async def get(self, request: Request) -> Response:
        """Answer."""
        return PlainTextResponse(SECRET)


def secret() -> str:
    """Answer, whatever the parameters are."""
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


@pytest.mark.parametrize("path", SHAPES.values())
def test_every_shape_has_data(path: str, shapes: ASGIApp, shapes_guard: StepUpGuard) -> None:
    """With a token each of them answers, so there is something to protect."""
    with DescopeEmulator(shapes_guard.project_id).attach(shapes_guard) as descope:
        assert data_from(shapes, path, descope.step_up(ANN).headers) is not None


@pytest.mark.parametrize("path", SHAPES.values())
def test_no_spelling_of_a_path_gets_data(path: str, shapes: ASGIApp) -> None:
    """Nor does another method."""
    found = [data_from(shapes, spelling, {}) for spelling in spellings(path)]
    methods = [data_from(shapes, path, {}, method) for method in ("HEAD", "get", "FOO", "POST")]

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


@settings(max_examples=200, deadline=None)
@given(
    path=st.sampled_from(list(SHAPES.values())),
    mutations=st.lists(MUTATIONS, min_size=1, max_size=4),
    decodings=st.integers(0, 2),
)
def test_no_mutation_of_a_path_gets_data(
    shapes: ASGIApp, path: str, mutations: list[Callable[[str], str]], decodings: int
) -> None:
    """Whatever a client writes and however often somebody decodes it."""
    for mutation in mutations:
        path = mutation(path) or "/"
    for _ in range(decodings):
        path = unquote(path)

    assert data_from(shapes, path, {}) is None

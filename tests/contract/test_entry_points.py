"""One decision, many entry points: the same bytes from each of them."""

from collections.abc import Callable
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp
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
from fastapi_stepup.errors import StepUpError
from fastapi_stepup.testing import DescopeEmulator, SigningKey
from tests.support.attack_requests import SECRET

ANN = "ann@example.com"


def fastapi_app(guard: StepUpGuard) -> FastAPI:
    """Return an installed app with the helper routes."""
    app = FastAPI()
    install(app, guard)
    app.include_router(stepup_router(guard))
    return app


def by_dependency(guard: StepUpGuard, policy: StepUpPolicy) -> ASGIApp:
    """Return an app that a dependency guards."""
    app = fastapi_app(guard)
    claims_type = Annotated[Claims, Depends(RequireStepUp(guard, policy=policy))]

    @app.post("/pay")
    def pay(claims: claims_type) -> PlainTextResponse:
        return PlainTextResponse(SECRET)

    @app.websocket("/pay")
    async def chat(websocket: WebSocket, claims: claims_type) -> None:
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


ENTRY_POINTS = [by_dependency, by_middleware, by_middleware_around, by_decorator, in_the_handler]


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
def test_every_entry_point_gives_the_same_bytes(
    fields: Callable[[DescopeEmulator], list[tuple[str, str]]],
    policy: StepUpPolicy,
    status: int,
    code: str,
    guard: StepUpGuard,
) -> None:
    """Status, header fields and body, on requests and on WebSockets."""
    with DescopeEmulator(guard.project_id).attach(guard) as descope:
        headers = fields(descope)
        given = [
            answer
            for entry_point in ENTRY_POINTS
            for answer in answers(entry_point(guard, policy), headers)
        ]

    assert given == len(given) * [given[0]]
    assert given[0][0] == status
    assert f'"code":"{code}"'.encode() in given[0][2]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize("by", [bearer, cookie])
def test_every_entry_point_opens(
    entry_point: Callable[[StepUpGuard, StepUpPolicy], ASGIApp],
    by: Callable[[str], list[tuple[str, str]]],
    guard: StepUpGuard,
    descope: DescopeEmulator,
) -> None:
    """With what the policy asks for, by header and by a cookie of the same site."""
    client = TestClient(entry_point(guard, StepUpPolicy(max_age="5m")))
    headers = httpx2.Headers(
        [*by(descope.step_up(ANN).session_token), ("Sec-Fetch-Site", "same-origin")]
    )

    assert client.post("/pay", headers=headers).text == SECRET
    with client.websocket_connect("/pay", headers=headers) as websocket:
        assert websocket.receive()["reason"] == SECRET


async def ask(guard: StepUpGuard, connection: HTTPConnection) -> PlainTextResponse:
    """Ask in the handler."""
    await guard.authorize(connection, StepUpPolicy())
    raise AssertionError


def plain_starlette(guard: StepUpGuard, handlers: Any = None) -> dict[str, ASGIApp]:
    """Return Starlette apps that install nothing, one for each way to ask."""

    async def pay(request: Request) -> Response:
        return PlainTextResponse(SECRET)

    async def asking(request: Request) -> Response:
        return await ask(guard, request)

    async def chat(websocket: WebSocket) -> None:
        await ask(guard, websocket)

    def app(endpoint: Any, socket: Any) -> Starlette:
        routes = [Route("/pay", endpoint, methods=["POST"]), WebSocketRoute("/pay", socket)]
        return Starlette(routes=routes, exception_handlers=handlers)

    inside = app(pay, greet)
    inside.add_middleware(StepUpMiddleware, guard=guard)
    step_up = requires_step_up(guard)
    return {
        "decorator": app(step_up(pay), step_up(greet)),
        "handler": app(asking, chat),
        "middleware": inside,
        "middleware-around": StepUpMiddleware(app(pay, greet), guard=guard),
    }


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 401),
        (2 * [("Authorization", "Bearer x")], 400),
        ([("Cookie", "DS=x.y.z"), ("Sec-Fetch-Site", "cross-site")], 403),
    ],
)
def test_a_plain_starlette_app_answers_problem_documents(
    fields: list[tuple[str, str]], status: int, guard: StepUpGuard, subtests: pytest.Subtests
) -> None:
    """With nothing installed, the same bytes and media type as an installed app."""
    rows: list[str] = ["decorator", "handler", "middleware", "middleware-around"]
    for way in rows:
        with subtests.test(way=way):
            bare = answers(plain_starlette(guard)[way], fields)
            installed = answers(by_decorator(guard, StepUpPolicy()), fields)

            assert [answer[0] for answer in bare] == [status, status]
            for ours, theirs in zip(bare, installed, strict=True):
                assert ("content-type", "application/problem+json") in ours[1]
                assert (sorted(ours[1]), ours[2]) == (sorted(theirs[1]), theirs[2])


@pytest.mark.parametrize("key", [401, HTTPException, StepUpError, Exception])
def test_a_handler_of_a_plain_starlette_app_chooses_the_media_type(
    key: Any, guard: StepUpGuard, subtests: pytest.Subtests
) -> None:
    """The app's own answer with the headers of the refusal is of its own type."""
    rows: list[str] = ["decorator", "handler", "middleware", "middleware-around"]
    for way in rows:
        with subtests.test(way=way):

            def own(request: Request, error: Any) -> Response:
                return PlainTextResponse("ours", error.status_code, error.headers)

            response = TestClient(plain_starlette(guard, {key: own})[way]).post("/pay")

            expected = (
                "application/problem+json" if key is Exception else "text/plain; charset=utf-8"
            )
            assert response.headers["content-type"] == expected
            assert response.status_code == 401

"""StepUpGuard.authorize on WebSockets: denied, closed or let in."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException as StarletteHTTPException, WebSocketException
from starlette.requests import HTTPConnection, Request
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from fastapi_stepup import StepUpGuard, StepUpPolicy, claims_from, install, stepup_router
from fastapi_stepup.errors import InvalidToken, StepUpError, Unauthenticated
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge
from tests.guard.connections import ANN, locals_of_ours, request_with

STEP_UP = "insufficient_user_authentication"
INVALID = "invalid_token"


def without_denial(app: ASGIApp) -> ASGIApp:
    """Return *app* behind a server that cannot answer a WebSocket over HTTP."""

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {}}, receive, send)

    return server


def websocket_app(guard: StepUpGuard, *, accept_first: bool = False) -> FastAPI:
    """Return an app that asks for step-up before or after it accepts a WebSocket."""
    app = FastAPI()
    app.include_router(stepup_router(guard))

    @app.websocket("/ws")
    async def converse(websocket: WebSocket) -> None:
        if accept_first:
            await websocket.accept()
            await websocket.receive_text()
        claims = await guard.authorize(websocket, StepUpPolicy(max_age=300))
        await (websocket.close(1000, claims.subject) if accept_first else websocket.accept())

    return app


def test_websocket_is_denied_over_http_before_it_is_accepted(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The denial is the answer that a request would get, helper routes included."""
    client = TestClient(websocket_app(guard))
    websocket = client.websocket_connect("/ws", headers=dict(descope.sign_in(ANN).headers))

    with pytest.raises(WebSocketDenialResponse) as denial:
        websocket.__enter__()

    problem = assert_step_up_challenge(denial.value, max_age=300)
    assert problem["step_up"]["start_uri"] == "/step-up/otp/start"


def test_websocket_is_closed_where_it_cannot_be_denied(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A server without the denial extension gets 1008 and the problem code."""
    client = TestClient(without_denial(websocket_app(guard)))
    websocket = client.websocket_connect("/ws", headers=dict(descope.sign_in(ANN).headers))

    with pytest.raises(WebSocketDisconnect) as closed:
        websocket.__enter__()

    assert not isinstance(closed.value, WebSocketDenialResponse)
    assert (closed.value.code, closed.value.reason) == (1008, "insufficient_user_authentication")


@pytest.mark.parametrize("serve", [lambda app: app, without_denial], ids=["denial", "no-denial"])
def test_accepted_websocket_is_closed_with_1008(
    serve: Callable[[ASGIApp], ASGIApp], guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Once accepted there is no HTTP answer any more, whatever the server can do."""
    client = TestClient(serve(websocket_app(guard, accept_first=True)))

    with client.websocket_connect("/ws", headers=dict(descope.sign_in(ANN).headers)) as websocket:
        websocket.send_text("pay")
        closed = websocket.receive()

    assert closed == {
        "type": "websocket.close",
        "code": 1008,
        "reason": "insufficient_user_authentication",
    }


def test_stepped_up_websocket_is_let_in(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Before and after `accept`."""
    ann = descope.step_up(ANN)

    with TestClient(websocket_app(guard)).websocket_connect("/ws", headers=dict(ann.headers)):
        """Accepted."""
    client = TestClient(websocket_app(guard, accept_first=True))
    with client.websocket_connect("/ws", headers=dict(ann.headers)) as websocket:
        websocket.send_text("pay")
        closed = websocket.receive()

    assert (closed["code"], closed["reason"]) == (1000, ann.user_id)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({}, "cross_site_request", id="no-evidence"),
        pytest.param({"Origin": "https://evil.example"}, "cross_site_request", id="foreign"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, "cross_site_request", id="cross-site"),
    ],
)
def test_cookie_of_a_websocket_needs_evidence(
    headers: dict[str, str], code: str, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Another site's page cannot open a WebSocket on the user's cookie (CK-013)."""
    client = TestClient(websocket_app(guard))
    cookie = {"Cookie": f"DS={descope.step_up(ANN).session_token}"}
    websocket = client.websocket_connect("/ws", headers=cookie | headers)

    with pytest.raises(WebSocketDenialResponse) as denial:
        websocket.__enter__()

    assert (denial.value.status_code, denial.value.json()["detail"]["code"]) == (403, code)
    with client.websocket_connect("/ws", headers=cookie | {"Origin": "http://testserver"}):
        """Accepted."""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        pytest.param({"websocket.http.response": {}}, Unauthenticated, id="denial"),
        pytest.param({}, WebSocketException, id="no-denial"),
        pytest.param(None, WebSocketException, id="null"),
    ],
)
async def test_bare_connection_of_a_websocket_is_refused_in_its_way(
    extensions: Any, expected: type[Exception], guard: StepUpGuard
) -> None:
    """What counts is the scope, not the class it is wrapped in."""
    scope = {"type": "websocket", "headers": [], "extensions": extensions}

    with pytest.raises(expected):
        await guard.authorize(HTTPConnection(scope))


def first_message_app(guard: StepUpGuard) -> FastAPI:
    """Return an app whose WebSocket gets its token in the first message, then in others."""
    app = FastAPI()

    @app.websocket("/ws")
    async def converse(websocket: WebSocket) -> None:
        await websocket.accept()
        async for token in websocket.iter_text():
            await guard.authorize(websocket, StepUpPolicy(max_age="5m"), token=token)
            again = await guard.authorize(websocket)
            assert claims_from(websocket) is again
            await websocket.send_text((await guard.recheck(websocket)).subject)

    return app


def test_token_of_the_first_message_lets_in(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """And a later one takes its place, another user's too."""
    ann, bob = descope.step_up(ANN), descope.step_up("bob@example.com")

    with TestClient(first_message_app(guard)).websocket_connect("/ws") as websocket:
        for user in (ann, bob, bob, ann):
            websocket.send_text(user.session_token)
            assert websocket.receive_text() == user.user_id


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        pytest.param(lambda d: d.sign_in(ANN).session_token, STEP_UP, id="no-step-up"),
        pytest.param(lambda d: d.step_up(ANN, age=400).session_token, STEP_UP, id="too-old"),
        pytest.param(lambda d: d.step_up(ANN, expires_in=-9).session_token, INVALID, id="expired"),
        pytest.param(lambda d: d.step_up(ANN).refresh_token, INVALID, id="refresh-token"),
        pytest.param(lambda d: "x.y.z", INVALID, id="nonsense"),
        pytest.param(lambda d: "", INVALID, id="empty"),
    ],
)
def test_bad_token_of_a_message_closes_with_1008(
    token: Callable[[DescopeEmulator], str],
    reason: str,
    guard: StepUpGuard,
    descope: DescopeEmulator,
) -> None:
    """Whichever handlers the app has; an earlier good token does not stand in."""

    async def answer(connection: HTTPConnection, error: Exception) -> None:
        """Never asked."""

    for handler in (None, 401, StarletteHTTPException, StepUpError):
        app = first_message_app(guard)
        if handler is not None:
            app.add_exception_handler(handler, answer)
        for good_ones in (0, 1):
            with TestClient(app).websocket_connect("/ws") as websocket:
                for _ in range(good_ones):
                    websocket.send_text(descope.step_up(ANN).session_token)
                    websocket.receive_text()
                websocket.send_text(token(descope))
                closed = websocket.receive()

            assert closed == {"type": "websocket.close", "code": 1008, "reason": reason}, handler


def test_token_of_a_subprotocol_is_refused_before_it_is_accepted(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Browsers can send one there, and get the answer that a request would get."""
    app = FastAPI()

    @app.websocket("/ws")
    async def converse(websocket: WebSocket) -> None:
        token = websocket.scope["subprotocols"][1]
        claims = await guard.authorize(websocket, StepUpPolicy(), token=token)
        await websocket.accept(subprotocol="bearer")
        await websocket.send_text(claims.subject)

    client, ann = TestClient(app), descope.step_up(ANN)
    protocols = ["bearer", ann.session_token]
    with client.websocket_connect("/ws", subprotocols=protocols) as websocket:
        assert websocket.accepted_subprotocol == "bearer"
        assert websocket.receive_text() == ann.user_id
    plain = ["bearer", descope.sign_in(ANN).session_token]
    with pytest.raises(WebSocketDenialResponse) as denial:
        client.websocket_connect("/ws", subprotocols=plain).__enter__()
    assert_step_up_challenge(denial.value)


@pytest.mark.anyio
async def test_given_token_is_not_taken_for_another_request(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A scope that was copied for one with other header fields starts anew."""
    request = request_with({})
    ann = descope.step_up(ANN)
    await guard.authorize(request, token=ann.session_token)
    assert (await guard.authorize(request, StepUpPolicy())).subject == ann.user_id
    copy = Request({**request.scope, "headers": [(b"x", b"y")]})

    with pytest.raises(Unauthenticated):
        await guard.authorize(copy)


@pytest.mark.anyio
async def test_given_token_wins_over_the_header(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Claims that the header's token brought do not stand in for it."""
    ann, bob = descope.step_up(ANN), descope.step_up("bob@example.com")
    request = request_with(ann.headers)
    await guard.authorize(request)

    assert (await guard.authorize(request, token=bob.session_token)).subject == bob.user_id
    with pytest.raises(InvalidToken):
        await guard.authorize(request, token="x.y.z")
    with pytest.raises(InvalidToken):
        await guard.authorize(request)


@pytest.mark.anyio
async def test_given_token_is_in_no_frame_and_no_repr(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Error reporters collect both."""
    token = descope.step_up(ANN, expires_in=-9).session_token
    request = request_with({})

    with pytest.raises(InvalidToken) as refusal:
        await guard.authorize(request, token=token)

    assert token not in locals_of_ours(refusal.value.__traceback__)
    assert token not in repr(request.scope)


@pytest.mark.parametrize("build", [FastAPI, Starlette])
@pytest.mark.parametrize("handler", [None, 401, StarletteHTTPException, Exception])
def test_any_refusal_of_ours_closes_an_accepted_websocket(
    build: type[Starlette], handler: Any, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Of `guard.verify` or of a policy too, which know no connection, once `install` has run."""
    app = build()

    async def converse(websocket: WebSocket) -> None:
        await websocket.accept()
        claims = await guard.verify(await websocket.receive_text())
        StepUpPolicy().enforce(claims, now=guard.clock())

    app.router.routes.append(WebSocketRoute("/ws", converse))

    async def answer(connection: HTTPConnection, error: Exception) -> None:
        """Never asked."""

    if handler is not None:
        app.add_exception_handler(handler, answer)
    install(app, guard)
    sent = {"x.y.z": INVALID, descope.sign_in(ANN).session_token: STEP_UP}

    for token, reason in sent.items():
        with TestClient(app).websocket_connect("/ws") as websocket:
            websocket.send_text(token)
            closed = websocket.receive()
        assert closed == {"type": "websocket.close", "code": 1008, "reason": reason}

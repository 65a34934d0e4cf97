"""StepUpGuard.recheck: what let a connection in is asked again while it lives."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.exceptions import WebSocketException
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from fastapi_stepup import (
    Claims,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    claims_from,
)
from fastapi_stepup.errors import InvalidToken, StepUpError, StepUpRequired
from fastapi_stepup.testing import DescopeEmulator
from tests.guard.connections import ANN, PROJECT, Clock
from tests.support.attack_requests import Sent


@pytest.fixture
def clock() -> Clock:
    """The clock of `guard`, to be moved."""
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> StepUpGuard:
    """A guard on that clock."""
    return StepUpGuard.for_descope(PROJECT, clock=clock)


@pytest.fixture
def descope(guard: StepUpGuard) -> Iterator[DescopeEmulator]:
    """The Descope of `guard`."""
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        yield descope


async def converse(guard: StepUpGuard, websocket: WebSocket) -> None:
    """Ask again before each message is answered."""
    await websocket.accept()
    while True:
        message = await websocket.receive_text()
        claims = await guard.recheck(websocket)
        assert claims_from(websocket) is claims
        await websocket.send_text(f"{message} {claims.subject}")


def by_dependency(guard: StepUpGuard) -> FastAPI:
    """Return an app whose socket a dependency guards."""
    app = FastAPI()

    @app.websocket("/ws")
    async def chat(
        websocket: WebSocket,
        claims: Annotated[Claims, Depends(RequireSession(guard))],
        stepped_up: Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))],
    ) -> None:
        await converse(guard, websocket)

    return app


def by_middleware(guard: StepUpGuard) -> StepUpMiddleware:
    """Return an app whose socket the middleware guards."""

    async def chat(websocket: WebSocket) -> None:
        await converse(guard, websocket)

    app = Starlette(routes=[WebSocketRoute("/ws", chat)])
    return StepUpMiddleware(app, guard=guard, default=StepUpPolicy(max_age="5m"))


@pytest.mark.parametrize("build", [by_dependency, by_middleware])
@pytest.mark.parametrize(
    ("ahead", "reason"),
    [
        pytest.param(301, "insufficient_user_authentication", id="step-up-too-old"),
        pytest.param(700, "invalid_token", id="token-expired"),
    ],
)
def test_a_socket_is_closed_when_it_would_not_be_let_in(
    build: Callable[[StepUpGuard], Any],
    ahead: float,
    reason: str,
    guard: StepUpGuard,
    descope: DescopeEmulator,
) -> None:
    """With 1008 and the problem code, at the first message after the moment."""
    ann = descope.step_up(ANN)
    client = TestClient(build(guard))

    with client.websocket_connect("/ws", headers=ann.headers) as websocket:
        websocket.send_text("hello")
        assert websocket.receive_text() == f"hello {ann.user_id}"
        assert isinstance(guard.clock, Clock)
        guard.clock.ahead = ahead
        websocket.send_text("hello")
        with pytest.raises(WebSocketDisconnect) as closed:
            websocket.receive_text()

    assert (closed.value.code, closed.value.reason) == (1008, reason)


def test_a_token_that_has_expired_does_not_open_a_socket(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Not even its handshake passes."""
    headers = descope.step_up(ANN, expires_in=-10).headers

    websocket = TestClient(by_dependency(guard)).websocket_connect("/ws", headers=headers)
    with pytest.raises(WebSocketDenialResponse):
        websocket.__enter__()


def test_a_revoked_key_closes_sockets(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """The token is verified again, against the keys of now."""
    ann = descope.step_up(ANN)

    with TestClient(by_dependency(guard)).websocket_connect("/ws", headers=ann.headers) as chat:
        descope.revoke_keys()
        with DescopeEmulator(PROJECT).attach(guard):
            chat.send_text("hello")
            with pytest.raises(WebSocketDisconnect) as closed:
                chat.receive_text()

    assert closed.value.reason == "invalid_token"


def websocket_with(headers: dict[str, str]) -> WebSocket:
    """Return a WebSocket that is not accepted yet."""
    fields = tuple(headers.items())
    scope = Sent("/ws", fields=fields).scope | {"type": "websocket", "extensions": {}}
    return WebSocket(scope, anyio.sleep_forever, anyio.sleep)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_only_what_let_it_in_is_asked_again(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A policy that a handler tried in vain does not close the socket later."""
    websocket = websocket_with(descope.sign_in(ANN).headers)
    await guard.authorize(websocket)
    with pytest.raises(WebSocketException, match="insufficient"):
        await guard.authorize(websocket, StepUpPolicy())

    claims = await guard.recheck(websocket)

    assert not claims.stepped_up


@pytest.mark.anyio
async def test_claims_are_gone_after_a_recheck_that_fails(
    guard: StepUpGuard, descope: DescopeEmulator, clock: Clock
) -> None:
    """What is no longer true is not left in the scope; other guards' claims are."""
    other = StepUpGuard.for_descope(PROJECT)
    with descope.attach(other):
        websocket = websocket_with(descope.step_up(ANN).headers)
        await guard.authorize(websocket)
        theirs = await other.authorize(websocket)
    clock.ahead = 700

    with pytest.raises(WebSocketException):
        await guard.recheck(websocket)

    assert claims_from(websocket) is theirs


@pytest.mark.anyio
async def test_a_socket_that_nobody_let_in_cannot_be_rechecked(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A program that forgot to authorize gets an error."""
    websocket = websocket_with(descope.step_up(ANN).headers)

    with pytest.raises(LookupError, match="authorize the WebSocket first"):
        await guard.recheck(websocket)


@pytest.mark.anyio
@pytest.mark.parametrize("policy", [None, StepUpPolicy(max_age="5m")], ids=["session", "step-up"])
async def test_a_request_can_be_rechecked(
    policy: StepUpPolicy | None, guard: StepUpGuard, descope: DescopeEmulator, clock: Clock
) -> None:
    """A streamed reply lives long too: token and policy are asked again."""
    ann = descope.step_up(ANN, expires_in=900)
    request = Request(Sent("/", fields=tuple(ann.headers.items())).scope)
    with pytest.raises(LookupError, match="authorize the request first"):
        await guard.recheck(request)
    await guard.authorize(request, policy)

    assert (await guard.recheck(request)).subject == ann.user_id
    clock.ahead = 301
    if policy is None:
        await guard.recheck(request)
    else:
        with pytest.raises(StepUpRequired):
            await guard.recheck(request)
    clock.ahead = 1000
    with pytest.raises(InvalidToken):
        await guard.recheck(request)


def streaming_app(guard: StepUpGuard, clock: Clock) -> FastAPI:
    """Return an app with a stream that rechecks before each event, 200 seconds apart."""
    app = FastAPI()
    stepped_up = Depends(RequireStepUp(guard, max_age="5m"))

    @app.get("/events", dependencies=[stepped_up])
    async def events(request: Request) -> StreamingResponse:
        async def stream() -> AsyncIterator[str]:
            number = 0
            while True:
                try:
                    await guard.recheck(request)
                except StepUpError as refusal:
                    yield f"end: {refusal.code}"
                    return
                yield f"{number} "
                number, clock.ahead = number + 1, clock.ahead + 200

        return StreamingResponse(stream(), media_type="text/event-stream")

    return app


def test_a_stream_ends_when_the_step_up_is_too_old(
    guard: StepUpGuard, descope: DescopeEmulator, clock: Clock
) -> None:
    """By then the reply has started, so that the handler can only end it."""
    app = streaming_app(guard, clock)

    text = TestClient(app).get("/events", headers=descope.step_up(ANN).headers).text

    assert text == "0 1 end: insufficient_user_authentication"


@pytest.mark.anyio
async def test_authorize_refuses_after_a_recheck_that_failed(
    guard: StepUpGuard, descope: DescopeEmulator, clock: Clock
) -> None:
    """Nothing is left in the scope that could pass, or break."""
    request = Request(Sent("/", fields=tuple(descope.step_up(ANN).headers.items())).scope)
    await guard.authorize(request)
    clock.ahead = 1000

    for _ in range(2):
        with pytest.raises(InvalidToken):
            await guard.recheck(request)
        with pytest.raises(InvalidToken):
            await guard.authorize(request)

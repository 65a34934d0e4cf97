"""`once=` on RequireStepUp of a WebSocket: spent when it is accepted."""

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from fastapi_stepup import RequireStepUp, install
from tests.support.one_time import OneTime


def chat_of(ann: OneTime, *, accepts: bool = True, installed: bool = True) -> FastAPI:
    """An app with a WebSocket that spends step-ups."""
    app = FastAPI()
    once = Depends(RequireStepUp(ann.guard, once="pay"))

    @app.websocket("/chat", dependencies=[once])
    async def chat(websocket: WebSocket) -> None:
        if accepts:
            await websocket.accept()
            await websocket.send_text(str(ann.events))
        await websocket.close()

    if installed:
        install(app, ann.guard)
    return app


def test_websocket_spends_when_it_is_accepted(ann: OneTime) -> None:
    """Not at its end: it may live longer than any lease."""
    client = TestClient(chat_of(ann))
    with client.websocket_connect("/chat", headers=ann.headers) as chat:
        assert chat.receive_text() == "['spent']"

    session = client.websocket_connect("/chat", headers=ann.headers)
    with pytest.raises(WebSocketDenialResponse) as denied, session:
        raise AssertionError
    assert denied.value.json()["unmet"] == [{"requirement": "step_up", "reason": "used"}]


def test_websocket_that_is_accepted_already_spends_at_once(ann: OneTime) -> None:
    """A dependency before may accept it."""
    app = FastAPI()

    async def accept(websocket: WebSocket) -> None:
        await websocket.accept()

    once = Depends(RequireStepUp(ann.guard, max_age="5m", once="pay"))

    @app.websocket("/chat", dependencies=[Depends(accept), once])
    async def chat(websocket: WebSocket) -> None:
        await websocket.send_text("let in")
        await websocket.close()

    client = TestClient(app)
    with client.websocket_connect("/chat", headers=ann.headers) as first:
        assert first.receive_text() == "let in"
    with client.websocket_connect("/chat", headers=ann.headers) as second:
        assert second.receive()["code"] == 1008
    assert ann.events == ["spent", "used"]


def test_websocket_that_is_not_accepted_gives_it_back(ann: OneTime) -> None:
    """The handler closed it instead."""
    client = TestClient(chat_of(ann, accepts=False))
    for _ in range(2):
        session = client.websocket_connect("/chat", headers=ann.headers)
        with pytest.raises(WebSocketDisconnect), session:
            raise AssertionError
    assert ann.events == ["given_back", "given_back"]


@pytest.mark.parametrize(("failing", "events"), [("hold", []), ("settle", [])])
def test_websocket_is_not_accepted_where_the_store_fails(failing: str, events: list[str]) -> None:
    """503 as its denial, at either step."""
    with OneTime(failing) as ann:
        session = TestClient(chat_of(ann)).websocket_connect("/chat", headers=ann.headers)
        with pytest.raises(WebSocketDenialResponse) as denied, session:
            raise AssertionError
    assert (denied.value.status_code, denied.value.json()["code"]) == (503, "one_time_unavailable")
    assert ann.events == ["unavailable"]

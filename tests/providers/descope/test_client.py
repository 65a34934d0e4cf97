"""DescopeClient: deadlines, limits, and no secret in a log or a traceback."""

import logging
import time
import traceback
from pathlib import Path
from typing import Self

import anyio
import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from fastapi_stepup import DescopeClient
from fastapi_stepup._http import HTTPClient
from fastapi_stepup.errors import ConfigurationError, DescopeUnavailable
from fastapi_stepup.providers.descope.client import DEADLINE, base_url_for
from fastapi_stepup.testing.server import served
from tests.support.descope_replies import (
    ANN,
    CALLS,
    NOW,
    REFRESH_TOKEN,
    Call,
    Descope,
    answering,
    me,
    refresh,
    refusal_of,
    refusing,
    verify,
)


class Endless(httpx.AsyncByteStream):
    """A body that goes on until the connection is closed."""

    def __init__(self, piece: bytes) -> None:
        self.piece = piece
        self.is_closed = False

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Go on."""
        await anyio.sleep(0.01)
        if self.is_closed:
            raise StopAsyncIteration
        return self.piece

    async def aclose(self) -> None:
        """End it."""
        self.is_closed = True


@pytest.mark.anyio
async def test_slow_reply_is_given_up_at_the_deadline() -> None:
    """Neither silence nor a dripping body holds a request longer than the deadline."""
    descope = Descope(lambda: httpx.Response(200, stream=Endless(b" ")))
    client = DescopeClient("P1", http=HTTPClient(descope), deadline=0.2)
    started = time.monotonic()

    with pytest.raises(DescopeUnavailable):
        await client.verify_otp("email", ANN, "123456")

    assert time.monotonic() - started < 2
    assert len(descope.requests) == 1
    assert DEADLINE == 10


@pytest.mark.anyio
async def test_endless_reply_is_given_up_at_the_limit() -> None:
    """No more is read than a reply may hold."""
    descope = Descope(lambda: httpx.Response(200, stream=Endless(100_000 * b" ")))

    assert (await refusal_of(verify, descope)).code == "descope_error"


@pytest.mark.anyio
async def test_reply_holds_256_kib_at_most() -> None:
    """Much more than any of Descope's own."""
    body = b'{"sessionJwt":"session"}'.ljust(262_144)

    assert await verify(answering(200, body).client)
    assert (await refusal_of(verify, answering(200, body + b" "))).code == "descope_error"


@pytest.mark.anyio
async def test_no_log_record_holds_what_is_sent_and_received(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not even those of httpx and httpcore at DEBUG, with tokens in Descope's cookies (OT-035)."""
    secrets = ("eyJ", "123456", ANN, "+1555", "refresh-in-cookie")

    async def descope(scope: Scope, receive: Receive, send: Send) -> None:
        body = {"sessionJwt": "eyJ.session.x", "userId": "U1", "loginIds": [ANN], "email": ANN}
        cookie = {"Set-Cookie": "DSR=refresh-in-cookie; Path=/; HttpOnly"}
        await JSONResponse(body, headers=cookie)(scope, receive, send)

    caplog.set_level(logging.DEBUG)
    with served(descope) as url:
        client = DescopeClient("P1", base_url=url)
        await verify(client)
        await me(client)
        await refresh(client)
        async with httpx.AsyncClient() as anothers:
            await anothers.get(url)

    replies = [r for r in caplog.records if r.message.startswith("receive_response_headers.compl")]
    assert len(replies) == 1
    assert "refresh-in-cookie" in replies[0].message
    others = "\n".join(record.getMessage() for record in caplog.records if record not in replies)
    assert "send_request_headers.started" in others
    assert [secret for secret in secrets if secret in others] == []


def _secrets_in(error: BaseException) -> list[str]:
    """Return the functions of the traceback whose variables show something secret."""
    secrets = (REFRESH_TOKEN, "123456", "t0k3n", "c0de", ANN)
    found = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        is_test = frame.f_code.co_filename.endswith((Path(__file__).name, "descope_replies.py"))
        shown = [repr(value) for value in frame.f_locals.values()]
        if not is_test and any(secret in text for text in shown for secret in secrets):
            found.append(frame.f_code.co_name)
    return found


@pytest.mark.anyio
async def test_no_frame_that_an_error_leaves_through_holds_a_secret(
    subtests: pytest.Subtests,
) -> None:
    """Error reports show the variables of each frame: neither ours nor httpx's may hold any."""
    for call in CALLS:
        for descope in (
            refusing(503, "E010009"),
            refusing(401, "E061102"),
            answering(200, b"<html>"),
            Descope(ZeroDivisionError()),
        ):
            with subtests.test(call.__name__):
                error = await refusal_of(call, descope)

                assert error.__traceback__ is not None
                assert _secrets_in(error) == []


@pytest.mark.anyio
async def test_no_frame_of_a_cancelled_call_holds_a_secret(subtests: pytest.Subtests) -> None:
    """A request that the client gave up is cancelled wherever it waits, deep inside httpx."""
    caught: list[BaseException] = []

    async def wait(call: Call) -> None:
        try:
            await call(Descope(lambda: httpx.Response(200, stream=Endless(b" "))).client)
        except anyio.get_cancelled_exc_class() as error:
            caught.append(error)
            raise

    for call in CALLS:
        caught.clear()
        with anyio.move_on_after(0.02):
            await wait(call)

        with subtests.test(call.__name__):
            assert len(caught) == 1
            assert _secrets_in(caught[0]) == []


def test_a_project_id_of_32_characters_names_its_region() -> None:
    """Shorter ones have none. The region is part of the API's host name."""
    assert base_url_for("P2" + 26 * "x") == "https://api.descope.com"
    assert base_url_for("P_" + 29 * "x") == "https://api.descope.com"
    assert base_url_for("PUSE1" + 27 * "x") == "https://api.use1.descope.com"
    for no_host in ("P_a_b", "P----", "Pab-1"):
        with pytest.raises(ConfigurationError, match="names the region"):
            base_url_for(no_host + 27 * "x")


def test_the_clock_is_looked_up_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that freezes time after the client was made freezes the client."""
    client = DescopeClient("P1")
    monkeypatch.setattr(time, "time", lambda: NOW)

    assert client._clock() == NOW

"""Outbound HTTP through a transport of the caller's, and its options."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from fastapi_stepup._http import (
    CONNECT_TIMEOUT,
    MAX_BODY,
    READ_TIMEOUT,
    TOTAL_TIMEOUT,
    HTTPClient,
    HTTPFailure,
    HTTPRequest,
)
from fastapi_stepup.errors import ConfigurationError, FailureReason

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("status", [pytest.param(302, id="JW-082")])
async def test_a_callers_transport_brings_nothing_of_the_callers_client(status: int) -> None:
    """Cookies, authentication, redirects and fields of a client stay with the client."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, headers={"Location": "/x", "Set-Cookie": "a=b"})

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(
        transport=transport,
        base_url="https://other.example",
        auth=("ann", "password"),
        cookies={"DSR": "secret"},
        headers={"X-Mine": "1"},
    ) as client:
        await client.get("/y")
        reply = await HTTPClient(transport).send(HTTPRequest("GET", "https://keys.example/k"))
    assert reply.status == status
    assert len(seen) == 2
    assert str(seen[1].url) == "https://keys.example/k"
    assert not {"authorization", "cookie", "x-mine"} & set(seen[1].headers)


class _Closed(httpx.AsyncBaseTransport):
    """A transport around a client that its owner has closed."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._client.send(request)


@pytest.mark.parametrize("error", [pytest.param("RuntimeError", id="JW-083")])
async def test_a_closed_transport_is_a_failed_request(
    error: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is counted like any other, and the log names its class."""
    client = httpx.AsyncClient()
    await client.aclose()
    with (
        caplog.at_level(logging.DEBUG, logger="fastapi_stepup"),
        pytest.raises(HTTPFailure, match="transport"),
    ):
        await HTTPClient(_Closed(client)).send(HTTPRequest("GET", "https://keys.example", "secret"))
    assert [record.getMessage() for record in caplog.records] == [
        f"Outbound HTTP failed with {error}."
    ]


class _Lent(httpx.AsyncBaseTransport):
    """A transport that notices being closed."""

    closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"to": request.url.host})

    async def aclose(self) -> None:
        self.closed = True


async def test_a_callers_transport_is_not_closed() -> None:
    """It is lent: its owner closes it, and may use it on."""
    transport = _Lent()
    reply = await HTTPClient(transport).send(HTTPRequest("GET", "https://keys.example"))
    assert reply.json_object() == {"to": "keys.example"}
    assert not transport.closed
    await transport.aclose()
    assert transport.closed


@pytest.mark.parametrize("client", [pytest.param(httpx.AsyncClient, id="JW-082-client")])
def test_what_is_no_transport_is_refused(client: Any, subtests: pytest.Subtests) -> None:
    """A client, a synchronous transport or another library's fail at construction."""
    others: list[Any] = [client(), httpx.HTTPTransport(), "https://proxy", lambda request: None]
    for other in others:
        with (
            subtests.test(type(other).__name__),
            pytest.raises(ConfigurationError, match=r"httpx\.AsyncBaseTransport"),
        ):
            HTTPClient(other)


def test_a_timeout_must_be_a_sane_number(subtests: pytest.Subtests) -> None:
    """No deadline can be turned off (CF-003)."""
    assert (CONNECT_TIMEOUT, READ_TIMEOUT, TOTAL_TIMEOUT) == (2, 3, 5)
    for name in ("connect_timeout", "read_timeout", "total_timeout"):
        for value in (0, -1, float("nan"), float("inf"), True, "3", None, 301):
            with (
                subtests.test(f"{name}={value!r}"),
                pytest.raises(ConfigurationError, match="Timeouts are seconds"),
            ):
                HTTPClient(**{name: value})  # type: ignore[arg-type]  # some are no numbers


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        pytest.param(b"65537", FailureReason.TOO_LARGE, id="over"),
        pytest.param(b"9" * 5000, FailureReason.TOO_LARGE, id="endless"),
        pytest.param(b"\xb2", None, id="superscript"),
        pytest.param(b"-1", None, id="negative"),
    ],
)
async def test_a_transport_may_announce_any_length(
    length: bytes, reason: FailureReason | None
) -> None:
    """An unreadable length is not believed; the body is counted anyway."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, headers=[(b"Content-Length", length)], stream=httpx.ByteStream(b"{}")
        )

    failed: FailureReason | None = None
    try:
        reply = await HTTPClient(httpx.MockTransport(answer)).send(
            HTTPRequest("GET", "https://x.example")
        )
        assert reply.body == b"{}"
    except HTTPFailure as failure:
        failed = failure.reason
    assert failed is reason


async def _endless() -> AsyncGenerator[bytes, None]:
    """Give pieces without end."""
    while True:
        yield b"x" * 100_000


async def _just_too_much() -> AsyncGenerator[bytes, None]:
    """Give one byte too many and end."""
    yield b" " * MAX_BODY
    yield b" "


@pytest.mark.parametrize(
    ("anyio_backend", "body"),
    [
        pytest.param("asyncio", _endless, id="endless"),  # trio tells of what it leaves open
        pytest.param("asyncio", _just_too_much, id="asyncio"),
        pytest.param("trio", _just_too_much, id="trio"),
    ],
)
async def test_a_transport_of_ones_own_has_the_same_cap(
    body: Callable[[], AsyncGenerator[bytes, None]],
) -> None:
    """A stream that goes on after it was closed is left alone."""
    async with aclosing(body()) as pieces:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=pieces))
        with pytest.raises(HTTPFailure, match="too_large"):
            await HTTPClient(transport).send(HTTPRequest("GET", "https://x.example"))


async def test_a_body_that_was_read_already_has_the_same_cap() -> None:
    """`httpx.Response(200, json=…)` in a mock transport is no way around it."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=b" " * (MAX_BODY + 1)))
    with pytest.raises(HTTPFailure, match="too_large"):
        await HTTPClient(transport).send(HTTPRequest("GET", "https://x.example"))

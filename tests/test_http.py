"""Outbound HTTP against servers that misbehave on real sockets, and the rules for URLs."""

import gzip
import json
import logging
import socket
import ssl
import struct
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fastapi_stepup import StepUpGuard
from fastapi_stepup._http import (
    MAX_BODY,
    HTTPClient,
    HTTPFailure,
    HTTPRequest,
    HTTPResponse,
    retry_after,
)
from fastapi_stepup._urls import checked_base_url as base_url, is_loopback
from fastapi_stepup.errors import ConfigurationError, FailureReason
from tests.support.raw_server import Peer, Script, listening

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(b"[" * 50_000_000, compresslevel=1)


def accepts_and_is_silent(peer: Peer) -> None:
    """Take the connection and never answer."""
    peer.over.wait(5)


def reads_and_is_silent(peer: Peer) -> None:
    """Take the request and never answer."""
    peer.request()
    peer.over.wait(5)


def drips_the_head(peer: Peer) -> None:
    """Send the head byte by byte, each within the read deadline."""
    peer.request()
    peer.send(*(bytes([byte]) for byte in HEAD), pause=0.02)


def drips_the_body(peer: Peer) -> None:
    """Send the body byte by byte, each within the read deadline."""
    peer.request()
    peer.send(HEAD + b"Content-Length: 1000\r\n\r\n")
    peer.send(*[b"["] * 1000, pause=0.02)


def sends_interim_answers_for_ever(peer: Peer) -> None:
    """Send `103 Early Hints` again and again."""
    peer.request()
    peer.send(*[b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 1000, pause=0.02)


def sends_chunks_for_ever(peer: Peer) -> None:
    """Send a chunked body that never ends."""
    peer.request()
    peer.send(CHUNKED)
    peer.send(*[b"1000\r\n" + b"x" * 4096 + b"\r\n"] * 10_000)


def announces_a_terabyte(peer: Peer) -> None:
    """Announce a body that no one wants, and begin."""
    peer.request()
    peer.send(HEAD + b"Content-Length: 1099511627776\r\n\r\n" + b"x" * 1000)
    peer.over.wait(5)


def sends_one_byte_too_many(peer: Peer) -> None:
    """Send a body of the cap and one byte, announced."""
    peer.request()
    peer.answer("200 OK", b" " * (MAX_BODY + 1))


def sends_one_byte_too_many_unannounced(peer: Peer) -> None:
    """Send the same in chunks."""
    peer.request()
    peer.send(CHUNKED, *[b"1\r\n \r\n"] * 1, b"10000\r\n" + b" " * MAX_BODY + b"\r\n0\r\n\r\n")


def sends_less_than_announced(peer: Peer) -> None:
    """Announce 100 bytes, send 2, and close."""
    peer.request()
    peer.send(HEAD + b"Content-Length: 100\r\n\r\n{}")


def ends_amid_chunks(peer: Peer) -> None:
    """Close before the last chunk."""
    peer.request()
    peer.send(CHUNKED + b"2\r\n{}\r\n")


def resets_amid_the_body(peer: Peer) -> None:
    """Reset the connection after the first bytes of the body."""
    peer.request()
    peer.send(HEAD + b"Content-Length: 100\r\n\r\n{")
    peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closes_at_once(peer: Peer) -> None:
    """Take the connection and close it."""


def speaks_another_protocol(peer: Peer) -> None:
    """Answer as an SSH server would."""
    peer.send(b"SSH-2.0-OpenSSH_9.9\r\n")


def sends_an_endless_head(peer: Peer) -> None:
    """Send header fields without end."""
    peer.request()
    peer.send(HEAD)
    peer.send(*[b"X-Filler: " + b"x" * 4096 + b"\r\n"] * 10_000)


def sends_two_lengths(peer: Peer) -> None:
    """Send two different lengths, as in request smuggling."""
    peer.request()
    peer.send(HEAD + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}")


def sends_a_bomb(peer: Peer) -> None:
    """Send 50 MB as a small gzip."""
    peer.request()
    peer.answer("200 OK", BOMB, "Content-Encoding: gzip")


def sends_an_unknown_encoding(peer: Peer) -> None:
    """Claim an encoding on plain bytes."""
    peer.request()
    peer.answer("200 OK", b"{}", "Content-Encoding: identity, br")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(sends_one_byte_too_many, FailureReason.TOO_LARGE, id="JW-021-announced"),
        pytest.param(
            sends_one_byte_too_many_unannounced, FailureReason.TOO_LARGE, id="JW-021-chunked"
        ),
        pytest.param(announces_a_terabyte, FailureReason.TOO_LARGE, id="JW-022"),
        pytest.param(sends_chunks_for_ever, FailureReason.TOO_LARGE, id="JW-023"),
        pytest.param(drips_the_body, FailureReason.TIMEOUT, id="JW-025-body"),
        pytest.param(drips_the_head, FailureReason.TIMEOUT, id="JW-025-head"),
        pytest.param(sends_interim_answers_for_ever, FailureReason.TIMEOUT, id="JW-025-interim"),
        pytest.param(accepts_and_is_silent, FailureReason.TIMEOUT, id="JW-026-silent"),
        pytest.param(reads_and_is_silent, FailureReason.TIMEOUT, id="JW-026-mute"),
        pytest.param(resets_amid_the_body, FailureReason.TRANSPORT, id="JW-027-reset"),
        pytest.param(sends_less_than_announced, FailureReason.TRANSPORT, id="JW-027-short"),
        pytest.param(ends_amid_chunks, FailureReason.TRANSPORT, id="JW-027-short-chunked"),
        pytest.param(closes_at_once, FailureReason.TRANSPORT, id="closed"),
        pytest.param(speaks_another_protocol, FailureReason.TRANSPORT, id="ssh"),
        pytest.param(sends_an_endless_head, FailureReason.TRANSPORT, id="endless-head"),
        pytest.param(sends_two_lengths, FailureReason.TRANSPORT, id="two-lengths"),
        pytest.param(sends_a_bomb, FailureReason.ENCODING, id="gzip-bomb"),
        pytest.param(sends_an_unknown_encoding, FailureReason.ENCODING, id="two-encodings"),
    ],
)
async def test_a_hostile_server_is_given_up_in_time(script: Script, reason: FailureReason) -> None:
    """Whatever a server does, the call ends soon, with one exception and one reason."""
    http = HTTPClient(read_timeout=0.2, total_timeout=0.3)
    with listening(script) as server:
        started = time.perf_counter()
        with pytest.raises(HTTPFailure) as failure:
            await http.send(HTTPRequest("GET", server.url))
        assert time.perf_counter() - started < 3
    assert failure.value.reason is reason
    assert failure.value.__cause__ is None
    assert failure.value.__context__ is None


@pytest.mark.parametrize("connect_timeout", [pytest.param(0.1, id="JW-026-tls")])
async def test_a_stalled_tls_handshake_is_given_up_in_time(connect_timeout: float) -> None:
    """The connect deadline covers TLS."""
    with listening(accepts_and_is_silent) as server:
        http = HTTPClient(connect_timeout=connect_timeout)
        with pytest.raises(HTTPFailure, match="timeout"):
            await http.send(HTTPRequest("GET", server.url.replace("http:", "https:")))


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    """TLS is verified on loopback too, and no request is sent before it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path))
    seen: list[bytes] = []

    def impersonate(peer: Peer) -> None:
        # The handshake comes with the first read, and fails there.
        connection = context.wrap_socket(
            peer.connection, server_side=True, do_handshake_on_connect=False
        )
        with connection:
            seen.append(connection.recv(100))

    with listening(impersonate) as server, pytest.raises(HTTPFailure, match="connect"):
        await HTTPClient().send(HTTPRequest("GET", server.url.replace("http:", "https:"), "secret"))
    assert not any(seen)


def _self_signed(folder: Path) -> Path:
    """Return a file with a key and a certificate for 127.0.0.1, signed by that key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(tz=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return file


async def test_nobody_listening_is_a_failed_connection() -> None:
    """A closed port is told apart from a server that breaks off."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(HTTPFailure, match="connect"):
        await HTTPClient().send(HTTPRequest("GET", f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    "status", [pytest.param(status, id=f"JW-014-{status}") for status in (301, 302, 303, 307, 308)]
)
async def test_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    """The target is never contacted, whatever the status."""
    with listening() as target:

        def redirect(peer: Peer) -> None:
            peer.request()
            peer.answer(f"{status} Elsewhere", b"", f"Location: {target.url}/jwks.json")

        with listening(redirect) as server:
            reply = await HTTPClient().send(HTTPRequest("GET", server.url))
    assert reply.status == status
    assert target.connections == 0


async def test_calls_share_nothing() -> None:
    """Each call has a connection of its own and brings no cookie of an earlier one."""
    with listening() as server:

        def sets_cookies(peer: Peer) -> None:
            server.requests.append(peer.request())
            peer.answer("200 OK", b"{}", "Set-Cookie: DSR=secret; Path=/", "Connection: keep-alive")

        with listening(sets_cookies) as giver:
            http = HTTPClient()
            for _ in range(2):
                reply = await http.send(HTTPRequest("GET", giver.url))
                assert reply.cookie("DSR") == "secret"
            assert giver.connections == 2
    assert len(server.requests) == 2
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_what_is_sent() -> None:
    """One request with the bearer, the body and the fields that were asked for, and no more."""
    with listening() as server:
        body = {"code": "123456"}
        request = HTTPRequest("POST", server.url + "/v1/x", "P2x:secret", body, {"X-Extra": "1"})
        reply = await HTTPClient().send(request)
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:])
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert json.loads(sent or json.dumps(body)) == body
    assert fields["authorization"] == "bearer p2x:secret"
    assert (fields["accept-encoding"], fields["x-extra"]) == ("identity", "1")
    assert fields["user-agent"].startswith("fastapi-stepup/")
    assert (reply.status, reply.json_object()) == (200, {})
    assert "secret" not in repr(request) + repr(reply)


PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy")


@pytest.mark.parametrize(
    "variable", [pytest.param(name, id=f"JW-085-loopback-{name}") for name in PROXY_VARIABLES]
)
async def test_a_loopback_host_is_never_asked_through_a_proxy(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http is allowed for loopback because it stays here, so it stays here."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with listening() as proxy, listening() as server:
        monkeypatch.setenv(variable, proxy.url)
        await HTTPClient().send(HTTPRequest("GET", server.url))
    assert (proxy.connections, server.connections) == (0, 1)


@pytest.mark.parametrize(
    ("no_proxy", "connections"),
    [pytest.param("", 1, id="JW-085"), pytest.param("descope.invalid", 0, id="JW-085-no-proxy")],
)
async def test_the_proxy_variables_are_honoured_for_https(
    no_proxy: str, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pinned: many servers have no other way out; TLS runs end to end through the tunnel."""
    seen: list[bytes] = []

    def refuses(peer: Peer) -> None:
        seen.append(peer.request())
        peer.answer("403 Forbidden", b"")

    for name in (*PROXY_VARIABLES, "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with listening(refuses) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        with pytest.raises(HTTPFailure):
            await HTTPClient().send(
                HTTPRequest("GET", "https://descope.invalid/v2/keys/P2x", "secret")
            )
    assert len(seen) == connections
    assert all(request.startswith(b"CONNECT descope.invalid:443 ") for request in seen)
    assert not any(b"secret" in request for request in seen)


async def test_an_unusable_proxy_variable_is_a_failed_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A typo in the environment is answered like an outage, not with a crash."""
    monkeypatch.setenv("HTTPS_PROXY", "gopher://proxy")
    with pytest.raises(HTTPFailure, match="transport"):
        await HTTPClient().send(HTTPRequest("GET", "https://descope.invalid"))


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


@pytest.mark.parametrize(
    "transport",
    [
        pytest.param(httpx.AsyncClient, id="JW-082-client"),
        pytest.param(httpx.HTTPTransport, id="synchronous"),
        pytest.param(lambda: "https://proxy", id="text"),
        pytest.param(lambda: lambda request: None, id="function"),
    ],
)
def test_what_is_no_transport_is_refused(transport: Any) -> None:
    """A client, a synchronous transport or another library's fail at construction."""
    with pytest.raises(ConfigurationError, match=r"httpx\.AsyncBaseTransport"):
        HTTPClient(transport())


@pytest.mark.parametrize("name", ["connect_timeout", "read_timeout", "total_timeout"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(value, id=f"CF-003-{value}")
        for value in (0, -1, float("nan"), float("inf"), True, "3", None, 301)
    ],
)
def test_a_timeout_must_be_a_sane_number(name: str, value: Any) -> None:
    """No deadline can be turned off."""
    with pytest.raises(ConfigurationError, match="Timeouts are seconds"):
        HTTPClient(**{name: value})


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
    """Give pieces without end, whoever closes what."""
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


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"", b"\xff", b"\xef\xbb\xbf{}", b'{"a":1,"a":2}', b"{", b"NaN"]
)
def test_a_body_that_is_no_json_object_is_a_failure(body: bytes) -> None:
    """The reason is given and nothing of the body."""
    with pytest.raises(HTTPFailure, match="not_json"):
        HTTPResponse(200, httpx.Headers(), body).json_object()


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        pytest.param([], None, id="none"),
        pytest.param(["DS=a; Path=/", "DSR=b; HttpOnly"], "b", id="second"),
        pytest.param(["DSRX=a", "XDSR=b"], None, id="other-names"),
        pytest.param(["DSR=; Max-Age=0"], None, id="cleared"),
        pytest.param(["DSR=a=b"], "a=b", id="equals-sign"),
    ],
)
def test_a_cookie_of_the_reply_can_be_read(fields: list[str], value: str | None) -> None:
    """Only what this very reply sets, by its exact name."""
    headers = httpx.Headers([("Set-Cookie", field) for field in fields])
    assert HTTPResponse(200, headers, b"").cookie("DSR") == value


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("30", 30, id="seconds"),
        pytest.param("Fri, 15 Jan 2027 08:00:30 GMT", 30, id="date"),
        pytest.param("Fri, 15 Jan 2027 08:00:30 -0000", 30, id="date-unzoned"),
        pytest.param("Fri, 15 Jan 2027 09:00:30 +0100", 30, id="date-zoned"),
        pytest.param("Fri, 15 Jan 2027 07:59:30 GMT", 0, id="date-past"),
        pytest.param("Mon, 1 Jan 99999999999 00:00:00 GMT", None, id="date-absurd"),
        pytest.param("soon", None, id="garbage"),
        pytest.param("\u0663\u0660", None, id="arabic-digits"),
    ],
)
def test_retry_after_is_read_in_both_its_forms(value: str, seconds: float | None) -> None:
    """A number of seconds or a date; `None` for all else."""
    headers = httpx.Headers({"Retry-After": value}, encoding="utf-8")
    assert retry_after(HTTPResponse(503, headers, b""), now=1_800_000_000) == seconds


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://api.descope.com", id="JW-077-http"),
        pytest.param("file:///etc/passwd", id="JW-077-file"),
        pytest.param("ftp://api.descope.com", id="JW-077-ftp"),
        pytest.param("data:application/json,{}", id="JW-077-data"),
        pytest.param("https://user@api.descope.com", id="JW-077-userinfo"),
        pytest.param("https://user:pw@api.descope.com", id="JW-077-password"),
        pytest.param("https://api.descope.com#x", id="JW-077-fragment"),
        pytest.param("https://api.descope.com#", id="JW-077-empty-fragment"),
        pytest.param("https://", id="JW-077-no-host"),
        pytest.param("https:///path", id="JW-077-empty-host"),
        pytest.param("https://[fe80::1%25eth0]", id="JW-077-zone"),
        pytest.param("https://[fe80::1%eth0]", id="JW-077-raw-zone"),
        pytest.param("https://[::1", id="JW-077-open-bracket"),
        pytest.param("https://api.descope.com /x", id="JW-077-space"),
        pytest.param(" https://api.descope.com", id="JW-077-leading-space"),
        pytest.param("https://api.descope.com\n", id="JW-077-newline"),
        pytest.param("https://api.descope.com\x00", id="JW-077-nul"),
        pytest.param("https://api\tdescope.com", id="JW-077-tab"),
        pytest.param("https://\u0430pi.descope.com", id="JW-077-unicode"),
        pytest.param("https://api.descope.com\\@evil.example", id="JW-077-backslash"),
        pytest.param("https://api.descope.com/%2e%2e", id="JW-077-percent"),
        pytest.param("//api.descope.com", id="no-scheme"),
        pytest.param("api.descope.com", id="bare-host"),
        pytest.param("https://api.descope.com:0", id="port-0"),
        pytest.param("https://api.descope.com:65536", id="port-high"),
        pytest.param("https://api.descope.com:https", id="port-name"),
        pytest.param("https://api.descope.com/a/../b", id="dot-segments"),
        pytest.param("https://api.descope.com/<x>", id="angle-brackets"),
        pytest.param("", id="empty"),
        pytest.param(None, id="none"),
        pytest.param(b"https://api.descope.com", id="bytes"),
        pytest.param("https://api.descope.com?x=1", id="JW-081-query"),
        pytest.param("https://api.descope.com?", id="JW-081-empty-query"),
        pytest.param("http://10.0.0.1", id="JW-078-private"),
        pytest.param("http://localhost.example", id="JW-078-lookalike"),
        pytest.param("http://127.0.0.1.example", id="JW-078-lookalike-address"),
        pytest.param("http://0.0.0.0", id="JW-078-any"),
        pytest.param("http://2130706433", id="JW-078-decimal"),
    ],
)
def test_a_bad_base_url_is_refused(url: Any) -> None:
    """The message names the option and says what is wanted."""
    with pytest.raises(ConfigurationError, match=r"^base_url must be an https URL"):
        base_url("base_url", url)


@pytest.mark.parametrize(
    ("url", "result"),
    [
        pytest.param("https://api.descope.com", "https://api.descope.com", id="plain"),
        pytest.param("https://api.descope.com/", "https://api.descope.com", id="JW-081-slash"),
        pytest.param("https://x.example/a/b//", "https://x.example/a/b", id="JW-081-path"),
        pytest.param("https://x.example:8443/a", "https://x.example:8443/a", id="JW-081-port"),
        pytest.param("https://x.example:443", "https://x.example", id="JW-081-default-port"),
        pytest.param("https://x.example:", "https://x.example", id="JW-081-empty-port"),
        pytest.param("HTTPS://API.Descope.com/A", "https://api.descope.com/A", id="JW-081-case"),
        pytest.param("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443", id="ipv6"),
        pytest.param("https://10.0.0.1", "https://10.0.0.1", id="private-by-https"),
        pytest.param("https://xn--bcher-kva.example", "https://xn--bcher-kva.example", id="idna"),
    ],
)
def test_a_good_base_url_is_normalised(url: str, result: str) -> None:
    """Lower-case scheme and host, no default port, no trailing slash, the path as it is."""
    assert base_url("base_url", url) == result


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://localhost:18085", id="JW-078-localhost"),
        pytest.param("http://127.0.0.1:18085", id="JW-078-ipv4"),
        pytest.param("http://127.9.9.9:18085", id="JW-078-ipv4-net"),
        pytest.param("http://[::1]:18085", id="JW-078-ipv6"),
    ],
)
def test_plain_http_on_loopback_is_warned_about_once(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning names the option and comes once, however often the URL is used."""
    assert base_url("the_option", url) == url
    assert base_url("the_option", url + "/") == url
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["the_option is plain http on a loopback host: for development only."]
    assert is_loopback(url.split("//")[1].rsplit(":", 1)[0].strip("[]"))


@pytest.mark.parametrize(
    "project_id",
    [
        pytest.param("../../x", id="JW-079-dots"),
        pytest.param("x/../../keys", id="JW-079-path"),
        pytest.param("x?y", id="JW-079-query"),
        pytest.param("x#y", id="JW-079-fragment"),
        pytest.param("P2%2f", id="JW-079-percent"),
        pytest.param("", id="JW-079-empty"),
        pytest.param("P" * 1024, id="JW-079-long"),
        pytest.param("P2x\n", id="JW-079-newline"),
        pytest.param("P2x@evil.example", id="JW-079-at"),
        pytest.param("\u0420" + "2x", id="JW-079-unicode"),
    ],
)
def test_a_project_id_that_could_bend_a_url_is_refused(project_id: str) -> None:
    """It goes into a path and a host name, so nothing but letters, digits, `_` and `-` passes."""
    with pytest.raises(ConfigurationError):
        StepUpGuard.for_descope(project_id)


@pytest.mark.parametrize(
    ("project_id", "base", "url"),
    [
        pytest.param("P2x", None, "https://api.descope.com/v2/keys/P2x", id="default"),
        pytest.param(
            "P2x",
            "https://x.example:8443/auth/",
            "https://x.example:8443/auth/v2/keys/P2x",
            id="JW-081-joined",
        ),
        pytest.param(
            "Puse1" + "x" * 27,
            None,
            "https://api.use1.descope.com/v2/keys/Puse1" + "x" * 27,
            id="region",
        ),
    ],
)
def test_the_key_set_url_is_base_url_and_project(
    project_id: str, base: str | None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is built from configuration alone."""
    monkeypatch.delenv("DESCOPE_BASE_URI", raising=False)
    assert StepUpGuard.for_descope(project_id, base_url=base).keys.url == url

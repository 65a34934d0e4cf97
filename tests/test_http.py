"""Outbound HTTP against servers that misbehave, on real sockets."""

import gzip
import json
import socket
import ssl
import struct
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fastapi_stepup._http import (
    MAX_BODY,
    HTTPClient,
    HTTPFailure,
    HTTPRequest,
)
from fastapi_stepup.errors import FailureReason
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
    # Other reasons have more time, so that a busy machine does not make them timeouts.
    patience = 0.3 if reason is FailureReason.TIMEOUT else 2
    http = HTTPClient(read_timeout=patience, total_timeout=patience)
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


async def test_an_untrusted_certificate_is_refused(tmp_path: Path) -> None:
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


async def test_a_closed_port_is_a_failed_connection() -> None:
    """It differs from a server that breaks off."""
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

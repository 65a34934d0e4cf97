"""Outbound HTTP on real sockets: TLS, redirects, proxies and what is sent."""

import json
import socket
import ssl
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
    HTTPClient,
    HTTPFailure,
    HTTPRequest,
)
from tests.support.raw_server import Peer, listening

pytestmark = pytest.mark.anyio


def accepts_and_is_silent(peer: Peer) -> None:
    """Take the connection and never answer."""
    peer.over.wait(5)


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


async def test_a_redirect_is_an_answer_and_is_not_followed(subtests: pytest.Subtests) -> None:
    """The target is never contacted, whatever the status (JW-014)."""
    for status in (301, 302, 303, 307, 308):
        with subtests.test(str(status)), listening() as target:

            def redirect(peer: Peer, status: int = status, url: str = target.url) -> None:
                peer.request()
                peer.answer(f"{status} Elsewhere", b"", f"Location: {url}/jwks.json")

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


async def test_a_loopback_host_is_never_asked_through_a_proxy(
    subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http is allowed for loopback because it stays here, so it stays here (JW-085)."""
    for name in (*PROXY_VARIABLES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for variable in PROXY_VARIABLES:
        with (
            subtests.test(variable),
            listening() as proxy,
            listening() as server,
            monkeypatch.context() as environment,
        ):
            environment.setenv(variable, proxy.url)
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

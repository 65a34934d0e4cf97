"""Hostile requests as raw bytes to real servers: none gets anything without a token."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

import pytest

from fastapi_stepup import Challenge
from tests.support.attack_requests import HOSTILE, SECRET, SERVERS, Sent

ROOT = Path(__file__).resolve().parents[2]
UPGRADE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
)


@dataclass(frozen=True)
class Server:
    """A server that runs the hostile app, and a token that is good there."""

    name: str
    port: int
    token: str
    process: subprocess.Popen[str]

    def answer(self, request: bytes) -> tuple[int, bytes]:
        """Send *request* as it is; return the status and all that came back.

        A connection that is closed without an answer counts as 400.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(request)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        return int(received.split(maxsplit=2)[1]) if received else 400, received

    def is_up(self) -> bool:
        """Whether it listens already; it must be about to."""
        assert self.process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def handshake(self, sent: Sent) -> tuple[int, list[str], bytes]:
        """Ask for a WebSocket; return the status, the challenges and the body."""
        request = Sent(sent.target, fields=UPGRADE + sent.fields).raw
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(request)
            response = HTTPResponse(connection)
            response.begin()
            challenges = response.headers.get_all("WWW-Authenticate", [])
            return response.status, challenges, response.read()


def started(name: str, processes: ExitStack) -> Server:
    """Start a server in a process of its own."""
    with closing(socket.create_server(("127.0.0.1", 0))) as reserved:
        port = reserved.getsockname()[1]
    process = processes.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.attack_requests", name, str(port)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    processes.callback(process.terminate)
    assert process.stdout is not None
    return Server(name, port, process.stdout.readline().strip(), process)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """All servers, started at once."""
    with ExitStack() as processes:
        running = {name: started(name, processes) for name in SERVERS}
        for server in running.values():
            while not server.is_up():
                time.sleep(0.05)
        yield running


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Server:
    """Each of the servers."""
    return servers[request.param]


def with_token(server: Server, sent: Sent) -> bytes:
    """Return the bytes of a request with the token that its target needs."""
    fields = (*sent.fields, ("Authorization", f"Bearer {server.token}"))
    return Sent(sent.target, sent.method, fields).raw


@pytest.mark.parametrize("sent", HOSTILE)
def test_no_data_without_a_token(servers: dict[str, Server], sent: Sent) -> None:
    """Each server or the middleware refuses, and no handler runs."""
    for server in servers.values():
        status, received = server.answer(sent.raw)

        assert SECRET.encode() not in received, server.name
        assert status in sent.answers, server.name
        assert b"evil" not in received, server.name


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(Sent("/admin/pay"), id="path"),
        pytest.param(Sent("/%61dmin%2Fpay"), id="encoded-path"),
        pytest.param(Sent("/sub/pay"), id="mount"),
        pytest.param(Sent("/static/secret.txt"), id="file"),
        pytest.param(Sent("/graphql/", "POST", (("Content-Length", "0"),)), id="any-app"),
        pytest.param(Sent("/hosted", fields=(("Host", "internal.example"),)), id="host"),
    ],
)
def test_a_token_opens_what_the_table_attacks(server: Server, sent: Sent) -> None:
    """The data that no hostile request gets is there."""
    status, received = server.answer(with_token(server, sent))

    assert (status, SECRET.encode() in received) == (200, True)


@pytest.mark.parametrize(
    "target", ["/admin/pay%0a", "/static/%2e%2e/admin/pay", "/static/..%5csecret.txt"]
)
def test_a_token_does_not_open_hostile_paths(server: Server, target: str) -> None:
    """No honest client writes them, so they lead nowhere."""
    status, received = server.answer(with_token(server, Sent(target)))

    assert status in {400, 404}
    assert SECRET.encode() not in received


@pytest.mark.parametrize(
    ("fields", "answers"),
    [
        pytest.param(b"Authorization: Bearer %s\r\n", {200}, id="HD-002"),
        pytest.param(b"AUTHORIZATION: bEaReR %s\r\n", {200}, id="HD-003"),
        pytest.param(b"Authorization: Bearer %s,Bearer %s\r\n", {400, 401}, id="HD-005"),
        pytest.param(b"Authorization: Bearer\r\n", {400, 401}, id="HD-006"),
        pytest.param(b"Authorization: Bearer %s x\r\n", {401}, id="HD-009-space"),
        pytest.param(b"Authorization: Bearer %s;x\r\n", {401}, id="HD-009-semicolon"),
        pytest.param(b'Authorization: Bearer "%s"\r\n', {401}, id="HD-009-quoted"),
        pytest.param(b"Authorization: Bearer%s\r\n", {401}, id="HD-011"),
        pytest.param(b"Authorization: Bearer %s\xe9\xff\r\n", {400, 401}, id="HD-013"),
        pytest.param(b"Authorization: Bearer %s\0\r\n", {400, 401}, id="HD-014-nul"),
        pytest.param(b"Authorization: Bearer %s\rx\r\n", {400, 401}, id="HD-014-cr"),
        pytest.param(b"Authorization: Bearer %s\nx\r\n", {400, 401}, id="HD-014-lf"),
        pytest.param(b"Authorization: Bearer %s\r\n x\r\n", {400, 401}, id="HD-015"),
        pytest.param(
            b"Authorization: Bearer %s\r\nauthorization: Bearer %s\r\n", {400}, id="HD-016"
        ),
        pytest.param(
            b"Authorization: Basic x\r\nAuthorization: Bearer %s\r\n", {400}, id="HD-016b"
        ),
        pytest.param(b"Authorization : Bearer %s\r\n", {400, 401}, id="HD-017"),
        pytest.param(b"Authorization: x\r\nCookie: DS=%s\r\n", {400, 401}, id="HD-019"),
        pytest.param(b"Authorization:\r\nCookie: DS=%s\r\n", {400, 401}, id="HD-027"),
        pytest.param(b"Cookie: DS=%s\r\n", {200}, id="CK-002"),
        pytest.param(b"Cookie: DS=x; DS=%s\r\n", {400, 401}, id="CK-014"),
        pytest.param(b"Cookie: DS=%s\r\nCookie: DS=x\r\n", {400, 401}, id="CK-014-fields"),
        pytest.param(b'Cookie: DS="%s"\r\n', {401}, id="CK-015"),
    ],
)
def test_fields_that_servers_parse(
    servers: dict[str, Server], fields: bytes, answers: set[int]
) -> None:
    """Exactly one well-formed token opens; what a server makes of an odd one never does."""
    request = b"GET /admin/pay HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n%s\r\n"

    for server in servers.values():
        sent = request % fields.replace(b"%s", server.token.encode())
        status, received = server.answer(sent)

        assert status in answers, server.name
        assert (SECRET.encode() in received) is (status == 200), server.name


def test_trailers_are_no_credentials(server: Server) -> None:
    """HD-026: what comes after the body is not looked at."""
    start = b"POST /admin/pay HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n"
    chunked = b"Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n0\r\n"

    status, _ = server.answer(
        start + chunked + b"Authorization: Bearer %s\r\n\r\n" % server.token.encode()
    )

    # uvicorn hands the trailer fields that httptools finds over as header fields.
    assert status == 200 if server.name == "uvicorn-httptools" else status in {400, 401}


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(
            b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked"
            b"\r\n\r\n0\r\n\r\nGET /admin/pay HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            id="two-lengths",
        ),
        pytest.param(
            b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
            b"GET /admin/pay HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            id="pipelined",
        ),
        pytest.param(b"GET /admin/pay HTTP/1.0\r\n\r\n", id="http-1.0"),
        pytest.param(
            b"GET /admin/pay HTTP/1.1\r\nHost: a\r\nX: y\r\n\tAuthorization: z\r\n"
            b"Connection: close\r\n\r\n",
            id="folded-name",
        ),
        pytest.param(
            b"GET /admin/pay?/health HTTP/1.1\r\nHost: a\r\n"
            b"Connection: close, Authorization\r\n\r\n",
            id="hop-by-hop",
        ),
    ],
)
def test_requests_behind_requests_are_judged(server: Server, request_: bytes) -> None:
    """However a server splits what comes, each part that it hands on needs a token."""
    _, received = server.answer(request_)

    assert SECRET.encode() not in received


def test_an_upgrade_to_http_2_is_no_way_in(server: Server) -> None:
    """A server that switches protocols asks the middleware about the same request."""
    upgrade = (
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    )

    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(Sent("/admin/pay", fields=upgrade).raw)
        time.sleep(0.2)  # for what comes after the switch
        received = connection.recv(65536)

    assert received.startswith((b"HTTP/1.1 401", b"HTTP/1.1 101"))
    assert SECRET.encode() not in received


def test_what_is_public_needs_no_token(server: Server) -> None:
    """Exactly that path, on every server."""
    status, received = server.answer(Sent("/health").raw)

    assert status == 200
    assert b"well" in received


def test_an_upload_is_refused_before_it_is_sent(server: Server) -> None:
    """MW-051: a gigabyte is announced, none of it comes, and the answer is there."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(
            b"POST /admin/pay HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1073741824\r\n\r\n"
        )

        assert b" 401 " in connection.recv(65536)


def test_a_connection_does_not_remember_a_token(server: Server) -> None:
    """MW-059: the next request on the same connection starts without claims."""
    sent = with_token(server, Sent("/admin/pay")).replace(b"Connection: close\r\n", b"")

    _, received = server.answer(sent + Sent("/admin/pay").raw)

    assert received.count(b"HTTP/1.1 200") == received.count(b"HTTP/1.1 401") == 1


def test_a_websocket_is_denied_with_the_challenge(server: Server) -> None:
    """MW-043: before `accept`, with the answer that a request gets; all of them can."""
    status, challenges, body = server.handshake(Sent("/ws"))

    assert status == 401
    assert [str(c) for c in Challenge.parse(challenges[0])] == challenges
    assert b'"unauthenticated"' in body


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        pytest.param("/ws?token={}", (), id="HD-025"),
        pytest.param("/ws", (("Sec-WebSocket-Protocol", "bearer, {}"),), id="protocol"),
        pytest.param("/ws", (("Cookie", "DS={}"),), id="CK-013-none"),
        pytest.param(
            "/ws", (("Cookie", "DS={}"), ("Origin", "https://evil.example")), id="CK-013-foreign"
        ),
        pytest.param("/admin/pay", (), id="route-of-requests"),
        pytest.param("/health/ws", (), id="nothing-there"),
        pytest.param("/w%73%0a", (("Authorization", "Bearer {}"),), id="hostile-path"),
    ],
)
def test_a_websocket_is_not_opened(
    server: Server, target: str, fields: tuple[tuple[str, str], ...]
) -> None:
    """A good token in the wrong place, or without same-origin evidence, opens none."""
    placed = tuple((name, value.format(server.token)) for name, value in fields)

    status, *_ = server.handshake(Sent(target.format(server.token), fields=placed))

    assert status in {400, 401, 403, 404}


def test_a_websocket_opens_with_a_token(server: Server) -> None:
    """MW-041: `101 Switching Protocols`."""
    sent = Sent("/ws", fields=(("Authorization", f"Bearer {server.token}"),))

    assert server.handshake(sent)[0] == 101

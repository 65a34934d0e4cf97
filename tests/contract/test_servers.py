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


def test_no_data_without_a_token(server: Server, subtests: pytest.Subtests) -> None:
    """The server or the middleware refuses, and no handler runs."""
    for number, sent in HOSTILE.items():
        with subtests.test(number):
            status, received = server.answer(sent.raw)

            assert SECRET.encode() not in received
            assert status in sent.answers
            assert b"evil" not in received


def test_a_token_opens_what_the_table_attacks(server: Server, subtests: pytest.Subtests) -> None:
    """The data that no hostile request gets is there."""
    rows: dict[str, Sent] = {
        "path": Sent("/admin/pay"),
        "encoded path": Sent("/%61dmin%2Fpay"),
        "mount": Sent("/sub/pay"),
        "file": Sent("/static/secret.txt"),
        "any app": Sent("/graphql/", "POST", (("Content-Length", "0"),)),
        "host": Sent("/hosted", fields=(("Host", "internal.example"),)),
    }
    for name, sent in rows.items():
        with subtests.test(name):
            status, received = server.answer(with_token(server, sent))

            assert (status, SECRET.encode() in received) == (200, True)


def test_a_token_does_not_open_hostile_paths(server: Server, subtests: pytest.Subtests) -> None:
    """No honest client writes them, so they lead nowhere."""
    rows: list[str] = ["/admin/pay%0a", "/static/%2e%2e/admin/pay", "/static/..%5csecret.txt"]
    for target in rows:
        with subtests.test(target=target):
            status, received = server.answer(with_token(server, Sent(target)))

            assert status in {400, 404}
            assert SECRET.encode() not in received


def test_fields_that_servers_parse(server: Server, subtests: pytest.Subtests) -> None:
    """Exactly one well-formed token opens; what a server makes of an odd one never does."""
    rows: dict[str, tuple[bytes, set[int]]] = {
        "HD-002": (b"Authorization: Bearer %s\r\n", {200}),
        "HD-003": (b"AUTHORIZATION: bEaReR %s\r\n", {200}),
        "HD-005": (b"Authorization: Bearer %s,Bearer %s\r\n", {400, 401}),
        "HD-006": (b"Authorization: Bearer\r\n", {400, 401}),
        "HD-009-space": (b"Authorization: Bearer %s x\r\n", {401}),
        "HD-009-semicolon": (b"Authorization: Bearer %s;x\r\n", {401}),
        "HD-009-quoted": (b'Authorization: Bearer "%s"\r\n', {401}),
        "HD-011": (b"Authorization: Bearer%s\r\n", {401}),
        "HD-013": (b"Authorization: Bearer %s\xe9\xff\r\n", {400, 401}),
        "HD-014-nul": (b"Authorization: Bearer %s\0\r\n", {400, 401}),
        "HD-014-cr": (b"Authorization: Bearer %s\rx\r\n", {400, 401}),
        "HD-014-lf": (b"Authorization: Bearer %s\nx\r\n", {400, 401}),
        "HD-015": (b"Authorization: Bearer %s\r\n x\r\n", {400, 401}),
        "HD-016": (b"Authorization: Bearer %s\r\nauthorization: Bearer %s\r\n", {400}),
        "HD-016b": (b"Authorization: Basic x\r\nAuthorization: Bearer %s\r\n", {400}),
        "HD-017": (b"Authorization : Bearer %s\r\n", {400, 401}),
        "HD-019": (b"Authorization: x\r\nCookie: DS=%s\r\n", {400, 401}),
        "HD-027": (b"Authorization:\r\nCookie: DS=%s\r\n", {400, 401}),
        "CK-002": (b"Cookie: DS=%s\r\n", {200}),
        "CK-014": (b"Cookie: DS=x; DS=%s\r\n", {400, 401}),
        "CK-014-fields": (b"Cookie: DS=%s\r\nCookie: DS=x\r\n", {400, 401}),
        "CK-015": (b'Cookie: DS="%s"\r\n', {401}),
    }
    request = b"GET /admin/pay HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n%s\r\n"
    for number, (fields, answers) in rows.items():
        with subtests.test(number):
            status, received = server.answer(request % fields.replace(b"%s", server.token.encode()))

            assert status in answers
            assert (SECRET.encode() in received) is (status == 200)


def test_trailers_are_no_credentials(server: Server) -> None:
    """HD-026: what comes after the body is not looked at."""
    start = b"POST /admin/pay HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n"
    chunked = b"Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n0\r\n"

    status, _ = server.answer(
        start + chunked + b"Authorization: Bearer %s\r\n\r\n" % server.token.encode()
    )

    # uvicorn hands the trailer fields that httptools finds over as header fields.
    assert status == 200 if server.name == "uvicorn-httptools" else status in {400, 401}


def test_requests_behind_requests_are_judged(server: Server, subtests: pytest.Subtests) -> None:
    """However a server splits what comes, each part that it hands on needs a token."""
    rows: dict[str, bytes] = {
        "two lengths": b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        b"GET /admin/pay HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "pipelined": b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
        b"GET /admin/pay HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "http 1.0": b"GET /admin/pay HTTP/1.0\r\n\r\n",
        "folded name": b"GET /admin/pay HTTP/1.1\r\nHost: a\r\nX: y\r\n\tAuthorization: z\r\n"
        b"Connection: close\r\n\r\n",
        "hop by hop": b"GET /admin/pay?/health HTTP/1.1\r\nHost: a\r\n"
        b"Connection: close, Authorization\r\n\r\n",
    }
    for name, request_ in rows.items():
        with subtests.test(name):
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


def test_a_websocket_is_not_opened(server: Server, subtests: pytest.Subtests) -> None:
    """A good token in the wrong place, or without same-origin evidence, opens none."""
    rows: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
        "HD-025": ("/ws?token={}", ()),
        "protocol": ("/ws", (("Sec-WebSocket-Protocol", "bearer, {}"),)),
        "CK-013-none": ("/ws", (("Cookie", "DS={}"),)),
        "CK-013-foreign": ("/ws", (("Cookie", "DS={}"), ("Origin", "https://evil.example"))),
        "route of requests": ("/admin/pay", ()),
        "nothing there": ("/health/ws", ()),
        "hostile path": ("/w%73%0a", (("Authorization", "Bearer {}"),)),
    }
    for name, (target, fields) in rows.items():
        with subtests.test(name):
            placed = tuple((name, value.format(server.token)) for name, value in fields)

            status, *_ = server.handshake(Sent(target.format(server.token), fields=placed))

            assert status in {400, 401, 403, 404}


def test_a_websocket_opens_with_a_token(server: Server) -> None:
    """MW-041: `101 Switching Protocols`."""
    sent = Sent("/ws", fields=(("Authorization", f"Bearer {server.token}"),))

    assert server.handshake(sent)[0] == 101

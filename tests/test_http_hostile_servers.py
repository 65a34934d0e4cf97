"""Outbound HTTP against servers that misbehave, on real sockets."""

import gzip
import socket
import struct
import time

import pytest

from fastapi_stepup._http import (
    MAX_BODY,
    HTTPClient,
    HTTPFailure,
    HTTPRequest,
)
from fastapi_stepup.errors import FailureReason
from tests.support.raw_server import Peer, Script, listening

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


HOSTILE = {
    "JW-021-announced": (sends_one_byte_too_many, FailureReason.TOO_LARGE),
    "JW-021-chunked": (sends_one_byte_too_many_unannounced, FailureReason.TOO_LARGE),
    "JW-022": (announces_a_terabyte, FailureReason.TOO_LARGE),
    "JW-023": (sends_chunks_for_ever, FailureReason.TOO_LARGE),
    "JW-025-body": (drips_the_body, FailureReason.TIMEOUT),
    "JW-025-head": (drips_the_head, FailureReason.TIMEOUT),
    "JW-025-interim": (sends_interim_answers_for_ever, FailureReason.TIMEOUT),
    "JW-026-silent": (accepts_and_is_silent, FailureReason.TIMEOUT),
    "JW-026-mute": (reads_and_is_silent, FailureReason.TIMEOUT),
    "JW-027-reset": (resets_amid_the_body, FailureReason.TRANSPORT),
    "JW-027-short": (sends_less_than_announced, FailureReason.TRANSPORT),
    "JW-027-short-chunked": (ends_amid_chunks, FailureReason.TRANSPORT),
    "closed": (closes_at_once, FailureReason.TRANSPORT),
    "ssh": (speaks_another_protocol, FailureReason.TRANSPORT),
    "endless-head": (sends_an_endless_head, FailureReason.TRANSPORT),
    "two-lengths": (sends_two_lengths, FailureReason.TRANSPORT),
    "gzip-bomb": (sends_a_bomb, FailureReason.ENCODING),
    "two-encodings": (sends_an_unknown_encoding, FailureReason.ENCODING),
}
# On trio one for each reason: what differs there is the deadline and how a call is given up.
ON_TRIO = ("JW-023", "JW-025-body", "JW-026-silent", "JW-027-reset", "gzip-bomb")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("anyio_backend", "script", "reason"),
    [
        *(pytest.param("asyncio", *HOSTILE[name], id=name) for name in HOSTILE),
        *(pytest.param("trio", *HOSTILE[name], id=f"{name}-trio") for name in ON_TRIO),
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

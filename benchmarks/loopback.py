"""HTTP over loopback: requests per second, and what a flood does to those who are good.

The client writes and reads bytes on sockets that it keeps, since a client that does more is slower
than the server. It runs in this process, the server in another one.
"""

import random
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from selectors import EVENT_READ, SelectSelector
from time import perf_counter
from typing import Final

from benchmarks.material import Material, Missing, peer, with_unknown_kid
from benchmarks.measuring import (
    Effort,
    Figure,
    Target,
    at_least,
    at_most,
    below,
    compared,
    compared_additions,
    percentile,
    skipped,
)
from benchmarks.served import serving

_CONNECTIONS: Final = 8
_GOOD_RATE: Final = 250.0
_FLOOD_RATE: Final = 1000.0
_PATIENCE: Final = 1.0
_OK: Final = 200
_REFUSED: Final = 401
_TURNS: Final = 10


class Connection:
    """A socket that stays open, with at most one request on its way."""

    def __init__(self, port: int) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        """Send one request."""
        self._received = b""
        self.sent_at = perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """Read what is there, and return the whole answer once it is."""
        self._received += self.socket.recv(65536)
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        return self._received if end and len(body) >= int(length) else None

    def ask(self, request: bytes) -> bytes:
        """Send one request and wait for the answer."""
        self.send(request)
        answer = None
        while answer is None:
            answer = self.receive()
        return answer


@contextmanager
def connected(port: int, number: int) -> Iterator[list[Connection]]:
    """Hold *number* connections until the block ends."""
    connections = [Connection(port) for _ in range(number)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.socket.close()


def request_for(path: str, token: str, *, field: str = "bearer") -> bytes:
    """Return the bytes of a `GET` with a token as a `bearer` or as a `cookie`."""
    presented = f"Authorization: Bearer {token}" if field == "bearer" else f"Cookie: DS={token}"
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0",
        "Accept: application/json",
        "Accept-Language: en-GB,en;q=0.5",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Sec-Fetch-Site: same-origin",
        presented,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def _expect(answer: bytes, status: int) -> None:
    if _status(answer) != status:
        raise AssertionError(answer)


@dataclass(frozen=True)
class Served:
    """What one request took the server, in seconds: of real time, and of its CPU time."""

    real: float
    cpu: float


def saturate(
    connections: Sequence[Connection], requests: Sequence[bytes], *, seconds: float
) -> Served:
    """Return what a request takes when the server always has the next one waiting.

    Sends *requests* in turn, and stops early when the last one is sent; a single one goes on.
    """
    coming = repeat(requests[0]) if len(requests) == 1 else iter(requests)
    busy_before = _number(connections[0], "/cpu")
    with SelectSelector() as selector:
        answered, waiting = 0, 0
        now = started = perf_counter()
        for connection, request in zip(connections, coming, strict=False):
            selector.register(connection.socket, EVENT_READ, connection)
            connection.send(request)
            waiting += 1
        end = started + seconds
        while waiting:
            for key, _ in selector.select(_PATIENCE):
                answer = key.data.receive()
                if answer is None:
                    continue
                _expect(answer, _OK)
                answered += 1
                now = perf_counter()
                following = next(coming, None) if now < end else None
                if following is None:
                    waiting -= 1
                else:
                    key.data.send(following)
        elapsed = now - started
    busy = _number(connections[0], "/cpu") - busy_before
    return Served(elapsed / answered, busy / answered)


def _number(connection: Connection, path: str) -> float:
    return float(connection.ask(request_for(path, "-")).rpartition(b"\r\n\r\n")[2])


def throughput(effort: Effort) -> list[Figure]:
    """Return the guarded routes' requests per second, by those of routes that check less.

    A machine whose other core is busy gives the client no time to keep the server at work, so the
    same ratio is told of the server's CPU time, which does not depend on the client.
    """
    material = Material()
    token = material.token(su=True)
    asked = {
        "/guarded": [request_for("/guarded", token)],
        "/stepped": [request_for("/stepped", token)],
        "/header": [request_for("/header", token)],
        "/scheme": [request_for("/scheme", token)],
        "with a cookie": [request_for("/guarded", token, field="cookie")],
        "/cookie": [request_for("/cookie", token, field="cookie")],
    }
    pairs: list[tuple[str, str, str, Target | None]] = [
        ("/header", "/guarded", "RequireSession / route that reads the header", at_least(0.89)),
        ("/header", "/stepped", "RequireStepUp / route that reads the header", at_least(0.89)),
        ("/cookie", "with a cookie", "RequireSession with a cookie / route that reads it", None),
        ("/scheme", "/guarded", "RequireSession / route that has FastAPI's APIKeyHeader", None),
    ]
    ways: tuple[tuple[str, Callable[[Served], float]], ...] = (
        ("requests per second of the server's CPU time", lambda served: served.cpu),
        ("requests/s", lambda served: served.real),
    )
    name = "{} on uvicorn: {}"
    names = [name.format(way, what) for way, _ in ways for *_, what, _ in pairs]
    try:
        took = _taking_turns(material, asked, effort)
    except Missing as missing:
        return [skipped(name, str(missing)) for name in names]
    note = f"for one request; {_parser()}, {_CONNECTIONS} connections"
    return [
        compared(
            name.format(way, what),
            [seconds(served) for served in took[less]],
            [seconds(served) for served in took[more]],
            target=target if way.endswith("CPU time") else None,
            note=note,
        )
        for way, seconds in ways
        for less, more, what, target in pairs
    ]


def first_tokens(effort: Effort) -> list[Figure]:
    """Return what a dependency adds to a request on uvicorn whose token is new, in CPU time."""
    name = "first-time token on uvicorn: RequireSession adds / a jwt.decode dependency adds"
    material = Material()
    tokens = material.tokens(effort.tokens)
    paths = ("/guarded", "/decode", "/header")
    asked = {path: [request_for(path, token) for token in tokens] for path in paths}
    try:
        took = _taking_turns(material, asked, effort)
    except Missing as missing:
        return [skipped(name, str(missing))]
    guarded, decode, header = ([served.cpu for served in took[path]] for path in paths)
    note = f"for one request; {_parser()}, {_CONNECTIONS} connections"
    return [
        compared_additions(
            name, (guarded, header), (decode, header), target=at_most(0.80), note=note
        )
    ]


def _taking_turns(
    material: Material, asked: Mapping[str, Sequence[bytes]], effort: Effort
) -> dict[str, list[Served]]:
    """Return what a request of each kind took, turn by turn; the token cache starts empty."""
    took: dict[str, list[Served]] = {name: [] for name in asked}
    kinds = list(asked.items())
    with serving(material) as port, connected(port, _CONNECTIONS) as connections:
        for number in range(effort.load_rounds + 1):
            for offset in range(len(kinds)):
                name, requests = kinds[(number + offset) % len(kinds)]
                connections[0].ask(request_for("/clear", "-"))
                served = saturate(connections, requests, seconds=effort.load_seconds)
                if number:
                    took[name].append(served)
    return took


def _parser() -> str:
    try:
        return f"uvicorn on {peer('httptools').__name__}"
    except Missing:
        return "uvicorn on h11"


class _Stream:
    """Requests that are due again and again, each on the next idle connection."""

    def __init__(
        self,
        connections: Sequence[Connection],
        requests: Iterator[bytes],
        *,
        pause: Callable[[], float],
        status: int,
    ) -> None:
        self.connections = connections
        self._idle = deque(connections)
        self._requests = requests
        self._pause = pause
        self._status = status
        self.due = 0.0
        self.sent = 0
        self.taken: list[float] = []

    @property
    def is_quiet(self) -> bool:
        """Whether every request is answered."""
        return len(self._idle) == len(self.connections)

    def send_if_due(self, now: float) -> None:
        """Send the next request when it is due; late while all connections are busy."""
        if now >= self.due and self._idle:
            self._idle.popleft().send(next(self._requests))
            self.sent += 1
            self.due = now + self._pause()

    def receive(self, connection: Connection) -> None:
        """Read what has come, and note how long the answer took once it is whole."""
        answer = connection.receive()
        if answer is not None:
            self.taken.append(perf_counter() - connection.sent_at)
            _expect(answer, self._status)
            self._idle.append(connection)


def _flow(streams: Sequence[_Stream], *, seconds: float) -> None:
    """Let *streams* flow, all from this thread, until all that was sent is answered."""
    with SelectSelector() as selector:
        for stream in streams:
            stream.due = perf_counter()
            for connection in stream.connections:
                selector.register(connection.socket, EVENT_READ, (stream, connection))
        end = perf_counter() + seconds
        while (now := perf_counter()) < end or not all(stream.is_quiet for stream in streams):
            wait = _PATIENCE
            if now < end:
                for stream in streams:
                    stream.send_if_due(now)
                wait = max(0.0, min(stream.due for stream in streams) - perf_counter())
            for key, _ in selector.select(wait):
                stream, connection = key.data
                stream.receive(connection)


def flood(effort: Effort) -> list[Figure]:
    """Return what 1,000 tokens with unknown key ids a second do to a good token's slowest 1 %.

    The idle phase and the flooded one take turns, as does a flood of the same size on a route that
    refuses all without a look at the token: what that does is FastAPI's share.
    """
    names = (
        "p99 of good tokens while flooded with unknown kids / idle p99",
        "p99 of good tokens while a bare 401 route is flooded / idle p99",
        "key fetches that the flood caused",
    )
    material = Material()
    token = material.token()
    payload = token.split(".")[1]
    # More than are sent, since each flood is as late as its connections are busy.
    count = round(effort.flood_seconds * _FLOOD_RATE) + _CONNECTIONS
    unknown = [request_for("/guarded", with_unknown_kid(payload)) for _ in range(count)]
    phases: dict[str, list[list[float]]] = {"idle": [], "flood": [], "control": []}
    try:
        with (
            serving(material) as port,
            connected(port, 4) as steady,
            connected(port, _CONNECTIONS) as hostile,
        ):
            steady[0].ask(request_for("/guarded", token))
            before = _number(steady[0], "/fetches")
            bad = _Stream(hostile, iter(unknown), pause=_evenly, status=_REFUSED)
            plain = repeat(request_for("/refused", token))
            control = _Stream(hostile, plain, pause=_evenly, status=_REFUSED)
            company = {"idle": [], "flood": [bad], "control": [control]}
            for _ in range(_TURNS):
                for name, others in company.items():
                    requests = repeat(request_for("/guarded", token))
                    good = _Stream(steady, requests, pause=_at_random, status=_OK)
                    _flow([good, *others], seconds=effort.flood_seconds / _TURNS)
                    phases[name].append(good.taken)
            caused = _number(steady[0], "/fetches") - before
    except Missing as missing:
        return [skipped(name, str(missing)) for name in names]
    return [
        _tail(names[0], phases["flood"], phases["idle"], at_most(1.5), f"{bad.sent} unknown kids"),
        _tail(names[1], phases["control"], phases["idle"], None, "FastAPI's own share"),
        Figure(
            name=names[2],
            value=caused,
            unit="fetches",
            target=at_most(2),
            note=f"{bad.sent} unknown kids",
        ),
    ]


def long_paths(effort: Effort) -> list[Figure]:
    """Return what one client with the longest paths does to a good token's slowest 1 %.

    It sends 100 request lines of 60 kB a second to an app behind 100 rules. Decoding such a line
    takes a server some milliseconds where it is percent-encoding throughout, so that is compared
    with the same line to an app without rules.
    """
    names = (
        "p99 of good tokens beside a client with 30,000 segments, 100 rules / idle p99",
        "p99 of good tokens beside a client with 12,000 escapes: 100 rules / no rules",
    )
    material = Material()
    token = material.token()
    lines = {
        "segments": ("/covered/" + 30_000 * "a/", _REFUSED),
        "escapes": ("/covered/" + 12_000 * "%252e", _REFUSED),
        "bare": ("/bare/" + 12_000 * "%252e", _OK),
    }
    phases: dict[str, list[list[float]]] = {name: [] for name in ("idle", *lines)}
    try:
        with (
            serving(material) as port,
            connected(port, 4) as steady,
            connected(port, 1) as hostile,
        ):
            steady[0].ask(request_for("/guarded", token))
            for _ in range(_TURNS):
                for phase, taken in phases.items():
                    requests = repeat(request_for("/guarded", token))
                    streams = [_Stream(steady, requests, pause=_at_random, status=_OK)]
                    if phase in lines:
                        path, status = lines[phase]
                        bad = repeat(request_for(path, "-"))
                        streams.append(_Stream(hostile, bad, pause=_slowly, status=status))
                    _flow(streams, seconds=effort.flood_seconds / _TURNS)
                    taken.append(streams[0].taken)
    except Missing as missing:
        return [skipped(name, str(missing)) for name in names]
    return [
        _tail(names[0], phases["segments"], phases["idle"], below(2), "100 a second"),
        _tail(names[1], phases["escapes"], phases["bare"], below(2), "100 a second"),
    ]


def _slowly() -> float:
    return 0.01


def _evenly() -> float:
    return 1 / _FLOOD_RATE


def _at_random() -> float:
    """Return a pause that is in step with nothing."""
    return random.expovariate(_GOOD_RATE)


def _tail(
    name: str,
    these: list[list[float]],
    those: list[list[float]],
    target: Target | None,
    note: str,
) -> Figure:
    """Return the ratio of two p99s, turn by turn: one bad moment of the machine is one turn."""
    tails = [[percentile(turn, 0.99) for turn in side] for side in (these, those)]
    return compared(name, *tails, target=target, note=note)

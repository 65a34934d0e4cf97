"""A server on loopback that speaks raw bytes, for answers that no framework would give."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[["Peer"], None]


@dataclass
class Peer:
    """One accepted connection, and the word when to stop misbehaving."""

    connection: socket.socket
    over: threading.Event

    def request(self) -> bytes:
        """Read what the client sends, up to the blank line."""
        received = b""
        while b"\r\n\r\n" not in received and (chunk := self.connection.recv(4096)):
            received += chunk
        return received

    def send(self, *chunks: bytes, pause: float = 0) -> None:
        """Send *chunks*, waiting *pause* seconds after each."""
        for chunk in chunks:
            self.connection.sendall(chunk)
            self.over.wait(pause)

    def answer(self, status: str = "200 OK", body: bytes = b"{}", *fields: str) -> None:
        """Send one well-formed answer."""
        head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields])
        self.send(head.encode("latin-1") + b"\r\n\r\n" + body)


@dataclass
class Listener:
    """Where the server listens, and what reached it."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def listening(script: Script | None = None) -> Iterator[Listener]:
    """Accept connections until the block ends and run *script* on each, in a thread.

    Without a script every request is noted and answered with an empty JSON object.
    """
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = Listener(server.getsockname()[1])

        def note(peer: Peer) -> None:
            listener.requests.append(peer.request())
            peer.answer()

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                (script or note)(Peer(connection, over))

        workers: list[threading.Thread] = []

        def accept() -> None:
            while True:
                connection, _ = server.accept()
                if over.is_set():
                    connection.close()
                    return
                listener.connections += 1
                workers.append(threading.Thread(target=serve, args=(connection,)))
                workers[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener
        finally:
            over.set()
            socket.create_connection(("127.0.0.1", listener.port)).close()
            acceptor.join()
            for worker in workers:
                worker.join()

"""Serve an ASGI app on a socket, for SDKs that need a URL. Needs uvicorn (the `demo` extra)."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp

if TYPE_CHECKING:
    import uvicorn


_START_SECONDS: Final = 10


class UvicornMissing(ImportError):
    """uvicorn is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "Serving the emulator needs uvicorn: pip install 'fastapi-stepup[demo]'.",
            name="uvicorn",
        )


def server_for(app: ASGIApp) -> "uvicorn.Server":
    """Return a quiet uvicorn server for *app*.

    Raises:
        UvicornMissing: uvicorn is not installed.
    """
    try:
        import uvicorn  # noqa: PLC0415 - an extra
    except ImportError:
        raise UvicornMissing from None
    return uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", http="h11")
    )


def url_of(listener: socket.socket) -> str:
    """Return the base URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def served(app: ASGIApp, *, port: int = 0) -> Iterator[str]:
    """Serve *app* on loopback from a thread until the context ends; the value is its base URL.

    Args:
        app: The app to serve.
        port: The port; 0 takes a free one.

    Raises:
        UvicornMissing: uvicorn is not installed.
        OSError: The port is taken.
    """
    server = server_for(app)
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield url_of(listener)
        finally:
            # uvicorn closes its sockets only if it is asked to stop after it has started.
            deadline = time.monotonic() + _START_SECONDS
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.01)  # pragma: no cover - the thread is faster on most machines
            server.should_exit = True
            thread.join()

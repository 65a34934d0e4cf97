"""The app of `benchmarks.requests` on uvicorn: `python -m benchmarks.served JWKS`.

Prints its port, and stops when its standard input ends, so that it never outlives who started it.
"""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from benchmarks.material import Material, guard_on, peer
from benchmarks.requests import app_with
from fastapi_stepup import StepUpMiddleware, StepUpRule

_ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def serving(material: Material) -> Iterator[int]:
    """Serve the app from another process until the block ends; the value is its port.

    Raises:
        Missing: uvicorn is not installed.
    """
    peer("uvicorn")
    command = [sys.executable, "-m", "benchmarks.served", json.dumps(material.jwks)]
    with subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("")(scope, receive, send)


def serve(jwks: str) -> None:
    """Serve until standard input ends.

    Besides the routes of `benchmarks.requests` there are `/fetches`, how often the key set was
    fetched, `/cpu`, the seconds of CPU time that this process has had, `/bare`, which
    answers any path, and `/covered`, which is that behind 100 rules.
    """
    import uvicorn  # noqa: PLC0415  # not everybody has it

    fetches = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal fetches
        fetches += 1
        return httpx.Response(200, content=jwks)

    guard = guard_on(answer)
    app = app_with(guard)

    @app.get("/fetches")
    async def fetched() -> int:
        return fetches

    @app.get("/cpu")
    async def cpu() -> float:
        return time.process_time()

    rules = [StepUpRule(f"/page{n}", "session") for n in range(100)]
    app.mount("/bare", _nothing)
    app.mount("/covered", StepUpMiddleware(_nothing, guard=guard, rules=rules, default="public"))

    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", ws="none")
    server = uvicorn.Server(config)

    def stop_at_end_of_input() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        server.run([listener])


if __name__ == "__main__":
    serve(sys.argv[1])

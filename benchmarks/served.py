"""The apps of `benchmarks.requests` on uvicorn: `python -m benchmarks.served JWKS`.

Prints its port, and stops when its standard input ends, so that it never outlives who started it.
"""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.contenders import decoder
from benchmarks.material import Material, guard_on, peer
from benchmarks.requests import apps_with
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


def _telling(number: Callable[[], float]) -> ASGIApp:
    """Return the app that answers with *number*."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(str(number()))(scope, receive, send)

    return app


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("")(scope, receive, send)


def serve(jwks: str) -> None:
    """Serve until standard input ends.

    Each path has an app of its own. Besides those of `benchmarks.requests` there are `/fetches`,
    how often the key set was fetched, `/cpu`, the seconds of CPU time that this process has had,
    `/clear`, which empties the token cache, `/bare`, which answers any path below it, and
    `/covered`, which is that behind 100 rules.
    """
    import uvicorn  # noqa: PLC0415  # of the extra `bench`

    fetches = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal fetches
        fetches += 1
        return httpx.Response(200, content=jwks)

    guard = guard_on(answer)
    rules = [StepUpRule(f"/page{n}", "session") for n in range(100)]

    def clear() -> int:
        guard.verifier.clear()
        return 0

    apps: dict[str, ASGIApp] = {
        **apps_with(guard, decoder(json.loads(jwks)["keys"][0])),
        "/fetches": _telling(lambda: fetches),
        "/cpu": _telling(time.process_time),
        "/clear": _telling(clear),
        "/bare": _nothing,
        "/covered": StepUpMiddleware(_nothing, guard=guard, rules=rules, default="public"),
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = "/" + scope["path"][1:].partition("/")[0]
        await apps[first](scope, receive, send)

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

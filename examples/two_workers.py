"""The shop in two processes behind one address, which count tries together in Redis.

Start it: `pip install -e '.[demo,redis]' && python -m examples.two_workers` (needs `redis-server`)

A Descope emulator is served beside it: the workers share it, as they would share Descope.
`compose.yaml` starts the same in containers.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.tee_hee_tees.app import Settings, create_app
from fastapi_stepup.testing import DescopeEmulator

PROJECT_ID = "P2LocalEmulatorProject000001"


class WorkerHeader:
    """Says in each reply which process made it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Worker"] = str(os.getpid())
            await send(message)

        await self.app(scope, receive, send_named)


def create_worker() -> FastAPI:
    """Return the shop of one worker; everything it shares is named by the environment."""
    app = create_app(
        Settings(
            database=Path(os.environ.get("SHOP_DATABASE", "tee_hee_tees.sqlite3")),
            project_id=os.environ.get("DESCOPE_PROJECT_ID", PROJECT_ID),
            redis_url=os.environ.get("REDIS_URL"),
        )
    )
    app.add_middleware(WorkerHeader)
    return app


@contextmanager
def redis_server(folder: str) -> Iterator[str]:
    """Run a Redis of our own on a free socket file; the value is its URL."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is not installed.")
    path = f"{folder}/redis.sock"
    quiet = ["--port", "0", "--save", "", "--dir", folder, "--loglevel", "warning"]
    command = [program, "--unixsocket", path, *quiet]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  # fixed arguments
    try:
        client = redis.Redis(unix_socket_path=path)
        for _ in range(100):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        client.close()
        yield f"redis+unix://{path}"
    finally:
        process.terminate()
        process.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Start Redis, the emulator and two workers, and stay until they are stopped."""
    parser = argparse.ArgumentParser(prog="python -m examples.two_workers")
    parser.add_argument("--port", type=int, default=8000, help="the port of the shop")
    port = parser.parse_args(arguments).port
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        os.environ |= {
            "REDIS_URL": stack.enter_context(redis_server(folder)),
            "DESCOPE_BASE_URI": stack.enter_context(DescopeEmulator(PROJECT_ID).serve()),
            "DESCOPE_PROJECT_ID": PROJECT_ID,
            "SHOP_DATABASE": f"{folder}/shop.sqlite3",
        }
        print(f"The shop:      http://localhost:{port}")
        print(f"The emulator:  {os.environ['DESCOPE_BASE_URI']}", flush=True)
        uvicorn.run(
            "examples.two_workers:create_worker",
            factory=True,
            workers=2,
            port=port,
            timeout_worker_healthcheck=60,  # a machine that is busy starts them slowly
            log_level="warning",
        )


if __name__ == "__main__":
    main()

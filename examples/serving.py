"""What the small examples share: their app on a port, and a Descope emulator beside it."""

import argparse
import socket
from collections.abc import Sequence
from typing import Any

import uvicorn

from fastapi_stepup import StepUpGuard
from fastapi_stepup.testing import DescopeEmulator


def serve(app: Any, guard: StepUpGuard, arguments: Sequence[str] | None = None) -> None:
    """Serve *app* with *guard* on an emulator, and print a session to try it with.

    Args:
        app: The app.
        guard: Its guard.
        arguments: The command line; by default the process's own.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000, help="the port; 0 takes a free one")
    port = parser.parse_args(arguments).port
    emulator = DescopeEmulator(project_id=guard.project_id)
    with (
        emulator.attach(guard),
        emulator.serve(port=8085 if port else 0) as descope,
        socket.create_server(("127.0.0.1", port)) as listening,
    ):
        app.state.emulator = emulator
        ann = emulator.sign_in("ann@example.com")
        print(f"The app:       http://127.0.0.1:{listening.getsockname()[1]}")
        print(f"The emulator:  {descope}  (codes: {descope}/_emulator/outbox)")
        print(f"Ann's session: Authorization: Bearer {ann.session_token}")
        print(f"to step up by: {ann.refresh_token}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])

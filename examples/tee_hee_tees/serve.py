"""The shop's command line."""

import argparse
import os
import socket
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from examples.tee_hee_tees.app import Settings, create_app
from examples.tee_hee_tees.flow import FlowFiles, NoComponent
from examples.tee_hee_tees.people import STAFF, STAFF_ROLE
from fastapi_stepup import errors

Serve = Callable[[uvicorn.Server, list[socket.socket]], None]


def main(arguments: Sequence[str] | None = None, *, serve: Serve = uvicorn.Server.run) -> None:
    """Start the shop and stay until it is stopped.

    `DESCOPE_PROJECT_ID` in the environment runs it on that Descope project; without it the shop
    brings an emulator along and needs neither an account nor a network.

    Args:
        arguments: The command line without the program's name; by default the process's own.
        serve: Runs the server on the listening sockets until it is stopped.

    Raises:
        SystemExit: Something cannot be used: an argument, the project id, the file or the port.
    """
    parser = argparse.ArgumentParser(prog="python -m examples.tee_hee_tees", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="who can reach it sees the inbox")
    parser.add_argument("--port", type=int, default=8000, help="the port; 0 takes a free one")
    parser.add_argument(
        "--database",
        type=Path,
        default=Settings.database,
        help="the SQLite file with carts and orders",
    )
    parser.add_argument(
        "--flow",
        type=Path,
        metavar="DIR",
        help="a node_modules folder with @descope/web-component: the cart can run Descope's flow",
    )
    options = parser.parse_args(arguments)
    project_id = os.environ.get("DESCOPE_PROJECT_ID")
    try:
        files = FlowFiles(options.flow) if options.flow else None
        app = create_app(Settings(database=options.database, project_id=project_id, flow=files))
    except NoComponent as error:
        parser.exit(1, f"{error}\n")
    except errors.ConfigurationError as error:
        parser.exit(1, f"{error}\n")
    except sqlite3.Error as error:
        parser.exit(1, f"Cannot keep orders in {options.database} ({error}). Try --database.\n")
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listening = socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        parser.exit(1, f"Cannot listen on port {options.port} ({error.strerror}). Try --port 0.\n")
    with listening:
        port = listening.getsockname()[1]
        where = "the local emulator" if app.state.emulator else "your Descope project"
        who = f": {STAFF}" if app.state.emulator else ""
        print(f"\n  Tee-Hee Tees is open: http://localhost:{port}")
        print(
            f"  Signing in on {where}; carts and orders in {options.database}. Ctrl+C closes.\n"
            f"  Staff have the role {STAFF_ROLE}{who}.\n",
            flush=True,
        )
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        serve(server, [listening])

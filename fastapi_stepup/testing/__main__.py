"""`python -m fastapi_stepup.testing`: serve the Descope emulator."""

import argparse
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

from starlette.types import ASGIApp

from fastapi_stepup.testing.emulator.emulator import DEFAULT_PROJECT_ID, DescopeEmulator
from fastapi_stepup.testing.emulator.files import StateFile, seed
from fastapi_stepup.testing.server import UvicornMissing, server_for, url_of
from fastapi_stepup.web.host_names import is_local_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve an emulator from the command line and return the exit code."""
    options = _parser().parse_args(arguments)
    if not is_local_name(options.host) and not options.expose:
        _say(f"{_EXPOSED.format(host=options.host)} Pass --expose if you mean it.", to=sys.stderr)
        return 2
    try:
        emulator = DescopeEmulator(
            options.project_id,
            issuer=options.issuer,
            response_mode=options.response_mode,
            rotate_refresh=options.rotate_refresh,
            ui=options.ui,
        )
        app: ASGIApp = StateFile(emulator, options.state) if options.state else emulator
        if options.seed:
            seed(emulator, options.seed)
        server = server_for(app)
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        listener = socket.create_server((options.host, options.port), family=family)
    except (UvicornMissing, ValueError, OSError) as error:
        _say(f"The emulator did not start: {error}", to=sys.stderr)
        return 1
    if not is_local_name(options.host):
        _say(f"WARNING: {_EXPOSED.format(host=options.host)}", to=sys.stderr)
    with listener:
        _say(_READY.format(project_id=emulator.project_id, url=url_of(listener)))
        with suppress(KeyboardInterrupt):
            server.run([listener])
    return 0


_LAST_PORT: Final = 65535
_EXPOSED: Final = (
    "{host} is not a loopback address: other machines can read every code and mint any token."
)
_READY: Final = """\
Descope emulator for project {project_id} on {url}
  Python SDK   DESCOPE_BASE_URI={url} DESCOPE_PROJECT_ID={project_id}
  Go SDK       DESCOPE_BASE_URL={url} DESCOPE_PROJECT_ID={project_id}
  Node SDK     DescopeClient({{ projectId: "{project_id}", baseUrl: "{url}" }})
  web SDK      <descope-wc project-id="{project_id}" base-url="{url}" base-cdn-url="{url}" \
flow-id="step-up"></descope-wc>
  React SDK    <AuthProvider projectId="{project_id}" baseUrl="{url}" baseCdnUrl="{url}">
  your guard   StepUpGuard.for_descope("{project_id}", base_url="{url}")
  codes sent   GET {url}/_emulator/outbox
  users, codes, sessions: open {url} in a browser
Press Ctrl+C to stop."""


def _say(text: str, *, to: TextIO | None = None) -> None:
    print(text, file=to, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastapi_stepup.testing",
        description="Serve a local Descope emulator that the official SDKs run against.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=8085, help="port; 0 takes a free one (8085)")
    parser.add_argument("--project-id", default=DEFAULT_PROJECT_ID, help="the emulated project")
    parser.add_argument("--issuer", help="the tokens' iss (the project id)")
    parser.add_argument(
        "--response-mode",
        choices=["body", "cookies"],
        default="body",
        help="where the refresh token goes (body)",
    )
    parser.add_argument(
        "--rotate-refresh", action="store_true", help="a refresh replaces the refresh token"
    )
    parser.add_argument(
        "--ui",
        metavar="DIR",
        help="a folder of the npm package @descope/web-components-ui: flows get Descope's own look",
    )
    parser.add_argument(
        "--state",
        metavar="FILE",
        type=Path,
        help="keep users, keys and sessions in this file; it has private keys, and is yours alone",
    )
    parser.add_argument(
        "--seed",
        metavar="FILE",
        type=Path,
        help='start with the users of this JSON file: {"users": [{"login_id": "ann@example.com"}]}',
    )
    parser.add_argument(
        "--expose",
        action="store_true",
        help="allow an address that other machines reach, as in a container",
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

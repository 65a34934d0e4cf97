"""The commands in a terminal, compared with what they once said (`recorded/`).

After a change that is meant, `RECORD=1 python -m pytest tests/cli/test_recorded.py` writes the
files anew; look at what has changed before you commit it.
"""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastapi_stepup.cli.main import app
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.server import served

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent / "recorded"
BANK_PROJECT = "P2LocalEmulatorProject000001"
PROJECT = "P2abcdefghijklmnopqrstuvwxyz"
ANN = "ann@example.com"

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_CHANGING = {
    r"\b1[78]\d{8}\b": "EPOCH     ",
    r"127\.0\.0\.1:\d{5}": "127.0.0.1:NNNNN",
    r"(speed +)(good|look)( +)The key set took .+": r"\1FAST\3The key set took N ms.",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, .+ (from now|ago)": r"TIME, \1",
    r"for \d[\dmins ]* more": "for N min more",
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What the commands run against: two served emulators and a database."""

    urls: dict[str, str]
    descope: DescopeEmulator
    database: Path

    def token(self, kind: str) -> str:
        """Return a new token, `good` or `expired`: it must not age while other tests run."""
        if kind == "good":
            return self.descope.step_up(ANN, amr=("email", "mfa"), age=60).session_token
        return self.descope.token(iat=1_700_000_000, exp=1_700_000_600)

    def secrets(self, token: str) -> tuple[str, ...]:
        """Return what no output may have in it."""
        return (*token.split("."), ANN, self.descope.user(ANN).user_id, "hunter2")

    def environment(self, project: str) -> dict[str, str]:
        """Return the environment of an operator of *project*."""
        left_out = ("DESCOPE_", "COV", "COLUMNS", "LINES")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        more = {"DESCOPE_BASE_URI": self.urls[project], "SHOP_DATABASE": str(self.database)}
        return inherited | more | {"TERM": "xterm-256color"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Both projects, served."""
    with ExitStack() as stack:
        emulators = {name: DescopeEmulator(name) for name in (BANK_PROJECT, PROJECT)}
        urls = {name: stack.enter_context(served(each)) for name, each in emulators.items()}
        descope = emulators[BANK_PROJECT]
        descope.create_user(ANN)
        database = tmp_path_factory.mktemp("shop") / "shop.sqlite3"
        yield Stage(urls=urls, descope=descope, database=database)


def in_a_terminal(arguments: list[str], given: str, environment: dict[str, str]) -> tuple[int, str]:
    """Run the command in a terminal of 120 columns; return exit status and what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "fastapi_stepup", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        process.stdin.write(given.encode())
        process.stdin.close()
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so at the end
                break
            if not piece:  # pragma: no cover - so do other systems
                break
            shown += piece
    os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def settled(text: str) -> str:
    """Return *text* without styles, and with what differs from run to run left out."""
    text = _STYLE.sub("", text)
    for pattern, replacement in _CHANGING.items():
        text = re.sub(pattern, replacement, text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


CASES = {
    "routes-shop": (["routes", "examples/observability/app.py"], None, 0),
    "routes-bank": (["routes", "examples/existing_app.py"], None, 0),
    "routes-open": (["routes", "tests/cli/apps.py:app", "--fail-on-open"], None, 1),
    "check-shop": (["check", "examples/observability/app.py"], None, 0),
    "check-bank": (["check", "examples.existing_app:app"], None, 0),
    "check-open": (["check", "tests/cli/apps.py"], None, 0),
    "inspect-good": (
        ["inspect", "--project-id", BANK_PROJECT, "--policy", "max_age=5m", "--policy", "amr=totp"],
        "good",
        0,
    ),
    "inspect-expired": (["inspect", "-", "--project-id", BANK_PROJECT], "expired", 1),
    "inspect-offline": (["inspect"], "good", 0),
}


@pytest.mark.parametrize("name", CASES)
def test_command_says_what_it_said(name: str, stage: Stage) -> None:
    """In a terminal, with its exit status; as JSON with the same findings; and nothing secret."""
    arguments, token, status = CASES[name]
    environment = stage.environment(PROJECT if name.endswith("-open") else BANK_PROJECT)
    given = stage.token(token or "good")

    ended, shown = in_a_terminal(arguments, given, environment)
    as_json = subprocess.run(
        [sys.executable, "-m", "fastapi_stepup", *arguments, "--json"],
        cwd=ROOT,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )

    file = RECORDED / f"{name}.txt"
    if os.environ.get("RECORD"):  # pragma: no cover - to record them anew
        file.write_text(settled(shown), "utf-8")
    assert settled(shown) == file.read_text("utf-8")
    assert (ended, as_json.returncode) == (status, status)
    assert "\x1b" not in as_json.stdout
    for each in texts_of(json.loads(as_json.stdout)):
        assert each in " ".join(settled(shown).split())
    for secret in stage.secrets(given):
        assert secret not in shown + as_json.stdout + as_json.stderr


def texts_of(document: dict[str, object]) -> list[str]:
    """Return what the JSON says and the table must show: paths, findings, names of claims."""
    routes = document.get("routes", [])
    findings = document.get("findings", [])
    assert isinstance(routes, list)
    assert isinstance(findings, list)
    claims = document.get("claims", {})
    assert isinstance(claims, dict)
    # Long findings are broken over several lines of the table.
    return [
        *(route["path"] for route in routes),
        *(
            settled(each["text"].split(":")[0]).strip()
            for each in findings
            if each["subject"] != "speed"
        ),
        *claims,
    ]


def test_open_route_is_red(stage: Stage) -> None:
    """In a terminal that has colours."""
    _, shown = in_a_terminal(["routes", "tests/cli/apps.py"], "", stage.environment(PROJECT))

    assert re.search(r"\x1b\[1;31m/open", shown)
    assert not re.search(r"\x1b\[1;31m/pay", shown)


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "{good}"],
        ["inspect", "--project-id", "{good}"],
        ["inspect", "--base-url", "https://ann:hunter2@host.example", "--project-id", PROJECT],
        ["check", "--project-id", "{good}"],
        ["check", "--base-url", "https://ann:hunter2@host.example", "--project-id", PROJECT],
        ["check", "--project-id", PROJECT, "--redis-url", "redis://:hunter2@127.0.0.1:1/0"],
        ["check", "--project-id", PROJECT, "--redis-url", "not a URL hunter2"],
        ["emulator", "--project-id", "{good}"],
    ],
    ids=range(8),
)
def test_error_shows_nothing_secret(arguments: list[str], stage: Stage) -> None:
    """A token or a password that was given in the wrong place is not repeated."""
    given = stage.token("good")
    command = [each.replace("{good}", given) for each in arguments]
    done = CliRunner().invoke(app, command, input=given, env=stage.environment(PROJECT))

    assert done.exit_code in {1, 2}
    assert done.exception is None or isinstance(done.exception, SystemExit)
    for secret in stage.secrets(given):
        assert secret not in done.output

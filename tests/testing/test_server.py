"""The emulator on a socket: from a test, and as a command."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.__main__ import main

COMMAND = [sys.executable, "-m", "fastapi_stepup.testing"]


def test_emulator_is_served_to_a_test(emulator: DescopeEmulator) -> None:
    """An SDK that takes no transport gets a URL, until the context ends."""
    with emulator.serve() as base_url:
        assert base_url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{base_url}/v2/keys/{emulator.project_id}").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(base_url)


def test_server_that_is_not_needed_stops_at_once(emulator: DescopeEmulator) -> None:
    """Leaving before the server has started is no trouble; a taken port is an error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        taken = emulator.serve(port=port)
        with pytest.raises(OSError, match="in use"):
            taken.__enter__()
    with emulator.serve():
        pass


@dataclass
class Running:
    """The command: where it serves, what it said, and how it ended."""

    url: str
    notice: str
    complaints: str = ""
    exit_code: int | None = None


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    """Run the command on a free port, and interrupt it in the end."""
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        notice = "".join(iter(process.stdout.readline, "Press Ctrl+C to stop.\n"))
        command = Running(notice.splitlines()[0].split()[-1], notice)
        yield command
        process.send_signal(signal.SIGINT)
        _, command.complaints = process.communicate(timeout=10)
        command.exit_code = process.returncode


def test_command_serves_a_project() -> None:
    """The command says how to point SDKs at it, and serves the project until interrupted."""
    issuer = "https://auth.example.com/P2demo"
    with running("--project-id", "P2demo", "--issuer", issuer) as command:
        for line in (
            f"DESCOPE_BASE_URI={command.url} DESCOPE_PROJECT_ID=P2demo",
            f'baseUrl: "{command.url}"',
            f'<AuthProvider projectId="P2demo" baseUrl="{command.url}" baseCdnUrl="{command.url}">',
            f'base-url="{command.url}" base-cdn-url="{command.url}" flow-id="step-up">',
            f'StepUpGuard.for_descope("P2demo", base_url="{command.url}")',
        ):
            assert line in command.notice
        reply = httpx.get(f"{command.url}/_emulator/project").json()
        assert reply == {"project_id": "P2demo", "issuer": issuer}
    assert (command.exit_code, command.complaints) == (0, "")


def test_command_takes_the_settings_of_the_project() -> None:
    """Tokens in cookies and rotation are for SDKs of any language."""
    with running("--response-mode", "cookies", "--rotate-refresh") as command:
        tokens = httpx.post(f"{command.url}/_emulator/sign-in", json={"login_id": "ann"}).json()
        project_id = httpx.get(f"{command.url}/_emulator/project").json()["project_id"]
        bearer = f"Bearer {project_id}:{tokens['refresh_token']}"
        refreshed = httpx.post(
            f"{command.url}/v1/auth/refresh", headers={"Authorization": bearer}, json={}
        )
        assert refreshed.json()["refreshJwt"] == ""
        assert refreshed.cookies["DSR"] != tokens["refresh_token"]


def test_command_keeps_its_state(tmp_path: Path) -> None:
    """After a restart the seeded user, the session and the keys are as they were."""
    seed = tmp_path / "seed.json"
    seed.write_text('{"users": [{"login_id": "ann", "email": "ann@example.com"}]}')
    files = ("--seed", str(seed), "--state", str(tmp_path / "state.json"))
    seen = []
    for _ in range(2):
        with running(*files) as command:
            assert f"open {command.url} in a browser" in command.notice
            replies = [
                httpx.get(f"{command.url}/_emulator/{path}").json() for path in ("users", "keys")
            ]
            seen.append(replies)
        assert (command.exit_code, command.complaints) == (0, "")
    assert seen[0] == seen[1]
    assert seen[0][0]["users"][0]["login_ids"] == ["ann"]


def test_other_hosts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A host that others can reach needs a word more."""
    assert main(["--host", "0.0.0.0"]) == 2
    assert "--expose" in capsys.readouterr().err


def test_exposed_emulator_warns() -> None:
    """With that word it serves, and says loudly what that means."""
    with running("--host", "0.0.0.0", "--expose") as command:
        url = command.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/_emulator/project").status_code == 200
    assert command.complaints.startswith("WARNING: 0.0.0.0 is not a loopback address")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--project-id", "P/2"], id="project-id"),
        pytest.param(["--host", "localhost.invalid", "--expose", "--port", "0"], id="host"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A command that cannot start says why and fails."""
    assert main(arguments) == 1
    assert "did not start" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
def test_port_must_be_one(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that no socket has is a usage error."""
    with pytest.raises(SystemExit):
        main(["--port", port])
    assert "a port is a number from 0 to 65535" in capsys.readouterr().err


def test_missing_uvicorn_is_explained(
    emulator: DescopeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serving needs an extra, and the error names it."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    served = emulator.serve()
    with pytest.raises(ImportError, match=r"fastapi-stepup\[demo\]"):
        served.__enter__()

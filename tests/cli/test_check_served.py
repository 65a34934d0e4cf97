"""`check` as an operator runs it: a process of its own against a served emulator."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import anyio
import pytest
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from fastapi_stepup.cli.check import check_setup
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.server import served

pytestmark = pytest.mark.servers

PROJECT = "P2abcdefghijklmnopqrstuvwxyz"
ANOTHER = "P2anotherProject000000000000"


def slow(app: ASGIApp) -> ASGIApp:
    """Return *app*, which takes its time."""

    async def dawdling(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(1.2)
        await app(scope, receive, send)

    return dawdling


async def down(scope: Scope, receive: Receive, send: Send) -> None:
    """Be a host that is out of order."""
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body"})


def closed_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def checked(url: str, project: str = PROJECT, *options: str) -> tuple[int, str]:
    """Return exit status and output of the command, durations written as `N`."""
    command = [sys.executable, "-m", "fastapi_stepup", "check", "--project-id", project, *options]
    environment = {**os.environ, "DESCOPE_BASE_URI": url, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "Traceback" not in done.stderr
    lines = [re.sub(r"  +", " | ", line.strip()) for line in done.stdout.splitlines()]
    text = "\n".join(lines).replace(url, "URL")
    return done.returncode, re.sub(r"took [0-9.]+ ", "took N ", text)


HEALTHY = f"""Check
subject
project | good | {PROJECT} at URL
keys | good | 1 usable for RS256, fresh
speed | good | The key set took N ms.
clock | good | This machine's clock agrees with the server's.
"""


def test_healthy_project_is_all_good() -> None:
    """Four lines, each good."""
    with served(DescopeEmulator(PROJECT)) as url:
        assert checked(url) == (0, HEALTHY + "All good.")


@pytest.mark.parametrize(
    ("served_app", "project", "line"),
    [
        pytest.param(
            lambda emulator: emulator,
            ANOTHER,
            "The host knows no such project: check the project id.",
            id="wrong-project",
        ),
        pytest.param(
            lambda _: down, PROJECT, "The host is out of order: try again later.", id="key-endpoint"
        ),
        pytest.param(
            lambda _: RedirectResponse("https://elsewhere.example"),
            PROJECT,
            "The host redirects, which is never followed: give the API's address.",
            id="redirecting",
        ),
    ],
)
def test_fault_of_the_host_is_one_line(
    served_app: Callable[[DescopeEmulator], ASGIApp], project: str, line: str
) -> None:
    """It says what to do, and the exit status is 1."""
    with served(served_app(DescopeEmulator(PROJECT))) as url:
        assert checked(url, project) == (
            1,
            f"Check\nsubject\nproject | good | {project} at URL\nkeys | bad | {line}\n1 to mend.",
        )


def test_host_that_is_not_there_is_one_line() -> None:
    """Nothing listens at the address."""
    status, output = checked(f"http://127.0.0.1:{closed_port()}")

    assert status == 1
    assert (
        "keys | bad | The host cannot be reached: check network, proxy and DESCOPE_BASE_URI."
        in output.splitlines()
    )


def test_slow_host_is_worth_a_look() -> None:
    """The rest is good, so the exit status is 0."""
    with served(slow(DescopeEmulator(PROJECT))) as url:
        status, output = checked(url)

    assert status == 0
    assert "speed | look | The key set took N s; the first request waits." in output.splitlines()


def test_redis_that_is_down_is_one_line() -> None:
    """Its address and password are not in it."""
    with served(DescopeEmulator(PROJECT)) as url:
        redis_url = f"redis://:hunter2@127.0.0.1:{closed_port()}/0"
        status, output = checked(url, PROJECT, "--redis-url", redis_url)

    assert status == 1
    assert output.endswith(
        "\nredis | bad | Redis does not answer (ConnectionError): check address and password. "
        "Until then limits count in each process.\n1 to mend."
    )


@pytest.mark.parametrize(("off", "which"), [(120, "ahead of"), (-120, "behind")])
def test_clock_that_is_off_by_two_minutes_is_one_line(off: int, which: str) -> None:
    """This machine's against that of a real server."""
    with served(DescopeEmulator(PROJECT)) as url:
        report = check_setup(project_id=PROJECT, base_url=url, clock=lambda: time.time() + off)

    (clock,) = [each for each in report.data["findings"] if each["subject"] == "clock"]
    assert clock["state"] == "bad"
    assert re.fullmatch(
        rf"This machine's clock is (1 min 5\d s|2 min( 1 s)?) {which} the server's; "
        r"5 s are allowed for\. Synchronise it \(NTP\)\.",
        clock["text"],
    )

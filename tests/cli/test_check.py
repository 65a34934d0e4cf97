"""`check`: one line for each thing that is wrong, and what to do about it."""

import json
import re
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from typer.testing import CliRunner

from fastapi_stepup.cli import check as checking
from fastapi_stepup.cli.check import check_setup
from fastapi_stepup.cli.main import app
from fastapi_stepup.cli.output import Report
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.server import served
from tests.cli import apps

PROJECT = "P2abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a served emulator."""
    with served(DescopeEmulator(PROJECT)) as url:
        yield url


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def said(report: Report, subject: str) -> tuple[str, str]:
    """Return state and text of the one finding about *subject*."""
    (found,) = [each for each in report.data["findings"] if each["subject"] == subject]
    return found["state"], found["text"]


def test_healthy_setup_is_all_good(url: str) -> None:
    """Project, keys, speed and clock are good, and the exit status is 0."""
    result = CliRunner().invoke(app, ["check", "--project-id", PROJECT, "--base-url", url])

    assert result.exit_code == 0
    assert result.output.splitlines()[-1].strip() == "All good."
    report = check_setup(project_id=PROJECT, base_url=url)
    assert report.data["ok"]
    assert {each["state"] for each in report.data["findings"]} == {"good"}
    assert said(report, "keys") == ("good", "1 usable for RS256, fresh")


def test_wrong_project_is_said(url: str) -> None:
    """The host answers, but knows no such project."""
    report = check_setup(project_id="P2anotherProjectOfNobody0000", base_url=url)

    assert said(report, "keys") == (
        "bad",
        "The host knows no such project: check the project id.",
    )


def test_unusable_project_id_is_said() -> None:
    """What the constructor says stands in the report."""
    result = CliRunner().invoke(app, ["check", "--project-id", "no id", "--json"])

    assert result.exit_code == 1
    (finding,) = json.loads(result.output)["findings"]
    assert (finding["subject"], finding["state"]) == ("project", "bad")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(120, r"(1 min 5\d s|2 min) ahead of"), (-120, "(1 min 5.|2 min).* behind"), (-8, "s behind")],
)
def test_clock_that_is_off_is_said(url: str, seconds: float, words: str) -> None:
    """More than the leeway and the second that `Date` leaves open."""
    report = check_setup(project_id=PROJECT, base_url=url, clock=lambda: time.time() + seconds)

    state, text = said(report, "clock")
    assert state == "bad"
    assert re.search(words, text)
    assert "NTP" in text


def test_clock_within_the_leeway_is_good(url: str) -> None:
    """Three seconds are allowed for."""
    report = check_setup(project_id=PROJECT, base_url=url, clock=lambda: time.time() + 3)

    assert said(report, "clock")[0] == "good"


def answering(response: httpx.Response) -> httpx.MockTransport:
    """Return a transport on which every request gets *response*."""
    return httpx.MockTransport(lambda _: response)


def test_endpoint_that_is_down_is_said() -> None:
    """Nothing listens there."""
    report = check_setup(project_id=PROJECT, base_url=f"http://127.0.0.1:{free_port()}")

    assert said(report, "keys")[0] == "bad"
    assert "cannot be reached" in said(report, "keys")[1]


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (httpx.Response(302, headers={"Location": "https://elsewhere.example"}), "redirect"),
        (httpx.Response(500), "out of order"),
        (httpx.Response(429), "throttling"),
        (httpx.Response(200, text="<html>"), "no usable key set"),
        (httpx.Response(200, json={"keys": []}), "no usable key set"),
    ],
)
def test_odd_answers_are_said(response: httpx.Response, words: str) -> None:
    """Each kind of answer has its own advice."""
    report = check_setup(project_id=PROJECT, transport=answering(response))

    assert said(report, "keys")[0] == "bad"
    assert words in said(report, "keys")[1]


def test_slow_endpoint_is_worth_a_look(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request after a start waits that long."""
    monkeypatch.setattr(checking, "_SLOW", 0.0)
    report = check_setup(project_id=PROJECT, base_url=url)

    assert said(report, "speed")[0] == "look"
    assert report.data["ok"]


def test_server_without_a_clock_is_worth_a_look() -> None:
    """Then nothing can be said about this machine's."""
    report = check_setup(project_id=PROJECT, transport=DescopeEmulator(PROJECT).transport)

    assert said(report, "clock")[0] == "look"


def test_redis_that_is_down_is_said_without_its_password(url: str) -> None:
    """The kind of error and what follows for the limits; no address, no password."""
    redis_url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    result = CliRunner().invoke(
        app,
        ["check", "--project-id", PROJECT, "--base-url", url, "--redis-url", redis_url],
    )

    assert result.exit_code == 1
    assert "Redis does not answer (ConnectionError)" in " ".join(result.output.split())
    assert "hunter2" not in result.output


def test_app_is_checked_with_the_guards_in_front_of_it() -> None:
    """Its open routes are worth a look, and the keys are those of its own guard."""
    with DescopeEmulator(PROJECT).attach(apps.guard) as descope, served(descope) as url:
        result = CliRunner().invoke(
            app, ["check", "tests.cli.apps:app", "--json", "--base-url", url]
        )

    findings = json.loads(result.output)["findings"]
    assert findings[0] == {
        "subject": "routes",
        "state": "look",
        "text": "Open routes change state: /open",
    }
    assert [each["text"] for each in findings if each["subject"] == "project"] == [
        f"{PROJECT} at {apps.guard.base_url}"
    ]


def test_app_without_a_guard_is_bad() -> None:
    """It protects nothing."""
    report = check_setup("tests.cli.apps:unguarded", project_id=PROJECT)

    assert said(report, "routes") == ("bad", "No guard is in front of any route of this app.")


def test_emulator_is_the_one_of_the_testing_module() -> None:
    """Options go through; wrong ones end with its exit status."""
    result = CliRunner().invoke(app, ["emulator", "--host", "0.0.0.0"])

    assert result.exit_code == 2

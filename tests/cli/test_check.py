"""`check`: one line for each thing that is wrong, and what to do about it."""

import json
import shutil
import socket
import subprocess
import time
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
from fastapi import Depends, FastAPI
from typer.testing import CliRunner

from fastapi_stepup import RequireStepUp, StepUpGuard
from fastapi_stepup.cli import check as checking
from fastapi_stepup.cli.check import check_setup, of_guard
from fastapi_stepup.cli.findings import report_of
from fastapi_stepup.cli.lints import lints
from fastapi_stepup.cli.main import app
from fastapi_stepup.cli.output import Report
from fastapi_stepup.testing import DescopeEmulator, OIDCIssuer
from tests.cli import apps

PROJECT = "P2abcdefghijklmnopqrstuvwxyz"
REDIS = shutil.which("redis-server")


class Dated(httpx.AsyncBaseTransport):
    """The emulator, as a server answers for it: with the time of its clock."""

    def __init__(self, emulator: DescopeEmulator, *, off: float = 0) -> None:
        self.inner: httpx.AsyncBaseTransport = emulator.transport
        self.off = off

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        response = await self.inner.handle_async_request(request)
        response.headers["Date"] = formatdate(time.time() + self.off, usegmt=True)
        return response


class AnsweringOnce(httpx.AsyncBaseTransport):
    """Gives the first request a ready answer, and the others to another transport."""

    def __init__(self, first: httpx.Response, others: httpx.AsyncBaseTransport) -> None:
        self.answers = iter([first])
        self.others = others

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        ready = next(self.answers, None)
        return ready or await self.others.handle_async_request(request)


@pytest.fixture
def transport() -> Dated:
    """The emulator of the project, on a clock that is right."""
    return Dated(DescopeEmulator(PROJECT))


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


def test_healthy_setup_is_all_good(transport: Dated) -> None:
    """Project, keys, speed and clock are good."""
    report = check_setup(project_id=PROJECT, transport=transport)

    assert report.data["ok"]
    assert report.summary == "All good."
    assert {each["state"] for each in report.data["findings"]} == {"good"}
    assert said(report, "keys") == ("good", "1 usable for RS256, fresh")


def test_unusable_project_id_is_said() -> None:
    """What the constructor says stands in the report."""
    result = CliRunner().invoke(app, ["check", "--project-id", "no id", "--json"])

    assert result.exit_code == 1
    (finding,) = json.loads(result.output)["findings"]
    assert (finding["subject"], finding["state"]) == ("project", "bad")


@pytest.mark.parametrize(
    ("ahead", "text"),
    [
        (120, "This machine's clock is 1 min 59 s ahead of the server's; 5 s are allowed for."),
        (-120, "This machine's clock is 2 min behind the server's; 5 s are allowed for."),
        (-8, "This machine's clock is 8 s behind the server's; 5 s are allowed for."),
    ],
)
def test_clock_that_is_off_is_said(ahead: float, text: str) -> None:
    """More than the leeway and the second that `Date` leaves open."""
    date = httpx.Response(200, headers={"Date": "Fri, 15 Jan 2027 08:00:00 GMT"}, json={"keys": []})
    report = check_setup(
        project_id=PROJECT,
        transport=AnsweringOnce(date, DescopeEmulator(PROJECT).transport),
        clock=lambda: 1_800_000_000 + ahead,
    )

    assert said(report, "clock") == ("bad", f"{text} Synchronise it (NTP).")


def test_clock_within_the_leeway_is_good() -> None:
    """Three seconds are allowed for."""
    report = check_setup(project_id=PROJECT, transport=Dated(DescopeEmulator(PROJECT), off=3))

    assert said(report, "clock")[0] == "good"


def answering(response: httpx.Response) -> httpx.MockTransport:
    """Return a transport on which every request gets *response*."""
    return httpx.MockTransport(lambda _: response)


def refusing(_: httpx.Request) -> httpx.Response:
    """Be a host on which nothing listens."""
    raise httpx.ConnectError("refused")


def test_endpoint_that_is_down_is_said() -> None:
    """Nothing listens there."""
    report = check_setup(project_id=PROJECT, transport=httpx.MockTransport(refusing))

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


def test_slow_endpoint_is_worth_a_look(transport: Dated) -> None:
    """The first request after a start waits that long."""
    seconds = iter([10.0, 11.25])
    report = check_setup(project_id=PROJECT, transport=transport, monotonic=lambda: next(seconds))

    assert said(report, "speed") == ("look", "The key set took 1.2 s; the first request waits.")
    assert report.data["ok"]


def test_server_without_a_clock_is_worth_a_look() -> None:
    """Then nothing can be said about this machine's."""
    report = check_setup(project_id=PROJECT, transport=DescopeEmulator(PROJECT).transport)

    assert said(report, "clock")[0] == "look"


def test_redis_that_is_down_is_said_without_its_password(transport: Dated) -> None:
    """The kind of error and what follows for the limits; no address, no password."""
    redis_url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    report = check_setup(project_id=PROJECT, transport=transport, redis_url=redis_url)

    state, text = said(report, "redis")
    assert state == "bad"
    assert "Redis does not answer (ConnectionError)" in text
    assert "hunter2" not in json.dumps(report.data)


@pytest.mark.redis
@pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")
def test_redis_that_answers_is_good(transport: Dated, tmp_path: Path) -> None:
    """One PING is sent."""
    port = free_port()
    command = [str(REDIS), "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 20
        state, text = "bad", ""
        while state != "good" and time.monotonic() < deadline:
            redis_url = f"redis://127.0.0.1:{port}/0"
            report = check_setup(project_id=PROJECT, transport=transport, redis_url=redis_url)
            state, text = said(report, "redis")
        server.terminate()

    assert (state, text) == ("good", "Redis answers.")


def test_app_is_checked_with_the_guards_in_front_of_it() -> None:
    """Its open routes are worth a look, and the keys are those of its own guard."""
    with DescopeEmulator(PROJECT).attach(apps.guard):
        result = CliRunner().invoke(app, ["check", "tests.cli.apps:app", "--json"])

    assert result.exit_code == 0
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
    report = check_setup(
        "tests.cli.apps:unguarded", transport=httpx.MockTransport(refusing), project_id=PROJECT
    )

    assert said(report, "routes") == ("bad", "No guard is in front of any route of this app.")


def test_guard_of_another_issuer_is_checked_as_far_as_it_goes() -> None:
    """Its keys are where its metadata says; there is no project and no helper route."""
    issuer = OIDCIssuer("https://issuer.example", audience="api")
    guard = StepUpGuard.for_oidc("https://issuer.example", audience="api")
    api = FastAPI(openapi_url=None)
    api.get("/", dependencies=[Depends(RequireStepUp(guard, max_age="1d"))])(lambda: None)

    with issuer.attach(guard):
        report = report_of([*of_guard(guard), *lints(api, [guard])])

    assert [(each["subject"], each["state"]) for each in report.data["findings"]] == [
        ("issuer", "good"),
        ("keys", "good"),
    ]


def test_each_guard_behind_a_route_for_any_of_them_is_checked() -> None:
    """With the advice that its own trouble needs."""
    issuer = OIDCIssuer("https://staff.example", audience="https://api.example")
    issuer.metadata["issuer"] = "https://staff.example/"
    with DescopeEmulator(PROJECT).attach(apps.guard), issuer.attach(apps.staff):
        report = check_setup("tests.cli.apps:several")

    found = {(each["subject"], each["state"]) for each in report.data["findings"]}
    assert {("project", "good"), ("issuer", "good"), ("keys", "good"), ("keys", "bad")} <= found
    said = [each["text"] for each in report.data["findings"] if each["state"] == "bad"]
    assert said == [
        "The metadata is of another issuer: compare them character by character, a slash at the "
        "end counts."
    ]


def test_emulator_is_the_one_of_the_testing_module() -> None:
    """Options go through; wrong ones end with its exit status."""
    result = CliRunner().invoke(app, ["emulator", "--host", "0.0.0.0"])

    assert result.exit_code == 2


def test_app_whose_changes_are_guarded_is_good() -> None:
    """No open route changes state there."""
    with DescopeEmulator(PROJECT).attach(apps.guard):
        report = check_setup("tests.cli.apps:closed")

    assert said(report, "routes") == ("good", "No open route changes state.")


def test_redis_without_its_client_is_said(
    transport: Dated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names the extra."""
    monkeypatch.setattr(checking, "find_spec", lambda _: None)
    report = check_setup(project_id=PROJECT, transport=transport, redis_url="redis://127.0.0.1:1")

    assert said(report, "redis")[1].endswith("pip install 'fastapi-stepup[redis]'.")

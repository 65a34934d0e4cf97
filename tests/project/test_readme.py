"""The README is true: what it shows is what happens. Sybil runs its Python blocks besides."""

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import fastapi_stepup
from examples import quickstart
from fastapi_stepup.router.schemas import SteppedUpSession
from fastapi_stepup.testing import DescopeEmulator

README = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def descope() -> Iterator[DescopeEmulator]:
    """An emulator behind the quickstart."""
    emulator = DescopeEmulator(project_id=quickstart.guard.project_id)
    with emulator.attach(quickstart.guard):
        yield emulator


def test_quickstart_is_the_example_letter_for_letter() -> None:
    """The first program of the README is `examples/quickstart.py`."""
    assert blocks("python")[0] == Path(quickstart.__file__).read_text("utf-8")


def test_shown_answer_is_the_real_one(descope: DescopeEmulator) -> None:
    """The 401 in the README is what the quickstart answers, status to body."""
    ann = descope.sign_in("ann@example.com")
    response = TestClient(quickstart.app).post("/checkout", headers=ann.headers)

    head, body = blocks("http")[0].split("\n\n", 1)
    status, *fields = head.splitlines()
    assert status == f"HTTP/1.1 {response.status_code} Unauthorized"
    for field in fields:
        name, value = field.split(": ", 1)
        assert response.headers[name] == value
    assert json.loads(body) == response.json()


def test_shown_reply_of_verify_has_the_real_members() -> None:
    """The JSON of a finished step-up shows every member there is, in order."""
    assert list(json.loads(blocks("json")[0])) == list(SteppedUpSession.model_fields)


def test_testing_example_passes() -> None:
    """The test that the README shows passes against the program that it shows."""
    names: dict[str, Any] = {"__name__": "readme"}
    program = blocks("python")[0]
    test = next(block for block in blocks("python") if "def test_" in block)
    exec(program, names)
    exec(test, names)
    names["test_checkout_needs_step_up"](DescopeEmulator(project_id=names["guard"].project_id))


def test_curl_lines_work(descope: DescopeEmulator) -> None:
    """The three calls of the README do what it says; they are read here, so curl need not be."""
    ann = descope.sign_in("ann@example.com")
    script = next(block for block in blocks("sh") if "curl" in block)
    script = script.replace("'$REFRESH'", ann.refresh_token).replace("$SESSION", ann.session_token)
    quickstart.app.mount("/descope", descope)
    client = TestClient(quickstart.app)
    answers = []
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        given = dict(itertools.pairwise(words))
        header, body = given.get("-H", ""), given.get("--json")
        answers.append(
            client.request(
                given.get("-X", "GET" if body is None else "POST"),
                next(word for word in words if word.startswith("http://127.0.0.1:8000/")),
                headers=dict([header.split(": ", 1)]) if header else {},
                json=None if body is None else json.loads(body),
            )
        )

    challenged, started, outbox = answers
    assert challenged.status_code == 401
    assert 'error="insufficient_user_authentication"' in challenged.headers["www-authenticate"]
    assert started.json()["destination"] == "a**@example.com"
    assert descope.outbox[-1].code in outbox.text


def test_script_of_the_page_can_be_loaded() -> None:
    """The page's script imports what the module at that address exports."""
    names, url = re.findall(r'import \{ (.+) \} from "(.+)"', blocks("html")[0])[0]
    script = TestClient(quickstart.app).get(url)

    assert script.headers["content-type"].startswith("text/javascript")
    for name in names.split(", "):
        assert re.search(rf"export [^;]*\b{name}\b", script.text)


@pytest.mark.parametrize("name", fastapi_stepup.__all__)
def test_public_name_is_mentioned(name: str) -> None:
    """Every public name can be found in the README or in the docstring of one that can."""
    mentioned = README + (fastapi_stepup.StepUpGuard.__doc__ or "")
    assert re.search(rf"\b{name}\b", mentioned)

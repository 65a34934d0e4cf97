"""The README is true: what it shows is what happens. Sybil runs its Python blocks besides."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import fastapi_stepup
from examples import quickstart
from fastapi_stepup.router.schemas import SteppedUpSession
from fastapi_stepup.testing import DescopeEmulator

ROOT = Path(__file__).parents[2]
README = ROOT.joinpath("README.md").read_text("utf-8")
DOCS = {path.name: path.read_text("utf-8") for path in ROOT.joinpath("docs").rglob("*.md")}


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
    """The JSON of a finished step-up shows every member that is always there, in order."""
    shown = re.findall(r"^```json\n(.*?)^```", DOCS["step-up-methods.md"], re.MULTILINE | re.DOTALL)

    always = [name for name in SteppedUpSession.model_fields if name != "lost"]
    assert list(json.loads(shown[0])) == always
    assert "`lost`" in DOCS["step-up-methods.md"]


def test_readme_is_one_screen_a_question() -> None:
    """It has 150 lines at most, and the first command comes within the first ten."""
    lines = README.splitlines()

    assert len(lines) <= 150
    assert "```sh" in lines[:10]


def test_commands_need_nothing_but_python() -> None:
    """Both run as they stand in a checkout, in an empty environment."""
    install = "python3 -m venv .venv && .venv/bin/pip install -e '.[{}]' && .venv/bin/python -m {}"

    assert blocks("sh") == [
        install.format("demo", "examples.tee_hee_tees") + "\n",
        install.format("dev", "tests") + "\n",
    ]


def test_links_are_absolute_and_lead_somewhere() -> None:
    """Each link works on PyPI too; those to the site and the repository are files here."""
    urls = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text("utf-8"))["project"]["urls"]
    site, source = urls["Documentation"], f"{urls['Source']}/blob/main/"
    raw = source.replace("github.com", "raw.githubusercontent.com").replace("/blob/", "/")
    links = re.findall(r"\]\((.+?)\)", README)

    own = [link for link in links if link.startswith((site, source, raw))]
    assert sorted({*links} - {*own}) == ["https://descope.com"]
    for link in own:
        if link.startswith(site):
            page = link.removeprefix(site).removesuffix("/")
            found = [ROOT / "docs" / f"{page}.md", ROOT / "docs" / page / "index.md"]
        else:
            found = [ROOT / link.removeprefix(source).removeprefix(raw)]
        assert any(map(Path.is_file, found)), link


def test_testing_example_passes() -> None:
    """The test that the README shows passes against the program that it shows."""
    names: dict[str, Any] = {"__name__": "readme"}
    exec(next(block for block in blocks("python") if "def test_" in block), names)

    names["test_checkout_needs_step_up"](DescopeEmulator(project_id=quickstart.guard.project_id))


def test_script_of_the_page_can_be_loaded() -> None:
    """The page's script imports what the module at that address exports."""
    names, url = re.findall(r'import \{ (.+) \} from "(.+)"', blocks("html")[0])[0]
    script = TestClient(quickstart.app).get(url)

    assert script.headers["content-type"].startswith("text/javascript")
    for name in names.split(", "):
        assert re.search(rf"export [^;]*\b{name}\b", script.text)


def test_public_names_are_mentioned() -> None:
    """Every public name can be found in the README, the docs or the guard's docstring."""
    mentioned = "".join([README, *DOCS.values(), fastapi_stepup.StepUpGuard.__doc__ or ""])

    assert [n for n in fastapi_stepup.__all__ if not re.search(rf"\b{n}\b", mentioned)] == []

"""The reference and the package name the same options, routes, header fields and commands.

Names, errors and events are in `test_site.py`, problem codes in `test_problems.py`.
"""

import re
from collections.abc import Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.testclient import TestClient

from fastapi_stepup import RequireSession, RequireStepUp, StepUpGuard, install, stepup_router
from fastapi_stepup.router.methods.base import Method
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.__main__ import _parser

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = {path.name: path.read_text("utf-8") for path in REFERENCE.glob("*.md")}


def first_cells(text: str) -> list[str]:
    """Return what is in back-ticks in the first column of the tables of *text*."""
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(.+?)`", row)]


def section(text: str, heading: str) -> str:
    """Return a section of a page, without its heading."""
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def hooks() -> Any:
    """Return the hooks of the site, which make the tables of options."""
    spec = spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", re.findall(r"<!-- options: (.+?) -->", PAGES["options.md"]))
def test_docstring_has_each_option(name: str) -> None:
    """The table of a callable is made from its docstring, which names each argument, no other."""
    assert hooks().options(name)


def test_options_that_are_used_most_exist() -> None:
    """The short table names options of a guard, in any order."""
    table = section(PAGES["options.md"], "The ones that are used most")
    named = first_cells(table)

    assert named
    assert set(named) <= set(hooks().options("StepUpGuard.for_descope"))


def test_each_route_has_an_entry() -> None:
    """The page lists each helper route with its methods, and no other one."""
    guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")
    pages = ("https://shop.example/step-up",)
    router = stepup_router(guard, prefix="", methods=get_args(Method), redirect_uris=pages)
    routes: dict[str, set[str]] = {}
    for route in router.routes:
        path = vars(route)["path"]
        if not path.endswith("/"):
            routes.setdefault(path, set()).update(vars(route)["methods"])

    rows = re.findall(r"^\| (`/.*?) \| (.*?) \|", PAGES["routes.md"], re.MULTILINE)
    listed = {
        path: set(re.findall(r"`(.+?)`", methods))
        for paths, methods in rows
        for path in re.findall(r"`(.+?)`", paths)
    }
    assert listed == routes


@pytest.fixture
def client(guard: StepUpGuard, descope: DescopeEmulator) -> TestClient:
    """A client of an app with all that sends header fields."""
    app = FastAPI()
    install(app, guard)
    app.include_router(stepup_router(guard))
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"])

    @app.post("/pay", dependencies=[Depends(RequireStepUp(guard))])
    async def pay() -> None: ...

    @app.get("/me", dependencies=[Depends(RequireSession(guard))])
    async def me() -> str:
        return "me"

    return TestClient(app, base_url="https://testserver")


def answers(client: TestClient, descope: DescopeEmulator) -> Iterator[Mapping[str, str]]:
    """Yield the header fields of one answer of each kind."""
    page = {"Origin": "https://shop.example"}
    ann = descope.sign_in("ann@example.com")
    yield client.post("/pay", headers=ann.headers | page).headers
    yield client.get("/me", headers=ann.headers).headers
    yield client.get("/step-up/stepup.js").headers
    cookies = {
        "Cookie": f"DS={ann.session_token}; DSR={ann.refresh_token}",
        "Sec-Fetch-Site": "same-origin",
    }
    yield client.post("/step-up/otp/start", json={"delivery": "email"}, headers=cookies).headers
    code = {"delivery": "email", "code": descope.outbox[-1].code}
    yield client.post("/step-up/otp/verify", json=code, headers=cookies).headers
    descope.fail(503, times=9, retry_after=7)
    yield client.post("/step-up/otp/start", json={"delivery": "sms"}, headers=cookies).headers


def test_each_field_of_an_answer_has_an_entry(client: TestClient, descope: DescopeEmulator) -> None:
    """The page lists the header fields that answers have, and no other one."""
    sent = {name.lower() for headers in answers(client, descope) for name in headers}

    listed = {
        name.lower() for name in first_cells(section(PAGES["headers.md"], "Sent with an answer"))
    }
    assert listed == sent - {"content-length"}


def test_each_field_of_a_request_has_an_entry() -> None:
    """The page lists the header fields that the package looks for, and no other one."""
    package = ROOT / "fastapi_stepup"
    read = {"authorization"}  # by the name that CredentialReader is given
    for place in ("browser", "guard", "router", "web"):
        for path in package.joinpath(place).rglob("*.py"):
            if path.name == "caching.py":  # reads what the app answers
                continue
            text = path.read_text("utf-8")
            read.update(re.findall(r"headers\.get(?:list)?\(\s*\"([a-z-]+)\"", text))
            read.update(re.findall(r"_field\(request, \"([a-z-]+)\"", text))
            read.update(re.findall(r"b\"([a-z]+(?:-[a-z]+)+|cookie|origin)\"", text))

    listed = first_cells(section(PAGES["headers.md"], "Read from a request"))
    assert {name.lower() for name in listed} == read


def test_each_command_and_option_has_an_entry() -> None:
    """The page lists each command with its options, and no other one."""
    typer = pytest.importorskip("typer")
    from fastapi_stepup.cli.main import app  # noqa: PLC0415  # an extra

    commands: dict[str, set[str]] = {}
    for name, command in typer.main.get_command(app).commands.items():
        options = [one for one in command.params if one.param_type_name == "option"]
        commands[name] = {
            flag
            for option in options
            for flag in (*option.opts, *option.secondary_opts)
            if flag != "--help"
        }
    commands["emulator"] = {
        flag
        for action in _parser()._actions
        for flag in action.option_strings
        if flag not in {"-h", "--help"}
    }

    page = PAGES["commands.md"]
    headings = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    listed = {heading: set(first_cells(section(page, heading))) for heading in headings}
    assert {
        name: {flag for flag in flags if "=" not in flag} for name, flags in listed.items()
    } == commands

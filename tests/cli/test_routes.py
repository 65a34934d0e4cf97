"""`routes`: what each route asks for, and which are open."""

import json
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from fastapi_stepup import StepUpPolicy
from fastapi_stepup.cli import routes
from fastapi_stepup.cli.loading import LoadingFailed, load
from fastapi_stepup.cli.main import app
from fastapi_stepup.cli.output import Report, show
from fastapi_stepup.cli.start import start
from tests.cli import apps

HERE = Path(__file__).parent


def run(*arguments: str) -> tuple[int, str]:
    """Return exit status and output of a command."""
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_each_route_is_listed_with_what_it_asks() -> None:
    """Methods, path, policy in words and entry points; the last line counts the open ones."""
    status, output = run("routes", "tests.cli.apps:app")

    lines = [re.split(r"\s{2,}", line.strip()) for line in output.splitlines()]
    assert status == 0
    assert lines == [
        ["Routes"],
        ["methods", "path", "asks for", "entry points"],
        ["GET", "/", "open"],
        ["POST", "/open", "OPEN"],
        ["POST", "/pay", "totp ≤2m once for pay", "dependency"],
        ["3 routes, 1 open ones change state."],
    ]


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """A program gets a row for each route, with every entry point."""
    _, output = run("routes", "tests.cli.apps:closed", "--json")

    rows = {route["path"]: route for route in json.loads(output)["routes"]}
    assert rows["/me"]["entry_points"] == [
        {"entry_point": "middleware", "asks": "session"},
        {"entry_point": "dependency", "asks": "session"},
    ]
    assert [rows[path]["asks_step_up"] for path in ("/me", "/pay")] == [False, True]
    assert [rows[path]["once"] for path in ("/me", "/pay")] == [[], ["pay"]]


@pytest.mark.parametrize(
    ("target", "options", "status"),
    [
        pytest.param("app", (), 0, id="open-and-not-asked"),
        pytest.param("app", ("--fail-on-open",), 1, id="an-open-route-changes-state"),
        pytest.param("closed", ("--fail-on-open",), 0, id="none-is-open"),
        pytest.param("closed", ("--fail-on-open=all",), 0, id="none-at-all-is-open"),
        pytest.param("home_only", ("--fail-on-open",), 0, id="the-open-one-changes-nothing"),
        pytest.param("home_only", ("--fail-on-open=all",), 1, id="but-it-is-open"),
    ],
)
def test_open_routes_fail_a_build_if_asked(
    target: str, options: tuple[str, ...], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1 for CI: mutating routes by default, all of them with `=all`."""
    home_only = FastAPI(openapi_url=None)
    home_only.get("/")(apps.home)
    monkeypatch.setattr(apps, "home_only", home_only, raising=False)
    arguments = ["fastapi-stepup", "routes", f"tests.cli.apps:{target}", *options]
    monkeypatch.setattr("sys.argv", arguments)

    with pytest.raises(SystemExit) as end:
        start()

    assert end.value.code == status


@pytest.mark.parametrize("target", [str(HERE / "apps.py"), f"{HERE / 'apps.py'}:app"])
def test_file_is_imported_as_part_of_its_package(target: str) -> None:
    """As `fastapi dev` takes it: the module of the file, and the app in it."""
    assert load(target) is apps.app


def test_app_is_found_by_its_type(tmp_path: Path) -> None:
    """Without a usual name the first app of the module is taken."""
    file = tmp_path / "shop_of_a_test.py"
    file.write_text("from starlette.applications import Starlette\nshop = Starlette()\n")

    assert load(str(file)).routes == []


@pytest.mark.parametrize(
    ("target", "fix"),
    [
        ("tests.cli.nowhere:app", "There is no module 'tests.cli.nowhere'"),
        ("tests/cli/nowhere.py", "There is no file 'tests/cli/nowhere.py'"),
        ("tests.cli.apps:missing", "has no 'missing'. Name it as `tests.cli.apps:NAME`."),
        ("tests.cli.apps:not_an_app", "is a int, not a FastAPI app"),
        ("tests.cli:", "has no 'app'"),
    ],
)
def test_app_that_is_not_there_is_wrong_usage(target: str, fix: str) -> None:
    """Exit status 2 and a sentence that says what to write."""
    with pytest.raises(LoadingFailed, match=re.escape(fix)):
        load(target)
    status, output = run("routes", target)
    assert (status, fix in " ".join(output.split())) == (2, True)


def test_error_of_the_module_itself_is_shown(tmp_path: Path) -> None:
    """An import that fails inside the app's code is not blamed on the name."""
    file = tmp_path / "broken_module_of_a_test.py"
    file.write_text("import nothing_of_that_name\n")

    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        load(str(file))


@pytest.mark.parametrize(
    ("access", "words"),
    [
        ("session", "session"),
        (StepUpPolicy(), "step-up"),
        (StepUpPolicy(max_age="90s"), "step-up ≤90s"),
        (StepUpPolicy(max_age=0), "step-up ≤0s"),
        (StepUpPolicy(max_age="2h", amr=["sms", "email"]), "sms or email ≤2h"),
        (StepUpPolicy(max_age="1d", amr=["webauthn"], acr=["urn:x"]), "webauthn + urn:x ≤1d"),
    ],
)
def test_policy_is_said_in_words(access: StepUpPolicy, words: str) -> None:
    """Short enough for a table."""
    assert str(access) == words


def test_app_in_a_process_without_guards_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how to make one."""
    monkeypatch.setattr(routes, "guards", list)
    status, output = run("routes", "tests.cli.apps:app")

    assert (status, "StepUpGuard.for_descope" in output) == (2, True)


def test_package_is_named_by_its_init_file() -> None:
    """A folder with `__init__.py` is the package, not a module in it."""
    with pytest.raises(LoadingFailed, match=r"'tests\.cli' has no 'app'"):
        load(str(HERE / "__init__.py"))


def test_report_without_a_summary_ends_with_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no empty line."""
    show(Report((), {}), as_json=False)

    assert capsys.readouterr().out == ""

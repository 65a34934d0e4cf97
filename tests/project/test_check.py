"""The check command itself: `python -m tests`."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.__main__ import CHECKS, ROOT, WEB_TESTS, commands_of, execute, main

NAMES = [check.name for check in CHECKS]
COMMANDS = [command for check in CHECKS for command in check.commands]


class Recorder:
    """Stands in for the runner: notes each command and fails those that contain *failing*."""

    def __init__(self, failing: str = "nothing") -> None:
        self.failing = failing
        self.commands: list[tuple[str, ...]] = []

    def __call__(self, command: Sequence[str]) -> int:
        """Return the exit code for *command*."""
        self.commands.append(tuple(command))
        return 3 if self.failing in command else 0


def find_all(program: str) -> str:
    """Find every program."""
    return program


def find_no_node(program: str) -> str | None:
    """Find every program but node."""
    return None if program == "node" else program


def test_all_checks_run_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    """Without arguments every command runs once, in order, under a headline of its check."""
    run = Recorder()

    assert main([], run=run, find=find_all, packages=ROOT) == 0

    assert run.commands == COMMANDS
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("===")] == [
        f"=== {name} ===" for name in [*NAMES, "summary"]
    ]
    assert lines[-1] == f"checks: {len(CHECKS)} passed, 0 failed, 0 skipped"


def test_a_failure_does_not_stop_later_checks(capfd: pytest.CaptureFixture[str]) -> None:
    """After a failed check the others still run; the summary names it and the exit code is 1."""
    run = Recorder(failing="mypy")

    assert main([], run=run, find=find_all, packages=ROOT) == 1

    assert run.commands == COMMANDS
    lines = capfd.readouterr().out.splitlines()
    assert "failed: types" in lines
    assert lines[-1] == f"checks: {len(CHECKS) - 1} passed, 1 failed, 0 skipped"


def test_a_failed_command_ends_its_check() -> None:
    """Nothing is reported on coverage data that could not be combined."""
    run = Recorder(failing="combine")

    assert main(["coverage"], run=run, find=find_all, packages=ROOT) == 1

    assert [command[3] for command in run.commands] == ["combine"]


def test_without_node_its_check_is_skipped_visibly(capfd: pytest.CaptureFixture[str]) -> None:
    """Where node is missing the API check does not run, and its section and the summary say so."""
    run = Recorder()

    assert main([], run=run, find=find_no_node) == 0

    assert not any("pyright" in command for command in run.commands)
    lines = capfd.readouterr().out.splitlines()
    assert "skipped: there is no node on PATH" in lines
    assert "skipped: api" in lines
    assert lines[-1] == f"checks: {len(CHECKS) - 1} passed, 0 failed, 1 skipped"


def test_checks_can_be_named() -> None:
    """Named checks run alone, in the usual order whatever order they are named in."""
    run = Recorder()

    assert main(["types", "lint"], run=run, find=find_all, packages=ROOT) == 0

    assert [command[2] for command in run.commands] == ["ruff", "mypy"]


def test_unknown_check_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """A check that does not exist ends with exit code 2 and a list of those that do."""
    with pytest.raises(SystemExit) as exit_:
        main(["spelling"], run=Recorder())

    assert exit_.value.code == 2
    assert "format" in capfd.readouterr().err


def test_commands_run_at_the_root(capfd: pytest.CaptureFixture[str]) -> None:
    """A command runs at the repository's root, its output unfiltered and its exit code kept."""
    code = execute([sys.executable, "-c", "import os; print(os.getcwd()); raise SystemExit(4)"])

    assert code == 4
    assert capfd.readouterr().out.strip() == str(ROOT)


def test_commands_find_this_environment_first(capfd: pytest.CaptureFixture[str]) -> None:
    """No environment has to be activated: this interpreter's folder leads the PATH."""
    execute([sys.executable, "-c", "import os; print(os.environ['PATH'])"])

    first = capfd.readouterr().out.split(os.pathsep)[0]
    assert Path(first) == Path(sys.executable).parent


def test_module_is_a_command() -> None:
    """`python -m tests --help` lists the checks."""
    done = subprocess.run(
        [sys.executable, "-m", "tests", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert all(name in done.stdout for name in NAMES)


def test_what_cannot_be_covered_is_left_out_of_the_report() -> None:
    """Without Node.js, its packages or a browser the report leaves the tests out that need them."""
    report = next(check for check in CHECKS if check.name == "coverage")

    assert commands_of(report, find_all, packages=ROOT) == report.commands
    for find, packages in ((find_no_node, ROOT), (find_all, ROOT / "nowhere")):
        *before, last = commands_of(report, find, packages=packages)
        assert tuple(before) == report.commands[:-1]
        assert last == (*report.commands[-1], f"--omit={','.join(WEB_TESTS)}")
    assert all((ROOT / name.removeprefix("*/")).is_file() for name in WEB_TESTS)

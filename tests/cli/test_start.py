"""The console script."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from fastapi_stepup.cli.start import start


def test_console_script_is_declared() -> None:
    """`pip install` puts `fastapi-stepup` on the path."""
    (script,) = entry_points(group="console_scripts", name="fastapi-stepup")
    assert script.load() is start


def test_module_is_the_command() -> None:
    """`python -m fastapi_stepup` says what there is."""
    command = [sys.executable, "-m", "fastapi_stepup", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    for name in ("routes", "inspect", "check", "emulator"):
        assert name in done.stdout


def run_without(module: str) -> subprocess.CompletedProcess[str]:
    """Run the console script in a process that cannot import *module*."""
    program = f"import sys; sys.modules[{module!r}] = None\n"
    program += "from fastapi_stepup.cli.start import start\nsys.exit(start())"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", ["typer", "rich"])
def test_missing_extra_is_said(name: str) -> None:
    """One sentence says what to install, with the exit status of wrong usage."""
    done = run_without(name)

    assert done.returncode == 2
    assert done.stderr == ("The command line needs an extra: pip install 'fastapi-stepup[cli]'\n")


def test_other_missing_module_is_an_error() -> None:
    """A broken installation is not blamed on the extra."""
    done = run_without("fastapi_stepup.web.route_inventory")

    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr

"""Every check in one command: `python -m tests`, or some by name: `python -m tests lint types`."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PYTHON: Final = sys.executable


@dataclass(frozen=True, kw_only=True)
class Check:
    """One named check.

    Args:
        name: What the command line and the summary call it.
        commands: Run in this order; the first one that fails ends and fails the check.
        needs: A program the commands cannot do without; the check is skipped where it is missing.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    needs: str = PYTHON


CHECKS: Final = (
    Check(name="format", commands=((PYTHON, "-m", "ruff", "format", "--check"),)),
    Check(name="lint", commands=((PYTHON, "-m", "ruff", "check"),)),
    Check(name="floors", commands=(("lint-imports",),)),
    Check(name="types", commands=((PYTHON, "-m", "mypy"),)),
    Check(
        name="api",
        commands=(
            (PYTHON, "-m", "pyright", "--ignoreexternal", "--verifytypes", "fastapi_stepup"),
        ),
        needs="node",
    ),
    Check(
        name="tests",
        commands=(
            # What an interrupted run left behind would count as covered.
            (PYTHON, "-m", "coverage", "erase"),
            (PYTHON, "-m", "coverage", "run", "-m", "pytest"),
        ),
    ),
    Check(
        name="coverage",
        commands=(
            (PYTHON, "-m", "coverage", "combine", "--quiet"),
            (PYTHON, "-m", "coverage", "report"),
        ),
    ),
)


# What skips without Node.js, its packages and a browser: nobody can cover it there.
WEB_TESTS: Final = (
    "*/tests/sdk/node_sdk.py",
    "*/tests/sdk/test_coverage.py",
    "*/tests/sdk/test_web_sdk.py",
)
WEB_PACKAGES: Final = ROOT / "tests/sdk/node/node_modules"


def commands_of(
    check: Check, find: Callable[[str], str | None], packages: Path = WEB_PACKAGES
) -> tuple[tuple[str, ...], ...]:
    """Return the commands of *check*, with what cannot be covered here left out of the report."""
    can_cover = find("node") and find("chromium") and packages.is_dir()
    if check.name != "coverage" or can_cover:
        return check.commands
    *before, report = check.commands
    return (*before, (*report, f"--omit={','.join(WEB_TESTS)}"))


def execute(command: Sequence[str]) -> int:
    """Run *command* at the root of the repository and return its exit code."""
    # As in an activated environment: pyright asks the first `python` on PATH for the packages.
    path = os.pathsep.join((str(Path(PYTHON).parent), os.environ.get("PATH", os.defpath)))
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PATH": path}, check=False
    ).returncode


def main(
    arguments: Sequence[str],
    *,
    run: Callable[[Sequence[str]], int] = execute,
    find: Callable[[str], str | None] = shutil.which,
    packages: Path = WEB_PACKAGES,
) -> int:
    """Run the checks named in *arguments*, or all of them, and print a summary.

    A failing check does not stop the ones after it. The last line counts checks, not tests.

    Returns:
        0 when none failed, else 1. Skipped checks do not fail.
    """
    parser = argparse.ArgumentParser(prog="python -m tests", description="Check the project.")
    names = [check.name for check in CHECKS]
    known = f"one of {', '.join(names)}; by default all, in this order"
    parser.add_argument("checks", nargs="*", metavar="check", help=known)
    wanted = parser.parse_args(arguments).checks or names
    if not set(wanted) <= set(names):
        parser.error(f"each check is {known}")

    outcomes: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for check in (check for check in CHECKS if check.name in wanted):
        print(f"\n=== {check.name} ===", flush=True)
        if find(check.needs) is None:
            print(f"skipped: there is no {check.needs} on PATH", flush=True)
            outcomes["skipped"].append(check.name)
            continue
        passed = all(run(command) == 0 for command in commands_of(check, find, packages))
        outcomes["passed" if passed else "failed"].append(check.name)

    print("\n=== summary ===")
    for outcome, checks in outcomes.items():
        if checks:
            print(f"{outcome}: {', '.join(checks)}")
    counts = ", ".join(f"{len(checks)} {outcome}" for outcome, checks in outcomes.items())
    print(f"checks: {counts}", flush=True)
    return 1 if outcomes["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

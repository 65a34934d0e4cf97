"""Run the project's checks: `python -m tests`, or some by name: `python -m tests lint types`.

`python -m tests fast` is the loop while working: every test, and of a long table four rows. A check
that needs a program which is missing is skipped, and the summary says so; so do tests that need a
browser, a server or Node packages.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PYTHON: Final = sys.executable
# One process more than there are cores: some tests wait for a thread or a server.
PROCESSES: Final = str((os.cpu_count() or 1) + 1)
PYTEST: Final = ("-m", "pytest", "tests", "-q", "-n", PROCESSES, "--dist", "worksteal", "-m")
APART: Final = "not browser and not sdk and not slow and not alone"  # .ci/run runs these afterwards

CHECKS: Final = {
    "format": (PYTHON, "-m", "ruff", "format", "--check"),
    "lint": (PYTHON, "-m", "ruff", "check"),
    "imports": ("lint-imports",),
    "spelling": ("codespell",),
    "types": (PYTHON, "-m", "mypy"),
    "api": (PYTHON, "-m", "pyright", "--ignoreexternal", "--verifytypes", "fastapi_stepup"),
    # In one process: the blocks of a page build on each other.
    "docs": (PYTHON, "-m", "pytest", "-q", "README.md", "docs"),
    # Warnings are errors; the extra `docs` has what it needs.
    "site": (PYTHON, "-m", "mkdocs", "build"),
    "tests": (PYTHON, "-m", "coverage", "run", *PYTEST, APART),
    "fast": (PYTHON, *PYTEST, f"{APART} and not servers and not redis", "--rows", "4"),
}
NEEDS: Final = {"api": "node", "site": "mkdocs"}


def main(names: list[str]) -> int:
    """Run the checks *names*, or all but `fast`, and return 1 if one failed."""
    wanted = names or [name for name in CHECKS if name != "fast"]
    if unknown := set(wanted) - set(CHECKS):
        print(f"No such check: {', '.join(sorted(unknown))}. There are: {', '.join(CHECKS)}.")
        return 2
    # As in an activated environment, so that programs of it are found.
    path = os.pathsep.join((str(Path(PYTHON).parent), os.environ.get("PATH", os.defpath)))
    outcomes: dict[str, str] = {}
    for number, name in enumerate(wanted, 1):
        print(f"\n=== {name} ({number} of {len(wanted)}) ===", flush=True)
        if name in NEEDS and shutil.which(NEEDS[name], path=path) is None:
            outcomes[name] = f"skipped, there is no {NEEDS[name]} on PATH"
            continue
        run = subprocess.run(CHECKS[name], cwd=ROOT, env=os.environ | {"PATH": path}, check=False)
        outcomes[name] = "passed" if run.returncode == 0 else "FAILED"
    print("\n=== summary ===", *(f"{name}: {end}" for name, end in outcomes.items()), sep="\n")
    return 1 if "FAILED" in outcomes.values() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Packages that are too old are named at import."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from fastapi_stepup import _requirements


def test_versions_are_those_that_the_package_declares() -> None:
    """One figure in two places; without extras, as in `pyjwt[crypto]`."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = dict(
        re.sub(r"\[.*\]", "", requirement).split(">=") for requirement in project["dependencies"]
    )

    assert declared == _requirements.MINIMUM


def test_an_older_version_is_an_import_error(
    subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the package, both versions and the command; figures are compared as numbers."""
    found = dict(_requirements.MINIMUM)
    monkeypatch.setattr(_requirements, "version", found.__getitem__)

    for enough in ("0.49.1", "0.49.1.0", "0.49.10", "1.0", "0.49.1rc1", "0.50.dev3"):
        found["starlette"] = enough
        with subtests.test(enough):
            _requirements.check_requirements()
    for older in ("0.49", "0.49.0", "0.9.9", "unknown"):
        found["starlette"] = older
        said = rf"needs starlette 0\.49\.1 or later, and {older} is installed: pip install"
        with subtests.test(older), pytest.raises(ImportError, match=said):
            _requirements.check_requirements()


def test_a_package_that_is_missing_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it gives the better message."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_requirements, "version", missing)
    _requirements.check_requirements()


def test_the_first_public_name_checks() -> None:
    """Not the import of the package alone, which every test run of an environment does."""
    program = (
        "from fastapi_stepup import _requirements\n"
        "_requirements.MINIMUM['httpx'] = '99'\n"
        "import fastapi_stepup\n"
        "try:\n"
        "    fastapi_stepup.Claims\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("fastapi-stepup needs httpx 99 or later")

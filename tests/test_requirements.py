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


@pytest.mark.parametrize(
    ("installed", "is_enough"),
    [
        pytest.param("0.49.1", True, id="same"),
        pytest.param("0.49.1.0", True, id="same-with-zero"),
        pytest.param("0.49.10", True, id="by-number"),
        pytest.param("1.0", True, id="major"),
        pytest.param("0.49.1rc1", True, id="candidate"),
        pytest.param("0.50.dev3", True, id="development"),
        pytest.param("0.49", False, id="shorter"),
        pytest.param("0.49.0", False, id="patch"),
        pytest.param("0.9.9", False, id="minor-by-number"),
        pytest.param("unknown", False, id="no-version"),
    ],
)
def test_an_older_version_is_an_import_error(
    installed: str,
    is_enough: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It names the package, both versions and the command."""
    found = {**_requirements.MINIMUM, "starlette": installed}
    monkeypatch.setattr(_requirements, "version", found.__getitem__)

    if is_enough:
        _requirements.check_requirements()
    else:
        said = rf"needs starlette 0\.49\.1 or later, and {installed} is installed: pip install"
        with pytest.raises(ImportError, match=said):
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

"""stepup.js in Node: what it does with requests and answers, without a browser."""

import shutil
import sys
from collections.abc import Sequence

import pytest

from tests.browser.suites import HERE, passed

NODE = shutil.which("node") or "node"
REPORT = "print('# tests 1'); print('# pass {}'); print('# fail {}'); print('# skipped {}')"


def python(program: str) -> list[str]:
    """Return the command of a program that reports like Node's test runner."""
    return [sys.executable, "-c", program]


SUITES = [
    pytest.param(python(REPORT.format(1, 0, 0)), 1, id="python"),  # what counts the others
    pytest.param(
        [
            NODE,
            "--test",
            "--test-reporter=tap",
            *map(str, sorted((HERE / "js").glob("*.test.mjs"))),
        ],
        90,
        id="node",
        marks=pytest.mark.skipif(shutil.which("node") is None, reason="needs node 20"),
    ),
]


@pytest.mark.parametrize(("command", "at_least"), SUITES)
def test_units(command: Sequence[str], at_least: int) -> None:
    """Every unit test passes, and none got lost."""
    assert passed(command) >= at_least


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(REPORT.format(1, 1, 0), id="failed"),
        pytest.param(REPORT.format(1, 0, 1), id="skipped"),
        pytest.param(REPORT.format(0, 0, 0), id="none"),
        pytest.param(REPORT.format(1, 0, 0) + "; raise SystemExit(1)", id="exit-code"),
        pytest.param("", id="no-report"),
    ],
)
def test_suite_that_did_not_pass_is_told_from_one_that_did(program: str) -> None:
    """A suite counts as passed only when all of its tests ran and passed."""
    with pytest.raises(AssertionError):
        passed(python(program))

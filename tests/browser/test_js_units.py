"""stepup.js in Node: requests and answers, without a browser."""

import shutil
import sys

import pytest

from tests.browser.suites import HERE, passed

NODE = shutil.which("node")
REPORT = "print('# tests 1'); print('# pass {}'); print('# fail {}'); print('# skipped {}')"


def python(program: str) -> list[str]:
    """Return the command of a program that reports like Node's test runner."""
    return [sys.executable, "-c", program]


@pytest.mark.skipif(NODE is None, reason="needs node 20")
def test_units() -> None:
    """Every unit test passes, and none is lost."""
    files = map(str, sorted((HERE / "js").glob("*.test.mjs")))
    command = [NODE or "node", "--test", "--test-reporter=tap", *files]
    assert passed(command) >= 200  # pragma: no cover - needs node


def test_passed_tests_are_counted() -> None:
    """A suite without failures gives its number of tests."""
    assert passed(python(REPORT.format(3, 0, 0))) == 3


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
def test_suite_that_did_not_pass_is_an_error(program: str) -> None:
    """A suite counts as passed only when all of its tests ran and passed."""
    with pytest.raises(AssertionError):
        passed(python(program))

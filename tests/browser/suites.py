"""Runs suites of Node's test runner, and programs that report like it (TAP)."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
PACKAGES: Final = HERE / "node" / "node_modules"


def passed(command: Sequence[str], **environment: str) -> int:
    """Run a suite, in which every test has to pass, and return the number of its tests.

    Raises:
        AssertionError: One failed or was skipped, or there was none; with the suite's report.
    """
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=HERE,
        env=os.environ | environment,
    )
    report = ran.stdout + ran.stderr
    counts = _counts(ran.stdout)
    bad = ran.returncode, counts.get("fail", 0), counts.get("skipped", 0)
    assert bad == (0, 0, 0), _failures(report)
    assert counts.get("pass", 0), report
    return counts["pass"]


def _counts(report: str) -> Mapping[str, int]:
    return {
        name: int(count) for name, count in re.findall(r"^# (\w+) (\d+)$", report, re.MULTILINE)
    }


def _failures(report: str) -> str:
    start = report.find("not ok")
    return report[max(start, 0) :][:6000]

"""Finding: one thing that `check` looked at."""

from dataclasses import dataclass
from typing import Final, Literal

from fastapi_stepup.cli.output import Report, Row, Section, Style

State = Literal["good", "look", "bad"]

_STYLES: Final[dict[State, Style | None]] = {"good": "good", "look": None, "bad": "bad"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: good, worth a look, or bad, with what to do."""

    subject: str
    state: State
    text: str


def report_of(findings: list[Finding]) -> Report:
    """Return the report of *findings*; a bad one makes it one that found something."""
    rows = tuple(
        Row((each.subject, each.state, each.text), _STYLES[each.state]) for each in findings
    )
    bad = [each for each in findings if each.state == "bad"]
    data = {
        "ok": not bad,
        "findings": [
            {"subject": each.subject, "state": each.state, "text": each.text} for each in findings
        ],
    }
    summary = f"{len(bad)} to mend." if bad else "All good."
    return Report((Section("Check", ("subject", "", ""), rows),), data, summary, found=bool(bad))

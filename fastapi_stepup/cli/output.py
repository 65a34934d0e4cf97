"""Report: the result of a command, shown to people as tables or to programs as JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

Style = Literal["good", "bad", "note"]

_STYLES: Final[Mapping[str, str]] = {"good": "green", "bad": "bold red", "note": "dim"}
# Nothing from a token may reach the terminal as a control sequence.
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160)), "�")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: the cells as text, and how it is shown."""

    cells: tuple[str, ...]
    style: Style | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A table with a title."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a command.

    Attributes:
        sections: Tables, in order.
        data: The same for programs; JSON.
        summary: The last line.
        found: Something was found that needs attention; the exit status is then 1.
    """

    sections: tuple[Section, ...]
    data: Mapping[str, Any]
    summary: str = ""
    found: bool = field(default=False)


def show(report: Report, *, as_json: bool) -> None:
    """Print *report*; without colour where there is no terminal."""
    if as_json:
        sys.stdout.write(json.dumps(report.data, indent=2) + "\n")
        return
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    for section in report.sections:
        console.print(_table(section))
    if report.summary:
        console.print(Text(report.summary, style=_STYLES["bad" if report.found else "good"]))


def _table(section: Section) -> Table:
    table = Table(title=section.title, title_justify="left", box=None, pad_edge=False)
    for name in section.columns:
        table.add_column(name, overflow="fold")
    for row in section.rows:
        style = _STYLES[row.style] if row.style else ""
        table.add_row(*(Text(printable(cell)) for cell in row.cells), style=style)
    return table


def printable(text: str) -> str:
    """Return *text* without control characters."""
    return text.translate(_CONTROL)


def in_words(seconds: float) -> str:
    """Return a duration such as `4 min 10 s`."""
    whole = round(abs(seconds))
    parts: Sequence[tuple[str, int]] = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    said = []
    for unit, length in parts:
        count, whole = divmod(whole, length)
        if count:
            said.append(f"{count} {unit}")
    return " ".join(said[:2]) or "0 s"

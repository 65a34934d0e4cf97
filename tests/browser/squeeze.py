"""Writes `stepup.js`, which is served, from `stepup.src.js`, which is edited.

`python -m tests.browser.squeeze` after a change. A test compares the two.
"""

import re
from pathlib import Path
from typing import Final

import fastapi_stepup.browser

FOLDER: Final = Path(fastapi_stepup.browser.__path__[0])
NAMES: Final = ("stepup",)


def squeezed(source: str) -> str:
    """Return *source* without comments, indentation and line ends that mean nothing.

    Knows no JavaScript: comments stand on lines of their own, and no text runs over several lines
    but style sheets.
    """
    lines = (line.strip() for line in source.splitlines())
    kept = (line for line in lines if line and not line.startswith("//"))
    return re.sub(r"(?<=[{(\[,;])\n", "", "\n".join(kept)) + "\n"


def write(folder: Path = FOLDER) -> None:
    """Write all files of *folder*."""
    for name in NAMES:
        source = folder.joinpath(f"{name}.src.js").read_text("utf-8")
        folder.joinpath(f"{name}.js").write_text(squeezed(source), "utf-8")


if __name__ == "__main__":
    write()

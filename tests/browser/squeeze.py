"""Writes `stepup.js` and its parts, which are served, from their sources, which are edited.

`python -m tests.browser.squeeze` after a change. A test compares the two.
"""

import hashlib
import re
from pathlib import Path
from typing import Final

import fastapi_stepup.browser

FOLDER: Final = Path(fastapi_stepup.browser.__path__[0])
PARTS: Final = ("authorize", "flow", "passkey")
NAMES: Final = ("stepup", *(f"stepup-{part}" for part in PARTS))


def squeezed(source: str) -> str:
    """Return *source* without comments, and without spaces and line ends that mean nothing.

    Knows no JavaScript: comments stand on lines of their own, a line with a text has no escaped
    quote in it, and what runs over several lines is the style sheet, which is called `CSS`.
    """
    lines = (line.strip() for line in source.splitlines())
    kept = (line for line in lines if line and not line.startswith("//"))
    parts = re.split(r"(?<=const CSS = `)([^`]*)", "\n".join(kept) + "\n", maxsplit=1)
    parts[::2] = map(_squeezed_code, parts[::2])
    parts[1::2] = map(_squeezed_style, parts[1::2])
    return "".join(parts).rstrip() + "\n"


def _squeezed_code(code: str) -> str:
    # A line with a slash may have a regular expression in it.
    lines = (line if "/" in line else _squeezed_line(line) for line in code.split("\n"))
    return re.sub(r"(?<=[{(\[,;])\n", "", "\n".join(lines))


def _squeezed_line(line: str) -> str:
    parts = re.split(r"""("[^"]*"|`[^`]*`)""", line)
    parts[::2] = (re.sub(r" ?([=>?:&|+*<,;(){}!-]+) ?", r"\1", part) for part in parts[::2])
    return "".join(parts)


def _squeezed_style(sheet: str) -> str:
    tight = re.sub(r"\s*([{};,])\s*", r"\1", sheet.strip())
    return re.sub(r"(?<=[\w-]): ", ":", tight).replace(";}", "}")


def write(folder: Path = FOLDER) -> None:
    """Write all files of *folder*, and into the script the version of each part."""
    texts = {name: squeezed(folder.joinpath(f"{name}.src.js").read_text("utf-8")) for name in NAMES}
    for part in PARTS:
        version = hashlib.sha384(texts[f"stepup-{part}"].encode()).hexdigest()[:16]
        texts["stepup"] = texts["stepup"].replace(f'part("{part}")', f'part("{part}&v={version}")')
    for name, text in texts.items():
        folder.joinpath(f"{name}.js").write_text(text, "utf-8")


if __name__ == "__main__":
    write()

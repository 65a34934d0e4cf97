"""Hooks of the documentation site: addresses, links out of docs/, and llms.txt.

- Site and repository are named once, in [project.urls] of pyproject.toml.
- A page may link to any file of the repository; outside of docs/ it becomes a link to the
  repository's host. A link to a file that does not exist stays as it is, so the build fails.
- `<!-- options: NAME -->` becomes a table of a public callable's arguments, from its docstring.
- `<!-- names: NAME -->` becomes an entry for each name in `__all__` of a module, or in a union.
- Each page is published as Markdown too, and `llms.txt` lists them.
"""

import inspect
import posixpath
import re
import tomllib
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final, get_args

ROOT: Final = Path(__file__).resolve().parent.parent
URLS: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
LINK: Final = re.compile(r"(?<=\]\()(\.\./[^)\s#]*)")
HIDDEN: Final = re.compile(r"^<!---.*?-->\n*", re.MULTILINE | re.DOTALL)
FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
OPTIONS: Final = re.compile(r"^<!-- options: ([\w.]+) -->$", re.MULTILINE)
NAMES: Final = re.compile(r"^<!-- names: ([\w.]+) -->$", re.MULTILINE)
ARGS: Final = re.compile(r"^Args:\n((?:    .*\n?|\n)+)", re.MULTILINE)
ARGUMENT: Final = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
PROSE: Final = re.compile(r"[A-Za-z`*]")
LINKED: Final = re.compile(r"\[([^\]]+)\]\([^)]*\)")

OWN_PAGES: Final = {"fastapi_stepup.errors"}

_pages: dict[str, tuple[str, str]] = {}


def on_config(config: Any) -> None:
    """Take the addresses from the project's metadata."""
    config.site_url = URLS["Documentation"]
    # Not as `repo_url`: the theme would ask the repository's host for figures on each page.
    config.nav.append({"Repository": URLS["Source"]})


def options(name: str) -> dict[str, tuple[str, str]]:
    """Return the arguments of a public callable: default and meaning of each, as in its docstring.

    Raises:
        LookupError: An argument is not documented, or a documented one does not exist.
    """
    target: Any = resolve_name(f"fastapi_stepup:{name}")
    parameters = inspect.signature(target).parameters
    section = ARGS.search(inspect.getdoc(target) or "")
    described = dict(ARGUMENT.findall(section[1])) if section else {}
    if described.keys() != parameters.keys():
        msg = f"{name}: {sorted(described.keys() ^ parameters.keys())} differ from the docstring."
        raise LookupError(msg)
    return {
        key: (_default(parameters[key].default), " ".join(described[key].split()))
        for key in parameters
    }


def _default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    return f"`{value!r}`" if isinstance(value, str | int | float | tuple | None) else ""


def _table(name: re.Match[str]) -> str:
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for key, (default, meaning) in options(name[1]).items():
        rows.append(f"| `{key}` | {default} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def names(of: str) -> list[str]:
    """Return the full names of the entries that stand for a module or for a union of classes."""
    target: Any = resolve_name(of)
    if classes := get_args(target):
        return [f"{kind.__module__}.{kind.__qualname__}" for kind in classes]
    return [f"{of}.{name}" for name in target.__all__ if f"{of}.{name}" not in OWN_PAGES]


def _entries(of: re.Match[str]) -> str:
    return "\n\n".join(f"::: {name}" for name in names(of[1]))


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Drop the blocks that only the tests see, and resolve links out of docs/."""
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def resolve(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[1]))
        inside = target == "docs" or target.startswith("docs/")
        if inside or not (ROOT / target).exists():
            return link[1]
        return f"{URLS['Source']}/blob/main/{target}"

    text = LINK.sub(resolve, HIDDEN.sub("", markdown))
    text = NAMES.sub(_entries, OPTIONS.sub(_table, text))
    _pages[page.file.src_uri] = (page.title or "", text)
    return text


def on_post_build(config: Any) -> None:
    """Write the Markdown of each page, and the list of them for language models."""
    site = Path(config.site_dir)
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", "", "## Pages", ""]
    for source, (title, text) in sorted(_pages.items()):
        target = site / source
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        paragraphs = FENCE.sub("", text).split("\n\n")
        first = next((words for words in paragraphs if PROSE.match(words.strip())), "")
        summary = LINKED.sub(r"\1", " ".join(first.split()))
        lines.append(f"- [{title}]({config.site_url}{source}): {summary}")
    (site / "llms.txt").write_text("\n".join(lines) + "\n", "utf-8")

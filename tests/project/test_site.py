"""The documentation site: it builds without a warning, is whole, and asks no other host."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import pytest

import fastapi_stepup
from fastapi_stepup import errors, events, testing

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MAKES_REQUESTS = re.compile(
    r"<(?:script|img|source|iframe|video|audio)\b[^>]*?\bsrc=\"?([^\" >]+)"
    r"|<link\b(?=[^>]*\brel=\"?(?:stylesheet|icon|preload|preconnect))[^>]*?\bhref=\"?([^\" >]+)"
    r"|url\(\s*[\"']?((?:https?:)?//[^)\"']+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as CI builds it."""
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    build = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert build.returncode == 0, build.stderr
    return folder


def entries(site: Path, page: str) -> set[str]:
    """Return the names that have a heading of their own on a page of the reference."""
    text = site.joinpath("reference", page, "index.html").read_text("utf-8")
    return set(re.findall(r"<h2 id=\"?(fastapi_stepup[\w.]*)", text))


def test_each_public_name_has_an_entry_and_no_other(site: Path) -> None:
    """Names, errors, events and what tests use, each on its page of the reference."""
    classes = [f"{kind.__module__}.{kind.__name__}" for kind in get_args(events.Event)]

    names = {f"fastapi_stepup.{name}" for name in fastapi_stepup.__all__}
    assert entries(site, "api") | {"fastapi_stepup.errors"} == names
    assert entries(site, "testing") == {f"fastapi_stepup.testing.{n}" for n in testing.__all__}
    assert entries(site, "errors") == {f"fastapi_stepup.errors.{name}" for name in errors.__all__}
    hooks = {"audit.json_log", "opentelemetry.hook", "prometheus.hook"}
    assert entries(site, "observability") == {
        f"fastapi_stepup.observability.{name}" for name in hooks
    }
    assert entries(site, "events") == {*classes, "fastapi_stepup.events.AuditRecord"}


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    """No font, script, style or picture comes from elsewhere."""
    found = {
        address
        for path in [*site.rglob("*.html"), *site.rglob("*.css")]
        for groups in MAKES_REQUESTS.findall(path.read_text("utf-8"))
        for address in groups
        if urlsplit(address).netloc
    }

    assert found == set()


def test_each_page_is_in_the_list_for_language_models(site: Path) -> None:
    """`llms.txt` names each page once, with the Markdown that is published beside it."""
    listed = re.findall(
        r"^- \[.+?\]\(https://[^)]*?/fastapi-stepup/(\S+\.md)\): \S",
        (site / "llms.txt").read_text("utf-8"),
        re.MULTILINE,
    )

    assert sorted(listed) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    assert [name for name in listed if not (site / name).is_file()] == []


def test_markdown_that_is_published_hides_what_only_tests_see(site: Path) -> None:
    """Blocks that set an example up for its test are on no page."""
    shown = [
        path for path in site.rglob("*.md") if "invisible-code-block" in path.read_text("utf-8")
    ]

    assert shown == []


def test_broken_link_fails_the_build(tmp_path: Path) -> None:
    """A link to a page, a heading or a file of the repository that does not exist is found."""
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    for name in ("mkdocs.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(DOCS / "hooks.py", docs)
    config = tmp_path / "mkdocs.yml"
    config.write_text(config.read_text("utf-8").partition("\nnav:")[0] + "\nnav: [index.md]\n")
    docs.joinpath("index.md").write_text(
        "# Home\n\n[a](other.md) [b](#nowhere) [c](../nothing.py) [d](../pyproject.toml)\n"
    )

    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    build = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert build.returncode == 1
    warnings = [line for line in build.stderr.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 3
    assert ["other.md" in warnings[0], "nothing.py" in warnings[1], "nowhere" in warnings[2]] == [
        True
    ] * 3

"""The page of problem codes and the errors of the package name the same."""

from pathlib import Path

from fastapi_stepup import errors

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "problems.md"


def _listed(kind: type[errors.StepUpError]) -> list[type[errors.StepUpError]]:
    """Return the errors with a wire form, one for each code."""
    ours = kind.__module__.startswith("fastapi_stepup.")
    if ours and hasattr(kind, "status"):
        return [kind]
    return [found for child in kind.__subclasses__() for found in _listed(child)]


def _row(kind: type[errors.StepUpError]) -> str:
    """Return the row of an error, as RFC 9457 section 4 asks: URI, title, status, meaning."""
    meaning = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    uri = f"`urn:fastapi-stepup:problem:{kind.code}`"
    return f"| `{kind.code}` | {uri} | {kind.title} | {kind.status} | {meaning} |"


def test_each_problem_code_is_on_the_page() -> None:
    """Type URI, title, status and meaning; the page lists no other ones."""
    rows = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]

    assert sorted(rows) == sorted(map(_row, _listed(errors.StepUpError)))

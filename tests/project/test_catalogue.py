"""The catalogue of hostile cases and the tests name the same ids."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
ID: Final = re.compile(r"\b(?:CF|CK|HD|JW|MW|OB|OT|TV|VC)-\d{3}\b")


def test_catalogue_lists_the_ids_that_tests_use_and_no_others() -> None:
    """Each id of a test has a row in the catalogue, and each row a test."""
    catalogue = ROOT.joinpath("docs/security/catalogue.md").read_text("utf-8")
    tests = [path.read_text("utf-8") for path in ROOT.joinpath("tests").rglob("*.py")]

    listed = re.findall(r"^\| (\S+) \|", catalogue, re.MULTILINE)
    ids = [name for name in listed if ID.fullmatch(name)]
    assert len(ids) == len(set(ids))
    assert set(ids) == {name for text in tests for name in ID.findall(text)}


def test_catalogue_ids_are_in_no_function_name() -> None:
    """A test is named for its behaviour; the id is an id of its parameters or in its docstring."""
    tests = [path.read_text("utf-8") for path in ROOT.joinpath("tests").rglob("test_*.py")]
    names = [name for text in tests for name in re.findall(r"def (test_\w+)", text)]

    assert [name for name in names if re.search(r"_(cf|ck|hd|jw|mw|ob|ot|tv|vc)_\d{3}", name)] == []

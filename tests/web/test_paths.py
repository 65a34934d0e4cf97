"""Paths of rules: normalized, folded, unroutable; templates in pieces; what convertors take."""

import re
import sys
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from starlette.convertors import CONVERTOR_TYPES, Convertor

from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.web.paths import (
    MAX_PATH,
    compiled,
    folded,
    is_unroutable,
    normalized,
    pieces,
    stays_in_segment,
)


def unroutable(path: str) -> bool:
    """Return whether no honest client sends *path*, said plainly."""
    segments = path.split("/")
    controls = {*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000), ord("\\")}
    return (
        len(path) > 2048
        or path[:1] != "/"
        or any(ord(character) in controls for character in path)
        or any(segment in {".", ".."} for segment in segments)
    )


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(path=st.text(max_size=12).map("/".__add__))
def test_unroutable_paths(path: str) -> None:
    """Any text: control characters, backslashes, surrogates, dot segments."""
    assert is_unroutable(path) == unroutable(path)


def test_is_unroutable(subtests: pytest.Subtests) -> None:
    """Control characters, backslashes, surrogates, dot segments, no slash, or too long."""
    rows: list[tuple[str, bool]] = [
        ("/", False),
        ("/a.b/.c/d../...", False),
        ("/a b~\xe9\xa0\u2028", False),
        ("/" + 2047 * "x", False),
        ("/" + 2048 * "x", True),
        ("", True),
        ("a", True),
        ("*", True),
        ("/a\\b", True),
        ("/.", True),
        ("/..", True),
        ("/./a", True),
        ("/a/../b", True),
        ("/a/..", True),
        ("/a\n", True),
        ("/a\x1f", True),
        ("/a\x7f", True),
        ("/a\x80", True),
        ("/a\x9f", True),
        ("/a\ud800", True),
    ]
    for path, expected in rows:
        with subtests.test(path=path):
            assert is_unroutable(path) is expected
            assert MAX_PATH == 2048


def test_normalized(subtests: pytest.Subtests) -> None:
    """Decoded once, then without dot segments and doubled slashes; else as it was."""
    rows: list[tuple[str, str]] = [
        ("/a", "/a"),
        ("/A/", "/A/"),
        ("/.a/", "/.a/"),
        ("/a./..b", "/a./..b"),
        ("//a", "/a"),
        ("///a//b///", "/a/b"),
        ("//", "/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/..", "/"),
        ("/a/.", "/a"),
        ("/../a", "/a"),
        ("/%61", "/a"),
        ("/a%2Fb", "/a/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/%2561", "/%61"),
        ("/%C3%A9", "/\xe9"),
        ("/100%", "/100%"),
    ]
    for path, expected in rows:
        with subtests.test(path=path):
            assert normalized(path) == expected


def test_letters_of_two_cases_fold_alike() -> None:
    """Letters that a loose pattern cannot tell apart are one key of the look-up."""
    letters = [
        letter
        for letter in map(chr, range(sys.maxunicode + 1))
        if len({letter, letter.lower(), letter.upper(), letter.title(), letter.casefold()}) > 1
    ]
    text = "".join(letters)

    for letter in letters:
        for same in re.findall(re.escape(letter), text, re.IGNORECASE):
            assert folded(same) == folded(letter)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("/pay", ["/pay"]),
        ("/{a}", ["/", "[^/]+", ""]),
        ("/x{n:int}.json", ["/x", "[0-9]+", ".json"]),
        ("/{a}/{p:path}", ["/", "[^/]+", "/", ".*", ""]),
    ],
)
def test_pieces(template: str, expected: list[str]) -> None:
    """Texts and convertors in turn."""
    found = [p.regex if isinstance(p, Convertor) else p for p in pieces(template)]

    assert found == expected


def test_stays_in_segment(subtests: pytest.Subtests) -> None:
    """Only patterns that show that they match neither a slash nor nothing."""
    rows: list[tuple[str, bool]] = [
        ("[^/]+", True),
        ("[0-9]+", True),
        (CONVERTOR_TYPES["float"].regex, True),
        (CONVERTOR_TYPES["uuid"].regex, True),
        ("[A-Za-z_]{2,8}", True),
        (r"\d{4}-\d{2}", True),
        ("(?:eur|usd)", True),
        ("[a-f-]+", True),
        (".*", False),
        (".+", False),
        ("[^x]+", False),
        ("[a-z]*", False),
        ("[0-9]?", False),
        (r"\S+", False),
        ("[+-9]+", False),
        ("[.-9]+", False),
        ("a/b", False),
        ("[a/]+", False),
        (r"\x2f", False),
        ("(?s:.)", False),
    ]
    for regex, expected in rows:
        with subtests.test(regex=regex):

            class Own(Convertor[str]):
                """An app's own convertor."""

            Own.regex = regex

            assert stays_in_segment(Own()) is expected
            assert not expected or not re.fullmatch(regex, "a/b")


def test_paths_that_cannot_be_compiled(subtests: pytest.Subtests) -> None:
    """The message says which kind of mistake it is."""
    rows: list[tuple[Any, str]] = [
        (None, "must be exact"),
        (5, "must be exact"),
        ("pay", "must be exact"),
        ("/a//b", "must be exact"),
        ("/" + 2048 * "x", "has more than 2048 characters, so it never matches"),
        ("/{", "has a malformed, unknown or repeated parameter"),
        ("/}", "has a malformed, unknown or repeated parameter"),
        ("/{a:odd}", "has a malformed, unknown or repeated parameter"),
    ]
    for path, message in rows:
        with subtests.test(path=path), pytest.raises(ConfigurationError, match=message):
            compiled(path)

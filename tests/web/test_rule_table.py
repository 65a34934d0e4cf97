"""RuleTable: the quick look-up decides what trying each rule in turn decides."""

import re
from collections.abc import Iterator
from posixpath import normpath
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings, strategies as st

from fastapi_stepup import StepUpPolicy, StepUpRule
from fastapi_stepup.web.paths import compiled, is_unroutable
from fastapi_stepup.web.rule_table import Protection, RuleTable
from fastapi_stepup.web.rules import Access
from tests.support.rules import RULES, SEGMENTS, own_convertors

KNOWN = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "TRACE", "CONNECT"]


@pytest.fixture(scope="module", autouse=True)
def convertors() -> Iterator[None]:
    """Let templates name the app's own convertors."""
    with own_convertors():
        yield


def plainly(
    rules: list[StepUpRule], default: Access, path: str, method: str | None
) -> tuple[Protection, ...]:
    """Return what a request must present, by trying each rule in turn with two patterns."""
    decoded = unquote(path)
    if re.search(r"//|/\.\.?(?:/|$)", decoded):
        decoded = "/" + normpath(decoded).lstrip("/")
    found: list[Protection] = []
    for rule in [*rules, None]:
        if rule is None:
            return (*found, default) if default != "public" else tuple(found)
        exact, loose = compiled(rule.path)
        listed = rule.methods is None or bool({method, method == "HEAD" and "GET"} & rule.methods)
        if listed and exact.fullmatch(path):
            return (*found, rule.require) if rule.require != "public" else tuple(found)
        covered = listed or method not in KNOWN
        if rule.require != "public" and covered and loose.fullmatch(decoded):
            found.append(rule.require)
    raise AssertionError


UUID = "00000000-0000-4000-8000-000000000000"
ODD = ["%70ay", "a%2Fpay", "%2e%2e", "PAY", "\u017f", "\u212a", "\u0131", ""]
VALUES = [*SEGMENTS, *ODD, "12", "1.5", "AB12", UUID]
PATHS = st.builds(
    lambda segments, start, end: start + "/".join(segments) + end,
    st.lists(st.sampled_from(VALUES), max_size=5),
    st.sampled_from(["/", "/", "//"]),
    st.sampled_from(["", "", "/", "//"]),
)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(
    rules=RULES,
    default=st.sampled_from([StepUpPolicy(), "session", "public"]),
    path=PATHS,
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "get", "FOO", None]),
)
@example(rules=[StepUpRule("/k", "session")], default="public", path="/\u212a", method="GET")
@example(rules=[StepUpRule("/*", "session")], default="public", path="//", method="GET")
def test_the_look_up_decides_as_each_rule_in_turn(
    rules: list[StepUpRule], default: Access, path: str, method: str | None
) -> None:
    """For exact and loose matches, prefixes, templates, own convertors and odd spellings."""
    table = RuleTable(tuple(rules), default)

    assert table.required(path, method) == plainly(rules, default, path, method)
    assert table.decide(path, method)[0] == is_unroutable(path)


@pytest.mark.parametrize("length", [2048, 2049, 60_000])
def test_long_paths_are_unroutable(length: int) -> None:
    """More than 2,048 characters are refused before a rule is asked."""
    table = RuleTable((StepUpRule("/*", "public"),), "session")

    decision = (True, ("session",)) if length > 2048 else (False, ())
    assert table.decide("/" + (length - 1) * "x", "GET") == decision


def test_a_rule_is_asked_only_where_its_segments_are() -> None:
    """A thousand rules cost a request what its own candidates cost."""
    asked: list[str] = []

    class Pattern:
        """Stands in for the patterns of a rule."""

        def __init__(self, path: str) -> None:
            self.path = path

        def fullmatch(self, _: str) -> None:
            asked.append(self.path)

    paths = [*(f"/pay/{n}" for n in range(500)), *(f"/admin/{n}/*" for n in range(499)), "/pay/{n}"]
    rules = [StepUpRule(path, "session") for path in paths]
    for rule in rules:
        object.__setattr__(rule, "_exact", Pattern(rule.path))
        object.__setattr__(rule, "_loose", Pattern(rule.path))

    RuleTable(tuple(rules), "public").required("/pay/7", "GET")

    assert asked == ["/pay/7", "/pay/7", "/pay/{n}", "/pay/{n}"]


@pytest.mark.parametrize(
    ("path", "method", "kept"),
    [
        pytest.param("/" + 252 * "x", "GET", True, id="256-characters"),
        pytest.param("/" + 253 * "x", "GET", False, id="257-characters"),
        pytest.param("/", 300 * "X", False, id="long-method"),
        pytest.param("/" + 255 * "x", None, True, id="websocket"),
    ],
)
def test_short_requests_are_remembered(path: str, method: str | None, *, kept: bool) -> None:
    """Paths and methods of 256 characters together are, longer ones are not."""
    table = RuleTable((), "session")

    assert (table.decide(path, method) is table.decide(path, method)) == kept


def test_more_paths_than_slots_do_not_end_the_memory() -> None:
    """In turn, each of them twice: a good part is still there the second time."""
    table = RuleTable((), StepUpPolicy())
    first = [table.decide(f"/{n}", "GET") for n in range(6000)]

    known = [table.decide(f"/{n}", "GET") is decision for n, decision in enumerate(first)]

    assert known.count(True) > 600
    assert len(table._slots) == 4096


def test_a_rule_of_another_kind_is_asked_about_every_path() -> None:
    """A subclass may match what its path does not say."""

    class ForAll(StepUpRule):
        """A rule that matches every path."""

        def matches(self, path: str, method: str | None) -> bool:
            """Match."""
            return True

    table = RuleTable((StepUpRule("/open", "public"), ForAll("/x", "session")), "public")

    assert table.required("/some/where/else", "GET") == ("session",)
    assert table.required("/open", "GET") == ()

"""required_everywhere: guarded only where each value of a route's parameters is."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from starlette.routing import compile_path

from fastapi_stepup import StepUpPolicy, StepUpRule
from fastapi_stepup.web.rule_coverage import required_everywhere
from fastapi_stepup.web.rule_table import RuleTable
from fastapi_stepup.web.rules import Access
from tests.support.rules import RULES, TEMPLATES, own_convertors

POLICY = StepUpPolicy(max_age="5m")
UUID = "00000000-0000-4000-8000-000000000000"
VALUES = {
    "[^/]+": ["1", "pay", "A", "x.json", "%2e%2e", "AB12", "a%2Fb"],
    ".*": ["", "1", "a/b", "/", "pay", "x.json/"],
    "[0-9]+": ["1", "77"],
    r"[0-9]+(\.[0-9]+)?": ["1", "2.5"],
    "[A-Z]{2}[0-9]+": ["AB12", "ZZ9"],
    ".+": ["1", "a/b", "pay", "/"],
}


@pytest.fixture(scope="module", autouse=True)
def convertors() -> Iterator[None]:
    """Let templates name the app's own convertors."""
    with own_convertors():
        yield


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(
    rules=RULES,
    default=st.sampled_from([StepUpPolicy(), "session", "public"]),
    template=TEMPLATES.filter(lambda template: "*" not in template),
    method=st.sampled_from(["GET", "HEAD", "POST", "FOO", None]),
    data=st.data(),
)
def test_no_path_of_a_guarded_route_is_open(
    rules: list[StepUpRule], default: Access, template: str, method: str | None, data: Any
) -> None:
    """For any rules, parameters and values."""
    table = RuleTable(tuple(rules), default)
    _, path_format, found = compile_path(template)
    values = {
        name: data.draw(st.sampled_from(VALUES.get(convertor.regex, [UUID])))
        for name, convertor in found.items()
    }

    if required_everywhere(table, template, method):
        assert table.decide(path_format.format(**values), method)[1]


@pytest.mark.parametrize("default", ["public", "session"])
def test_a_rule_that_covers_a_route(default: Access, subtests: pytest.Subtests) -> None:
    """Each path of the route is one of the rule's, so the default is not asked."""
    rows: dict[str, tuple[str, str]] = {
        "text": ("/pay/{id}", "/pay/{n}"),
        "number in text": ("/pay/{id}", "/pay/{n:int}"),
        "float in text": ("/pay/{id}", "/pay/{n:float}"),
        "uuid in text": ("/pay/{id}", "/pay/{n:uuid}"),
        "own convertor in text": ("/pay/{id}", "/pay/{n:code}"),
        "part of a segment": ("/pay/{id}", "/pay/x{n:int}.json"),
        "number": ("/pay/{id:int}", "/pay/{n:int}"),
        "uuid": ("/pay/{id:uuid}", "/pay/{n:uuid}"),
        "own convertor": ("/pay/{id:code}", "/pay/{n:code}"),
        "own convertor with slashes": ("/pay/{id:anything}", "/pay/{n:anything}"),
        "path": ("/pay/{id:path}", "/pay/{n:anything}"),
        "prefix": ("/pay/*", "/pay/{n:path}"),
        "prefix and more": ("/pay/*", "/pay/{a}/{b:anything}"),
        "everything": ("/*", "/{n:path}"),
        "first segment": ("/{a}/pay", "/{b}/pay"),
        "literal in parameter": ("/pay/{a}/{b}", "/pay/{b}/x"),
        "literal in number": ("/pay/{a:int}/{b}", "/pay/7/{b}"),
    }
    for name, (rule, template) in rows.items():
        with subtests.test(name):
            table = RuleTable((StepUpRule(rule, POLICY),), default)

            assert required_everywhere(table, template, "GET") == (POLICY,)


def test_a_rule_that_covers_a_part_of_a_route(subtests: pytest.Subtests) -> None:
    """The rest meets the default: both are listed, or the route is open where that is public."""
    rows: dict[str, tuple[str, str]] = {
        "one text": ("/pay/1", "/pay/{n}"),
        "one number": ("/pay/1", "/pay/{n:int}"),
        "one float": ("/pay/1.5", "/pay/{n:float}"),
        "one uuid": (f"/pay/{UUID}", "/pay/{n:uuid}"),
        "one of an own convertor": ("/pay/AB12", "/pay/{n:code}"),
        "one path": ("/pay/1", "/pay/{n:path}"),
        "numbers of texts": ("/pay/{id:int}", "/pay/{n}"),
        "numbers of an own convertor": ("/pay/{id:int}", "/pay/{n:code}"),
        "segment of a path": ("/pay/{id}", "/pay/{n:path}"),
        "segment of an own convertor": ("/pay/{id}", "/pay/{n:anything}"),
        "one own convertor of another": ("/pay/{id:code}", "/pay/{n:anything}"),
        "path may be empty": ("/pay/{id:anything}", "/pay/{n:path}"),
        "suffix": ("/pay/{id}.json", "/pay/{n}"),
        "two segments of a path": ("/pay/{a}/{b}", "/pay/{n:path}"),
        "first segment": ("/1/pay", "/{n}/pay"),
        "only loosely": ("/PAY/{n}", "/pay/{n}"),
        "start of a segment": ("/pay/{id:int}", "/pay/{n:int}x"),
    }
    for name, (rule, template) in rows.items():
        with subtests.test(name):
            rules = (StepUpRule(rule, POLICY),)

            assert required_everywhere(RuleTable(rules, "public"), template, "GET") == ()
            assert required_everywhere(RuleTable(rules, "session"), template, "GET") == (
                POLICY,
                "session",
            )


def test_a_public_rule_for_some_values(subtests: pytest.Subtests) -> None:
    """A route with a path that is open is open; one that the rule cannot match is not."""
    rows: dict[str, tuple[str, str, bool]] = {
        "one number": ("/pay/1", "/pay/{n:int}", True),
        "no number": ("/pay/x", "/pay/{n:int}", False),
        "starts with a number": ("/pay/1x", "/pay/{n:int}", False),
        "own convertor": ("/pay/AB12", "/pay/{n:code}", True),
        "own convertor with slashes": ("/pay/a/b", "/pay/{n:anything}", True),
        "anything goes": ("/pay/a", "/pay/{n:anything}/b", True),
        "path": ("/{p:path}", "/pay/{n}", True),
        "longer": ("/pay/{a}/{b}", "/pay/{n}", False),
        "shorter": ("/pay", "/pay/{n}", False),
        "prefix": ("/pay/*", "/pay/{n}/x", True),
        "prefix below": ("/pay/{n}/x/*", "/pay/{n}", False),
        "suffix": ("/pay/{a}.json", "/pay/{n}", True),
        "other start": ("/pay/1", "/pay/x{n}", False),
        "other path": ("/other/{n}", "/pay/{n}", False),
    }
    for name, (rule, template, is_open) in rows.items():
        with subtests.test(name):
            table = RuleTable((StepUpRule(rule, "public"),), POLICY)

            assert (required_everywhere(table, template, "GET") == ()) == is_open


@pytest.mark.parametrize(
    ("methods", "method", "is_open"),
    [
        (["GET"], "HEAD", True),
        (["POST"], "GET", False),
        (["GET"], None, False),
        (None, None, True),
    ],
)
def test_methods_of_a_public_rule(
    methods: list[str] | None, method: str | None, *, is_open: bool
) -> None:
    """Only those that the rule is for."""
    table = RuleTable((StepUpRule("/pay/{n}", "public", methods=methods),), POLICY)

    assert (required_everywhere(table, "/pay/{n}", method) == ()) == is_open


def test_methods_of_a_protecting_rule() -> None:
    """It is listed for its own methods, and for an unknown one beside the default."""
    table = RuleTable((StepUpRule("/pay/{n}", POLICY, methods=["POST"]),), "session")

    assert required_everywhere(table, "/pay/{n}", "GET") == ("session",)
    assert required_everywhere(table, "/pay/{n}", "FOO") == (POLICY, "session")
    assert required_everywhere(table, "/pay/{n}", "POST") == (POLICY,)


def test_the_first_rule_that_covers_a_route_decides() -> None:
    """A later one that opens a part of it is never asked."""
    rules = (StepUpRule("/pay/{n}", POLICY), StepUpRule("/pay/1", "public"))

    assert required_everywhere(RuleTable(rules, "session"), "/pay/{n}", "GET") == (POLICY,)
    assert required_everywhere(RuleTable(rules[::-1], "session"), "/pay/{n}", "GET") == ()


def test_a_rule_of_another_kind_covers_nothing() -> None:
    """A subclass may match something else than its path says."""

    class Other(StepUpRule):
        """A rule that could match anything."""

    guarding = RuleTable((Other("/pay/{n}", POLICY),), "public")
    opening = RuleTable((Other("/other", "public"),), POLICY)

    assert required_everywhere(guarding, "/pay/{n}", "GET") == ()
    assert required_everywhere(opening, "/pay/{n}", "GET") == ()

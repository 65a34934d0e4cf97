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


@pytest.mark.parametrize(
    ("rule", "template"),
    [
        pytest.param("/pay/{id}", "/pay/{n}", id="text"),
        pytest.param("/pay/{id}", "/pay/{n:int}", id="number-in-text"),
        pytest.param("/pay/{id}", "/pay/{n:float}", id="float-in-text"),
        pytest.param("/pay/{id}", "/pay/{n:uuid}", id="uuid-in-text"),
        pytest.param("/pay/{id}", "/pay/{n:code}", id="own-convertor-in-text"),
        pytest.param("/pay/{id}", "/pay/x{n:int}.json", id="part-of-a-segment"),
        pytest.param("/pay/{id:int}", "/pay/{n:int}", id="number"),
        pytest.param("/pay/{id:uuid}", "/pay/{n:uuid}", id="uuid"),
        pytest.param("/pay/{id:code}", "/pay/{n:code}", id="own-convertor"),
        pytest.param("/pay/{id:anything}", "/pay/{n:anything}", id="own-convertor-with-slashes"),
        pytest.param("/pay/{id:path}", "/pay/{n:anything}", id="path"),
        pytest.param("/pay/*", "/pay/{n:path}", id="prefix"),
        pytest.param("/pay/*", "/pay/{a}/{b:anything}", id="prefix-and-more"),
        pytest.param("/*", "/{n:path}", id="everything"),
        pytest.param("/{a}/pay", "/{b}/pay", id="first-segment"),
        pytest.param("/pay/{a}/{b}", "/pay/{b}/x", id="literal-in-parameter"),
        pytest.param("/pay/{a:int}/{b}", "/pay/7/{b}", id="literal-in-number"),
    ],
)
@pytest.mark.parametrize("default", ["public", "session"])
def test_a_rule_that_covers_a_route(rule: str, template: str, default: Access) -> None:
    """Each path of the route is one of the rule's, so the default is not asked."""
    table = RuleTable((StepUpRule(rule, POLICY),), default)

    assert required_everywhere(table, template, "GET") == (POLICY,)


@pytest.mark.parametrize(
    ("rule", "template"),
    [
        pytest.param("/pay/1", "/pay/{n}", id="one-text"),
        pytest.param("/pay/1", "/pay/{n:int}", id="one-number"),
        pytest.param("/pay/1.5", "/pay/{n:float}", id="one-float"),
        pytest.param(f"/pay/{UUID}", "/pay/{n:uuid}", id="one-uuid"),
        pytest.param("/pay/AB12", "/pay/{n:code}", id="one-of-an-own-convertor"),
        pytest.param("/pay/1", "/pay/{n:path}", id="one-path"),
        pytest.param("/pay/{id:int}", "/pay/{n}", id="numbers-of-texts"),
        pytest.param("/pay/{id:int}", "/pay/{n:code}", id="numbers-of-an-own-convertor"),
        pytest.param("/pay/{id}", "/pay/{n:path}", id="segment-of-a-path"),
        pytest.param("/pay/{id}", "/pay/{n:anything}", id="segment-of-an-own-convertor"),
        pytest.param("/pay/{id:code}", "/pay/{n:anything}", id="one-own-convertor-of-another"),
        pytest.param("/pay/{id:anything}", "/pay/{n:path}", id="path-may-be-empty"),
        pytest.param("/pay/{id}.json", "/pay/{n}", id="suffix"),
        pytest.param("/pay/{a}/{b}", "/pay/{n:path}", id="two-segments-of-a-path"),
        pytest.param("/1/pay", "/{n}/pay", id="first-segment"),
        pytest.param("/PAY/{n}", "/pay/{n}", id="only-loosely"),
        pytest.param("/pay/{id:int}", "/pay/{n:int}x", id="start-of-a-segment"),
    ],
)
def test_a_rule_that_covers_a_part_of_a_route(rule: str, template: str) -> None:
    """The rest meets the default: both are listed, or the route is open where that is public."""
    rules = (StepUpRule(rule, POLICY),)

    assert required_everywhere(RuleTable(rules, "public"), template, "GET") == ()
    assert required_everywhere(RuleTable(rules, "session"), template, "GET") == (POLICY, "session")


@pytest.mark.parametrize(
    ("rule", "template", "is_open"),
    [
        pytest.param("/pay/1", "/pay/{n:int}", True, id="one-number"),
        pytest.param("/pay/x", "/pay/{n:int}", False, id="no-number"),
        pytest.param("/pay/1x", "/pay/{n:int}", False, id="starts-with-a-number"),
        pytest.param("/pay/AB12", "/pay/{n:code}", True, id="own-convertor"),
        pytest.param("/pay/a/b", "/pay/{n:anything}", True, id="own-convertor-with-slashes"),
        pytest.param("/pay/a", "/pay/{n:anything}/b", True, id="anything-goes"),
        pytest.param("/{p:path}", "/pay/{n}", True, id="path"),
        pytest.param("/pay/{a}/{b}", "/pay/{n}", False, id="longer"),
        pytest.param("/pay", "/pay/{n}", False, id="shorter"),
        pytest.param("/pay/*", "/pay/{n}/x", True, id="prefix"),
        pytest.param("/pay/{n}/x/*", "/pay/{n}", False, id="prefix-below"),
        pytest.param("/pay/{a}.json", "/pay/{n}", True, id="suffix"),
        pytest.param("/pay/1", "/pay/x{n}", False, id="other-start"),
        pytest.param("/other/{n}", "/pay/{n}", False, id="other-path"),
    ],
)
def test_a_public_rule_for_some_values(rule: str, template: str, *, is_open: bool) -> None:
    """A route with a path that is open is open; one that the rule cannot match is not."""
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

"""StepUpRule: exact and loose matching, order, methods, refused arguments."""

import re
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from fastapi_stepup import StepUpGuard, StepUpMiddleware, StepUpPolicy, StepUpRule
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.web.rule_table import Protection, RuleTable
from fastapi_stepup.web.rules import HTTP_METHODS, Access, checked_rules
from tests.support.attack_requests import anything
from tests.support.exchange import is_open, listed

POLICY = StepUpPolicy(max_age="5m")


def required(
    rules: list[StepUpRule], path: str, method: str | None, default: Access | None = None
) -> tuple[Protection, ...]:
    """Return what a request must present."""
    return RuleTable(tuple(rules), default or StepUpPolicy()).required(path, method)


@pytest.mark.parametrize(
    ("path", "covered", "not_covered"),
    [
        pytest.param(
            "/pay",
            ["/pay", "/pay/", "/PAY", "//pay", "/pay//", "/%70ay", "/x/%2e%2e/pay"],
            ["/", "/payx", "/pay/x", "/x/pay", "/pa"],
            id="exact",
        ),
        pytest.param("/pay/", ["/pay/", "/pay"], ["/", "/pay/x"], id="exact-with-slash"),
        pytest.param("/", ["/", ""], ["/pay"], id="root"),
        pytest.param(
            "/pay/{id}", ["/pay/1", "/pay/1/", "/pay/a b"], ["/pay", "/pay/1/2"], id="template"
        ),
        pytest.param("/n/{n:int}", ["/n/5", "/N/5"], ["/n/x", "/n/"], id="convertor"),
        pytest.param(
            "/admin/*",
            ["/admin", "/admin/", "/admin/x/y", "//admin/x", "/ADMIN/x", "/admin%2Fx"],
            ["/administrator", "/", "/x/admin"],
            id="prefix",
        ),
        pytest.param("/u/{id}/*", ["/u/1", "/u/1/x/y"], ["/u", "/u/"], id="template-prefix"),
        pytest.param("/*", ["/", "/x", "//"], [], id="everything"),
        pytest.param("/b.c", ["/b.c"], ["/bxc"], id="not-a-regular-expression"),
    ],
)
def test_a_protecting_rule_matches_loosely(
    path: str, covered: list[str], not_covered: list[str], guard: StepUpGuard
) -> None:
    """Spellings that a server behind the app may take for the path are covered too."""
    app = listed(guard, StepUpRule(path, POLICY))

    assert [p for p in covered if is_open(app, p)] == []
    assert [p for p in not_covered if not is_open(app, p)] == []


@pytest.mark.parametrize(
    ("path", "opened", "closed"),
    [
        pytest.param("/pay", ["/pay"], ["/pay/", "/PAY", "//pay", "/%70ay"], id="exact"),
        pytest.param("/", ["/", ""], ["/x", "//"], id="root"),
        pytest.param("/pay/{id}", ["/pay/1"], ["/pay/1/", "/pay/1/2", "/Pay/1"], id="template"),
        pytest.param(
            "/health/*",
            ["/health", "/health/", "/health/live"],
            ["/healthz", "/Health", "//health", "/health/../admin", "/health/..\\admin"],
            id="prefix",
        ),
    ],
)
def test_a_public_rule_matches_exactly(
    path: str, opened: list[str], closed: list[str], guard: StepUpGuard
) -> None:
    """Any other spelling of what it opens stays closed."""
    app = StepUpMiddleware(anything, guard=guard, rules=[StepUpRule(path, "public")])

    assert [p for p in opened if not is_open(app, p)] == []
    assert [p for p in closed if is_open(app, p)] == []


@pytest.mark.parametrize(
    ("methods", "opened", "closed"),
    [
        pytest.param(None, ["GET", "HEAD", "POST", "FOO"], [], id="all"),
        pytest.param(["GET"], ["GET", "HEAD"], ["POST", "get", "FOO", "OPTIONS"], id="get"),
        pytest.param(["HEAD"], ["HEAD"], ["GET", "POST"], id="head-does-not-open-get"),
        pytest.param({"QUERY", "POST"}, ["POST", "QUERY"], ["GET", "post", "PUT"], id="several"),
    ],
)
def test_methods_of_a_public_rule(
    methods: Any, opened: list[str], closed: list[str], guard: StepUpGuard
) -> None:
    """`GET` stands for `HEAD` too; nothing else for anything."""
    rule = StepUpRule("/x", "public", methods=methods)
    app = StepUpMiddleware(anything, guard=guard, rules=[rule])

    assert [m for m in opened if not is_open(app, "/x", m)] == []
    assert [m for m in closed if is_open(app, "/x", m)] == []


def test_methods_of_a_protecting_rule(guard: StepUpGuard) -> None:
    """Unknown methods, and WebSockets, are covered with any methods listed."""
    rule = StepUpRule("/x", POLICY, methods=["POST"])
    app = listed(guard, rule)

    assert [m for m in ("GET", "PUT", "HEAD", "OPTIONS") if not is_open(app, "/x", m)] == []
    assert [m for m in ("POST", "post", "FOO", "PROPFIND") if is_open(app, "/x", m)] == []
    assert required([rule], "/x", None, "public") == (POLICY,)


@pytest.mark.parametrize("path", ["/x", "/X", "/x/", "//x", "/%78"])
def test_both_ways_of_matching_cover_the_same_methods(
    path: str, guard: StepUpGuard, subtests: pytest.Subtests
) -> None:
    """Exactly and loosely: its own, `HEAD` with `GET`, and unknown ones."""
    rows: dict[str, tuple[Any, list[str], list[str]]] = {
        "get": (["GET"], ["GET", "HEAD", "get", "PROPFIND"], ["POST", "OPTIONS"]),
        "head": (["HEAD"], ["HEAD", "FOO"], ["GET", "POST"]),
        "post": (["POST"], ["POST", "FOO"], ["GET", "HEAD", "PUT"]),
        "all": (None, ["GET", "HEAD", "POST", "FOO"], []),
    }
    for name, (methods, covered, not_covered) in rows.items():
        with subtests.test(name):
            app = listed(guard, StepUpRule("/x", POLICY, methods=methods))

            assert [m for m in covered if is_open(app, path, m)] == []
            assert [m for m in not_covered if not is_open(app, path, m)] == []


def test_a_rule_says_what_it_matches(subtests: pytest.Subtests) -> None:
    """Asked by itself; a path is decoded once."""
    rows: list[tuple[str, str, bool, bool]] = [
        ("/pay", "POST", True, True),
        ("/PAY/", "POST", False, True),
        ("//pay", "POST", False, True),
        ("/%50ay", "POST", False, True),
        ("/%2550ay", "POST", False, False),
        ("/PAY/", "GET", False, False),
        ("/payx", "POST", False, False),
    ]
    for path, method, exactly, loosely in rows:
        with subtests.test(path=path):
            rule = StepUpRule("/pay", POLICY, methods=["POST"])

            assert rule.matches(path, method) is exactly
            assert rule.matches_loosely(path, method) is loosely
            assert not StepUpRule("/pay", "public").matches_loosely(path, method)


def test_http_methods() -> None:
    """The methods that a rule may name; others are unknown, and so covered by every rule."""
    assert (
        {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} | {"OPTIONS", "QUERY", "TRACE", "CONNECT"}
    ) == HTTP_METHODS


def test_a_rule_cannot_be_changed() -> None:
    """Nor its patterns."""
    rule = StepUpRule("/pay", POLICY)

    for name in ("path", "require", "methods", "_exact"):
        with pytest.raises(FrozenInstanceError):
            setattr(rule, name, None)


def test_methods_may_be_a_generator() -> None:
    """They are read once."""
    rule = StepUpRule("/pay", POLICY, methods=(name for name in ("GET", "POST")))

    assert rule.methods == frozenset({"GET", "POST"})


def test_the_first_rule_that_matches_wins() -> None:
    """The order is the developer's, and the default comes last."""
    rules = [
        StepUpRule("/a/open", "public"),
        StepUpRule("/a/*", "session"),
        StepUpRule("/a/b", POLICY),
    ]

    assert required(rules, "/a/open", "GET") == ()
    assert required(rules, "/a/b", "GET") == ("session",)
    assert required(rules, "/c", "GET") == (StepUpPolicy(),)


def test_a_loose_match_of_a_weaker_rule_does_not_escape_the_default() -> None:
    """An odd spelling or method must present what both readings ask for."""
    rules = [StepUpRule("/api/*", "session", methods=["GET"]), StepUpRule("/me", "session")]

    assert required(rules, "/api/x", "GET") == ("session",)
    assert required(rules, "/api/x", "FOO") == ("session", StepUpPolicy())
    assert required(rules, "/me/", "GET") == ("session", StepUpPolicy())
    assert required(rules, "/api/x", None) == ("session", StepUpPolicy())


def test_long_paths_and_methods_are_judged_alike(guard: StepUpGuard) -> None:
    """Verdicts on usual ones are kept, those on others are not; both are the same."""
    app = StepUpMiddleware(anything, guard=guard, rules=[StepUpRule("/open/*", "public")])

    assert is_open(app, f"/open/{1000 * 'x'}", "GET")
    assert is_open(app, "/open/x", 1000 * "X")
    assert not is_open(app, f"/closed/{1000 * 'x'}", "GET")
    assert not is_open(app, f"/open/../{1000 * 'x'}", "GET")


def test_rules_compare_by_what_they_say() -> None:
    """Rules are values, and say in their `repr` what they are about."""
    rule = StepUpRule("/a", "session", methods=["GET"])

    assert rule == StepUpRule("/a", "session", methods={"GET"})
    assert rule != StepUpRule("/a", "session")
    assert hash(rule) == hash(StepUpRule("/a", "session", methods={"GET"}))
    assert repr(rule) == (
        "StepUpRule(path='/a', require='session', methods=frozenset({'GET'}), when=None, once=None)"
    )


def test_a_path_that_is_no_path_is_refused(subtests: pytest.Subtests) -> None:
    """Nothing that could mean more, less or something else than it says."""
    rows: list[Any] = [
        "",
        "health",
        "*",
        "/health*",
        "/*/x",
        "/a/**",
        "^/health$",
        "/a//b",
        "/a/../b",
        "/./a",
        "/a%2Fb",
        "/a?b",
        "/a#b",
        "/a b",
        "/a\\b",
        "/a\n",
        "/{id",
        "/id}",
        "/{}",
        "/{id:unknown}",
        "/{id}/{id}",
        "/" + 2048 * "x",
        re.compile("/regex"),
        None,
        b"/bytes",
    ]
    for path in rows:
        with subtests.test(path=path), pytest.raises(ConfigurationError, match="of a rule"):
            StepUpRule(path, "public")


def test_a_requirement_that_is_none_is_refused(
    guard: StepUpGuard, subtests: pytest.Subtests
) -> None:
    """A typo does not open anything."""
    rows: list[Any] = [None, "", "open", "step_up", True, POLICY.max_age, [POLICY]]
    for require in rows:
        with (
            subtests.test(require=require),
            pytest.raises(ConfigurationError, match="require is a StepUpPolicy"),
        ):
            StepUpRule("/a", require)


def test_unknown_methods_are_refused(subtests: pytest.Subtests) -> None:
    """A rule for a misspelt method would never match."""
    rows: list[Any] = [[], "", "POST", ["post"], ["PSOT"], [1], 5]
    for methods in rows:
        with (
            subtests.test(methods=methods),
            pytest.raises(ConfigurationError, match="methods is None or a set of"),
        ):
            StepUpRule("/a", "public", methods=methods)


def test_rules_may_be_any_ordered_collection(subtests: pytest.Subtests) -> None:
    """Any that can be read twice, in one order."""
    rows: list[Any] = [list, tuple, dict.fromkeys, lambda rules: {0: rules[0]}.values()]
    for kind in rows:
        with subtests.test(kind=kind):
            rule = StepUpRule("/pay", POLICY)

            assert checked_rules(kind([rule])) == (rule,)


def test_what_is_no_sequence_of_rules_is_refused(subtests: pytest.Subtests) -> None:
    """Nor what reading uses up, nor what has no order."""
    rows: list[Any] = [
        None,
        "/pay",
        ["/pay"],
        StepUpRule("/pay", POLICY),
        iter([StepUpRule("/pay", POLICY)]),
        map(StepUpRule, ["/pay"], [POLICY]),
        {StepUpRule("/pay", POLICY)},
        frozenset({StepUpRule("/pay", POLICY)}),
        [StepUpRule("/pay", POLICY), None],
    ]
    for rules in rows:
        with (
            subtests.test(rules=rules),
            pytest.raises(ConfigurationError, match="rules is a sequence of StepUpRule"),
        ):
            checked_rules(rules)

"""`&`, `|` and the presets: what a combined policy says, and what it refuses."""

import logging
import operator
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_stepup import Claims, StepUpPolicy, presets
from fastapi_stepup.errors import ConfigurationError, StepUpRequired

NOW = 1_800_000_000


def test_alternatives_keep_the_order_of_preference() -> None:
    """The first one is the author's favourite; a smaller `max_age` and all clauses are merged."""
    passkey = StepUpPolicy(max_age="2m", amr=["webauthn"])
    codes = StepUpPolicy(max_age="5m", amr=["sms", "email"]) & StepUpPolicy(amr=["totp"])
    strong = passkey | codes

    assert [str(each) for each in strong.alternatives] == [
        "webauthn ≤2m",
        "(sms or email) + totp ≤5m",
    ]
    assert str(strong) == "webauthn ≤2m | (sms or email) + totp ≤5m"
    assert str((codes | passkey).alternatives[0]) == "(sms or email) + totp ≤5m"
    assert (codes & StepUpPolicy(max_age=60)).alternatives[0].max_age == 60
    assert strong.alternatives[1].amr == (("sms", "email"), ("totp",))


def test_eight_alternatives_are_the_most() -> None:
    """Nine are refused with what to write instead."""
    eight = StepUpPolicy(acr="c0")
    for number in range(1, 8):
        eight |= StepUpPolicy(acr=f"c{number}")
    assert len(eight.alternatives) == 8

    with pytest.raises(ConfigurationError, match=r"has 9 alternatives; 8 is the most"):
        eight | StepUpPolicy(acr="c8")


def test_what_would_mean_something_else_is_a_type_error(subtests: pytest.Subtests) -> None:
    """`p and q` would silently be `q`; the message says to write `&` and `|`."""
    rows: dict[str, Callable[[StepUpPolicy, StepUpPolicy], object]] = {
        "and": lambda p, q: p and q,
        "or": lambda p, q: p or q,
        "not": lambda p, q: not p,
        "inversion": lambda p, q: ~p,
        "difference": lambda p, q: p - q,
        "exclusive": lambda p, q: p ^ q,
        "less": lambda p, q: p < q,
        "sorted": lambda p, q: sorted([p, q]),
        "at-least": lambda p, q: p >= q,
    }
    for name, mistake in rows.items():
        with subtests.test(name), pytest.raises(TypeError, match="&"):
            mistake(StepUpPolicy(max_age=60), StepUpPolicy(amr="totp"))


@pytest.mark.parametrize("operation", [operator.and_, operator.or_])
def test_policies_are_joined_with_policies_only(
    operation: Callable[[Any, Any], object], subtests: pytest.Subtests
) -> None:
    """Anything else is Python's own type error."""
    rows: list[object] = ["session", None, 300, {"webauthn"}]
    for other in rows:
        with subtests.test(other=other), pytest.raises(TypeError, match="unsupported operand"):
            operation(StepUpPolicy(), other)


def test_empty_alternative_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """It makes all others pointless, which is never meant."""
    with caplog.at_level(logging.WARNING, "fastapi_stepup"):
        assert StepUpPolicy(amr="totp") | StepUpPolicy() == StepUpPolicy()

    (message,) = caplog.messages
    assert "Leave that one out" in message


def test_combined_policy_says_where_its_parts_are() -> None:
    """It has no one `max_age`, and an attribute that does not exist stays unknown."""
    combined: Any = StepUpPolicy(max_age=60) | StepUpPolicy(amr="totp")

    with pytest.raises(AttributeError, match=r"2 alternatives, read \.alternatives"):
        _ = combined.max_age
    with pytest.raises(AttributeError, match="has no 'age'"):
        _ = combined.age
    assert (StepUpPolicy(max_age=60) & StepUpPolicy(amr="totp")).max_age == 60


def refusal(policy: StepUpPolicy, **raw: object) -> StepUpRequired:
    """Return the refusal of a session with *raw* claims."""
    with pytest.raises(StepUpRequired) as caught:
        policy.enforce(Claims({"iat": NOW, **raw}), now=NOW)
    return caught.value


def test_refusal_names_the_nearest_alternative_and_lists_all() -> None:
    """Fewest unmet requirements first; never a mixture, which may fulfil none of them."""
    policy = StepUpPolicy(max_age=120, amr=["webauthn"]) | (
        StepUpPolicy(max_age=300, amr=["sms", "email"]) & StepUpPolicy(amr=["totp"])
    )
    stale = refusal(policy, su=True, iat=NOW - 400, amr=["sms", "totp"])

    assert stale.problem["unmet"] == [{"requirement": "step_up", "reason": "expired"}]
    assert (stale.problem["max_age"], stale.problem["amr"]) == (300, ["sms", "email"])
    assert stale.challenge().max_age == 300
    assert stale.problem["alternatives"] == [
        {
            "unmet": [{"requirement": "step_up", "reason": "expired"}],
            "max_age": 300,
            "amr": [["sms", "email"], ["totp"]],
        },
        {
            "unmet": [
                {"requirement": "step_up", "reason": "expired"},
                {"requirement": "amr", "reason": "missing"},
            ],
            "max_age": 120,
            "amr": ["webauthn"],
        },
    ]
    plain_session = refusal(policy, amr=["email"])
    assert plain_session.problem["amr"] == ["webauthn"]


def test_several_clauses_ask_for_what_is_left() -> None:
    """The member of clients of today names the clause that is unmet; all are in `alternatives`."""
    policy = StepUpPolicy(amr=["sms", "email"]) & StepUpPolicy(amr=["totp"])

    left = refusal(policy, su=True, amr=["sms"])

    assert left.problem["amr"] == ["totp"]
    assert refusal(policy, su=True, amr=["pwd"]).problem["amr"] == ["sms", "email"]
    assert left.problem["alternatives"][0]["amr"] == [["sms", "email"], ["totp"]]


def test_value_that_meets_several_clauses_is_asked_for() -> None:
    """One method can be enough for both."""
    policy = StepUpPolicy(acr=["a", "b"]) & StepUpPolicy(acr=["b", "c"])

    assert refusal(policy).acr_values == ("b",)


def test_alternatives_that_differ_in_acr_only_are_asked_for_together() -> None:
    """Then the union is exact: any of the values meets the policy."""
    policy = StepUpPolicy(max_age=60, acr=["phrh"]) | StepUpPolicy(max_age=60, acr=["phr", "phrh"])
    assert refusal(policy).acr_values == ("phr", "phrh")
    apart = StepUpPolicy(max_age=60, acr=["phrh"]) | StepUpPolicy(max_age=30, acr=["phr"])
    assert refusal(apart).acr_values == ("phrh",)
    two = StepUpPolicy(acr=["a"]) | StepUpPolicy(acr=["b"])
    assert refusal(two).acr_values == ("a", "b")
    assert refusal(two).challenge().acr_values == ("a", "b")


def test_plain_policy_has_no_list_of_alternatives() -> None:
    """Clients of today read what they always read."""
    assert "alternatives" not in refusal(StepUpPolicy(max_age=60, amr=["totp"])).problem


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        (presets.recent, "step-up ≤10m"),
        (presets.multi_factor, "mfa ≤10m"),
        (presets.phishing_resistant, "webauthn ≤10m"),
    ],
)
def test_presets_are_what_their_names_say(preset: StepUpPolicy, words: str) -> None:
    """Ten minutes each."""
    assert str(preset) == words


def test_implied_clauses_and_alternatives_are_dropped() -> None:
    """A wider clause beside a narrower one, and a stricter alternative beside a laxer one."""
    totp, codes = StepUpPolicy(amr=["totp"]), StepUpPolicy(amr=["totp", "sms"])

    assert totp & codes == totp
    assert codes & totp == totp
    assert codes | totp == codes
    assert totp | codes == codes


def test_any_alternative_lets_pass() -> None:
    """The second one is as good as the first."""
    policy = StepUpPolicy(amr=["webauthn"]) | StepUpPolicy(max_age=60)

    policy.enforce(Claims({"iat": NOW, "su": True}), now=NOW)


def test_policy_that_is_not_made_yet_has_nothing() -> None:
    """A copier that asks early gets the usual error, and no recursion."""
    with pytest.raises(AttributeError):
        _ = StepUpPolicy.__new__(StepUpPolicy).alternatives

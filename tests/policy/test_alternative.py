"""Alternative: edges of what one way to meet a policy asks, shows and compares."""

import math
from dataclasses import FrozenInstanceError

import pytest

from fastapi_stepup import Claims, StepUpPolicy
from fastapi_stepup.evidence import Evidence
from fastapi_stepup.policy.alternative import Alternative, Unmet, facts_of

NOW = 1_000_000


@pytest.mark.parametrize(("ahead", "is_met"), [(0, True), (65, True), (66, False)])
def test_proof_may_lie_in_the_future_by_what_clocks_differ(ahead: int, *, is_met: bool) -> None:
    """By the largest leeway and an issuer's own rounding; further ahead its age is unknown."""
    evidence = Evidence(NOW + ahead, stepped_up=True)

    unmet = Alternative(300, (), ()).assess(facts_of(evidence, NOW))

    assert unmet == (() if is_met else (Unmet("step_up", "missing"),))
    assert Alternative(None, (), ()).assess(facts_of(evidence, NOW)) == ()


def test_each_requirement_is_named_once() -> None:
    """However many clauses of it are unmet."""
    unmet = Alternative(None, (("sms",), ("totp",)), (("a",), ("b",))).assess(
        facts_of(Evidence(NOW, stepped_up=True), NOW)
    )

    assert unmet == (Unmet("amr", "missing"), Unmet("acr", "missing"))


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (StepUpPolicy(amr=["sms", "email"]), "sms or email"),
        (StepUpPolicy(acr=["a", "b"], max_age="1h"), "a or b ≤1h"),
        (StepUpPolicy(amr=["sms", "email"], acr="a"), "(sms or email) + a"),
    ],
)
def test_text_has_parentheses_only_where_it_needs_them(policy: StepUpPolicy, text: str) -> None:
    """Around a choice beside something else."""
    assert str(policy) == text


@pytest.mark.parametrize(
    "policy",
    [
        StepUpPolicy(),
        StepUpPolicy(max_age=0, amr=["sms"]),
        StepUpPolicy(amr=["sms", "email"]) & StepUpPolicy(amr=["totp"], acr="a"),
        StepUpPolicy(acr="a") & StepUpPolicy(acr="b") & StepUpPolicy(acr="c")
        | StepUpPolicy(amr="x"),
    ],
)
def test_repr_makes_the_policy_again(policy: StepUpPolicy) -> None:
    """With every clause of every alternative."""
    assert eval(repr(policy)) == policy


def test_time_until_which_it_is_met() -> None:
    """For good, without a limit and where the proof has no time."""
    assert Alternative(300, (), ()).met_until(Evidence(NOW)) == NOW + 300
    assert Alternative(None, (), ()).met_until(Evidence(NOW)) == math.inf
    assert Alternative(300, (), ()).met_until(Evidence()) == math.inf


def test_it_cannot_be_changed() -> None:
    """A policy that guards a route stays as it is."""
    with pytest.raises(FrozenInstanceError):
        Alternative(300, (), ()).max_age = None  # type: ignore[misc]


def test_used_step_up_names_what_else_is_unmet() -> None:
    """The nearest alternative comes first, each with what it lacks beside the step-up."""
    claims = Claims({"iss": "i", "sub": "u", "iat": NOW, "su": True, "amr": ["email"]})
    policy = StepUpPolicy(amr=["webauthn"]) | StepUpPolicy(max_age=300, amr=["email"])

    problem = policy.used_refusal(claims, now=NOW + 10).problem

    used = {"requirement": "step_up", "reason": "used"}
    assert problem["unmet"] == [used]
    assert problem["alternatives"] == [
        {"unmet": [used], "max_age": 300, "amr": ["email"]},
        {"unmet": [used, {"requirement": "amr", "reason": "missing"}], "amr": ["webauthn"]},
    ]
    assert "unmet_after_step_up" not in problem
    assert policy.used_refusal(claims, now=NOW + 10, since=NOW).problem["max_age"] == 9
    assert policy.used_refusal(claims, now=NOW, since=NOW).problem["max_age"] == 0
    assert StepUpPolicy(max_age=5).used_refusal(claims, now=NOW + 10).problem["unmet"] == [used]

"""The laws of `&` and `|`, held against a model that evaluates the expression as it was written."""

import operator
import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import given, strategies as st

from fastapi_stepup import Claims, StepUpPolicy
from fastapi_stepup.errors import ConfigurationError

NOW = 1_800_000_000
AMR, ACR = ("sms", "totp", "webauthn"), ("one", "two")

Model = Callable[[dict[str, Any]], bool]


def plain(max_age: int | None, amr: tuple[str, ...], acr: tuple[str, ...]) -> Model:
    """Return whether raw claims meet one plain policy, written without any of ours."""

    def is_met(raw: dict[str, Any]) -> bool:
        return (
            raw.get("su") is True
            and (max_age is None or NOW - raw["iat"] <= max_age)
            and (not amr or any(value in raw.get("amr", []) for value in amr))
            and (not acr or raw.get("acr") in acr)
        )

    return is_met


leaves = st.tuples(
    st.sampled_from([None, 0, 60, 300]),
    st.lists(st.sampled_from(AMR), max_size=2, unique=True).map(tuple),
    st.lists(st.sampled_from(ACR), max_size=2, unique=True).map(tuple),
).map(lambda asked: (StepUpPolicy(max_age=asked[0], amr=asked[1], acr=asked[2]), plain(*asked)))


def joined(pair: tuple[Any, ...]) -> tuple[StepUpPolicy, Model]:
    """Return two expressions joined by `&` or `|`, and the model of that."""
    (one, is_one), (other, is_other), operation = pair
    both = operation is operator.and_
    try:
        policy = operation(one, other)
    except ConfigurationError:  # more than eight alternatives
        return one, is_one
    if both:
        return policy, lambda raw: is_one(raw) and is_other(raw)
    return policy, lambda raw: is_one(raw) or is_other(raw)


policies = st.recursive(
    leaves,
    lambda inner: st.tuples(inner, inner, st.sampled_from([operator.and_, operator.or_])).map(
        joined
    ),
    max_leaves=4,
)
claims = st.fixed_dictionaries(
    {"iat": st.sampled_from([NOW, NOW - 60, NOW - 61, NOW - 300, NOW - 301])},
    optional={
        "su": st.sampled_from([True, False, "true"]),
        "amr": st.lists(st.sampled_from(AMR), max_size=3),
        "acr": st.sampled_from(ACR),
    },
)


def met(policy: StepUpPolicy, raw: dict[str, Any]) -> bool:
    """Return whether raw claims meet *policy*."""
    return policy.is_met_by(Claims(raw), now=NOW)


@given(policies, claims)
def test_policy_means_what_its_expression_says(
    made: tuple[StepUpPolicy, Model], raw: dict[str, Any]
) -> None:
    """However it was simplified, it decides as the model of the expression does."""
    policy, model = made
    assert met(policy, raw) is model(raw)


@given(policies, policies, policies)
def test_laws(
    one: tuple[StepUpPolicy, Model],
    two: tuple[StepUpPolicy, Model],
    three: tuple[StepUpPolicy, Model],
) -> None:
    """Commutative, associative, idempotent and absorbing, in meaning and in hash."""
    a, b, c = one[0], two[0], three[0]
    try:
        laws = [
            (a & b, b & a),
            (a | b, b | a),
            ((a & b) & c, a & (b & c)),
            ((a | b) | c, a | (b | c)),
            (a & a, a),
            (a | a, a),
            (a | (a & b), a),
        ]
    except ConfigurationError:
        return
    for left, right in laws:
        assert left == right
        assert hash(left) == hash(right)


@given(policies, policies, claims)
def test_asking_for_more_never_turns_no_into_yes(
    one: tuple[StepUpPolicy, Model], two: tuple[StepUpPolicy, Model], raw: dict[str, Any]
) -> None:
    """`a & b` passes nothing that `a` does not, and fewer claims pass nothing that more do not."""
    try:
        both = one[0] & two[0]
    except ConfigurationError:
        return
    assert met(both, raw) == (met(one[0], raw) and met(two[0], raw))
    for name in raw:
        less = {key: value for key, value in raw.items() if key != name}
        if name != "iat" and met(one[0], less):
            assert met(one[0], raw) or name in {"amr", "acr", "su"}
            assert met(one[0], raw)


@given(policies)
def test_repr_can_be_evaluated(made: tuple[StepUpPolicy, Model]) -> None:
    """The text is an expression that makes an equal policy, and so do copies."""
    policy, _ = made
    assert eval(repr(policy)) == policy
    assert deepcopy(policy) == policy
    assert pickle.loads(pickle.dumps(policy)) == policy

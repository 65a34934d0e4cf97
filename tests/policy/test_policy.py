"""StepUpPolicy: the truth table, durations, and what cannot be configured."""

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from itertools import product
from typing import Any

import pytest

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, StepUpPolicy, errors
from fastapi_stepup.policy.policy import Unmet

IAT = 1_800_000_000
MISSING = Unmet("step_up", "missing")
EXPIRED = Unmet("step_up", "expired")
NO_AMR = Unmet("amr", "missing")
NO_ACR = Unmet("acr", "missing")


def claims(**members: object) -> Claims:
    """Return the claims of a session issued at `IAT`, stepped up unless *members* differ."""
    registered = {"iss": "P2", "sub": "U2", "iat": IAT, "exp": IAT + 600}
    return Claims({**registered, "su": True, **members})


@pytest.mark.parametrize(
    ("su", "fresh", "amr", "acr"), list(product([True, False], repeat=4)), ids=str
)
def test_truth_table(su: bool, fresh: bool, amr: bool, acr: bool) -> None:  # noqa: FBT001
    """Each dimension must hold, and everything unmet is named in one answer."""
    policy = StepUpPolicy(max_age="5m", amr=("sms", "webauthn"), acr=("phr",))
    given = claims(su=su, amr=["webauthn" if amr else "email"], acr="phr" if acr else "low")
    now = IAT + (300 if fresh else 301)
    freshness = () if fresh else (EXPIRED,)
    expected = (
        *(freshness if su else (MISSING,)),
        *(() if amr else (NO_AMR,)),
        *(() if acr else (NO_ACR,)),
    )

    assert policy.assess(given, now=now) == expected
    assert policy.is_met_by(given, now=now) is (not expected)


def test_default_policy_asks_for_a_step_up_of_any_age() -> None:
    """For as long as the token lives; what else the token says does not matter."""
    policy = StepUpPolicy()

    assert policy.assess(claims(), now=IAT + 10**9) == ()
    assert policy.assess(claims(su=False, amr=["mfa"], acr="phr"), now=IAT) == (MISSING,)


@pytest.mark.parametrize("su", ["true", 1, 1.0, [True], {"a": 1}, None, "1"], ids=repr)
def test_tv_086_only_true_is_a_step_up(su: object) -> None:
    """And a missing step-up is missing however old it would be."""
    assert StepUpPolicy(max_age=0).assess(claims(su=su), now=IAT + 999) == (MISSING,)


@pytest.mark.parametrize(
    ("age", "unmet"),
    [
        pytest.param(-5, (), id="issued-in-the-future-within-leeway"),
        pytest.param(0, (), id="now"),
        pytest.param(299.999, (), id="just-before"),
        pytest.param(300, (), id="on-the-second"),
        pytest.param(300.999, (), id="within-the-second"),
        pytest.param(301, (EXPIRED,), id="one-second-later"),
        pytest.param(10**9, (EXPIRED,), id="ages-later"),
    ],
)
def test_max_age_holds_to_the_second(age: float, unmet: tuple[Unmet, ...]) -> None:
    """`iat` has whole seconds, so the clock is read in whole seconds too."""
    assert StepUpPolicy(max_age=300).assess(claims(), now=IAT + age) == unmet


@pytest.mark.parametrize(("age", "met"), [(-1, True), (0, True), (0.9, True), (1, False)])
def test_max_age_zero_means_this_very_second(age: float, met: bool) -> None:  # noqa: FBT001
    """It is not the same as no limit."""
    assert StepUpPolicy(max_age=0).is_met_by(claims(), now=IAT + age) is met
    assert StepUpPolicy().is_met_by(claims(), now=IAT + age)


def test_fractional_iat_expires_no_later_than_a_second_after_its_time() -> None:
    """RFC 7519 allows fractions; they move the limit by less than a second."""
    policy, given = StepUpPolicy(max_age=300), claims(iat=IAT + 0.5)

    assert policy.is_met_by(given, now=IAT + 300.5)
    assert not policy.is_met_by(given, now=IAT + 301.5)


@pytest.mark.parametrize("now", [float("nan"), float("inf"), None, "1"])
def test_clock_out_of_order_lets_nobody_pass(now: Any) -> None:
    """An age that cannot be told is an exception, never a yes."""
    with pytest.raises((ValueError, OverflowError, TypeError)):
        StepUpPolicy(max_age=300).assess(claims(), now=now)


@pytest.mark.parametrize(
    ("amr", "met"),
    [
        pytest.param(["sms"], True, id="first"),
        pytest.param(["email", "webauthn"], True, id="second-among-others"),
        pytest.param(["email"], False, id="none-of-them"),
        pytest.param([], False, id="empty"),
        pytest.param(None, False, id="null"),
        pytest.param("sms", False, id="text"),
        pytest.param(["SMS"], False, id="other-case"),
        pytest.param(["sms "], False, id="space"),
        pytest.param([["sms"]], False, id="nested"),
        pytest.param([{"method": "sms"}], False, id="objects"),
        pytest.param([{"method": "sms"}, "sms"], True, id="objects-and-text"),
    ],
)
def test_any_one_of_the_listed_amr_is_enough(amr: object, met: bool) -> None:  # noqa: FBT001
    """Compared exactly; another shape than an array of strings counts for nothing."""
    policy = StepUpPolicy(amr=("sms", "webauthn"))

    assert policy.assess(claims(amr=amr), now=IAT) == (() if met else (NO_AMR,))


@pytest.mark.parametrize(
    ("acr", "met"),
    [
        pytest.param("phr", True, id="text"),
        pytest.param(["low", "phrh"], True, id="array"),
        pytest.param("PHR", False, id="other-case"),
        pytest.param("phr phrh", False, id="two-in-one-text"),
        pytest.param(0, False, id="number"),
        pytest.param(None, False, id="null"),
    ],
)
def test_any_one_of_the_listed_acr_is_enough(acr: object, met: bool) -> None:  # noqa: FBT001
    """OpenID Connect compares them case by case."""
    policy = StepUpPolicy(acr=("phr", "phrh"))

    assert policy.assess(claims(acr=acr), now=IAT) == (() if met else (NO_ACR,))


def test_values_need_no_tuple() -> None:
    """One string is one value; a list, a set and a generator are taken too; repeats once."""
    assert StepUpPolicy(amr="sms").amr == ("sms",)
    assert StepUpPolicy(acr="urn:mace:incommon:iap:silver").acr == ("urn:mace:incommon:iap:silver",)
    assert StepUpPolicy(amr=["sms", "mfa", "sms"]).amr == ("sms", "mfa")
    assert StepUpPolicy(amr={"sms"}).amr == ("sms",)
    assert StepUpPolicy(amr=(name for name in ["b", "a"])).amr == ("b", "a")
    assert StepUpPolicy(amr=[]) == StepUpPolicy()


@pytest.mark.parametrize("name", ["amr", "acr"])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param("", id="empty-text"),
        pytest.param([""], id="empty"),
        pytest.param(["a b"], id="space"),
        pytest.param("a b", id="space-in-text"),
        pytest.param(['a"b'], id="quote"),
        pytest.param(["a\\b"], id="backslash"),
        pytest.param(["a\nb"], id="newline"),
        pytest.param(["a\n"], id="newline-at-end"),
        pytest.param(["\u00e9"], id="not-ascii"),
        pytest.param([None], id="none-inside"),
        pytest.param(["sms", 1], id="number-inside"),
        pytest.param([("sms",)], id="tuple-inside"),
        pytest.param(b"sms", id="bytes"),
        pytest.param(None, id="none"),
        pytest.param(5, id="number"),
        pytest.param(True, id="true"),
    ],
)
def test_values_that_no_header_can_carry_are_refused(name: str, values: Any) -> None:
    """At construction, with the option's name."""
    with pytest.raises(errors.ConfigurationError, match=f"{name} takes strings"):
        StepUpPolicy(**{name: values})


class Minutes(IntEnum):
    """Durations that a program may name."""

    FIVE = 300


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        pytest.param(0, 0, id="zero"),
        pytest.param(300, 300, id="int"),
        pytest.param(300.0, 300, id="whole-float"),
        pytest.param(-0.0, 0, id="minus-zero"),
        pytest.param(Minutes.FIVE, 300, id="enum"),
        pytest.param(timedelta(minutes=5), 300, id="timedelta"),
        pytest.param(timedelta(0), 0, id="timedelta-zero"),
        pytest.param(timedelta(days=3650), 315_360_000, id="ten-years"),
        pytest.param("90s", 90, id="seconds"),
        pytest.param("5m", 300, id="minutes"),
        pytest.param("2h", 7200, id="hours"),
        pytest.param("1d", 86_400, id="days"),
        pytest.param("0s", 0, id="zero-seconds"),
        pytest.param("005m", 300, id="leading-zeros"),
        pytest.param("3650d", 315_360_000, id="ten-years-in-days"),
        pytest.param(None, None, id="no-limit"),
    ],
)
def test_durations_are_whole_seconds(duration: Any, seconds: int | None) -> None:
    """Every allowed form gives the same policy as its seconds."""
    policy = StepUpPolicy(max_age=duration)

    assert policy.max_age == seconds
    assert seconds is None or type(policy.max_age) is int
    assert policy == StepUpPolicy(max_age=seconds)


@pytest.mark.parametrize(
    "duration",
    [
        pytest.param(-1, id="negative"),
        pytest.param(-0.5, id="negative-fraction"),
        pytest.param(0.5, id="fraction"),
        pytest.param(300.000001, id="little-fraction"),
        pytest.param(float("nan"), id="nan"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param(float("-inf"), id="minus-infinity"),
        pytest.param(True, id="true"),
        pytest.param(False, id="false"),
        pytest.param(315_360_001, id="over-ten-years"),
        pytest.param(10**400, id="beyond-float"),
        pytest.param(1e300, id="huge-float"),
        pytest.param(timedelta(seconds=-1), id="negative-timedelta"),
        pytest.param(timedelta(milliseconds=1500), id="fractional-timedelta"),
        pytest.param(timedelta.max, id="longest-timedelta"),
        pytest.param(timedelta.min, id="shortest-timedelta"),
        pytest.param("", id="empty"),
        pytest.param("5", id="no-unit"),
        pytest.param("m", id="no-number"),
        pytest.param("-5m", id="negative-text"),
        pytest.param("+5m", id="plus"),
        pytest.param("5.5m", id="fraction-text"),
        pytest.param("5M", id="upper-case"),
        pytest.param("5 m", id="space-inside"),
        pytest.param(" 5m", id="space-before"),
        pytest.param("5m ", id="space-after"),
        pytest.param("5m\n", id="newline-at-end"),
        pytest.param("5m\x00", id="nul"),
        pytest.param("5min", id="word"),
        pytest.param("1w", id="week"),
        pytest.param("1h30m", id="two-units"),
        pytest.param("1e3s", id="exponent"),
        pytest.param("1_0s", id="underscore"),
        pytest.param("0x5s", id="hex"),
        pytest.param("nan", id="nan-text"),
        pytest.param("inf", id="inf-text"),
        pytest.param("PT5M", id="iso-8601"),
        pytest.param("\uff15m", id="full-width-digit"),
        pytest.param("\u0665m", id="arabic-digit"),
        pytest.param("5\uff4d", id="full-width-unit"),
        pytest.param("9999999999s", id="ten-digits"),
        pytest.param("9" * 10_000 + "s", id="more-digits-than-python-reads"),
        pytest.param("3651d", id="over-ten-years-in-days"),
        pytest.param(b"5m", id="bytes"),
        pytest.param(Decimal(300), id="decimal"),
        pytest.param(Fraction(300), id="fraction-object"),
        pytest.param([300], id="list"),
        pytest.param(5j, id="complex"),
        pytest.param(object(), id="object"),
    ],
)
def test_cf_003_other_durations_are_refused(duration: Any) -> None:
    """At construction, with a message that shows the allowed forms."""
    with pytest.raises(errors.ConfigurationError, match=r"max_age=.* is not a duration.*\"5m\""):
        StepUpPolicy(max_age=duration)


def test_cf_006_unknown_keyword_is_a_type_error() -> None:
    """A typing error is not a policy without that requirement."""
    with pytest.raises(TypeError, match="maxage"):
        StepUpPolicy(maxage="5m")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        StepUpPolicy("5m")  # type: ignore[call-arg]


@pytest.mark.parametrize("act", [None, {}, {"sub": "U3"}, False, ""], ids=str)
def test_impersonation_is_never_a_step_up(act: object) -> None:
    """`is_met_by` says no as `enforce` does, which refuses with 403: a step-up cannot cure it."""
    given = claims(act=act)

    assert StepUpPolicy().assess(given, now=IAT) == (MISSING,)
    assert not StepUpPolicy().is_met_by(given, now=IAT)
    for each in (given, claims(act=act, su=False), claims(act=act, iat=0)):
        with pytest.raises(errors.ImpersonationRefused):
            StepUpPolicy(max_age=1).enforce(each, now=IAT)


def test_enforce_lets_met_claims_pass() -> None:
    """Without a word."""
    StepUpPolicy(max_age=1, amr="sms").enforce(claims(amr=["sms"]), now=IAT)


def test_rfc_9470_section_3_everything_unmet_is_in_one_refusal() -> None:
    """Body and challenge say the same, and name what is asked and not what was presented."""
    policy = StepUpPolicy(max_age="5m", amr=("sms", "webauthn"), acr=("phr", "phrh"))

    with pytest.raises(errors.StepUpRequired) as caught:
        policy.enforce(claims(amr=["secret-way"], acr="secret-level"), now=IAT + 301)

    problem = caught.value.problem
    assert problem["unmet"] == [
        {"requirement": "step_up", "reason": "expired"},
        {"requirement": "amr", "reason": "missing"},
        {"requirement": "acr", "reason": "missing"},
    ]
    assert (problem["max_age"], problem["amr"]) == (300, ["sms", "webauthn"])
    assert problem["acr_values"] == ["phr", "phrh"]
    assert caught.value.challenge().max_age == 300
    assert caught.value.challenge().acr_values == ("phr", "phrh")
    assert "secret" not in f"{problem}{caught.value.headers}"


def test_policy_is_a_value() -> None:
    """Equal ones hash alike, differ by each part, print as they are written, and are frozen."""
    policy: Any = StepUpPolicy(max_age="5m", amr=["sms"], acr="phr")
    same: Any = StepUpPolicy(max_age=timedelta(minutes=5), amr="sms", acr=("phr",))
    others = [StepUpPolicy(max_age=300), StepUpPolicy(amr="sms"), StepUpPolicy(acr="sms")]

    assert policy == same
    assert len({policy, same, *others, StepUpPolicy()}) == 5
    assert StepUpPolicy(max_age=0) != StepUpPolicy()
    assert policy != "5m"
    assert repr(policy) == "StepUpPolicy(max_age=300, amr=('sms',), acr=('phr',))"
    with pytest.raises(FrozenInstanceError):
        same.max_age = None
    with pytest.raises(FrozenInstanceError):
        del same.max_age
    for copied in (copy.deepcopy(policy), pickle.loads(pickle.dumps(policy)), replace(policy)):
        assert copied == policy
    assert replace(policy, max_age="1m").max_age == 60
    with pytest.raises(errors.ConfigurationError):
        replace(policy, max_age=-1)


def test_equal_policies_make_equal_dependencies(guard: StepUpGuard) -> None:
    """Which is how FastAPI knows to run them once per request."""
    one = RequireStepUp(guard, max_age="5m", amr=["sms"])
    other = RequireStepUp(guard, policy=StepUpPolicy(max_age=300.0, amr="sms"))

    assert one == other
    assert hash(one) == hash(other)
    assert one != RequireStepUp(guard, max_age="5m")

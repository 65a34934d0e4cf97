"""StepUpPolicy: the truth table, the age of a step-up, and what cannot be configured."""

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from itertools import product
from typing import Any
from unittest.mock import ANY

import pytest

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, StepUpPolicy, errors
from fastapi_stepup.policy.alternative import Unmet

IAT = 1_800_000_000
MISSING = Unmet("step_up", "missing")
EXPIRED = Unmet("step_up", "expired")
NO_AMR = Unmet("amr", "missing")
NO_ACR = Unmet("acr", "missing")
OF_DESCOPE = ["email", "fed", "mfa", "oauth", "otp", "pwd", "sms", "totp", "webauthn", "whatsapp"]


def claims(**members: object) -> Claims:
    """Return the claims of a session issued at `IAT`, stepped up unless *members* differ."""
    registered = {"iss": "P2", "sub": "U2", "iat": IAT, "exp": IAT + 600}
    return Claims({**registered, "su": True, **members})


def test_truth_table(subtests: pytest.Subtests) -> None:
    """Each dimension must hold, and everything unmet is named in one answer."""
    for su, fresh, amr, acr in product([True, False], repeat=4):
        with subtests.test(su=su, fresh=fresh, amr=amr, acr=acr):
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


def test_only_true_is_a_step_up(subtests: pytest.Subtests) -> None:
    """And a missing step-up is missing however old it would be (TV-086)."""
    for su in ("true", 1, 1.0, [True], {"a": 1}, None, "1"):
        with subtests.test(su=su):
            assert StepUpPolicy(max_age=0).assess(claims(su=su), now=IAT + 999) == (MISSING,)


def test_max_age_holds_to_the_second(subtests: pytest.Subtests) -> None:
    """`iat` has whole seconds, so the clock is read in whole seconds too."""
    rows: dict[str, tuple[float, tuple[Unmet, ...]]] = {
        "issued-in-the-future-within-leeway": (-5, ()),
        "now": (0, ()),
        "just-before": (299.999, ()),
        "on-the-second": (300, ()),
        "within-the-second": (300.999, ()),
        "one-second-later": (301, (EXPIRED,)),
        "ages-later": (10**9, (EXPIRED,)),
    }
    for name, (age, unmet) in rows.items():
        with subtests.test(name):
            assert StepUpPolicy(max_age=300).assess(claims(), now=IAT + age) == unmet


@pytest.mark.parametrize(("age", "met"), [(-1, True), (0, True), (0.9, True), (1, False)])
def test_max_age_zero_means_this_very_second(age: float, met: bool) -> None:  # noqa: FBT001
    """It is not the same as no limit."""
    assert StepUpPolicy(max_age=0).is_met_by(claims(), now=IAT + age) is met
    assert StepUpPolicy().is_met_by(claims(), now=IAT + age)


def test_auth_time_is_what_a_token_that_has_one_is_judged_by(subtests: pytest.Subtests) -> None:
    """RFC 9470 section 6.1: not by `iat`, which a refresh renews; unreadable, nothing is proved."""
    rows: dict[str, tuple[object, tuple[Unmet, ...]]] = {
        "when-issued": (IAT, ()),
        "on-the-second": (IAT - 300, ()),
        "float": (IAT - 300.0, ()),
        "too-old": (IAT - 301, (EXPIRED,)),
        "a-day-old": (IAT - 86_400, (EXPIRED,)),
        "ages-old": (1, (EXPIRED,)),
        "after-issuing-within-rounding": (IAT + 5, ()),
        "after-issuing": (IAT + 6, (MISSING,)),
        "zero": (0, (MISSING,)),
        "negative": (-1, (MISSING,)),
        "beyond-float": (10**400, (MISSING,)),
        "infinity": (float("inf"), (MISSING,)),
        "nan": (float("nan"), (MISSING,)),
        "true": (True, (MISSING,)),
        "text": (str(IAT), (MISSING,)),
        "null": (None, (MISSING,)),
        "array": ([IAT], (MISSING,)),
    }
    for name, (auth_time, unmet) in rows.items():
        with subtests.test(name):
            given = claims(auth_time=auth_time)

            assert StepUpPolicy(max_age=300).assess(given, now=IAT) == unmet
            assert StepUpPolicy().assess(given, now=IAT) == ()


def test_auth_time_after_issuing_does_not_lengthen_the_age() -> None:
    """The earlier of the two times counts."""
    given = claims(auth_time=IAT + 5)

    assert StepUpPolicy(max_age=300).assess(given, now=IAT + 300) == ()
    assert StepUpPolicy(max_age=300).assess(given, now=IAT + 301) == (EXPIRED,)


@pytest.mark.parametrize(
    ("age", "said"), [(0, True), (60, True), (60.5, False), (61, False), (3600, False)]
)
def test_a_step_up_of_the_last_minute_that_falls_short_is_said(
    age: float,
    said: bool,  # noqa: FBT001
) -> None:
    """The same step-up again would not help, and a client that repeats it would do so for ever."""
    with pytest.raises(errors.StepUpRequired) as caught:
        StepUpPolicy(amr=["webauthn"]).enforce(claims(amr=["sms"]), now=IAT + age)

    assert caught.value.problem.get("unmet_after_step_up", False) is said


def test_without_a_step_up_none_is_said_to_fall_short() -> None:
    """However new the session is."""
    with pytest.raises(errors.StepUpRequired) as caught:
        StepUpPolicy().enforce(claims(su=False), now=IAT)

    assert "unmet_after_step_up" not in caught.value.problem


def test_fractional_iat_expires_no_later_than_a_second_after_its_time() -> None:
    """RFC 7519 allows fractions; they move the limit by less than a second."""
    policy, given = StepUpPolicy(max_age=300), claims(iat=IAT + 0.5)

    assert policy.is_met_by(given, now=IAT + 300.5)
    assert not policy.is_met_by(given, now=IAT + 301.5)


def test_clock_out_of_order_passes_no_session(subtests: pytest.Subtests) -> None:
    """An age that cannot be computed is an exception, never a pass."""
    clocks: list[Any] = [float("nan"), float("inf"), None, "1"]
    for now in clocks:
        with (
            subtests.test(now=now),
            pytest.raises((ValueError, OverflowError, TypeError)),
        ):
            StepUpPolicy(max_age=300).assess(claims(), now=now)


def test_any_one_of_the_listed_amr_is_enough(subtests: pytest.Subtests) -> None:
    """Compared exactly; another shape than an array of strings counts for nothing."""
    rows: dict[str, tuple[object, bool]] = {
        "first": (["sms"], True),
        "second-among-others": (["email", "webauthn"], True),
        "none-of-them": (["email"], False),
        "empty": ([], False),
        "null": (None, False),
        "text": ("sms", False),
        "other-case": (["SMS"], False),
        "space": (["sms "], False),
        "nested": ([["sms"]], False),
        "objects": ([{"method": "sms"}], False),
        "objects-and-text": ([{"method": "sms"}, "sms"], True),
    }
    for name, (amr, met) in rows.items():
        with subtests.test(name):
            policy = StepUpPolicy(amr=("sms", "webauthn"))

            assert policy.assess(claims(amr=amr), now=IAT) == (() if met else (NO_AMR,))


def test_any_one_of_the_listed_acr_is_enough(subtests: pytest.Subtests) -> None:
    """OpenID Connect compares them case by case."""
    rows: dict[str, tuple[object, bool]] = {
        "text": ("phr", True),
        "array": (["low", "phrh"], True),
        "other-case": ("PHR", False),
        "two-in-one-text": ("phr phrh", False),
        "number": (0, False),
        "null": (None, False),
    }
    for name, (acr, met) in rows.items():
        with subtests.test(name):
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


def test_values_that_no_header_can_carry_are_refused(subtests: pytest.Subtests) -> None:
    """At construction, with the option's name."""
    texts: list[Any] = ["", "a b", b"sms", None, 5, True]
    several = [[""], ["a b"], ['a"b'], ["a\\b"], ["a\nb"], ["a\n"], ["\u00e9"]]
    others = [[None], ["sms", 1], [("sms",)]]
    for name, values in product(("amr", "acr"), [*texts, *several, *others]):
        with (
            subtests.test(name=name, values=values),
            pytest.raises(errors.ConfigurationError, match=f"{name} takes strings"),
        ):
            StepUpPolicy(**{name: values})


def test_max_age_is_a_duration() -> None:
    """In each form of one (`tests/test_options.py` has them all); others are refused."""
    assert [StepUpPolicy(max_age=d).max_age for d in (300, 300.0, "5m", timedelta(minutes=5))] == [
        300
    ] * 4
    assert StepUpPolicy(max_age=None).max_age is None
    with pytest.raises(errors.ConfigurationError, match=r"max_age='5' is not a duration.*\"5m\""):
        StepUpPolicy(max_age="5")


def test_amr_that_no_token_has_is_refused(subtests: pytest.Subtests) -> None:
    """No session would ever meet it; the message has the right word."""
    rows: dict[str, tuple[str, str]] = {
        "passkey": ("passkey", "webauthn"),
        "passkeys": ("Passkeys", "webauthn"),
        "password": ("password", "pwd"),
        "magiclink": ("magiclink", "email"),
        "underscore": ("magic_link", "email"),
        "dash": ("enchanted-link", "email"),
        "notp": ("notp", "whatsapp"),
        "app": ("authenticator", "totp"),
        "sso": ("SSO", "fed"),
        "saml": ("saml", "fed"),
        "social": ("social", "oauth"),
        "2fa": ("2fa", "mfa"),
        "biometric": ("biometric", "webauthn"),
        "fido2": ("fido2", "webauthn"),
    }
    for name, (written, right) in rows.items():
        with (
            subtests.test(name),
            pytest.raises(
                errors.ConfigurationError, match=f"^amr='{written}' .* write \"{right}\""
            ),
        ):
            StepUpPolicy(amr=["sms", written])


def test_amr_in_another_letter_case_is_warned_of(
    caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    """Descope never writes it so; another issuer might."""
    for name in OF_DESCOPE:
        with subtests.test(name=name):
            caplog.clear()
            StepUpPolicy(amr=["hwk", name.upper()])

            assert caplog.messages == [
                f"amr='{name.upper()}' is met by no session of Descope: it writes \"{name}\"."
            ]


def test_amr_that_can_be_met_is_taken_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """Descope's own, those of RFC 8176 and those of other issuers."""
    StepUpPolicy(amr=OF_DESCOPE, acr="passkey")
    StepUpPolicy(amr=["hwk", "urn:example:own"], acr="passkey")

    assert caplog.messages == []


def test_unknown_keyword_is_a_type_error() -> None:
    """A typing error is not a policy without that requirement."""
    with pytest.raises(TypeError, match="maxage"):
        StepUpPolicy(maxage="5m")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        StepUpPolicy("5m")  # type: ignore[call-arg]


def test_impersonation_is_never_a_step_up(subtests: pytest.Subtests) -> None:
    """`is_met_by` says no as `enforce` does, which refuses with 403: a step-up cannot cure it."""
    acts: list[object] = [None, {}, {"sub": "U3"}, False, ""]
    for act in acts:
        with subtests.test(act=act):
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
    assert policy == ANY
    assert repr(policy) == "StepUpPolicy(max_age=300, amr=('sms',), acr=('phr',))"
    with pytest.raises(FrozenInstanceError):
        same.max_age = None
    with pytest.raises(FrozenInstanceError):
        del same.max_age
    with pytest.raises(FrozenInstanceError):
        MISSING.reason = "expired"  # type: ignore[misc]
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


def test_subclass_is_refused() -> None:
    """Equality, `&`, `|` and copies would lose the rule that it adds."""
    with pytest.raises(errors.ConfigurationError, match="cannot be subclassed"):
        type("Night", (StepUpPolicy,), {})

"""One-time codes and authenticator codes."""

from typing import Any, cast

import pytest

from fastapi_stepup import StepUpGuard
from fastapi_stepup.testing import assert_step_up_challenge
from tests.support.step_up_methods import BOB, BY_NAME, Person, refusal_of, signed_in


@pytest.mark.parametrize(
    ("delivery", "destination"),
    [
        pytest.param("email", "a**@example.com", id="OT-017-email"),
        pytest.param("sms", "+1********12", id="OT-017-sms"),
        pytest.param("voice", "+1********12", id="OT-017-voice"),
        pytest.param("whatsapp", "+1********12", id="OT-017-whatsapp"),
    ],
)
def test_start_says_where_the_code_went(ann: Person, delivery: str, destination: str) -> None:
    """The address is masked, and the message is for a step-up."""
    started = ann.post("/otp/start", delivery=delivery)

    expected = {"delivery": delivery, "destination": destination}
    assert (started.status_code, started.json()) == (200, expected)
    assert ann.descope.outbox[-1].step_up


def test_code_is_asked_for_by_the_login_id_that_is_the_address(guard: StepUpGuard) -> None:
    """Of several login ids that one is used, in both steps."""
    with signed_in(guard) as ann:
        ann.descope.create_user("carol", login_ids=["c@example.com", "+15550100099"])
        carol = Person(guard, ann.descope, "carol")
        for delivery, login_id in (("email", "c@example.com"), ("sms", "+15550100099")):
            assert BY_NAME[f"otp-{delivery}"].complete(carol).status_code == 200
            asked = [r.json for r in ann.descope.requests if r.path.endswith(f"/{delivery}")]
            assert [cast("dict[str, Any]", body)["loginId"] for body in asked] == [login_id] * 2


def test_user_without_an_address_for_the_delivery_is_told(ann: Person) -> None:
    """Nothing is sent when there is nowhere to send it."""
    ann.descope.create_user("dave@example.com", email="dave@example.com")
    dave = Person(ann.guard, ann.descope, "dave@example.com")

    assert refusal_of(dave.post("/otp/start", delivery="sms")) == (400, "delivery_unavailable")
    assert ann.descope.outbox == []


@pytest.mark.parametrize("tries", [pytest.param(5, id="OT-009-five-tries")])
def test_used_up_code_is_told_from_throttling(ann: Person, tries: int) -> None:
    """Waiting does not help, a new code does, and it may be asked for at once."""
    proof = BY_NAME["otp-email"].proof(ann)
    wrong = proof | {"code": f"{(int(proof['code']) + 1) % 1_000_000:06d}"}

    for _ in range(tries):
        assert refusal_of(ann.post("/otp/verify", **wrong)) == (400, "otp_rejected")
    used_up = ann.post("/otp/verify", **proof)

    assert refusal_of(used_up) == (400, "otp_exhausted")
    assert "new code" in used_up.json()["detail"]
    assert "retry-after" not in used_up.headers
    assert BY_NAME["otp-email"].complete(ann).status_code == 200


def test_code_of_another_user_does_not_fit(ann: Person, bob: Person) -> None:
    """Bob's code is nothing to Ann's session, and Ann's session nothing to Bob's code."""
    ann.post("/otp/start", delivery="email")
    code = BY_NAME["otp-email"].proof(bob)["code"]

    assert refusal_of(ann.post("/otp/verify", delivery="email", code=code))[1] == "otp_rejected"
    mixed = ann.post(
        "/otp/verify", delivery="email", code=code, refresh_token=bob.tokens.refresh_token
    )
    assert refusal_of(mixed) == (403, "subject_mismatch")
    assert bob.post("/otp/verify", delivery="email", code=code).json()["subject"] == (
        ann.descope.user(BOB).user_id
    )


def test_user_without_an_app_is_told_to_choose(guard: StepUpGuard) -> None:
    """TOTP is one call: its check is where a start would ask."""
    with signed_in(guard) as ann:
        response = ann.post("/totp/verify", code="123456")

    assert refusal_of(response) == (400, "delivery_unavailable")
    assert "/v1/auth/totp/verify" not in ann.asked_of_descope()


def test_challenge_lists_deliveries_in_the_given_order(guard: StepUpGuard) -> None:
    """As `deliveries` has them."""
    with signed_in(guard) as ann:
        options = {"methods": ["otp"], "deliveries": ("sms", "email")}
        person = Person(guard, ann.descope, options=options)
        refused = person.client.post("/checkout", headers=person.headers)

    assert assert_step_up_challenge(refused)["step_up"]["methods"] == ["sms", "email"]

"""Callers whose session ran out: counters of their own, the way back, and outages."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fastapi_stepup import CredentialReader, StepUpGuard
from fastapi_stepup.router.rate_limits import StepUpLimits
from tests.support.step_up_methods import (
    ANN,
    BODIES,
    BY_NAME,
    ORIGIN,
    Person,
    cookies_of,
    refusal_of,
    signed_in,
)

PROJECT = "P2aaaaaaaaaaaaaaaaaaaaaaaaaaa"
LIMITS = StepUpLimits(tries_per_subject="2/hour", polls_per_subject="2/hour")


@contextmanager
def ann_at(guard: StepUpGuard, **options: Any) -> Iterator[Person]:
    """Sign Ann in at an app of her own."""
    with signed_in(guard) as ann:
        yield Person(guard, ann.descope, options=options or {"limits": LIMITS})


def expired(person: Person) -> str:
    """Return a session token of the person that expired."""
    return person.descope.token(sub=person.tokens.user_id, iat=1, exp=int(time.time()) - 60)


@pytest.mark.parametrize("path", ["/otp/verify", "/otp/start"])
def test_revoked_refresh_token_beside_a_session_spends_nothing_of_its_user(
    guard: StepUpGuard, path: str
) -> None:
    """A session lives on for minutes after the user signed out everywhere."""
    limits = StepUpLimits(
        starts_per_subject="2/hour", tries_per_subject="2/hour", polls_per_subject="2/hour"
    )
    with ann_at(guard, limits=limits) as ann:
        ann.descope.fail(401, times=2, path="/v1/auth/me", code="E064001")
        body = BODIES[path]
        answers = [refusal_of(ann.post(path, **body))[0] for _ in range(3)]
        assert answers == [401, 401, 429]

        ann.tokens = ann.descope.sign_in(ANN)
        proof = BY_NAME["otp-email"].proof(ann)
        assert ann.post("/otp/verify", **proof).status_code == 200


@pytest.mark.parametrize("name", ["otp-email", "magiclink-email", "enchantedlink"])
def test_revoked_refresh_token_alone_spends_nothing_of_its_user(
    guard: StepUpGuard, name: str
) -> None:
    """It counts for itself until Descope has said that it still honours it."""
    case = BY_NAME[name]
    with ann_at(guard) as ann:
        proof = case.proof(ann)
        revoked = ann.tokens.refresh_token
        headers = {"Authorization": f"Bearer {expired(ann)}"}
        ann.descope.fail(401, times=2, path="/v1/auth/me", code="E064001")
        answers = [
            refusal_of(
                ann.client.post(
                    f"/step-up{case.finish}",
                    headers=headers,
                    json=proof | {"refresh_token": revoked},
                )
            )
            for _ in range(3)
        ]
        assert answers == [(401, "invalid_token")] * 2 + [(429, "too_many_attempts")]

        ann.tokens = ann.descope.sign_in(ANN)
        assert ann.post(case.finish, **proof).status_code == 200


@pytest.mark.parametrize("name", ["otp-email", "magiclink-email", "enchantedlink"])
def test_users_tries_hold_whatever_refresh_token_comes(guard: StepUpGuard, name: str) -> None:
    """A further refresh token of the same user has no further tries."""
    case = BY_NAME[name]
    wrong = {"code": "000000"} if name == "otp-email" else {}
    with ann_at(guard) as ann:
        proof = case.proof(ann) | wrong
        headers = {"Authorization": f"Bearer {expired(ann)}"}
        answers = []
        for _ in range(3):
            body = proof | {"refresh_token": ann.descope.sign_in(ANN).refresh_token}
            answers.append(
                ann.client.post(f"/step-up{case.finish}", headers=headers, json=body).status_code
            )
    assert 429 not in answers[:2]
    assert answers[2] == 429


@pytest.mark.parametrize(
    ("reader", "field", "by_cookie"),
    [
        pytest.param(
            {"other_schemes": ["Basic"]}, ("Authorization", "Basic eDp5"), True, id="basic"
        ),
        pytest.param({"header": "X-Session"}, ("X-Session", ""), False, id="own-field"),
        pytest.param({"header": "X-Session"}, ("Authorization", "Bearer x"), True, id="not-ours"),
    ],
)
def test_session_goes_back_by_the_readers_own_field(
    reader: dict[str, Any], field: tuple[str, str], *, by_cookie: bool
) -> None:
    """Only a field that the reader takes a session token from asks for it in the body."""
    guard = StepUpGuard.for_descope(PROJECT, credentials=CredentialReader(**reader))
    with signed_in(guard) as ann:
        name, value = field
        ann.tokens = ann.descope.sign_in(ANN)
        case = BY_NAME["magiclink-email"]
        started = Person(guard, ann.descope, by_cookie=True)
        proof = case.proof(started)
        headers = {
            name: value or expired(started),
            "Cookie": f"DSR={started.tokens.refresh_token}",
            "Origin": ORIGIN,
        }
        started.client.cookies.clear()
        done = started.client.post(f"/step-up{case.finish}", headers=headers, json=proof)

    assert done.status_code == 200
    assert ("DS" in cookies_of(done)) is by_cookie
    assert (done.json()["session_token"] is None) is by_cookie


def test_outage_of_the_revocation_check_is_no_missing_session() -> None:
    """A refresh token that cannot be checked at the moment is 503, not 401."""

    def is_revoked(_: object) -> bool:
        raise OSError

    guard = StepUpGuard.for_descope(PROJECT, is_revoked=is_revoked)
    with signed_in(guard) as ann:
        response = ann.client.post(
            "/step-up/otp/verify",
            headers={"Authorization": f"Bearer {expired(ann)}"},
            json={
                "delivery": "email",
                "code": "123456",
                "refresh_token": ann.tokens.refresh_token,
            },
        )
    assert refusal_of(response) == (503, "revocation_unavailable")


def test_authenticator_code_needs_a_session(ann: Person) -> None:
    """Nothing was begun, and the refresh token has neither tenant nor custom claims to keep."""
    proof = BY_NAME["totp"].proof(ann) | {"refresh_token": ann.tokens.refresh_token}
    headers = {"Authorization": f"Bearer {expired(ann)}"}

    response = ann.client.post("/step-up/totp/verify", headers=headers, json=proof)

    assert refusal_of(response) == (401, "invalid_token")
    assert ann.post("/totp/verify", **proof).status_code == 200

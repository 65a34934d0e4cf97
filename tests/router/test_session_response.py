"""Tokens of a finished step-up: verified and the caller's own before any of them goes out."""

import base64
import json
import logging
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import httpx
import pytest

from fastapi_stepup import Claims, StepUpGuard
from fastapi_stepup.router.session_response import Caller, user_id
from fastapi_stepup.testing import REMOVE, DescopeEmulator, SigningKey, Tokens
from tests.support.step_up_methods import (
    ANN,
    BOB,
    BY_NAME,
    ORIGIN,
    MethodCase,
    Person,
    Rewriting,
    cookies_of,
    each_method,
    refusal_of,
    signed_in,
)

OTP = BY_NAME["otp-email"]
MISMATCH, NONSENSE = (403, "subject_mismatch"), (502, "descope_error")

CLAIMS = [
    pytest.param({"sub": "U2somebody"}, MISMATCH, id="OT-006-another-user"),
    pytest.param({"dsub": "U2somebody"}, MISMATCH, id="OT-006-another-dsub"),
    pytest.param({"su": REMOVE}, NONSENSE, id="OT-005-no-su"),
    pytest.param({"su": "true"}, NONSENSE, id="OT-005-su-text"),
    pytest.param({"su": 1}, NONSENSE, id="OT-005-su-number"),
    pytest.param({"su": False}, NONSENSE, id="OT-005-su-false"),
    pytest.param({"drn": "DSR"}, NONSENSE, id="OT-007-refresh-token"),
    pytest.param({"iss": "P2another"}, NONSENSE, id="OT-006-foreign-issuer"),
    pytest.param(
        {"iss": "https://api.descope.com/P2abcdefghijklmnopqrstuvwxyz"},
        MISMATCH,
        id="OT-006-another-form-of-issuer",
    ),
    pytest.param({"exp": 1, "iat": 1}, NONSENSE, id="OT-006-expired"),
    pytest.param({"iat": 32_000_000_000}, NONSENSE, id="OT-006-not-yet"),
    pytest.param({"sub": REMOVE}, NONSENSE, id="OT-006-nobody"),
    pytest.param({"act": {"sub": "K1"}}, NONSENSE, id="OT-006-impersonated"),
    pytest.param({"aud": "another-api"}, NONSENSE, id="OT-006-foreign-audience"),
    pytest.param({"cnf": {"jkt": "x"}}, NONSENSE, id="OT-006-bound-token"),
]


@pytest.mark.parametrize(
    ("claims", "expected", "by_cookie"),
    [
        *(pytest.param(*row.values, False, id=row.id) for row in CLAIMS),
        pytest.param(*CLAIMS[0].values, True, id="OT-006-by-cookie"),
        pytest.param(*CLAIMS[2].values, True, id="OT-005-by-cookie"),
    ],
)
def test_session_that_is_not_the_callers_own_and_stepped_up_stays_here(
    guard: StepUpGuard, claims: dict[str, Any], expected: tuple[int, str], *, by_cookie: bool
) -> None:
    """The refusal has no token, and no challenge: the caller did nothing wrong."""
    with signed_in(guard, by_cookie=by_cookie) as ann:
        proof = OTP.proof(ann)
        ann.descope.tamper(**claims)

        response = ann.post(OTP.finish, **proof)

        assert refusal_of(response) == expected
        assert "www-authenticate" not in response.headers


@pytest.mark.parametrize(
    ("claims", "expected"), [({"su": REMOVE}, NONSENSE), ({"sub": "U2somebody"}, MISMATCH)]
)
@each_method
def test_every_method_answers_through_the_same_checks(
    ann: Person, case: MethodCase, claims: dict[str, Any], expected: tuple[int, str]
) -> None:
    """A session without `su`, or of another user, is passed on by none."""
    proof = case.proof(ann)
    ann.descope.tamper(**claims)

    assert refusal_of(ann.post(case.finish, **proof)) == expected


TOKENS = [
    pytest.param(
        lambda d: {"sessionJwt": d.step_up(BOB).session_token}, MISMATCH, id="session-of-bob"
    ),
    pytest.param(
        lambda d: {"refreshJwt": d.step_up(BOB).refresh_token}, MISMATCH, id="refresh-token-of-bob"
    ),
    pytest.param(
        lambda d: {"sessionJwt": d.step_up(ANN).refresh_token},
        NONSENSE,
        id="OT-007-refresh-token-as-session",
    ),
    pytest.param(lambda _: {"sessionJwt": ""}, NONSENSE, id="OT-007-no-session"),
    pytest.param(
        lambda d: {"refreshJwt": d.step_up(ANN).session_token},
        NONSENSE,
        id="session-as-refresh-token",
    ),
    pytest.param(
        lambda d: {"refreshJwt": d.token(drn="DSR", sub=d.user(ANN).user_id, act={"sub": "K1"})},
        NONSENSE,
        id="impersonated-refresh-token",
    ),
    pytest.param(
        lambda d: {"refreshJwt": d.token(drn="DSR", key=SigningKey())},
        NONSENSE,
        id="forged-refresh-token",
    ),
    pytest.param(
        lambda d: {"sessionJwt": d.token(su=True, sub=d.user(ANN).user_id, key=SigningKey())},
        NONSENSE,
        id="OT-006-forged",
    ),
    pytest.param(
        lambda d: {"sessionJwt": d.token(su=True, header={"alg": "none"})},
        NONSENSE,
        id="OT-006-unsigned",
    ),
    pytest.param(
        lambda d: {"sessionJwt": DescopeEmulator(d.project_id).step_up(ANN).session_token},
        NONSENSE,
        id="OT-006-another-key-set",
    ),
    pytest.param(lambda _: {"sessionJwt": ["x"]}, NONSENSE, id="array"),
    pytest.param(lambda _: {"sessionJwt": 20000 * "x"}, NONSENSE, id="large"),
    pytest.param(
        lambda d: {"sessionJwt": f"{d.step_up(ANN).session_token}\r\nSet-Cookie: x=y"},
        NONSENSE,
        id="CK-022-line-break",
    ),
    pytest.param(
        lambda d: {"refreshJwt": f"{d.step_up(ANN).refresh_token}; Domain=evil.example"},
        NONSENSE,
        id="CK-022-attribute",
    ),
]


def rewriting(person: Person, rewrite: Callable[[dict[str, Any]], object]) -> Any:
    """Return a context in which Descope's answers to a code are rewritten."""
    transport = Rewriting(person.descope.transport, OTP.asks, rewrite)
    return person.guard.on_transport(transport)


@pytest.mark.parametrize(("rewrite", "expected"), TOKENS)
def test_tokens_that_are_not_the_callers_stay_here(
    ann: Person,
    rewrite: Callable[[DescopeEmulator], dict[str, object]],
    expected: tuple[int, str],
) -> None:
    """Both tokens are verified, and are the caller's, before either goes out."""
    proof = OTP.proof(ann)

    with rewriting(ann, lambda body: body | rewrite(ann.descope)):
        assert refusal_of(ann.post(OTP.finish, **proof)) == expected


def test_cookies_of_descopes_reply_are_verified_like_its_body(ann: Person) -> None:
    """In its cookie mode the tokens come as cookies, and go on the way the caller's came."""
    fresh = ann.descope.step_up(ANN)

    def in_cookies(refresh_token: str) -> Callable[[dict[str, Any]], object]:
        body = {"sessionJwt": "", "refreshJwt": ""}
        fields = [("Set-Cookie", f"DS={fresh.session_token}"), ("Set-Cookie", refresh_token)]
        return lambda _: httpx.Response(200, json=body, headers=fields)

    proof = OTP.proof(ann)
    with rewriting(ann, in_cookies(f"DSR={fresh.refresh_token}; Path=/; Domain=evil.example")):
        good = ann.post(OTP.finish, **proof)
    proof = OTP.proof(ann)
    with rewriting(ann, in_cookies('DSR="x y"; Path=/')):
        hostile = ann.post(OTP.finish, **proof)

    assert good.json()["refresh_token"] == fresh.refresh_token
    assert "set-cookie" not in good.headers
    assert refusal_of(hostile) == NONSENSE


@pytest.mark.parametrize("by_cookie", [False, True], ids=["by-header", "by-cookie"])
def test_refresh_token_that_stays_the_same_is_not_repeated(
    guard: StepUpGuard, *, by_cookie: bool
) -> None:
    """Where Descope hands out no new one there is none in the answer: the old one goes on."""
    with signed_in(guard, by_cookie=by_cookie) as ann:
        proof = OTP.proof(ann)
        with rewriting(ann, lambda body: body | {"refreshJwt": ""}):
            verified = ann.post(OTP.finish, **proof)

    assert (verified.status_code, verified.json()["refresh_token"]) == (200, None)
    assert "DSR" not in str(verified.headers.get("set-cookie", ""))


@pytest.mark.parametrize("ahead", [pytest.param(3, id="OT-042-three-seconds")])
def test_fresh_session_from_a_clock_ahead_is_taken(ann: Person, ahead: int) -> None:
    """Descope's clock may be some seconds ahead of ours."""
    proof = OTP.proof(ann)
    ann.descope.tamper(iat=int(time.time()) + ahead)

    assert ann.post(OTP.finish, **proof).status_code == 200


def test_session_under_a_key_that_cannot_be_had_is_not_passed_on(ann: Person) -> None:
    """A session that cannot be verified is an answer that cannot be used."""
    proof = OTP.proof(ann)
    ann.post("/status")
    ann.descope.rotate_keys()
    ann.descope.fail(503, times=5, path="/v2/keys")

    assert refusal_of(ann.post(OTP.finish, **proof)) == NONSENSE


def test_keys_may_rotate_between_the_two_steps(ann: Person) -> None:
    """The new session is signed by a key that is fetched for it; a revoked key ends the old one."""
    proof = OTP.proof(ann)
    ann.descope.rotate_keys()
    assert ann.post(OTP.finish, **proof).status_code == 200

    proof = OTP.proof(ann)
    ann.descope.revoke_keys()

    assert refusal_of(ann.post(OTP.finish, **proof)) == (401, "invalid_token")


def test_reply_that_says_two_things_is_nonsense(ann: Person) -> None:
    """A member that comes twice is not read as either."""
    fresh, bob = ann.descope.step_up(ANN).session_token, ann.descope.step_up(BOB).session_token
    body = f'{{"sessionJwt":"{bob}","sessionJwt":"{fresh}"}}'.encode()
    proof = OTP.proof(ann)

    with rewriting(ann, lambda _: httpx.Response(200, content=body)):
        assert refusal_of(ann.post(OTP.finish, **proof)) == NONSENSE


def test_user_id_is_a_text_that_says_something(subtests: pytest.Subtests) -> None:
    """`dsub` counts as a text of one character or more, else `sub` does."""
    rows: dict[str, tuple[dict[str, Any], str]] = {
        "no-dsub": ({"sub": "U2x"}, "U2x"),
        "dsub": ({"sub": "c7", "dsub": "U2x"}, "U2x"),
        "empty": ({"sub": "U2x", "dsub": ""}, "U2x"),
        "number": ({"sub": "U2x", "dsub": 7}, "U2x"),
        "null": ({"sub": "U2x", "dsub": None}, "U2x"),
        "true": ({"sub": "U2x", "dsub": True}, "U2x"),
        "list": ({"sub": "U2x", "dsub": ["U2y"]}, "U2x"),
    }
    for name, (claims, expected) in rows.items():
        with subtests.test(name):
            assert user_id(Claims(claims)) == expected


@pytest.mark.parametrize(
    "name", ["otp-email", "totp", "magiclink-email", "enchantedlink", "passkey", "oauth", "notp"]
)
def test_tenant_and_custom_claims_stay(ann: Person, name: str) -> None:
    """Descope starts a new session for a step-up, and is asked to put them into it."""
    case = BY_NAME[name]
    chosen: dict[str, Any] = {"plan": {"seats": [1, 2]}}
    claims: dict[str, Any] = {"dct": "acme", "nsec": chosen}
    session = ann.descope.token(sub=ann.tokens.user_id, **claims)
    ann.tokens = Tokens(session, ann.tokens.refresh_token, ann.tokens.user_id, ANN)

    done = case.complete(ann).json()

    ann.tokens = Tokens(done["session_token"], done["refresh_token"], ann.tokens.user_id, ANN)
    assert "lost" not in done
    raw = session_claims(done["session_token"])
    assert (raw["dct"], raw["nsec"]) == ("acme", chosen)


def session_claims(token: str) -> dict[str, Any]:
    """Return the claims of a token, unverified."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return claims


@pytest.mark.parametrize(
    ("tampered", "lost"),
    [
        pytest.param({"dct": REMOVE}, ["tenant"], id="tenant"),
        pytest.param({"dct": "other"}, ["tenant"], id="another-tenant"),
        pytest.param({"nsec": {"plan": "b"}}, ["custom_claims"], id="claims"),
        pytest.param({"dct": REMOVE, "nsec": REMOVE}, ["tenant", "custom_claims"], id="both"),
    ],
)
def test_answer_says_what_the_step_up_lost(
    ann: Person, tampered: dict[str, Any], lost: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The session is stepped up all the same; client and log are told."""
    caplog.set_level(logging.WARNING)
    session = ann.descope.token(sub=ann.tokens.user_id, dct="acme", nsec={"plan": "a"})
    ann.tokens = Tokens(session, ann.tokens.refresh_token, ann.tokens.user_id, ANN)
    proof = OTP.proof(ann)
    ann.descope.tamper(**tampered)

    done = ann.post(OTP.finish, **proof)

    assert (done.status_code, done.json()["lost"]) == (200, lost)
    (record,) = caplog.records
    assert record.getMessage().endswith(f"{', '.join(lost)}.")
    assert "acme" not in record.getMessage()


def test_caller_does_not_change() -> None:
    """The user who was identified stays that one, and its `repr` shows nothing."""
    caller: Any = Caller(Claims({"sub": "U2x"}), refresh_token="eyJx")

    with pytest.raises(FrozenInstanceError):
        caller.claims = Claims({"sub": "U2y"})
    assert "eyJ" not in repr(caller)
    assert caller.has_session is True


def test_cookies_live_as_long_as_their_tokens(guard: StepUpGuard) -> None:
    """Ten minutes and four weeks here; the body has neither token."""
    with signed_in(guard, by_cookie=True) as ann:
        done = OTP.complete(ann)

    cookies = cookies_of(done)
    assert 595 <= int(cookies["DS"]["max-age"]) <= 600
    assert 28 * 86400 - 5 <= int(cookies["DSR"]["max-age"]) <= 28 * 86400
    assert (done.json()["session_token"], done.json()["refresh_token"]) == (None, None)
    assert 595 <= done.json()["expires_in"] <= 600


def test_token_that_has_just_expired_is_still_an_answer(ann: Person) -> None:
    """Within the leeway: it lives 0 seconds, not fewer."""
    proof = OTP.proof(ann)
    now = int(time.time())
    ann.descope.tamper(iat=now - 60, exp=now - 2)

    done = ann.post(OTP.finish, **proof)

    assert (done.status_code, done.json()["expires_in"]) == (200, 0)


def test_session_of_a_guard_without_a_session_cookie_goes_into_the_body() -> None:
    """Also where it ran out, and the refresh cookie says who it is."""
    guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz", session_cookie=None)
    with signed_in(guard) as ann:
        proof = OTP.proof(ann)
        headers = {"Cookie": f"DSR={ann.tokens.refresh_token}", "Origin": ORIGIN}

        done = ann.client.post("/step-up/otp/verify", headers=headers, json=proof)

    assert done.json()["session_token"].startswith("eyJ")
    assert list(cookies_of(done)) == ["DSR"]


def test_tenant_that_is_new_is_no_loss(ann: Person) -> None:
    """Nor are custom claims that the session did not have before."""
    proof = OTP.proof(ann)
    ann.descope.tamper(dct="acme", nsec={"plan": "a"})

    assert "lost" not in ann.post(OTP.finish, **proof).json()

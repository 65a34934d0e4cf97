"""`me`, refresh, validate, logout and the key endpoints."""

from typing import Any

import jwt
import pytest

from fastapi_stepup.testing import REMOVE, DescopeEmulator, SigningKey, Tokens
from tests.testing.conftest import Caller, Clock, error_of

WITH_REFRESH_TOKEN = ["refresh", "logout", "logoutall"]


def test_me_answers_with_the_user(caller: Caller, ann: Tokens) -> None:
    """`me` is the user object of the refresh token's user."""
    user = caller.me(ann.refresh_token).json()
    assert (ann.user_id, ["ann@example.com"]) == (user["userId"], user["loginIds"])


def test_refresh_loses_the_step_up(caller: Caller, emulator: DescopeEmulator) -> None:
    """The refresh JWT has no `su`, so neither has a refreshed session."""
    ann = emulator.step_up("ann@example.com")
    assert ann.claims["su"] is True
    reply = caller.post("refresh", token=ann.refresh_token).json()
    claims = caller.post("validate", token=reply["sessionJwt"]).json()["parsedJWT"]
    assert "su" not in claims
    assert (ann.user_id, ["email", "mfa"]) == (claims["sub"], claims["amr"])
    assert reply["refreshJwt"] == ""


def test_refresh_token_carries_no_step_up(emulator: DescopeEmulator) -> None:
    """`su` is on the session JWT only."""
    ann = emulator.step_up("ann@example.com")
    claims = jwt.decode(ann.refresh_token, options={"verify_signature": False})
    assert claims["drn"] == "DSR"
    assert "su" not in claims


def test_logout_ends_one_session(caller: Caller, emulator: DescopeEmulator, ann: Tokens) -> None:
    """The refresh token is revoked; the session token and the other session live on."""
    other = emulator.sign_in("ann@example.com")
    reply = caller.post("logout", token=ann.refresh_token)
    assert (
        reply.status_code,
        reply.json()["sessionJwt"],
        reply.json()["refreshJwt"],
    ) == (200, "", "")
    assert error_of(caller.post("refresh", token=ann.refresh_token)) == (401, "E064001")
    assert caller.post("validate", token=ann.session_token).status_code == 200
    assert caller.post("refresh", token=other.refresh_token).status_code == 200


def test_logoutall_ends_every_session_of_the_user(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """All of Ann's sessions end, and no other user's."""
    other, bob = emulator.sign_in("ann@example.com"), emulator.sign_in("bob@example.com")
    assert caller.post("logoutall", token=ann.refresh_token).status_code == 200
    for tokens in (ann, other):
        assert error_of(caller.me(tokens.refresh_token)) == (401, "E064001")
    assert caller.me(bob.refresh_token).status_code == 200


def test_refresh_token_rotates(clock: Clock) -> None:
    """With rotation a refresh voids the refresh token it was made with, and nothing else."""
    emulator = DescopeEmulator(clock=clock, rotate_refresh=True)
    caller = Caller(emulator)
    ann, other = emulator.sign_in("ann@example.com"), emulator.sign_in("ann@example.com")
    reply = caller.post("refresh", token=ann.refresh_token).json()
    assert error_of(caller.post("refresh", token=ann.refresh_token)) == (401, "E061005")
    again = caller.post("refresh", token=reply["refreshJwt"]).json()
    assert len({ann.refresh_token, reply["refreshJwt"], again["refreshJwt"]}) == 3
    assert caller.me(other.refresh_token).status_code == 200
    caller.post("logoutall", token=again["refreshJwt"])
    assert error_of(caller.me(again["refreshJwt"])) == (401, "E064001")


def test_refresh_may_be_tried(caller: Caller, ann: Tokens) -> None:
    """With nothing to refresh the answer is empty and no error."""
    assert caller.post("try-refresh", token=ann.refresh_token).json()["sessionJwt"]
    for token in ("", ann.session_token):
        tried = caller.post("try-refresh", token=token)
        assert (tried.status_code, tried.json()) == (200, {})


def test_history_is_the_users(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens, clock: Clock
) -> None:
    """The sign-ins of one user, the latest first."""
    emulator.sign_in("bob@example.com")
    first = int(clock.now)
    clock.now += 60
    emulator.sign_in("ann@example.com")
    response = caller.client.get("/v1/auth/me/history", headers=caller.headers(ann.refresh_token))
    assert [entry["loginTime"] for entry in response.json()] == [first + 60, first]
    assert {entry["userId"] for entry in response.json()} == {ann.user_id}


def test_licence_is_told(caller: Caller) -> None:
    """SDKs with a management key ask for it first."""
    response = caller.client.get("/v1/mgmt/license", headers=caller.headers("K2management"))
    assert response.json() == {"rateLimitTier": "tier1"}


@pytest.mark.parametrize("action", WITH_REFRESH_TOKEN)
def test_session_endpoints_need_a_refresh_token(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens, action: str
) -> None:
    """Nothing, a session token and a forged refresh token are refused."""
    for token in ("", ann.session_token, emulator.token(drn="DSR", sub=ann.user_id)):
        assert error_of(caller.post(action, token=token)) == (401, "E061005")


def test_refresh_token_expires(caller: Caller, ann: Tokens, clock: Clock) -> None:
    """A refresh token is good for its lifetime."""
    clock.now += 28 * 24 * 3600
    assert error_of(caller.me(ann.refresh_token)) == (401, "E061005")


def test_revoked_key_ends_refresh_tokens(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """Rotation keeps sessions, revocation ends them."""
    emulator.rotate_keys()
    assert caller.me(ann.refresh_token).status_code == 200
    emulator.revoke_keys()
    assert error_of(caller.me(ann.refresh_token)) == (401, "E061005")


def test_validate_answers_with_the_claims(caller: Caller, ann: Tokens) -> None:
    """A good session token is parsed."""
    assert caller.post("validate", token=ann.session_token).json() == {"parsedJWT": ann.claims}


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"drn": "DSR"}, id="refresh"),
        pytest.param({"exp": 1}, id="expired"),
        pytest.param({"exp": "never"}, id="exp-text"),
        pytest.param({"exp": REMOVE}, id="no-exp"),
        pytest.param({"sub": 1}, id="sub-number"),
    ],
)
def test_validate_refuses_bad_claims(
    caller: Caller, emulator: DescopeEmulator, claims: dict[str, Any]
) -> None:
    """Anything but a current session is rejected."""
    refused = caller.post("validate", token=emulator.token(**claims))
    assert error_of(refused) == (401, "E061005")


def test_validate_refuses_bad_signatures(caller: Caller, emulator: DescopeEmulator) -> None:
    """A forgery, an unknown key, an unsigned token and no token are refused."""
    for token in (
        emulator.token(key=SigningKey()),
        emulator.token(header={"kid": "SK1"}),
        emulator.token(header={"alg": "none"}),
        "not.a.jwt",
        "",
    ):
        assert error_of(caller.post("validate", token=token)) == (401, "E061005")


def test_keys_come_in_three_forms(caller: Caller, emulator: DescopeEmulator) -> None:
    """The key set is public, bare in version 1, and complete enough for every SDK."""
    emulator.rotate_keys()
    key_set = caller.client.get(f"/v2/keys/{emulator.project_id}").json()
    well_known = caller.client.get(f"/{emulator.project_id}/.well-known/jwks.json").json()
    bare = caller.client.get(f"/v1/keys/{emulator.project_id}").json()
    assert key_set == well_known == {"keys": bare}
    assert [emulator.signing_key.kid] == [key["kid"] for key in bare][:1]
    for key in bare:
        assert {"alg", "e", "kid", "kty", "n", "use"} == key.keys()
        assert (key["alg"], key["kty"], key["use"]) == ("RS256", "RSA", "sig")


@pytest.mark.parametrize("path", ["/v2/keys/P2other", "/v1/keys/P2other"])
def test_keys_of_another_project_are_not_found(caller: Caller, path: str) -> None:
    """The emulator has the keys of its own project only."""
    assert error_of(caller.client.get(path)) == (404, "E011001")


def test_tokens_verify_against_the_key_set(caller: Caller, ann: Tokens) -> None:
    """Tokens verify with a stock library and the published keys."""
    emulator = caller.emulator
    keys = jwt.PyJWKSet.from_dict(caller.client.get(f"/v2/keys/{emulator.project_id}").json())
    for token in (ann.session_token, ann.refresh_token):
        kid = jwt.get_unverified_header(token)["kid"]
        claims = jwt.decode(token, keys[kid], algorithms=["RS256"], options={"verify_iat": False})
        assert claims["iss"] == emulator.project_id

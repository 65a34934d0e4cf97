"""Passwords."""

from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.testing.conftest import Caller, error_of

BOB = "bob@example.com"
OLD, NEW = "correct horse", "battery staple"


def test_password_signs_up_and_in(caller: Caller, emulator: DescopeEmulator) -> None:
    """The session names the password; a wrong one is refused, and any for a user without one."""
    body = {"loginId": BOB, "password": OLD}
    assert caller.post("password/signup", body).json()["user"]["password"] is True
    reply = caller.post("password/signin", body).json()
    assert caller.claims(reply["sessionJwt"])["amr"] == ["pwd"]
    for login_id in (BOB, "ann@example.com"):
        refused = caller.post("password/signin", {"loginId": login_id, "password": NEW})
        assert error_of(refused) == (401, "E062903")
    assert error_of(caller.post("password/signup", body)) == (400, "E062107")
    assert OLD not in repr(emulator.user(BOB))


def test_password_is_replaced(caller: Caller) -> None:
    """The old password permits a new one, and signs the user in."""
    caller.post("password/signup", {"loginId": BOB, "password": OLD})
    body = {"loginId": BOB, "oldPassword": OLD, "newPassword": NEW}
    assert caller.post("password/replace", body).is_success
    assert error_of(caller.post("password/replace", body)) == (401, "E062903")


def test_password_is_updated(caller: Caller, ann: Tokens) -> None:
    """A signed-in user may choose one."""
    body = {"loginId": "ann@example.com", "newPassword": NEW}
    assert error_of(caller.post("password/update", body)) == (401, "E061005")
    assert caller.post("password/update", body, token=ann.refresh_token).json() == {}
    signed_in = caller.post("password/signin", {"loginId": "ann@example.com", "password": NEW})
    assert signed_in.is_success


def test_policy_is_published_and_enforced(caller: Caller, emulator: DescopeEmulator) -> None:
    """A short password is refused, and creates no user."""
    policy = caller.client.get("/v1/auth/password/policy", headers=caller.headers()).json()
    short = "x" * (policy["minLength"] - 1)
    refused = caller.post("password/signup", {"loginId": BOB, "password": short})
    assert error_of(refused) == (400, "E011004")
    assert caller.post("password/signup", {"loginId": BOB, "password": f"{short}x"}).is_success


def test_reset_sends_a_link(caller: Caller, emulator: DescopeEmulator) -> None:
    """The link signs in, so that the password can be updated."""
    body = {"loginId": "ann@example.com", "redirectUrl": "https://shop.example/reset"}
    reply = caller.post("password/reset", body).json()
    assert reply == {"resetMethod": "magiclink", "maskedEmail": "a**@example.com"}
    sent = emulator.outbox[-1]
    assert sent.link == f"https://shop.example/reset?t={sent.token}"
    assert caller.post("magiclink/verify", {"token": sent.token}).is_success

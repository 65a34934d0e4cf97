"""The purpose of a sign-in, for all methods: it is decided at the start."""

from collections.abc import Callable
from typing import Any, TypeAlias

import httpx2
import pytest

from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.testing.conftest import Caller, error_of

ANN = "ann@example.com"
ORIGIN = "https://shop.example"
STEP_UP = {"loginId": ANN, "loginOptions": {"stepup": True}}

Finish: TypeAlias = Callable[[], httpx2.Response]
Method: TypeAlias = Callable[[Caller, str], Finish]


def otp(caller: Caller, token: str) -> Finish:
    """Start by one-time code."""
    caller.post("otp/signin/email", STEP_UP, token=token)
    return lambda: caller.verify(caller.emulator.outbox[-1].code)


def magic_link(caller: Caller, token: str) -> Finish:
    """Start by magic link."""
    caller.post("magiclink/signin/email", STEP_UP, token=token)
    body = {"token": caller.emulator.outbox[-1].token}
    return lambda: caller.post("magiclink/verify", body)


def enchanted_link(caller: Caller, token: str) -> Finish:
    """Start by enchanted link."""
    started = caller.post("enchantedlink/signin/email", STEP_UP, token=token).json()
    caller.post("enchantedlink/verify", {"token": caller.emulator.outbox[-1].token})
    body = {"pendingRef": started["pendingRef"]}
    return lambda: caller.post("enchantedlink/pending-session", body)


def webauthn(caller: Caller, token: str) -> Finish:
    """Start by passkey."""
    passkey = caller.emulator.passkey(ORIGIN)
    body: dict[str, Any] = {"loginId": ANN, "origin": ORIGIN}
    start = caller.post("webauthn/update/start", body, token=token).json()
    finish = {"transactionId": start["transactionId"]}
    finish["response"] = passkey.create(start["options"])
    caller.post("webauthn/update/finish", finish)
    start = caller.post("webauthn/signin/start", body | STEP_UP, token=token).json()
    finish = {"transactionId": start["transactionId"], "response": passkey.get(start["options"])}
    return lambda: caller.post("webauthn/signin/finish", finish)


def oauth(caller: Caller, token: str) -> Finish:
    """Start by social provider."""
    start = caller.post("oauth/authorize?provider=google", {"stepup": True}, token=token).json()
    location = caller.emulator.social_login(start["url"], ANN)
    body = {"code": location.rpartition("=")[2]}
    return lambda: caller.post("oauth/exchange", body)


def notp(caller: Caller, token: str) -> Finish:
    """Start by WhatsApp."""
    started = caller.post("notp/whatsapp/signin", STEP_UP, token=token).json()
    caller.emulator.send_whatsapp(started["redirectUrl"])
    body = {"pendingRef": started["pendingRef"]}
    return lambda: caller.post("notp/pending-session", body)


METHODS = [otp, magic_link, enchanted_link, webauthn, oauth, notp]


@pytest.mark.parametrize("method", METHODS)
def test_step_up_dies_with_its_session(caller: Caller, ann: Tokens, method: Method) -> None:
    """After a logout between start and verification there is no session, stepped up or not."""
    finish = method(caller, ann.refresh_token)
    caller.post("logout", token=ann.refresh_token)
    assert error_of(finish()) == (401, "E064001")


@pytest.mark.parametrize("method", METHODS)
def test_step_up_survives_rotation(method: Method) -> None:
    """It is the session that is stepped up, whatever its refresh token has become."""
    emulator = DescopeEmulator(rotate_refresh=True)
    emulator.create_user(ANN, phone="+15550100012")
    caller = Caller(emulator)
    ann = emulator.sign_in(ANN)
    finish = method(caller, ann.refresh_token)
    caller.post("refresh", token=ann.refresh_token)
    assert caller.claims(finish().json()["sessionJwt"])["su"] is True


def test_other_sessions_end_when_asked(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """`revokeOtherSessions` leaves the new session alone."""
    bob = emulator.sign_in("bob@example.com")
    caller.start(revokeOtherSessions=True)
    assert caller.me(ann.refresh_token).status_code == 200
    reply = caller.verify(emulator.outbox[-1].code).json()
    assert error_of(caller.me(ann.refresh_token)) == (401, "E064001")
    for token in (reply["refreshJwt"], bob.refresh_token):
        assert caller.me(token).status_code == 200


@pytest.mark.parametrize("flag", ["stepup", "mfa", "revokeOtherSessions"])
def test_flags_are_booleans(caller: Caller, flag: str) -> None:
    """Anything else is malformed."""
    body = {"loginId": ANN, "loginOptions": {flag: 1}}
    assert error_of(caller.post("otp/signin/email", body)) == (400, "E011003")

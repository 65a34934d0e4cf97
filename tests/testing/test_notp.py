"""NOTP: the user proves a number by a message from it."""

from typing import Any

import httpx2
import pytest

from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.testing.conftest import Caller, error_of

ANN = "ann@example.com"
PHONE = "+15550100012"


def start(
    caller: Caller, action: str = "signin", login_id: str = ANN, *, token: str = "", **options: Any
) -> httpx2.Response:
    """Ask for the message that signs the user in."""
    body = {"loginId": login_id, "loginOptions": options}
    return caller.post(f"notp/whatsapp/{action}", body, token=token)


def collect(caller: Caller, started: httpx2.Response) -> httpx2.Response:
    """Poll for the session."""
    return caller.post("notp/pending-session", {"pendingRef": started.json()["pendingRef"]})


@pytest.mark.parametrize("login_id", [ANN, ""])
def test_message_steps_up(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens, login_id: str
) -> None:
    """It is pending until the message arrives; the refresh token may name the user."""
    started = start(caller, login_id=login_id, token=ann.refresh_token, stepup=True)
    assert {"pendingRef", "redirectUrl", "image"} == started.json().keys()
    assert error_of(collect(caller, started)) == (401, "E066103")
    emulator.send_whatsapp(started.json()["redirectUrl"])
    claims = caller.claims(collect(caller, started).json()["sessionJwt"])
    assert (claims["su"], claims["amr"]) == (True, ["email", "whatsapp", "mfa"])
    assert emulator.user(ANN).verified_phone
    assert error_of(collect(caller, started)) == (401, "E062504")


def test_number_names_the_user(caller: Caller, emulator: DescopeEmulator) -> None:
    """Without a login id, a known number signs in; an unknown one needs sign-up-or-in."""
    emulator.create_user(PHONE)
    started = start(caller, login_id="")
    url = started.json()["redirectUrl"]
    with pytest.raises(ValueError, match="Missing phone"):
        emulator.send_whatsapp(url)
    with pytest.raises(ValueError, match="another number"):
        emulator.send_whatsapp(url, phone="+15550100099")
    emulator.send_whatsapp(url, phone=PHONE)
    assert collect(caller, started).json()["user"]["loginIds"] == [PHONE]
    started = start(caller, "signup-in", login_id="")
    emulator.send_whatsapp(started.json()["redirectUrl"], phone="+15550100099")
    assert collect(caller, started).json()["user"]["loginIds"] == ["+15550100099"]


def test_message_must_come_from_the_users_number(caller: Caller, emulator: DescopeEmulator) -> None:
    """Another user's number signs no user in."""
    url = start(caller).json()["redirectUrl"]
    with pytest.raises(ValueError, match="another number"):
        emulator.send_whatsapp(url, phone="+15550100099")
    emulator.send_whatsapp(url)
    with pytest.raises(LookupError, match="No message is expected"):
        emulator.send_whatsapp(url)


def test_user_signs_up(caller: Caller, emulator: DescopeEmulator) -> None:
    """A new login id becomes a user, a known one is refused or signs in."""
    assert error_of(start(caller, "signup")) == (400, "E062107")
    assert error_of(start(caller, login_id="bob")) == (400, "E062108")
    for action, number in (("signup", "+15550100001"), ("signup-in", "+15550100002")):
        started = start(caller, action, number)
        emulator.send_whatsapp(started.json()["redirectUrl"])
        assert collect(caller, started).json()["firstSeen"] is True
    started = start(caller, "signup-in")
    emulator.send_whatsapp(started.json()["redirectUrl"])
    assert collect(caller, started).json()["user"]["loginIds"] == [ANN]


def test_person_sends_the_message_on_the_page(caller: Caller) -> None:
    """A browser gets a button, which works once."""
    started = start(caller)
    url = started.json()["redirectUrl"]
    assert "<button>" in caller.client.get(url).text
    sent = caller.client.post(url)
    assert "was sent" in sent.text
    assert collect(caller, started).is_success
    assert caller.client.post(url).status_code == 404

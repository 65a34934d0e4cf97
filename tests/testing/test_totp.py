"""Authenticator apps: enrolment, verification and step-up."""

import base64
import io
from urllib.parse import parse_qs, unquote, urlsplit

import httpx2
import pytest
import segno
from PIL import Image

from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.testing.conftest import Caller, Clock, error_of

ANN = "ann@example.com"


def verify(caller: Caller, code: str, *, token: str = "", **options: object) -> httpx2.Response:
    """Send a password."""
    body = {"loginId": ANN, "code": code, "loginOptions": options}
    return caller.post("totp/verify", body, token=token)


def test_app_steps_up_in_one_call(caller: Caller, emulator: DescopeEmulator, ann: Tokens) -> None:
    """The verification brings the refresh token and answers with the session."""
    code = emulator.totp_code(ANN)
    assert code == emulator.totp_code(ANN)
    reply = verify(caller, code, token=ann.refresh_token, stepup=True).json()
    claims = caller.claims(reply["sessionJwt"])
    assert (claims["su"], claims["amr"]) == (True, ["email", "totp", "mfa"])
    assert reply["user"]["TOTP"] is True


def test_code_works_once(caller: Caller, emulator: DescopeEmulator) -> None:
    """A password that was taken is wrong from then on, and the next one is shown."""
    code = emulator.totp_code(ANN)
    assert verify(caller, code).status_code == 200
    assert error_of(verify(caller, code)) == (401, "E061102")
    assert verify(caller, emulator.totp_code(ANN)).status_code == 200


def test_step_up_needs_the_refresh_token_of_the_user(
    caller: Caller, emulator: DescopeEmulator
) -> None:
    """A refused step-up uses no password up."""
    bob = emulator.sign_in("bob@example.com")
    code = emulator.totp_code(ANN)
    assert error_of(verify(caller, code, stepup=True)) == (400, "E011002")
    refused = verify(caller, code, token=bob.refresh_token, stepup=True)
    assert error_of(refused) == (400, "E011004")
    assert verify(caller, code).status_code == 200


def test_tries_run_out_for_a_while(caller: Caller, emulator: DescopeEmulator, clock: Clock) -> None:
    """Too many wrong passwords lock the user's app, until time has passed."""
    for _ in range(emulator.max_attempts):
        assert error_of(verify(caller, "none")) == (401, "E061102")
    assert error_of(verify(caller, emulator.totp_code(ANN))) == (401, "E061103")
    clock.now += emulator.code_lifetime
    assert verify(caller, emulator.totp_code(ANN)).status_code == 200


def test_user_without_an_app_is_refused(caller: Caller) -> None:
    """Whatever the password, it is a wrong one."""
    assert error_of(verify(caller, "123456")) == (401, "E061102")


def test_sign_up_enrols_an_app(caller: Caller, emulator: DescopeEmulator) -> None:
    """A new user gets a secret, in the forms an app takes."""
    body = {"loginId": "bob", "user": {"name": "Bob"}}
    enrolled = caller.post("totp/signup", body).json()
    url = urlsplit(enrolled["provisioningURL"])
    assert (url.scheme, url.netloc, unquote(url.path)) == (
        "otpauth",
        "totp",
        f"/{emulator.project_id}:bob",
    )
    assert parse_qs(url.query) == {"secret": [enrolled["key"]], "issuer": [emulator.project_id]}
    assert emulator.totp_secret("bob") == enrolled["key"]
    assert error_of(caller.post("totp/signup", body)) == (400, "E062107")


def test_update_replaces_the_app(caller: Caller, emulator: DescopeEmulator, ann: Tokens) -> None:
    """The old app's passwords are wrong after it; the update is for the signed-in user."""
    old = emulator.totp_code(ANN)
    body = {"loginId": ANN}
    key = caller.post("totp/update", body, token=ann.refresh_token).json()["key"]
    assert key == emulator.totp_secret(ANN)
    assert error_of(verify(caller, old)) == (401, "E061102")
    assert error_of(caller.post("totp/update", body)) == (401, "E061005")
    refused = caller.post("totp/update", {"loginId": "bob"}, token=ann.refresh_token)
    assert error_of(refused) == (400, "E011004")


def test_unknown_user_has_no_app(emulator: DescopeEmulator) -> None:
    """Neither secret nor password."""
    for shown in (emulator.totp_secret, emulator.totp_code):
        with pytest.raises(LookupError, match="no user"):
            shown("nobody")


def test_enrolment_comes_with_a_qr_code(caller: Caller, ann: Tokens) -> None:
    """The picture has as many modules as a code for the URL needs, in black and white."""
    reply = caller.post("totp/update", {"loginId": ANN}, token=ann.refresh_token).json()
    picture = Image.open(io.BytesIO(base64.b64decode(reply["image"]))).convert("L")

    modules = segno.make(reply["provisioningURL"], micro=False).symbol_size()[0]
    assert picture.size == (4 * modules, 4 * modules)
    assert {shade for _, shade in picture.getcolors() or []} == {0, 255}

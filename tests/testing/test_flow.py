"""The flows `step-up` and `sign-up-or-in`: their two calls."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.testing.conftest import Caller, Clock, error_of

ANN = "ann@example.com"
ORIGIN = "https://shop.example"
PAGE = f"{ORIGIN}/cart?a=1&t=old&descope-login-flow=old"


class Component:
    """A client that draws screens, as Descope's component does."""

    def __init__(self, caller: Caller, token: str = "") -> None:
        self.caller = caller
        self.token = token
        self.reply: Any = {}

    def start(self, flow_id: str = "step-up", **members: object) -> httpx2.Response:
        """Start a flow."""
        body = {"flowId": flow_id, "componentsVersion": "3.14.1", "options": {"location": PAGE}}
        return self._post("start", body | members)

    def next(self, interaction: str, **given: object) -> httpx2.Response:
        """Press a button of the screen."""
        body = {
            "executionId": self.reply["executionId"],
            "stepId": self.reply["stepId"],
            "interactionId": interaction,
            "input": {"origin": ORIGIN, **given},
        }
        return self._post("next", body)

    def _post(self, action: str, body: object) -> httpx2.Response:
        headers = self.caller.headers(self.token)
        response = self.caller.client.post(f"/v1/flow/{action}", json=body, headers=headers)
        self.reply = response.json() if response.is_success else self.reply
        return response

    @property
    def screen(self) -> str:
        """The id of the screen that is shown."""
        return str(self.reply["screen"]["id"])

    @property
    def text(self) -> Any:
        """The error that the user reads."""
        return self.reply["screen"]["state"].get("errorText")

    @property
    def claims(self) -> dict[str, Any]:
        """The claims of the session that completed the flow."""
        assert (self.reply["status"], self.reply["action"]) == ("completed", "none")
        return self.caller.claims(self.reply["authInfo"]["sessionJwt"])


@pytest.fixture
def flow(caller: Caller, ann: Tokens) -> Component:
    """The component on the first screen of `step-up`, in Ann's session."""
    flow = Component(caller, ann.refresh_token)
    flow.start()
    return flow


@pytest.fixture
def welcome(caller: Caller) -> Component:
    """The component on the first screen of `sign-up-or-in`."""
    welcome = Component(caller)
    welcome.start("sign-up-or-in")
    return welcome


@pytest.mark.parametrize(("login_id", "delivery"), [(ANN, "email"), ("bob", "sms")])
def test_client_without_screens_gets_a_code_at_once(
    caller: Caller, emulator: DescopeEmulator, login_id: str, delivery: str
) -> None:
    """Without `componentsVersion` the start sends the code; the right one gives the session."""
    emulator.create_user("bob", phone="+15550100099")
    flow = Component(caller, emulator.sign_in(login_id).refresh_token)
    flow.start(componentsVersion=None)
    assert (flow.reply["status"], flow.reply["action"]) == ("waiting", "screen")
    sent = emulator.outbox[-1]
    assert (delivery, True) == (sent.delivery, sent.step_up)
    flow.next("submit", code=caller.wrong_code)
    assert (flow.reply["status"], flow.reply["error"]["code"]) == ("waiting", "E061102")
    flow.next("submit", code=sent.code)
    assert flow.claims["su"] is True
    assert error_of(flow.next("submit", code=sent.code)) == (400, "E011004")


def test_client_without_screens_or_codes_chooses(caller: Caller, emulator: DescopeEmulator) -> None:
    """A user without an address gets the screen with the methods there are."""
    emulator.create_user("bob").providers["google"] = True
    flow = Component(caller, emulator.sign_in("bob").refresh_token)
    flow.start(componentsVersion="")
    assert (flow.screen, emulator.outbox) == ("choose-method.oauth-google", [])


def test_first_screen_offers_the_methods_of_the_user(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """All that the user has, and no others; a provider must have a name for an id."""
    user = emulator.user(ANN)
    user.providers.update({"google": True, "github": False, "a b": True})
    user.passkeys["id"] = None  # type: ignore[assignment]
    emulator.totp_secret(ANN)
    flow = Component(caller, ann.refresh_token)
    flow.start()
    methods = "otp-email.otp-sms.otp-voice.otp-whatsapp.magiclink-email.passkey.oauth-google.totp"
    assert flow.screen == f"choose-method.{methods}"
    emulator.create_user("bob", phone="+15550100099")
    flow = Component(caller, emulator.sign_in("bob").refresh_token)
    flow.start()
    assert flow.screen == "choose-method.otp-sms.otp-voice.otp-whatsapp.magiclink-sms"


def test_user_without_methods_cannot_start(caller: Caller, emulator: DescopeEmulator) -> None:
    """There is nothing to step up with."""
    flow = Component(caller, emulator.sign_in("bob").refresh_token)
    assert error_of(flow.start()) == (400, "E011004")


def test_step_up_needs_a_signed_in_user(caller: Caller, flow: Component) -> None:
    """It needs the refresh token, and a flow that exists."""
    assert error_of(Component(caller).start()) == (401, "E061005")
    assert error_of(flow.start("checkout")) == (400, "E011004")


def test_code_is_asked_for_and_sent_again(flow: Component, emulator: DescopeEmulator) -> None:
    """The screen shows the masked address; a new code replaces the first."""
    flow.next("otp-sms")
    assert flow.screen == "verify-code"
    assert flow.reply["screen"]["state"] == {"sentTo": {"maskedPhone": "+1********12"}}
    flow.next("resend")
    assert (len(emulator.outbox), flow.reply["stepId"]) == (2, "1")
    flow.next("submit", code=flow.caller.wrong_code)
    assert flow.text == "The code is wrong."
    flow.next("code", code=emulator.outbox[-1].code)
    assert flow.claims["amr"] == ["email", "sms", "mfa"]


def test_too_many_codes(flow: Component, emulator: DescopeEmulator) -> None:
    """The flow has failed until a new code is asked for."""
    flow.next("otp-email")
    for _ in range(emulator.max_attempts):
        flow.next("submit", code=flow.caller.wrong_code)
    flow.next("submit", code=emulator.outbox[-1].code)
    assert (flow.reply["status"], flow.reply["error"]["code"]) == ("failed", "E061103")
    assert flow.text == "Too many attempts. Ask for a new code."
    flow.next("resend")
    assert (flow.reply["status"], flow.text) == ("waiting", None)
    flow.next("submit", code=emulator.outbox[-1].code)
    assert flow.claims["su"] is True


def test_late_codes_and_flows(flow: Component, emulator: DescopeEmulator, clock: Clock) -> None:
    """An expired code is reported on the screen, an expired flow by an error code."""
    flow.next("otp-email")
    clock.now += 180
    flow.next("submit", code=emulator.outbox[-1].code)
    assert flow.text == "The code has expired. Ask for a new one."
    clock.now += 420
    assert error_of(flow.next("resend")) == (400, "E103205")


def test_too_many_messages(flow: Component, emulator: DescopeEmulator) -> None:
    """The screen says how long to wait."""
    for _ in range(emulator.max_sends):
        flow.next("otp-email")
    flow.next("otp-email")
    assert flow.text == "Too many messages. Try again in 600 seconds."


def test_other_refusals_are_reported_on_the_screen(flow: Component) -> None:
    """A code that is no text, an unknown button, and a method that is not offered."""
    for interaction, text in (
        ("submit", "Choose a method"),
        ("passkey", "The flow does not offer this method"),
        ("resend", "The flow does not offer this method"),
    ):
        flow.next(interaction)
        assert flow.text == text
    flow.next("otp-email")
    flow.next("submit", code=123456)
    assert flow.reply["error"]["code"] == "E011003"


def test_logged_out_session_ends_the_flow(flow: Component, emulator: DescopeEmulator) -> None:
    """No screen can help, so the error code is an HTTP error."""
    flow.next("otp-email")
    flow.caller.post("logout", token=flow.token)
    code = emulator.outbox[-1].code
    assert error_of(flow.next("submit", code=code)) == (401, "E064001")


def test_magic_link_leads_back_to_the_page(flow: Component, emulator: DescopeEmulator) -> None:
    """It carries execution and step, keeps the page's query, and completes both pages."""
    flow.next("magiclink-email")
    assert flow.screen == "magic-link-sent"
    sent = emulator.outbox[-1]
    assert parse_qs(urlsplit(sent.link).query) == {
        "a": ["1"],
        "descope-login-flow": [f"{flow.reply['executionId']}_{flow.reply['stepId']}"],
        "t": [sent.token],
    }
    flow.next("polling")
    assert (flow.reply["action"], flow.reply["status"]) == ("poll", "waiting")
    flow.next("submit", token="0" * 64)
    assert flow.text == "The link has expired or was used. Ask for a new one."
    waiting = dict(flow.reply)
    flow.next("submit", token=sent.token)
    assert flow.claims["su"] is True
    flow.reply = waiting
    flow.next("submit", token=sent.token)
    assert flow.text == "The flow is complete"
    flow.next("polling")
    assert flow.claims["su"] is True
    assert error_of(flow.next("polling")) == (400, "E011004")


def test_screen_of_a_link_is_drawn_anew(flow: Component) -> None:
    """A component starts to poll when it draws a screen, so a resend changes its id."""
    flow.next("magiclink-email")
    seen = [flow.screen]
    for _ in range(2):
        flow.next("resend")
        seen.append(flow.screen)
    assert seen == ["magic-link-sent", "magic-link-sent-again", "magic-link-sent"]
    flow.next("back")
    assert flow.screen.startswith("choose-method.")


def test_passkey(flow: Component, emulator: DescopeEmulator) -> None:
    """The browser is asked, and its answer completes the flow; without one the user reads so."""
    passkey = emulator.passkey(ORIGIN)
    update = {"loginId": ANN, "origin": ORIGIN}
    begun = flow.caller.post("webauthn/update/start", update, token=flow.token).json()
    finish = {
        "transactionId": begun["transactionId"],
        "response": passkey.create(begun["options"]),
    }
    assert flow.caller.post("webauthn/update/finish", finish).is_success
    flow.start()
    flow.next("passkey")
    asked = flow.reply["webauthn"]
    assert (flow.reply["action"], asked["create"]) == ("webauthnGet", False)
    assert flow.screen == ""
    flow.next("submit", transactionId=asked["transactionId"], failure="NotAllowedError")
    assert flow.text == "No passkey was used. Try again or choose another way."
    flow.next("passkey")
    asked = flow.reply["webauthn"]
    response = passkey.get(asked["options"])
    flow.next("submit", transactionId=asked["transactionId"], response=response)
    assert flow.claims["amr"] == ["email", "webauthn", "mfa"]


def test_social_login(flow: Component, emulator: DescopeEmulator) -> None:
    """The provider leads back to the page, with a code or an error."""
    emulator.user(ANN).providers["google"] = True
    flow.start()
    flow.next("oauth-google")
    assert flow.reply["action"] == "redirect"
    step = flow.reply["stepId"]
    flow.next("submit", exchangeError="access_denied")
    assert flow.text == "The provider did not sign you in."
    assert flow.reply["stepId"] != step
    flow.next("oauth-google")
    location = emulator.social_login(flow.reply["redirect"]["url"], ANN)
    returned = parse_qs(urlsplit(location).query)
    assert returned["descope-login-flow"][0].startswith("step-up|#|")
    flow.next("submit", exchangeCode=returned["code"][0])
    assert flow.claims["amr"] == ["email", "oauth", "mfa"]
    assert flow.claims["su"] is True


def test_authenticator_app(flow: Component, emulator: DescopeEmulator) -> None:
    """The code that the app shows completes the flow."""
    emulator.totp_secret(ANN)
    flow.start()
    flow.next("totp")
    assert flow.screen == "verify-totp"
    flow.next("submit", code=emulator.totp_code(ANN))
    assert flow.claims["amr"] == ["email", "totp", "mfa"]


@pytest.mark.parametrize("login_id", [ANN, "bob@example.com"])
def test_sign_up_or_in_by_code(
    welcome: Component, emulator: DescopeEmulator, login_id: str
) -> None:
    """A known and a new user sign in, without a step-up."""
    assert welcome.screen == "sign-up-or-in"
    welcome.next("submit", email=login_id)
    welcome.next("back")
    assert welcome.reply["screen"]["state"] == {"form": {"email": login_id}}
    welcome.next("submit", email=login_id)
    welcome.next("submit", code=emulator.outbox[-1].code)
    assert "su" not in welcome.claims
    assert welcome.claims["sub"] == emulator.user(login_id).user_id


def test_sign_up_or_in_by_link(welcome: Component, emulator: DescopeEmulator) -> None:
    """A message needs an address; the link signs a new user up."""
    welcome.next("magiclink-email")
    assert welcome.text == "Enter your email address."
    welcome.next("magiclink-email", email="bob@example.com")
    welcome.next("submit", token=emulator.outbox[-1].token)
    assert welcome.claims["sub"] == emulator.user("bob@example.com").user_id


def test_sign_up_or_in_by_passkey(welcome: Component, emulator: DescopeEmulator) -> None:
    """A new address registers a passkey, which later signs in without an address."""
    passkey = emulator.passkey(ORIGIN)
    welcome.next("passkey", email="bob@example.com")
    asked = welcome.reply["webauthn"]
    assert welcome.reply["action"] == "webauthnCreate"
    created = passkey.create(asked["options"])
    welcome.next("submit", transactionId=asked["transactionId"], response=created)
    subject = welcome.claims["sub"]
    welcome.start("sign-up-or-in")
    welcome.next("passkey")
    asked = welcome.reply["webauthn"]
    response = passkey.get(asked["options"])
    welcome.next("submit", transactionId=asked["transactionId"], response=response)
    assert welcome.claims["sub"] == subject


def test_start_may_press_a_button(caller: Caller, emulator: DescopeEmulator) -> None:
    """A page that showed the first screen by itself sends its input with the start."""
    welcome = Component(caller)
    welcome.start("sign-up-or-in", interactionId="submit", input={"email": ANN}, options={})
    assert (welcome.screen, emulator.outbox[-1].to) == ("verify-code", ANN)

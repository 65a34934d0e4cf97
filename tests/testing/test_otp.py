"""One-time codes: what the emulator enforces as Descope does."""

import re
from typing import Any

import pytest

from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.testing.conftest import Caller, Clock, error_of

AMR = {"email": "email", "sms": "sms", "voice": "sms", "whatsapp": "whatsapp"}
DELIVERIES = list(AMR)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_code_signs_in_by_each_delivery_method(
    caller: Caller, emulator: DescopeEmulator, delivery: str
) -> None:
    """The reply masks where the code went, and the code gives a session that names the method."""
    started = caller.start(delivery=delivery)
    email, phone = {"maskedEmail": "a**@example.com"}, {"maskedPhone": "+1********12"}
    assert started.json() == (email if delivery == "email" else phone)
    sent = emulator.outbox[-1]
    to = "ann@example.com" if delivery == "email" else "+15550100012"
    assert (delivery, to, "ann@example.com") == (sent.delivery, sent.to, sent.login_id)
    assert re.fullmatch(r"\d{6}", sent.code)
    verified = caller.verify(sent.code, delivery=delivery)
    assert verified.status_code == 200
    claims = caller.post("validate", token=verified.json()["sessionJwt"]).json()["parsedJWT"]
    assert ([AMR[delivery]], "DS", sent.user_id) == (claims["amr"], claims["drn"], claims["sub"])
    assert "su" not in claims


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_code_steps_up_by_each_delivery_method(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens, delivery: str
) -> None:
    """Only the sign-in brings the refresh token; the verification remembers what it is for."""
    caller.start(delivery=delivery, token=ann.refresh_token, stepup=True, customClaims=None)
    assert emulator.outbox[-1].step_up
    reply = caller.verify(emulator.outbox[-1].code, delivery=delivery).json()
    claims = caller.post("validate", token=reply["sessionJwt"]).json()["parsedJWT"]
    assert claims["su"] is True
    both = ["email", AMR[delivery], "mfa"]
    assert claims["amr"] == (["email"] if delivery == "email" else both)


def test_step_up_lasts_as_long_as_its_own_lifetime(caller: Caller, clock: Clock) -> None:
    """A stepped-up session expires after the step-up lifetime, a plain one after its own."""
    emulator = DescopeEmulator(clock=clock, session_lifetime=3600, step_up_lifetime=180)
    caller = Caller(emulator)
    ann = emulator.sign_in("ann@example.com")
    caller.start(token=ann.refresh_token, stepup=True)
    reply = caller.verify(emulator.outbox[-1].code).json()
    assert ann.claims["exp"] == clock.now + 3600
    assert reply["sessionExpiration"] == clock.now + 180


def test_jwt_response_is_complete(caller: Caller, emulator: DescopeEmulator, clock: Clock) -> None:
    """A verification answers with every member of Descope's JWT response."""
    emulator.create_user(
        "bob",
        email="bob@example.com",
        name="Bob",
        roles=["buyer"],
        permissions=["pay"],
        tenants={"T1": {"roles": ["admin"], "permissions": []}},
    )
    caller.start("bob")
    reply = caller.verify(emulator.outbox[-1].code, "bob").json()
    claims = caller.post("validate", token=reply["sessionJwt"]).json()["parsedJWT"]
    month = 28 * 24 * 3600
    assert claims == {
        "amr": ["email"],
        "drn": "DS",
        "exp": clock.now + 600,
        "iat": clock.now,
        "iss": emulator.project_id,
        "permissions": ["pay"],
        "rexp": "2027-02-12T08:00:00Z",
        "roles": ["buyer"],
        "sub": emulator.user("bob").user_id,
        "tenants": {"T1": {"roles": ["admin"], "permissions": []}},
    }
    cookie = {
        "cookieDomain": "",
        "cookiePath": "/",
        "cookieMaxAge": month,
        "cookieExpiration": clock.now + month,
    }
    assert cookie == {name: reply[name] for name in cookie}
    assert (True, clock.now + 600) == (reply["firstSeen"], reply["sessionExpiration"])
    user = reply["user"]
    assert (
        user["loginIds"],
        user["name"],
        user["email"],
        user["verifiedEmail"],
    ) == (["bob"], "Bob", "bob@example.com", True)
    assert user["userTenants"] == [
        {"tenantId": "T1", "tenantName": "T1", "roleNames": ["admin"], "permissions": []}
    ]


def test_only_the_first_sign_in_is_first_seen(caller: Caller, emulator: DescopeEmulator) -> None:
    """`firstSeen` is true once per user."""
    replies = []
    for _ in range(2):
        caller.start()
        replies.append(caller.verify(emulator.outbox[-1].code).json())
    assert [reply["firstSeen"] for reply in replies] == [True, False]


def test_code_works_once(caller: Caller, emulator: DescopeEmulator) -> None:
    """A code that was taken is a wrong code from then on."""
    caller.start()
    code = emulator.outbox[-1].code
    assert caller.verify(code).status_code == 200
    assert error_of(caller.verify(code)) == (401, "E061102")


def test_new_code_makes_the_earlier_one_useless(caller: Caller, emulator: DescopeEmulator) -> None:
    """A user has one live code for all delivery methods."""
    caller.start()
    caller.start(delivery="sms")
    first, second = emulator.outbox
    assert error_of(caller.verify(first.code)) == (401, "E061102")
    assert caller.verify(second.code, delivery="sms").status_code == 200


def test_code_belongs_to_its_delivery_method(caller: Caller, emulator: DescopeEmulator) -> None:
    """A code sent by e-mail does not verify a number."""
    caller.start()
    code = emulator.outbox[-1].code
    assert error_of(caller.verify(code, delivery="sms")) == (401, "E061102")
    assert not emulator.user("ann@example.com").verified_phone


def test_tries_run_out(caller: Caller, emulator: DescopeEmulator) -> None:
    """After the limit even the right code is refused, until a new one is sent."""
    caller.start()
    code, wrong = emulator.outbox[-1].code, caller.wrong_code
    for _ in range(emulator.max_attempts):
        assert error_of(caller.verify(wrong)) == (401, "E061102")
    assert error_of(caller.verify(code)) == (401, "E061103")
    caller.start()
    assert caller.verify(emulator.outbox[-1].code).status_code == 200


def test_code_expires(caller: Caller, emulator: DescopeEmulator, clock: Clock) -> None:
    """A code is good until its lifetime is over."""
    caller.start()
    clock.now += emulator.code_lifetime
    assert error_of(caller.verify(emulator.outbox[-1].code)) == (401, "E061104")


def test_sends_run_out_for_a_while(caller: Caller, emulator: DescopeEmulator, clock: Clock) -> None:
    """Too many codes to one user answer 429 with the seconds to wait."""
    for _ in range(emulator.max_sends):
        assert caller.start().status_code == 200
    clock.now += 100.5
    refused = caller.start()
    assert error_of(refused) == (429, "E130429")
    assert refused.headers["retry-after"] == "500"
    assert len(emulator.outbox) == emulator.max_sends
    clock.now += 500
    assert caller.start().status_code == 200


def test_no_reply_holds_the_code(caller: Caller, emulator: DescopeEmulator) -> None:
    """The code is in the outbox and nowhere else, `repr` included."""
    started = caller.start()
    refused = caller.verify(caller.wrong_code)
    sent = emulator.outbox[-1]
    for text in (started.text, refused.text, repr(sent), str(sent)):
        assert sent.code not in text
        assert "ann@example.com" not in text


@pytest.mark.parametrize("action", ["signup", "signup-in"])
def test_sign_up_creates_the_user(caller: Caller, emulator: DescopeEmulator, action: str) -> None:
    """A new login id becomes a user, with what the request says about them."""
    body = {
        "loginId": "bob",
        "user": {"name": "Bob", "email": "bob@example.com", "phone": "+15550100099"},
        "email": "bob@example.com",
    }
    assert caller.post(f"otp/{action}/email", body).json() == {"maskedEmail": "b**@example.com"}
    bob = emulator.user("bob")
    assert (bob.name, bob.email, bob.phone) == ("Bob", "bob@example.com", "+15550100099")
    assert caller.verify(emulator.outbox[-1].code, "bob").json()["user"]["userId"] == bob.user_id


@pytest.mark.parametrize(("key", "delivery"), [("phone", "sms"), ("voice", "voice")])
def test_sign_up_takes_the_number_under_each_name(
    caller: Caller, emulator: DescopeEmulator, key: str, delivery: str
) -> None:
    """The Python SDK sends the number as `phone`, `voice` or `whatsapp`."""
    caller.post(f"otp/signup/{delivery}", {"loginId": "bob", key: "+15550100099"})
    assert emulator.user("bob").phone == "+15550100099"


def test_sign_up_of_a_known_user_is_refused(caller: Caller, emulator: DescopeEmulator) -> None:
    """Sign-up is for new users only."""
    assert error_of(caller.start(action="signup")) == (400, "E062107")
    assert emulator.outbox == []


def test_sign_up_or_in_signs_a_known_user_in(caller: Caller, emulator: DescopeEmulator) -> None:
    """Sign-up-or-in of a known login id is a sign-in."""
    assert caller.start(action="signup-in").status_code == 200
    assert emulator.outbox[-1].user_id == emulator.user("ann@example.com").user_id


def test_failed_sign_up_creates_no_user(caller: Caller, emulator: DescopeEmulator) -> None:
    """A code that cannot be sent leaves no user behind."""
    assert error_of(caller.start("bob", action="signup")) == (400, "E011002")
    assert error_of(caller.start("bob")) == (400, "E062108")


@pytest.mark.parametrize("path", ["otp/signin/email", "otp/verify/email"])
def test_unknown_user_is_refused(caller: Caller, path: str) -> None:
    """Sign-in and verification are for known users."""
    refused = caller.post(path, {"loginId": "bob@example.com", "code": "123456"})
    assert error_of(refused) == (400, "E062108")


def test_delivery_needs_an_address(caller: Caller, emulator: DescopeEmulator) -> None:
    """A user without a number gets no text message."""
    emulator.create_user("bob@example.com")
    assert error_of(caller.start("bob@example.com", "sms")) == (400, "E011002")


@pytest.mark.parametrize("flag", ["stepup", "mfa"])
def test_step_up_and_mfa_need_a_refresh_token(caller: Caller, ann: Tokens, flag: str) -> None:
    """Neither nothing nor a session token will do."""
    body = {"loginId": "ann@example.com", "loginOptions": {flag: True}}
    assert error_of(caller.post("otp/signin/email", body)) == (400, "E011002")
    refused = caller.post("otp/signin/email", body, token=ann.session_token)
    assert error_of(refused) == (401, "E061005")


def test_step_up_is_for_the_user_of_the_refresh_token(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """A refresh token cannot step up another user's login id."""
    emulator.create_user("bob@example.com")
    refused = caller.start("bob@example.com", token=ann.refresh_token, stepup=True)
    assert error_of(refused) == (400, "E011004")
    assert emulator.outbox == []


def test_step_up_takes_any_login_id_of_the_user(caller: Caller, emulator: DescopeEmulator) -> None:
    """The login id need not be the one the user signed in with."""
    emulator.create_user("bob", login_ids=["bob@example.com", "+15550100099"])
    bob = emulator.sign_in("bob")
    reply = caller.start("+15550100099", "sms", token=bob.refresh_token, stepup=True)
    assert reply.json() == {"maskedPhone": "+1********99"}


def test_mfa_joins_the_factors_without_step_up(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """`mfa` alone adds a factor and no `su`; a factor is named once."""
    caller.start(delivery="sms", token=ann.refresh_token, mfa=True)
    reply = caller.verify(emulator.outbox[-1].code, delivery="sms").json()
    caller.start(delivery="sms", token=reply["refreshJwt"], mfa=True)
    reply = caller.verify(emulator.outbox[-1].code, delivery="sms").json()
    claims = caller.post("validate", token=reply["sessionJwt"]).json()["parsedJWT"]
    assert claims["amr"] == ["email", "sms", "mfa"]
    assert "su" not in claims


def test_custom_claims_cannot_pose_as_step_up(caller: Caller, emulator: DescopeEmulator) -> None:
    """Claims that a caller chooses are nested, and stay through a refresh."""
    caller.start(customClaims={"su": True})
    reply = caller.verify(emulator.outbox[-1].code).json()
    refreshed = caller.post("refresh", token=reply["refreshJwt"]).json()
    for session_jwt in (reply["sessionJwt"], refreshed["sessionJwt"]):
        claims = caller.post("validate", token=session_jwt).json()["parsedJWT"]
        assert claims["nsec"] == {"su": True}
        assert "su" not in claims


def test_malformed_body_is_refused(caller: Caller, subtests: pytest.Subtests) -> None:
    """A member of the wrong type is answered with E011003 and sends nothing."""
    rows: dict[str, dict[str, Any]] = {
        "empty": {},
        "empty-login-id": {"loginId": ""},
        "login-id-number": {"loginId": 1},
        "options-list": {"loginId": "ann@example.com", "loginOptions": [1]},
        "stepup-text": {"loginId": "ann@example.com", "loginOptions": {"stepup": "true"}},
        "claims-text": {"loginId": "ann@example.com", "loginOptions": {"customClaims": "x"}},
        "tenant-number": {"loginId": "ann@example.com", "loginOptions": {"tenantId": 1}},
    }
    for name, body in rows.items():
        with subtests.test(name):
            assert error_of(caller.post("otp/signin/email", body)) == (400, "E011003")
            assert caller.emulator.outbox == []


def test_code_must_be_text(caller: Caller) -> None:
    """A code that is a JSON number is malformed and costs no try."""
    refused = caller.post("otp/verify/email", {"loginId": "ann@example.com", "code": 123456})
    assert error_of(refused) == (400, "E011003")


@pytest.mark.parametrize("action", ["signup", "signin", "signup-in", "verify"])
def test_unknown_delivery_method_is_not_found(caller: Caller, action: str) -> None:
    """Only the four delivery methods have endpoints."""
    body = {"loginId": "bob@example.com" if action == "signup" else "ann@example.com", "code": "1"}
    assert error_of(caller.post(f"otp/{action}/pigeon", body)) == (404, "E011001")


def test_emulator_tells_which_code_still_works(
    caller: Caller, emulator: DescopeEmulator, clock: Clock
) -> None:
    """A code is live until it is used, replaced or expired."""
    caller.start()
    first = emulator.outbox[-1]
    assert emulator.is_live(first)
    caller.start()
    second = emulator.outbox[-1]
    assert [emulator.is_live(message) for message in (first, second)] == [False, True]
    caller.verify(second.code)
    assert not emulator.is_live(second)

    caller.start()
    clock.now += 3600
    assert not emulator.is_live(emulator.outbox[-1])

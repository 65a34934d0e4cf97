"""Passkeys: the calls, what is verified, and the software authenticator."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from fastapi_stepup.testing import DescopeEmulator, SoftwarePasskey, Tokens
from fastapi_stepup.testing.authenticators.cbor import encoded
from fastapi_stepup.testing.authenticators.webauthn import base64url, from_base64url
from tests.testing.conftest import Caller, Clock, error_of

ANN = "ann@example.com"
ORIGIN = "https://shop.example"
REFUSED = (400, "E011004")


class Browser:
    """A browser with a passkey, on a page of an app that calls Descope."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.passkey = SoftwarePasskey(ORIGIN)

    def start(self, action: str, body: dict[str, Any] | None = None, *, token: str = "") -> Any:
        """Start, and return the reply when it is good."""
        asked = {"loginId": ANN, "origin": ORIGIN} if body is None else body
        started = self.caller.post(f"webauthn/{action}/start", asked, token=token)
        assert started.status_code == 200, started.text
        return started.json()

    def finish(self, action: str, start: Any, answer: str) -> httpx2.Response:
        """Finish with an answer."""
        body = {"transactionId": start["transactionId"], "response": answer}
        return self.caller.post(f"webauthn/{action}/finish", body)

    def register(self, ann: Tokens, **more: object) -> httpx2.Response:
        """Give Ann a passkey."""
        body = {"loginId": ANN, "origin": ORIGIN, **more}
        start = self.start("update", body, token=ann.refresh_token)
        assert start["create"] is True
        return self.finish("update", start, self.passkey.create(start["options"]))

    def sign_in(self, change: Callable[[str], str] = str, **options: str) -> httpx2.Response:
        """Sign Ann in, with the answer changed before it is sent."""
        start = self.start("signin")
        return self.finish("signin", start, change(self.passkey.get(start["options"], **options)))


@pytest.fixture
def browser(caller: Caller) -> Browser:
    """A browser on the app's page."""
    return Browser(caller)


def test_passkey_steps_up(browser: Browser, ann: Tokens) -> None:
    """The start brings the refresh token; the finish gives the session."""
    assert browser.register(ann).json() == {}
    body = {"loginId": ANN, "origin": ORIGIN, "loginOptions": {"stepup": True}}
    start = browser.start("signin", body, token=ann.refresh_token)
    options = json.loads(start["options"])["publicKey"]
    assert start["create"] is False
    assert (options["rpId"], len(options["allowCredentials"])) == ("shop.example", 1)
    reply = browser.finish("signin", start, browser.passkey.get(start["options"])).json()
    claims = browser.caller.claims(reply["sessionJwt"])
    assert (claims["su"], claims["amr"]) == (True, ["email", "webauthn", "mfa"])
    assert reply["user"]["webauthn"] is True


def test_passkey_steps_up_without_a_login_id(browser: Browser, ann: Tokens) -> None:
    """The refresh token says who it is."""
    browser.register(ann)
    body = {"loginId": "", "origin": ORIGIN, "loginOptions": {"stepup": True}}
    start = browser.start("signin", body, token=ann.refresh_token)
    assert browser.finish("signin", start, browser.passkey.get(start["options"])).is_success


def test_passkey_says_who_it_is(browser: Browser, ann: Tokens) -> None:
    """A sign-in without login id takes any passkey of the site."""
    browser.register(ann)
    start = browser.start("signin", {"origin": ORIGIN})
    assert json.loads(start["options"])["publicKey"]["allowCredentials"] == []
    reply = browser.finish("signin", start, browser.passkey.get(start["options"])).json()
    assert reply["user"]["userId"] == ann.user_id


def test_user_signs_up_by_passkey(browser: Browser, emulator: DescopeEmulator) -> None:
    """The user exists when the passkey does; sign-up-or-in answers which of the two is due."""
    bob = {"loginId": "bob", "origin": ORIGIN}
    start = browser.start("signup", {"user": {"loginId": "bob", "name": "Bob"}, "origin": ORIGIN})
    again = browser.start("signup-in", bob)
    assert start["create"] is again["create"] is True
    options = json.loads(start["options"])["publicKey"]
    assert (options["user"]["displayName"], options["attestation"]) == ("Bob", "none")
    with pytest.raises(LookupError):
        emulator.user("bob")
    answer = browser.passkey.create(start["options"])
    reply = browser.finish("signup", start, answer).json()
    assert browser.caller.claims(reply["sessionJwt"])["amr"] == ["webauthn"]
    assert browser.start("signup-in", bob)["create"] is False
    answer = browser.passkey.create(again["options"])
    assert error_of(browser.finish("signup", again, answer)) == (400, "E062107")


def test_update_with_mfa_gives_a_session(browser: Browser, ann: Tokens) -> None:
    """Its session joins the factors and is nested; without `mfa` there is none."""
    reply = browser.register(ann, mfa=True).json()
    assert browser.caller.claims(reply["jwt"]["sessionJwt"])["amr"] == ["email", "webauthn", "mfa"]


def test_passkey_is_registered_once(browser: Browser, ann: Tokens) -> None:
    """Options exclude what there is, the authenticator obeys, and the emulator looks itself."""
    browser.register(ann)
    start = browser.start("update", token=ann.refresh_token)
    with pytest.raises(ValueError, match="exclude"):
        browser.passkey.create(start["options"])
    other = SoftwarePasskey(ORIGIN)
    answer = other.create(start["options"])
    browser.finish("update", start, answer)
    start = browser.start("update", token=ann.refresh_token)
    options = json.loads(start["options"])
    decoded = json.loads(answer)
    data = json.loads(from_base64url(decoded["response"]["clientDataJSON"]))
    data["challenge"] = options["publicKey"]["challenge"]
    decoded["response"]["clientDataJSON"] = base64url(json.dumps(data).encode())
    assert error_of(browser.finish("update", start, json.dumps(decoded))) == REFUSED


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"loginId": ANN, "origin": ORIGIN}, id="no-passkey"),
        pytest.param({"loginId": "", "origin": "shop.example"}, id="no-url"),
    ],
)
def test_start_is_refused(caller: Caller, body: dict[str, str]) -> None:
    """A user without a passkey has nothing to answer with, and an origin is a URL."""
    assert error_of(caller.post("webauthn/signin/start", body)) == REFUSED


def test_transaction_is_used_once(browser: Browser, ann: Tokens) -> None:
    """A second answer, and one to a transaction of another kind, are refused."""
    browser.register(ann)
    start = browser.start("signin")
    answer = browser.passkey.get(start["options"])
    assert browser.finish("signin", start, answer).is_success
    assert error_of(browser.finish("signin", start, answer)) == REFUSED
    start = browser.start("signin")
    assert error_of(browser.finish("update", start, answer)) == REFUSED


def test_transaction_expires(browser: Browser, ann: Tokens, clock: Clock) -> None:
    """An answer that comes too late is refused."""
    browser.register(ann)
    start = browser.start("signin")
    clock.now += browser.caller.emulator.code_lifetime
    answer = browser.passkey.get(start["options"])
    assert error_of(browser.finish("signin", start, answer)) == REFUSED


def changed(answer: str, member: str, change: Callable[[bytes], bytes]) -> str:
    """Return an answer with one binary member changed."""
    decoded = json.loads(answer)
    value = change(from_base64url(decoded["response"][member]))
    decoded["response"][member] = base64url(value)
    return json.dumps(decoded)


def edited(answer: str, **members: object) -> str:
    """Return an answer with members of its client data changed."""

    def edit(data: bytes) -> bytes:
        return json.dumps({**json.loads(data), **members}).encode()

    return changed(answer, "clientDataJSON", edit)


FORGERIES = [
    pytest.param(lambda answer: "{", "JSON object", id="not-json"),
    pytest.param(lambda answer: "[]", "JSON object", id="list"),
    pytest.param(lambda answer: "{}", "Unknown passkey", id="empty"),
    pytest.param(
        lambda answer: json.dumps({"id": json.loads(answer)["id"]}), "no response", id="no-response"
    ),
    pytest.param(
        lambda answer: json.dumps({"id": json.loads(answer)["id"], "response": {}}),
        "no clientDataJSON",
        id="no-members",
    ),
    pytest.param(lambda answer: edited(answer, origin="https://evil.example"), "else", id="origin"),
    pytest.param(lambda answer: edited(answer, challenge="AAAA"), "else", id="challenge"),
    pytest.param(lambda answer: edited(answer, type="webauthn.create"), "else", id="type"),
    pytest.param(lambda answer: edited(answer, crossOrigin=True), "signature", id="signature"),
    pytest.param(
        lambda answer: changed(answer, "clientDataJSON", lambda _: b"[]"), "else", id="data-list"
    ),
    pytest.param(
        lambda answer: changed(answer, "authenticatorData", lambda data: bytes(32) + data[32:]),
        "relying party",
        id="rp-id",
    ),
    pytest.param(
        lambda answer: changed(
            answer, "authenticatorData", lambda data: data[:32] + b"\4" + data[33:]
        ),
        "present",
        id="user-present",
    ),
    pytest.param(
        lambda answer: changed(answer, "authenticatorData", lambda data: data[:32]),
        "present",
        id="short",
    ),
    pytest.param(lambda answer: answer.replace('"signature": "', '"signature": "*'), "", id="text"),
]


@pytest.mark.parametrize(("forge", "reason"), FORGERIES)
def test_forged_assertion_is_refused(
    browser: Browser, ann: Tokens, forge: Callable[[str], str], reason: str
) -> None:
    """Each thing that is checked is checked, and the refusal says which it was."""
    browser.register(ann)
    refused = browser.sign_in(forge)
    assert error_of(refused) == REFUSED
    assert reason in refused.json()["errorMessage"]
    assert browser.sign_in().is_success


def test_phished_assertion_is_refused(browser: Browser, ann: Tokens) -> None:
    """An answer made on another origin does not work, though its signature is good."""
    browser.register(ann)
    refused = browser.sign_in(origin="https://evil.example")
    assert "else" in refused.json()["errorMessage"]


def test_passkey_of_another_user_is_refused(browser: Browser, ann: Tokens) -> None:
    """Ann's sign-in takes Ann's passkeys."""
    browser.register(ann)
    bob = SoftwarePasskey(ORIGIN)
    start = browser.start("signup", {"user": {"loginId": "bob"}, "origin": ORIGIN})
    browser.finish("signup", start, bob.create(start["options"]))
    start = browser.start("signin")
    options = json.loads(start["options"])["publicKey"] | {"allowCredentials": []}
    assert error_of(browser.finish("signin", start, bob.get(options))) == REFUSED


def test_cloned_passkey_is_refused(browser: Browser, ann: Tokens) -> None:
    """A sign count that does not go on means that there are two."""
    browser.register(ann)
    assert browser.sign_in().is_success
    browser.passkey.sign_count -= 1
    assert "cloned" in browser.sign_in().json()["errorMessage"]
    assert browser.sign_in().is_success


def test_passkey_without_a_count_is_good(browser: Browser, ann: Tokens) -> None:
    """An authenticator that does not count says zero each time."""
    browser.passkey.sign_count = -1
    browser.register(ann)
    for _try in range(2):
        browser.passkey.sign_count = -1
        assert browser.sign_in().is_success


def attested(answer: str, **changes: Any) -> str:
    """Return a registration whose attestation is replaced."""
    decoded = json.loads(answer)
    decoded["response"]["attestationObject"] = base64url(encoded(changes["attestation"]))
    return json.dumps(decoded)


def with_key(key: Any) -> Callable[[str], str]:
    """Return a forgery that puts *key* where the credential's is."""

    def forge(answer: str) -> str:
        def change(data: bytes) -> bytes:
            found = data.index(encoded({1: 2, 3: -7, -1: 1})[1:])
            return data[: found - 1] + encoded(key)

        # The authenticator data are the last member, so their length may stay.
        decoded = json.loads(answer)
        raw = from_base64url(decoded["response"]["attestationObject"])
        data = raw[raw.index(b"authData") + 10 :]
        return attested(answer, attestation={"fmt": "none", "authData": change(data)})

    return forge


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        pytest.param(lambda answer: attested(answer, attestation=7), "no credential", id="number"),
        pytest.param(lambda answer: attested(answer, attestation={}), "no credential", id="empty"),
        pytest.param(with_key(7), "not an ES256 key", id="no-key"),
        pytest.param(with_key({1: 3, 3: -257}), "not an ES256 key", id="rsa"),
        pytest.param(with_key({1: 2, 3: -7, -1: 1, -2: 1, -3: 1}), "no point", id="no-point"),
        pytest.param(
            with_key({1: 2, 3: -7, -1: 1, -2: b"\1", -3: b"\1"}), "refused", id="off-curve"
        ),
    ],
)
def test_forged_registration_is_refused(
    browser: Browser, ann: Tokens, forge: Callable[[str], str], reason: str
) -> None:
    """An attestation without an ES256 key on the curve registers nothing."""
    start = browser.start("update", token=ann.refresh_token)
    refused = browser.finish("update", start, forge(browser.passkey.create(start["options"])))
    assert error_of(refused) == REFUSED
    assert reason in refused.json()["errorMessage"]
    assert not browser.caller.emulator.user(ANN).passkeys


def test_registration_needs_a_credential(browser: Browser, ann: Tokens) -> None:
    """Authenticator data of an assertion register nothing."""
    browser.register(ann)
    start = browser.start("signin")
    asserted = json.loads(browser.passkey.get(start["options"]))
    data = from_base64url(asserted["response"]["authenticatorData"])
    start = browser.start("update", token=ann.refresh_token)
    answer = SoftwarePasskey(ORIGIN).create(start["options"])
    forged = attested(answer, attestation={"fmt": "none", "authData": data})
    refused = browser.finish("update", start, forged)
    assert "no credential" in refused.json()["errorMessage"]


def test_software_passkey_is_of_its_site(browser: Browser, ann: Tokens) -> None:
    """It answers for its host and what that is part of, with options wrapped or bare."""
    browser.register(ann)
    start = browser.start("signin")
    options = json.loads(start["options"])["publicKey"]
    evil = SoftwarePasskey("https://evil.example", user_verified=False)
    with pytest.raises(ValueError, match=r"'shop\.example'.*evil\.example"):
        evil.get(options)
    with pytest.raises(LookupError, match="holds no credential"):
        SoftwarePasskey("https://pay.shop.example").get(options)
    assert browser.finish("signin", start, browser.passkey.get(options)).is_success
    assert repr(evil) == "SoftwarePasskey('https://evil.example')"
    created = json.loads(evil.create({"challenge": "AAAA", "rp": {}, "user": {"id": "AAAA"}}))
    got = json.loads(evil.get({"challenge": "AAAA"}))
    assert created["id"] == got["id"]
    assert from_base64url(got["response"]["authenticatorData"])[32] == 1

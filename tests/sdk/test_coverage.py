"""Every call of the official SDKs either works against the emulator or is listed as missing."""

import inspect
import re
from typing import Any

import pytest
from descope import AccessKeyLoginOptions, DeliveryMethod, SignUpOptions

from fastapi_stepup.testing import DescopeEmulator, SoftwarePasskey
from tests.sdk.node_sdk import needs_node_sdk, report_of_node
from tests.sdk.python_client import SDKClient, settled
from tests.sdk.served import Served, Shop
from tests.sdk.test_python_methods import PAGE, code_of

METHODS = (
    "enchantedlink",
    "magiclink",
    "oauth",
    "otp",
    "password",
    "saml",
    "sso",
    "totp",
    "webauthn",
)
# Calls that read tokens or the client, and send no request.
LOCAL = re.compile(
    r"(validate|get_matched)_(tenant_)?(permissions|roles)|get_last_response|aopen|aclose"
)
LOCAL_NODE = re.compile(
    r"(validate|getMatched)(Tenant)?(Permissions|Roles)|isJwtExpired|validateJwt|httpClient\..+"
    r"|get(Tenants|JwtPermissions|JwtRoles|CurrentTenant)"
)
ORIGIN = "https://shop.example"
EMAIL, SMS = DeliveryMethod.EMAIL, DeliveryMethod.SMS
PASSWORD, NEW_PASSWORD = "correct horse", "battery staple"


def missing() -> set[str]:
    """Return what the emulator's docstring lists as not there."""
    text = inspect.cleandoc(DescopeEmulator.__doc__ or "")
    listed = re.search(r"^Not there.*?^Args:", text, re.MULTILINE | re.DOTALL)
    assert listed
    names = re.findall(r"^- ((?:`[\w.]+`(?:, )?)+):", listed[0], re.MULTILINE)
    return set(re.findall(r"[\w.]+", " ".join(names)))


class Recorder:
    """An SDK's client that notes which of its calls were made and answered."""

    def __init__(self, target: Any, prefix: str = "", seen: set[str] | None = None) -> None:
        self._target = target
        self._prefix = prefix
        self.seen = set() if seen is None else seen

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not inspect.ismethod(value):
            return Recorder(value, f"{name}.", self.seen)

        async def call(*arguments: Any, **named: Any) -> Any:
            answer = await settled(value(*arguments, **named))
            self.seen.add(self._prefix + name)
            return answer

        return call


def calls_of(client: Any) -> set[str]:
    """Return the names of all calls that the Python SDK's client offers and that ask a server."""
    own = {name for name, _ in inspect.getmembers(client, inspect.ismethod)}
    calls = {name for name in own if not name.startswith("_") and not LOCAL.fullmatch(name)}
    for method in METHODS:
        members = inspect.getmembers(getattr(client, method), callable)
        calls |= {f"{method}.{name}" for name, _ in members if not name.startswith("_")}
    return calls


class Calls:
    """Makes every call of the Python SDK."""

    def __init__(self, descope: Any, emulator: DescopeEmulator) -> None:
        self.descope = descope
        self.emulator = emulator

    @property
    def code(self) -> str:
        """The latest code."""
        return self.emulator.outbox[-1].code

    @property
    def token(self) -> str:
        """The token of the latest link."""
        return self.emulator.outbox[-1].token

    async def by_code(self) -> str:
        """Use one-time codes and return a refresh token."""
        otp = self.descope.otp
        await otp.sign_up(EMAIL, "otp@example.com", {"phone": "+15550100001"})
        await otp.verify_code(EMAIL, "otp@example.com", self.code)
        await otp.sign_in(SMS, "otp@example.com")
        await otp.sign_up_or_in(EMAIL, "otp@example.com", SignUpOptions(custom_claims={"a": 1}))
        session = await otp.verify_code(EMAIL, "otp@example.com", self.code)
        refresh_token: str = session["refreshSessionToken"]["jwt"]
        await otp.update_user_email("otp@example.com", "new@example.com", refresh_token)
        await otp.verify_code(EMAIL, "otp@example.com", self.code)
        await otp.update_user_phone(SMS, "otp@example.com", "+15550100002", refresh_token)
        await otp.verify_code(SMS, "otp@example.com", self.code)
        user = self.emulator.user("otp@example.com")
        assert (user.email, user.phone) == ("new@example.com", "+15550100002")
        return refresh_token

    async def by_authenticator(self) -> None:
        """Use an authenticator app."""
        totp = self.descope.totp
        await totp.sign_up("totp@example.com", {"name": "T"})
        code = self.emulator.totp_code("totp@example.com")
        session = await totp.sign_in_code("totp@example.com", code)
        await totp.update_user("totp@example.com", session["refreshSessionToken"]["jwt"])

    async def by_magic_link(self) -> None:
        """Use magic links."""
        link = self.descope.magiclink
        login_id = "magic@example.com"
        await link.sign_up(EMAIL, login_id, PAGE, {"name": "M"}, SignUpOptions())
        await link.verify(self.token)
        await link.sign_up_or_in(EMAIL, login_id, PAGE)
        await link.sign_in(EMAIL, login_id, PAGE)
        session = await link.verify(self.token)
        refresh_token = session["refreshSessionToken"]["jwt"]
        await link.update_user_email(login_id, "m@example.com", refresh_token)
        await link.verify(self.token)
        await link.update_user_phone(SMS, login_id, "+15550100003", refresh_token)
        await link.verify(self.token)
        user = self.emulator.user(login_id)
        assert (user.email, user.phone) == ("m@example.com", "+15550100003")

    async def by_enchanted_link(self) -> None:
        """Use enchanted links."""
        link = self.descope.enchantedlink
        login_id, phone = "link@example.com", "+15550100004"
        await self._clicked(await link.sign_up(login_id, PAGE, {}))
        await self._clicked(await link.sign_up_or_in(login_id, PAGE))
        session = await self._clicked(await link.sign_in(login_id, PAGE))
        refresh_token = session["refreshSessionToken"]["jwt"]
        update = await link.update_user_email(login_id, "l@example.com", refresh_token)
        await self._clicked(update)
        update = await link.update_user_phone(login_id, "+15550100005", refresh_token)
        await self._clicked(update)
        await self._clicked(await link.sign_up_with_phone(phone, PAGE))
        await self._clicked(await link.sign_up_or_in_with_phone(phone, PAGE))
        await self._clicked(await link.sign_in_with_phone(phone, PAGE))

    async def _clicked(self, started: dict[str, Any]) -> dict[str, Any]:
        await self.descope.enchantedlink.verify(self.token)
        session: dict[str, Any] = await self.descope.enchantedlink.get_session(
            started["pendingRef"]
        )
        return session

    async def by_passkey(self) -> None:
        """Use passkeys."""
        webauthn = self.descope.webauthn
        passkey = SoftwarePasskey(ORIGIN)
        login_id = "key@example.com"
        start = await webauthn.sign_up_start(login_id, ORIGIN, {"name": "K"})
        answer = passkey.create(start["options"])
        session = await webauthn.sign_up_finish(start["transactionId"], answer)
        refresh_token = session["refreshSessionToken"]["jwt"]
        start = await webauthn.sign_up_or_in_start(login_id, ORIGIN)
        assert start["create"] is False
        start = await webauthn.sign_in_start(login_id, ORIGIN)
        answer = passkey.get(start["options"])
        await webauthn.sign_in_finish(start["transactionId"], answer)
        start = await webauthn.update_start(login_id, refresh_token, ORIGIN, mfa=True)
        answer = SoftwarePasskey(ORIGIN).create(start["options"])
        session = await webauthn.update_finish(start["transactionId"], answer)
        assert session["sessionToken"]["amr"] == ["webauthn"]
        start = await webauthn.update_start(login_id, refresh_token, ORIGIN)
        answer = SoftwarePasskey(ORIGIN).create(start["options"])
        assert await webauthn.update_finish(start["transactionId"], answer) is None

    async def by_provider(self) -> None:
        """Use social login, SSO and SAML."""
        for method, name in (("oauth", "github"), ("sso", "T1"), ("saml", "T1")):
            calls = getattr(self.descope, method)
            start = await calls.start(name, PAGE)
            location = self.emulator.social_login(start["url"], f"{method}@example.com")
            await calls.exchange_token(code_of(location))

    async def by_password(self) -> None:
        """Use passwords."""
        password = self.descope.password
        login_id = "pwd@example.com"
        assert (await password.get_policy())["minLength"] <= len(PASSWORD)
        await password.sign_up(login_id, PASSWORD, {"email": login_id})
        await password.replace(login_id, PASSWORD, NEW_PASSWORD)
        session = await password.sign_in(login_id, NEW_PASSWORD)
        await password.update(login_id, PASSWORD, session["refreshSessionToken"]["jwt"])
        await password.send_reset(login_id, PAGE)
        assert self.emulator.outbox[-1].link.startswith(PAGE)

    async def of_the_session(self, refresh_token: str) -> None:
        """Use what a signed-in user may ask, and an access key."""
        descope = self.descope
        self.emulator.user("otp@example.com").tenants = {"T1": {}}
        assert await descope.my_tenants(refresh_token, ids=["T1"]) == {
            "tenants": [{"id": "T1", "name": "T1", "customAttributes": {}}]
        }
        selected = await descope.select_tenant("T1", refresh_token)
        assert selected["sessionToken"]["dct"] == "T1"
        assert (await descope.history(refresh_token))[0]["userId"] == selected["userId"]
        refreshed = await descope.refresh_session(refresh_token)
        session_token = refreshed["sessionToken"]["jwt"]
        await descope.validate_session(session_token)
        await descope.validate_and_refresh_session(session_token, refresh_token)
        await descope.me(refresh_token)
        key = self.emulator.create_access_key(roles=["job"])
        options = AccessKeyLoginOptions({"a": 1}, "T1")
        machine = await descope.exchange_access_key(key.secret, login_options=options)
        assert (machine["keyId"], machine["roles"]) == (key.key_id, ["job"])
        await descope.logout(selected["refreshSessionToken"]["jwt"])
        again = self.emulator.sign_in("otp@example.com")
        await descope.logout_all(again.refresh_token)


@pytest.mark.parametrize("settings", [{"max_sends": 100}], indirect=True, ids=["default"])
def test_every_call_of_the_python_sdk_works(sdk: SDKClient) -> None:
    """Each call of the methods and of the session is answered as the SDK wants it."""

    async def scenario(descope: Any) -> None:
        recorder = Recorder(descope)
        calls = Calls(recorder, sdk.served.emulator)
        refresh_token = await calls.by_code()
        await calls.by_authenticator()
        await calls.by_magic_link()
        await calls.by_enchanted_link()
        await calls.by_passkey()
        await calls.by_provider()
        await calls.by_password()
        await calls.of_the_session(refresh_token)
        assert calls_of(descope) - missing() == recorder.seen

    sdk.run(scenario)


@needs_node_sdk
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"max_sends": 100}, id="body"),
        pytest.param({"max_sends": 100, "response_mode": "cookies"}, id="cookies"),
    ],
    indirect=True,
)
def test_every_call_of_the_node_sdk_works(served: Served, shop: Shop) -> None:
    """Each call is answered as the SDK wants it, and each method steps the session up."""
    report = report_of_node("calls.mjs", served)
    offered = {name for name in report["offered"] if not LOCAL_NODE.fullmatch(name)}
    assert offered - missing() == set(report["seen"]) & offered
    assert all(step_up["su"] is True for step_up in report["step_ups"].values())
    amr = {name: step_up["amr"] for name, step_up in report["step_ups"].items()}
    email, sms, whatsapp = ["email"], ["email", "sms", "mfa"], ["email", "whatsapp", "mfa"]
    federated = ["email", "fed", "mfa"]
    assert amr == {
        "otp email": email,
        "otp sms": sms,
        "otp voice": sms,
        "otp whatsapp": whatsapp,
        "otp im": sms,
        "totp": ["email", "totp", "mfa"],
        "magic link email": email,
        "magic link sms": sms,
        "magic link whatsapp": whatsapp,
        "enchanted link": email,
        "notp": whatsapp,
        "webauthn": ["email", "webauthn", "mfa"],
        "oauth": ["email", "oauth", "mfa"],
        "sso": federated,
        "saml": federated,
        "flow": email,
    }
    assert all(map(shop.accepts, report["tokens"].values()))


def test_what_is_missing_is_offered_by_an_sdk() -> None:
    """The docstring lists these calls and no others."""
    assert missing() == {
        "management",
        "mgmt",
        "oauth.startNative",
        "oauth.finishNative",
        "oauth.getOneTapClientId",
        "oauth.verifyOneTapIDToken",
        "oauth.exchangeOneTapIDToken",
        "outbound.connect",
    }

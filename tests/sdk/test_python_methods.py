"""Descope's Python SDK, both clients, steps up by every method that it has."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import pytest
from descope import DeliveryMethod

from tests.sdk.python_client import EMAIL, LOGIN_ID, STEP_UP, SDKClient, refused, settled
from tests.sdk.served import Shop

PAGE = "https://shop.example/welcome"
PHONE = "+15550100012"
TENANT = "T1"

Method: TypeAlias = Callable[[SDKClient, Any, str], Awaitable[dict[str, Any]]]


def code_of(location: str) -> str:
    """Return the code in the address that a provider leads back to."""
    return parse_qs(urlsplit(location).query)["code"][0]


async def totp(sdk: SDKClient, descope: Any, refresh_token: str) -> dict[str, Any]:
    """Step up by an authenticator app, enrolled just now."""
    enrolled = await settled(descope.totp.update_user(LOGIN_ID, refresh_token))
    assert enrolled["key"] in enrolled["provisioningURL"]
    code = sdk.served.emulator.totp_code(LOGIN_ID)
    answer = descope.totp.sign_in_code(LOGIN_ID, code, STEP_UP, refresh_token)
    session: dict[str, Any] = await settled(answer)
    return session


def magic_link(delivery: str) -> Method:
    """Return the step-up by a magic link, sent by *delivery*."""

    async def step_up(sdk: SDKClient, descope: Any, refresh_token: str) -> dict[str, Any]:
        method = DeliveryMethod[delivery]
        await settled(descope.magiclink.sign_in(method, LOGIN_ID, PAGE, STEP_UP, refresh_token))
        sent = sdk.served.emulator.outbox[-1]
        assert sent.link == f"{PAGE}?t={sent.token}"
        session: dict[str, Any] = await settled(descope.magiclink.verify(sent.token))
        return session

    return step_up


async def enchanted_link(sdk: SDKClient, descope: Any, refresh_token: str) -> dict[str, Any]:
    """Step up by an enchanted link: pending until it is clicked."""
    link = descope.enchantedlink
    started = await settled(link.sign_in(LOGIN_ID, PAGE, STEP_UP, refresh_token))
    assert started["linkId"].isdecimal()
    return await _collected(sdk, link, started["pendingRef"])


async def enchanted_link_sms(sdk: SDKClient, descope: Any, refresh_token: str) -> dict[str, Any]:
    """Step up by an enchanted link in a text message; the login id is the number."""
    method = DeliveryMethod.SMS
    otp = descope.otp
    await settled(
        otp.update_user_phone(method, LOGIN_ID, PHONE, refresh_token, add_to_login_ids=True)
    )
    await sdk.verified(method)
    link = descope.enchantedlink
    started = await settled(link.sign_in_with_phone(PHONE, PAGE, STEP_UP, refresh_token))
    return await _collected(sdk, link, started["pendingRef"])


async def _collected(sdk: SDKClient, link: Any, pending_ref: str) -> dict[str, Any]:
    assert await refused(lambda: link.get_session(pending_ref)) == (401, "E062503")
    await settled(link.verify(sdk.served.emulator.outbox[-1].token))
    session: dict[str, Any] = await settled(link.get_session(pending_ref))
    return session


async def webauthn(sdk: SDKClient, descope: Any, refresh_token: str) -> dict[str, Any]:
    """Step up by a passkey, registered just now."""
    origin = "https://shop.example"
    passkey = sdk.served.emulator.passkey(origin)
    start = await settled(descope.webauthn.update_start(LOGIN_ID, refresh_token, origin))
    answer = passkey.create(start["options"])
    await settled(descope.webauthn.update_finish(start["transactionId"], answer))
    start = await settled(descope.webauthn.sign_in_start(LOGIN_ID, origin, STEP_UP, refresh_token))
    answer = passkey.get(start["options"])
    finish = descope.webauthn.sign_in_finish(start["transactionId"], answer)
    session: dict[str, Any] = await settled(finish)
    return session


async def oauth(sdk: SDKClient, descope: Any, refresh_token: str) -> dict[str, Any]:
    """Step up by a social provider."""
    start = await settled(descope.oauth.start("google", PAGE, STEP_UP, refresh_token))
    return await _exchanged(sdk, descope.oauth, start["url"])


async def sso(sdk: SDKClient, descope: Any, refresh_token: str) -> dict[str, Any]:
    """Step up by SSO."""
    start = await settled(descope.sso.start(TENANT, PAGE, STEP_UP, refresh_token, prompt="login"))
    return await _exchanged(sdk, descope.sso, start["url"])


async def saml(sdk: SDKClient, descope: Any, refresh_token: str) -> dict[str, Any]:
    """Step up by SAML."""
    start = await settled(descope.saml.start(TENANT, PAGE, STEP_UP, refresh_token))
    return await _exchanged(sdk, descope.saml, start["url"])


async def _exchanged(sdk: SDKClient, method: Any, url: str) -> dict[str, Any]:
    assert url.startswith(sdk.served.url)
    location = sdk.served.emulator.social_login(url, LOGIN_ID)
    assert location.startswith(PAGE)
    session: dict[str, Any] = await settled(method.exchange_token(code_of(location)))
    return session


METHODS = [
    pytest.param(totp, "totp", id="totp"),
    pytest.param(magic_link("EMAIL"), "email", id="magic-link-email"),
    pytest.param(magic_link("SMS"), "sms", id="magic-link-sms"),
    pytest.param(magic_link("WHATSAPP"), "whatsapp", id="magic-link-whatsapp"),
    pytest.param(enchanted_link, "email", id="enchanted-link-email"),
    pytest.param(enchanted_link_sms, "sms", id="enchanted-link-sms"),
    pytest.param(webauthn, "webauthn", id="webauthn"),
    pytest.param(oauth, "oauth", id="oauth"),
    pytest.param(sso, "fed", id="sso"),
    pytest.param(saml, "fed", id="saml"),
]
SETTINGS = [
    pytest.param({}, id="body"),
    pytest.param({"response_mode": "cookies", "rotate_refresh": True}, id="cookies-rotation"),
]


@pytest.mark.parametrize("settings", SETTINGS, indirect=True)
@pytest.mark.parametrize(("method", "amr"), METHODS)
def test_user_steps_up_by_each_method(sdk: SDKClient, shop: Shop, method: Method, amr: str) -> None:
    """The app challenges the plain session and takes the one that the method gives."""

    async def scenario(descope: Any) -> None:
        plain = await sdk.signed_up()
        refresh_token = plain["refreshSessionToken"]["jwt"]
        up = await method(sdk, descope, refresh_token)
        session = await settled(descope.validate_session(up["sessionToken"]["jwt"]))
        assert (True, plain["userId"]) == (session["su"], session["userId"])
        assert session["amr"] == (["email"] if amr == "email" else ["email", amr, "mfa"])
        assert up["refreshSessionToken"]["drn"] == "DSR"
        assert "su" not in up["refreshSessionToken"]
        assert await asyncio.to_thread(shop.accepts, session["jwt"])
        assert await asyncio.to_thread(shop.challenges, plain["sessionToken"]["jwt"])

    sdk.run(scenario)


@pytest.mark.parametrize("settings", SETTINGS[1:], indirect=True)
def test_rotated_refresh_token_is_no_good(sdk: SDKClient) -> None:
    """A refresh hands out the next refresh token in a cookie, and only that one works."""

    async def scenario(descope: Any) -> None:
        first = (await sdk.signed_up())["refreshSessionToken"]["jwt"]
        refreshed = await settled(descope.refresh_session(first))
        second = refreshed["refreshSessionToken"]["jwt"]
        assert second != first
        assert await refused(lambda: descope.me(first)) == (401, "E061005")
        assert (await settled(descope.me(second)))["loginIds"] == [LOGIN_ID]
        up = await sdk.stepped_up(EMAIL, second)
        assert up["sessionToken"]["su"] is True

    sdk.run(scenario)

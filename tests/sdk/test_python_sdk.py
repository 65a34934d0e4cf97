"""Descope's Python SDK, both clients, unmodified, against the served emulator."""

import asyncio
from typing import Any

import pytest
from descope import (
    AuthException,
    DeliveryMethod,
    DescopeClient,
    DescopeClientAsync,
    RateLimitException,
)

from tests.sdk.python_client import EMAIL, LOGIN_ID, STEP_UP, Client, SDKClient, refused, settled
from tests.sdk.served import Served, Shop


@pytest.mark.parametrize("method", ["EMAIL", "SMS", "VOICE", "WHATSAPP"])
def test_user_steps_up(sdk: SDKClient, shop: Shop, method: str) -> None:
    """Sign-up, step-up, refresh and logout; the app takes the stepped-up session only."""

    async def scenario(descope: Any) -> None:
        plain = await sdk.signed_up()
        assert plain["firstSeen"] is True
        assert "su" not in plain["sessionToken"]
        refresh_token = plain["refreshSessionToken"]["jwt"]
        up = await sdk.stepped_up(DeliveryMethod[method], refresh_token)
        session = await settled(descope.validate_session(up["sessionToken"]["jwt"]))
        assert session["su"] is True
        assert session["userId"] == plain["userId"]
        assert session["projectId"] == sdk.served.project_id
        assert "su" not in up["refreshSessionToken"]

        refresh_token = up["refreshSessionToken"]["jwt"]
        refreshed = await settled(descope.refresh_session(refresh_token))
        assert "su" not in refreshed["sessionToken"]
        assert (await settled(descope.me(refresh_token)))["loginIds"] == [LOGIN_ID]

        assert await asyncio.to_thread(shop.accepts, session["jwt"])
        assert await asyncio.to_thread(shop.challenges, plain["sessionToken"]["jwt"])
        assert await asyncio.to_thread(shop.challenges, refreshed["sessionToken"]["jwt"])
        assert await asyncio.to_thread(shop.rejects, refresh_token)

        await settled(descope.logout(refresh_token))
        ended = await refused(lambda: descope.refresh_session(refresh_token))
        assert ended == (401, "E064001")

    sdk.run(scenario)


def test_refusals_reach_the_caller(sdk: SDKClient) -> None:
    """A wrong code, too many of them and an unknown user are what the SDK reports them as."""

    async def scenario(descope: Any) -> None:
        await settled(descope.otp.sign_up(EMAIL, LOGIN_ID))
        wrong = f"{(int(sdk.served.code) + 1) % 1_000_000:06d}"
        for _ in range(sdk.served.emulator.max_attempts):
            code = await refused(lambda: descope.otp.verify_code(EMAIL, LOGIN_ID, wrong))
            assert code == (401, "E061102")
        code = await refused(lambda: descope.otp.verify_code(EMAIL, LOGIN_ID, wrong))
        assert code == (401, "E061103")
        user = await refused(lambda: descope.otp.sign_in(EMAIL, "nobody@example.com"))
        assert user == (400, "E062108")
        again = await refused(lambda: descope.otp.sign_up(EMAIL, LOGIN_ID))
        assert again == (400, "E062107")

    sdk.run(scenario)


def test_step_up_needs_the_refresh_token_of_the_user(sdk: SDKClient) -> None:
    """The SDK refuses to ask without one; the emulator refuses a session token."""

    async def scenario(descope: Any) -> None:
        plain = await sdk.signed_up()
        with pytest.raises(AuthException, match="Missing refresh token"):
            await settled(descope.otp.sign_in(EMAIL, LOGIN_ID, STEP_UP))
        session = plain["sessionToken"]["jwt"]
        code = await refused(lambda: descope.otp.sign_in(EMAIL, LOGIN_ID, STEP_UP, session))
        assert code == (401, "E061005")

    sdk.run(scenario)


def test_sends_limit_is_a_rate_limit(sdk: SDKClient) -> None:
    """The SDK reports the seconds to wait."""

    async def scenario(descope: Any) -> None:
        for _ in range(sdk.served.emulator.max_sends):
            await settled(descope.otp.sign_up_or_in(EMAIL, LOGIN_ID))
        with pytest.raises(RateLimitException) as limit:
            await settled(descope.otp.sign_up_or_in(EMAIL, LOGIN_ID))
        assert 0 < limit.value.rate_limit_parameters["Retry-After"] <= 600

    sdk.run(scenario)


def test_keys_rotate_under_the_sdk(sdk: SDKClient) -> None:
    """A new key is fetched when its first token comes; logout of all sessions works."""

    async def scenario(descope: Any) -> None:
        first = await sdk.signed_up()
        sdk.served.emulator.rotate_keys()
        up = await sdk.stepped_up(EMAIL, first["refreshSessionToken"]["jwt"])
        assert up["sessionToken"]["su"] is True
        await settled(descope.validate_session(first["sessionToken"]["jwt"]))
        await settled(descope.logout_all(up["refreshSessionToken"]["jwt"]))
        refresh_token = first["refreshSessionToken"]["jwt"]
        assert await refused(lambda: descope.me(refresh_token)) == (401, "E064001")

    sdk.run(scenario)


@pytest.mark.parametrize("kind", [DescopeClient, DescopeClientAsync], ids=["sync", "async"])
def test_base_url_may_end_in_a_slash(served: Served, kind: type[Client]) -> None:
    """The SDK then doubles it in every path."""
    sdk = SDKClient(served, kind, base_url=f"{served.url}/")

    async def scenario(descope: Any) -> None:
        plain = await sdk.signed_up()
        await settled(descope.validate_session(plain["sessionToken"]["jwt"]))

    sdk.run(scenario)

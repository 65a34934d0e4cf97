"""Descope's Python SDK, both clients, unmodified, against the served emulator."""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeAlias

import pytest
from descope import (
    AuthException,
    DeliveryMethod,
    DescopeClient,
    DescopeClientAsync,
    LoginOptions,
    RateLimitException,
)

from tests.sdk.conftest import Served, Shop

Client: TypeAlias = DescopeClient | DescopeClientAsync
Story: TypeAlias = Callable[[Any], Coroutine[Any, Any, None]]

LOGIN_ID = "ann@example.com"
EMAIL = DeliveryMethod.EMAIL
STEP_UP = LoginOptions(stepup=True)


async def settled(answer: Any) -> Any:
    """Return what a call of either client answers."""
    return await answer if inspect.isawaitable(answer) else answer


class Teller:
    """Runs a story with one of the two clients."""

    def __init__(self, served: Served, kind: type[Client], *, base_url: str | None = None) -> None:
        self.served = served
        self.client: Client = kind(served.project_id, base_url=base_url or served.url)

    def tell(self, story: Story) -> None:
        """Run *story* and close the client."""

        async def run() -> None:
            client: Any = self.client
            closing: AbstractAsyncContextManager[Any] = (
                client if isinstance(client, DescopeClientAsync) else nullcontext()
            )
            async with closing:
                await story(client)

        asyncio.run(run())

    async def signed_up(self) -> dict[str, Any]:
        """Sign Ann up by e-mail."""
        details = {"name": "Ann", "phone": "+15550100012"}
        masked = await settled(self.client.otp.sign_up(EMAIL, LOGIN_ID, details))
        assert masked == "a**@example.com"
        return await self.verified(EMAIL)

    async def verified(self, method: DeliveryMethod) -> dict[str, Any]:
        """Send the latest code back."""
        answer = self.client.otp.verify_code(method, LOGIN_ID, self.served.code)
        verified: dict[str, Any] = await settled(answer)
        return verified

    async def stepped_up(self, method: DeliveryMethod, refresh_token: str) -> dict[str, Any]:
        """Step Ann's session up."""
        await settled(self.client.otp.sign_in(method, LOGIN_ID, STEP_UP, refresh_token))
        return await self.verified(method)


async def refused(answer: Callable[[], Awaitable[Any] | Any]) -> tuple[Any, str]:
    """Return status and error code of the refusal that *answer* raises."""
    with pytest.raises(AuthException) as refusal:
        await settled(answer())
    return refusal.value.status_code, json.loads(str(refusal.value.error_message))["errorCode"]


@pytest.fixture(params=[DescopeClient, DescopeClientAsync], ids=["sync", "async"])
def teller(request: pytest.FixtureRequest, served: Served) -> Teller:
    """Each of the two clients."""
    return Teller(served, request.param)


@pytest.mark.parametrize("method", ["EMAIL", "SMS", "VOICE", "WHATSAPP"])
def test_user_steps_up(teller: Teller, shop: Shop, method: str) -> None:
    """Sign-up, step-up, refresh and logout; the app takes the stepped-up session only."""

    async def story(descope: Any) -> None:
        plain = await teller.signed_up()
        assert plain["firstSeen"] is True
        assert "su" not in plain["sessionToken"]
        refresh_token = plain["refreshSessionToken"]["jwt"]
        up = await teller.stepped_up(DeliveryMethod[method], refresh_token)
        session = await settled(descope.validate_session(up["sessionToken"]["jwt"]))
        assert session["su"] is True
        assert session["userId"] == plain["userId"]
        assert session["projectId"] == teller.served.project_id
        assert "su" not in up["refreshSessionToken"]

        refresh_token = up["refreshSessionToken"]["jwt"]
        refreshed = await settled(descope.refresh_session(refresh_token))
        assert "su" not in refreshed["sessionToken"]
        assert (await settled(descope.me(refresh_token)))["loginIds"] == [LOGIN_ID]

        assert await asyncio.to_thread(shop.lets_in, session["jwt"])
        assert await asyncio.to_thread(shop.challenges, plain["sessionToken"]["jwt"])
        assert await asyncio.to_thread(shop.challenges, refreshed["sessionToken"]["jwt"])
        assert await asyncio.to_thread(shop.finds_invalid, refresh_token)

        await settled(descope.logout(refresh_token))
        ended = await refused(lambda: descope.refresh_session(refresh_token))
        assert ended == (401, "E064001")

    teller.tell(story)


def test_refusals_reach_the_caller(teller: Teller) -> None:
    """A wrong code, too many of them and an unknown user are what the SDK reports them as."""

    async def story(descope: Any) -> None:
        await settled(descope.otp.sign_up(EMAIL, LOGIN_ID))
        wrong = f"{(int(teller.served.code) + 1) % 1_000_000:06d}"
        for _ in range(teller.served.emulator.max_attempts):
            code = await refused(lambda: descope.otp.verify_code(EMAIL, LOGIN_ID, wrong))
            assert code == (401, "E061102")
        code = await refused(lambda: descope.otp.verify_code(EMAIL, LOGIN_ID, wrong))
        assert code == (401, "E061103")
        user = await refused(lambda: descope.otp.sign_in(EMAIL, "nobody@example.com"))
        assert user == (400, "E062108")
        again = await refused(lambda: descope.otp.sign_up(EMAIL, LOGIN_ID))
        assert again == (400, "E062107")

    teller.tell(story)


def test_step_up_needs_the_refresh_token_of_the_user(teller: Teller) -> None:
    """The SDK refuses to ask without one; the emulator refuses a session token."""

    async def story(descope: Any) -> None:
        plain = await teller.signed_up()
        with pytest.raises(AuthException, match="Missing refresh token"):
            await settled(descope.otp.sign_in(EMAIL, LOGIN_ID, STEP_UP))
        session = plain["sessionToken"]["jwt"]
        code = await refused(lambda: descope.otp.sign_in(EMAIL, LOGIN_ID, STEP_UP, session))
        assert code == (401, "E061005")

    teller.tell(story)


def test_sends_limit_is_a_rate_limit(teller: Teller) -> None:
    """The SDK tells how long to wait."""

    async def story(descope: Any) -> None:
        for _ in range(teller.served.emulator.max_sends):
            await settled(descope.otp.sign_up_or_in(EMAIL, LOGIN_ID))
        with pytest.raises(RateLimitException) as limit:
            await settled(descope.otp.sign_up_or_in(EMAIL, LOGIN_ID))
        assert 0 < limit.value.rate_limit_parameters["Retry-After"] <= 600

    teller.tell(story)


def test_keys_rotate_under_the_sdk(teller: Teller) -> None:
    """A new key is fetched when its first token comes; logout of all sessions works."""

    async def story(descope: Any) -> None:
        first = await teller.signed_up()
        teller.served.emulator.rotate_keys()
        up = await teller.stepped_up(EMAIL, first["refreshSessionToken"]["jwt"])
        assert up["sessionToken"]["su"] is True
        await settled(descope.validate_session(first["sessionToken"]["jwt"]))
        await settled(descope.logout_all(up["refreshSessionToken"]["jwt"]))
        refresh_token = first["refreshSessionToken"]["jwt"]
        assert await refused(lambda: descope.me(refresh_token)) == (401, "E064001")

    teller.tell(story)


@pytest.mark.parametrize("kind", [DescopeClient, DescopeClientAsync], ids=["sync", "async"])
def test_base_url_may_end_in_a_slash(served: Served, kind: type[Client]) -> None:
    """The SDK then doubles it in every path."""
    teller = Teller(served, kind, base_url=f"{served.url}/")

    async def story(descope: Any) -> None:
        plain = await teller.signed_up()
        await settled(descope.validate_session(plain["sessionToken"]["jwt"]))

    teller.tell(story)

"""What `DescopeClient` sends, held against what the official Python SDK sends."""

import inspect
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
from descope import (
    DeliveryMethod,
    DescopeClient as OfficialClient,
    DescopeClientAsync as OfficialAsyncClient,
    LoginOptions,
)

from fastapi_stepup import DescopeClient
from fastapi_stepup._http import HTTPClient
from fastapi_stepup.providers.descope.requests import (
    DELIVERIES,
    LINK_DELIVERIES,
    Delivery,
    LinkDelivery,
)
from fastapi_stepup.testing import DescopeEmulator, ReceivedRequest, Tokens

ANN = "ann@example.com"


class Served(NamedTuple):
    """One emulator that listens on loopback, and Ann, who is signed in there."""

    emulator: DescopeEmulator
    url: str
    ann: Tokens

    def sent(self, *secrets: object) -> list[dict[str, Any]]:
        """Return what arrived since the last call, keys aside, as it is to be compared.

        Args:
            *secrets: What only one of the clients could send, in the order of its getting them.
        """
        arrived = [r for r in self.emulator.requests if not r.path.startswith("/v2/keys/")]
        self.emulator.requests.clear()
        return [self._meaning(request, secrets) for request in arrived]

    def _meaning(self, request: ReceivedRequest, secrets: tuple[object, ...]) -> dict[str, Any]:
        body = request.json
        if isinstance(body, dict):
            # Each client is sent a code or link of its own.
            body = {k: f"secret {secrets.index(v)}" if v in secrets else v for k, v in body.items()}
        return {
            "method": request.method,
            "path": request.path,
            "query": sorted(parse_qsl(request.query, keep_blank_values=True)),
            "authorization": request.headers["authorization"],
            "project": request.headers["x-descope-project-id"],
            "body": body,
        }


@pytest.fixture
def served() -> Iterator[Served]:
    """An emulator behind a real socket; Ann has an address and a number."""
    emulator = DescopeEmulator()
    emulator.create_user(ANN, phone="+15550100012")
    with emulator.serve() as url:
        yield Served(emulator, url, emulator.sign_in(ANN))


@pytest.mark.anyio
@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_start_and_verify_send_what_the_sdk_sends(served: Served, delivery: Delivery) -> None:
    """The two calls of a step-up by one-time code are those of the SDK, however it is sent."""
    official = OfficialClient(served.emulator.project_id, base_url=served.url)
    method = DeliveryMethod[delivery.upper()]
    refresh_token = served.ann.refresh_token
    official.otp.sign_in(method, ANN, LoginOptions(stepup=True), refresh_token)
    official.otp.verify_code(method, ANN, served.emulator.outbox[-1].code)
    expected = served.sent(served.emulator.outbox[-1].code)

    client = DescopeClient(served.emulator.project_id, base_url=served.url)
    await client.start_otp(delivery, ANN, refresh_token)
    await client.verify_otp(delivery, ANN, served.emulator.outbox[-1].code)

    assert served.sent(served.emulator.outbox[-1].code) == expected
    assert [request["path"] for request in expected] == [
        f"/v1/auth/otp/signin/{delivery}",
        f"/v1/auth/otp/verify/{delivery}",
    ]


@pytest.mark.anyio
async def test_me_and_refresh_send_what_the_sdk_sends(served: Served) -> None:
    """The calls that take a refresh token are those of the SDK."""
    official = OfficialClient(served.emulator.project_id, base_url=served.url)
    official.me(served.ann.refresh_token)
    official.refresh_session(served.ann.refresh_token)
    expected = served.sent()

    client = DescopeClient(served.emulator.project_id, base_url=served.url)
    await client.me(served.ann.refresh_token)
    await client.refresh(served.ann.refresh_token)

    assert served.sent() == expected
    assert [request["path"] for request in expected] == ["/v1/auth/me", "/v1/auth/refresh"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_asynchronous_sdk_sends_the_same(served: Served) -> None:
    """All four calls are those of the SDK's asynchronous client too, which needs asyncio."""
    project_id, refresh_token = served.emulator.project_id, served.ann.refresh_token
    async with OfficialAsyncClient(project_id, base_url=served.url) as official:
        email = DeliveryMethod.EMAIL
        await official.otp.sign_in(email, ANN, LoginOptions(stepup=True), refresh_token)
        await official.otp.verify_code(email, ANN, served.emulator.outbox[-1].code)
        await official.me(refresh_token)
        await official.refresh_session(refresh_token)
    expected = served.sent(served.emulator.outbox[-1].code)

    client = DescopeClient(project_id, base_url=served.url)
    await client.start_otp("email", ANN, refresh_token)
    await client.verify_otp("email", ANN, served.emulator.outbox[-1].code)
    await client.me(refresh_token)
    await client.refresh(refresh_token)

    assert served.sent(served.emulator.outbox[-1].code) == expected
    assert len(expected) == 4


PAGE, ORIGIN = "https://shop.example/welcome?x=1&y=a b", "https://shop.example"
STEP_UP = LoginOptions(stepup=True)
Official = Callable[[Served, Any, str], Awaitable[list[object]]]
Ours = Callable[[Served, DescopeClient, str], Awaitable[list[object]]]


async def settled(answer: Any) -> Any:
    """Return what an SDK call answers, of the synchronous client or the asynchronous one."""
    return await answer if inspect.isawaitable(answer) else answer


def exchange_code(served: Served, url: str) -> str:
    """Sign in at the provider and return the code that comes back."""
    return parse_qs(urlsplit(served.emulator.social_login(url, ANN)).query)["code"][0]


async def official_totp(served: Served, sdk: Any, refresh_token: str) -> list[object]:
    """TOTP by the SDK."""
    code = served.emulator.totp_code(ANN)
    await settled(sdk.totp.sign_in_code(ANN, code, STEP_UP, refresh_token))
    return [code]


async def our_totp(served: Served, client: DescopeClient, refresh_token: str) -> list[object]:
    """TOTP by us."""
    code = served.emulator.totp_code(ANN)
    await client.verify_totp(ANN, code, refresh_token)
    return [code]


def official_magic_link(delivery: str) -> Official:
    """Magic link by the SDK."""

    async def call(served: Served, sdk: Any, refresh_token: str) -> list[object]:
        method = DeliveryMethod[delivery.upper()]
        await settled(sdk.magiclink.sign_in(method, ANN, PAGE, STEP_UP, refresh_token))
        token = served.emulator.outbox[-1].token
        await settled(sdk.magiclink.verify(token))
        return [token]

    return call


def our_magic_link(delivery: LinkDelivery) -> Ours:
    """Magic link by us."""

    async def call(served: Served, client: DescopeClient, refresh_token: str) -> list[object]:
        await client.start_magic_link(delivery, ANN, PAGE, refresh_token)
        token = served.emulator.outbox[-1].token
        await client.verify_magic_link(token)
        return [token]

    return call


async def official_enchanted(served: Served, sdk: Any, refresh_token: str) -> list[object]:
    """Enchanted link by the SDK."""
    link = sdk.enchantedlink
    started = await settled(link.sign_in(ANN, PAGE, STEP_UP, refresh_token))
    token = served.emulator.outbox[-1].token
    await settled(link.verify(token))
    await settled(link.get_session(started["pendingRef"]))
    return [token, started["pendingRef"]]


async def our_enchanted(served: Served, client: DescopeClient, refresh_token: str) -> list[object]:
    """Enchanted link by us."""
    started = await client.start_enchanted_link(ANN, PAGE, refresh_token)
    token = served.emulator.outbox[-1].token
    await client.verify_enchanted_link(token)
    assert await client.poll_enchanted_link(started.pending_ref)
    return [token, started.pending_ref]


async def official_passkey(served: Served, sdk: Any, refresh_token: str) -> list[object]:
    """Passkey by the SDK, with the answer as a browser's `JSON.stringify` writes it."""
    started = await settled(sdk.webauthn.sign_in_start(ANN, ORIGIN, STEP_UP, refresh_token))
    answer = served.emulator.passkey(ORIGIN).get(started["options"])
    stringified = json.dumps(json.loads(answer), separators=(",", ":"))
    await settled(sdk.webauthn.sign_in_finish(started["transactionId"], stringified))
    return [started["transactionId"], stringified]


async def our_passkey(served: Served, client: DescopeClient, refresh_token: str) -> list[object]:
    """Passkey by us."""
    started = await client.start_passkey(ANN, ORIGIN, refresh_token)
    answer = json.loads(served.emulator.passkey(ORIGIN).get(started.options))
    await client.finish_passkey(started.transaction_id, answer)
    return [started.transaction_id, json.dumps(answer, separators=(",", ":"))]


async def official_oauth(served: Served, sdk: Any, refresh_token: str) -> list[object]:
    """Social login by the SDK."""
    started = await settled(sdk.oauth.start("google", PAGE, STEP_UP, refresh_token))
    code = exchange_code(served, started["url"])
    await settled(sdk.oauth.exchange_token(code))
    return [code]


async def our_oauth(served: Served, client: DescopeClient, refresh_token: str) -> list[object]:
    """Social login by us."""
    code = exchange_code(served, await client.start_oauth("google", PAGE, refresh_token))
    await client.exchange_oauth(code)
    return [code]


async def official_sso(served: Served, sdk: Any, refresh_token: str) -> list[object]:
    """SSO by the SDK."""
    started = await settled(sdk.sso.start("T1", PAGE, STEP_UP, refresh_token))
    code = exchange_code(served, started["url"])
    await settled(sdk.sso.exchange_token(code))
    return [code]


async def our_sso(served: Served, client: DescopeClient, refresh_token: str) -> list[object]:
    """SSO by us."""
    code = exchange_code(served, await client.start_sso("T1", PAGE, refresh_token))
    await client.exchange_sso(code)
    return [code]


METHODS = [
    pytest.param(official_totp, our_totp, ["totp/verify"], id="totp"),
    *(
        pytest.param(
            official_magic_link(delivery),
            our_magic_link(delivery),
            [f"magiclink/signin/{delivery}", "magiclink/verify"],
            id=f"magiclink-{delivery}",
        )
        for delivery in LINK_DELIVERIES
    ),
    pytest.param(
        official_enchanted,
        our_enchanted,
        ["enchantedlink/signin/email", "enchantedlink/verify", "enchantedlink/pending-session"],
        id="enchantedlink",
    ),
    pytest.param(
        official_passkey,
        our_passkey,
        ["webauthn/signin/start", "webauthn/signin/finish"],
        id="passkey",
    ),
    pytest.param(official_oauth, our_oauth, ["oauth/authorize", "oauth/exchange"], id="oauth"),
    pytest.param(official_sso, our_sso, ["sso/authorize", "sso/exchange"], id="sso"),
]


def enrol_passkey(served: Served) -> None:
    """Give Ann a passkey, by the SDK."""
    webauthn = OfficialClient(served.emulator.project_id, base_url=served.url).webauthn
    started = webauthn.update_start(ANN, served.ann.refresh_token, ORIGIN)
    created = served.emulator.passkey(ORIGIN).create(started["options"])
    webauthn.update_finish(started["transactionId"], created)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync-sdk", "async-sdk"])
@pytest.mark.parametrize(("official", "ours", "paths"), METHODS)
async def test_every_method_sends_what_the_sdk_sends(
    served: Served, official: Official, ours: Ours, paths: list[str], *, asynchronous: bool
) -> None:
    """Method, path, query, bearer and body of every call are those of the SDK's two clients."""
    project_id, refresh_token = served.emulator.project_id, served.ann.refresh_token
    enrol_passkey(served)
    served.emulator.requests.clear()
    async with AsyncExitStack() as stack:
        sdk: Any = OfficialClient(project_id, base_url=served.url)
        if asynchronous:
            sdk = await stack.enter_async_context(
                OfficialAsyncClient(project_id, base_url=served.url)
            )
        secrets = await official(served, sdk, refresh_token)
    expected = served.sent(*secrets)

    client = DescopeClient(project_id, base_url=served.url)
    secrets = await ours(served, client, refresh_token)

    assert served.sent(*secrets) == expected
    assert [request["path"] for request in expected] == [f"/v1/auth/{path}" for path in paths]
    assert f"secret {len(secrets) - 1}" in str(expected)


def test_keys_are_asked_for_where_the_sdk_asks_for_them(served: Served) -> None:
    """The key set is the one that the SDK validates with."""
    official = OfficialClient(served.emulator.project_id, base_url=served.url)
    official.validate_session(served.ann.session_token)

    keys_url = DescopeClient(served.emulator.project_id, base_url=served.url).keys_url

    assert [served.url + request.path for request in served.emulator.requests] == [keys_url]


@pytest.mark.anyio
async def test_a_cookie_that_was_set_is_never_sent() -> None:
    """Nothing of one user's reply, in cookie mode their refresh token, is in a later request."""
    received: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        received.append(request.headers)
        cookie = f"DSR=secret-of-{len(received)}; Path=/; Secure; HttpOnly"
        body = {
            "sessionJwt": "s",
            "maskedEmail": "a**@example.com",
            "userId": "U1",
            "loginIds": [ANN],
        }
        return httpx.Response(200, json=body, headers={"Set-Cookie": cookie})

    client = DescopeClient("P1", http=HTTPClient(httpx.MockTransport(answer)))
    await client.start_otp("email", ANN, "refresh-of-ann")
    verified = await client.verify_otp("email", ANN, "123456")
    refreshed = await client.refresh("refresh-of-bob")
    await client.me("refresh-of-bob")

    assert (verified.refresh_token, refreshed.refresh_token) == ("secret-of-2", "secret-of-3")
    assert len(received) == 4
    assert not [headers for headers in received if "cookie" in headers]

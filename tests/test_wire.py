"""What `DescopeClient` sends, held against what the official Python SDK sends."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from descope import (
    DeliveryMethod,
    DescopeClient as OfficialClient,
    DescopeClientAsync as OfficialAsyncClient,
    LoginOptions,
)

from fastapi_stepup import DescopeClient
from fastapi_stepup.descope import DELIVERIES, Delivery
from fastapi_stepup.testing import DescopeEmulator, ReceivedRequest, Tokens
from fastapi_stepup.upstream import Upstream

ANN = "ann@example.com"


class Served(NamedTuple):
    """One emulator that listens on loopback, and Ann, who is signed in there."""

    emulator: DescopeEmulator
    url: str
    ann: Tokens

    def sent(self) -> list[dict[str, Any]]:
        """Return what arrived since the last call, keys aside, as it is to be compared."""
        arrived = [r for r in self.emulator.requests if not r.path.startswith("/v2/keys/")]
        self.emulator.requests.clear()
        return list(map(self._meaning, arrived))

    def _meaning(self, request: ReceivedRequest) -> dict[str, Any]:
        body = request.json
        if isinstance(body, dict) and "code" in body:
            # Each client is sent a code of its own.
            body = body | {"code": body["code"] == self.emulator.outbox[-1].code}
        return {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "authorization": request.headers["authorization"],
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
    expected = served.sent()

    client = DescopeClient(served.emulator.project_id, base_url=served.url)
    await client.start_otp(delivery, ANN, refresh_token)
    await client.verify_otp(delivery, ANN, served.emulator.outbox[-1].code)

    assert served.sent() == expected
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
    expected = served.sent()

    client = DescopeClient(project_id, base_url=served.url)
    await client.start_otp("email", ANN, refresh_token)
    await client.verify_otp("email", ANN, served.emulator.outbox[-1].code)
    await client.me(refresh_token)
    await client.refresh(refresh_token)

    assert served.sent() == expected
    assert len(expected) == 4


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

    client = DescopeClient("P1", upstream=Upstream(httpx.MockTransport(answer)))
    await client.start_otp("email", ANN, "refresh-of-ann")
    verified = await client.verify_otp("email", ANN, "123456")
    refreshed = await client.refresh("refresh-of-bob")
    await client.me("refresh-of-bob")

    assert (verified.refresh_token, refreshed.refresh_token) == ("secret-of-2", "secret-of-3")
    assert len(received) == 4
    assert not [headers for headers in received if "cookie" in headers]

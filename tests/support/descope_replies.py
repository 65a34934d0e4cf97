"""A Descope that answers each request alike, and calls of each method of the client."""

from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from fastapi_stepup import DescopeClient
from fastapi_stepup._http import HTTPClient
from fastapi_stepup.errors import StepUpError

ANN = "ann@example.com"
NOW = 1_800_000_000.0
REFRESH_TOKEN = "eyJhbGciOiJSUzI1NiJ9.refresh.x"

Call = Callable[[DescopeClient], Coroutine[Any, Any, object]]


async def start(client: DescopeClient) -> object:
    """Start."""
    return await client.start_otp("email", ANN, REFRESH_TOKEN)


async def verify(client: DescopeClient) -> object:
    """Verify."""
    return await client.verify_otp("email", ANN, "123456")


async def me(client: DescopeClient) -> object:
    """Ask who it is."""
    return await client.me(REFRESH_TOKEN)


async def refresh(client: DescopeClient) -> object:
    """Refresh."""
    return await client.refresh(REFRESH_TOKEN)


def calling(name: str, *arguments: Any) -> Call:
    """Return the call of one method of the client."""

    async def call(client: DescopeClient) -> object:
        return await getattr(client, name)(*arguments)

    call.__name__ = name
    return call


PAGE, ORIGIN = "https://shop.example/step-up", "https://shop.example"
TOTP = calling("verify_totp", ANN, "123456", REFRESH_TOKEN)
STARTS = [
    calling("start_magic_link", "email", ANN, PAGE, REFRESH_TOKEN),
    calling("start_enchanted_link", ANN, PAGE, REFRESH_TOKEN),
    calling("start_notp", ANN, REFRESH_TOKEN),
    calling("start_passkey", ANN, ORIGIN, REFRESH_TOKEN),
    calling("start_oauth", "google", PAGE, REFRESH_TOKEN),
    calling("start_sso", "acme", PAGE, REFRESH_TOKEN),
]
POLLS = [calling("poll_enchanted_link", "ref"), calling("poll_notp", "ref")]
LINKS = [calling("verify_magic_link", "t0k3n"), calling("verify_enchanted_link", "t0k3n"), *POLLS]
PASSKEY = calling("finish_passkey", "transaction", {"id": "x"})
PROVIDERS = [calling("exchange_oauth", "c0de"), calling("exchange_sso", "c0de")]
CALLS: tuple[Call, ...] = (start, verify, me, refresh, TOTP, *STARTS, *LINKS, PASSKEY, *PROVIDERS)


class Descope(httpx.AsyncBaseTransport):
    """Answers every request with one reply, and counts."""

    def __init__(self, reply: httpx.Response | Exception | Callable[[], httpx.Response]) -> None:
        self.reply = reply
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        self.requests.append(request)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply if isinstance(self.reply, httpx.Response) else self.reply()

    @property
    def client(self) -> DescopeClient:
        """A client that talks to it."""
        return DescopeClient("P1", http=HTTPClient(self), clock=lambda: NOW)


def answering(status: int, body: object, **headers: str) -> Descope:
    """Return a Descope that answers *body*, as JSON unless it is bytes."""
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Descope(httpx.Response(status, headers=fields, **content))


def refusing(status: int, code: str, **headers: str) -> Descope:
    """Return a Descope that refuses in its own form."""
    text = f"told by Descope: {ANN}"
    body = {"errorCode": code, "errorDescription": text, "errorMessage": text}
    return answering(status, body, **headers)


async def refusal_of(call: Call, descope: Descope) -> StepUpError:
    """Return what *call* raises, after one request; it says nothing that Descope said."""
    with pytest.raises(StepUpError) as refusal:
        await call(descope.client)
    assert len(descope.requests) == 1
    assert (refusal.value.__cause__, refusal.value.__context__) == (None, None)
    seen = f"{refusal.value!r} {refusal.value} {refusal.value.problem} {refusal.value.args}"
    assert "told" not in seen
    assert ANN not in seen
    return refusal.value

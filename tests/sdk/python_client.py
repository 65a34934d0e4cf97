"""Descope's Python SDK, unmodified, with either of its two clients."""

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
)

from tests.sdk.served import Served

Client: TypeAlias = DescopeClient | DescopeClientAsync
Scenario: TypeAlias = Callable[[Any], Coroutine[Any, Any, None]]

LOGIN_ID = "ann@example.com"
EMAIL = DeliveryMethod.EMAIL
STEP_UP = LoginOptions(stepup=True)


async def settled(answer: Any) -> Any:
    """Return the answer of a call of either client."""
    return await answer if inspect.isawaitable(answer) else answer


class SDKClient:
    """Runs scenarios with one of the two clients."""

    def __init__(self, served: Served, kind: type[Client], *, base_url: str | None = None) -> None:
        self.served = served
        self.client: Client = kind(served.project_id, base_url=base_url or served.url)

    def run(self, scenario: Scenario) -> None:
        """Run *scenario* and close the client."""

        async def main() -> None:
            client: Any = self.client
            closing: AbstractAsyncContextManager[Any] = (
                client if isinstance(client, DescopeClientAsync) else nullcontext()
            )
            async with closing:
                await scenario(client)

        asyncio.run(main())

    async def signed_up(self) -> dict[str, Any]:
        """Sign Ann up by e-mail."""
        details = {"name": "Ann", "phone": "+15550100012"}
        masked = await settled(self.client.otp.sign_up(EMAIL, LOGIN_ID, details))
        assert masked == "a**@example.com"
        return await self.verified(EMAIL)

    async def verified(self, method: DeliveryMethod) -> dict[str, Any]:
        """Verify the latest code."""
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

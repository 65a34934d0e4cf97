"""One ASGI exchange without a test client: what is sent, and how often the body is asked for."""

from typing import Any

import anyio
import anyio.lowlevel
from starlette.types import ASGIApp, Message, Scope

from fastapi_stepup import StepUpGuard, StepUpMiddleware, StepUpRule
from fastapi_stepup.testing import DescopeEmulator
from tests.support.attack_requests import Sent, anything

ANN = "ann@example.com"


def exchange(app: ASGIApp, scope: Scope) -> tuple[list[Message], int]:
    """Serve one scope; return what was sent and how often the body was asked for."""
    sent: list[Message] = []
    received = 0

    async def receive() -> Message:
        nonlocal received
        received += 1
        await anyio.lowlevel.checkpoint()
        return {"type": "http.request", "body": 65536 * b"x", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    anyio.run(app, scope, receive, send)
    return sent, received


def scope_for(path: str, method: str = "GET", **more: Any) -> dict[str, Any]:
    """Return a scope without a token."""
    return Sent("/", method).scope | {"path": path} | more


def bearer(descope: DescopeEmulator) -> list[tuple[bytes, bytes]]:
    """Return the fields of a stepped-up request, as in a scope."""
    token = descope.step_up(ANN).session_token
    return [(b"authorization", f"Bearer {token}".encode())]


def listed(guard: StepUpGuard, *rules: StepUpRule, app: ASGIApp = anything) -> StepUpMiddleware:
    """Return an app that is open but for *rules*."""
    return StepUpMiddleware(app, guard=guard, rules=rules, default="public")


def is_open(app: ASGIApp, path: str, method: str = "GET") -> bool:
    """Return whether a request without a token gets data."""
    return bool(exchange(app, scope_for(path, method))[0][0]["status"] == 200)

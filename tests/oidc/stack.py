"""A guarded app and its issuer on this machine: for browsers, and for clients in other languages.

A page that the app serves signs its user in as the client `web`; `provider.allow` takes its
redirect URI. The issuer's own page has a button for each way to sign in.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
from fastapi import Body, Depends, FastAPI

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpGuard,
    install,
    stepup_script_routes,
)
from fastapi_stepup.testing.server import served
from tests.oidc.provider import API, Provider, User, running


@dataclass(slots=True)
class Stack:
    """A running issuer and an app behind it.

    Attributes:
        provider: The issuer.
        url: The app's base URL.
        events: The events of the app's guard, oldest first.
    """

    provider: Provider
    url: str = ""
    events: list[Any] = field(default_factory=list)
    _closing: ExitStack = field(default_factory=ExitStack)
    _waited: int = 0

    def clock(self) -> float:
        """Return the time of the app, in epoch seconds."""
        return time.time() + self._waited

    def wait(self, seconds: int) -> None:
        """Move the clocks of app and issuer forward."""
        self._waited += seconds
        self.provider.wait(seconds)

    def user(self, login: str = "pwd") -> User:
        """Return a user with a browser of their own, which is closed with the stack."""
        browser = self._closing.enter_context(httpx.Client(timeout=30))
        return User(self.provider, browser, login)


@contextmanager
def stack(**settings: str) -> Iterator[Stack]:
    """Run issuer and app until the context ends; *settings* are those of `node/provider.mjs`."""
    with running(**settings) as provider:
        made = Stack(provider)
        with made._closing, served(app_of(made)) as made.url:
            yield made


def app_of(stack: Stack) -> FastAPI:
    """Return an app: `/pay` needs a recent login with two factors, `/read` a recent one."""
    guard = StepUpGuard.for_oidc(
        stack.provider.issuer,
        audience=API,
        on_event=stack.events.append,
        clock=stack.clock,
    )
    app = FastAPI()
    install(app, guard)
    strong = Depends(RequireStepUp(guard, max_age="5m", acr=["mfa"]))
    recent = Depends(RequireStepUp(guard, max_age="5m"))

    @app.post("/pay")
    async def pay(claims: Annotated[Claims, strong], body: Annotated[Any, Body()] = None) -> Any:
        return {"user": claims.subject, "acr": list(claims.acr), "paid": body}

    @app.get("/read")
    async def read(claims: Annotated[Claims, recent]) -> str:
        return claims.subject

    # An app without helper routes serves the script by itself.
    app.router.routes.extend(stepup_script_routes("/step-up"))
    return app

"""A shop on a real socket, and one way to call it by each client of httpx and httpx2."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import anyio
import httpx
import httpx2
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from tests.client.shop import HEADER, SESSION, problem

CLIENTS: Final = {
    "httpx": httpx.Client,
    "httpx-async": httpx.AsyncClient,
    "httpx2": httpx2.Client,
    "httpx2-async": httpx2.AsyncClient,
}

# For what this package does with either library in the same lines: without and with asyncio.
ONE_OF_EACH: Final = ("httpx", "httpx2-async")


@dataclass(frozen=True, slots=True)
class Received:
    """A request that came to the site."""

    method: str
    path: str
    bearer: str
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass(slots=True)
class Site:
    """An ASGI app that asks for a step-up until the token `new` comes.

    Args:
        answers: Responses by path, in place of its own: one, or a function of the request.
    """

    answers: dict[str, Response | Callable[[Received], Response]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    url: str = ""

    def reset(self) -> Self:
        """Forget what was received, and all answers."""
        self.answers.clear()
        self.received.clear()
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        one = Received(
            method=request.method,
            path=request.url.path,
            bearer=request.headers.get("authorization", "").removeprefix("Bearer "),
            body=await request.body(),
        )
        self.received.append(one)
        answer = self.answers.get(one.path, guarded)
        response = answer if isinstance(answer, Response) else answer(one)
        await response(scope, receive, send)

    @property
    def requests(self) -> list[str]:
        """Methods and paths of all requests."""
        return [f"{one.method} {one.path}" for one in self.received]


def guarded(request: Received) -> Response:
    """Answer like a guarded route, and like the routes of the step-up."""
    if request.path.startswith("/step-up/"):
        return JSONResponse(SESSION | {"destination": "a**@example.com"})
    if request.bearer == "new":
        return JSONResponse(f"{request.method} {request.path}")
    return JSONResponse(problem(), 401, {"WWW-Authenticate": HEADER})


def redirect(status: int, location: str) -> Response:
    """Return a redirect, without the encoding that Starlette does to *location*."""
    response = RedirectResponse("/", status)
    response.headers["location"] = location
    return response


def call(client: str, url: str, auth: Any, **options: Any) -> Any:
    """Return the response of the client of that name to one request; redirects are followed."""
    settings: Mapping[str, Any] = {"auth": auth, "follow_redirects": True, "timeout": 20}
    method = options.pop("method", "POST")
    if not client.endswith("-async"):
        with CLIENTS[client](**settings) as synchronous:
            return synchronous.request(method, url, **options)

    async def asynchronous() -> Any:
        async with CLIENTS[client](**settings) as opened:
            return await opened.request(method, url, **options)

    return anyio.run(asynchronous)

"""What the key set tests share: a clock to move, an endpoint to misbehave, and a cache on both."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import anyio
import httpx

from fastapi_stepup._http import HTTPClient
from fastapi_stepup.errors import InvalidToken, KeysUnavailable
from fastapi_stepup.events import Event
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.keys import SigningKey
from fastapi_stepup.tokens.jwks.cache import JWKSCache
from fastapi_stepup.tokens.jwks.event_loops import running_loop
from fastapi_stepup.tokens.verifier import TokenVerifier

URL = "https://keys.example/v2/keys/P2x"
PROJECT = "P2Resilience0000000000000001"
KEYS_PATH = "/v2/keys"


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@cache
def signing_key(number: int) -> SigningKey:
    """Return the same key pair for the same number, so that a test run makes few."""
    return SigningKey()


def jwk(kid: str, number: int = 0, **members: object) -> dict[str, object]:
    """Return a good JWK under *kid*, with *members* changed."""
    return {**signing_key(number).jwk, "kid": kid, **members}


Answer = Callable[[httpx.Request], httpx.Response]


@dataclass
class Endpoint:
    """A key set endpoint: publishes `keys`, or gives `answer`, and keeps the requests.

    It never answers the first `silent` requests, and the others after `delay` seconds.
    """

    keys: list[dict[str, object]] = field(default_factory=lambda: [jwk("k1")])
    headers: dict[str, str] = field(default_factory=dict)
    answer: Answer | None = None
    gate: anyio.Event | None = None
    delay: float = 0
    silent: int = 0
    requests: list[httpx.Request] = field(default_factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request; what is published is read before the gate."""
        self.requests.append(request)
        answer = self.answer or self.publish
        reply = answer(request)
        if len(self.requests) <= self.silent:
            await anyio.sleep_forever()
        if self.gate is not None:
            await self.gate.wait()
        await anyio.sleep(self.delay)
        return reply

    def publish(self, request: httpx.Request) -> httpx.Response:
        """Answer with the key set."""
        return httpx.Response(200, json={"keys": self.keys}, headers=self.headers)

    def fail(self, status: int = 404, **headers: str) -> None:
        """Answer with *status* from now on; 404 is not tried again within a refresh."""
        self.answer = lambda _: httpx.Response(status, headers=headers)

    def break_down(self) -> None:
        """Refuse connections from now on."""

        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused", request=request)

        self.answer = refuse

    def recover(self) -> None:
        """Publish again."""
        self.answer = None


@dataclass
class CacheHarness:
    """A cache on an endpoint with one clock for both of its clocks, and the events it gave."""

    endpoint: Endpoint = field(default_factory=Endpoint)
    clock: Clock = field(default_factory=Clock)
    options: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    keys: JWKSCache = field(init=False)

    def __post_init__(self) -> None:
        given = {"monotonic": self.clock, "wall": self.clock, "on_event": self.events.append}
        http = HTTPClient(httpx.MockTransport(self.endpoint))
        self.keys = JWKSCache(URL, **{"http": http, **given, **self.options})

    @property
    def fetches(self) -> int:
        """How many requests reached the endpoint."""
        return len(self.endpoint.requests)

    async def outcome(self, kid: str) -> str:
        """Return what asking for *kid* comes to: `found`, `unknown` or `unavailable`."""
        try:
            await self.keys.key(kid)
        except InvalidToken:
            return "unknown"
        except KeysUnavailable:
            return "unavailable"
        return "found"

    async def outcomes(self, *kids: str) -> list[str]:
        """Ask for all *kids* at once, and return what each came to, in order."""
        results = [""] * len(kids)

        async def ask(index: int, kid: str) -> None:
            results[index] = await self.outcome(kid)

        async with anyio.create_task_group() as group:
            for index, kid in enumerate(kids):
                group.start_soon(ask, index, kid)
        return results

    async def finish_refreshes(self) -> None:
        """Wait until no refresh runs in this event loop."""
        with anyio.fail_after(5):
            for refresh in self.keys._refresher._refreshes.copy():
                if refresh.loop is running_loop():
                    await self.keys._refresher._wait_for_end(refresh)

    async def refresh(self) -> None:
        """Let a background refresh happen, some seconds past the soft limit."""
        self.clock.now += 400
        self.keys.cached("k1")
        await self.finish_refreshes()

    def give_up_refresh(self) -> anyio.Event:
        """Let the refresh that waits at the gate outlive its deadline; return that gate."""
        gate, self.endpoint.gate = self.endpoint.gate, None
        assert gate is not None
        for refresh in self.keys._refresher._refreshes:
            refresh.overdue = 0
        return gate

    def events_of(self, kind: type[Event]) -> list[Any]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class VerifierHarness:
    """A verifier in front of an emulated Descope, all on one clock."""

    clock: Clock = field(default_factory=Clock)
    events: list[Event] = field(default_factory=list)
    descope: DescopeEmulator = field(init=False)
    verifier: TokenVerifier = field(init=False)

    def __post_init__(self) -> None:
        self.descope = DescopeEmulator(PROJECT, clock=self.clock, session_lifetime=86400)
        keys = JWKSCache(
            f"https://api.descope.com{KEYS_PATH}/{PROJECT}",
            http=HTTPClient(self.descope.transport),
            on_event=self.events.append,
            monotonic=self.clock,
            wall=self.clock,
        )
        self.verifier = TokenVerifier(keys, project_id=PROJECT, clock=self.clock)

    @property
    def fetches(self) -> int:
        """How often the keys were asked for."""
        return sum(request.path.startswith(KEYS_PATH) for request in self.descope.requests)

    def break_down(self, times: int = 10_000) -> None:
        """Answer requests for keys with 404 from now on."""
        self.descope.fail(404, times, path=KEYS_PATH)

    async def outcome(self, token: str) -> str:
        """Return what *token* comes to: `200`, `401` or `503`."""
        try:
            await self.verifier.verify(token)
        except (InvalidToken, KeysUnavailable) as error:
            return str(error.status_code)
        return "200"

    async def finish_refreshes(self) -> None:
        """Let background fetches finish."""
        await anyio.wait_all_tasks_blocked()


def under_kid(token: str, kid: str) -> str:
    """Return *token* with another `kid` in its header; a signature that is never checked."""
    header = json.dumps({"alg": "RS256", "kid": kid, "typ": "JWT"}).encode()
    first = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    return f"{first}.{token.partition('.')[2]}"

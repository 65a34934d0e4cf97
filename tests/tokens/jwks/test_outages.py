"""Keys under load, attack and outage, with real tokens: what a deployed guard goes through."""

import base64
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import JWKSCache, RequireSession, StepUpGuard, TokenVerifier
from fastapi_stepup._http import HTTPClient
from fastapi_stepup.errors import InvalidToken, KeysUnavailable
from fastapi_stepup.events import Event, HardExpired, UnknownKid
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.keys import SigningKey
from tests.support.jwks_server import Clock, Endpoint
from tests.support.raw_server import Peer, listening

pytestmark = pytest.mark.anyio

PROJECT = "P2Resilience0000000000000001"
KEYS_PATH = "/v2/keys"


@dataclass
class Site:
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

    async def settle(self) -> None:
        """Let background fetches finish."""
        await anyio.wait_all_tasks_blocked()


@pytest.fixture
def site() -> Site:
    """A verifier that has seen nothing yet."""
    return Site()


def under_kid(token: str, kid: str) -> str:
    """Return *token* with another `kid` in its header; a signature that is never checked."""
    header = json.dumps({"alg": "RS256", "kid": kid, "typ": "JWT"}).encode()
    first = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    return f"{first}.{token.partition('.')[2]}"


@pytest.mark.parametrize("requests", [pytest.param(1000, id="JW-002-tokens")])
async def test_a_thousand_concurrent_cold_requests_make_one_fetch(
    site: Site, requests: int
) -> None:
    """All of them pass, after one fetch."""
    token = site.descope.sign_in("ann@example.com").session_token
    outcomes: list[str] = []

    async def request() -> None:
        outcomes.append(await site.outcome(token))

    async with anyio.create_task_group() as group:
        for _ in range(requests):
            group.start_soon(request)
    assert outcomes == ["200"] * requests
    assert site.fetches == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("tokens", [pytest.param(10_000, id="JW-031")])
async def test_random_kids_force_two_fetches_at_most(site: Site, tokens: int) -> None:
    """10,000 of them within ten seconds, and good tokens pass all along."""
    token = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(token) == "200"
    for number in range(tokens):
        assert await site.outcome(under_kid(token, f"random-{number}")) == "401"
        site.clock.now += 10 / tokens
        if number % 100 == 0:
            assert await site.outcome(token) == "200"
    assert site.fetches <= 3
    counted = [event.outcome for event in site.events if isinstance(event, UnknownKid)]
    assert (counted.count("fetched"), counted.count("throttled")) == (2, tokens - 2)


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param({"header": {"alg": "HS256", "kid": "x"}}, id="JW-035-alg"),
        pytest.param({"header": {"kid": "x", "crit": ["exp"]}}, id="JW-035-header"),
        pytest.param({"header": {"kid": "x"}, "iss": "P2Other"}, id="JW-035-issuer"),
        pytest.param({"header": {"kid": "x"}, "exp": 1}, id="JW-035-expired"),
        pytest.param({"header": {"kid": "x"}, "sub": ""}, id="JW-035-subject"),
        pytest.param({"header": {"kid": "x"}, "drn": "DSR"}, id="JW-035-refresh"),
        pytest.param({"header": {"kid": "x\n"}}, id="JW-035-kid"),
    ],
)
@pytest.mark.parametrize("warm", [0, 1])
async def test_what_could_not_be_genuine_costs_no_fetch(
    site: Site, hostile: dict[str, object], warm: int
) -> None:
    """With keys at hand or without: nothing is asked for a token that would fail anyway."""
    good = site.descope.sign_in("ann@example.com").session_token
    token = site.descope.token(**hostile)  # type: ignore[arg-type]
    for _ in range(warm):
        assert await site.outcome(good) == "200"
    assert await site.outcome(token) == "401"
    assert await site.outcome("not.a.token") == "401"
    assert site.fetches == warm


@pytest.mark.parametrize("forgeries", [pytest.param(1000, id="JW-038")])
async def test_bad_signatures_change_nothing(site: Site, forgeries: int) -> None:
    """A known kid with a bad signature neither evicts the key nor costs a fetch."""
    token = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(token) == "200"
    generation = site.verifier.keys.generation
    forged = site.descope.token(key=SigningKey())
    for _ in range(forgeries):
        assert await site.outcome(forged) == "401"
    assert await site.outcome(token) == "200"
    assert site.verifier.keys.generation == generation
    assert site.fetches == 1


async def test_rotation_and_revocation(site: Site) -> None:
    """A new key works at once; an old one until it leaves the set, at the next refresh."""
    old = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(old) == "200"
    site.descope.rotate_keys()
    rotated = site.descope.sign_in("ann@example.com").session_token
    assert [await site.outcome(token) for token in (rotated, old)] == ["200", "200"]
    site.descope.revoke_keys()
    assert await site.outcome(old) == "200"
    site.clock.now += 310
    await site.outcome(old)
    await site.settle()
    assert [await site.outcome(token) for token in (rotated, old)] == ["401", "401"]
    fresh = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(fresh) == "200"


@pytest.mark.parametrize("hours", [pytest.param(1, id="JW-007-tokens")])
async def test_an_outage_from_beginning_to_end(site: Site, hours: int) -> None:
    """Good tokens pass until the hard limit, then 503 without delay, and it heals by itself."""
    token = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(token) == "200"
    site.break_down()
    for _ in range(59 * hours):
        site.clock.now += 60
        assert await site.outcome(token) == "200"
        assert await site.outcome(under_kid(token, "new")) in {"401", "503"}
        await site.settle()
    site.clock.now += 61
    assert await site.outcome(token) == "503"
    attempts = site.fetches
    started = time.perf_counter()
    with pytest.raises(KeysUnavailable) as refusal:
        await site.verifier.verify(token)
    for _ in range(100):
        assert await site.outcome(token) == "503"
    assert time.perf_counter() - started < 1
    assert 1 <= int(refusal.value.headers["Retry-After"]) <= 60
    assert site.fetches == attempts
    assert await site.outcome("garbage") == "401"
    site.descope.reset()
    site.clock.now += 61
    assert await site.outcome(token) == "200"
    assert site.verifier.keys.health().state == "fresh"
    assert len([event for event in site.events if isinstance(event, HardExpired)]) == 1


@pytest.mark.parametrize("kids", [pytest.param(5000, id="JW-089")])
async def test_unknown_kids_leave_memory_flat(site: Site, kids: int) -> None:
    """Whatever is remembered about tokens that name no key is bounded."""
    token = site.descope.sign_in("ann@example.com").session_token
    assert await site.outcome(token) == "200"
    site.verifier.keys._emit.hook = None
    for number in range(kids):
        await site.outcome(under_kid(token, f"random-{number}"))
        site.clock.now += 0.1
    keys = site.verifier.keys
    assert len(keys._world.negative) <= 256
    assert not keys._aloft
    assert not keys._world.flights


def _app(guard: StepUpGuard, **options: object) -> FastAPI:
    app = FastAPI(**options)  # type: ignore[arg-type]

    @app.get("/me", dependencies=[Depends(RequireSession(guard))])
    async def me() -> dict[str, bool]:
        return {"ok": True}

    return app


@pytest.fixture
def guard() -> StepUpGuard:
    """A guard as an application makes it."""
    return StepUpGuard.for_descope(PROJECT, base_url="https://api.descope.com")


@pytest.mark.parametrize("clients", [pytest.param(2, id="JW-070-test-client")])
def test_a_test_client_needs_no_lifespan(guard: StepUpGuard, clients: int) -> None:
    """Each request of a bare TestClient runs in a loop of its own, and all are served."""
    app = _app(guard)
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        ann = descope.sign_in("ann@example.com")
        for _ in range(clients):
            client = TestClient(app)
            assert [client.get("/me", headers=ann.headers).status_code for _ in range(2)] == [
                200,
                200,
            ]
    assert len(descope.requests) == 1


@pytest.mark.parametrize("prefix", [pytest.param("/shop", id="JW-073")])
def test_a_mounted_app_whose_lifespan_never_runs_is_served(guard: StepUpGuard, prefix: str) -> None:
    """Starlette runs the outer app's lifespan only; the first request opens what it needs."""
    outer = FastAPI()
    outer.mount(prefix, _app(guard, lifespan=guard.lifespan))
    with DescopeEmulator(PROJECT).attach(guard) as descope, TestClient(outer) as client:
        assert not descope.requests
        ann = descope.sign_in("ann@example.com")
        assert client.get(f"{prefix}/me", headers=ann.headers).status_code == 200


@pytest.mark.parametrize(
    ("warmup", "state"), [("require", "fresh"), ("best-effort", "fresh"), ("lazy", "empty")]
)
def test_the_lifespan_warms_keys_up(warmup: str, state: str) -> None:
    """Unless told to wait for a request."""
    guard = StepUpGuard.for_descope(PROJECT, warmup=warmup)  # type: ignore[arg-type]
    with (
        DescopeEmulator(PROJECT).attach(guard),
        TestClient(_app(guard, lifespan=guard.lifespan)) as client,
    ):
        assert guard.health().keys.state == state
        assert guard.health().ok == (state == "fresh")
        assert client.get("/me").status_code == 401


@pytest.mark.parametrize("warmup", [pytest.param("require", id="JW-009-require")])
def test_a_start_that_requires_keys_fails_without_them(warmup: str) -> None:
    """The app does not come up."""
    guard = StepUpGuard.for_descope(PROJECT, warmup=warmup)  # type: ignore[arg-type]
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        descope.fail(503, 10)
        client = TestClient(_app(guard, lifespan=guard.lifespan))
        with pytest.raises(KeysUnavailable):
            client.__enter__()


@pytest.mark.parametrize("warmup", ["best-effort", "lazy"])
def test_other_starts_go_on_without_keys_and_heal(warmup: str) -> None:
    """Requests get 503 with `Retry-After` until the endpoint is back."""
    guard = StepUpGuard.for_descope(PROJECT, warmup=warmup)  # type: ignore[arg-type]
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        ann = descope.sign_in("ann@example.com")
        descope.fail(503, 10)
        with TestClient(_app(guard, lifespan=guard.lifespan)) as client:
            reply = client.get("/me", headers=ann.headers)
            assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
            assert not guard.health().ok
            descope.reset()
            guard.keys._world.next_try = 0
            assert client.get("/me", headers=ann.headers).status_code == 200
            assert guard.health().ok


@pytest.mark.parametrize("age", [pytest.param(400, id="JW-069-app")])
def test_an_app_that_stops_during_a_background_fetch_is_quiet(
    guard: StepUpGuard, age: float
) -> None:
    """The fetch is cancelled with the app; nothing is left, and nothing warns."""
    stalled = Endpoint(gate=anyio.Event())
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        ann = descope.sign_in("ann@example.com")
        with TestClient(_app(guard, lifespan=guard.lifespan)) as client:
            assert client.get("/me", headers=ann.headers).status_code == 200
            world = guard.keys._world
            world.http = HTTPClient(httpx.MockTransport(stalled))
            guard.keys._wall = lambda: time.time() + age
            assert client.get("/me", headers=ann.headers).status_code == 200
            assert guard.keys._aloft
        assert not guard.keys._aloft
        assert not world.flights


def test_loops_in_threads_share_one_guard(guard: StepUpGuard) -> None:
    """Requests from several event loops at once, asyncio and trio, all pass."""
    results: list[int] = []
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        token = descope.sign_in("ann@example.com").session_token

        async def visit() -> None:
            results.extend([len((await guard.verify(token)).subject) for _ in range(20)])

        def work(number: int) -> None:
            anyio.run(visit, backend=("asyncio", "trio")[number % 2])

        workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(results) == 120
    assert 1 <= len(descope.requests) <= 6


async def test_a_disconnected_client_takes_nobody_along(site: Site) -> None:
    """A request that is cancelled while it waits for the first fetch does not end the others."""
    token = site.descope.sign_in("ann@example.com").session_token
    outcomes: list[str] = []

    async def request() -> None:
        outcomes.append(await site.outcome(token))

    async with anyio.create_task_group() as group, anyio.create_task_group() as doomed:
        doomed.start_soon(request)
        group.start_soon(request)
        group.start_soon(request)
        await anyio.lowlevel.checkpoint()
        doomed.cancel_scope.cancel()
    assert outcomes == ["200", "200"]
    assert site.fetches == 1


async def test_keys_over_a_real_socket_and_through_its_failures() -> None:
    """A served key set, then a server that stalls: stale keys serve, and no request waits."""
    descope = DescopeEmulator(PROJECT)
    body = json.dumps({"keys": [descope.signing_key.jwk]}).encode()
    stalled = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        if stalled.is_set():
            peer.over.wait(5)
        peer.answer("200 OK", body)

    clock = Clock(time.time())
    with listening(serve) as server:
        keys = JWKSCache(server.url + KEYS_PATH, wall=clock, monotonic=clock)
        verifier = TokenVerifier(keys, project_id=PROJECT)
        token = descope.sign_in("ann@example.com").session_token
        await verifier.verify(token)
        stalled.set()
        clock.now += 400
        started = time.perf_counter()
        for _ in range(20):
            await verifier.verify(token)
        assert time.perf_counter() - started < 1
        await anyio.sleep(0.1)
        await keys.aclose()
        assert keys.health().state == "stale"
    assert server.connections == 2


async def test_a_revoked_set_is_noticed_even_if_only_bad_tokens_arrive(site: Site) -> None:
    """Any token with a known kid keeps the refresh going, good or not."""
    await site.verifier.keys.warm_up()
    site.clock.now += 310
    assert await site.outcome(site.descope.token(key=SigningKey())) == "401"
    await site.settle()
    assert site.fetches == 2


async def test_static_keys_work_offline_and_step_aside_for_the_emulator() -> None:
    """Nothing is ever fetched, except where a test reroutes the guard."""
    own, emulated = DescopeEmulator(PROJECT), DescopeEmulator(PROJECT)
    keys = {"keys": [own.signing_key.jwk]}
    guard = StepUpGuard.for_descope(PROJECT, static_keys=keys, transport=own.transport)
    async with guard:
        await guard.verify(own.sign_in("ann@example.com").session_token)
        with pytest.raises(InvalidToken):
            await guard.verify(emulated.sign_in("ann@example.com").session_token)
        with emulated.attach(guard):
            await guard.verify(emulated.sign_in("ann@example.com").session_token)
        assert guard.health().ok
    assert (len(own.requests), len(emulated.requests)) == (0, 1)


@pytest.mark.parametrize("option", [pytest.param("-O", id="CF-013")])
def test_rejections_hold_without_assertions(option: str) -> None:
    """Under `python -O` the checks are still there."""
    program = (
        "import asyncio, json\n"
        "import httpx\n"
        "from fastapi_stepup import JWKSCache, errors\n"
        "from fastapi_stepup._http import HTTPClient\n"
        "from fastapi_stepup._urls import checked_base_url\n"
        "answer = lambda _: httpx.Response(200, json={'keys': [{'kty': 'oct', 'k': 'AA'}]})\n"
        "keys = JWKSCache('https://x.example', http=HTTPClient(httpx.MockTransport(answer)))\n"
        "try:\n"
        "    asyncio.run(keys.key('k'))\n"
        "except errors.KeysUnavailable:\n"
        "    print(keys.health().last_error.value, __debug__)\n"
        "for build in (\n"
        "    lambda: JWKSCache('https://x.example', ttl=-1),\n"
        "    lambda: checked_base_url('url', 'http://x.example'),\n"
        "    lambda: HTTPClient(total_timeout=0),\n"
        "):\n"
        "    try:\n"
        "        build()\n"
        "    except errors.ConfigurationError:\n"
        "        print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, option, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["no_usable_key", "False", "refused", "refused", "refused"]

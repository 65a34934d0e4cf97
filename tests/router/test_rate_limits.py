"""Limits of the helper routes: in this process, in Redis, and while Redis is down."""

import asyncio
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import redis
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard, stepup_router
from fastapi_stepup.errors import ConfigurationError, TooManyAttempts
from fastapi_stepup.router.rate_limits import Limiter, StepUpLimits, client_address
from fastapi_stepup.testing import DescopeEmulator
from tests.support.step_up_methods import (
    ANN,
    BODIES,
    BY_NAME,
    ORIGIN,
    Person,
    add_user,
    refusal_of,
    signed_in,
)

REDIS = shutil.which("redis-server")
STAND_IN = (sys.executable, "-m", "tests.support.fake_redis")
SERVERS = [
    pytest.param(
        (REDIS or "redis-server", "--save", "", "--bind", "127.0.0.1", "--port"),
        marks=pytest.mark.skipif(REDIS is None, reason="redis-server is not installed"),
        id="real-redis",
    ),
    pytest.param(STAND_IN, id="stand-in"),
]
NONE_ELSE: dict[str, Any] = {
    "starts_per_subject": None,
    "starts_per_address": None,
    "tries_per_subject": None,
    "tries_per_address": None,
    "polls_per_subject": None,
}


def only(**limits: str) -> StepUpLimits:
    """Return limits that are off but for these."""
    return StepUpLimits(**(NONE_ELSE | limits))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: tuple[str, ...], port: int) -> Iterator[str]:
    """Run a Redis server until the context ends; the value is its URL."""
    url = f"redis://127.0.0.1:{port}"
    root = Path(__file__).parents[2]
    arguments = [*command, str(port)]
    process = subprocess.Popen(arguments, cwd=root, stdout=subprocess.DEVNULL)
    try:
        with closing(redis.Redis.from_url(url)) as client:
            deadline = time.monotonic() + 20
            while not answers(client):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def answers(client: Any) -> bool:
    """Whether the server is up."""
    try:
        client.ping()
    except redis.RedisError:
        return False
    return True


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[tuple[str, ...]], str]]:
    """Start each kind of server once."""
    urls: dict[tuple[str, ...], str] = {}
    with ExitStack() as stack:

        def url_of(command: tuple[str, ...]) -> str:
            if command not in urls:
                urls[command] = stack.enter_context(running(command, free_port()))
            return urls[command]

        yield url_of


@pytest.fixture(params=[pytest.param(None, id="in-memory"), *SERVERS])
def limiter(
    request: pytest.FixtureRequest, servers: Callable[[tuple[str, ...]], str]
) -> Callable[[StepUpLimits], Limiter]:
    """Make limiters that count here, or in Redis; each test counts apart."""
    command: tuple[str, ...] | None = request.param
    url = None if command is None else servers(command)
    namespace = f"P{time.monotonic_ns()}"
    return lambda limits: Limiter(limits, namespace=namespace, redis_url=url)


async def passes(limiter: Limiter, subject: str = "U1", **keys: Any) -> bool:
    """Whether another try passes."""
    try:
        await limiter.count_try(subject=subject, **({"address": None} | keys))
    except TooManyAttempts:
        return False
    return True


# -- counting


@pytest.mark.anyio
async def test_no_more_than_the_limit_pass(limiter: Callable[[StepUpLimits], Limiter]) -> None:
    """Per user; another user has a count of their own, and `Retry-After` says how long."""
    counting = limiter(only(tries_per_subject="3/10 minutes"))

    assert [await passes(counting) for _ in range(5)] == [True, True, True, False, False]
    assert await passes(counting, "U2")
    with pytest.raises(TooManyAttempts) as refusal:
        await counting.count_try(subject="U1", address=None)
    assert 595 <= int(refusal.value.headers["Retry-After"]) <= 600


@pytest.mark.anyio
async def test_ot_011_counting_is_atomic(limiter: Callable[[StepUpLimits], Limiter]) -> None:
    """Of fifty parallel tries no more than the limit pass."""
    counting = limiter(only(tries_per_subject="7/hour"))
    passed: list[bool] = []

    async def attempt() -> None:
        passed.append(await passes(counting))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(attempt)

    assert sorted(passed) == [False] * 43 + [True] * 7


def test_ot_011_counting_is_atomic_over_event_loops(
    limiter: Callable[[StepUpLimits], Limiter],
) -> None:
    """Fifty threads, each with a loop of its own, share one count."""
    counting = limiter(only(tries_per_subject="7/hour"))
    passed: list[bool] = []
    ready = threading.Barrier(50)

    def attempt() -> None:
        ready.wait()
        passed.append(asyncio.run(passes(counting)))

    threads = [threading.Thread(target=attempt) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(passed) == [False] * 43 + [True] * 7


@pytest.mark.anyio
async def test_window_moves(limiter: Callable[[StepUpLimits], Limiter]) -> None:
    """A try counts until it is as old as the window, not until a full minute or so."""
    counting = limiter(only(tries_per_subject="2/1 second"))

    assert await passes(counting)
    await anyio.sleep(0.6)
    assert await passes(counting)
    assert not await passes(counting)
    await anyio.sleep(0.5)
    assert await passes(counting)
    assert not await passes(counting)


@pytest.mark.anyio
async def test_several_limits_in_one_all_hold(limiter: Callable[[StepUpLimits], Limiter]) -> None:
    """A short and a long window together."""
    counting = limiter(only(tries_per_subject="2/1 second; 3/hour"))

    assert [await passes(counting) for _ in range(3)] == [True, True, False]
    await anyio.sleep(1.1)
    assert [await passes(counting) for _ in range(2)] == [True, False]


@pytest.mark.anyio
async def test_cooldown_is_per_user_and_method(limiter: Callable[[StepUpLimits], Limiter]) -> None:
    """The next code has to wait; by another method, or to somebody else, it need not."""
    counting = limiter(only(resend_cooldown="1/30 seconds", starts_per_subject="3/hour"))

    await counting.count_start(subject="U1", address=None, method="otp email")
    for _ in range(5):
        with pytest.raises(TooManyAttempts) as refusal:
            await counting.count_start(subject="U1", address=None, method="otp email")
        assert 25 <= refusal.value.retry_after <= 30  # type: ignore[operator]
    await counting.count_start(subject="U1", address=None, method="otp sms")
    await counting.count_start(subject="U2", address=None, method="otp email")
    # What the cool-down refused was never sent, so it is not counted as sent.
    await counting.count_start(subject="U1", address=None, method="totp")
    with pytest.raises(TooManyAttempts):
        await counting.count_start(subject="U1", address=None, method="notp")


@pytest.mark.anyio
async def test_starts_tries_and_polls_are_counted_apart(
    limiter: Callable[[StepUpLimits], Limiter],
) -> None:
    """Whoever was sent many codes may still try the last one."""
    one = "1/hour"
    counting = limiter(only(starts_per_subject=one, tries_per_subject=one, polls_per_subject=one))

    for _ in range(2):
        with pytest.raises(TooManyAttempts) if _ else ExitStack():
            await counting.count_start(subject="U1", address=None, method="m")
    assert [await passes(counting) for _ in range(2)] == [True, False]
    await counting.count_poll(subject="U1")
    with pytest.raises(TooManyAttempts):
        await counting.count_poll(subject="U1")


@pytest.mark.anyio
async def test_address_that_is_not_known_is_not_counted() -> None:
    """Not all strangers together."""
    counting = Limiter(only(tries_per_address="1/hour"), namespace="P1")

    assert [await passes(counting, address=None) for _ in range(3)] == [True] * 3
    assert [await passes(counting, address="1.2.3.4") for _ in range(2)] == [True, False]


@pytest.mark.anyio
async def test_what_one_user_is_refused_does_not_count_for_their_address() -> None:
    """One guesser does not lock out everybody behind the same address."""
    counting = Limiter(only(tries_per_subject="1/hour", tries_per_address="3/hour"), namespace="P")

    for _ in range(9):
        await passes(counting, "U1", address="1.2.3.4")

    others = [await passes(counting, f"U{n}", address="1.2.3.4") for n in range(2, 6)]
    assert others == [True, True, False, False]


@pytest.mark.anyio
async def test_ot_010_hundred_sessions_of_one_user_are_one_user(guard: StepUpGuard) -> None:
    """A guesser with many sessions has the tries of one, whatever the address."""
    with signed_in(guard) as ann:
        person = Person(guard, ann.descope, options={"limits": only(tries_per_subject="5/hour")})
        BY_NAME["totp"].prepare(person)
        codes = []
        for _ in range(100):
            person.tokens = person.descope.sign_in(ANN)
            codes.append(refusal_of(person.post("/totp/verify", code="000000"))[1])

    assert codes == ["otp_rejected"] * 5 + ["too_many_attempts"] * 95


@pytest.mark.anyio
async def test_ot_011_parallel_requests_reach_descope_no_more_often_than_the_limit(
    guard: StepUpGuard,
) -> None:
    """Fifty codes at once, from one user: seven are tried."""
    with signed_in(guard, max_attempts=99) as ann:
        person = Person(guard, ann.descope, options={"limits": only(tries_per_subject="7/hour")})
        BY_NAME["totp"].prepare(person)
        transport = httpx2.ASGITransport(app=person.client.app)
        statuses: list[int] = []

        async def attempt(client: httpx2.AsyncClient) -> None:
            body = {"code": "000000", "refresh_token": person.tokens.refresh_token}
            headers = person.tokens.headers
            reply = await client.post("/step-up/totp/verify", headers=headers, json=body)
            statuses.append(reply.status_code)

        async with (
            httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(50):
                group.start_soon(attempt, client)

    assert statuses.count(429) == 43
    assert len(person.asked_of_descope("/v1/auth/totp")) == 7


def test_address_counts_for_all_users_behind_it(guard: StepUpGuard) -> None:
    """Trying one code on each of many users is counted too; the clients' own word is not asked."""
    with signed_in(guard) as ann:
        limits = only(tries_per_address="3/hour", starts_per_address="3/hour")
        person = Person(guard, ann.descope, options={"limits": limits})
        client = person.client
        codes: dict[str, list[int]] = {"/otp/start": [], "/otp/verify": []}
        for n in range(5):
            add_user(ann.descope, f"user{n}@example.com", f"+1555010{n:04d}")
            user = Person(guard, ann.descope, f"user{n}@example.com", app=client.app)  # type: ignore[arg-type]
            for path, statuses in codes.items():
                headers = user.headers | {"X-Forwarded-For": f"10.0.0.{n}", "X-Real-IP": f"::{n}"}
                body = BODIES[path] | {"refresh_token": user.tokens.refresh_token}
                response = client.post(f"/step-up{path}", headers=headers, json=body)
                statuses.append(response.status_code)

    assert codes == {"/otp/start": [200] * 3 + [429] * 2, "/otp/verify": [400] * 3 + [429] * 2}


@pytest.mark.parametrize("server", SERVERS)
def test_two_processes_count_together_in_redis(
    guard: StepUpGuard,
    server: tuple[str, ...],
    servers: Callable[[tuple[str, ...]], str],
) -> None:
    """Two routers with the same `redis_url` are one limit; nothing readable is left there."""
    url = servers(server)
    options = {"limits": only(tries_per_subject="4/hour"), "redis_url": url}
    with signed_in(guard) as ann:
        persons = [Person(guard, ann.descope, options=options) for _ in range(2)]
        for person in persons:
            person.tokens = ann.tokens
        statuses = [
            person.post("/otp/verify", delivery="email", code="000000").status_code
            for _ in range(3)
            for person in persons
        ]

    assert statuses == [400] * 4 + [429] * 2
    with closing(redis.Redis.from_url(url)) as client:
        keys = str(client.keys("*"))
    assert ann.tokens.user_id not in keys


# -- Redis comes and goes


@pytest.mark.anyio
@pytest.mark.parametrize("server", SERVERS)
async def test_redis_that_is_down_locks_nobody_out_and_lifts_no_limit(
    server: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """This process counts alone, says so once, and Redis counts again when it is back."""
    caplog.set_level(logging.INFO, "fastapi_stepup")
    port = free_port()
    limits = only(tries_per_subject="4/hour")
    with running(server, port) as url:
        counting = Limiter(limits, namespace="P1", redis_url=url)
        assert [await passes(counting) for _ in range(2)] == [True, True]

    # What this process saw before counts on.
    alone = [await passes(counting) for _ in range(5)]
    counting._redis_again = time.monotonic()
    alone.append(await passes(counting))
    with running(server, port):
        assert counting._redis_again > time.monotonic()
        alone.append(await passes(counting))
        counting._redis_again = time.monotonic()
        together = [await passes(counting) for _ in range(5)]

    assert alone == [True, True, False, False, False, False, False]
    assert together == [True, True, True, True, False]
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "Redis cannot count (StorageError); this process counts alone.",
        "Redis counts again.",
    ]


@pytest.mark.anyio
async def test_redis_that_hangs_costs_a_second_once(caplog: pytest.LogCaptureFixture) -> None:
    """Fifty requests at a time that find out together wait no longer, and one warning says so."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=100)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        counting = Limiter(only(tries_per_subject="99/hour"), namespace="P1", redis_url=url)
        started = time.monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(passes, counting)
        together = time.monotonic() - started
        started = time.monotonic()
        assert await passes(counting)
        afterwards = time.monotonic() - started

    assert together < 4
    assert afterwards < 0.2
    assert len([r for r in caplog.records if "counts alone" in r.message]) == 1


def test_routes_work_while_redis_is_down(
    guard: StepUpGuard, caplog: pytest.LogCaptureFixture
) -> None:
    """From the first request on; the warning holds neither URL nor password."""
    url = f"redis://:s3cret@127.0.0.1:{free_port()}/0"
    with signed_in(guard) as ann:
        person = Person(guard, ann.descope, options={"redis_url": url})

        assert BY_NAME["otp-email"].walk(person).status_code == 200

    warnings = [r.getMessage() for r in caplog.records if r.name == "fastapi_stepup"]
    assert warnings == ["Redis cannot count (StorageError); this process counts alone."]


# -- addresses


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        pytest.param(("192.0.2.7", 50000), "192.0.2.7", id="ipv4"),
        pytest.param(("::ffff:192.0.2.7", 1), "192.0.2.7", id="mapped"),
        pytest.param(("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::", id="ipv6"),
        pytest.param(("2001:db8:1:2:ffff::9", 1), "2001:db8:1:2::", id="same-site"),
        pytest.param(("2001:db8:1:3::1", 1), "2001:db8:1:3::", id="another-site"),
        pytest.param(("fe80::1%eth0", 1), "fe80::", id="zone"),
        pytest.param(("testclient", 1), "testclient", id="name"),
        pytest.param(("", 0), None, id="socket-file"),
        pytest.param(None, None, id="none"),
    ],
)
def test_address_of_a_client(client: tuple[str, int] | None, expected: str | None) -> None:
    """An IPv6 customer has a /64 to choose from, which counts as one address."""
    assert client_address(client) == expected


def test_address_is_that_of_the_connection(guard: StepUpGuard) -> None:
    """One /64 is one address, end to end."""
    with signed_in(guard) as ann:
        limits = only(tries_per_address="1/hour")
        person = Person(guard, ann.descope, options={"limits": limits})
        statuses = []
        for host in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
            client = TestClient(person.client.app, base_url=ORIGIN, client=(host, 1))
            reply = client.post("/step-up/enchantedlink/verify", json={"token": "x"})
            statuses.append(reply.status_code)

    assert statuses == [400, 429, 400]


# -- configuration


@pytest.mark.parametrize(
    "limit",
    [
        "often",
        "",
        "5",
        "0/hour",
        "-1/hour",
        "5/fortnight",
        5,
        ("5/hour",),
        b"5/hour",
    ],
    ids=repr,
)
def test_limit_that_cannot_be_read_says_how_it_is_written(limit: Any) -> None:
    """A limit that is none is never silently no limit, nor one that nobody meets."""
    with pytest.raises(ConfigurationError, match='written like "5/10 minutes"'):
        Limiter(StepUpLimits(tries_per_subject=limit), namespace="P1")


def test_limits_are_limits(guard: StepUpGuard) -> None:
    """A notation alone does not say what it limits."""
    wrong: Any = "5/hour"
    with pytest.raises(ConfigurationError, match="limits is a StepUpLimits"):
        stepup_router(guard, limits=wrong)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1",
        "memory://",
        "async+redis://x",
        "redis://x:port",
        "http://x",
        "",
        7,
        b"redis://x",
    ],
    ids=repr,
)
def test_redis_url_is_one(url: Any) -> None:
    """Another store of `limits` is no Redis; what was given is not repeated."""
    with pytest.raises(ConfigurationError, match=r"redis_url must be a redis:// .*\[redis\]") as no:
        Limiter(StepUpLimits(), namespace="P1", redis_url=url)
    assert (no.value.__cause__, no.value.__suppress_context__ or no.value.__context__) in {
        (None, True),
        (None, None),
    }


def test_default_limits_need_no_extra(
    guard: StepUpGuard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the package there are none, and a warning says so once per router."""
    assert find_spec("limits") is not None
    monkeypatch.setitem(sys.modules, "limits", None)

    stepup_router(guard)

    (record,) = caplog.records
    assert "pip install 'fastapi-stepup[limits]'" in record.getMessage()


def test_no_limits_are_no_warning(
    guard: StepUpGuard, descope: DescopeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """`limits=None` is a decision."""
    add_user(descope, ANN)
    person = Person(guard, descope, options={"limits": None})

    assert BY_NAME["enchantedlink"].walk(person).status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("options", [{"limits": StepUpLimits()}, {"redis_url": "redis://x"}])
def test_limits_that_were_asked_for_need_the_extra(
    guard: StepUpGuard, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """What cannot be kept is not promised."""
    monkeypatch.setitem(sys.modules, "limits", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'fastapi-stepup\[limits\]'"):
        stepup_router(guard, **options)


def test_redis_needs_its_extra(guard: StepUpGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    """`limits` without the Redis client is not enough for a `redis_url`."""
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'fastapi-stepup\[redis\]'"):
        stepup_router(guard, redis_url="redis://127.0.0.1")

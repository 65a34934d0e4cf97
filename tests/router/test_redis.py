"""Counting in this process and in Redis, and while Redis is down."""

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
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis

from fastapi_stepup import StepUpGuard
from fastapi_stepup.errors import ConfigurationError, TooManyAttempts
from fastapi_stepup.router.rate_limits import Limiter, StepUpLimits
from tests.router.test_rate_limits import only, passes
from tests.support.step_up_methods import BY_NAME, Person, signed_in

REDIS = shutil.which("redis-server")
FAKE = (sys.executable, "-m", "tests.support.fake_redis")
SERVERS = [
    pytest.param(
        (REDIS or "redis-server", "--save", "", "--bind", "127.0.0.1", "--port"),
        marks=[
            pytest.mark.redis,
            pytest.mark.skipif(REDIS is None, reason="redis-server is not installed"),
        ],
        id="real-redis",
    ),
    pytest.param(FAKE, id="fake-redis"),
]


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
    """Return whether the server is up."""
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
async def test_counting_is_atomic(limiter: Callable[[StepUpLimits], Limiter]) -> None:
    """Of fifty parallel tries no more than the limit pass."""
    counting = limiter(only(tries_per_subject="7/hour"))
    passed: list[bool] = []

    async def attempt() -> None:
        passed.append(await passes(counting))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(attempt)

    assert sorted(passed) == [False] * 43 + [True] * 7


def test_counting_is_atomic_over_event_loops(
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


@pytest.mark.slow
@pytest.mark.anyio
async def test_window_moves(limiter: Callable[[StepUpLimits], Limiter]) -> None:
    """A try counts until it is as old as the window, not until a full minute or so."""
    counting = limiter(only(tries_per_subject="2/2 seconds"))

    assert await passes(counting)
    await anyio.sleep(1.2)
    assert await passes(counting)
    assert not await passes(counting)
    await anyio.sleep(1.0)
    assert await passes(counting)
    assert not await passes(counting)


@pytest.mark.slow
@pytest.mark.anyio
async def test_several_limits_in_one_all_hold(limiter: Callable[[StepUpLimits], Limiter]) -> None:
    """A short and a long window together."""
    counting = limiter(only(tries_per_subject="2/1 second; 3/hour"))

    assert [await passes(counting) for _ in range(3)] == [True, True, False]
    await anyio.sleep(1.1)
    assert [await passes(counting) for _ in range(2)] == [True, False]


@pytest.mark.anyio
async def test_cooldown_is_per_user_and_method(limiter: Callable[[StepUpLimits], Limiter]) -> None:
    """The next code has to wait; by another method, or to another user, it need not."""
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
    """A user who was sent many codes may still try the last one."""
    one = "1/hour"
    counting = limiter(only(starts_per_subject=one, tries_per_subject=one, polls_per_subject=one))

    for _ in range(2):
        with pytest.raises(TooManyAttempts) if _ else ExitStack():
            await counting.count_start(subject="U1", address=None, method="m")
    assert [await passes(counting) for _ in range(2)] == [True, False]
    await counting.count_poll(subject="U1")
    with pytest.raises(TooManyAttempts):
        await counting.count_poll(subject="U1")


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


@pytest.mark.anyio
@pytest.mark.parametrize("server", SERVERS)
async def test_redis_that_is_down_locks_no_user_out_and_lifts_no_limit(
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

        assert BY_NAME["otp-email"].complete(person).status_code == 200

    warnings = [r.getMessage() for r in caplog.records if r.name == "fastapi_stepup"]
    assert warnings == ["Redis cannot count (StorageError); this process counts alone."]


def test_redis_url_is_one(subtests: pytest.Subtests) -> None:
    """Another store of `limits` is no Redis; what was given is not repeated."""
    rows: list[Any] = [
        "127.0.0.1",
        "memory://",
        "async+redis://x",
        "redis://x:port",
        "http://x",
        "",
        7,
        b"redis://x",
    ]
    for url in rows:
        with subtests.test(url=url):
            with pytest.raises(
                ConfigurationError, match=r"redis_url must be a redis:// .*\[redis\]"
            ) as no:
                Limiter(StepUpLimits(), namespace="P1", redis_url=url)
            assert (no.value.__cause__, no.value.__suppress_context__ or no.value.__context__) in {
                (None, True),
                (None, None),
            }


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://127.0.0.1:26379/mymaster",
        "redis+unix:///run/redis.sock",
        "rediss://127.0.0.1:6379/0",
    ],
)
def test_url_may_be_any_that_limits_takes(url: str) -> None:
    """Sentinels, sockets and TLS; nothing is connected before the first count."""
    Limiter(StepUpLimits(), namespace="P1", redis_url=url)


@pytest.mark.parametrize("url", ["valkey://127.0.0.1", "redis+cluster://127.0.0.1:1"])
def test_url_whose_client_or_server_is_missing_says_what_is_needed(url: str) -> None:
    """A Valkey client that is not installed, a cluster that cannot be asked for its nodes."""
    with pytest.raises(ConfigurationError, match=r"valkey://, .*\[redis\].*\(\w+\)\.$"):
        Limiter(StepUpLimits(), namespace="P1", redis_url=url)


def test_one_request_finds_out_whether_redis_is_back() -> None:
    """After the pause the first may ask, the others need not wait for that."""
    limiter = Limiter(StepUpLimits(), namespace="P1", redis_url="redis://127.0.0.1:1")
    limiter._redis_failed("Error")
    assert not limiter._redis_is_due()

    limiter._redis_again = time.monotonic() - 0.001

    assert [limiter._redis_is_due() for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("url", ["redis://x:port", "http://x"])
def test_url_that_cannot_be_read_names_the_kind_of_error_alone(url: str) -> None:
    """Never the URL, which may hold a password."""
    kind = "ValueError" if url == "redis://x:port" else "scheme"

    with pytest.raises(ConfigurationError, match=rf"\({kind}\)\.$"):
        Limiter(StepUpLimits(), namespace="P1", redis_url=url)

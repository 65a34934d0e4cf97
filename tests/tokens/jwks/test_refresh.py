"""One fetch for all who ask, behind the readers; bad replies; events."""

import json
from collections.abc import Callable
from contextvars import ContextVar

import anyio
import anyio.from_thread
import httpx
import pytest

from fastapi_stepup._http import HTTPClient, HTTPRequest, HTTPResponse
from fastapi_stepup.errors import FailureReason
from fastapi_stepup.events import (
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    KeySkipped,
    StaleServed,
)
from tests.support.jwks_server import (
    URL,
    CacheHarness,
    Endpoint,
    jwk,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "waiters",
    [
        pytest.param(1, id="JW-001"),
        pytest.param(200, id="JW-002"),
        pytest.param(1000, id="JW-002-thousand"),
    ],
)
async def test_a_cold_cache_makes_one_fetch_for_all_who_ask(waiters: int) -> None:
    """However many ask a cold cache at once, the endpoint is asked once and all are served."""
    harness = CacheHarness()
    assert await harness.outcomes(*["k1"] * waiters) == ["found"] * waiters
    assert harness.fetches == 1


@pytest.mark.parametrize(
    ("readers", "past"),
    [
        pytest.param(1, 1.2 * 300, id="JW-005"),
        pytest.param(200, 1.2 * 300, id="JW-006"),
        pytest.param(1, 0.995 * 300, id="refresh-ahead"),
    ],
)
async def test_a_due_refresh_runs_behind_the_readers(readers: int, past: float) -> None:
    """Past the soft limit, or shortly before it, readers get the old set and one fetch starts."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.clock.now += past
    harness.endpoint.gate = anyio.Event()
    for _ in range(readers):
        assert harness.keys.cached("k1") is not None
    with anyio.fail_after(0.5):
        assert await harness.outcomes(*["k1"] * readers) == ["found"] * readers
    await anyio.wait_all_tasks_blocked()
    assert harness.fetches == 2
    harness.endpoint.gate.set()
    await harness.finish_refreshes()
    assert harness.keys.health().state == "fresh"
    assert harness.keys.health().age == 0


BAD_ANSWERS = [
    *[
        pytest.param(
            lambda _, status=status, target=target: httpx.Response(
                status, headers={"Location": target}
            ),
            FailureReason.REDIRECT,
            id=f"JW-014-{status}",
        )
        for status, target in (
            (301, "https://attacker.example/jwks.json"),
            (302, "http://keys.example/v2/keys/P2x"),
            (303, "http://169.254.169.254/latest"),
            (307, "https://attacker.example/jwks.json"),
            (308, "https://attacker.example/jwks.json"),
        )
    ],
    pytest.param(
        lambda _: httpx.Response(200, html="<html>Sign in to the Wi-Fi</html>"),
        FailureReason.NOT_JSON,
        id="JW-015",
    ),
    pytest.param(
        lambda _: httpx.Response(200, json={"keys": []}), FailureReason.NO_USABLE_KEY, id="JW-017"
    ),
    pytest.param(
        lambda _: httpx.Response(200, content=b'{"keys":["\xff\xfe"]}'),
        FailureReason.NOT_JSON,
        id="JW-018-bad-utf-8",
    ),
    pytest.param(
        lambda _: httpx.Response(200, content=json.dumps({"keys": [jwk("k1")]}).encode("utf-16")),
        FailureReason.NOT_JSON,
        id="JW-018-utf-16",
    ),
    pytest.param(
        lambda _: httpx.Response(
            200, content=json.dumps({"keys": [jwk("k1")]}).encode("utf-8-sig")
        ),
        FailureReason.NOT_JSON,
        id="JW-018-bom",
    ),
    pytest.param(
        lambda _: httpx.Response(200, content=b'{"keys":' + b"[" * 60_000),
        FailureReason.NOT_JSON,
        id="JW-019",
    ),
    pytest.param(
        lambda _: httpx.Response(200, content=b"[" * 200_000),
        FailureReason.TOO_LARGE,
        id="JW-019-200000",
    ),
    pytest.param(
        lambda _: httpx.Response(200, json={"keys": {"k1": jwk("k1")}}),
        FailureReason.NOT_A_KEY_SET,
        id="keys-an-object",
    ),
    pytest.param(
        lambda _: httpx.Response(200, json=[jwk("k1")]), FailureReason.NOT_JSON, id="a-bare-list"
    ),
    pytest.param(
        lambda _: httpx.Response(200, json=jwk("k1")), FailureReason.NOT_A_KEY_SET, id="a-bare-key"
    ),
    pytest.param(
        lambda _: httpx.Response(200, json={"keys": [jwk(f"k{n}") for n in range(65)]}),
        FailureReason.TOO_MANY_KEYS,
        id="65-keys",
    ),
    pytest.param(
        lambda _: httpx.Response(200, content=b'{"keys":[],"keys":[]}'),
        FailureReason.NOT_JSON,
        id="duplicate-member",
    ),
    pytest.param(lambda _: httpx.Response(204), FailureReason.STATUS, id="204"),
    pytest.param(
        lambda _: httpx.Response(206, json={"keys": [jwk("k9")]}), FailureReason.STATUS, id="206"
    ),
    pytest.param(
        lambda _: httpx.Response(403, json={"keys": [jwk("k9")]}),
        FailureReason.CLIENT_ERROR,
        id="403-with-keys",
    ),
    pytest.param(
        lambda _: httpx.Response(304, headers={"ETag": '"x"'}),
        FailureReason.REDIRECT,
        id="JW-065-unasked",
    ),
    pytest.param(
        lambda _: httpx.Response(
            200, stream=httpx.ByteStream(b"{}"), headers={"Content-Encoding": "gzip"}
        ),
        FailureReason.ENCODING,
        id="gzip",
    ),
]


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS)
async def test_a_bad_answer_leaves_the_old_set_in_force(
    answer: Callable[[httpx.Request], httpx.Response], reason: FailureReason
) -> None:
    """Whatever is no key set is a failed fetch: counted, backed off from, and changes nothing."""
    harness = CacheHarness()
    await harness.outcome("k1")
    generation = harness.keys.generation
    harness.endpoint.answer = answer
    await harness.refresh()
    assert harness.keys.cached("k1") is not None
    assert harness.keys.generation == generation
    health = harness.keys.health()
    assert (health.failures, health.last_error) == (1, reason)
    assert [request.url for request in harness.endpoint.requests] == [httpx.URL(URL)] * 2


async def test_a_bad_answer_to_a_cold_cache_is_503() -> None:
    """Without an old set the same answers mean that nothing can be verified."""
    harness = CacheHarness(Endpoint(keys=[]))
    assert await harness.outcome("k1") == "unavailable"
    assert harness.keys.health().last_error is FailureReason.NO_USABLE_KEY


async def test_the_hard_limit_may_pass_while_readers_wait() -> None:
    """A set that expires under a slow refresh is not served, and what arrives serves again."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.clock.now += 3600 - 1
    harness.endpoint.gate = anyio.Event()
    assert harness.keys.cached("k1") is not None
    await anyio.wait_all_tasks_blocked()
    harness.clock.now += 2
    assert harness.keys.cached("k1") is None
    async with anyio.create_task_group() as group:
        group.start_soon(harness.outcome, "k1")
        await anyio.wait_all_tasks_blocked()
        harness.endpoint.gate.set()
    assert harness.keys.cached("k1") is not None
    assert harness.fetches == 2


async def test_a_bad_member_is_reported_once_and_again_when_it_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Skipped members make events and (alarming ones) warnings when they change only."""
    private = jwk("private", 1, d="AQAB")
    harness = CacheHarness(Endpoint(keys=[jwk("k1"), private, jwk("enc", 1, use="enc")]))
    await harness.outcome("k1")
    await harness.refresh()
    await harness.refresh()
    expected = [KeySkipped("private_members", alarming=True), KeySkipped("use")]
    assert harness.events_of(KeySkipped) == expected
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    harness.endpoint.keys = [jwk("k1"), private]
    await harness.refresh()
    harness.endpoint.keys = [jwk("k1")]
    await harness.refresh()
    assert harness.events_of(KeySkipped) == [*expected, expected[0]]


async def test_the_events_of_a_life() -> None:
    """A fetch, a change, an outage and its end, reported in order and in numbers."""
    harness = CacheHarness()
    await harness.outcome("k1")
    harness.endpoint.keys = [jwk("k1"), jwk("k2", 1)]
    await harness.refresh()
    harness.endpoint.break_down()
    await harness.refresh()
    harness.clock.now += 30
    harness.keys.cached("k1")
    kinds = [type(event) for event in harness.events]
    assert kinds == [
        FetchStarted,
        FetchSucceeded,
        StaleServed,
        FetchStarted,
        FetchSucceeded,
        StaleServed,
        FetchStarted,
        FetchStarted,
        FetchFailed,
        StaleServed,
    ]
    assert [event.attempt for event in harness.events_of(FetchStarted)] == [1, 1, 1, 2]
    first, second = harness.events_of(FetchSucceeded)
    assert (first.keys, first.added, first.removed, first.changed) == (1, 1, 0, 0)
    assert (second.keys, second.added, second.removed, second.changed) == (2, 1, 0, 0)
    assert first.size > 300
    failed = harness.events_of(FetchFailed)[0]
    assert (failed.reason, failed.attempt) == (FailureReason.CONNECT, 1)
    await harness.keys.aclose()


class _Surprising(HTTPClient):
    """An HTTP client with a bug in it."""

    async def send(
        self, request: HTTPRequest, *, deadline: float | None = None, max_body: int = 65536
    ) -> HTTPResponse:
        raise KeyError("surprise")


async def test_an_unexpected_failure_is_a_failure_like_any_other() -> None:
    """Nobody awaits the fetch, so whatever goes wrong in it is counted and nothing escapes."""
    harness = CacheHarness(options={"http": _Surprising()})
    assert await harness.outcome("k1") == "unavailable"
    assert harness.keys.health().last_error is FailureReason.UNEXPECTED


async def test_one_refresh_has_one_deadline_for_both_of_its_tries() -> None:
    """A waiter waits for the total deadline, not for one per try."""
    endpoint = Endpoint(gate=anyio.Event())
    http = HTTPClient(httpx.MockTransport(endpoint), total_timeout=0.1)
    harness = CacheHarness(endpoint, options={"http": http})
    started = anyio.current_time()
    assert await harness.outcomes("k1", "k1") == ["unavailable"] * 2
    assert anyio.current_time() - started < 0.4
    assert harness.fetches == 1
    assert harness.keys.health().last_error is FailureReason.TIMEOUT


@pytest.mark.parametrize("variable", [pytest.param("request", id="no-request-context")])
async def test_a_fetch_does_not_inherit_the_context_of_the_request(variable: str) -> None:
    """Context variables of the request that happens to start it do not reach the fetch."""
    of_request: ContextVar[str] = ContextVar("of_request", default="none")
    seen: list[str] = []
    harness = CacheHarness(options={"on_event": lambda _: seen.append(of_request.get())})
    of_request.set(variable)
    await harness.outcome("k1")
    assert seen == ["none", "none"]

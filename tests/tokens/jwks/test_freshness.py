"""How long a set is fresh: `Cache-Control`, `Age`, entity tags, and the jitter."""

import json
from typing import Any

import httpx
import pytest

from fastapi_stepup.errors import FailureReason
from fastapi_stepup.events import (
    FetchSucceeded,
)
from tests.support.jwks_server import (
    CacheHarness,
    Endpoint,
    jwk,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("replies", "lifetime"),
    [
        pytest.param(
            [
                {},
                {"Cache-Control": "s-maxage=900"},
                {"Cache-Control": "x-max-age=900"},
                {"Age": "500"},
            ],
            300,
            id="JW-063-absent",
        ),
        pytest.param(
            [
                {"Cache-Control": "max-age=120"},
                {"Cache-Control": "public, MAX-AGE = 120"},
                {"Cache-Control": 'max-age="120"'},
                {"Cache-Control": "max-age=120, max-age=120"},
            ],
            120,
            id="JW-063-within",
        ),
        pytest.param(
            [{"Cache-Control": "max-age=10"}, {"Cache-Control": "max-age=900", "Age": "5000"}],
            60,
            id="JW-063-short",
        ),
        pytest.param(
            [{"Cache-Control": "max-age=86400"}, {"Cache-Control": "max-age=" + "9" * 5000}],
            3600,
            id="JW-063-long",
        ),
        pytest.param(
            [
                {"Cache-Control": value}
                for value in (
                    "max-age=-1",
                    "max-age=1e99",
                    "max-age=abc",
                    "max-age=\u00b2",
                    "max-age",
                    "max-age=600, max-age=900",
                )
            ],
            60,
            id="JW-063-unreadable",
        ),
        pytest.param(
            [{"Cache-Control": "no-store"}, {"Cache-Control": "no-cache, max-age=900"}],
            60,
            id="JW-063-not-to-be-kept",
        ),
        pytest.param([{"Cache-Control": "max-age=900", "Age": "500"}], 400, id="JW-063-age"),
        pytest.param([{"Cache-Control": "max-age=900", "Age": "-1"}], 900, id="JW-063-bad-age"),
        pytest.param(
            [
                {"Expires": "0", "Date": "0"},
                {"Date": "Sat, 1 Jan 9999 00:00:00 GMT"},
                {"Last-Modified": "not a date"},
            ],
            300,
            id="JW-066",
        ),
    ],
)
async def test_the_soft_limit_follows_the_reply_within_bounds(
    replies: list[dict[str, str]], lifetime: float, subtests: pytest.Subtests
) -> None:
    """`Cache-Control` and `Age` set the soft limit between a minute and an hour."""
    body = json.dumps({"keys": [jwk("k1")]}).encode()
    for headers in replies:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        reply = httpx.Response(200, content=body, headers=raw)
        harness = CacheHarness(Endpoint(answer=lambda _, reply=reply: reply))  # type: ignore[misc]
        with subtests.test(headers=headers):
            await harness.outcome("k1")
            snapshot = harness.keys._state.snapshot
            assert snapshot is not None
            assert snapshot.lifetime == lifetime


@pytest.mark.parametrize("lifetime", [120, 3000])
async def test_a_set_is_fetched_again_at_its_soft_limit(lifetime: int) -> None:
    """Give or take, so that workers that started together do not ask together."""
    endpoint = Endpoint(headers={"Cache-Control": f"max-age={lifetime}"})
    harness = CacheHarness(endpoint, options={"max_stale": 86400})
    await harness.outcome("k1")
    harness.clock.now += 0.8 * lifetime
    harness.keys.cached("k1")
    await harness.finish_refreshes()
    assert harness.fetches == 1
    harness.clock.now += 0.3 * lifetime
    harness.keys.cached("k1")
    await harness.finish_refreshes()
    assert harness.fetches == 2


@pytest.mark.parametrize(
    ("options", "lifetime"),
    [
        pytest.param({"max_stale": 0}, 300, id="hard-limit-below-max-age"),
        pytest.param({"ttl": 7200, "max_stale": 7200}, 3600, id="cap-below-hard-limit"),
    ],
)
async def test_a_long_max_age_never_outlives_the_hard_limit(
    options: dict[str, Any], lifetime: float
) -> None:
    """The server may lengthen the soft limit up to an hour, and up to the hard limit."""
    harness = CacheHarness(Endpoint(headers={"Cache-Control": "max-age=999999"}), options=options)
    await harness.outcome("k1")
    harness.clock.now += 0.8 * lifetime
    assert harness.keys.cached("k1") is not None
    await harness.finish_refreshes()
    assert harness.fetches == 1
    harness.clock.now += 0.2 * lifetime
    harness.keys.cached("k1")
    await harness.finish_refreshes()
    assert harness.fetches == 2


@pytest.mark.parametrize("ttl", [60, 300, 3600])
async def test_refreshes_are_spread(ttl: float) -> None:
    """Workers that start together do not refresh together, and none earlier than 0.81 ttl."""
    due = set()
    for _ in range(8):
        harness = CacheHarness(options={"ttl": ttl})
        await harness.outcome("k1")
        snapshot = harness.keys._state.snapshot
        assert snapshot is not None
        due.add(snapshot.due_monotonic - harness.clock.now)
        assert snapshot.due_monotonic == snapshot.due_wall
    assert len(due) > 1
    assert 0.8 * ttl < min(due) < max(due) < ttl


@pytest.mark.parametrize(
    ("etag", "confirmed"),
    [
        pytest.param('"v1"', '"v1"', id="strong"),
        pytest.param('"v1"', 'W/"v1"', id="weakened-on-the-way"),
        pytest.param('W/"v1"', None, id="not-repeated"),
    ],
)
async def test_a_304_to_our_own_question_confirms_the_set(etag: str, confirmed: str | None) -> None:
    """The set is fresh again, unchanged, and the next question is conditional again."""
    harness = CacheHarness(Endpoint(headers={"ETag": etag}))
    await harness.outcome("k1")
    generation = harness.keys.generation
    harness.endpoint.answer = lambda _: httpx.Response(
        304, headers={} if confirmed is None else {"ETag": confirmed}
    )
    await harness.refresh()
    await harness.refresh()
    asked = [request.headers.get("if-none-match") for request in harness.endpoint.requests]
    assert asked == [None, etag, etag]
    assert harness.keys.health().age == 0
    assert harness.keys.generation == generation
    assert [event.size for event in harness.events_of(FetchSucceeded)][1:] == [0, 0]


@pytest.mark.parametrize("changed", [pytest.param('"v2"', id="JW-065")])
async def test_a_304_about_another_version_is_a_failed_fetch(changed: str) -> None:
    """It is not believed, and the next question is not conditional, so that it heals."""
    harness = CacheHarness(Endpoint(headers={"ETag": '"v1"'}))
    await harness.outcome("k1")
    harness.endpoint.answer = lambda _: httpx.Response(304, headers={"ETag": changed})
    await harness.refresh()
    assert harness.keys.health().last_error is FailureReason.NOT_MODIFIED
    harness.endpoint.recover()
    await harness.refresh()
    assert "if-none-match" not in harness.endpoint.requests[-1].headers
    assert harness.keys.health().state == "fresh"


async def test_an_unfit_etag_is_not_sent_back(subtests: pytest.Subtests) -> None:
    """What is no entity tag is not repeated to the server."""
    body = json.dumps({"keys": [jwk("k1")]}).encode()
    for etag in ("v1", '"' + "x" * 300 + '"', '"a b"', '"a"b"', '"\u00e9"'):
        raw = [(b"ETag", etag.encode("latin-1"))]
        reply = httpx.Response(200, content=body, headers=raw)
        harness = CacheHarness(Endpoint(answer=lambda _, reply=reply: reply))  # type: ignore[misc]
        with subtests.test(etag=etag):
            await harness.outcome("k1")
            await harness.refresh()
            assert harness.fetches == 2
            assert "if-none-match" not in harness.endpoint.requests[-1].headers

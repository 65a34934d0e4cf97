"""Limiter: which counters a request spends, how limits are written, which address counts."""

import logging
import sys
from importlib.util import find_spec
from typing import Any

import anyio
import httpx2
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard, stepup_router
from fastapi_stepup.errors import ConfigurationError, TooManyAttempts
from fastapi_stepup.router.rate_limits import (
    STRANGERS,
    SUBJECTS,
    Limiter,
    StepUpLimits,
    client_address,
)
from fastapi_stepup.testing import DescopeEmulator
from tests.support.step_up_methods import (
    ANN,
    BOB,
    BODIES,
    BY_NAME,
    ORIGIN,
    PUBLIC,
    Person,
    add_user,
    refusal_of,
    signed_in,
)

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


async def passes(limiter: Limiter, subject: str = "U1", **keys: Any) -> bool:
    """Return whether another try passes."""
    try:
        await limiter.count_try(subject=subject, **({"address": None} | keys))
    except TooManyAttempts:
        return False
    return True


@pytest.mark.anyio
async def test_address_that_is_not_known_is_not_counted() -> None:
    """Clients whose address is unknown do not share one count."""
    counting = Limiter(only(tries_per_address="1/hour"), namespace="P1")

    assert [await passes(counting, address=None) for _ in range(3)] == [True] * 3
    assert [await passes(counting, address="1.2.3.4") for _ in range(2)] == [True, False]


@pytest.mark.anyio
async def test_try_that_one_user_is_refused_does_not_count_for_their_address() -> None:
    """One guesser does not lock out everybody behind the same address."""
    counting = Limiter(only(tries_per_subject="1/hour", tries_per_address="3/hour"), namespace="P")

    for _ in range(9):
        await passes(counting, "U1", address="1.2.3.4")

    others = [await passes(counting, f"U{n}", address="1.2.3.4") for n in range(2, 6)]
    assert others == [True, True, False, False]


def test_twenty_sessions_of_one_user_are_one_user(guard: StepUpGuard) -> None:
    """A guesser with many sessions has the tries of one, whatever the address."""
    with signed_in(guard) as ann:
        person = Person(guard, ann.descope, options={"limits": only(tries_per_subject="5/hour")})
        BY_NAME["totp"].prepare(person)
        codes = []
        for _ in range(20):
            person.tokens = person.descope.sign_in(ANN)
            codes.append(refusal_of(person.post("/totp/verify", code="000000"))[1])

    assert codes == ["otp_rejected"] * 5 + ["too_many_attempts"] * 15


@pytest.mark.anyio
async def test_parallel_requests_reach_descope_no_more_often_than_the_limit(
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


def test_address_of_a_client(subtests: pytest.Subtests) -> None:
    """An IPv6 customer has a /64 to choose from, which counts as one address."""
    rows: dict[str, tuple[tuple[str, int] | None, str | None]] = {
        "ipv4": (("192.0.2.7", 50000), "192.0.2.7"),
        "mapped": (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        "ipv6": (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::"),
        "same-site": (("2001:db8:1:2:ffff::9", 1), "2001:db8:1:2::"),
        "another-site": (("2001:db8:1:3::1", 1), "2001:db8:1:3::"),
        "zone": (("fe80::1%eth0", 1), "fe80::"),
        "name": (("testclient", 1), "testclient"),
        "socket-file": (("", 0), None),
        "port-0": (("192.0.2.1", 0), "192.0.2.1"),
        "none": (None, None),
    }
    for name, (client, expected) in rows.items():
        with subtests.test(name):
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


def test_limit_that_cannot_be_read_says_how_it_is_written(subtests: pytest.Subtests) -> None:
    """A limit that is none is never silently no limit, nor one that nobody meets."""
    rows: list[Any] = [
        "often",
        "",
        "5",
        "0/hour",
        "-1/hour",
        "5/fortnight",
        5,
        ("5/hour",),
        b"5/hour",
    ]
    for limit in rows:
        with (
            subtests.test(limit=limit),
            pytest.raises(ConfigurationError, match='written like "5/10 minutes"'),
        ):
            Limiter(StepUpLimits(tries_per_subject=limit), namespace="P1")


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

    assert BY_NAME["enchantedlink"].complete(person).status_code == 200
    assert person.post("/status").json()["signed_in"] is True
    assert refusal_of(person.post("/magiclink/verify", token="x")) == (400, "link_rejected")
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


def test_unknown_callers_spend_no_users_tries(guard: StepUpGuard) -> None:
    """The route without a session has a count of its own, also for users at the same address."""
    with signed_in(guard) as ann:
        person = Person(guard, ann.descope, options={"limits": only(tries_per_address="3/hour")})
        public = [
            person.client.post(f"/step-up{PUBLIC}", json={"token": "junk"}).status_code
            for _ in range(5)
        ]
        users = [person.post("/otp/verify", **BODIES["/otp/verify"]).status_code for _ in range(4)]

    assert public == [400, 400, 400, 429, 429]
    assert users == [400, 400, 400, 429]


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/magiclink/verify", "tries_per_subject"),
        ("/passkey/finish", "tries_per_subject"),
        ("/oauth/callback", "tries_per_subject"),
        ("/sso/callback", "tries_per_subject"),
        ("/enchantedlink/poll", "polls_per_subject"),
        ("/notp/poll", "polls_per_subject"),
    ],
)
@pytest.mark.parametrize("junk", [None, "nonsense", "bobs"])
def test_session_token_alone_spends_no_users_tries(
    guard: StepUpGuard, path: str, limit: str, junk: str | None
) -> None:
    """Without the refresh token, or with one that is not the user's, requests count apart."""
    with signed_in(guard) as ann:
        person = Person(guard, ann.descope, options={"limits": only(**{limit: "2/hour"})})
        token = ann.descope.sign_in(BOB).refresh_token if junk == "bobs" else junk
        thief = [
            person.post(path, **BODIES[path], refresh_token=token).status_code for _ in range(4)
        ]
        user = [person.post(path, **BODIES[path]).status_code for _ in range(3)]

    assert thief == [400, 400, 429, 429]
    assert user == [400, 400, 429]


def test_status_counts_for_the_holder_of_the_refresh_token_only(guard: StepUpGuard) -> None:
    """A session with a foreign refresh token spends nothing of its user."""
    with signed_in(guard) as ann:
        person = Person(guard, ann.descope, options={"limits": only(polls_per_subject="1/hour")})
        foreign = ann.descope.sign_in(BOB).refresh_token
        for _ in range(3):
            person.post("/status", refresh_token=foreign)
        person.tokens = ann.descope.step_up(ANN)

        told = [person.post("/status").json()["stepped_up"] for _ in range(2)]

    assert told == [True, False]


def connection(client: tuple[str, int] | None, **fields: str) -> Request:
    """Return a request from *client* with these header fields."""
    headers = [(name.replace("_", "-").encode(), v.encode()) for name, v in fields.items()]
    return Request({"type": "http", "headers": headers, "client": client})


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        pytest.param(connection(("10.0.0.1", 1), x_forwarded_for="192.0.2.7"), 1, id="not-trusted"),
        pytest.param(connection(("10.0.0.1", 1), forwarded="for=192.0.2.7"), 1, id="rfc-7239"),
        pytest.param(
            connection(("192.0.2.7", 0), x_forwarded_for="192.0.2.7, 10.1.1.1"), 0, id="ok"
        ),
        pytest.param(connection(("10.0.0.1", 1)), 0, id="no-proxy"),
        pytest.param(connection(None, x_forwarded_for="192.0.2.7"), 0, id="no-address"),
    ],
)
def test_address_of_a_proxy_is_reported_once(
    request_: Request, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """All users behind it share one limit, which the operator should know."""
    counting = Limiter(StepUpLimits(), namespace="P1")
    silent = Limiter(only(tries_per_subject="1/hour"), namespace="P1")
    for limiter in (counting, counting, silent):
        limiter.address_of(request_)

    assert len(caplog.records) == count
    assert all("--forwarded-allow-ips" in record.getMessage() for record in caplog.records)


def test_number_of_counters_is_the_documented_one() -> None:
    """The changelog says 163,840: of users and, apart, of addresses of unknown callers."""
    assert (SUBJECTS, STRANGERS) == (131_072, 32_768)
    limiter = Limiter(StepUpLimits(), namespace="P1")
    assert (limiter._users._shard_size, limiter._strangers._shard_size) == (2048, 512)

"""`guard.once`, and how a step-up is known and settled."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from fastapi_stepup import Claims, StepUpGuard, StepUpPolicy
from fastapi_stepup.errors import (
    ConfigurationError,
    OneTimeUnavailable,
    StepUpBusy,
    StepUpError,
    StepUpRequired,
    Unauthenticated,
)
from fastapi_stepup.events import AuditRecord
from fastapi_stepup.guard.one_time import step_up_key
from fastapi_stepup.guard.one_time_store import HoldOutcome, MemoryStore
from tests.guard.connections import request_with
from tests.support.one_time import PROJECT, OneTime


@pytest.fixture
def ann() -> Iterator[OneTime]:
    """A guard with a store in memory, and a stepped-up session."""
    with OneTime() as ann:
        yield ann


def asking(ann: OneTime) -> Request:
    """Return a request with Ann's step-up."""
    return request_with(ann.headers)


def websocket(ann: OneTime) -> HTTPConnection:
    """Return a WebSocket with Ann's step-up, of a server without denial responses."""
    return HTTPConnection({**asking(ann).scope, "type": "websocket"})


@pytest.mark.anyio
async def test_block_uses_the_step_up_once(ann: OneTime) -> None:
    """The block gets the claims; the second request is refused, whatever policy it names."""
    async with ann.guard.once(asking(ann), "pay") as claims:
        assert claims.stepped_up

    with pytest.raises(StepUpRequired) as used:
        async with ann.guard.once(asking(ann), "pay", StepUpPolicy(max_age="5m")):
            raise AssertionError
    assert used.value.problem["unmet"] == [{"requirement": "step_up", "reason": "used"}]
    assert used.value.max_age == 300


@pytest.mark.anyio
async def test_block_that_raises_gives_it_back(ann: OneTime) -> None:
    """The error goes on."""
    with pytest.raises(LookupError):
        async with ann.guard.once(asking(ann), "pay"):
            raise LookupError

    async with ann.guard.once(asking(ann), "pay"):
        pass
    assert ann.events == ["given_back", "spent"]


@pytest.mark.anyio
async def test_block_that_raises_a_redirect_uses_it(ann: OneTime) -> None:
    """It is the answer of a request that did what it was asked for."""
    with pytest.raises(HTTPException):
        async with ann.guard.once(asking(ann), "pay"):
            raise HTTPException(303, headers={"Location": "/paid"})

    assert ann.events == ["spent"]


@pytest.mark.anyio
async def test_held_one_is_busy_for_others(ann: OneTime) -> None:
    """Not for a block within the block, of the same request; but for a later one."""
    request = asking(ann)
    async with ann.guard.once(request, "pay"):
        with pytest.raises(StepUpBusy):
            async with ann.guard.once(asking(ann), "pay"):
                raise AssertionError
        async with ann.guard.once(request, "pay"):
            pass
    with pytest.raises(StepUpRequired):
        async with ann.guard.once(request, "pay"):
            raise AssertionError
    assert ann.events == ["busy", "spent", "used"]


@pytest.mark.anyio
async def test_policy_comes_first(ann: OneTime) -> None:
    """As `authorize` does; a name that is none is found before."""
    with pytest.raises(Unauthenticated):
        async with ann.guard.once(request_with({}), "pay"):
            raise AssertionError
    with pytest.raises(StepUpRequired):
        async with ann.guard.once(asking(ann), "pay", StepUpPolicy(amr=["webauthn"])):
            raise AssertionError
    with pytest.raises(ConfigurationError, match='such as once="delete-account"'):
        async with ann.guard.once(request_with({}), ""):
            raise AssertionError
    assert ann.store.holds == 0


@pytest.mark.anyio
@pytest.mark.parametrize("failing", ["hold", "settle"])
async def test_store_that_fails_is_an_error(failing: str, caplog: pytest.LogCaptureFixture) -> None:
    """At either step; the log says what follows from it, and no more than the kind of failure."""
    with OneTime(failing) as ann:
        with pytest.raises(OneTimeUnavailable):
            async with ann.guard.once(asking(ann), "pay"):
                pass
        with pytest.raises((StepUpRequired, OneTimeUnavailable)):
            async with ann.guard.once(asking(ann), "pay"):
                pass

    said = {
        "hold": "held, so the request is refused",
        "settle": "used up: another process may take it when its lease ends",
    }
    messages = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert messages[0] == f"A one-time step-up cannot be {said[failing]} (ConnectionError)."


@pytest.mark.anyio
async def test_step_up_that_cannot_be_given_back_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The error of the block goes on."""
    with OneTime("settle") as ann, pytest.raises(LookupError):
        async with ann.guard.once(asking(ann), "pay"):
            raise LookupError

    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "A one-time step-up cannot be given back: it is held until its lease ends "
        "(ConnectionError)."
    ]


@pytest.mark.anyio
async def test_each_use_leaves_an_audit_record() -> None:
    """With the user, the purpose and the reason; the refusal has a record of its own."""
    records: list[AuditRecord] = []
    with OneTime(on_audit=records.append, audit_subjects="plain") as ann:
        for error in (LookupError, None, None):
            with contextlib.suppress(LookupError, StepUpRequired):
                async with ann.guard.once(asking(ann), "pay"):
                    if error is not None:
                        raise error
        user = records[0].subject

    assert [(r.outcome, r.purpose, r.reason) for r in records if r.action == "one_time"] == [
        ("succeeded", "pay", "given_back"),
        ("succeeded", "pay", None),
        ("refused", "pay", "step_up_used"),
    ]
    assert {r.subject for r in records} == {user}
    assert [r.reason for r in records if r.outcome == "refused"] == ["step_up_used"] * 2


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET"])
async def test_head_and_options_hold_nothing(method: str, ann: OneTime) -> None:
    """A GET may hand out what must be handed out once."""
    async with ann.guard.once(request_with(ann.headers, method=method), "pay"):
        pass
    assert ann.store.holds == (method == "GET")


@pytest.mark.anyio
async def test_websocket_that_has_no_answer_gets_a_close_code(ann: OneTime) -> None:
    """As for any refusal."""
    async with ann.guard.once(asking(ann), "pay"):
        pass
    with pytest.raises(WebSocketException) as closed:
        async with ann.guard.once(websocket(ann), "pay"):
            raise AssertionError
    assert (closed.value.code, closed.value.reason) == (1008, "insufficient_user_authentication")


@pytest.mark.anyio
async def test_websocket_is_closed_where_the_store_fails() -> None:
    """When it is settled, too."""
    with OneTime("settle") as ann, pytest.raises(WebSocketException) as closed:
        async with ann.guard.once(websocket(ann), "pay"):
            pass
    assert closed.value.reason == "one_time_unavailable"


class SlowStore(MemoryStore):
    """A store that answers late, or never settles."""

    def __init__(self, hold: float, settle: float) -> None:
        super().__init__()
        self.times = hold, settle

    async def hold(self, key: str, holder: str, *, lease: float) -> HoldOutcome:
        """Hold, and answer late."""
        outcome = await super().hold(key, holder, lease=lease)
        await anyio.sleep(self.times[0])
        return outcome

    async def settle(self, key: str, holder: str, *, spent: bool, keep: float) -> None:
        """Settle late."""
        await anyio.sleep(self.times[1])
        await super().settle(key, holder, spent=spent, keep=keep)


@pytest.mark.anyio
async def test_client_that_goes_while_it_is_held_gives_it_back() -> None:
    """The store may hold it by then, though no answer came."""
    with OneTime() as ann:
        store = SlowStore(5, 0.01)
        guard = StepUpGuard.for_descope(PROJECT, one_time=store)
        with ann.descope.attach(guard):
            with anyio.move_on_after(0.1) as scope:
                async with guard.once(asking(ann), "pay"):
                    raise AssertionError
            assert scope.cancelled_caught
            store.times = 0, 0
            async with guard.once(asking(ann), "pay"):
                pass


@pytest.mark.anyio
async def test_settling_is_not_interrupted() -> None:
    """A client that goes at the end leaves nothing held."""
    with OneTime() as ann:
        store = SlowStore(0, 0.2)
        guard = StepUpGuard.for_descope(PROJECT, one_time=store)
        with ann.descope.attach(guard):
            with anyio.move_on_after(0.05):
                async with guard.once(asking(ann), "pay"):
                    await anyio.sleep(5)
            async with guard.once(asking(ann), "pay"):
                pass


@pytest.mark.parametrize(
    ("error", "then"),
    [(None, StepUpRequired), (LookupError(), StepUpBusy)],
    ids=["use", "give-back"],
)
def test_task_that_is_cancelled_while_settling(
    error: Exception | None, then: type[StepUpError]
) -> None:
    """Asyncio cancels what anyio shields, so the store may not learn of it.

    The process knows of a use; what was given back is held until its lease ends.
    """

    async def run(guard: StepUpGuard, ann: OneTime) -> None:
        async def use() -> None:
            async with guard.once(asking(ann), "pay"):
                if error is not None:
                    raise error

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(use(), 0.1)
        with pytest.raises(then):
            await use()

    with OneTime() as ann:
        guard = StepUpGuard.for_descope(PROJECT, one_time=SlowStore(0, 5))
        with ann.descope.attach(guard):
            asyncio.run(run(guard, ann))


@pytest.mark.anyio
async def test_store_that_does_not_settle_is_waited_for_five_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then it counts as failed."""
    monkeypatch.setattr("fastapi_stepup.guard.one_time._SETTLE_TIMEOUT", 0.05)
    with OneTime() as ann:
        guard = StepUpGuard.for_descope(PROJECT, one_time=SlowStore(0, 5))
        started = time.monotonic()
        with ann.descope.attach(guard), pytest.raises(OneTimeUnavailable):
            async with guard.once(asking(ann), "pay"):
                pass
    assert time.monotonic() - started < 2


CLAIMS = {"iss": "https://a", "sub": "U1", "iat": 1, "exp": 601, "su": True, "amr": ["otp"]}


def test_step_up_is_known_by_all_that_its_token_says() -> None:
    """Never by the text of the token; two of the same second that say the same are one."""
    key = step_up_key(Claims(CLAIMS), "pay")

    assert step_up_key(Claims(dict(reversed(CLAIMS.items()))), "pay") == key
    others: list[dict[str, Any]] = [{"iss": "https://b"}, {"sub": "U2"}, {"iat": 2}, {"jti": "1"}]
    others += [{"amr": ["otp", "mfa"]}, {"iat": 1.0}, {"iat": True}]
    keys = {step_up_key(Claims(CLAIMS | other), "pay") for other in others}
    assert len(keys | {key, step_up_key(Claims(CLAIMS), "delete")}) == len(others) + 2
    assert len(key) == 64
    assert "U1" not in key


class NotingStore(MemoryStore):
    """A store that notes times."""

    times: tuple[float, float] = 0, 0

    async def hold(self, key: str, holder: str, *, lease: float) -> HoldOutcome:
        """Note the lease."""
        self.times = lease, 0
        return await super().hold(key, holder, lease=lease)

    async def settle(self, key: str, holder: str, *, spent: bool, keep: float) -> None:
        """Note how long it is kept."""
        self.times = self.times[0], keep


@pytest.mark.anyio
async def test_it_is_remembered_until_the_token_is_no_good() -> None:
    """Leeway included, and a minute for processes whose clocks differ."""
    store = NotingStore()
    with OneTime() as ann:
        guard = StepUpGuard.for_descope(PROJECT, one_time=store, leeway=30, one_time_lease="2m")
        with ann.descope.attach(guard):
            async with guard.once(asking(ann), "pay") as claims:
                left = claims.expires_at - time.time()

    assert store.times[0] == 120
    assert store.times[1] == pytest.approx(left + 90, abs=2)


@pytest.mark.anyio
async def test_guards_on_one_request_hold_apart() -> None:
    """Each has a store of its own."""
    with OneTime() as ann, OneTime() as other:
        request = asking(ann)
        with ann.descope.attach(other.guard):
            async with ann.guard.once(request, "pay"), other.guard.once(request, "pay"):
                pass
    assert (ann.events, other.events) == (["spent"], ["spent"])


def test_store_is_closed_with_the_guard() -> None:
    """And works on when the app starts again."""

    class Closing(MemoryStore):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

    store = Closing()
    guard = StepUpGuard.for_descope(PROJECT, one_time=store, warmup="lazy")

    async def answer(request: Request) -> Response:
        return PlainTextResponse("")

    app = Starlette(routes=[Route("/", answer)], lifespan=guard.lifespan)
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/").status_code == 200
    assert store.closed == 2


def test_lease_is_a_minute() -> None:
    """By default."""
    assert StepUpGuard.for_descope(PROJECT).one_time.lease == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"one_time": object()}, "one_time is a OneTimeStore: an object with hold, settle"),
        ({"one_time": MemoryStore(), "redis_url": "redis://x"}, "not both"),
        ({"redis_url": "http://x"}, "redis_url must be a redis:// "),
        ({"one_time_lease": 0}, "one_time_lease is at least one second"),
        ({"one_time_lease": "soon"}, "one_time_lease='soon' is not a duration"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    """Where the guard is made."""
    with pytest.raises(ConfigurationError, match=message):
        StepUpGuard.for_descope(PROJECT, **options)


@pytest.mark.anyio
async def test_claims_stay_in_the_scope(ann: OneTime) -> None:
    """A copy of the scope sees what is held, as it sees the claims."""
    request = asking(ann)
    async with ann.guard.once(request, "pay"):
        copied = HTTPConnection(dict(request.scope))
        async with ann.guard.once(copied, "pay"):
            pass
    assert ann.events == ["spent"]

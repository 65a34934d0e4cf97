"""Rejected tokens leave a reason for operators, and nothing of the token."""

import logging

import anyio
import httpx
import pytest

from fastapi_stepup import JWKSCache, StepUpGuard
from fastapi_stepup._http import HTTPClient
from fastapi_stepup.errors import InvalidToken, KeysUnavailable, RejectReason
from fastapi_stepup.events import Event, TokenRejected
from fastapi_stepup.tokens.jws import MAX_TOKEN
from tests.support.token_factory import (
    NOW,
    PROJECT_ID,
    assert_without,
    claims,
    flipped,
    header,
    make_token,
    private_key,
    reason,
    verifier,
)

pytestmark = pytest.mark.anyio


REJECTED = {
    "expired": make_token(claims(exp=NOW - 60, iat=NOW - 99)),
    "signature": make_token(key=private_key(number=1)),
    "unknown kid": make_token(head=header(kid="k2")),
    "unicode error": make_token(b"\xff\xfe" * 30),
    "json error": make_token(b'{"a":' * 30),
    "json error in the header": make_token(head=b'{"alg"' * 30),
    "surrogate": make_token() + "\ud800",
    "kind": make_token(claims(drn="DSX")),
    "segments": make_token() + "." + make_token(),
    "too large": "x" * (MAX_TOKEN + 1),
}


@pytest.mark.parametrize(
    "refresh", [pytest.param(False, id="TV-105-session"), pytest.param(True, id="TV-105-refresh")]
)
async def test_errors_hold_nothing_of_the_token(
    refresh: bool,  # noqa: FBT001
    subtests: pytest.Subtests,
) -> None:
    """Args, repr, str, chain and the variables of our frames."""
    checked = verifier()
    for name, token in REJECTED.items():
        with subtests.test(name):
            with pytest.raises(InvalidToken) as caught:
                await (checked.verify_refresh if refresh else checked.verify)(token)

            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None
            assert_without(token, caught.value)


@pytest.mark.parametrize(
    "refresh", [pytest.param(False, id="session"), pytest.param(True, id="refresh")]
)
@pytest.mark.parametrize(
    "ends", [pytest.param("cancelled", id="cancelled"), pytest.param("no-keys", id="no-keys")]
)
async def test_a_wait_for_keys_that_ends_early_holds_nothing(ends: str, refresh: bool) -> None:  # noqa: FBT001
    """The request is cancelled, or no key comes: both leave through frames that had the token."""
    started = anyio.Event()

    async def endpoint(_: httpx.Request) -> httpx.Response:
        started.set()
        if ends == "cancelled":
            await anyio.sleep_forever()
        return httpx.Response(404)

    http = HTTPClient(httpx.MockTransport(endpoint))
    checked = verifier(JWKSCache("https://keys.example/jwks.json", http=http))
    token = make_token(claims(drn="DSR" if refresh else "DS"))
    left: list[BaseException] = []

    async def request() -> None:
        try:
            await (checked.verify_refresh if refresh else checked.verify)(token)
        except KeysUnavailable as error:
            left.append(error)
        except anyio.get_cancelled_exc_class() as error:
            left.append(error)
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(request)
        await started.wait()
        if ends == "cancelled":
            group.cancel_scope.cancel()
    await checked.keys.aclose()
    assert len(left) == 1
    assert isinstance(left[0], KeysUnavailable) == (ends == "no-keys")
    assert_without(token, left[0])


async def test_the_guard_adds_no_frame_with_the_token() -> None:
    """`StepUpGuard.verify` binds the realm and lets go of the token as well."""
    guard = StepUpGuard.for_descope(PROJECT_ID)
    token = make_token(claims(iss="P2other"))

    with pytest.raises(InvalidToken) as caught:
        await guard.verify(token)

    assert caught.value.realm == PROJECT_ID
    assert_without(token, caught.value)


async def test_nothing_is_logged_about_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, for good tokens, forged ones and hostile kids."""
    caplog.set_level(logging.DEBUG)
    checked = verifier()
    tokens = [
        make_token(),
        make_token(head=header(kid="k\n\x1b[2J")),
        flipped(make_token(), 2),
        "eyJhbGciOiJub25lIn0",
    ]

    for token in tokens:
        await reason(checked, token)

    assert "eyJ" not in caplog.text
    assert "\x1b" not in caplog.text


async def test_events_have_few_labels() -> None:
    """A thousand different forgeries give reasons of a closed enum, and nothing else."""
    events: list[Event] = []
    checked = verifier(on_event=events.append, verdict_cache_size=0)

    for number in range(1000):
        await reason(checked, make_token(head=header(kid=f"k{number}"), payload="e30", alg="none"))

    assert len(events) == 1000
    assert {type(e) for e in events} == {TokenRejected}
    assert all(isinstance(e, TokenRejected) and type(e.reason) is RejectReason for e in events)
    assert len({*events}) == 1

"""The is_revoked hook: asked about every token that passed, and nothing passes without its no."""

from typing import Any

import anyio
import pytest
from starlette.requests import HTTPConnection

from fastapi_stepup import Claims, StepUpGuard
from fastapi_stepup.errors import (
    ConfigurationError,
    InvalidToken,
    OTPRejected,
    RejectReason,
    RevocationUnavailable,
)
from fastapi_stepup.events import Event, TokenCache, TokenRejected
from tests.support.token_factory import (
    PROJECT_ID,
    assert_without,
    claims,
    flipped,
    jwk,
    make_token,
    reason,
    verifier,
)

pytestmark = pytest.mark.anyio

TOKEN = make_token().encode()


async def test_revocation_is_asked_at_every_call() -> None:
    """After the cache, so a revocation takes effect with the next request."""
    revoked: set[str] = set()
    events: list[Event] = []
    asked: list[Claims] = []

    def is_revoked(checked: Claims) -> bool:
        asked.append(checked)
        return checked.subject in revoked

    checked = verifier(is_revoked=is_revoked, on_event=events.append)
    token = make_token()

    assert await reason(checked, token) is None
    assert await reason(checked, token) is None
    revoked.add("U2x")
    assert await reason(checked, token) == "revoked"
    assert await reason(checked, make_token(claims(drn="DSR")), refresh=True) == "revoked"
    revoked.clear()
    assert await reason(checked, token) is None
    assert await reason(checked, flipped(token, 2)) == "signature"
    assert len(asked) == 5
    assert [e.reason for e in events if isinstance(e, TokenRejected)] == [
        RejectReason.REVOKED, RejectReason.REVOKED, RejectReason.SIGNATURE,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [pytest.param(k, id=k) for k in ("plain", "asynchronous")])
async def test_a_revocation_ends_the_session_at_every_entry_point(kind: str) -> None:
    """A guard asks for each new request, and a token that passed before is no exception."""
    revoked: set[str] = set()

    def plain(checked: Claims) -> bool:
        return checked.subject in revoked

    async def asynchronous(checked: Claims) -> bool:
        return checked.subject in revoked

    hook = plain if kind == "plain" else asynchronous
    guard = StepUpGuard.for_descope(PROJECT_ID, static_keys={"keys": [jwk()]}, is_revoked=hook)
    scope = {"type": "http", "method": "GET", "headers": [(b"authorization", b"Bearer " + TOKEN)]}

    for _ in range(2):
        assert (await guard.authorize(HTTPConnection(dict(scope)))).subject == "U2x"
    revoked.add("U2x")
    with pytest.raises(InvalidToken) as caught:
        await guard.authorize(HTTPConnection(dict(scope)))
    assert caught.value.reason is RejectReason.REVOKED


async def test_a_guard_reports_what_its_cache_did() -> None:
    """The event hook learns of each request, also of those that a cached token answers."""
    events: list[Event] = []
    keys = {"keys": [jwk()]}
    guard = StepUpGuard.for_descope(PROJECT_ID, static_keys=keys, on_event=events.append)
    scope = {"type": "http", "method": "GET", "headers": [(b"authorization", b"Bearer " + TOKEN)]}

    for _ in range(3):
        await guard.authorize(HTTPConnection(dict(scope)))
    assert [e.outcome for e in events if isinstance(e, TokenCache)] == ["miss", "hit", "hit"]


async def test_a_hook_that_hangs_has_a_deadline(caplog: pytest.LogCaptureFixture) -> None:
    """After it the hook is cancelled and the request is answered 503; within it, it may wait."""
    ended: list[str] = []

    async def hanging(_: Claims) -> bool:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")
        return False

    async def slow(_: Claims) -> bool:
        await anyio.sleep(0.01)
        return False

    with pytest.raises(RevocationUnavailable) as caught:
        await verifier(is_revoked=hanging, revocation_timeout=0.02).verify(TOKEN.decode())
    assert ended == ["cancelled"]
    assert "TimeoutError" in caplog.text
    assert_without(TOKEN.decode(), caught.value)
    assert await reason(verifier(is_revoked=slow, revocation_timeout=5), TOKEN.decode()) is None


def test_the_deadline_is_5_seconds() -> None:
    """As documented; it can be set from a thousandth of a second to a minute."""
    assert verifier().revocation_timeout == 5
    for timeout in (0.001, 60):
        assert verifier(revocation_timeout=timeout).revocation_timeout == timeout
    unusable: tuple[Any, ...] = (0, 60.1, True, "5")
    for timeout in unusable:
        with pytest.raises(ConfigurationError, match=r"^revocation_timeout is"):
            verifier(revocation_timeout=timeout)


async def test_only_false_is_a_no(subtests: pytest.Subtests) -> None:
    """Fail closed, with a plain hook and with an asynchronous one."""
    answer: Any

    def plain(_: Claims) -> Any:
        return answer

    async def asynchronous(_: Claims) -> Any:
        return answer

    for answer in (False, True, None, 0, ""):
        for hook in (plain, asynchronous):
            with subtests.test(hook.__name__, answer=answer):
                expected = None if answer is False else "revoked"
                assert await reason(verifier(is_revoked=hook), make_token()) == expected


async def test_a_failing_hook_is_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """503 without the hook's text, which may hold anything; an error of its own passes through."""

    async def broken(_: Claims) -> bool:
        raise OSError("redis://:password@host")

    async def refusing(_: Claims) -> bool:
        raise OTPRejected

    token = make_token()
    with pytest.raises(RevocationUnavailable) as caught:
        await verifier(is_revoked=broken).verify(token)
    assert caught.value.status_code == 503
    assert caught.value.headers["Retry-After"] == "1"
    assert caught.value.__context__ is None
    assert_without(token, caught.value)
    assert "OSError" in caplog.text
    assert "password" not in caplog.text

    with pytest.raises(OTPRejected):
        await verifier(is_revoked=refusing).verify(token)

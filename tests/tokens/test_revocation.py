"""The is_revoked hook: asked about every token that passed, and nothing passes without its no."""

from typing import Any

import pytest

from fastapi_stepup import Claims
from fastapi_stepup.errors import OTPRejected, RejectReason, RevocationUnavailable
from fastapi_stepup.events import Event, TokenRejected
from tests.support.token_factory import (
    assert_without,
    claims,
    flipped,
    make_token,
    reason,
    verifier,
)

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(False, None, id="false"),
        pytest.param(True, "revoked", id="true"),
        pytest.param(None, "revoked", id="forgotten-return"),
        pytest.param(0, "revoked", id="zero"),
        pytest.param("", "revoked", id="empty"),
    ],
)
async def test_only_false_is_a_no(answer: Any, expected: str | None) -> None:
    """Fail closed, with a plain hook and with an asynchronous one."""

    def plain(_: Claims) -> Any:
        return answer

    async def asynchronous(_: Claims) -> Any:
        return answer

    for hook in (plain, asynchronous):
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

"""Descope's error codes, and the errors of ours that they mean."""

from collections.abc import Mapping
from typing import Final

from fastapi_stepup._http import HTTPResponse, retry_after
from fastapi_stepup.errors import (
    DescopeError,
    DescopeUnavailable,
    InvalidToken,
    LinkRejected,
    OTPExpired,
    OTPRejected,
    RejectReason,
    StepUpError,
    TooManyAttempts,
)
from fastapi_stepup.providers.descope.responses import error_code

WRONG_CODE: Final = "E061102"
TOO_MANY_TRIES: Final = "E061103"
CODE_EXPIRED: Final = "E061104"
LINK_EXPIRED: Final = "E062504"
PENDING: Final = frozenset({"E062503", "E066103"})
TOO_MANY_SENDS: Final = frozenset({"E032101", "E033005", "E130429"})
BAD_TOKEN: Final = frozenset({"E061005", "E064001"})

_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500
_WAIT_WHEN_DOWN: Final = 5
_WAIT_WHEN_THROTTLED: Final = 60


def error_for(
    reply: HTTPResponse,
    by_status: Mapping[int, StepUpError],
    *,
    bad_token: StepUpError,
    exhausted: StepUpError | None = None,
    now: float,
) -> StepUpError:
    """Return the error that an unsuccessful *reply* means.

    A known error code decides, else the status, never the text. A reply without a code is not
    Descope's, but that of something on the way. Waiting times are passed on: 1 second to an hour.

    Args:
        reply: Any reply but a 200.
        by_status: The errors for codes that are not known.
        bad_token: The error for a token that Descope does not honour.
        exhausted: The error for a code that was tried too often, if only a new code helps then.
        now: Epoch seconds.
    """
    asked = retry_after(reply, now=now)
    if reply.status >= _SERVER_ERROR:
        return DescopeUnavailable(retry_after=asked or _WAIT_WHEN_DOWN)
    code = error_code(reply)
    if code == TOO_MANY_TRIES and exhausted is not None:
        return exhausted
    if reply.status == _TOO_MANY_REQUESTS or code in {TOO_MANY_TRIES, *TOO_MANY_SENDS}:
        return TooManyAttempts(retry_after=asked or _WAIT_WHEN_THROTTLED)
    if code in BAD_TOKEN:
        return bad_token
    known = {WRONG_CODE: OTPRejected, CODE_EXPIRED: OTPExpired, LINK_EXPIRED: LinkRejected}
    if code in known:
        return known[code]()
    by_code = by_status.get(reply.status) if code else None
    return by_code or DescopeError()


def session_over() -> InvalidToken:
    """Return the error for a refresh token that Descope no longer honours."""
    return InvalidToken(RejectReason.REVOKED)

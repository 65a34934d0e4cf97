"""What a response of outbound HTTP can be asked for."""

import httpx
import pytest

from fastapi_stepup._http import (
    HTTPFailure,
    HTTPResponse,
    retry_after,
    status_reason,
)
from fastapi_stepup.errors import FailureReason


def test_a_body_that_is_no_json_object_is_a_failure(subtests: pytest.Subtests) -> None:
    """The reason is given and nothing of the body."""
    for body in (b"[]", b"null", b"", b"\xff", b"\xef\xbb\xbf{}", b'{"a":1,"a":2}', b"{", b"NaN"):
        with subtests.test(repr(body)), pytest.raises(HTTPFailure, match="not_json"):
            HTTPResponse(200, httpx.Headers(), body).json_object()


def test_a_cookie_of_the_reply_can_be_read(subtests: pytest.Subtests) -> None:
    """Only what this very reply sets, by its exact name."""
    rows: list[tuple[list[str], str | None]] = [
        ([], None),
        (["DS=a; Path=/", "DSR=b; HttpOnly"], "b"),
        (["DSRX=a", "XDSR=b"], None),
        (["DSR=; Max-Age=0"], None),
        (["DSR=a=b"], "a=b"),
    ]
    for fields, value in rows:
        with subtests.test(repr(fields)):
            headers = httpx.Headers([("Set-Cookie", field) for field in fields])
            assert HTTPResponse(200, headers, b"").cookie("DSR") == value


def test_retry_after_is_read_in_both_its_forms(subtests: pytest.Subtests) -> None:
    """A number of seconds or a date; `None` for all else."""
    forms = {
        "30": 30,
        "Fri, 15 Jan 2027 08:00:30 GMT": 30,
        "Fri, 15 Jan 2027 08:00:30 -0000": 30,
        "Fri, 15 Jan 2027 09:00:30 +0100": 30,
        "Fri, 15 Jan 2027 07:59:30 GMT": 0,
        "Mon, 1 Jan 99999999999 00:00:00 GMT": None,
        "soon": None,
        "\u0663\u0660": None,
    }
    for value, seconds in forms.items():
        with subtests.test(ascii(value)):
            headers = httpx.Headers({"Retry-After": value}, encoding="utf-8")
            assert retry_after(HTTPResponse(503, headers, b""), now=1_800_000_000) == seconds


def test_a_status_other_than_200_has_a_reason() -> None:
    """Too many requests have one of their own; a failure keeps how long to wait."""
    reasons = {
        201: FailureReason.STATUS,
        302: FailureReason.REDIRECT,
        404: FailureReason.CLIENT_ERROR,
        429: FailureReason.THROTTLED,
        503: FailureReason.SERVER_ERROR,
        600: FailureReason.STATUS,
    }

    assert {status: status_reason(status) for status in reasons} == reasons
    assert HTTPFailure(FailureReason.THROTTLED, retry_after=7).retry_after == 7

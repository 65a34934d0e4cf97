"""What a response of outbound HTTP can be asked for."""

import httpx
import pytest

from fastapi_stepup._http import (
    HTTPFailure,
    HTTPResponse,
    retry_after,
)


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"", b"\xff", b"\xef\xbb\xbf{}", b'{"a":1,"a":2}', b"{", b"NaN"]
)
def test_a_body_that_is_no_json_object_is_a_failure(body: bytes) -> None:
    """The reason is given and nothing of the body."""
    with pytest.raises(HTTPFailure, match="not_json"):
        HTTPResponse(200, httpx.Headers(), body).json_object()


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        pytest.param([], None, id="none"),
        pytest.param(["DS=a; Path=/", "DSR=b; HttpOnly"], "b", id="second"),
        pytest.param(["DSRX=a", "XDSR=b"], None, id="other-names"),
        pytest.param(["DSR=; Max-Age=0"], None, id="cleared"),
        pytest.param(["DSR=a=b"], "a=b", id="equals-sign"),
    ],
)
def test_a_cookie_of_the_reply_can_be_read(fields: list[str], value: str | None) -> None:
    """Only what this very reply sets, by its exact name."""
    headers = httpx.Headers([("Set-Cookie", field) for field in fields])
    assert HTTPResponse(200, headers, b"").cookie("DSR") == value


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("30", 30, id="seconds"),
        pytest.param("Fri, 15 Jan 2027 08:00:30 GMT", 30, id="date"),
        pytest.param("Fri, 15 Jan 2027 08:00:30 -0000", 30, id="date-unzoned"),
        pytest.param("Fri, 15 Jan 2027 09:00:30 +0100", 30, id="date-zoned"),
        pytest.param("Fri, 15 Jan 2027 07:59:30 GMT", 0, id="date-past"),
        pytest.param("Mon, 1 Jan 99999999999 00:00:00 GMT", None, id="date-absurd"),
        pytest.param("soon", None, id="garbage"),
        pytest.param("\u0663\u0660", None, id="arabic-digits"),
    ],
)
def test_retry_after_is_read_in_both_its_forms(value: str, seconds: float | None) -> None:
    """A number of seconds or a date; `None` for all else."""
    headers = httpx.Headers({"Retry-After": value}, encoding="utf-8")
    assert retry_after(HTTPResponse(503, headers, b""), now=1_800_000_000) == seconds

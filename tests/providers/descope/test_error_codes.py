"""Descope's error codes: which error of ours each of them becomes."""

import gzip

import httpx
import pytest

from tests.support.descope_replies import (
    ANN,
    CALLS,
    LINKS,
    PASSKEY,
    POLLS,
    PROVIDERS,
    STARTS,
    TELLING,
    TOTP,
    Call,
    Descope,
    answering,
    each,
    me,
    refresh,
    refusal_of,
    refusing,
    start,
    verify,
)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("call", "status", "error", "code"),
    [
        pytest.param(verify, 401, "E061102", "otp_rejected", id="wrong-code"),
        pytest.param(verify, 400, "E061102", "otp_rejected", id="wrong-code-400"),
        pytest.param(verify, 401, "E061103", "otp_exhausted", id="tries-used-up"),
        pytest.param(verify, 429, "E061103", "otp_exhausted", id="tries-used-up-429"),
        *each([TOTP], 401, "E061103", "otp_exhausted"),
        *each(STARTS, 401, "E061103", "too_many_attempts"),
        pytest.param(verify, 401, "E061104", "otp_expired", id="code-expired"),
        pytest.param(verify, 400, "E062108", "otp_rejected", id="unknown-user"),
        pytest.param(verify, 401, "E999999", "otp_rejected", id="unknown-code-of-verify"),
        pytest.param(verify, 403, "E999999", "descope_error", id="forbidden"),
        pytest.param(verify, 404, "E011001", "descope_error", id="not-found"),
        pytest.param(verify, 409, "E999999", "descope_error", id="conflict"),
        pytest.param(start, 400, "E011002", "delivery_unavailable", id="no-address"),
        pytest.param(start, 401, "E061005", "invalid_token", id="refresh-token-refused"),
        pytest.param(start, 400, "E064001", "invalid_token", id="logged-out-400"),
        pytest.param(start, 400, "E032101", "too_many_attempts", id="sends-e-mail"),
        pytest.param(start, 400, "E033005", "too_many_attempts", id="sends-sms"),
        pytest.param(start, 400, "E130429", "too_many_attempts", id="rate-limit-400"),
        pytest.param(me, 401, "E064001", "invalid_token", id="me-logged-out"),
        pytest.param(me, 400, "E011004", "invalid_token", id="me-refused"),
        pytest.param(me, 429, "E130429", "too_many_attempts", id="me-throttled"),
        pytest.param(refresh, 401, "E064001", "invalid_token", id="refresh-logged-out"),
        pytest.param(refresh, 418, "E000000", "descope_error", id="teapot"),
        *each([TOTP], 401, "E061102", "otp_rejected"),
        *each([TOTP], 401, "E061005", "invalid_token"),
        *each([TOTP], 400, "E011004", "otp_rejected"),
        *each(STARTS, 400, "E011004", "delivery_unavailable"),
        *each(STARTS, 401, "E061005", "invalid_token"),
        *each(STARTS, 401, "E999999", "invalid_token"),
        *each(STARTS, 403, "E999999", "descope_error"),
        *each(LINKS, 401, "E062504", "link_rejected"),
        *each(LINKS, 400, "E999999", "link_rejected"),
        *each(LINKS, 401, "E061005", "link_rejected"),
        *each(LINKS, 404, "E999999", "descope_error"),
        *each([PASSKEY], 400, "E011004", "passkey_rejected"),
        *each([PASSKEY], 401, "E064001", "passkey_rejected"),
        *each(PROVIDERS, 401, "E061301", "provider_rejected"),
        *each(PROVIDERS, 400, "E061005", "provider_rejected"),
        *each([*STARTS, *LINKS, PASSKEY, *PROVIDERS, TOTP], 400, "E130429", "too_many_attempts"),
    ],
)
async def test_errors_are_mapped_by_code_then_by_status(
    call: Call, status: int, error: str, code: str
) -> None:
    """Descope's codes are known, its statuses are a fallback, its text is never looked at."""
    assert (await refusal_of(call, refusing(status, error))).code == code


UNUSABLE = [
    pytest.param(refusing(500, "E010009"), "descope_unavailable", id="500"),
    pytest.param(answering(503, b"down"), "descope_unavailable", id="503"),
    pytest.param(answering(524, b""), "descope_unavailable", id="524"),
    pytest.param(answering(429, b"slow down"), "too_many_attempts", id="429-of-a-proxy"),
    pytest.param(answering(400, b"<html>"), "descope_error", id="400-of-a-proxy"),
    pytest.param(answering(401, {"error": "x"}), "descope_error", id="401-without-code"),
    pytest.param(answering(401, {"errorCode": 7}), "descope_error", id="401-odd-code"),
    pytest.param(answering(401, {"errorCode": ""}), "descope_error", id="401-empty-code"),
    pytest.param(answering(301, b"", location="https://evil.example"), "descope_error", id="301"),
    pytest.param(answering(307, b"", location="//evil.example"), "descope_error", id="307"),
    pytest.param(answering(200, b"<html>captive portal"), "descope_error", id="html"),
    pytest.param(answering(200, b""), "descope_error", id="empty"),
    pytest.param(answering(200, []), "descope_error", id="array"),
    pytest.param(answering(200, b'{"userId":"\xff"}'), "descope_error", id="not-utf-8"),
    pytest.param(answering(200, 9000 * b"[" + 9000 * b"]"), "descope_error", id="too-deep"),
    pytest.param(answering(201, {"sessionJwt": "x"}), "descope_error", id="201"),
    pytest.param(answering(204, b""), "descope_error", id="204"),
    pytest.param(answering(200, 256 * b" " * 1025), "descope_error", id="too-large"),
    pytest.param(
        Descope(
            lambda: httpx.Response(
                200, content=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}
            )
        ),
        "descope_error",
        id="gzip",
    ),
    pytest.param(Descope(httpx.ConnectError("x")), "descope_unavailable", id="no-connection"),
    pytest.param(Descope(httpx.ConnectTimeout("x")), "descope_unavailable", id="no-answer"),
    pytest.param(Descope(httpx.ReadError(f"told {ANN}")), "descope_unavailable", id="reset"),
    pytest.param(Descope(httpx.RemoteProtocolError("x")), "descope_unavailable", id="not-http"),
    pytest.param(Descope(ZeroDivisionError()), "descope_unavailable", id="broken-transport"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("descope", "code"), UNUSABLE)
async def test_outages_and_unusable_responses_differ(descope: Descope, code: str) -> None:
    """Descope down is 503, an answer that cannot be used is 502; it is asked once."""
    descope.requests.clear()

    assert (await refusal_of(verify, descope)).code == code
    assert len(descope.requests) <= 1


@pytest.mark.anyio
@pytest.mark.parametrize("call", CALLS)
async def test_each_call_tells_an_outage_from_an_unusable_response(call: Call) -> None:
    """A status, a body and a broken connection: whatever was asked."""
    codes = [
        (await refusal_of(call, descope)).code
        for descope in (
            refusing(500, "E010009"),
            answering(400, b"<html>"),
            Descope(httpx.ReadError(f"told {ANN}")),
        )
    ]

    assert codes == ["descope_unavailable", "descope_error", "descope_unavailable"]


@pytest.mark.anyio
@pytest.mark.parametrize("call", TELLING)
async def test_response_without_its_content_is_unusable(call: Call) -> None:
    """Tokens, users, addresses, URLs: what was asked for must be there."""
    assert (await refusal_of(call, answering(200, {}))).code == "descope_error"


@pytest.mark.anyio
@pytest.mark.parametrize("call", POLLS)
@pytest.mark.parametrize("code", ["E062503", "E066103"])
async def test_pending_is_no_error(call: Call, code: str) -> None:
    """`None` says that it is not done yet."""
    assert await call(refusing(401, code).client) is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("retry_after", "throttled", "down"),
    [
        pytest.param("7", 7, 7, id="seconds"),
        pytest.param("600", 600, 600, id="ten-minutes"),
        pytest.param("3600", 3600, 3600, id="an-hour"),
        pytest.param("1000000000", 3600, 3600, id="absurd"),
        pytest.param(400 * "9", 3600, 3600, id="endless"),
        pytest.param("Fri, 15 Jan 2027 08:00:20 GMT", 20, 20, id="date"),
        pytest.param("Fri, 15 Jan 2027 07:00:00 GMT", 60, 5, id="past"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 -2300", 3600, 3600, id="end-of-time"),
        pytest.param("soon", 60, 5, id="text"),
        pytest.param("-1", 60, 5, id="negative"),
        pytest.param("0", 60, 5, id="zero"),
        pytest.param("", 60, 5, id="empty"),
    ],
)
async def test_retry_after_is_passed_on_within_bounds(
    retry_after: str, throttled: int, down: int
) -> None:
    """Descope's waiting time reaches the client: from a second to an hour."""
    too_many = await refusal_of(start, refusing(429, "E130429", retry_after=retry_after))
    outage = await refusal_of(start, refusing(503, "E010009", retry_after=retry_after))

    assert (too_many.retry_after, outage.retry_after) == (throttled, down)

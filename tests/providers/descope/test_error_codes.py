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
    TOTP,
    Call,
    Descope,
    answering,
    me,
    refresh,
    refusal_of,
    refusing,
    start,
    verify,
)

# Status and Descope's code to our code. Unknown codes are E999999.
Errors = dict[tuple[int, str], str]

THROTTLED: Errors = {
    (429, "E999999"): "too_many_attempts",
    (400, "E130429"): "too_many_attempts",
    (400, "E032101"): "too_many_attempts",  # e-mails sent
    (400, "E033005"): "too_many_attempts",  # text messages sent
}
ASKING: Errors = THROTTLED | {
    (401, "E061103"): "too_many_attempts",
    (401, "E064001"): "invalid_token",
    (400, "E061005"): "invalid_token",
    (400, "E999999"): "invalid_token",
    (401, "E999999"): "invalid_token",
    (418, "E999999"): "descope_error",
}
STARTING: Errors = ASKING | {
    (400, "E999999"): "delivery_unavailable",
    (400, "E064001"): "invalid_token",
    (403, "E999999"): "descope_error",
}
PROVING: Errors = THROTTLED | {
    (401, "E061102"): "otp_rejected",
    (403, "E061102"): "otp_rejected",
    (401, "E061103"): "otp_exhausted",
    (429, "E061103"): "otp_exhausted",
    (401, "E061104"): "otp_expired",
    (401, "E061005"): "invalid_token",
    (400, "E999999"): "otp_rejected",
    (401, "E999999"): "otp_rejected",
    (403, "E999999"): "descope_error",
    (404, "E999999"): "descope_error",
    (409, "E999999"): "descope_error",
}


def redeeming(rejected: str) -> Errors:
    """Return the errors for a proof that names no user: each bad token is the proof itself."""
    return THROTTLED | {
        (401, "E061103"): "too_many_attempts",
        (401, "E061005"): rejected,
        (400, "E064001"): rejected,
        (400, "E999999"): rejected,
        (401, "E999999"): rejected,
        (404, "E999999"): "descope_error",
    }


LINK_REJECTED = redeeming("link_rejected") | {(403, "E062504"): "link_rejected"}
ERRORS: dict[Call, Errors] = {
    **dict.fromkeys([me, refresh], ASKING),
    **dict.fromkeys([start, *STARTS], STARTING),
    **dict.fromkeys([verify, TOTP], PROVING),
    **dict.fromkeys(LINKS, LINK_REJECTED),
    PASSKEY: redeeming("passkey_rejected"),
    **dict.fromkeys(PROVIDERS, redeeming("provider_rejected")),
}


@pytest.mark.anyio
@pytest.mark.parametrize("call", [pytest.param(call, id=call.__name__) for call in CALLS])
async def test_errors_are_mapped_by_code_then_by_status(
    call: Call, subtests: pytest.Subtests
) -> None:
    """Descope's codes are known, its statuses are a fallback, its text is never looked at."""
    for (status, error), code in ERRORS[call].items():
        with subtests.test(f"{status} {error}"):
            assert (await refusal_of(call, refusing(status, error))).code == code


UNUSABLE = [
    pytest.param(refusing(500, "E010009"), "descope_unavailable", id="500"),
    pytest.param(answering(524, b""), "descope_unavailable", id="524"),
    pytest.param(answering(429, b"slow down"), "too_many_attempts", id="429-of-a-proxy"),
    pytest.param(answering(400, b"<html>"), "descope_error", id="400-of-a-proxy"),
    pytest.param(answering(401, {"error": "x"}), "descope_error", id="401-without-code"),
    pytest.param(answering(401, {"errorCode": 7}), "descope_error", id="401-odd-code"),
    pytest.param(answering(401, {"errorCode": ""}), "descope_error", id="401-empty-code"),
    pytest.param(answering(301, b"", location="https://evil.example"), "descope_error", id="301"),
    pytest.param(answering(200, b"<html>captive portal"), "descope_error", id="html"),
    pytest.param(answering(200, []), "descope_error", id="array"),
    pytest.param(answering(201, {"sessionJwt": "x"}), "descope_error", id="201"),
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
    pytest.param(Descope(httpx.ReadError(f"told {ANN}")), "descope_unavailable", id="reset"),
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
async def test_each_call_tells_an_outage_from_an_unusable_response(
    subtests: pytest.Subtests,
) -> None:
    """A status, a body and a broken connection: whatever was asked."""
    for call in CALLS:
        with subtests.test(call.__name__):
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
async def test_response_without_its_content_is_unusable(subtests: pytest.Subtests) -> None:
    """Tokens, users, addresses, URLs: what was asked for must be there."""
    telling = [call for call in CALLS if call.__name__ != "verify_enchanted_link"]
    for call in telling:
        with subtests.test(call.__name__):
            assert (await refusal_of(call, answering(200, {}))).code == "descope_error"


@pytest.mark.anyio
async def test_pending_is_no_error() -> None:
    """`None` says that it is not done yet."""
    for call in POLLS:
        for code in ("E062503", "E066103"):
            assert await call(refusing(401, code).client) is None


@pytest.mark.anyio
async def test_retry_after_is_passed_on_within_bounds(subtests: pytest.Subtests) -> None:
    """Descope's waiting time reaches the client: from a second to an hour, else our own."""
    waits = {
        "7": (7, 7),
        "600": (600, 600),
        "3600": (3600, 3600),
        "1000000000": (3600, 3600),
        400 * "9": (3600, 3600),
        "Fri, 15 Jan 2027 08:00:20 GMT": (20, 20),
        "Fri, 31 Dec 9999 23:59:59 -2300": (3600, 3600),
        "Fri, 15 Jan 2027 07:00:00 GMT": (60, 5),
        "soon": (60, 5),
        "-1": (60, 5),
        "0": (60, 5),
        "": (60, 5),
    }
    for asked, (throttled, down) in waits.items():
        with subtests.test(asked[:40]):
            too_many = await refusal_of(start, refusing(429, "E130429", retry_after=asked))
            outage = await refusal_of(start, refusing(503, "E010009", retry_after=asked))

            assert (too_many.retry_after, outage.retry_after) == (throttled, down)

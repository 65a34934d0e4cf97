"""DescopeClient: replies, good and hostile, and what is made of them."""

import gzip
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Self

import anyio
import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from fastapi_stepup import DescopeClient
from fastapi_stepup._http import HTTPClient
from fastapi_stepup._secret import Secret
from fastapi_stepup.errors import DescopeError, DescopeUnavailable, StepUpError
from fastapi_stepup.providers.descope.responses import DescopeUser
from fastapi_stepup.testing.server import served

ANN = "ann@example.com"
NOW = 1_800_000_000.0
REFRESH_TOKEN = "eyJhbGciOiJSUzI1NiJ9.refresh.x"

Call = Callable[[DescopeClient], Coroutine[Any, Any, object]]


async def start(client: DescopeClient) -> object:
    """Start."""
    return await client.start_otp("email", ANN, REFRESH_TOKEN)


async def verify(client: DescopeClient) -> object:
    """Verify."""
    return await client.verify_otp("email", ANN, "123456")


async def me(client: DescopeClient) -> object:
    """Ask who it is."""
    return await client.me(REFRESH_TOKEN)


async def refresh(client: DescopeClient) -> object:
    """Refresh."""
    return await client.refresh(REFRESH_TOKEN)


def calling(name: str, *arguments: Any) -> Call:
    """Return the call of one method of the client."""

    async def call(client: DescopeClient) -> object:
        return await getattr(client, name)(*arguments)

    call.__name__ = name
    return call


PAGE, ORIGIN = "https://shop.example/step-up", "https://shop.example"
TOTP = calling("verify_totp", ANN, "123456", REFRESH_TOKEN)
STARTS = [
    calling("start_magic_link", "email", ANN, PAGE, REFRESH_TOKEN),
    calling("start_enchanted_link", ANN, PAGE, REFRESH_TOKEN),
    calling("start_notp", ANN, REFRESH_TOKEN),
    calling("start_passkey", ANN, ORIGIN, REFRESH_TOKEN),
    calling("start_oauth", "google", PAGE, REFRESH_TOKEN),
    calling("start_sso", "acme", PAGE, REFRESH_TOKEN),
]
POLLS = [calling("poll_enchanted_link", "ref"), calling("poll_notp", "ref")]
LINKS = [calling("verify_magic_link", "t0k3n"), calling("verify_enchanted_link", "t0k3n"), *POLLS]
PASSKEY = calling("finish_passkey", "transaction", {"id": "x"})
PROVIDERS = [calling("exchange_oauth", "c0de"), calling("exchange_sso", "c0de")]
EVERY_CALL = (start, verify, me, refresh, TOTP, *STARTS, *LINKS, PASSKEY, *PROVIDERS)
CALLS = [pytest.param(call, id=call.__name__) for call in EVERY_CALL]
# All but this one are told something, which must not be missing.
TELLING = [param for param in CALLS if param.id != "verify_enchanted_link"]


def each(calls: list[Call], status: int, error: str, code: str) -> list[Any]:
    """Return a row for each call."""
    name = f"{error}-{status}"
    return [pytest.param(c, status, error, code, id=f"{c.__name__}-{name}") for c in calls]


class Descope(httpx.AsyncBaseTransport):
    """Answers every request with one reply, and counts."""

    def __init__(self, reply: httpx.Response | Exception | Callable[[], httpx.Response]) -> None:
        self.reply = reply
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        self.requests.append(request)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply if isinstance(self.reply, httpx.Response) else self.reply()

    @property
    def client(self) -> DescopeClient:
        """A client that talks to it."""
        return DescopeClient("P1", http=HTTPClient(self), clock=lambda: NOW)


def answering(status: int, body: object, **headers: str) -> Descope:
    """Return a Descope that answers *body*, as JSON unless it is bytes."""
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Descope(httpx.Response(status, headers=fields, **content))


def refusing(status: int, code: str, **headers: str) -> Descope:
    """Return a Descope that refuses in its own form."""
    text = f"told to nobody: {ANN}"
    body = {"errorCode": code, "errorDescription": text, "errorMessage": text}
    return answering(status, body, **headers)


async def refusal_of(call: Call, descope: Descope) -> StepUpError:
    """Return what *call* raises, after one request; it says nothing that Descope said."""
    with pytest.raises(StepUpError) as refusal:
        await call(descope.client)
    assert len(descope.requests) == 1
    assert (refusal.value.__cause__, refusal.value.__context__) == (None, None)
    seen = f"{refusal.value!r} {refusal.value} {refusal.value.problem} {refusal.value.args}"
    assert "told" not in seen
    assert ANN not in seen
    return refusal.value


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("call", "status", "error", "code"),
    [
        pytest.param(verify, 401, "E061102", "otp_rejected", id="wrong-code"),
        pytest.param(verify, 400, "E061102", "otp_rejected", id="wrong-code-400"),
        pytest.param(verify, 401, "E061103", "otp_exhausted", id="tries-used-up"),
        pytest.param(verify, 429, "E061103", "otp_exhausted", id="tries-used-up-429"),
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
async def test_refusals_are_mapped_by_code_then_by_status(
    call: Call, status: int, error: str, code: str
) -> None:
    """Descope's codes are known, its statuses are a fallback, its text is never looked at."""
    assert (await refusal_of(call, refusing(status, error))).code == code


@pytest.mark.anyio
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("descope", "code"),
    [
        pytest.param(refusing(500, "E010009"), "descope_unavailable", id="500"),
        pytest.param(answering(503, b"down"), "descope_unavailable", id="503"),
        pytest.param(answering(524, b""), "descope_unavailable", id="524"),
        pytest.param(answering(429, b"slow down"), "too_many_attempts", id="429-of-a-proxy"),
        pytest.param(answering(400, b"<html>"), "descope_error", id="400-of-a-proxy"),
        pytest.param(answering(401, {"error": "x"}), "descope_error", id="401-without-code"),
        pytest.param(answering(401, {"errorCode": 7}), "descope_error", id="401-odd-code"),
        pytest.param(answering(401, {"errorCode": ""}), "descope_error", id="401-empty-code"),
        pytest.param(
            answering(301, b"", location="https://evil.example"), "descope_error", id="301"
        ),
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
    ],
)
async def test_outages_and_nonsense_are_told_apart(call: Call, descope: Descope, code: str) -> None:
    """Descope down is 503, an answer that cannot be used is 502, whatever was asked; once."""
    descope.requests.clear()

    assert (await refusal_of(call, descope)).code == code


@pytest.mark.anyio
@pytest.mark.parametrize("call", TELLING)
async def test_reply_that_tells_nothing_is_nonsense(call: Call) -> None:
    """Tokens, users, addresses, URLs: what was asked for must be there."""
    assert (await refusal_of(call, answering(200, {}))).code == "descope_error"


@pytest.mark.anyio
@pytest.mark.parametrize("call", POLLS)
@pytest.mark.parametrize("code", ["E062503", "E066103"])
async def test_pending_is_no_refusal(call: Call, code: str) -> None:
    """`None` says that it is not done yet."""
    assert await call(refusing(401, code).client) is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("retry_after", "throttled", "down"),
    [
        pytest.param("7", 7, 7, id="seconds"),
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
    """A user waits as long as Descope asks for: a second at least, an hour at most."""
    too_many = await refusal_of(start, refusing(429, "E130429", retry_after=retry_after))
    outage = await refusal_of(start, refusing(503, "E010009", retry_after=retry_after))

    assert (too_many.retry_after, outage.retry_after) == (throttled, down)


class Endless(httpx.AsyncByteStream):
    """A body that goes on until the connection is closed."""

    def __init__(self, piece: bytes) -> None:
        self.piece = piece
        self.is_closed = False

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Go on."""
        await anyio.sleep(0.01)
        if self.is_closed:
            raise StopAsyncIteration
        return self.piece

    async def aclose(self) -> None:
        """End it."""
        self.is_closed = True


@pytest.mark.anyio
async def test_slow_reply_is_given_up_at_the_deadline() -> None:
    """Neither silence nor a dripping body holds a request longer than the deadline."""
    descope = Descope(lambda: httpx.Response(200, stream=Endless(b" ")))
    client = DescopeClient("P1", http=HTTPClient(descope), deadline=0.2)
    started = time.monotonic()

    with pytest.raises(DescopeUnavailable):
        await client.verify_otp("email", ANN, "123456")

    assert time.monotonic() - started < 2
    assert len(descope.requests) == 1


@pytest.mark.anyio
async def test_endless_reply_is_given_up_at_the_limit() -> None:
    """No more is read than a reply may hold."""
    descope = Descope(lambda: httpx.Response(200, stream=Endless(100_000 * b" ")))

    assert (await refusal_of(verify, descope)).code == "descope_error"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"maskedEmail": "a**@example.com"}, "a**@example.com", id="masked"),
        pytest.param({"maskedEmail": "a@b.c"}, "***", id="too-short-to-mask"),
    ],
)
async def test_destination_is_always_masked(body: object, expected: str) -> None:
    """An address that Descope does not mask is not passed on."""
    assert await start(answering(200, body).client) == expected


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"maskedPhone": "+1***"}, id="other-member"),
        pytest.param({"maskedEmail": None}, id="null"),
        pytest.param({"maskedEmail": ["*"]}, id="array"),
        pytest.param({"maskedEmail": "*\r\nSet-Cookie: x"}, id="line-break"),
        pytest.param({"maskedEmail": 257 * "*"}, id="long"),
    ],
)
async def test_odd_destination_is_nonsense(body: object) -> None:
    """What is no short line of text is not shown to anybody."""
    with pytest.raises(DescopeError):
        await start(answering(200, body).client)


@pytest.mark.anyio
async def test_phone_deliveries_read_the_masked_phone() -> None:
    """All but e-mail go to the number on file."""
    client = answering(200, {"maskedPhone": "+1********12"}).client

    for delivery in ("sms", "voice", "whatsapp"):
        masked = await client.start_otp(delivery, ANN, REFRESH_TOKEN)
        assert masked == "+1********12"


@pytest.mark.anyio
async def test_tokens_are_read_from_the_body_before_the_cookies() -> None:
    """In body mode the members count; numbers that are none are left out."""
    body = {
        "sessionJwt": "session",
        "refreshJwt": "refresh",
        "sessionExpiration": True,
        "cookieMaxAge": -1,
    }
    descope = Descope(
        httpx.Response(200, json=body, headers=[("Set-Cookie", "DSR=c"), ("Set-Cookie", "DS=d")])
    )

    tokens = await descope.client.verify_otp("email", ANN, "123456")

    assert (tokens.session_token, tokens.refresh_token) == ("session", "refresh")
    assert (tokens.session_expiration, tokens.refresh_max_age) == (None, None)
    assert "session" not in repr(tokens)


@pytest.mark.anyio
async def test_tokens_are_read_from_the_cookies_in_cookie_mode() -> None:
    """In cookie mode the members are empty and the reply's own cookies count."""
    body = {"sessionJwt": "", "refreshJwt": "", "sessionExpiration": 9, "cookieMaxAge": 8}
    fields = [
        ("Set-Cookie", "DSR=refresh; Path=/; Secure; HttpOnly"),
        ("Set-Cookie", "XDS=wrong"),
        ("Set-Cookie", "DS=session; Path=/"),
    ]

    client = Descope(httpx.Response(200, json=body, headers=fields)).client
    tokens = await client.refresh(REFRESH_TOKEN)

    assert (tokens.session_token, tokens.refresh_token) == ("session", "refresh")
    assert (tokens.session_expiration, tokens.refresh_max_age) == (9, 8)


@pytest.mark.anyio
async def test_refresh_token_may_stay_the_same() -> None:
    """Without rotation there is none in the reply."""
    tokens = await answering(200, {"sessionJwt": "session"}).client.refresh(REFRESH_TOKEN)

    assert tokens.refresh_token is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"loginIds": [ANN]}, id="no-user-id"),
        pytest.param({"userId": 7, "loginIds": [ANN]}, id="odd-user-id"),
        pytest.param({"userId": "U1"}, id="no-login-ids"),
        pytest.param({"userId": "U1", "loginIds": []}, id="empty-login-ids"),
        pytest.param({"userId": "U1", "loginIds": ANN}, id="login-ids-text"),
        pytest.param({"userId": "U1", "loginIds": [ANN, None]}, id="login-id-null"),
        pytest.param({"userId": "U1", "loginIds": [""]}, id="login-id-empty"),
    ],
)
async def test_user_without_identity_is_nonsense(body: object) -> None:
    """A step-up needs to know whose it is and whom to send the code to."""
    with pytest.raises(DescopeError):
        await me(answering(200, body).client)


@pytest.mark.anyio
async def test_user_is_read_and_shows_nothing() -> None:
    """Empty addresses are none; the `repr` holds neither login ids nor addresses."""
    body = {"userId": "U1", "loginIds": ["annie", ANN], "email": ANN, "phone": ""}

    user = await answering(200, body).client.me(REFRESH_TOKEN)

    assert user == DescopeUser("U1", ("annie", ANN), ANN, None)
    assert (user.can_receive("email"), user.can_receive("voice")) == (True, False)
    assert "ann" not in repr(user)
    assert "ann" not in repr(user.login_ids)


@pytest.mark.parametrize(
    ("email", "phone", "email_id", "phone_id"),
    [
        pytest.param(ANN, "+15550100012", ANN, "annie", id="address-is-a-login-id"),
        pytest.param("a@b.c", "+4930", "annie", "+4930", id="number-is-a-login-id"),
        pytest.param(None, None, "annie", "annie", id="no-address"),
    ],
)
def test_login_id_is_the_address_itself_where_it_is_one(
    email: str | None, phone: str | None, email_id: str, phone_id: str
) -> None:
    """Start and verify choose the same login id, in whatever order Descope lists them."""
    login_ids = ("annie", ANN, "+4930")
    user = DescopeUser("U1", login_ids, email, phone)

    assert (user.login_id("email"), user.login_id("sms")) == (email_id, phone_id)


def test_secret_is_text_that_is_not_shown() -> None:
    """It is sent as it is, and no container's `repr` shows it."""
    secret = Secret("123456")

    assert f"{secret}" == str(secret) == "123456"
    assert repr({"code": secret}) == "{'code': Secret()}"


@pytest.mark.anyio
async def test_no_log_record_holds_what_is_sent_and_received(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not even those of httpx and httpcore at DEBUG, with tokens in Descope's cookies (OT-035)."""
    secrets = ("eyJ", "123456", ANN, "+1555", "refresh-in-cookie")

    async def descope(scope: Scope, receive: Receive, send: Send) -> None:
        body = {"sessionJwt": "eyJ.session.x", "userId": "U1", "loginIds": [ANN], "email": ANN}
        cookie = {"Set-Cookie": "DSR=refresh-in-cookie; Path=/; HttpOnly"}
        await JSONResponse(body, headers=cookie)(scope, receive, send)

    caplog.set_level(logging.DEBUG)
    with served(descope) as url:
        client = DescopeClient("P1", base_url=url)
        await verify(client)
        await me(client)
        await refresh(client)
        async with httpx.AsyncClient() as anothers:
            await anothers.get(url)

    replies = [r for r in caplog.records if r.message.startswith("receive_response_headers.compl")]
    assert len(replies) == 1
    assert "refresh-in-cookie" in replies[0].message
    others = "\n".join(record.getMessage() for record in caplog.records if record not in replies)
    assert "send_request_headers.started" in others
    assert [secret for secret in secrets if secret in others] == []

"""Parsers of Descope's responses: what they take, and what is unusable."""

import httpx
import pytest

from fastapi_stepup.errors import DescopeError
from fastapi_stepup.providers.descope.responses import DescopeUser
from tests.support.descope_replies import (
    ANN,
    ORIGIN,
    PAGE,
    REFRESH_TOKEN,
    Call,
    Descope,
    answering,
    calling,
    me,
    start,
)

START_PASSKEY = calling("start_passkey", ANN, ORIGIN, REFRESH_TOKEN)
START_OAUTH = calling("start_oauth", "google", PAGE, REFRESH_TOKEN)
START_SSO = calling("start_sso", "acme", PAGE, REFRESH_TOKEN)


async def is_unusable(call: Call, descope: Descope) -> bool:
    """Return whether the answer is refused as an error of Descope's."""
    try:
        await call(descope.client)
    except DescopeError:
        return True
    return False


@pytest.mark.anyio
async def test_destination_is_always_masked() -> None:
    """An address that Descope does not mask is not passed on."""
    masked = answering(200, {"maskedEmail": "a**@example.com"}).client
    too_short_to_mask = answering(200, {"maskedEmail": "a@b.c"}).client

    assert await start(masked) == "a**@example.com"
    assert await start(too_short_to_mask) == "***"


@pytest.mark.anyio
async def test_odd_destination_is_unusable(subtests: pytest.Subtests) -> None:
    """A text that is no short line is not shown."""
    bodies: list[object] = [
        {"maskedPhone": "+1***"},
        {"maskedEmail": None},
        {"maskedEmail": ["*"]},
        {"maskedEmail": "*\r\nSet-Cookie: x"},
        {"maskedEmail": 257 * "*"},
    ]
    for body in bodies:
        with subtests.test(repr(body)[:60]):
            assert await is_unusable(start, answering(200, body))


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
async def test_user_without_identity_is_unusable(subtests: pytest.Subtests) -> None:
    """A step-up needs the user's id and a login id to send the code to."""
    bodies: list[object] = [
        {"loginIds": [ANN]},
        {"userId": 7, "loginIds": [ANN]},
        {"userId": "U1"},
        {"userId": "U1", "loginIds": []},
        {"userId": "U1", "loginIds": ANN},
        {"userId": "U1", "loginIds": [ANN, None]},
        {"userId": "U1", "loginIds": [""]},
    ]
    for body in bodies:
        with subtests.test(repr(body)):
            assert await is_unusable(me, answering(200, body))


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


def passkey(options: object, **members: object) -> httpx.Response:
    """Return the start of a passkey sign-in."""
    return httpx.Response(200, json={"transactionId": "T1", "options": options, **members})


@pytest.mark.anyio
async def test_passkey_options_are_unwrapped() -> None:
    """Browsers take the inner object; the transaction is a secret."""
    for options in ('{"challenge":"c"}', '{"publicKey":{"challenge":"c"}}'):
        challenge = await Descope(passkey(options)).client.start_passkey(ANN, ORIGIN, REFRESH_TOKEN)

        assert challenge.options == {"challenge": "c"}
        assert (challenge.transaction_id, "T1" in repr(challenge)) == ("T1", False)


@pytest.mark.anyio
async def test_odd_passkey_challenge_is_unusable(subtests: pytest.Subtests) -> None:
    """A browser could do nothing with it."""
    replies = {
        "object": passkey({"challenge": "c"}),
        "array-text": passkey("[]"),
        "no-json": passkey("{"),
        "inner-array": passkey('{"publicKey":[]}'),
        "odd-transaction": passkey("{}", transactionId=7),
    }
    for name, reply in replies.items():
        with subtests.test(name):
            assert await is_unusable(START_PASSKEY, Descope(reply))


@pytest.mark.anyio
async def test_pending_links_are_read_with_numbers_as_text() -> None:
    """Descope's link ids are numbers of two digits, in either form."""
    for link_id in (42, "42"):
        body = {"pendingRef": "ref", "linkId": link_id, "maskedEmail": "a**@example.com"}
        link = await answering(200, body).client.start_enchanted_link(ANN, PAGE, REFRESH_TOKEN)

        assert (link.pending_ref, link.link_id) == ("ref", "42")
        assert link.destination == "a**@example.com"


@pytest.mark.anyio
async def test_an_image_is_passed_on_unless_it_is_huge() -> None:
    """The message can be sent without it."""
    kept = "x" * 131_072
    for image, passed_on in ((kept, kept), (kept + "x", None), (7, None), ("", None)):
        body = {"pendingRef": "ref", "redirectUrl": "https://wa.me/1?text=x", "image": image}
        pending = await answering(200, body).client.start_notp(ANN, REFRESH_TOKEN)

        assert (pending.pending_ref, pending.authorization_uri) == ("ref", "https://wa.me/1?text=x")
        assert pending.image == passed_on


@pytest.mark.anyio
async def test_a_provider_is_reached_by_a_safe_url(subtests: pytest.Subtests) -> None:
    """The browser goes there."""
    for url in ("https://accounts.example/o?a=b", "http://127.0.0.1:8000/o"):
        assert await START_OAUTH(answering(200, {"url": url}).client) == url
    for other in (
        "http://accounts.example/o",
        "javascript:alert(1)",
        "https://accounts.example/" + 4072 * "x",
        None,
    ):
        with subtests.test(repr(other)[:60]):
            assert await is_unusable(START_SSO, answering(200, {"url": other}))


@pytest.mark.anyio
async def test_tenants_and_providers_of_a_user_are_those_that_are_well_formed() -> None:
    """Names of members count in any letter case, as for Go's JSON."""
    body = {
        "userId": "U1",
        "loginIds": [ANN],
        "TOTP": True,
        "webauthn": "yes",
        "OAuth": {"google": True, "github": False},
        "userTenants": [{"tenantId": "T1"}, {"tenantId": 7}, "T2"],
    }
    user = await answering(200, body).client.me(REFRESH_TOKEN)
    other = {"userId": "U1", "loginIds": [ANN], "oauth": ["google"], "userTenants": {"T1": {}}}
    plain = await answering(200, other).client.me(REFRESH_TOKEN)

    assert (user.totp, user.passkey) == (True, False)
    assert (user.providers, user.tenants) == (("google",), ("T1",))
    assert (plain.providers, plain.tenants) == ((), ())

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
    Descope,
    answering,
    me,
    start,
)


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
async def test_odd_destination_is_unusable(body: object) -> None:
    """A text that is no short line is not shown."""
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
async def test_user_without_identity_is_unusable(body: object) -> None:
    """A step-up needs the user's id and a login id to send the code to."""
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


def passkey(options: object, **members: object) -> httpx.Response:
    """Return the start of a passkey sign-in."""
    return httpx.Response(200, json={"transactionId": "T1", "options": options, **members})


@pytest.mark.anyio
@pytest.mark.parametrize(
    "options", ['{"challenge":"c"}', '{"publicKey":{"challenge":"c"}}'], ids=["bare", "wrapped"]
)
async def test_passkey_options_are_unwrapped(options: str) -> None:
    """Browsers take the inner object; the transaction is a secret."""
    challenge = await Descope(passkey(options)).client.start_passkey(ANN, ORIGIN, REFRESH_TOKEN)

    assert challenge.options == {"challenge": "c"}
    assert (challenge.transaction_id, "T1" in repr(challenge)) == ("T1", False)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(passkey({"challenge": "c"}), id="object"),
        pytest.param(passkey("[]"), id="array-text"),
        pytest.param(passkey("{"), id="no-json"),
        pytest.param(passkey('{"publicKey":[]}'), id="inner-array"),
        pytest.param(passkey("{}", transactionId=7), id="odd-transaction"),
    ],
)
async def test_odd_passkey_challenge_is_unusable(reply: httpx.Response) -> None:
    """A browser could do nothing with it."""
    with pytest.raises(DescopeError):
        await Descope(reply).client.start_passkey(ANN, ORIGIN, REFRESH_TOKEN)


@pytest.mark.anyio
async def test_pending_links_are_read_with_numbers_as_text() -> None:
    """Descope's link ids are numbers of two digits, in either form."""
    for link_id in (42, "42"):
        body = {"pendingRef": "ref", "linkId": link_id, "maskedEmail": "a**@example.com"}
        link = await answering(200, body).client.start_enchanted_link(ANN, PAGE, REFRESH_TOKEN)

        assert (link.pending_ref, link.link_id) == ("ref", "42")
        assert link.destination == "a**@example.com"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("image", "passed_on"), [("x" * 131_072, True), ("x" * 131_073, False), (7, False), ("", False)]
)
async def test_an_image_is_passed_on_unless_it_is_huge(
    image: object,
    passed_on: bool,  # noqa: FBT001
) -> None:
    """The message can be sent without it."""
    body = {"pendingRef": "ref", "redirectUrl": "https://wa.me/1?text=x", "image": image}
    pending = await answering(200, body).client.start_notp(ANN, REFRESH_TOKEN)

    assert (pending.pending_ref, pending.authorization_uri) == ("ref", "https://wa.me/1?text=x")
    assert (pending.image is not None) is passed_on


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "usable"),
    [
        pytest.param("https://accounts.example/o?a=b", True, id="https"),
        pytest.param("http://127.0.0.1:8000/o", True, id="loopback"),
        pytest.param("http://accounts.example/o", False, id="plain-http"),
        pytest.param("javascript:alert(1)", False, id="script"),
        pytest.param("https://accounts.example/" + 4072 * "x", False, id="long"),
        pytest.param(None, False, id="null"),
    ],
)
async def test_a_provider_is_reached_by_a_safe_url(url: object, usable: bool) -> None:  # noqa: FBT001
    """The browser goes there."""
    client = answering(200, {"url": url}).client
    if usable:
        assert await client.start_oauth("google", PAGE, REFRESH_TOKEN) == url
    else:
        with pytest.raises(DescopeError):
            await client.start_sso("acme", PAGE, REFRESH_TOKEN)


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

"""The shop, the whole way: signing in and out."""

import pytest

from examples.tee_hee_tees.catalogue import SHIRTS
from fastapi_stepup.testing import assert_step_up_challenge
from tests.examples.shop import HERE, PICK, Shop


def test_whole_way_from_browsing_to_an_order_in_the_database(shop: Shop) -> None:
    """A stranger browses, picks, signs in, is asked to step up, and then has an order."""
    assert "Free hugs" in shop.browser.get("/").text
    assert "€24.00" in shop.browser.get("/shirts/free-hugs").text
    assert shop.post("/cart", PICK).headers["location"] == "/sign-in?next=cart"
    assert "tell us who you are" in shop.browser.get("/sign-in?next=cart").text
    asked = shop.post("/sign-in", {"email": "ann@example.com", "next": "cart"})
    assert asked.headers["location"] == "/sign-in/code?next=cart"
    page = shop.browser.get("/sign-in/code?next=cart").text
    assert "ann@example.com" in page
    assert shop.descope.outbox[-1].code in page

    entered = shop.post("/sign-in/code", {"code": shop.descope.outbox[-1].code, "next": "cart"})
    assert entered.headers["location"] == "/cart"
    cart = shop.browser.get("/cart").text
    assert "€48.00" in cart
    assert "no su" in cart

    refused = shop.call("/checkout")
    problem = assert_step_up_challenge(refused, max_age=300)
    assert problem["step_up"]["start_uri"] == "/step-up/otp/start"
    assert shop.rows("orders") == []

    assert shop.call("/step-up/otp/start", {"delivery": "email"}).json() == {
        "delivery": "email",
        "destination": "a**@example.com",
    }
    right = shop.descope.outbox[-1].code
    assert right in shop.browser.get("/inbox").text
    wrong = f"{(int(right) + 1) % 1_000_000:06}"
    rejected = shop.call("/step-up/otp/verify", {"delivery": "email", "code": wrong})
    assert (rejected.status_code, rejected.json()["code"]) == (400, "otp_rejected")
    stepped_up = shop.call("/step-up/otp/verify", {"delivery": "email", "code": right})
    assert stepped_up.json()["session_token"] is None

    placed = shop.call("/checkout")
    assert placed.status_code == 201
    receipt = placed.json()
    assert receipt["total"] == 4800
    ((reference, subject, _),) = shop.rows("orders")
    assert (reference, subject) == (receipt["order"], shop.subject)
    assert shop.rows("order_lines") == [
        (reference, "free-hugs", "Free hugs", "M", 2, SHIRTS["free-hugs"].price)
    ]
    assert shop.rows("cart") == []
    order = shop.browser.get(receipt["url"]).text
    assert "Order placed." in order
    assert "su: true" in order
    assert reference in shop.browser.get("/orders").text


def test_tokens_are_kept_in_cookies_that_no_script_reads(shop: Shop) -> None:
    """Both cookies are HttpOnly, Secure, SameSite=Lax, and last as long as their tokens."""
    cookies = [
        cookie
        for cookie in shop.sign_in().headers.get_list("set-cookie")
        if cookie.startswith("DS")
    ]
    session, refresh = cookies
    assert session.startswith("DS=ey")
    assert refresh.startswith("DSR=ey")
    for cookie in cookies:
        attributes = cookie.partition("; ")[2]
        assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(attributes.split("; "))
    assert any(f"Max-Age={age}" in session for age in (598, 599, 600))
    assert any(f"Max-Age={28 * 24 * 3600 - age}" in refresh for age in (0, 1, 2))


@pytest.mark.parametrize(
    ("method", "path", "page"),
    [
        pytest.param("GET", "/cart", "cart", id="cart"),
        pytest.param("POST", "/cart/line", "cart", id="a-line-of-the-cart"),
        pytest.param("GET", "/orders", "orders", id="orders"),
        pytest.param("GET", "/orders/TH-12345678", "orders", id="an-order"),
        pytest.param("GET", "/profile", "profile", id="profile"),
        pytest.param("GET", "/refunds", "refunds", id="refunds"),
    ],
)
def test_stranger_is_sent_to_sign_in_and_back(
    shop: Shop, method: str, path: str, page: str
) -> None:
    """A page of one's own asks a stranger to sign in, and names itself as the way back."""
    answer = shop.browser.request(method, path, data=PICK, headers={"Origin": HERE})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={page}")
    assert shop.sign_in(page=page).headers["location"] == f"/{page}"


def test_stranger_cannot_check_out(shop: Shop) -> None:
    """The checkout answers a request without session 401, and not with a page."""
    answer = shop.call("/checkout")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_session_that_ended_is_renewed_on_the_way_to_sign_in(shop: Shop) -> None:
    """With a good refresh token no code is asked for again, and a new pick is kept."""
    shop.sign_in()
    shop.browser.cookies.delete("DS")
    assert shop.post("/cart", PICK).headers["location"] == "/sign-in?next=cart"
    renewed = shop.browser.get("/sign-in?next=cart")
    assert (renewed.status_code, renewed.headers["location"]) == (303, "/cart")
    assert "Free hugs" in shop.browser.get("/cart").text


def test_renewed_session_is_not_stepped_up(shop: Shop) -> None:
    """A step-up ends with the session it belongs to."""
    shop.sign_in()
    shop.step_up()
    shop.browser.cookies.delete("DS")
    shop.browser.get("/sign-in")
    assert_step_up_challenge(shop.call("/checkout"))


def test_refresh_token_that_was_revoked_is_forgotten(shop: Shop) -> None:
    """A refresh token that Descope refuses is cleared, and the form is shown."""
    shop.sign_in()
    shop.descope.reset()
    answer = shop.browser.get("/sign-in?next=orders")
    assert 'value="orders"' in answer.text
    assert not {"DS", "DSR"} & set(shop.browser.cookies)


def test_outage_while_renewing_logs_nobody_out(shop: Shop) -> None:
    """When Descope is down the form says so, and the refresh token stays."""
    shop.sign_in()
    shop.descope.fail(503)
    answer = shop.browser.get("/sign-in")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "cannot be reached" in answer.text
    assert "DSR" in shop.browser.cookies


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(500, id="out-of-order"),
        pytest.param(400, id="will-not"),
        pytest.param(429, id="throttling"),
    ],
)
def test_code_that_cannot_be_sent_is_said_on_the_form(shop: Shop, failure: int) -> None:
    """The form comes back with the reason in words."""
    shop.descope.fail(failure)
    answer = shop.post("/sign-in", {"email": "ann@example.com"})
    assert answer.status_code == (429 if failure == 429 else 503)
    assert 'role="alert"><p class="error"' in answer.text


def test_wrong_code_is_said_on_the_form(shop: Shop) -> None:
    """A wrong code does not sign in, the right one still does; spaces in it do not matter."""
    shop.post("/sign-in", {"email": "ann@example.com"})
    code = shop.descope.outbox[-1].code
    wrong = shop.post("/sign-in/code", {"code": f"{(int(code) + 1) % 1_000_000:06}"})
    assert wrong.status_code == 400
    assert "That code is not right" in wrong.text
    assert "DS" not in shop.browser.cookies
    spaced = shop.post("/sign-in/code", {"code": f"{code[:3]} {code[3:]}"})
    assert spaced.headers["location"] == "/"


def test_code_without_an_address_goes_back_to_the_start(shop: Shop) -> None:
    """The code page is of no use before an address was given."""
    assert shop.browser.get("/sign-in/code").headers["location"] == "/sign-in?next=home"
    answer = shop.post("/sign-in/code", {"code": "123456", "next": "cart"})
    assert answer.headers["location"] == "/sign-in?next=cart"


def test_foreign_session_from_descope_is_not_accepted(shop: Shop) -> None:
    """A session of another issuer does not sign in, even if Descope hands it out."""
    shop.post("/sign-in", {"email": "ann@example.com"})
    shop.descope.tamper(iss="P2SomebodyElsesProject000001")
    answer = shop.post("/sign-in/code", {"code": shop.descope.outbox[-1].code})
    assert answer.status_code == 401
    assert "DS" not in shop.browser.cookies


def test_signing_out_ends_the_session_here_and_at_descope(shop: Shop) -> None:
    """Both cookies go, and the refresh token is no longer good."""
    shop.sign_in()
    refresh_token = shop.browser.cookies["DSR"]
    assert "Sign out" in shop.browser.get("/profile").text
    assert shop.post("/sign-out", {}).headers["location"] == "/"
    assert not {"DS", "DSR"} & set(shop.browser.cookies)
    shop.browser.cookies.set("DSR", refresh_token)
    assert shop.browser.get("/sign-in").status_code == 200


def test_signing_out_works_while_descope_is_down_and_twice(shop: Shop) -> None:
    """The browser forgets both tokens in any case."""
    shop.sign_in()
    shop.descope.fail(503)
    assert shop.post("/sign-out", {}).status_code == 303
    assert "DSR" not in shop.browser.cookies
    assert shop.post("/sign-out", {}).status_code == 303

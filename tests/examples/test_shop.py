"""The shop, the whole way: what a browser sees, and what it may not do."""

import json
import re
import runpy
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from examples.tee_hee_tees.app import Settings, create_app
from examples.tee_hee_tees.catalogue import MAX_QUANTITY, SHIRTS, Size, euros
from examples.tee_hee_tees.people import STAFF, STAFF_ROLE
from examples.tee_hee_tees.serve import main
from examples.tee_hee_tees.store import Store
from examples.tee_hee_tees.views import pretty
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge

HERE = "https://testserver"
ROOT = Path(__file__).parents[2]
JSON = {"Content-Type": "application/json"}
PICK = {"shirt": "free-hugs", "size": "M", "quantity": "2"}


@dataclass
class Shop:
    """A shop of one's own, and a browser in it."""

    app: FastAPI
    browser: TestClient
    descope: DescopeEmulator
    store: Store

    def post(self, path: str, form: dict[str, str], **headers: str) -> httpx2.Response:
        """Send a form the way a page of the shop does."""
        return self.browser.post(path, data=form, headers={"Origin": HERE, **headers})

    def call(self, path: str, body: dict[str, Any] | None = None) -> httpx2.Response:
        """Send JSON the way the shop's script does."""
        return self.browser.post(path, json=body, headers={"Sec-Fetch-Site": "same-origin"})

    def sign_in(self, email: str = "ann@example.com", page: str = "home") -> httpx2.Response:
        """Sign in with the code from the inbox; return the last answer of the way."""
        assert self.post("/sign-in", {"email": email, "next": page}).status_code == 303
        return self.post("/sign-in/code", {"code": self.descope.outbox[-1].code, "next": page})

    def step_up(self) -> httpx2.Response:
        """Step up with the code from the inbox."""
        assert self.call("/step-up/otp/start", {"delivery": "email"}).status_code == 200
        code = self.descope.outbox[-1].code
        return self.call("/step-up/otp/verify", {"delivery": "email", "code": code})

    @property
    def subject(self) -> str:
        """The user who signed in last."""
        return self.descope.outbox[-1].user_id

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return what is in a table of the shop's database."""
        with closing(sqlite3.connect(self.store.path)) as connection:
            return connection.execute(f"SELECT * FROM {table}").fetchall()


@pytest.fixture(autouse=True)
def no_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own Descope project out of these tests."""
    monkeypatch.delenv("DESCOPE_PROJECT_ID", raising=False)
    monkeypatch.delenv("DESCOPE_BASE_URI", raising=False)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop on its own emulator, with no session."""
    database = tmp_path / "shop.sqlite3"
    app = create_app(Settings(database=database))
    with TestClient(app, base_url=HERE, follow_redirects=False) as browser:
        yield Shop(app, browser, app.state.emulator, Store(database))


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


def test_cart_adds_up_changes_and_empties(shop: Shop) -> None:
    """Quantities add up to the limit, can be set, and 0 takes the line out."""
    shop.sign_in()
    for _ in range(3):
        shop.post("/cart", {**PICK, "quantity": "4"})
    assert shop.rows("cart") == [(shop.subject, "free-hugs", "M", MAX_QUANTITY)]
    shop.post("/cart/line", {**PICK, "quantity": "3"})
    assert "€72.00" in shop.browser.get("/cart").text
    shop.post("/cart/line", {**PICK, "quantity": "0"})
    assert "Empty, like the pants shelf" in shop.browser.get("/cart").text


def test_cart_survives_the_step_up(shop: Shop) -> None:
    """The cart belongs to the user, not to the session."""
    shop.sign_in()
    shop.post("/cart", PICK)
    shop.step_up()
    assert "€48.00" in shop.browser.get("/cart").text


def test_empty_cart_is_no_order(shop: Shop) -> None:
    """A stepped-up session with nothing in the cart orders nothing."""
    shop.sign_in()
    shop.step_up()
    answer = shop.call("/checkout")
    assert answer.status_code == 409
    assert answer.json() == {"detail": "Your cart is empty; nothing was ordered."}


def test_order_is_placed_once(shop: Shop) -> None:
    """The second of two clicks finds the cart empty."""
    shop.sign_in()
    shop.post("/cart", PICK)
    shop.step_up()
    assert [shop.call("/checkout").status_code for _ in range(2)] == [201, 409]
    assert len(shop.rows("orders")) == 1


def test_orders_are_listed_newest_first_and_each_has_its_page(shop: Shop) -> None:
    """Two orders are two lines in the list, and the older one is found as well."""
    shop.sign_in()
    shop.step_up()
    placed = []
    for shirt in ("free-hugs", "duck-typed"):
        shop.post("/cart", {**PICK, "shirt": shirt})
        placed.append(shop.call("/checkout").json())
    older, newer = placed
    listed = shop.browser.get("/orders").text
    assert listed.index(newer["order"]) < listed.index(older["order"])
    assert "Free hugs" in shop.browser.get(older["url"]).text


def test_orders_are_seen_by_their_owner_only(shop: Shop) -> None:
    """Another shopper gets 404 for an order that exists, and sees none of it in the list."""
    shop.sign_in()
    shop.post("/cart", PICK)
    shop.step_up()
    url = shop.call("/checkout").json()["url"]
    shop.post("/sign-out", {})
    shop.sign_in("bob@example.com")
    assert shop.browser.get(url, headers={"Accept": "text/html"}).status_code == 404
    assert "None yet" in shop.browser.get("/orders").text


def test_restart_finds_carts_and_orders_again(tmp_path: Path) -> None:
    """On the emulator, too, people are who they were before the shop was closed."""
    settings = Settings(database=tmp_path / "shop.sqlite3")
    texts: list[str] = []
    for _ in range(2):
        app = create_app(settings)
        with TestClient(app, base_url=HERE, follow_redirects=False) as browser:
            shop = Shop(app, browser, app.state.emulator, Store(settings.database))
            for _ in range(2):  # a user of the first run is not made anew
                shop.sign_in()
            if not texts:
                shop.store.add(shop.subject, SHIRTS["duck-typed"], Size.M, 1)
                shop.store.place_order(shop.subject)
            texts.append(browser.get("/orders").text)
    first, second = (re.findall("TH-[0-9A-F]{8}", text) for text in texts)
    assert first == second != []


def test_database_of_an_older_shop_is_opened(shop: Shop) -> None:
    """Orders from before there were refunds are listed, and can be paid back."""
    with closing(sqlite3.connect(shop.store.path)) as connection, connection:
        connection.execute("DROP TABLE refunds")
        connection.execute("INSERT INTO orders VALUES ('TH-00000001', 'U2', 1)")
    store = Store(shop.store.path)
    assert [order.refunded_at for order in store.every_order()] == [None]
    assert store.refund("TH-00000001", by="U3").refunded_at is not None


def ordered(shop: Shop) -> str:
    """Place an order of a user and return its reference."""
    shop.store.add("U2somebody", SHIRTS["duck-typed"], Size.M, 1)
    return shop.store.place_order("U2somebody").reference


def test_refund_is_refused_until_there_is_a_second_factor(shop: Shop) -> None:
    """A step-up by e-mail is not enough, one by authenticator app is, and it is done once."""
    reference = ordered(shop)
    shop.sign_in(STAFF)
    assert shop.step_up().status_code == 200
    refused = shop.call(f"/refunds/{reference}")
    problem = assert_step_up_challenge(refused, max_age=60)
    assert problem["amr"] == ["sms", "totp", "webauthn"]
    assert problem["unmet"] == [{"requirement": "amr", "reason": "missing"}]
    assert problem["unmet_after_step_up"] is True
    assert shop.rows("refunds") == []

    code = shop.descope.totp_code(STAFF)
    assert code in shop.browser.get("/inbox").text
    assert shop.call("/step-up/totp/verify", {"code": code}).status_code == 200
    refunded = shop.call(f"/refunds/{reference}")
    assert (refunded.status_code, refunded.json()) == (200, {"order": reference, "total": 2600})
    assert [row[0] for row in shop.rows("refunds")] == [reference]
    assert "refunded" in shop.browser.get("/refunds").text
    assert shop.call(f"/refunds/{reference}").status_code == 409
    assert shop.call("/refunds/TH-00000000").status_code == 404


def test_refund_is_for_staff_only(shop: Shop) -> None:
    """A shopper is told so before anything is to be proven, and a stranger is asked to sign in."""
    reference = ordered(shop)
    assert shop.call(f"/refunds/{reference}").json()["code"] == "unauthenticated"
    shop.sign_in()
    refused = shop.call(f"/refunds/{reference}")
    assert (refused.status_code, list(refused.json())) == (403, ["detail"])
    assert shop.browser.get("/refunds").status_code == 403
    assert "Refunds" not in shop.browser.get("/").text
    shop.sign_in(STAFF)
    assert reference in shop.browser.get("/refunds").text
    assert "Refunds" in shop.browser.get("/").text


def test_code_of_the_authenticator_app_is_shown_to_staff_only(shop: Shop) -> None:
    """The demo inbox of a shopper has no authenticator app in it."""
    shop.sign_in()
    assert "Authenticator app" not in shop.browser.get("/inbox").text
    shop.sign_in(STAFF)
    assert "Authenticator app" in shop.browser.get("/inbox").text


ADD = "/profile/passkey/start"
KEEP = "/profile/passkey/finish"


def test_passkey_is_added_after_a_step_up(shop: Shop) -> None:
    """A session alone cannot add a way in; a stepped-up one can, and the passkey steps up then."""
    shop.sign_in()
    assert_step_up_challenge(shop.call(ADD), max_age=300)
    assert_step_up_challenge(shop.call(KEEP, {"transaction_id": "1", "response": "{}"}))
    shop.step_up()
    shop.browser.headers["Origin"] = HERE
    begun = shop.call(ADD).json()
    options = json.dumps({"publicKey": begun["options"]})
    made = json.loads(shop.descope.passkey(HERE).create(options))
    answer = {"transaction_id": begun["transaction_id"], "response": made}
    assert shop.call(KEEP, answer).json() == {"added": True}
    assert "passkey" in shop.browser.get("/step-up/status").text
    again = shop.call(KEEP, answer)
    assert (again.status_code, again.json()["code"]) == (400, "passkey_rejected")


def test_passkey_is_added_to_the_account_of_the_session_only(shop: Shop) -> None:
    """No page, no refresh token, or another person's: no passkey is begun."""
    ann = shop.descope.step_up("ann@example.com")
    shop.browser.cookies.set("DS", ann.session_token)
    shop.browser.cookies.set("DSR", ann.refresh_token)
    assert shop.call(ADD).json()["code"] == "cross_site_request"
    shop.browser.headers["Origin"] = HERE
    assert shop.call(ADD).status_code == 200
    shop.browser.cookies.delete("DSR")
    assert shop.call(ADD).json()["code"] == "refresh_token_required"
    shop.browser.cookies.set("DSR", shop.descope.sign_in("bob@example.com").refresh_token)
    assert shop.call(ADD).json()["code"] == "subject_mismatch"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        pytest.param({"status": 503}, "descope_unavailable", id="out-of-order"),
        pytest.param({"status": 200, "body": b"{}"}, "descope_error", id="nonsense"),
        pytest.param(
            {"status": 200, "body": b'{"transactionId": "1", "options": "[]"}'},
            "descope_error",
            id="no-options",
        ),
    ],
)
def test_passkey_waits_while_descope_fails(shop: Shop, failure: dict[str, Any], code: str) -> None:
    """An outage, and an answer that makes no sense, are told apart from a bad passkey."""
    ann = shop.descope.step_up("ann@example.com")
    shop.browser.cookies.set("DS", ann.session_token)
    shop.browser.cookies.set("DSR", ann.refresh_token)
    shop.browser.headers["Origin"] = HERE
    shop.descope.fail(**failure, path="/v1/auth/webauthn")
    assert shop.call(ADD).json()["code"] == code


def test_step_up_script_comes_with_its_hash(shop: Shop) -> None:
    """The pages that may step up load the package's script, pinned and checked."""
    shop.sign_in()
    shop.post("/cart", PICK)
    tag = r'<script type="module" src="(/step-up/stepup\.js\?v=\w+)" integrity="sha384-[^"]{64}"'
    (url,) = re.findall(tag, shop.browser.get("/cart").text)
    assert "immutable" in shop.browser.get(url).headers["cache-control"]


def test_shirt_that_left_the_catalogue_is_not_sold(shop: Shop) -> None:
    """A line that an older catalogue left behind is neither shown nor ordered."""
    shop.sign_in()
    shop.step_up()
    with closing(sqlite3.connect(shop.store.path)) as connection, connection:
        connection.execute("INSERT INTO cart VALUES (?, 'sold-out', 'M', 1)", (shop.subject,))
    assert shop.browser.get("/cart").status_code == 200
    assert shop.call("/checkout").status_code == 409


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({**PICK, "shirt": "trousers"}, id="unknown-shirt"),
        pytest.param({**PICK, "shirt": "' OR 1=1 --"}, id="sql"),
        pytest.param({**PICK, "size": "XXXL"}, id="unknown-size"),
        pytest.param({**PICK, "quantity": "-1"}, id="negative"),
        pytest.param({**PICK, "quantity": "0"}, id="none"),
        pytest.param({**PICK, "quantity": "10"}, id="too-many"),
        pytest.param({**PICK, "quantity": "1.5"}, id="a-fraction"),
        pytest.param({**PICK, "price": "1"}, id="own-price"),
        pytest.param({}, id="empty"),
    ],
)
@pytest.mark.parametrize(
    "signed_in", [pytest.param(True, id="shopper"), pytest.param(False, id="stranger")]
)
def test_hostile_pick_is_refused(shop: Shop, form: dict[str, str], signed_in: bool) -> None:  # noqa: FBT001
    """A pick that no page offers is 422 and puts nothing into the cart."""
    if signed_in:
        shop.sign_in()
    answer = shop.post("/cart", form, Accept="text/html")
    assert answer.status_code == 422
    assert "That does not fit" in answer.text
    assert shop.rows("cart") == []


@pytest.mark.parametrize(
    ("form", "path"),
    [
        pytest.param({"email": "no address"}, "/sign-in", id="no-address"),
        pytest.param({"email": f"{'a' * 250}@example.com"}, "/sign-in", id="long-address"),
        pytest.param({"email": "a@b.c", "next": "evil"}, "/sign-in", id="unknown-page"),
        pytest.param({"email": "a@b.c", "next": "https://evil.example"}, "/sign-in", id="url"),
        pytest.param({"code": "1" * 13}, "/sign-in/code", id="long-code"),
        pytest.param({"code": "123456", "next": "//evil.example"}, "/sign-in/code", id="host"),
    ],
)
def test_hostile_sign_in_is_refused_without_echo(
    shop: Shop, form: dict[str, str], path: str
) -> None:
    """What the form does not offer is 422, sends no code, and no value of it comes back."""
    for accept in ("text/html", "application/json"):
        answer = shop.post(path, form, Accept=accept)
        assert answer.status_code == 422
        assert not any(value in answer.text for value in form.values())
    assert shop.descope.outbox == []


@pytest.mark.parametrize("page", ["evil", "//evil.example", "https://evil.example", "/cart"])
@pytest.mark.parametrize("path", ["/sign-in", "/sign-in/code"])
def test_way_back_is_a_page_of_the_shop(shop: Shop, path: str, page: str) -> None:
    """`next` takes the names of pages and nothing else, so no link leads away from the shop."""
    shop.sign_in()
    assert shop.browser.get(path, params={"next": page}).status_code == 422


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no-evidence"),
        pytest.param({"Origin": "https://evil.example"}, id="foreign-origin"),
        pytest.param({"Origin": "null"}, id="opaque-origin"),
        pytest.param({"Origin": "http://testserver"}, id="other-scheme"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site", "Origin": HERE}, id="same-site"),
    ],
)
@pytest.mark.parametrize("path", ["/cart", "/cart/line", "/sign-in", "/sign-in/code", "/sign-out"])
def test_form_of_another_site_does_nothing(shop: Shop, path: str, headers: dict[str, str]) -> None:
    """Every form is refused without same-origin evidence, signed in or not."""
    for _ in range(2):
        answer = shop.browser.post(path, data=PICK, headers={"Accept": "text/html", **headers})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        shop.sign_in()
    assert shop.rows("cart") == []


def test_checkout_from_another_site_does_nothing(shop: Shop) -> None:
    """Not even a stepped-up session orders at another site's bidding."""
    shop.sign_in()
    shop.post("/cart", PICK)
    shop.step_up()
    answer = shop.browser.post("/checkout", headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site_request")
    assert shop.rows("orders") == []


@pytest.mark.parametrize("pick", ["nonsense", "a:b:c:d", "free-hugs:M:99", "trousers:M:1", ""])
def test_pick_cookie_that_makes_no_sense_is_no_pick(shop: Shop, pick: str) -> None:
    """Signing in goes on, and the cart stays empty."""
    shop.browser.cookies.set("tees_pick", pick)
    assert shop.sign_in().status_code == 303
    assert shop.rows("cart") == []


def test_text_from_outside_is_escaped(shop: Shop) -> None:
    """An address with markup is shown as text, on the page and in the inbox."""
    shop.post("/sign-in", {"email": "<script>alert(1)</script>@example.com"})
    for path in ("/sign-in/code", "/inbox"):
        text = shop.browser.get(path).text
        assert "&lt;script&gt;alert(1)" in text
        assert "<script>alert" not in text


def test_every_answer_has_the_security_headers(shop: Shop) -> None:
    """Nothing but the shop's own files runs; pages are not cached and files are asked for again."""
    answers = [shop.browser.get(path) for path in ("/", "/cart", "/nope", "/static/shop.js")]
    answers.append(shop.call("/checkout"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    caching = [answer.headers["cache-control"] for answer in answers]
    assert caching == ["no-store", "no-store", "no-store", "no-cache", "no-store"]


def test_pages_need_no_inline_script_or_style(shop: Shop) -> None:
    """What the policy forbids is not there: no inline script, style or handler, no other host."""
    shop.sign_in()
    shop.post("/cart", PICK)
    shop.store.add(shop.subject, SHIRTS["duck-typed"], Size.L, 1)
    shop.store.place_order(shop.subject)
    shop.descope.user("ann@example.com").roles = [STAFF_ROLE]
    shop.browser.get("/sign-in")
    pages = ("/", "/shirts/duck-typed", "/cart", "/orders", "/profile", "/sign-in?next=cart")
    for path in (*pages, "/refunds"):
        text = shop.browser.get(path, follow_redirects=True).text
        for script in re.findall("<script[^>]*>", text):
            assert re.search(' src="/(static/shop|step-up/stepup).js', script)
        for forbidden in ("style=", "<style", " onclick=", 'src="http', 'href="http'):
            assert forbidden not in text


@pytest.mark.parametrize("slug", [*SHIRTS])
def test_each_shirt_has_a_picture(shop: Shop, slug: str) -> None:
    """Every shirt of the catalogue is drawn, in its own cloth."""
    text = shop.browser.get(f"/shirts/{slug}").text
    assert '<text x="' in text
    assert SHIRTS[slug].fabric in text


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        pytest.param("GET", "/shirts/trousers", 404, "We do not have that shirt", id="shirt"),
        pytest.param("GET", "/nope", 404, "Nothing on this shelf", id="page"),
        pytest.param("DELETE", "/cart", 405, "Not like that", id="method"),
    ],
)
def test_mistakes_are_answered_the_way_they_were_asked(
    shop: Shop, method: str, path: str, status: int, words: str
) -> None:
    """A browser gets a page with words, a script gets JSON."""
    page = shop.browser.request(method, path, headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.status_code == status
    assert words in page.text
    answer = shop.browser.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]


def test_shop_stays_open_for_browsing_while_keys_cannot_be_had(tmp_path: Path) -> None:
    """Without keys pages of one's own answer 503 as a page, and the shop window is open."""
    other = DescopeEmulator()
    app = create_app(Settings(database=tmp_path / "shop.sqlite3"))
    app.state.emulator.fail(503, times=10, path="/v2/keys")
    with TestClient(app, base_url=HERE) as browser:
        browser.cookies.set("DS", other.sign_in("ann@example.com").session_token)
        assert browser.get("/").status_code == 200
        answer = browser.get("/cart", headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "Back in a moment" in answer.text


def test_shop_on_a_real_project_has_no_inbox(tmp_path: Path) -> None:
    """With a project of one's own the same forms work, and no user sees the code of another."""
    descope = DescopeEmulator("P2SomebodysRealProject000001")
    settings = Settings(
        database=tmp_path / "shop.sqlite3",
        project_id=descope.project_id,
        transport=descope.transport,
    )
    app = create_app(settings)
    assert app.state.emulator is None
    with TestClient(app, base_url=HERE, follow_redirects=False) as browser:
        shop = Shop(app, browser, descope, Store(settings.database))
        shop.post("/sign-in", {"email": "ann@example.com"})
        assert shop.descope.outbox[-1].code not in browser.get("/sign-in/code").text
        assert browser.get("/inbox").status_code == 404
        assert shop.sign_in().status_code == 303
        shop.post("/cart", PICK)
        shop.step_up()
        assert shop.call("/checkout").status_code == 201


def test_sign_in_says_when_descope_cannot_be_reached(tmp_path: Path) -> None:
    """A connection that fails is an outage to the shopper, and no error of the shop."""

    def unplugged(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route", request=request)

    settings = Settings(
        database=tmp_path / "shop.sqlite3",
        project_id="P2SomebodysRealProject000001",
        transport=httpx.MockTransport(unplugged),
    )
    with TestClient(create_app(settings), base_url=HERE) as browser:
        answer = browser.post(
            "/sign-in", data={"email": "ann@example.com"}, headers={"Origin": HERE}
        )
    assert answer.status_code == 503
    assert "cannot be reached" in answer.text


def test_session_without_a_new_refresh_token_keeps_the_old_one(tmp_path: Path) -> None:
    """Descope may send no refresh token on renewal; the cookie in the browser stays as it is."""
    descope = DescopeEmulator("P2SomebodysRealProject000001")
    ann = descope.sign_in("ann@example.com")

    async def forgetful(request: httpx.Request) -> httpx.Response:
        async with httpx.AsyncClient(transport=descope.transport) as client:
            reply = await client.request(
                request.method, request.url, headers=request.headers, content=request.content
            )
        body = httpx.ByteStream(reply.content.replace(b'"refreshJwt"', b'"nothing"'))
        return httpx.Response(reply.status_code, stream=body, headers=JSON)

    settings = Settings(
        database=tmp_path / "shop.sqlite3",
        project_id=descope.project_id,
        transport=httpx.MockTransport(forgetful),
    )
    with TestClient(create_app(settings), base_url=HERE, follow_redirects=False) as browser:
        browser.cookies.set("DSR", ann.refresh_token)
        answer = browser.get("/sign-in?next=orders")
    assert answer.headers["location"] == "/orders"
    assert "DSR=" not in answer.headers["set-cookie"]


def test_price_tags_and_claims_read_well() -> None:
    """Cents have two digits, and claims are JSON whatever is nested in them."""
    assert [euros(5), euros(2400), euros(123456)] == ["€0.05", "€24.00", "€1234.56"]
    assert pretty({"su": True, "amr": ("email",)}) == (
        '{\n  "su": true,\n  "amr": [\n    "email"\n  ]\n}'
    )


def test_command_line_opens_the_shop_on_a_free_port(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shop says where it is, and what listens there is the shop."""
    opened: list[tuple[uvicorn.Server, int]] = []

    def look(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        opened.append((server, sockets[0].getsockname()[1]))

    database = tmp_path / "shop.sqlite3"
    main(["--port", "0", "--database", str(database)], serve=look)
    ((server, port),) = opened
    said = capsys.readouterr().out
    assert f"http://localhost:{port}" in said
    assert "the local emulator" in said
    assert isinstance(server.config.app, FastAPI)
    assert database.exists()


def test_command_line_takes_the_project_from_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `DESCOPE_PROJECT_ID` the shop runs on that project."""
    monkeypatch.setenv("DESCOPE_PROJECT_ID", "P2SomebodysRealProject000001")
    arguments = ["--port", "0", "--database", str(tmp_path / "shop.sqlite3")]
    main(arguments, serve=lambda server, sockets: None)
    assert "your Descope project" in capsys.readouterr().out


def test_command_line_says_what_to_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A taken port, a file that cannot be and a wrong project id each end with one sentence."""
    database = ["--database", str(tmp_path / "shop.sqlite3")]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit):
            main(["--port", port, *database])
    assert f"Cannot listen on port {port}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--database", str(tmp_path / "nowhere" / "shop.sqlite3")])
    assert "Cannot keep orders in" in capsys.readouterr().err
    monkeypatch.setenv("DESCOPE_PROJECT_ID", "not a project")
    with pytest.raises(SystemExit):
        main(database)
    assert "project" in capsys.readouterr().err


def test_module_is_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m examples.tee_hee_tees` is the command line."""
    monkeypatch.setattr(sys, "argv", ["tee_hee_tees", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("examples.tee_hee_tees", run_name="__main__")
    assert ended.value.code == 0
    assert "python -m examples.tee_hee_tees" in capsys.readouterr().out


def test_one_command_opens_the_shop(tmp_path: Path) -> None:
    """The command of the README, as a process of its own, serves the shop."""
    command = [sys.executable, "-m", "examples.tee_hee_tees", "--port", "0"]
    with subprocess.Popen(
        [*command, "--database", str(tmp_path / "shop.sqlite3")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = next(line.split()[-1] for line in process.stdout if "is open" in line)
            address = url.replace("localhost", "127.0.0.1")
            with urllib.request.urlopen(address, timeout=30) as answer:
                assert answer.status == 200
                assert b"Tee-Hee Tees" in answer.read()
        finally:
            process.terminate()

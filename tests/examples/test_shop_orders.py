"""Carts, orders and refunds of the shop."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from examples.tee_hee_tees.app import Settings, create_app
from examples.tee_hee_tees.catalogue import MAX_QUANTITY, SHIRTS, Size
from examples.tee_hee_tees.people import STAFF
from examples.tee_hee_tees.store import Store
from fastapi_stepup.testing import assert_step_up_challenge
from tests.examples.shop import HERE, PICK, Shop


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

"""Scenarios of shoppers: from the shop window to the receipt, and what may come in between."""

import json
import re
from contextlib import ExitStack

from playwright.sync_api import expect

from tests.examples.scenarios.browser import ANN, Visit, open_shop, visit


def wrong(code: str) -> str:
    """Return a code that is not *code*."""
    return f"{(int(code) + 1) % 1_000_000:06}"


def browse(stack: ExitStack) -> None:
    """Every page looks right to a stranger and to a shopper without orders."""
    with open_shop() as shop, visit(stack, shop) as ann:
        ann.go("/")
        expect(ann.page.get_by_role("listitem")).to_have_count(8)
        ann.inspect("home")
        ann.page.get_by_role("link", name="One step up").click()
        expect(ann.page.get_by_role("img", name="T-shirt: One step up")).to_be_visible()
        ann.inspect("shirt")
        ann.go("/shirts/trousers")
        ann.inspect("not-found")
        ann.sign_in()
        for page in ("cart", "orders", "profile"):
            ann.go(f"/{page}")
            ann.page.wait_for_load_state("networkidle")
            ann.inspect(f"{page}-at-first")
        ann.go("/refunds")
        expect(ann.page.get_by_text("for the people who work here")).to_be_visible()
        ann.inspect("refunds-for-a-shopper")


def browse_without_script(stack: ExitStack) -> None:
    """Browsing, signing in and the cart work without JavaScript; ordering says what it needs."""
    with open_shop() as shop, visit(stack, shop, java_script_enabled=False) as ann:
        ann.pick_as_a_stranger("duck-typed")
        ann.page.get_by_label("E-mail address").fill(ANN)
        ann.button("Send me a code").click()
        ann.page.get_by_label("Six-digit code").fill(shop.code)
        ann.button("Sign in").click()
        assert "needs JavaScript" in ann.page.locator("noscript").inner_html()
        expect(ann.button("Place the order")).to_be_hidden()
        ann.page.get_by_label("Quantity of Duck-typed").fill("3")
        ann.button("Update").click()
        expect(ann.page.locator(".total")).to_contain_text("€78.00")
        ann.picture("cart-without-script")


def order(stack: ExitStack) -> None:
    """Browse, sign in, cart, checkout, wrong code, resend, right code, receipt, back, reload."""
    with open_shop() as shop, visit(stack, shop) as ann:
        ann.page.clock.install()
        ann.pick_as_a_stranger("tea-hee")
        enter(ann)
        ann.fill_cart("free-hugs", "all-accepted")
        ann.inspect("cart")
        check_out(ann)
        look_at_receipt(ann)


def enter(ann: Visit) -> None:
    """Sign in by the forms, with a wrong code first."""
    expect(ann.page.get_by_text("tell us who you are")).to_be_visible()
    ann.inspect("sign-in")
    ann.page.get_by_label("E-mail address").fill(ANN)
    ann.button("Send me a code").click()
    ann.page.get_by_label("Six-digit code").fill(wrong(ann.shop.code))
    ann.button("Sign in").click()
    expect(ann.page.get_by_text("That code is not right")).to_be_visible()
    ann.inspect("sign-in-code-wrong")
    ann.button(f"Use code {ann.shop.code}").click()
    ann.button("Sign in").click()
    ann.page.wait_for_url("**/cart")


def check_out(ann: Visit) -> None:
    """Order, with a wrong code first and then a new one."""
    ann.button("Place the order").click()
    expect(ann.code).to_be_focused()
    expect(ann.dialog.get_by_text("We sent a code to a**@example.com.")).to_be_visible()
    first = ann.shop.code
    expect(ann.beside.get_by_role("button", name=f"Use code {first}")).to_be_visible()
    ann.inspect("checkout-code")
    ann.confirm(wrong(first))
    expect(ann.dialog.get_by_role("alert")).to_contain_text("That code is not right")
    ann.inspect("checkout-code-wrong")
    ann.page.clock.run_for(31_000)
    ann.press("Send again")
    expect(ann.dialog.get_by_text("We sent a new code to")).to_be_visible()
    assert ann.shop.code != first
    ann.beside.get_by_text("The raw challenge").click()
    expect(ann.beside.get_by_text('WWW-Authenticate: Bearer realm="')).to_be_visible()
    ann.inspect("checkout-raw-challenge")
    ann.beside.get_by_role("button", name=f"Use code {ann.shop.code}").click()
    expect(ann.code).to_be_focused()
    expect(ann.code).to_have_value(ann.shop.code)
    ann.press("Confirm")
    ann.page.wait_for_url("**/orders/TH-*")


def look_at_receipt(ann: Visit) -> None:
    """See that one order was placed and what was said, and no token anywhere."""
    page = ann.page
    expect(page.get_by_role("heading", name="Order placed.")).to_be_visible()
    expect(page.locator("[data-trace] summary")).to_have_text(
        [
            re.compile("^POST /checkout ?401"),
            re.compile("^POST /step-up/status ?200"),
            re.compile("^POST /step-up/otp/start ?200"),
            re.compile("^POST /step-up/otp/verify ?400"),
            re.compile("^POST /step-up/otp/start ?200"),
            re.compile("^POST /step-up/otp/verify ?200"),
            re.compile("^POST /checkout ?201"),
        ]
    )
    expect(page.get_by_text("su: true", exact=True)).to_be_visible()
    kept = json.dumps(page.evaluate("() => [{...sessionStorage}, document.body.textContent]"))
    assert [cookie["name"] for cookie in ann.context.cookies() if cookie["value"] in kept] == []
    ann.inspect("order-placed")

    receipt = page.url
    page.go_back()
    expect(page.get_by_text("Empty, like the pants shelf.")).to_be_visible()
    page.go_forward()
    page.wait_for_url(receipt)
    page.reload()
    expect(page.get_by_role("heading", name="Order placed.")).to_be_visible()
    assert ann.posts.count("/checkout") == 2
    page.get_by_role("link", name="All orders").click()
    expect(page.locator(".orders li")).to_have_count(1)
    ann.inspect("orders")
    ann.go("/profile")
    expect(page.get_by_text("email (a**@example.com)")).to_be_visible()
    ann.inspect("profile")


def cancel(stack: ExitStack) -> None:
    """Closing the dialog orders nothing and leaves the cart as it was."""
    with open_shop() as shop, visit(stack, shop) as ann:
        ann.sign_in()
        ann.fill_cart("duck-typed")
        for key in ("Escape", "Enter"):
            ann.button("Place the order").click()
            expect(ann.code).to_be_focused()
            ann.dialog.get_by_role("button", name="Close").press(key)
            ann.said("Nothing was ordered. Your cart is as you left it.")
            expect(ann.button("Place the order")).to_be_focused()
            expect(ann.dialog).to_have_count(0)
        ann.inspect("checkout-cancelled")
        ann.page.reload()
        expect(ann.page.locator(".total")).to_contain_text("€26.00")
        assert shop.store.every_order() == []


def reload(stack: ExitStack) -> None:
    """A page that is loaded again in the middle of it starts over, with the cart as it was."""
    with open_shop() as shop, visit(stack, shop) as ann:
        ann.sign_in()
        ann.fill_cart("duck-typed")
        ann.button("Place the order").click()
        expect(ann.code).to_be_focused()
        ann.page.reload()
        expect(ann.dialog).to_have_count(0)
        ann.button("Place the order").click()
        expect(ann.dialog.get_by_text("We sent a code")).to_be_visible()
        ann.confirm(shop.code)
        ann.page.wait_for_url("**/orders/TH-*")


def expire(stack: ExitStack) -> None:
    """A step-up that is too old for the checkout is asked for again, a fresh one is not."""
    with open_shop() as shop, visit(stack, shop) as ann:
        ann.bring(shop.descope.step_up(ANN, age=299))
        ann.fill_cart("duck-typed")
        ann.bring(shop.descope.step_up(ANN, age=301))
        ann.button("Place the order").click()
        expect(ann.dialog.get_by_text("We sent a code")).to_be_visible()
        ann.beside.get_by_text("The raw challenge").click()
        expect(ann.beside.get_by_text('"reason": "expired"')).to_be_visible()
        ann.confirm(shop.code)
        ann.page.wait_for_url("**/orders/TH-*")
        ann.fill_cart("one-step-up")
        ann.button("Place the order").click()
        ann.page.wait_for_url("**/orders/TH-*")
        assert ann.posts.count("/checkout") == 3


def outlive_session(stack: ExitStack) -> None:
    """A session that ended is renewed on the way, and the cart is as it was."""
    with open_shop() as shop, visit(stack, shop) as ann:
        ann.sign_in()
        ann.fill_cart("duck-typed")
        ann.context.clear_cookies(name="DS")
        ann.button("Place the order").click()
        ann.page.wait_for_url("**/cart")
        expect(ann.page.get_by_text("POST /checkout")).to_be_visible()
        ann.button("Place the order").click()
        expect(ann.dialog.get_by_text("We sent a code")).to_be_visible()
        ann.confirm(shop.code)
        ann.page.wait_for_url("**/orders/TH-*")


def be_refused(stack: ExitStack) -> None:
    """What goes wrong is said in words: no way to step up, a shop that is closed, an empty cart."""
    with open_shop() as shop, visit(stack, shop) as ann:
        nothing = "Nothing was ordered. Your cart is as you left it."
        shop.descope.create_user("ann")
        ann.sign_in("ann")
        ann.fill_cart("duck-typed")
        ann.button("Place the order").click()
        expect(ann.dialog.get_by_text("Your account has no way")).to_be_visible()
        ann.inspect("checkout-no-method")
        ann.dialog.get_by_role("button", name="Close").last.click()
        ann.said(f"You could not confirm that it is you. {nothing}")

        ann.context.set_offline(True)
        ann.button("Place the order").click()
        ann.said("The shop cannot be reached. Check your connection and try again.")
        ann.inspect("checkout-offline")
        ann.context.set_offline(False)

        ann.bring(shop.descope.step_up("ann"))
        shop.store.place_order(shop.descope.user("ann").user_id)
        ann.button("Place the order").click()
        ann.said("Your cart is empty; nothing was ordered.")

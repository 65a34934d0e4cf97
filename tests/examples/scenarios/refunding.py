"""Scenarios of the refund desk, whose policy is stricter than the checkout's."""

from contextlib import ExitStack

from playwright.sync_api import expect

from examples.tee_hee_tees.people import STAFF, lasting_id
from tests.examples.scenarios.browser import ANN, Shop, Visit, open_shop, visit

START = "/step-up/otp/start"


def open_desk(shop: Shop, staff: Visit, *, orders: int) -> list[str]:
    """Place orders, go to the desk and return their references, the newest first."""
    for _ in range(orders):
        shop.order_of(lasting_id(ANN), "duck-typed", "tea-hee")
    staff.go("/refunds")
    return [order.reference for order in shop.store.every_order()]


def refund(stack: ExitStack) -> None:
    """A code by e-mail opens the checkout and not the desk; the authenticator app opens it."""
    with open_shop() as shop, visit(stack, shop) as staff:
        staff.sign_in(STAFF)
        staff.fill_cart("one-step-up")
        staff.button("Place the order").click()
        expect(staff.dialog.get_by_text("How would you like to confirm?")).to_be_visible()
        expect(staff.beside.get_by_text("Authenticator app of the staff")).to_be_visible()
        staff.inspect("checkout-methods")
        staff.press("Email me a code")
        expect(staff.dialog.get_by_text("We sent a code")).to_be_visible()
        staff.confirm(shop.code)
        staff.page.wait_for_url("**/orders/TH-*")

        staff.page.get_by_role("link", name="Refunds").click()
        staff.inspect("refunds")
        staff.button("Refund what is ticked").click()
        staff.said("Tick the orders that are to be refunded.")
        staff.page.get_by_role("checkbox").check()
        staff.button("Refund what is ticked").click()
        ways = staff.dialog.locator(".method")
        expect(ways).to_have_text(["Text me a code+1********17", "Use my authenticator app"])
        staff.beside.get_by_text("The raw challenge").click()
        expect(staff.beside.get_by_text('"requirement": "amr"')).to_be_visible()
        staff.beside.get_by_text("The raw challenge").click()
        staff.inspect("refund-methods")
        staff.press("Close")
        staff.said("Nothing was refunded.")
        assert [order.refunded_at for order in shop.store.every_order()] == [None]

        staff.button("Refund what is ticked").click()
        staff.press("Use my authenticator app")
        expect(staff.dialog.get_by_text("from your authenticator app")).to_be_visible()
        staff.inspect("refund-authenticator")
        staff.beside.locator(".authenticator").get_by_role("button", name="Use code").click()
        staff.press("Confirm")
        expect(staff.page.get_by_text("refunded", exact=True)).to_be_visible()
        expect(staff.page.get_by_role("checkbox")).to_have_count(0)
        expect(staff.page.get_by_label("Claims of the verified session")).to_contain_text('"totp"')
        staff.inspect("refunded")
        staff.page.get_by_role("link", name="Orders").click()
        staff.page.get_by_role("link", name="TH-").click()
        expect(staff.page.get_by_role("heading", name="Order paid back.")).to_be_visible()
        staff.inspect("order-paid-back")


def refund_two_at_once(stack: ExitStack) -> None:
    """Two refunds at the same time ask once, and both go through."""
    with open_shop() as shop, visit(stack, shop) as staff:
        staff.sign_in(STAFF)
        one, two = open_desk(shop, staff, orders=2)
        for box in staff.page.get_by_role("checkbox").all():
            box.check()
        staff.button("Refund what is ticked").click()
        staff.press("Text me a code")
        expect(staff.dialog.get_by_text("We sent a code to +1********17.")).to_be_visible()
        expect(staff.page.locator("step-up-dialog")).to_have_count(1)
        staff.inspect("refund-code-by-phone")
        staff.confirm(shop.code)
        expect(staff.page.get_by_text("refunded", exact=True)).to_have_count(2)
        assert staff.posts.count(START) == 1
        assert sorted(staff.posts) == sorted(
            [f"/refunds/{one}", f"/refunds/{two}"] * 2
            + ["/step-up/status", START, "/step-up/otp/verify"]
        )


def refund_too_late(stack: ExitStack) -> None:
    """A minute after the second factor it is asked for again, and an order is paid back once."""
    with open_shop() as shop, visit(stack, shop) as staff:
        staff.bring(shop.descope.step_up(STAFF, amr=["email", "totp", "mfa"], age=61))
        (reference,) = open_desk(shop, staff, orders=1)
        staff.page.get_by_role("checkbox").check()
        staff.button("Refund what is ticked").click()
        staff.press("Text me a code")
        expect(staff.dialog.get_by_text("We sent a code")).to_be_visible()
        shop.store.refund(reference, by="U2colleague")
        staff.confirm(shop.code)
        staff.said("That one was paid back before.")


def refund_by_passkey(stack: ExitStack) -> None:
    """A passkey is added in the profile, after a step-up, and opens the desk."""
    with open_shop() as shop, visit(stack, shop) as staff:
        device = staff.context.new_cdp_session(staff.page)
        device.send("WebAuthn.enable")
        device.send(
            "WebAuthn.addVirtualAuthenticator",
            {
                "options": {
                    "protocol": "ctap2",
                    "transport": "internal",
                    "hasResidentKey": True,
                    "hasUserVerification": True,
                    "isUserVerified": True,
                    "automaticPresenceSimulation": True,
                }
            },
        )
        staff.sign_in(STAFF)
        staff.go("/profile")
        staff.button("Add a passkey").click()
        staff.press("Email me a code")
        expect(staff.dialog.get_by_text("We sent a code")).to_be_visible()
        staff.confirm(shop.code)
        expect(staff.page.locator("[data-status]")).to_contain_text("Your passkey is ready.")
        expect(staff.page.locator("[data-ways-list]")).to_contain_text("passkey")
        staff.inspect("passkey-added")

        open_desk(shop, staff, orders=1)
        staff.page.get_by_role("checkbox").check()
        staff.button("Refund what is ticked").click()
        expect(staff.dialog.locator(".method")).to_have_count(3)
        staff.press("Use my passkey")
        expect(staff.dialog.get_by_text("Your device asks")).to_be_visible()
        staff.inspect("refund-passkey")
        staff.press("Use my passkey")
        expect(staff.page.get_by_text("refunded", exact=True)).to_be_visible()

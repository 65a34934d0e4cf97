"""Scenarios of shoppers who step up by Descope's own component, with the switch on.

They go the way of Descope's sample shop: browse, a cart after signing in, an order after a step-up.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

from playwright.sync_api import Page, expect

from examples.tee_hee_tees.flow import FlowFiles
from tests.examples.scenarios.browser import ANN, ROOT, Visit, open_shop, visit
from tests.examples.scenarios.shopping import wrong

Scenario: TypeAlias = Callable[[ExitStack], None]
PACKAGES: Final = ROOT / "tests" / "browser" / "flow" / "node" / "node_modules"
SWITCH: Final = "Use Descope"
_DEBOUNCE: Final = 150
# The dialog waits 8 seconds for a flow; a busy machine takes longer for Descope's elements.
PATIENCE: Final = """
const set = window.setTimeout;
window.setTimeout = (what, ms, ...rest) => set(what, ms === 8000 ? 60000 : ms, ...rest);
"""


def press(page: Page, element_id: str) -> None:
    """Press a button of the flow, which takes one press at a time."""
    page.wait_for_timeout(_DEBOUNCE)
    page.locator(f"descope-wc #{element_id}").first.click()


def enter(page: Page, code: str) -> None:
    """Type a code into the flow; a passcode sends itself when it is complete."""
    digits = page.locator("descope-wc descope-passcode input")
    plain = page.locator("descope-wc input#code")
    digits.first.or_(plain).first.wait_for()
    if plain.count():
        plain.fill(code)
        press(page, "submit")
    for place, digit in enumerate(code if digits.count() else ""):
        digits.nth(place).fill(digit)


def plain_files(stack: ExitStack) -> FlowFiles:
    """Return the component without Descope's elements, which take a busy machine long to load."""
    folder = Path(stack.enter_context(TemporaryDirectory()))
    (folder / "@descope").mkdir()
    component = PACKAGES / "@descope" / "web-component"
    (folder / "@descope" / "web-component").symlink_to(component)
    return FlowFiles(folder)


def switched_on(ann: Visit) -> None:
    """Put a shirt into the cart and switch the flow on."""
    ann.fill_cart("duck-typed")
    switch = ann.page.get_by_role("switch", name=SWITCH)
    expect(switch).to_have_attribute("aria-checked", "false")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "true")


def ordered(page: Page) -> None:
    """Wait for the receipt of a stepped-up order."""
    page.wait_for_url("**/orders/TH-*")
    expect(page.get_by_text("su: true", exact=True)).to_be_visible()


def stays_here(ann: Visit) -> None:
    """See that no other host was asked for, and that no dialog method of ours was used."""
    assert [url for _, url in ann.requests if not url.startswith((ann.shop.url, "data:"))] == []
    assert [path for path in ann.posts if path.startswith("/step-up/otp")] == []


def flow_by_code(stack: ExitStack) -> None:
    """A stranger browses, signs in for a cart, and steps up by a code in Descope's own look."""
    with open_shop(FlowFiles(PACKAGES)) as shop, visit(stack, shop) as ann:
        ann.context.add_init_script(PATIENCE)
        ann.page.set_default_timeout(30_000)
        ann.pick_as_a_stranger("duck-typed")
        ann.page.get_by_label("E-mail address").fill(ANN)
        ann.button("Send me a code").click()
        ann.page.get_by_label("Six-digit code").fill(shop.code)
        ann.button("Sign in").click()
        ann.page.wait_for_url("**/cart")
        ann.inspect("flow-off")
        ann.page.get_by_role("switch", name=SWITCH).click()
        ann.inspect("flow-on")
        ann.button("Place the order").click()
        words = ann.page.locator("descope-wc").get_by_text("Confirm it is you")
        expect(words).to_be_visible(timeout=60_000)
        ann.page.wait_for_timeout(500)
        ann.look("flow-methods")
        press(ann.page, "otp-email")
        expect(ann.page.get_by_text("We sent it to a**@example.com")).to_be_visible()
        enter(ann.page, wrong(shop.code))
        expect(ann.page.get_by_text("The code is wrong.")).to_be_visible()
        ann.look("flow-wrong-code")
        first = shop.code
        press(ann.page, "resend")
        use = ann.beside.get_by_role("button", name="Use code")
        expect(use).not_to_have_text(f"Use code {first}")
        use.click()
        press(ann.page, "submit")
        ordered(ann.page)
        stays_here(ann)
        ann.fill_cart("one-step-up")
        ann.button("Place the order").click()
        ann.page.wait_for_url("**/orders/TH-*")


def flow_by_link(stack: ExitStack) -> None:
    """The page of the order waits for the link, which opens in a tab of its own."""
    with open_shop(plain_files(stack)) as shop, visit(stack, shop) as ann:
        ann.sign_in()
        switched_on(ann)
        ann.button("Place the order").click()
        press(ann.page, "magiclink-email")
        expect(ann.page.get_by_text("We sent it to a**@example.com")).to_be_visible()
        tab = ann.context.new_page()
        tab.goto(shop.descope.outbox[-1].link)
        expect(tab.get_by_text("Confirmed. Go on where you placed the order")).to_be_visible()
        ordered(ann.page)
        stays_here(ann)


def flow_by_link_elsewhere(stack: ExitStack) -> None:
    """Where the page of the order was closed, the page of the link places it."""
    with open_shop(plain_files(stack)) as shop, visit(stack, shop) as ann:
        ann.sign_in()
        switched_on(ann)
        ann.button("Place the order").click()
        press(ann.page, "magiclink-email")
        expect(ann.page.get_by_text("We sent it to a**@example.com")).to_be_visible()
        ann.page.goto(shop.descope.outbox[-1].link)
        expect(ann.page.get_by_text("Confirmed. Go on where you placed the order")).to_be_visible()
        ann.inspect("flow-link-opened")
        ann.button("Place the order").click()
        ordered(ann.page)
        stays_here(ann)


def flow_by_provider(stack: ExitStack) -> None:
    """The provider leads back to the cart, which goes on with the order."""
    with open_shop(plain_files(stack)) as shop, visit(stack, shop) as ann:
        ann.sign_in()
        shop.descope.user(ANN).providers["google"] = True
        switched_on(ann)
        ann.button("Place the order").click()
        press(ann.page, "oauth-google")
        ann.page.wait_for_url("**/_provider/**")
        ann.page.set_viewport_size({"width": 390, "height": 780})
        ann.picture("flow-provider")
        ann.page.get_by_label("Login id").fill(ANN)
        ann.button("Sign in").click()
        ordered(ann.page)
        stays_here(ann)


def flow_by_passkey(stack: ExitStack) -> None:
    """A passkey that the profile added confirms the next order."""
    with open_shop(plain_files(stack)) as shop, visit(stack, shop) as ann:
        devtools = ann.context.new_cdp_session(ann.page)
        devtools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        ann.bring(shop.descope.step_up(ANN))
        ann.go("/profile")
        ann.button("Add a passkey").click()
        expect(ann.page.locator("[data-status]")).to_contain_text("Your passkey is ready.")
        ann.sign_in()
        switched_on(ann)
        ann.button("Place the order").click()
        press(ann.page, "passkey")
        ordered(ann.page)
        stays_here(ann)


def flow_closed(stack: ExitStack) -> None:
    """Closing the dialog orders nothing; opened again, the flow begins anew. At night: dark."""
    with open_shop(plain_files(stack)) as shop, visit(stack, shop, color_scheme="dark") as ann:
        ann.sign_in()
        switched_on(ann)
        ann.button("Place the order").click()
        press(ann.page, "otp-email")
        expect(ann.page.get_by_text("We sent it to")).to_be_visible()
        ann.page.wait_for_timeout(1000)
        ann.look("flow-code-dark")
        ann.page.keyboard.press("Escape")
        ann.said("Nothing was ordered. Your cart is as you left it.")
        ann.button("Place the order").click()
        expect(ann.page.locator("descope-wc").get_by_text("Confirm it is you")).to_be_visible()
        press(ann.page, "otp-email")
        expect(ann.page.get_by_text("We sent it to")).to_be_visible()
        enter(ann.page, shop.code)
        ordered(ann.page)
        stays_here(ann)

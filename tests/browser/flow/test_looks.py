"""The screens of the flows, light and dark, on a phone: accessible, and written as pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from fastapi_stepup.testing import Tokens
from tests.browser.flow.stack import ANN, PACKAGES, Stack, Visit

PICTURES = Path(__file__).resolve().parents[3] / "build" / "screenshots" / "flow"
AXE = PACKAGES / "axe-core" / "axe.min.js"
# The elements of Descope's package are theirs to judge; with them only the pictures are taken.
CHECKED = "plain"


@pytest.fixture
def phone(stack: Stack, chromium: Browser, ann: Tokens) -> Iterator[Visit]:
    """A phone, 390 pixels wide, in Ann's session, who has every method."""
    user = stack.emulator.user(ANN)
    user.providers.update({"google": True, "github": True})
    stack.emulator.totp_secret(ANN)
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    with context:
        phone = Visit(stack, context)
        phone.sign_in(ann)
        yield phone
        assert phone.foreign == []


def checked(phone: Visit, look: str, name: str) -> None:
    """Take a picture of the page, and let axe look at it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    phone.page.wait_for_timeout(300)
    phone.page.screenshot(path=PICTURES / f"{look}-{name}.png")
    if look == CHECKED:
        phone.page.add_script_tag(path=AXE)
        found: Any = phone.page.evaluate("async () => (await axe.run()).violations")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    width = phone.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_screens_of_the_step_up(phone: Visit, look: str, theme: str) -> None:
    """First screen, code, wrong code, link, authenticator app."""
    phone.open("component", theme=theme)
    phone.steps("ready")
    checked(phone, look, f"{theme}-methods")
    phone.press("otp-email")
    phone.reads("We sent it to")
    checked(phone, look, f"{theme}-code")
    phone.enter(phone.stack.wrong_code)
    phone.reads("The code is wrong.")
    checked(phone, look, f"{theme}-wrong-code")
    phone.press("back")
    phone.reads("Confirm it is you")
    phone.press("magiclink-email")
    phone.reads("Open the link")
    checked(phone, look, f"{theme}-link")
    phone.press("back")
    phone.reads("Confirm it is you")
    phone.press("totp")
    phone.reads("Your authenticator app shows it.")
    checked(phone, look, f"{theme}-app")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_screen_of_the_sign_in(phone: Visit, look: str, theme: str) -> None:
    """The first screen of `sign-up-or-in`."""
    phone.open("component", flow="sign-up-or-in", theme=theme)
    phone.steps("ready")
    checked(phone, look, f"{theme}-welcome")


@pytest.mark.parametrize("look", [CHECKED])
def test_keyboard_is_enough(phone: Visit) -> None:
    """Enter presses the button in focus, and the main one from the input."""
    phone.open("component")
    phone.steps("ready")
    phone.page.locator("descope-wc #otp-email").focus()
    phone.page.keyboard.press("Enter")
    phone.reads("We sent it to")
    phone.page.locator("descope-wc input#code").fill(phone.stack.code)
    phone.page.keyboard.press("Enter")
    phone.steps("success")

"""The emulator's page at `/`: what it shows, what its buttons do, and how it looks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.browser.flow.stack import ANN, PACKAGES

PICTURES = Path(__file__).resolve().parents[3] / "build" / "screenshots" / "emulator"
AXE = PACKAGES / "axe-core" / "axe.min.js"
BOB = "bob@example.com"


@dataclass
class Console:
    """The page, the emulator behind it, and an app that calls that."""

    emulator: DescopeEmulator
    url: str
    page: Page

    @property
    def status(self) -> Locator:
        """The sentence that says how it went."""
        return self.page.get_by_role("status")

    def section(self, name: str) -> Locator:
        """Return a section by its heading."""
        return self.page.get_by_role("region", name=name)

    def press(self, name: str) -> None:
        """Press a button by its whole name."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def call(self, path: str, *, token: str = "", **members: object) -> httpx.Response:
        """Call Descope's API, as an app does."""
        bearer = f"Bearer {self.emulator.project_id}" + (f":{token}" if token else "")
        url = f"{self.url}/v1/auth/{path}"
        return httpx.post(url, json=members, headers={"Authorization": bearer})


@pytest.fixture
def console(chromium: Browser) -> Iterator[Console]:
    """The page of an emulator without users; no other host is asked for, no script fails."""
    emulator = DescopeEmulator()
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    with emulator.serve() as url, context:
        page = context.new_page()
        page.set_default_timeout(10_000)
        said: list[str] = []
        asked: list[str] = []
        page.on("request", lambda sent: asked.append(sent.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda told: said.append(told.text))
        page.goto(url)
        expect(page.locator("#project")).to_have_text(emulator.project_id)
        yield Console(emulator, url, page)
        assert [address for address in asked if not address.startswith(url)] == []
        own = "Failed to load resource"  # Chromium itself notes each answer of 400 and above.
        assert [text for text in said if not text.startswith(own)] == []


@pytest.fixture
def ann(console: Console) -> Tokens:
    """Ann, signed in, on the page."""
    console.emulator.create_user(ANN, phone="+15550100012", name="Ann", roles=["admin"])
    tokens = console.emulator.sign_in(ANN)
    expect(console.section("Sessions").get_by_text(ANN, exact=True)).to_be_visible()
    return tokens


def test_user_is_made_and_steps_up(console: Console) -> None:
    """The first user is made by keyboard; its session shows `su`, and its token is copied."""
    console.page.get_by_label("Login id").fill(ANN)
    console.page.get_by_label("Phone number").fill("+15550100012")
    console.page.get_by_label("Roles").fill("admin, support")
    console.page.keyboard.press("Enter")
    expect(console.status).to_have_text(f"{ANN} was made.")
    user = console.emulator.user(ANN)
    assert (user.phone, user.roles) == ("+15550100012", ["admin", "support"])

    console.press(f"Sign in {ANN}")
    expect(console.status).to_have_text(f"{ANN} is signed in.")
    expect(console.section("Sessions").get_by_text("no su")).to_have_count(1)
    console.press(f"Step up {ANN}")
    expect(console.status).to_have_text(f"{ANN} is signed in and stepped up.")
    expect(console.section("Sessions").get_by_text("su: true")).to_have_count(1)
    console.section("Sessions").get_by_text("Claims").first.click()
    expect(console.section("Sessions").locator("pre").first).to_contain_text('"su": true')

    console.press("Copy the session token")
    expect(console.status).to_have_text("The token was copied.")
    token = console.page.evaluate("navigator.clipboard.readText()")
    assert Tokens(token, "", "", "").claims["su"] is True
    console.press("Close")
    expect(console.status).to_have_text("")
    expect(console.page.get_by_label("Session token")).to_be_hidden()


def test_mistake_is_told(console: Console, ann: Tokens) -> None:
    """The emulator's own sentence is shown."""
    console.page.get_by_label("Login id").fill(ANN)
    console.press("Make the user")
    expect(console.status).to_have_text("A user with this login id exists already.")


def test_code_is_shown_until_it_is_used(console: Console, ann: Tokens) -> None:
    """A code comes without a reload, is copied, and is struck out once used."""
    console.call(
        "otp/signin/email",
        token=ann.refresh_token,
        loginId=ANN,
        loginOptions={"stepup": True},
    )
    code = console.emulator.outbox[-1].code
    messages = console.section("Messages")
    expect(messages.get_by_text(code, exact=True)).to_be_visible()
    expect(messages.get_by_text("step-up")).to_be_visible()
    console.press(f"Copy the code {code}")
    expect(console.status).to_have_text("The code was copied.")
    assert console.page.evaluate("navigator.clipboard.readText()") == code
    assert console.call("otp/verify/email", loginId=ANN, code=code).is_success
    expect(messages.get_by_text("used or expired")).to_be_visible()


def test_links_are_made_to_work(console: Console, ann: Tokens) -> None:
    """A magic link gives its session here; for an enchanted link, the client that waits goes on."""
    console.call("magiclink/signin/email", loginId=ANN, URI="http://localhost:3000/verify")
    link = console.page.get_by_role("link", name="Open the page of the link")
    expect(link).to_have_attribute("href", re.compile(r"^http://localhost:3000/verify\?t="))
    expect(link).to_have_attribute("rel", "noreferrer")
    console.press(f"Make it work , the link to {ANN}")
    expect(console.status).to_have_text("The link was opened, and gave this session.")
    expect(console.page.get_by_label("Session token")).to_have_value(re.compile("^ey"))

    started = console.call("enchantedlink/signin/email", loginId=ANN, URI="javascript:alert(1)")
    console.press(f"Make it work , the link to {ANN}")
    expect(console.status).to_have_text("The link was opened. The page that waits goes on.")
    expect(link).to_have_count(0)
    pending = started.json()["pendingRef"]
    assert console.call("enchantedlink/pending-session", pendingRef=pending).is_success


def test_keys_are_rotated_and_revoked(console: Console, ann: Tokens) -> None:
    """Sessions outlive a rotation, and end with their key."""
    console.press("Rotate the key")
    expect(console.status).to_have_text(
        f"New tokens are signed by {console.emulator.signing_key.kid}."
    )
    expect(console.page.locator("#keys-list li")).to_have_count(2)
    expect(console.section("Sessions").get_by_text("active")).to_be_visible()
    console.press("Revoke all keys")
    expect(console.page.locator("#keys-list li")).to_have_count(1)
    expect(console.section("Sessions").get_by_text("revoked")).to_be_visible()


def test_next_call_fails(console: Console, ann: Tokens) -> None:
    """One call is answered as ordered, and is listed; the calls of this page are not."""
    console.page.get_by_label("Answer").select_option("429")
    console.page.get_by_label("Retry-After, in seconds").fill("7")
    console.press("Fail the next call")
    expect(console.status).to_have_text("The next call to /… will be answered 429.")
    refused = console.call("otp/signin/email", loginId=ANN)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert console.call("otp/signin/email", loginId=ANN).is_success
    expect(console.section("Requests").get_by_text("/v1/auth/otp/signin/email")).to_have_count(2)


def test_everything_is_removed(console: Console, ann: Tokens) -> None:
    """Users and sessions are gone, and the page says so."""
    console.press("Remove everything")
    expect(console.page.get_by_text("Nobody yet.")).to_be_visible()
    assert console.emulator.users == []


def test_open_details_and_focus_stay(console: Console, ann: Tokens) -> None:
    """What the page reads every two seconds does not disturb its reader."""
    console.section("Sessions").get_by_text("Claims").click()
    button = console.page.get_by_role("button", name=f"Step up {ANN}", exact=True)
    button.focus()
    console.emulator.user(ANN).name = "Ann Other"
    console.emulator.sign_in(ANN)
    expect(console.section("Users").get_by_text("Ann Other")).to_be_visible()
    expect(button).to_be_focused()
    expect(console.section("Sessions").locator("pre")).to_have_count(2)
    expect(console.section("Sessions").locator("details[open]")).to_have_count(1)


def test_emulator_that_stopped_is_noticed(console: Console) -> None:
    """The page says so, and goes on when it is back."""
    console.page.context.set_offline(True)
    lost = console.page.get_by_text("The emulator does not answer.")
    expect(lost).to_be_visible()
    console.press("Rotate the key")
    expect(console.status).to_have_text("The emulator does not answer.")
    console.page.context.set_offline(False)
    expect(lost.first).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(console: Console, ann: Tokens, scheme: Any) -> None:
    """Empty and full, wide and on a phone: axe finds nothing, and nothing is cut off."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    console.page.emulate_media(color_scheme=scheme)
    console.emulator.totp_secret(ANN)
    console.call("otp/signin/sms", loginId=ANN)
    console.call("otp/signin/email", loginId=ANN)
    console.call("magiclink/signin/email", loginId=ANN)
    expect(console.section("Messages").locator("li")).to_have_count(3)
    console.press("Rotate the key")
    console.press(f"Step up {ANN}")
    console.section("Sessions").get_by_text("Claims").first.click()
    looked(console, f"{scheme}-full")
    console.press("Remove everything")
    expect(console.page.get_by_text("Nobody yet.")).to_be_visible()
    console.press("Close")
    looked(console, f"{scheme}-empty")


def looked(console: Console, name: str) -> None:
    """Take pictures, and let axe look at the page."""
    page = console.page
    for width, height in ((1280, 900), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=PICTURES / f"{name}-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if not page.evaluate("() => 'axe' in window"):
            page.evaluate(AXE.read_text("utf-8"))
        found: Any = page.evaluate("async () => (await axe.run()).violations")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []

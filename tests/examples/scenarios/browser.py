"""Shared by the scenarios: the shop on a socket, a browser, and the gestures of a person in it."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from examples.tee_hee_tees.app import Settings, create_app
from examples.tee_hee_tees.catalogue import SHIRTS, Size
from examples.tee_hee_tees.flow import FlowFiles
from examples.tee_hee_tees.store import Order, Store
from fastapi_stepup.testing import DescopeEmulator, Tokens
from fastapi_stepup.testing.server import served

ROOT: Final = Path(__file__).resolve().parents[3]
SCREENSHOTS: Final = ROOT / "build" / "screenshots" / "shop"
AXE: Final = ROOT / "tests" / "browser" / "node" / "node_modules" / "axe-core" / "axe.min.js"
WIDE: Final = (1280, 800)
NARROW: Final = (390, 780)
LOOK: Final = """async () => {
    const { violations } = await axe.run({ resultTypes: ["violations"] });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`);
}"""
ANN: Final = "ann@example.com"

_browsers: dict[ExitStack, Browser] = {}


@dataclass
class Shop:
    """A shop that is open: where it is, and the emulator behind it."""

    url: str
    app: FastAPI
    store: Store

    @property
    def descope(self) -> DescopeEmulator:
        """The emulator that people sign in to."""
        emulator: DescopeEmulator = self.app.state.emulator
        return emulator

    @property
    def code(self) -> str:
        """The last code that was sent."""
        code: str = self.descope.outbox[-1].code
        return code

    def fill_cart_of(self, subject: str, *slugs: str) -> None:
        """Put shirts into a cart past the checks."""
        for slug in slugs:
            self.store.add(subject, SHIRTS[slug], Size.M, 1)

    def order_of(self, subject: str, *slugs: str) -> Order:
        """Place an order past the checks."""
        self.fill_cart_of(subject, *slugs)
        return self.store.place_order(subject)


@contextmanager
def open_shop(flow: FlowFiles | None = None) -> Iterator[Shop]:
    """Open a shop with a database and an emulator of its own, and Descope's flow where given."""
    with TemporaryDirectory() as folder:
        database = Path(folder) / "shop.sqlite3"
        app = create_app(Settings(database=database, flow=flow))
        with served(app) as url:
            # By its name: browsers keep Secure cookies there without https.
            yield Shop(url.replace("127.0.0.1", "localhost"), app, Store(database))


@contextmanager
def launched() -> Iterator[Browser]:
    """Start the system's Chromium, which may be slow on a busy machine."""
    expect.set_options(timeout=15_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        with browser:
            yield browser


def browser_of(stack: ExitStack) -> Browser:
    """Return the browser that *stack* closes at its end; the first scenario starts it."""
    if stack not in _browsers:
        _browsers[stack] = stack.enter_context(launched())
    return _browsers[stack]


@dataclass
class Visit:
    """A person in the shop.

    Attributes:
        errors: What went wrong in scripts.
        messages: What the console got to read: kind and text.
        requests: Method and URL of each.
    """

    shop: Shop
    context: BrowserContext
    page: Page
    errors: list[str] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(10_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda told: self.messages.append((told.type, told.text)))
        self.page.on("request", lambda sent: self.requests.append((sent.method, sent.url)))

    @property
    def problems(self) -> list[str]:
        """What the page complained about: errors of its script, and of its policy."""
        # Chromium itself notes each answer of 400 and above, and Descope's component a wrong code.
        own = ("Failed to load resource", "[Descope] [E")
        said = [text for kind, text in self.messages if kind == "error"]
        return self.errors + [text for text in said if not text.startswith(own)]

    @property
    def posts(self) -> list[str]:
        """The paths that the page posted to."""
        return [
            url.removeprefix(self.shop.url) for method, url in self.requests if method == "POST"
        ]

    def go(self, path: str) -> None:
        """Go to a page of the shop."""
        self.page.goto(self.shop.url + path)

    def bring(self, tokens: Tokens) -> None:
        """Have the browser hold a session."""
        held = {"DS": tokens.session_token, "DSR": tokens.refresh_token}
        for name, value in held.items():
            self.context.add_cookies(
                [
                    {
                        "name": name,
                        "value": value,
                        "url": self.shop.url,
                        "httpOnly": True,
                        "secure": True,
                    }
                ]
            )

    def sign_in(self, email: str = ANN, **how: Any) -> Tokens:
        """Sign in past the forms."""
        tokens = self.shop.descope.sign_in(email, **how)
        self.bring(tokens)
        return tokens

    def fill_cart(self, *slugs: str) -> None:
        """Put shirts into the cart by the pages' forms, and stay in the cart."""
        for slug in slugs:
            self.go(f"/shirts/{slug}")
            self.button("Add to cart").click()
            self.page.wait_for_url("**/cart")

    def pick_as_a_stranger(self, slug: str) -> None:
        """Put a shirt into the cart before signing in."""
        self.go(f"/shirts/{slug}")
        self.button("Add to cart").click()
        self.page.wait_for_url("**/sign-in?next=cart")

    def button(self, name: str) -> Locator:
        """Return a button of the page."""
        return self.page.get_by_role("button", name=name)

    @property
    def dialog(self) -> Locator:
        """The step-up dialog."""
        return self.page.get_by_role("dialog")

    @property
    def beside(self) -> Locator:
        """What the shop adds to the dialog."""
        return self.page.locator("[data-beside]")

    @property
    def code(self) -> Locator:
        """The dialog's field for the code."""
        return self.dialog.get_by_role("textbox", name="6-digit code")

    def press(self, name: str) -> None:
        """Press a button of the dialog."""
        self.dialog.get_by_role("button", name=name).click()

    def confirm(self, code: str) -> None:
        """Enter a code into the dialog."""
        self.code.fill(code)
        self.press("Confirm")

    def said(self, words: str) -> None:
        """Wait until the page says this about what was asked of it."""
        expect(self.page.locator("[data-status]")).to_have_text(words)

    def picture(self, name: str, *, whole: bool = True) -> None:
        """Take a screenshot, of the whole page or of what the window shows."""
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path, full_page=whole, animations="disabled")

    def look(self, name: str) -> None:
        """Take screenshots for people only: Descope's elements are theirs to judge."""
        for width, height in (WIDE, NARROW):
            self.page.set_viewport_size({"width": width, "height": height})
            self.picture(f"{name}-{width}", whole=False)
        self.page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})

    def inspect(self, name: str) -> None:
        """Take screenshots for people, and have axe look, in both colour schemes.

        Raises:
            AssertionError: axe found something, or the page complained.
        """
        found: list[str] = []
        open_dialog = self.dialog.count()
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            for width, height in (WIDE, NARROW):
                self.page.set_viewport_size({"width": width, "height": height})
                self.picture(f"{name}-{scheme}-{width}", whole=not open_dialog)
            if not self.page.evaluate("() => 'axe' in window"):
                self.page.evaluate(AXE.read_text("utf-8"))
            found += self.page.evaluate(LOOK)
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
        assert found == []
        assert self.problems == []


@contextmanager
def visit(stack: ExitStack, shop: Shop, **options: Any) -> Iterator[Visit]:
    """Open a browser window of its own; at its end the page must have complained about nothing."""
    with browser_of(stack).new_context(locale="en", **options) as context:
        visitor = Visit(shop, context, context.new_page())
        yield visitor
        assert visitor.problems == []

"""Swagger UI of the shop in Chromium: sign in, execute, step up, and the answer."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.examples.scenarios.browser import ANN, SCREENSHOTS, Shop, launched, open_shop

DIST = Path(__file__).parent / "node" / "node_modules" / "swagger-ui-dist"
pytestmark = pytest.mark.skipif(
    shutil.which("chromium") is None or not DIST.is_dir(),
    reason="needs chromium, and npm ci in tests/examples/node",
)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page that has no network but this machine's; Swagger UI comes from its npm package."""

    def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if route.request.url.startswith("http://localhost"):
            route.continue_()
        elif "/swagger-ui-dist@5/" in route.request.url:
            route.fulfill(path=DIST / name)
        else:
            route.abort()

    with launched() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(10_000)
        page.route("**/*", answer)
        yield page


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop with a shirt in Ann's cart."""
    with open_shop() as shop:
        shop.fill_cart_of(shop.descope.sign_in(ANN).user_id, "duck-typed")
        yield shop


def test_checkout_can_be_executed_as_a_user_of_the_emulator(shop: Shop, page: Page) -> None:
    """Authorize signs her in, Execute opens the dialog, and the order is placed after the code."""
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(f"{shop.url}/docs")

    page.get_by_role("button", name="Authorize").first.click()
    page.get_by_label("E-mail or phone").fill(ANN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("status")).to_have_text(f"Signed in as {ANN}.")
    page.screenshot(path=SCREENSHOTS / "swagger-ui-authorize.png")
    page.get_by_role("button", name="Close").first.click()

    page.locator("#operations-default-checkout_checkout_post").get_by_role("button").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    dialog = page.locator("step-up-dialog")
    expect(dialog.get_by_text("We sent a code")).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "swagger-ui-dialog.png")
    dialog.get_by_role("textbox", name="6-digit code").fill(shop.code)
    dialog.get_by_role("button", name="Confirm").click()

    answer = page.locator(".live-responses-table .response")
    expect(answer.locator(".response-col_status").first).to_contain_text("201")
    order = json.loads(answer.locator(".highlight-code code, .microlight").first.inner_text())
    assert order["url"] == f"/orders/{order['order']}"
    page.screenshot(path=SCREENSHOTS / "swagger-ui-done.png")
    assert failures == []

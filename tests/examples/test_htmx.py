"""The HTMX example in Chromium: the button asks, the code is typed, the fragment is there."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.examples.scenarios.browser import launched
from tests.examples.test_small_examples import started

HTMX = Path(__file__).parents[1] / "browser/node/node_modules/htmx.org/dist/htmx.min.js"
pytestmark = pytest.mark.skipif(
    shutil.which("chromium") is None or not HTMX.is_file(),
    reason="needs chromium, and npm ci in tests/browser/node",
)


def test_order_is_cancelled_after_the_dialog() -> None:
    """HTMX gets a 401, the dialog opens, and HTMX sends its request once more."""

    def answer(route: Route) -> None:
        if "//127.0.0.1" in route.request.url:
            route.continue_()
        else:
            assert route.request.url.endswith("/dist/htmx.min.js")
            route.fulfill(path=HTMX)

    with started("htmx") as app, launched() as browser:
        page = browser.new_page()
        page.set_default_timeout(10_000)
        page.route("**/*", answer)
        page.goto(str(app.http.base_url))
        with page.expect_navigation():  # until HTMX is there
            page.get_by_role("button", name="Sign in as Ann").click()
        page.get_by_role("button", name="Cancel order 7").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("We sent a code")).to_be_visible()
        code = app.emulator.get("/_emulator/outbox").json()["messages"][-1]["code"]
        dialog.get_by_role("textbox", name="6-digit code").fill(code)
        dialog.get_by_role("button", name="Confirm").click()
        expect(page.get_by_role("status")).to_have_text("Order 7 is cancelled.")

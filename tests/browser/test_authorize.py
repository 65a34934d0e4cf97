"""`onChallenge` in Chromium, as the documentation writes it, in front of npm `oidc-provider`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page
from starlette.staticfiles import StaticFiles

from fastapi_stepup.testing.server import served
from tests.browser.flow.stack import CHROMIUM, launched
from tests.browser.front_ends import block, files
from tests.oidc.provider import needs_oidc_provider, running
from tests.oidc.stack import Stack, app_of

pytestmark = [
    needs_oidc_provider,
    pytest.mark.skipif(not CHROMIUM, reason="needs chromium"),
]
PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Shop</title>
<link rel="icon" href="data:,">
<button id="sign-in">Sign in</button> <button id="pay">Pay</button>
<output></output>
<script type="module">
  import * as shop from "./WAY.js";
  const output = document.querySelector("output");
  const shown = (response) =>
    response?.then(
      async (answer) => { if (answer) output.value = JSON.stringify((await answer.json()).acr); },
      ({ name, code }) => { output.value = `${name}: ${code}`; },
    );
  document.querySelector("#sign-in").onclick = async () => {
    await shop.signIn();
    output.value = "Signed in.";
  };
  document.querySelector("#pay").onclick = () => shown(shop.pay({ shirt: "M" }));
  shown(shop.goOn?.());
  output.dataset.ready = "";
</script>
</html>
"""
UNMET: Final = "StepUpUnmet: unmet_authentication_requirements"
WAYS: Final = ("popup", "leave")


class Visit:
    """A user's browser on the page of one shop."""

    def __init__(self, page: Page, stack: Stack, way: str) -> None:
        self.page = page
        self.way = way
        self.payments: list[str] = []
        page.set_default_timeout(20_000)
        page.on(
            "request",
            lambda one: self.payments.append(one.url) if one.url.endswith("/pay") else None,
        )
        page.goto(f"{stack.url}/shop/{way}/")

    def press(self, button: str, login: str) -> None:
        """Press a button of the page, and sign in by *login* when the issuer asks."""
        # The page's script asks the issuer for its metadata first, and `load` does not wait for it.
        self.page.locator("output[data-ready]").wait_for(state="attached")
        if self.way == "popup":
            with self.page.expect_popup() as popup:
                self.page.locator(f"#{button}").click()
            popup.value.locator(f"[value={login}]").click()
        else:
            self.page.locator(f"#{button}").click()
            self.page.locator(f"[value={login}]").click()
            self.page.wait_for_url("**/leave/")

    def reads(self, text: str) -> None:
        """Wait until the page shows *text*."""
        self.page.locator("output", has_text=text).wait_for()

    def sign_in(self) -> None:
        """Sign in by a password alone."""
        self.press("sign-in", "pwd")
        if self.way == "popup":
            self.reads("Signed in.")
        else:
            self.page.wait_for_function("sessionStorage.getItem('token')")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, closed with this module."""
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    """Run issuers and apps by their settings, each once."""
    started: dict[Any, Stack] = {}
    with ExitStack() as closing:

        def start(**settings: str) -> Stack:
            key = tuple(settings.items())
            if key not in started:
                folder = tmp_path_factory.mktemp("shop")
                stack = started[key] = Stack(closing.enter_context(running(**settings)))
                app = app_of(stack)
                app.mount("/shop", StaticFiles(directory=folder, html=True))
                stack.url = closing.enter_context(served(app))
                write(folder, stack)
            return started[key]

        yield start


def write(folder: Path, stack: Stack) -> None:
    """Write a page for each way, with the scripts of the documentation."""
    issuer = stack.provider.issuer
    for way in WAYS:
        place = folder / way
        place.mkdir()
        place.joinpath("index.html").write_text(PAGE.replace("WAY", way), "utf-8")
        place.joinpath("callback.html").write_text(block("html", "callback.html"), "utf-8")
        for name in ("sign-in.js", f"{way}.js"):
            text = files()[name].replace("https://login.example", issuer)
            place.joinpath(name).write_text(text, "utf-8")
        stack.provider.allow(f"{stack.url}/shop/{way}/callback.html")


@pytest.fixture(params=WAYS)
def visit(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Callable[[Stack], Visit]]:
    """Open the page with a popup, or the one that is left."""
    with browser.new_context() as context:
        yield lambda stack: Visit(context.new_page(), stack, str(request.param))


def test_weak_login_is_renewed_and_the_request_sent_once_more(
    stacks: Callable[..., Stack], visit: Callable[[Stack], Visit]
) -> None:
    """A password is not enough; the class and the age that were asked for are."""
    ann = visit(stacks())
    ann.sign_in()

    ann.press("pay", "mfa")

    ann.reads('["mfa"]')
    assert len(ann.payments) == 2
    with ann.page.expect_response("**/pay") as paid:
        ann.page.locator("#pay").click()
    assert paid.value.status == 200


def test_login_that_stays_weak_is_an_error_and_no_loop(
    stacks: Callable[..., Stack], visit: Callable[[Stack], Visit]
) -> None:
    """The issuer gives a weaker class than was asked for: one round, and then it says so."""
    ann = visit(stacks(WEAK="1", ONE_ROUND="1"))
    ann.sign_in()

    ann.press("pay", "mfa")

    ann.reads(UNMET)
    assert len(ann.payments) == 2


def test_user_who_does_not_sign_in(
    stacks: Callable[..., Stack], visit: Callable[[Stack], Visit]
) -> None:
    """Nothing is sent again."""
    ann = visit(stacks())
    ann.sign_in()

    ann.press("pay", "cancel")

    if ann.way == "popup":
        ann.reads("StepUpCancelled: cancelled")
    assert len(ann.payments) == 1

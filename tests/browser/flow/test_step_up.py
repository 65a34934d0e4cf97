"""The flow `step-up` in `<descope-wc>` and in React, by each method, and the API after it."""

import pytest

from fastapi_stepup.testing import Tokens
from tests.browser.flow.stack import ANN, Stack, Visit

PLACES = {
    "plain": ("plain", "component"),
    "descope": ("descope", "component"),
    "react": ("plain", "react"),
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The look of the screens, and the page that shows them."""
    return PLACES[request.param]


@pytest.fixture
def look(place: tuple[str, str]) -> str:
    """The look of the screens: plain HTML, or Descope's own elements."""
    return place[0]


@pytest.fixture
def component(place: tuple[str, str]) -> str:
    """The page: with the web component, or the React sample of Descope's guide."""
    return place[1]


@pytest.fixture
def flow(visit: Visit, ann: Tokens) -> Visit:
    """A browser in Ann's plain session."""
    visit.sign_in(ann)
    return visit


def opened(flow: Visit, component: str) -> Visit:
    """Open the page, and see the API refuse the plain session."""
    flow.open(component)
    flow.steps("ready")
    assert flow.pays("401")
    return flow


def completed(flow: Visit) -> None:
    """Wait for the end of the flow, and pay."""
    flow.steps("success")
    assert flow.pays("200")


@pytest.mark.parametrize("delivery", ["email", "sms"])
def test_code(flow: Visit, component: str, delivery: str) -> None:
    """The masked address is shown, and the code that was sent completes the flow."""
    opened(flow, component).press(f"otp-{delivery}")
    flow.reads(f"We sent it to {'a**@example.com' if delivery == 'email' else '+1********12'}")
    assert flow.stack.emulator.outbox[-1].delivery == delivery
    flow.enter(flow.stack.code)
    completed(flow)


def test_passkey(flow: Visit, component: str) -> None:
    """The browser's authenticator signs."""
    flow.add_passkey(ANN, flow.add_authenticator())
    opened(flow, component).press("passkey")
    completed(flow)


def test_magic_link(flow: Visit, component: str) -> None:
    """The link opens a page that completes the flow, and so does the page that waited."""
    opened(flow, component).press("magiclink-email")
    flow.reads("We sent it to a**@example.com")
    first, flow.page = flow.page, flow.context.new_page()
    flow.page.goto(flow.stack.emulator.outbox[-1].link)
    completed(flow)
    flow.page = first
    completed(flow)


def test_social_login(flow: Visit, component: str) -> None:
    """The provider leads back to the page, which completes the flow."""
    flow.stack.emulator.user(ANN).providers["google"] = True
    opened(flow, component).press("oauth-google")
    flow.signs_in_at_provider()
    completed(flow)


def test_authenticator_app(flow: Visit, component: str) -> None:
    """The code that the app shows completes the flow."""
    code = flow.stack.emulator.totp_code(ANN)
    opened(flow, component).press("totp")
    flow.reads("Your authenticator app shows it.")
    flow.enter(code)
    completed(flow)


@pytest.mark.parametrize("place", [PLACES["react"]])
def test_react_hooks_keep_working(flow: Visit) -> None:
    """`useUser` greets the user before and after, and `onSuccess` fires once."""
    opened(flow, "react")
    hello = flow.page.locator("#hello", has_text="Hello Ann")
    hello.wait_for()
    flow.press("otp-email")
    flow.reads("We sent it to")
    flow.enter(flow.stack.code)
    completed(flow)
    hello.wait_for()
    assert flow.page.locator("#steps").inner_text() == "ready success"


@pytest.mark.parametrize("place", [PLACES["react"]])
def test_component_of_the_documentation(flow: Visit, ann: Tokens) -> None:
    """It shows the flow when the order is refused, and places the order once it is done."""
    flow.open("checkout")
    with flow.page.expect_response("**/checkout") as refused:
        flow.page.get_by_role("button", name="Place the order").click()
    assert refused.value.status == 401
    flow.press("otp-email")
    flow.reads("We sent it to")
    with flow.page.expect_response("**/checkout") as placed:
        flow.enter(flow.stack.code)
    assert placed.value.status == 200
    flow.page.wait_for_function("document.title.startsWith('Placed')")
    assert flow.page.title() == f"Placed: {ann.user_id}"
    assert flow.page.get_by_role("button", name="Place the order").is_visible()


@pytest.mark.parametrize("place", [PLACES["plain"], PLACES["descope"]])
def test_only_methods_of_the_user_are_offered(stack: Stack, visit: Visit) -> None:
    """A user with an e-mail address gets no button for anything else."""
    visit.sign_in(stack.emulator.sign_in("bob@example.com"))
    visit.open("component")
    visit.steps("ready")
    buttons = visit.page.locator("descope-wc button[id], descope-wc descope-button[id]")
    assert buttons.all_inner_texts() == ["Email me a code", "Email me a magic link"]

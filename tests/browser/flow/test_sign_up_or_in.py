"""The flow `sign-up-or-in` in `<descope-wc>`, as Descope's quickstarts have it."""

from typing import Any

import pytest

from tests.browser.flow.stack import ANN, Visit

BOB = "bob@example.com"
PLAIN = pytest.mark.parametrize("look", ["plain"])


@pytest.fixture
def flow(visit: Visit) -> Visit:
    """The component on its first screen, without a session."""
    visit.open("component", flow="sign-up-or-in")
    visit.steps("ready")
    return visit


def typed(flow: Visit, email: str) -> Visit:
    """Type an e-mail address."""
    flow.page.locator(
        "descope-wc input[type=email], descope-wc descope-email-field input"
    ).first.fill(email)
    return flow


def signed_in(flow: Visit) -> str:
    """Wait for the end of the flow; return the user of the session, which is not stepped up."""
    flow.steps("success")
    assert flow.pays("401")
    session: Any = flow.page.evaluate("localStorage.getItem('DS')")
    claims = flow.stack.claims(session)
    assert "su" not in claims
    return str(claims["sub"])


@pytest.mark.parametrize("login_id", [ANN, BOB])
def test_code(flow: Visit, login_id: str) -> None:
    """A known and a new user sign in by a code; Enter presses the main button."""
    typed(flow, login_id).page.keyboard.press("Enter")
    flow.reads(f"We sent it to {login_id[0]}**@example.com")
    flow.enter(flow.stack.code)
    assert signed_in(flow) == flow.stack.emulator.user(login_id).user_id


@PLAIN
def test_magic_link(flow: Visit) -> None:
    """A new user signs up by a link."""
    typed(flow, BOB).press("magiclink-email")
    flow.reads("We sent it to")
    flow.page.goto(flow.stack.emulator.outbox[-1].link)
    assert signed_in(flow) == flow.stack.emulator.user(BOB).user_id


@PLAIN
def test_social_login(flow: Visit) -> None:
    """A new user signs up at a provider."""
    flow.press("oauth-github")
    flow.signs_in_at_provider(BOB)
    assert signed_in(flow) == flow.stack.emulator.user(BOB).user_id


@PLAIN
def test_passkey(flow: Visit) -> None:
    """A new user registers a passkey, and signs in with it the next time."""
    flow.add_authenticator()
    typed(flow, BOB).press("passkey")
    subject = signed_in(flow)
    flow.open("component", flow="sign-up-or-in")
    flow.steps("ready")
    flow.press("passkey")
    assert signed_in(flow) == subject == flow.stack.emulator.user(BOB).user_id


def test_address_is_needed_for_a_message(flow: Visit) -> None:
    """Without one, the flow says so; an unverified one stays in the field."""
    flow.press("magiclink-email")
    flow.reads("Enter your email address.")
    typed(flow, ANN).press("submit")
    flow.reads("We sent it to a**@example.com")
    flow.press("back")
    flow.reads("Welcome")
    assert (
        flow.page.locator("descope-wc [name=email]").first.evaluate("field => field.value") == ANN
    )

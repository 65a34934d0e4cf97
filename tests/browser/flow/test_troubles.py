"""Flows that do not go straight: wrong, late, repeated, declined, closed."""

import pytest

from fastapi_stepup.testing import Tokens
from tests.browser.flow.stack import ANN, Visit


@pytest.fixture
def look() -> str:
    """Plain screens: what differs between the looks is in `test_step_up` and `test_looks`."""
    return "plain"


@pytest.fixture
def flow(visit: Visit, ann: Tokens) -> Visit:
    """The component on its first screen, in Ann's plain session."""
    visit.stack.emulator.user(ANN).providers["google"] = True
    visit.sign_in(ann)
    visit.open("component")
    visit.steps("ready")
    return visit


def asked_for_code(flow: Visit) -> Visit:
    """Choose the code by e-mail."""
    flow.press("otp-email")
    flow.reads("We sent it to a**@example.com")
    return flow


def completed(flow: Visit) -> None:
    """Wait for the end of the flow, and pay."""
    flow.steps("success")
    assert flow.pays("200")


def test_wrong_code(flow: Visit) -> None:
    """The user reads so and enters the right one."""
    asked_for_code(flow).enter(flow.stack.wrong_code)
    flow.reads("The code is wrong.")
    flow.enter(flow.stack.code)
    completed(flow)


def test_resend(flow: Visit) -> None:
    """A new code is sent, and the first is wrong from then on."""
    asked_for_code(flow)
    first = flow.stack.code
    with flow.page.expect_response("**/flow/next"):
        flow.press("resend")
    assert len(flow.stack.emulator.outbox) == 2
    flow.enter(first if first != flow.stack.code else flow.stack.wrong_code)
    flow.reads("The code is wrong.")
    flow.enter(flow.stack.code)
    completed(flow)


def test_too_many_codes(flow: Visit) -> None:
    """After five wrong codes even the right one is refused, until a new one is sent."""
    asked_for_code(flow)
    for _ in range(5):
        with flow.page.expect_response("**/flow/next"):
            flow.enter(flow.stack.wrong_code)
        flow.reads("The code is wrong.")
    flow.enter(flow.stack.code)
    flow.reads("Too many attempts. Ask for a new code.")
    with flow.page.expect_response("**/flow/next"):
        flow.press("resend")
    flow.enter(flow.stack.code)
    completed(flow)


def test_too_many_messages(flow: Visit) -> None:
    """The user reads how long to wait."""
    asked_for_code(flow)
    for _ in range(10):
        with flow.page.expect_response("**/flow/next"):
            flow.press("resend")
    flow.reads("Too many messages. Try again in")
    assert len(flow.stack.emulator.outbox) == 10
    flow.enter(flow.stack.code)
    completed(flow)


def test_expired_code(flow: Visit) -> None:
    """The user reads so and asks for a new one."""
    asked_for_code(flow)
    flow.stack.clock[0] += 181
    flow.enter(flow.stack.code)
    flow.reads("The code has expired. Ask for a new one.")
    with flow.page.expect_response("**/flow/next"):
        flow.press("resend")
    flow.enter(flow.stack.code)
    flow.steps("success")


def test_expired_flow(flow: Visit) -> None:
    """The component reports it and begins again, as `restart-on-error` asks."""
    asked_for_code(flow)
    flow.stack.clock[0] += 601
    flow.enter(flow.stack.code)
    flow.steps("E103205")
    flow.reads("Confirm it is you")
    asked_for_code(flow).enter(flow.stack.code)
    flow.steps("success")


def test_closed_and_reopened(flow: Visit) -> None:
    """A flow that was closed begins anew; the code of the first is void once a second is sent."""
    asked_for_code(flow)
    flow.page.locator("#close").click()
    assert flow.page.locator("descope-wc").count() == 0
    flow.page.locator("#open").click()
    flow.reads("Confirm it is you")
    asked_for_code(flow).enter(flow.stack.code)
    completed(flow)


def test_other_method_after_all(flow: Visit) -> None:
    """Back leads to the first screen."""
    asked_for_code(flow).press("back")
    flow.reads("Confirm it is you")
    flow.press("magiclink-email")
    flow.reads("Open the link")
    flow.press("back")
    flow.reads("Confirm it is you")
    asked_for_code(flow).enter(flow.stack.code)
    completed(flow)


def test_magic_link_is_sent_again(flow: Visit) -> None:
    """Both links work, and the page still waits for the click."""
    flow.press("magiclink-email")
    flow.reads("We sent it to")
    flow.press("resend")
    flow.reads("We sent another to a**@example.com")
    first, flow.page = flow.page, flow.context.new_page()
    flow.page.goto(flow.stack.emulator.outbox[-1].link)
    flow.steps("success")
    flow.page = first
    completed(flow)


def test_expired_magic_link(flow: Visit) -> None:
    """The page of the link says so and offers another."""
    flow.press("magiclink-email")
    flow.reads("We sent it to")
    flow.stack.clock[0] += 181
    flow.page.goto(flow.stack.emulator.outbox[-1].link)
    flow.reads("The link has expired or was used. Ask for a new one.")
    flow.press("resend")
    flow.reads("We sent it to")
    flow.page.goto(flow.stack.emulator.outbox[-1].link)
    flow.steps("success")


def test_declined_provider(flow: Visit) -> None:
    """The user is back on the first screen, reads so, and uses a code."""
    flow.press("oauth-google")
    flow.page.get_by_role("button", name="Decline").click()
    flow.reads("The provider did not sign you in.")
    asked_for_code(flow).enter(flow.stack.code)
    completed(flow)


def test_declined_passkey(flow: Visit) -> None:
    """The user is back on the first screen, reads so, and uses a code."""
    flow.add_passkey(ANN, flow.add_authenticator())
    flow.page.reload()
    flow.steps("ready")
    # A browser answers so when its user cancels.
    flow.page.evaluate(
        "() => { navigator.credentials.get = async () => {"
        " throw new DOMException('', 'NotAllowedError'); }; }"
    )
    flow.press("passkey")
    flow.reads("No passkey was used.")
    asked_for_code(flow).enter(flow.stack.code)
    completed(flow)


def test_session_that_was_logged_out(flow: Visit, ann: Tokens) -> None:
    """The flow cannot complete, and the component reports the error code."""
    asked_for_code(flow)
    flow.stack.log_out(ann)
    flow.enter(flow.stack.code)
    flow.steps("E064001")


def test_request_of_another_host_is_noticed(visit: Visit) -> None:
    """The check of every test here sees a page that asks a real host."""
    visit.open("component")
    visit.page.evaluate("fetch('https://static.descope.com/pages').catch(() => {})")
    assert visit.foreign == ["https://static.descope.com/pages"]
    visit.foreign.clear()

"""The web SDK's `flow.start` and `flow.next`, with a page that draws its own screens."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fastapi_stepup.testing import Tokens
from tests.browser.flow.stack import ANN, Visit


@pytest.fixture
def look() -> str:
    """No screen is drawn here, so one look is enough."""
    return "plain"


@pytest.fixture
def flow(visit: Visit, ann: Tokens) -> Visit:
    """The page, in Ann's plain session."""
    visit.stack.emulator.user(ANN).providers["google"] = True
    visit.sign_in(ann)
    visit.open("sdk")
    return visit


def chosen(flow: Visit, method: str) -> Any:
    """Start the flow, choose a method, and return the reply."""
    return flow.page.evaluate("async (method) => next(await start(), method)", method)


def sent(flow: Visit, reply: Any, **given: str) -> Any:
    """Send an input and return the data of the reply."""
    answer = flow.page.evaluate(
        "async ([reply, given]) => next(reply, 'submit', given)", [reply, given]
    )
    return answer["data"]


def completed(flow: Visit, data: Any) -> None:
    """See the session stored, and pay with it."""
    assert data["status"] == "completed"
    flow.page.evaluate(
        "session => localStorage.setItem('DS', session)", data["authInfo"]["sessionJwt"]
    )
    assert flow.stack.claims(data["authInfo"]["sessionJwt"])["su"] is True
    assert flow.checkout(data["authInfo"]["sessionJwt"]) == 200


def test_code(flow: Visit) -> None:
    """A wrong code is answered with the same screen, the right one with the session."""
    reply = chosen(flow, "otp-email")
    assert reply["data"]["screen"]["state"]["sentTo"] == {"maskedEmail": "a**@example.com"}
    wrong = sent(flow, reply, code=flow.stack.wrong_code)
    assert wrong["screen"]["state"]["errorText"] == "The code is wrong."
    completed(flow, sent(flow, reply, code=flow.stack.code))


def test_passkey(flow: Visit) -> None:
    """The SDK's own helper asks the browser."""
    flow.add_passkey(ANN, flow.add_authenticator())
    answer = flow.page.evaluate("async () => passkey(await next(await start(), 'passkey'))")
    completed(flow, answer["data"])


def test_magic_link(flow: Visit) -> None:
    """The token of the link completes the flow."""
    reply = chosen(flow, "magiclink-email")
    completed(flow, sent(flow, reply, token=flow.stack.emulator.outbox[-1].token))


def test_social_login(flow: Visit) -> None:
    """The provider's code completes the flow."""
    reply = chosen(flow, "oauth-google")
    assert reply["data"]["action"] == "redirect"
    location = flow.stack.emulator.social_login(reply["data"]["redirect"]["url"], ANN)
    code = parse_qs(urlsplit(location).query)["code"][0]
    completed(flow, sent(flow, reply, exchangeCode=code))

"""The flow `step-up`."""

from typing import Any

import httpx2
import pytest

from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.testing.conftest import Caller, error_of


def start(caller: Caller, token: str, flow_id: str = "step-up") -> httpx2.Response:
    """Start a flow."""
    headers = caller.headers(token)
    return caller.client.post("/v1/flow/start", json={"flowId": flow_id}, headers=headers)


def proceed(caller: Caller, screen: Any, code: object) -> httpx2.Response:
    """Send the screen's form."""
    body = {
        "executionId": screen["executionId"],
        "stepId": screen["stepId"],
        "interactionId": "submit",
        "input": {"code": code},
    }
    return caller.client.post("/v1/flow/next", json=body, headers=caller.headers())


@pytest.mark.parametrize(("login_id", "delivery"), [("ann@example.com", "email"), ("bob", "sms")])
def test_flow_steps_up(
    caller: Caller, emulator: DescopeEmulator, login_id: str, delivery: str
) -> None:
    """One screen asks for the code that was sent; the right one gives the session."""
    emulator.create_user("bob", phone="+15550100099")
    tokens = emulator.sign_in(login_id)
    screen = start(caller, tokens.refresh_token).json()
    assert (screen["status"], screen["action"]) == ("waiting", "screen")
    sent = emulator.outbox[-1]
    assert (delivery, True) == (sent.delivery, sent.step_up)
    wrong = proceed(caller, screen, caller.wrong_code).json()
    assert (wrong["status"], wrong["error"]["code"]) == ("waiting", "E061102")
    done = proceed(caller, screen, sent.code).json()
    assert (done["status"], done["action"]) == ("completed", "none")
    assert caller.claims(done["authInfo"]["sessionJwt"])["su"] is True
    assert error_of(proceed(caller, screen, sent.code)) == (400, "E011004")


def test_flow_fails_when_tries_run_out(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """Then it is over, whatever the code."""
    screen = start(caller, ann.refresh_token).json()
    for _try in range(emulator.max_attempts):
        proceed(caller, screen, caller.wrong_code)
    failed = proceed(caller, screen, emulator.outbox[-1].code).json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "E061103")


def test_code_of_a_flow_is_text(caller: Caller, ann: Tokens) -> None:
    """Any other type is reported on the screen."""
    screen = start(caller, ann.refresh_token).json()
    assert proceed(caller, screen, 123456).json()["error"]["code"] == "E011003"


def test_flow_needs_a_signed_in_user(caller: Caller, ann: Tokens) -> None:
    """It needs the refresh token, and there is one flow only."""
    assert error_of(start(caller, "")) == (401, "E061005")
    assert error_of(start(caller, ann.refresh_token, "sign-up-or-in")) == (400, "E011004")

"""A user's scenario with Descope's Python SDK, unmodified; `node/scenario.mjs` has the same.

Usage: `python -m tests.sdk.python_scenario <base URL> <project id>`. Prints a report as JSON.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from descope import AuthException, DeliveryMethod, DescopeClient, LoginOptions

LOGIN_ID = "ann@example.com"


def refusal_of(call: Callable[[], object]) -> str:
    """Return Descope's error code in what *call* raises, or the SDK's own text."""
    with pytest.raises(AuthException) as refusal:
        call()
    message = str(refusal.value.error_message)
    return str(json.loads(message)["errorCode"]) if message.startswith("{") else message


def run(base_url: str, project_id: str) -> dict[str, Any]:
    """Sign up, step up by every delivery method, refresh, log out; return a report."""
    descope = DescopeClient(project_id, base_url=base_url)
    otp = descope.otp

    def latest_code() -> str:
        messages = httpx.get(f"{base_url}/_emulator/outbox").json()["messages"]
        return str(messages[-1]["code"])

    otp.sign_up(DeliveryMethod.EMAIL, LOGIN_ID, {"name": "Ann", "phone": "+15550100012"})
    wrong = f"{(int(latest_code()) + 1) % 1_000_000:06d}"
    wrong_code = refusal_of(lambda: otp.verify_code(DeliveryMethod.EMAIL, LOGIN_ID, wrong))
    plain = otp.verify_code(DeliveryMethod.EMAIL, LOGIN_ID, latest_code())
    refresh_token = plain["refreshSessionToken"]["jwt"]

    step_ups, stepped_up = {}, plain
    options = LoginOptions(stepup=True)
    for delivery in ("email", "sms", "voice", "whatsapp"):
        method = DeliveryMethod[delivery.upper()]
        otp.sign_in(method, LOGIN_ID, options, refresh_token)
        stepped_up = otp.verify_code(method, LOGIN_ID, latest_code())
        claims = descope.validate_session(stepped_up["sessionToken"]["jwt"])
        step_ups[delivery] = {"su": claims["su"], "amr": claims["amr"]}

    method = DeliveryMethod.EMAIL
    without_token = refusal_of(lambda: otp.sign_in(method, LOGIN_ID, options))
    unknown_user = refusal_of(lambda: otp.sign_in(method, "nobody@example.com"))
    refresh_token = stepped_up["refreshSessionToken"]["jwt"]
    refreshed = descope.refresh_session(refresh_token)
    me = descope.me(refresh_token)
    descope.logout(refresh_token)
    return {
        "plain_has_su": "su" in plain["sessionToken"],
        "step_ups": step_ups,
        "refreshed_has_su": "su" in refreshed["sessionToken"],
        "me": me["loginIds"],
        "wrong_code": wrong_code,
        "step_up_without_refresh_token": without_token,
        "unknown_user": unknown_user,
        "refresh_after_logout": refusal_of(lambda: descope.refresh_session(refresh_token)),
        "tokens": {
            "plain": plain["sessionToken"]["jwt"],
            "stepped_up": stepped_up["sessionToken"]["jwt"],
            "refreshed": refreshed["sessionToken"]["jwt"],
            "refresh": refresh_token,
        },
    }


json.dump(run(*sys.argv[1:]), sys.stdout)

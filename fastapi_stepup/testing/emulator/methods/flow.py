"""The flow `step-up`, with one screen (`/v1/flow/start`, `/v1/flow/next`).

The start sends a code; the screen asks for it; the right code completes the flow with a stepped-up
session in `authInfo`.

Known of the real service: the two calls and the members of their replies.

Guesses: a wrong code is answered with the same screen and `error`; everything about screens.

Does not serve the screens that Descope's web component loads; `flow.start` and `flow.next` of the
SDKs work.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from starlette.routing import Route

from fastapi_stepup.testing.emulator.errors import INVALID_ARGUMENT, TOO_MANY_ATTEMPTS, Refusal
from fastapi_stepup.testing.emulator.methods.otp import OTP
from fastapi_stepup.testing.emulator.models import Call
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import post
from fastapi_stepup.testing.emulator.users import User

FLOW_ID: Final = "step-up"
_STEP_ID: Final = "0"


class Flow:
    """The step-up flow.

    Args:
        project: The emulated project.
        otp: Sends and verifies the code.
    """

    def __init__(self, project: Project, otp: OTP) -> None:
        self._project = project
        self._otp = otp
        self._executions: dict[str, User] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        return [
            post(self._project, "/v1/flow/start", self._start),
            post(self._project, "/v1/flow/next", self._next),
        ]

    def _start(self, call: Call) -> Mapping[str, object]:
        if call.text("flowId") != FLOW_ID:
            raise Refusal(INVALID_ARGUMENT, f"The emulator has the flow {FLOW_ID} only")
        user = self._project.sessions.find(call.token).user
        login = self._project.login(call, user, {"stepup": True})
        self._otp.start(_otp_call(call, user), login)
        execution_id = f"{FLOW_ID}|#|{secrets.token_hex(16)}"
        self._executions[execution_id] = user
        return _screen(execution_id)

    def _next(self, call: Call) -> Mapping[str, object]:
        execution_id = call.text("executionId")
        user = self._executions.get(execution_id)
        if user is None:
            raise Refusal(INVALID_ARGUMENT, "No such execution")
        code = call.members("input").get("code")
        try:
            reply = self._otp.verify(_otp_call(call, user, code=code))
        except Refusal as refusal:
            failed = refusal.error is TOO_MANY_ATTEMPTS
            description = refusal.error.description
            error = {"code": refusal.error.code, "description": description, "message": ""}
            return {**_screen(execution_id, "failed" if failed else "waiting"), "error": error}
        del self._executions[execution_id]
        return {
            **_screen(execution_id, "completed"),
            "action": "none",
            "screen": None,
            "authInfo": reply,
        }


def _otp_call(call: Call, user: User, **members: object) -> Call:
    delivery = "email" if user.email else "sms"
    body = {"loginId": user.login_ids[0], **members}
    return replace(call, path={"delivery": delivery}, body=body)


def _screen(execution_id: str, status: str = "waiting") -> dict[str, object]:
    return {
        "executionId": execution_id,
        "stepId": _STEP_ID,
        "stepName": "Verify code",
        "status": status,
        "action": "screen",
        "screen": {"id": "verify-code", "state": {}},
    }

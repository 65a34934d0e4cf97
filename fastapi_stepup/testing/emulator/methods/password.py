"""Passwords (`/v1/auth/password/`).

The official SDKs send no refresh token with a password, so no user steps up with one.

Known of the real service: a wrong password is answered 401 `E062903`.

Guesses:
- The policy, and the answer to a password that breaks it (400 `E011004`).
- Attempts are not limited.
- A reset sends a magic link; its session then changes the password by an update.
"""

import hmac
from collections.abc import Mapping
from typing import Final

from starlette.routing import Route

from fastapi_stepup.testing.emulator.errors import INVALID_ARGUMENT, WRONG_PASSWORD, Refusal
from fastapi_stepup.testing.emulator.methods.magiclink import MagicLink
from fastapi_stepup.testing.emulator.methods.signup import new_user_of
from fastapi_stepup.testing.emulator.models import Call
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import get, post
from fastapi_stepup.testing.emulator.users import User

AMR: Final = "pwd"
_POLICY: Final = {
    "minLength": 8,
    "lowercase": False,
    "uppercase": False,
    "number": False,
    "nonAlphanumeric": False,
}


class Password:
    """Sign-up, sign-in, change and reset of passwords.

    Args:
        project: The emulated project.
        magic_link: Sends the link of a reset.
    """

    def __init__(self, project: Project, magic_link: MagicLink) -> None:
        self._project = project
        self._magic_link = magic_link

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        handlers = {
            "signup": self._sign_up,
            "signin": self._sign_in,
            "replace": self._replace,
            "update": self._update,
            "reset": self._reset,
        }
        return [
            get(self._project, "/v1/auth/password/policy", lambda _: dict(_POLICY)),
            *(
                post(self._project, f"/v1/auth/password/{action}", handler)
                for action, handler in handlers.items()
            ),
        ]

    def _sign_up(self, call: Call) -> Mapping[str, object]:
        user = new_user_of(self._project, call)
        login = self._project.login(call, user)
        user.password = _acceptable(call, "password")
        self._project.users.add(user)
        return self._project.finish(login, AMR)

    def _sign_in(self, call: Call) -> Mapping[str, object]:
        user = self._authenticated(call, "password")
        return self._project.finish(self._project.login(call, user), AMR)

    def _replace(self, call: Call) -> Mapping[str, object]:
        user = self._authenticated(call, "oldPassword")
        user.password = _acceptable(call, "newPassword")
        return self._project.finish(self._project.login(call, user), AMR)

    def _update(self, call: Call) -> Mapping[str, object]:
        self._project.caller(call).password = _acceptable(call, "newPassword")
        return {}

    def _reset(self, call: Call) -> Mapping[str, object]:
        login = self._project.login(call, self._project.user(call.text("loginId")))
        return {"resetMethod": "magiclink", **self._magic_link.send(call, login, "email")}

    def _authenticated(self, call: Call, member: str) -> User:
        user = self._project.user(call.text("loginId"))
        given, right = call.text(member), user.password
        if right is None or not hmac.compare_digest(given.encode(), right.encode()):
            raise Refusal(WRONG_PASSWORD)
        return user


def _acceptable(call: Call, member: str) -> str:
    password = call.text(member)
    if len(password) < _POLICY["minLength"]:
        raise Refusal(INVALID_ARGUMENT, "The password breaks the policy")
    return password

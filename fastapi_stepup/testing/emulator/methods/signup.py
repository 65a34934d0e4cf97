"""Starts that the methods share: sign-up, sign-in, sign-up-or-in, and a change of address."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from fastapi_stepup.testing.emulator.errors import USER_EXISTS, Refusal
from fastapi_stepup.testing.emulator.models import Call, Login
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import Handler
from fastapi_stepup.testing.emulator.users import Change, User, new_user

Start: TypeAlias = Callable[[Call, Login], Mapping[str, object]]
SignIn: TypeAlias = Callable[[Call], Mapping[str, object]]


def sign_in_handlers(project: Project, start: Start) -> dict[str, SignIn]:
    """Return the handlers of `signup`, `signin` and `signup-in` of a method.

    A sign-up creates its user as soon as *start* returns, before anything is verified.

    Args:
        project: The emulated project.
        start: The method's own start, called with the request and the sign-in.
    """

    def sign_in(call: Call) -> Mapping[str, object]:
        return start(call, project.login(call, project.user(call.text("loginId"))))

    def sign_up(call: Call) -> Mapping[str, object]:
        user = new_user_of(project, call)
        reply = start(call, project.login(call, user))
        project.users.add(user)
        return reply

    def sign_up_or_in(call: Call) -> Mapping[str, object]:
        known = project.users.find(call.text("loginId"))
        return sign_in(call) if known else sign_up(call)

    return {"signup": sign_up, "signin": sign_in, "signup-in": sign_up_or_in}


def change_handlers(project: Project, start: Start) -> dict[str, Handler]:
    """Return the handlers of `update/email` and `update/phone` of a method.

    The address changes when the code or link that *start* sends to it is verified. Both calls take
    the refresh token, and `mfa` beside the login id rather than in the login options.

    Args:
        project: The emulated project.
        start: The method's own start; it sends to `login.change`.
    """

    def change(call: Call, kind: str) -> Mapping[str, object]:
        user = project.caller(call)
        address = Change(kind, call.text(kind), call.body.get("addToLoginIDs") is True)
        login = project.login(call, user, {"mfa": call.body.get("mfa")})
        return start(call, replace(login, change=address))

    return {
        "update/email": lambda call: change(call, "email"),
        "update/phone": lambda call: change(call, "phone"),
        "update/phone/{delivery}": lambda call: change(call, "phone"),
    }


def new_user_of(project: Project, call: Call) -> User:
    """Return the user that a sign-up asks for; it is not added yet.

    Raises:
        Refusal: The login id belongs to a user already, or is missing.
    """
    details = {**call.members("user"), **call.body}
    given = {name: value for name, value in details.items() if isinstance(value, str)}
    login_id = given.get("loginId") or call.text("loginId")
    if project.users.find(login_id):
        raise Refusal(USER_EXISTS)
    return new_user(
        login_id,
        created_at=int(project.clock()),
        email=given.get("email"),
        phone=given.get("phone") or given.get("voice") or given.get("whatsapp"),
        name=given.get("name", ""),
    )

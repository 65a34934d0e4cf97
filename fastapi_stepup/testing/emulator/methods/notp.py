"""NOTP (`/v1/auth/notp/`): the user proves a number by sending a message from it, on WhatsApp.

Known of the real service: the calls and their replies; polling answers `E066103` until the message
has arrived; the login id may be empty.

Guesses:
- A step-up without a login id belongs to the refresh token's user.
- An unknown number becomes a user where sign-up is allowed.
- The session is returned once.
- A bad reference is answered 401 `E062504`.

Difference: `redirectUrl` is a page of the emulator that sends the message, not WhatsApp. `image` is
its QR code where `segno` is installed (the `demo` extra), else an empty picture.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from fastapi_stepup.testing.emulator.errors import (
    MISSING_ARGUMENT,
    NOTP_PENDING,
    USER_NOT_FOUND,
    Refusal,
)
from fastapi_stepup.testing.emulator.links import PendingSignIns
from fastapi_stepup.testing.emulator.methods.signup import new_user_of
from fastapi_stepup.testing.emulator.models import Call, Login, Purpose
from fastapi_stepup.testing.emulator.pictures import qr_code
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import post
from fastapi_stepup.testing.emulator.users import User, new_user

AMR: Final = "whatsapp"
_PAGE_PATH: Final = "/_whatsapp/"
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>WhatsApp</title>
<h1>WhatsApp</h1>
<p>The Descope emulator plays WhatsApp. {text}</p>
{form}
</html>
"""
_FORM: Final = '<form method="post"><button>Send</button></form>'


@dataclass(frozen=True, slots=True)
class _Message:
    """A message that the user has not sent yet."""

    reference: str = field(repr=False)
    user: User | None
    purpose: Purpose
    may_sign_up: bool


class NOTP:
    """Sign-up and sign-in by a message from the user's number.

    Args:
        project: The emulated project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._pending = PendingSignIns(project, NOTP_PENDING)
        self._messages: dict[str, _Message] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints of this method and the page that sends the message."""
        handlers = {
            "whatsapp/signup": self._sign_up,
            "whatsapp/signin": self._sign_in,
            "whatsapp/signup-in": self._sign_up_or_in,
            "pending-session": self._pending.collect,
        }
        calls = [
            post(self._project, f"/v1/auth/notp/{action}", handler)
            for action, handler in handlers.items()
        ]
        return [*calls, Route(f"{_PAGE_PATH}{{token}}", self._page, methods=["GET", "POST"])]

    def answer(self, url: str, phone: str | None = None) -> None:
        """Send the message of the page at *url*.

        Args:
            url: The `redirectUrl` that the call answered.
            phone: The sender's number; by default that of the user who signs in.

        Raises:
            LookupError: No message is expected at this URL.
            Refusal: The number belongs to another user, or no number is known.
        """
        try:
            message = self._messages[token := url.rpartition("/")[2]]
        except KeyError:
            raise LookupError("No message is expected at this URL.") from None
        user = self._sender(message, phone)
        user.verified_phone = True
        del self._messages[token]
        self._pending.complete(message.reference, Login(user, message.purpose), AMR)

    def _sender(self, message: _Message, phone: str | None) -> User:
        known = message.user
        number = phone or (known.phone if known else None)
        if not number:
            raise Refusal(MISSING_ARGUMENT, "Missing phone")
        user = known or self._project.users.find(number)
        if user and user.phone == number:
            return user
        if user or not message.may_sign_up:
            raise Refusal(USER_NOT_FOUND, "The message came from another number")
        return self._project.users.add(new_user(number, created_at=int(self._project.clock())))

    def _sign_up(self, call: Call) -> Mapping[str, object]:
        user = new_user_of(self._project, call)
        login = self._project.login(call, user)
        self._project.users.add(user)
        return self._start(call, user, login.purpose)

    def _sign_in(self, call: Call) -> Mapping[str, object]:
        if call.body.get("loginId"):
            login = self._project.login(call, self._project.user(call.text("loginId")))
            return self._start(call, login.user, login.purpose)
        purpose = self._project.purpose(call, call.members("loginOptions"))
        return self._start(call, purpose.session.user if purpose.session else None, purpose)

    def _sign_up_or_in(self, call: Call) -> Mapping[str, object]:
        if not call.body.get("loginId"):
            purpose = self._project.purpose(call, call.members("loginOptions"))
            return self._start(call, None, purpose, may_sign_up=True)
        known = self._project.users.find(call.text("loginId"))
        return self._sign_in(call) if known else self._sign_up(call)

    def _start(
        self, call: Call, user: User | None, purpose: Purpose, *, may_sign_up: bool = False
    ) -> dict[str, object]:
        reference = self._pending.start()
        token = secrets.token_hex(16)
        self._messages[token] = _Message(reference, user, purpose, may_sign_up)
        url = f"{call.base_url}{_PAGE_PATH}{token}"
        return {"pendingRef": reference, "redirectUrl": url, "image": qr_code(url)}

    async def _page(self, request: Request) -> Response:
        token = request.path_params["token"]
        with self._project.lock:
            if token not in self._messages:
                raise HTTPException(404)
            if request.method == "GET":
                page = _PAGE.format(text="Send the message that signs you in.", form=_FORM)
            else:
                self.answer(token)
                page = _PAGE.format(text="The message was sent; you may close this.", form="")
        return HTMLResponse(page)

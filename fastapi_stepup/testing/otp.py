"""One-time codes by e-mail, text message, call and WhatsApp (`/v1/auth/otp/`).

Known of the real service: codes have six digits, a new code makes the earlier one useless, codes
expire, tries and sends are limited, and the login id need not be the address that the code goes to.
Guesses: the limits' sizes and the moment the limit on tries bites, that a code is bound to the
    delivery method it was
sent by, that sign-up creates the user before the code comes back, and that a call counts as `sms`
in `amr`.
"""

import hmac
import math
import secrets
from dataclasses import dataclass, field
from typing import Final

from starlette.routing import Route

from fastapi_stepup.testing.faults import (
    CODE_EXPIRED,
    MISSING_ARGUMENT,
    NOT_FOUND,
    RATE_LIMITED,
    TOO_MANY_ATTEMPTS,
    USER_EXISTS,
    WRONG_CODE,
    Refusal,
)
from fastapi_stepup.testing.project import Call, Login, Message, Project
from fastapi_stepup.testing.users import User, masked_email, masked_phone, new_user
from fastapi_stepup.testing.wire import endpoint

AMR: Final = {"email": "email", "sms": "sms", "voice": "sms", "whatsapp": "whatsapp"}
"""The `amr` value of each delivery method."""


@dataclass
class Code:
    """The one live code of a user."""

    login: Login
    delivery: str
    digits: str = field(repr=False)
    expires_at: float
    attempts_left: int


class OTP:
    """Sign-up, sign-in and verification by one-time code.

    Args:
        project: Whose users sign in.
        code_lifetime: Seconds that a code is good for.
        max_attempts: Wrong codes after which only a new code helps.
        max_sends: Codes sent to one user within *sends_window*.
        sends_window: Seconds over which sends are counted.
    """

    def __init__(
        self,
        project: Project,
        *,
        code_lifetime: float,
        max_attempts: int,
        max_sends: int,
        sends_window: float,
    ) -> None:
        self._project = project
        self._code_lifetime = code_lifetime
        self._max_attempts = max_attempts
        self._max_sends = max_sends
        self._sends_window = sends_window
        self._codes: dict[User, Code] = {}
        self._sends: dict[User, list[float]] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints of this room."""
        handlers = {
            "signup": self._sign_up,
            "signin": self._sign_in,
            "signup-in": self._sign_up_or_in,
            "verify": self._verify,
        }
        return [
            Route(
                f"/v1/auth/otp/{action}/{{delivery}}",
                endpoint(self._project, handler),
                methods=["POST"],
            )
            for action, handler in handlers.items()
        ]

    def _sign_up(self, call: Call) -> dict[str, object]:
        if self._project.users.find(call.text("loginId")):
            raise Refusal(USER_EXISTS)
        return self._sign_up_or_in(call)

    def _sign_in(self, call: Call) -> dict[str, object]:
        user = self._project.user(call.text("loginId"))
        return self._send(call, self._project.login(call, user))

    def _sign_up_or_in(self, call: Call) -> dict[str, object]:
        if self._project.users.find(call.text("loginId")):
            return self._sign_in(call)
        user = self._drafted(call)
        reply = self._send(call, self._project.login(call, user))
        self._project.users.add(user)
        return reply

    def _verify(self, call: Call) -> dict[str, object]:
        delivery = _delivery(call)
        user = self._project.user(call.text("loginId"))
        digits = call.text("code")
        code = self._codes.get(user)
        if code is None:
            raise Refusal(WRONG_CODE)
        if code.attempts_left == 0:
            raise Refusal(TOO_MANY_ATTEMPTS)
        if code.expires_at <= self._project.clock():
            raise Refusal(CODE_EXPIRED)
        is_right = hmac.compare_digest(code.digits.encode(), digits.encode())
        if not is_right or code.delivery != delivery:
            code.attempts_left -= 1
            raise Refusal(WRONG_CODE)
        del self._codes[user]
        if delivery == "email":
            user.verified_email = True
        else:
            user.verified_phone = True
        return self._project.finish(code.login, AMR[delivery])

    def _drafted(self, call: Call) -> User:
        details = {**call.members("user"), **call.body}
        given = {name: value for name, value in details.items() if isinstance(value, str)}
        return new_user(
            call.text("loginId"),
            created_at=int(self._project.clock()),
            email=given.get("email"),
            phone=given.get("phone") or given.get("voice") or given.get("whatsapp"),
            name=given.get("name", ""),
        )

    def _send(self, call: Call, login: Login) -> dict[str, object]:
        delivery = _delivery(call)
        user = login.user
        to = _address(user, delivery)
        self._count_send(user)
        code = Code(
            login,
            delivery,
            f"{secrets.randbelow(1_000_000):06d}",
            expires_at=self._project.clock() + self._code_lifetime,
            attempts_left=self._max_attempts,
        )
        self._codes[user] = code
        message = Message(
            delivery,
            to=to,
            login_id=call.text("loginId"),
            user_id=user.user_id,
            code=code.digits,
            step_up=login.step_up,
        )
        self._project.outbox.append(message)
        if delivery == "email":
            return {"maskedEmail": masked_email(to)}
        return {"maskedPhone": masked_phone(to)}

    def _count_send(self, user: User) -> None:
        now = self._project.clock()
        sends = [sent for sent in self._sends.get(user, []) if sent > now - self._sends_window]
        if len(sends) >= self._max_sends:
            wait = math.ceil(sends[0] + self._sends_window - now)
            raise Refusal(RATE_LIMITED, "Too many messages to this user", retry_after=wait)
        self._sends[user] = [*sends, now]


def _delivery(call: Call) -> str:
    delivery = call.path["delivery"]
    if delivery not in AMR:
        raise Refusal(NOT_FOUND, "No such delivery method")
    return delivery


def _address(user: User, delivery: str) -> str:
    address = user.email if delivery == "email" else user.phone
    if not address:
        raise Refusal(MISSING_ARGUMENT, "Missing email or phone")
    return address

"""One-time codes by e-mail, text message, call and WhatsApp (`/v1/auth/otp/`).

Known of the real service: codes have six digits and expire; a new code replaces the earlier one;
attempts are limited.

Guesses:
- The number of attempts, and that the limit is checked before the code.
- A code is bound to the delivery method it was sent by.
- Sign-up creates the user before the code is verified.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.routing import Route

from fastapi_stepup.testing.emulator.delivery import AMR, Delivery, delivery_of
from fastapi_stepup.testing.emulator.errors import (
    CODE_EXPIRED,
    TOO_MANY_ATTEMPTS,
    WRONG_CODE,
    Refusal,
)
from fastapi_stepup.testing.emulator.methods.signup import change_handlers, sign_in_handlers
from fastapi_stepup.testing.emulator.models import Call, Login, Message
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import Handler, post
from fastapi_stepup.testing.emulator.users import User


@dataclass
class Code:
    """The one live code of a user."""

    login: Login
    delivery: str
    digits: str = field(repr=False)
    expires_at: float
    attempts_left: int


class OTP:
    """Sign-up, sign-in, change of address and verification by one-time code.

    Args:
        project: The emulated project.
        delivery: Sends the codes.
    """

    def __init__(self, project: Project, delivery: Delivery) -> None:
        self._project = project
        self._delivery = delivery
        self._codes: dict[User, Code] = {}
        self._starts = sign_in_handlers(project, self.start)

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        starts = self._starts | {"verify": self.verify}
        handlers: dict[str, Handler] = {
            f"{action}/{{delivery}}": handler for action, handler in starts.items()
        }
        handlers |= change_handlers(self._project, self.start)
        return [
            post(self._project, f"/v1/auth/otp/{action}", handler)
            for action, handler in handlers.items()
        ]

    def sign_in(self, call: Call) -> Mapping[str, object]:
        """Send a code to an existing user and return the masked address."""
        return self._starts["signin"](call)

    def sign_up_or_in(self, call: Call) -> Mapping[str, object]:
        """Send a code to a user, new or not, and return the masked address."""
        return self._starts["signup-in"](call)

    def start(self, call: Call, login: Login) -> dict[str, object]:
        """Send a code and return the masked address."""
        digits = f"{secrets.randbelow(1_000_000):06d}"
        delivery = delivery_of(call, login)
        reply = self._delivery.send(call, login, delivery, code=digits)
        limits = self._project.limits
        self._codes[login.user] = Code(
            login,
            delivery,
            digits,
            expires_at=self._project.clock() + limits.code_lifetime,
            attempts_left=limits.max_attempts,
        )
        return reply

    def is_live(self, message: Message) -> bool:
        """Return whether the code of *message* would be accepted now."""
        now = self._project.clock()
        return any(
            (user.user_id, code.digits) == (message.user_id, message.code)
            and code.expires_at > now
            and code.attempts_left > 0
            for user, code in self._codes.items()
        )

    def verify(self, call: Call) -> dict[str, object]:
        """Verify a code and return the JWT response.

        Raises:
            Refusal: It is not the user's live code, or had too many attempts.
        """
        delivery = delivery_of(call)
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
        self._delivery.confirm(code.login, delivery)
        return self._project.finish(code.login, AMR[delivery])

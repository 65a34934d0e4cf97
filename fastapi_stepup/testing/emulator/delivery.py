"""Delivery: sends codes and links to a user's address, that is, to the outbox.

Known of the real service: the login id need not be the address of the message; the reply has the
address masked; messages to one user are limited.

Guesses: the size of the limit, that all methods share it, its error (429 `E130429`), and that calls
and instant messages count as `sms` in `amr`.
"""

import math
from collections.abc import Collection
from typing import Final

from fastapi_stepup.testing.emulator.errors import (
    MISSING_ARGUMENT,
    NOT_FOUND,
    RATE_LIMITED,
    Refusal,
)
from fastapi_stepup.testing.emulator.models import Call, Login, Message
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.users import User, masked_email, masked_phone

AMR: Final = {
    "email": "email",
    "sms": "sms",
    "voice": "sms",
    "whatsapp": "whatsapp",
    "im": "sms",
}
"""The `amr` value of each delivery method."""


class Delivery:
    """Sends messages to users: puts them into the project's outbox.

    Args:
        project: The emulated project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._sends: dict[User, list[float]] = {}

    def send(
        self,
        call: Call,
        login: Login,
        delivery: str,
        *,
        code: str = "",
        link: str = "",
        token: str = "",
    ) -> dict[str, object]:
        """Send a code or a link and return the masked address as in Descope's reply.

        Raises:
            Refusal: The user has no such address, or got too many messages.
        """
        to = self._address(login, delivery)
        self._count(login.user)
        message = Message(
            delivery,
            to=to,
            login_id=call.text("loginId"),
            user_id=login.user.user_id,
            code=code,
            step_up=login.step_up,
            link=link,
            token=token,
        )
        self._project.outbox.append(message)
        if delivery == "email":
            return {"maskedEmail": masked_email(to)}
        return {"maskedPhone": masked_phone(to)}

    def confirm(self, login: Login, delivery: str) -> None:
        """Mark the address of *delivery* as verified, and make a pending change of address.

        Raises:
            Refusal: The address was to become a login id and is another user's.
        """
        user = login.user
        if login.change:
            self._project.users.change(user, login.change)
        if delivery == "email":
            user.verified_email = True
        else:
            user.verified_phone = True

    def _address(self, login: Login, delivery: str) -> str:
        user = login.user
        if login.change:
            return login.change.address
        address = user.email if delivery == "email" else user.phone
        if not address:
            raise Refusal(MISSING_ARGUMENT, "Missing email or phone")
        return address

    def _count(self, user: User) -> None:
        now = self._project.clock()
        limits = self._project.limits
        sends = [sent for sent in self._sends.get(user, []) if sent > now - limits.sends_window]
        if len(sends) >= limits.max_sends:
            wait = math.ceil(sends[0] + limits.sends_window - now)
            raise Refusal(RATE_LIMITED, "Too many messages to this user", retry_after=wait)
        self._sends[user] = [*sends, now]


def delivery_of(
    call: Call, login: Login | None = None, *, among: Collection[str] = tuple(AMR)
) -> str:
    """Return the delivery method in the path; without one, that of the changed address.

    Args:
        call: The request.
        login: The started sign-in, with the address that changes.
        among: The delivery methods of the sign-in method.

    Raises:
        Refusal: It is none of *among*.
    """
    is_email = login is not None and login.change is not None and login.change.kind == "email"
    delivery = call.path.get("delivery", "email" if is_email else "sms")
    if delivery not in among:
        raise Refusal(NOT_FOUND, "No such delivery method")
    return delivery

"""The people of the emulator: known again after a restart, and one of them works here."""

import hashlib
from typing import Final

from fastapi_stepup.testing import DescopeEmulator, Message, User

STAFF: Final = "admin@tee-hee.example"
STAFF_PHONE: Final = "+15550100017"
STAFF_ROLE: Final = "admin"
INBOX_SIZE: Final = 3


def lasting_id(login_id: str) -> str:
    """Return the user id of *login_id*: the same in every run, so that orders find their owner."""
    return f"U2{hashlib.sha256(login_id.encode()).hexdigest()[:26]}"


class People:
    """The users of the emulator.

    Staff have a phone and an authenticator app besides the mailbox.

    Args:
        descope: The emulator; a project of your own has its people already.
    """

    def __init__(self, descope: DescopeEmulator) -> None:
        self.descope = descope
        staff = self.welcome(STAFF)
        staff.phone = STAFF_PHONE
        staff.roles = (STAFF_ROLE,)

    def welcome(self, login_id: str) -> User:
        """Return the user of *login_id*, who may be new."""
        try:
            return self.descope.user(login_id)
        except LookupError:
            user = self.descope.create_user(login_id)
            user.user_id = lasting_id(login_id)
            return user

    @property
    def inbox(self) -> list[Message]:
        """The last messages whose codes still work, the newest first."""
        live = [message for message in self.descope.outbox if self.descope.is_live(message)]
        return live[: -INBOX_SIZE - 1 : -1]

    @property
    def app_code(self) -> str:
        """What the authenticator app of the staff shows."""
        return self.descope.totp_code(STAFF)

"""Enchanted links (`/v1/auth/enchantedlink/`): opened anywhere, collected by the starting client.

Known of the real service:
- The page behind the link verifies the token and gets no session.
- The client that started polls with the pending reference; until then it gets 401 `E062503`.
- A message has three numbered links, of which `linkId` names the right one.

Guesses: the session is returned once; an unknown, expired or collected reference is answered 401
`E062504`.

Difference: the outbox has the right link only.
"""

import secrets
from collections.abc import Mapping
from typing import Final

from starlette.routing import Route

from fastapi_stepup.testing.emulator.delivery import AMR, Delivery, delivery_of
from fastapi_stepup.testing.emulator.errors import LINK_PENDING
from fastapi_stepup.testing.emulator.links import Links, PendingSignIns
from fastapi_stepup.testing.emulator.methods.signup import change_handlers, sign_in_handlers
from fastapi_stepup.testing.emulator.models import Call, Login
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import Handler, post

_DELIVERIES: Final = ("email", "sms")


class EnchantedLink:
    """Sign-up, sign-in, change of address, verification and collection by enchanted link.

    Args:
        project: The emulated project.
        delivery: Sends the links.
    """

    def __init__(self, project: Project, delivery: Delivery) -> None:
        self._project = project
        self._delivery = delivery
        self._links = Links(project)
        self._pending = PendingSignIns(project, LINK_PENDING)

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        starts = sign_in_handlers(self._project, self._start)
        handlers: dict[str, Handler] = {
            f"{action}/{{delivery}}": handler for action, handler in starts.items()
        }
        handlers |= change_handlers(self._project, self._start)
        handlers |= {"verify": self._verify, "pending-session": self._pending.collect}
        return [
            post(self._project, f"/v1/auth/enchantedlink/{action}", handler)
            for action, handler in handlers.items()
        ]

    def _start(self, call: Call, login: Login) -> dict[str, object]:
        delivery = delivery_of(call, login, among=_DELIVERIES)
        reference = self._pending.start()
        link = self._links.make(call, login, delivery, reference)
        masked = self._delivery.send(call, login, delivery, link=link.url, token=link.token)
        return {"pendingRef": reference, "linkId": f"{secrets.randbelow(90) + 10}", **masked}

    def is_live(self, token: str) -> bool:
        """Return whether the link of *token* would be accepted now."""
        return self._links.holds(token)

    def _verify(self, call: Call) -> Mapping[str, object]:
        self.open(call.text("token"))
        return {}

    def open(self, token: str) -> None:
        """Open the link of *token*: the client that waits gets the session.

        Raises:
            Refusal: It is unknown, expired, or used.
        """
        link = self._links.take(token)
        self._delivery.confirm(link.login, link.delivery)
        self._pending.complete(link.pending_ref, link.login, AMR[link.delivery])

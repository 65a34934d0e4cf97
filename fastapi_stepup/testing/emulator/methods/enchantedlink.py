"""Enchanted links (`/v1/auth/enchantedlink/`): clicked anywhere, collected where it began.

Known of the real service: the page that the link leads to verifies the token and gets nothing; the
one who started polls with the pending reference, and is answered 401 `E062503` until then. Guesses:
that the session is handed out once, and what answers an unknown, expired or collected reference
(401 `E062504`). The real message has three numbered links of which one is right, told by `linkId`;
the outbox has the right one.
"""

import secrets
from collections.abc import Mapping
from typing import Final

from starlette.routing import Route

from fastapi_stepup.testing.emulator.delivery import AMR, Courier, delivery_of
from fastapi_stepup.testing.emulator.errors import LINK_PENDING
from fastapi_stepup.testing.emulator.links import Links, WaitingRoom
from fastapi_stepup.testing.emulator.methods.signup import changes, ways_in
from fastapi_stepup.testing.emulator.project import Call, Login, Project
from fastapi_stepup.testing.emulator.routing import post

_DELIVERIES: Final = ("email", "sms")


class EnchantedLink:
    """Sign-up, sign-in, change of address, verification and collection by enchanted link.

    Args:
        project: Whose users sign in.
        courier: What sends the links.
    """

    def __init__(self, project: Project, courier: Courier) -> None:
        self._project = project
        self._courier = courier
        self._links = Links(project)
        self._waiting = WaitingRoom(project, LINK_PENDING)

    def routes(self) -> list[Route]:
        """Return the endpoints of this room."""
        ways = ways_in(self._project, self._start)
        handlers = {f"{action}/{{delivery}}": handler for action, handler in ways.items()}
        handlers |= changes(self._project, self._start)
        handlers |= {"verify": self._verify, "pending-session": self._waiting.collect}
        return [
            post(self._project, f"/v1/auth/enchantedlink/{action}", handler)
            for action, handler in handlers.items()
        ]

    def _start(self, call: Call, login: Login) -> dict[str, object]:
        delivery = delivery_of(call, login, among=_DELIVERIES)
        reference = self._waiting.enter()
        link = self._links.make(call, login, delivery, reference)
        masked = self._courier.send(call, login, delivery, link=link.url, token=link.token)
        return {"pendingRef": reference, "linkId": f"{secrets.randbelow(90) + 10}", **masked}

    def _verify(self, call: Call) -> Mapping[str, object]:
        link = self._links.take(call.text("token"))
        self._courier.confirm(link.login, link.delivery)
        self._waiting.settle(link.pending_ref, link.login, AMR[link.delivery])
        return {}

"""Magic links (`/v1/auth/magiclink/`).

Known of the real service: the link is the URI of the request with the token as parameter `t`; the
client that sends the token gets the session.

Guesses: a link works once and as long as a one-time code; a new link leaves earlier ones valid; the
status of the refusal.
"""

from collections.abc import Mapping
from typing import Final

from starlette.routing import Route

from fastapi_stepup.testing.emulator.delivery import AMR, Delivery, delivery_of
from fastapi_stepup.testing.emulator.links import Links
from fastapi_stepup.testing.emulator.methods.signup import change_handlers, sign_in_handlers
from fastapi_stepup.testing.emulator.models import Call, Login
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import post

_DELIVERIES: Final = ("email", "sms", "whatsapp", "im")


class MagicLink:
    """Sign-up, sign-in, change of address and verification by magic link.

    Args:
        project: The emulated project.
        delivery: Sends the links.
    """

    def __init__(self, project: Project, delivery: Delivery) -> None:
        self._project = project
        self._delivery = delivery
        self._links = Links(project)

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        starts = sign_in_handlers(self._project, self._start)
        handlers = {f"{action}/{{delivery}}": handler for action, handler in starts.items()}
        handlers |= change_handlers(self._project, self._start) | {"verify": self._verify}
        return [
            post(self._project, f"/v1/auth/magiclink/{action}", handler)
            for action, handler in handlers.items()
        ]

    def send(self, call: Call, login: Login, delivery: str) -> dict[str, object]:
        """Send a link by *delivery* and return the masked address."""
        link = self._links.make(call, login, delivery)
        return self._delivery.send(call, login, delivery, link=link.url, token=link.token)

    def _start(self, call: Call, login: Login) -> dict[str, object]:
        return self.send(call, login, delivery_of(call, login, among=_DELIVERIES))

    def _verify(self, call: Call) -> Mapping[str, object]:
        link = self._links.take(call.text("token"))
        self._delivery.confirm(link.login, link.delivery)
        return self._project.finish(link.login, AMR[link.delivery])

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
from fastapi_stepup.testing.emulator.links import Link, Links
from fastapi_stepup.testing.emulator.methods.signup import change_handlers, sign_in_handlers
from fastapi_stepup.testing.emulator.models import Call, Login
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import Handler, post

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
        self._starts = sign_in_handlers(project, self._start)

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        handlers: dict[str, Handler] = {
            f"{action}/{{delivery}}": handler for action, handler in self._starts.items()
        }
        handlers |= change_handlers(self._project, self._start) | {"verify": self._verify}
        return [
            post(self._project, f"/v1/auth/magiclink/{action}", handler)
            for action, handler in handlers.items()
        ]

    def sign_in(self, call: Call) -> Mapping[str, object]:
        """Send a link to an existing user and return the masked address."""
        return self._starts["signin"](call)

    def sign_up_or_in(self, call: Call) -> Mapping[str, object]:
        """Send a link to a user, new or not, and return the masked address."""
        return self._starts["signup-in"](call)

    def is_live(self, token: str) -> bool:
        """Return whether the link of *token* would be accepted now."""
        return self._links.holds(token)

    def open(self, token: str) -> Link:
        """Return the link of *token*, used up, with its address verified.

        Raises:
            Refusal: It is unknown, expired, or used.
        """
        link = self._links.take(token)
        self._delivery.confirm(link.login, link.delivery)
        return link

    def finish(self, link: Link) -> Mapping[str, object]:
        """Complete the sign-in of an opened link."""
        return self._project.finish(link.login, AMR[link.delivery])

    def send(self, call: Call, login: Login, delivery: str) -> dict[str, object]:
        """Send a link by *delivery* and return the masked address."""
        link = self._links.make(call, login, delivery)
        return self._delivery.send(call, login, delivery, link=link.url, token=link.token)

    def _start(self, call: Call, login: Login) -> dict[str, object]:
        return self.send(call, login, delivery_of(call, login, among=_DELIVERIES))

    def _verify(self, call: Call) -> Mapping[str, object]:
        return self.finish(self.open(call.text("token")))

"""Links with a token that works once, and sign-ins that wait for something done elsewhere.

A link is the URI that the request names, with the token as its parameter `t`; that page sends the
token back to Descope. A sign-in that waits is collected with its pending reference.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi_stepup.testing.emulator.errors import LINK_EXPIRED, Fault, Refusal
from fastapi_stepup.testing.emulator.project import Call, Login, Project

DEFAULT_URI: Final = "http://localhost:3000/verify"
"""The page that a link leads to when the request names none (a project setting of Descope's)."""


def with_query(uri: str, **parameters: str) -> str:
    """Return *uri* with *parameters* added to its query."""
    parts = urlsplit(uri)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *parameters.items()])
    return parts._replace(query=query).geturl()


@dataclass
class Link:
    """A link that was sent.

    Attributes:
        login: What it completes.
        delivery: How it was sent.
        expires_at: When it stops working.
        pending_ref: The sign-in that waits for the click, if one does.
        token: What verifies it.
        url: What the user clicks.
    """

    login: Login
    delivery: str
    expires_at: float
    pending_ref: str = field(default="", repr=False)
    token: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    url: str = field(default="", repr=False)


class Links:
    """The links that one method has sent.

    Args:
        project: Whose users they were sent to.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._by_token: dict[str, Link] = {}

    def make(self, call: Call, login: Login, delivery: str, pending_ref: str = "") -> Link:
        """Return a new link to the URI of *call*."""
        expires_at = self._project.clock() + self._project.limits.code_lifetime
        link = Link(login, delivery, expires_at, pending_ref)
        uri = call.body.get("URI") or call.body.get("redirectUrl") or DEFAULT_URI
        link.url = with_query(str(uri), t=link.token)
        self._by_token[link.token] = link
        return link

    def take(self, token: str) -> Link:
        """Return the link of *token*, which works no more from now on.

        Raises:
            Refusal: It is unknown, expired, or was taken before.
        """
        link = self._by_token.pop(token, None)
        if link is None:
            raise Refusal(LINK_EXPIRED, "Failed to load magic link token")
        if link.expires_at <= self._project.clock():
            raise Refusal(LINK_EXPIRED)
        return link


@dataclass
class _Wait:
    expires_at: float
    done: tuple[Login, str] | None = None


class WaitingRoom:
    """Sign-ins that wait until the user has done something elsewhere.

    Args:
        project: Whose users sign in.
        pending: The fault that answers while one waits.
    """

    def __init__(self, project: Project, pending: Fault) -> None:
        self._project = project
        self._pending = pending
        self._waits: dict[str, _Wait] = {}

    def enter(self) -> str:
        """Begin to wait and return the pending reference."""
        reference = secrets.token_hex(32)
        expires_at = self._project.clock() + self._project.limits.code_lifetime
        self._waits[reference] = _Wait(expires_at)
        return reference

    def settle(self, reference: str, login: Login, amr: str) -> None:
        """End the wait: *login* was done by *amr*.

        Raises:
            Refusal: The reference is unknown, expired, or settled and collected.
        """
        self._wait(reference).done = (login, amr)

    def collect(self, call: Call) -> Mapping[str, object]:
        """Answer `pending-session`: with the session, once, when the wait is over.

        Raises:
            Refusal: It is not over, or the reference is no good.
        """
        reference = call.text("pendingRef")
        wait = self._wait(reference)
        if wait.done is None:
            raise Refusal(self._pending)
        del self._waits[reference]
        return self._project.finish(*wait.done)

    def _wait(self, reference: str) -> _Wait:
        wait = self._waits.get(reference)
        if wait is None or wait.expires_at <= self._project.clock():
            raise Refusal(LINK_EXPIRED)
        return wait

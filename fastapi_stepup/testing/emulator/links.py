"""Links with a token that works once, and sign-ins that wait for something done elsewhere.

A link is the URI that the request names, with the token as its parameter `t`; that page sends the
token back to Descope. A sign-in that waits is collected with its pending reference.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi_stepup.testing.emulator.errors import LINK_EXPIRED, ErrorReply, Refusal
from fastapi_stepup.testing.emulator.models import Call, Login
from fastapi_stepup.testing.emulator.project import Project

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
        login: The sign-in that it completes.
        delivery: The delivery method.
        expires_at: When it expires, in seconds since the epoch.
        pending_ref: The reference of the pending sign-in, if there is one.
        token: The token that verifies it.
        url: The URL that the user opens.
    """

    login: Login
    delivery: str
    expires_at: float
    pending_ref: str = field(default="", repr=False)
    token: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    url: str = field(default="", repr=False)


class Links:
    """The links that one sign-in method has sent.

    Args:
        project: The emulated project.
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

    def holds(self, token: str) -> bool:
        """Return whether the link of *token* would be accepted now."""
        link = self._by_token.get(token)
        return link is not None and link.expires_at > self._project.clock()

    def take(self, token: str) -> Link:
        """Return the link of *token* and use it up.

        Raises:
            Refusal: It is unknown, expired, or used.
        """
        link = self._by_token.pop(token, None)
        if link is None:
            raise Refusal(LINK_EXPIRED, "Failed to load magic link token")
        if link.expires_at <= self._project.clock():
            raise Refusal(LINK_EXPIRED)
        return link


@dataclass
class _PendingSignIn:
    expires_at: float
    done: tuple[Login, str] | None = None


class PendingSignIns:
    """Sign-ins that wait until the user has completed them on another page or device.

    Args:
        project: The emulated project.
        pending: The error reply until then.
    """

    def __init__(self, project: Project, pending: ErrorReply) -> None:
        self._project = project
        self._pending = pending
        self._sign_ins: dict[str, _PendingSignIn] = {}

    def start(self) -> str:
        """Add a pending sign-in and return its reference."""
        reference = secrets.token_hex(32)
        expires_at = self._project.clock() + self._project.limits.code_lifetime
        self._sign_ins[reference] = _PendingSignIn(expires_at)
        return reference

    def complete(self, reference: str, login: Login, amr: str) -> None:
        """Complete the sign-in of *reference*: *login* was proved by *amr*.

        Raises:
            Refusal: The reference is unknown, expired, or collected.
        """
        self._sign_in(reference).done = (login, amr)

    def collect(self, call: Call) -> Mapping[str, object]:
        """Answer `pending-session`: with the session, once, when the sign-in is complete.

        Raises:
            Refusal: It is not complete, or the reference is unknown or expired.
        """
        reference = call.text("pendingRef")
        sign_in = self._sign_in(reference)
        if sign_in.done is None:
            raise Refusal(self._pending)
        del self._sign_ins[reference]
        return self._project.finish(*sign_in.done)

    def _sign_in(self, reference: str) -> _PendingSignIn:
        sign_in = self._sign_ins.get(reference)
        if sign_in is None or sign_in.expires_at <= self._project.clock():
            raise Refusal(LINK_EXPIRED)
        return sign_in

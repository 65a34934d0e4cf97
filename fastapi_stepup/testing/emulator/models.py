"""Values that the modules of the emulator pass to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi_stepup.testing.emulator.errors import INVALID_BODY, Refusal
from fastapi_stepup.testing.emulator.sessions import Session
from fastapi_stepup.testing.emulator.users import Change, User


@dataclass(frozen=True, slots=True)
class Message:
    """A message that Descope would have sent. Its `repr` shows neither code nor addresses.

    Attributes:
        delivery: `email`, `sms`, `voice`, `whatsapp` or `im`.
        to: The address or number it went to.
        login_id: The login id of the request that caused it.
        user_id: The id of the user that it was sent to.
        code: The one-time code; empty for a link.
        step_up: Whether the message completes a step-up.
        link: The URL that the user opens; empty for a code.
        token: The token in the link, which its page sends back to Descope.
    """

    delivery: str
    to: str = field(repr=False)
    login_id: str = field(repr=False)
    user_id: str
    code: str = field(default="", repr=False)
    step_up: bool = False
    link: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request that reached the emulator. Its `repr` shows neither headers nor body.

    Attributes:
        method: The HTTP method.
        path: The path, without the query and with doubled slashes made one.
        query: The query string, without the question mark.
        headers: The headers by lower-case name.
        json: The decoded body, or None when it is empty or not JSON.
    """

    method: str
    path: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    json: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A request to an endpoint of the project; its bearer began with the project id.

    Attributes:
        path: The variable parts of the path.
        body: The JSON body, empty when there was none.
        token: The JWT in the bearer, after the project id. In cookie mode the refresh cookie
            replaces a missing one.
        key: The first other part of the bearer after the project id: an access key.
        query: The parameters in the URL.
        base_url: The emulator's own URL, as the caller knows it.
    """

    path: Mapping[str, str]
    body: Mapping[str, object]
    token: str | None = field(repr=False)
    key: str = field(default="", repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    base_url: str = ""

    def text(self, name: str) -> str:
        """Return the string member *name* of the body.

        Raises:
            Refusal: It is missing, empty or no string.
        """
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise Refusal(INVALID_BODY, f"{name} must be a string and not empty")
        return value

    def members(self, name: str) -> Mapping[str, object]:
        """Return the object member *name* of the body; missing and `null` are empty.

        Raises:
            Refusal: It is no object.
        """
        return members_of(self.body, name)


def members_of(holder: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return the object member *name* of *holder*; missing and `null` are empty.

    Raises:
        Refusal: It is no object.
    """
    value = holder.get(name) or {}
    if not isinstance(value, Mapping):
        raise Refusal(INVALID_BODY, f"{name} must be an object")
    return value


@dataclass(frozen=True, slots=True)
class Purpose:
    """The result that a sign-in was started for.

    Attributes:
        step_up: Whether the session will be stepped up.
        session: The session that step-up and MFA start from.
        nested: The custom claims that the sign-in asked for.
        ends_others: Whether the user's other sessions end.
        tenant: The tenant that the new session has selected, if any.
    """

    step_up: bool = False
    session: Session | None = None
    nested: Mapping[str, object] = field(default_factory=dict)
    ends_others: bool = False
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """A started sign-in: its user and its purpose.

    The start of a step-up brings the refresh token; the verification does not. The purpose is
    therefore kept from the start to the verification.

    Attributes:
        user: The user who signs in.
        purpose: The result that the sign-in was started for.
        change: The address that the user gets with it.
    """

    user: User
    purpose: Purpose = field(default_factory=Purpose)
    change: Change | None = None

    @property
    def step_up(self) -> bool:
        """True if the session will be stepped up."""
        return self.purpose.step_up

"""Response parsers for Descope's API. Its JSON is described here and nowhere else.

A finished sign-in, a refresh: `sessionJwt`, `refreshJwt` (or a `DSR` cookie), `sessionExpiration`
(epoch seconds), `cookieMaxAge` (seconds, of the refresh cookie) and `user`. A started one:
`maskedEmail` or `maskedPhone`; `pendingRef` and `linkId` for links; `transactionId` and `options`
(JSON text) for passkeys; `url` for providers. `me`: the user. An error: `errorCode`, which alone is
looked at.
"""

from dataclasses import dataclass
from typing import Any, Final

from fastapi_stepup._http import HTTPFailure, HTTPResponse
from fastapi_stepup._json import parse_object
from fastapi_stepup._secret import Secret
from fastapi_stepup._urls import is_redirect_uri
from fastapi_stepup.errors import DescopeError
from fastapi_stepup.providers.descope.requests import Delivery

_MAX_TEXT: Final = 256
_MAX_URL: Final = 4096
_MAX_IMAGE: Final = 128 * 1024
_HIDDEN: Final = "***"


@dataclass(frozen=True, slots=True, repr=False)
class DescopeTokens:
    """Tokens of a response. Nothing about them is verified yet.

    Args:
        session_token: The session JWT.
        refresh_token: The refresh JWT; `None` when Descope kept the old one in force.
        session_expiration: When the session token ends, in epoch seconds, if stated.
        refresh_max_age: Lifetime of the refresh cookie in seconds, if stated.
    """

    session_token: str
    refresh_token: str | None
    session_expiration: int | None
    refresh_max_age: int | None


@dataclass(frozen=True, slots=True, repr=False)
class DescopeUser:
    """The user that a refresh token belongs to: id, login ids, addresses and factors on file.

    `totp` and `passkey` say whether an authenticator app or a passkey is enrolled, `providers`
    names the social providers that were used; `tenants` holds ids.
    """

    user_id: str
    login_ids: tuple[str, ...]
    email: str | None
    phone: str | None
    totp: bool = False
    passkey: bool = False
    providers: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()

    def can_receive(self, delivery: Delivery) -> bool:
        """Return whether an address for *delivery* is on file."""
        return self.address(delivery) is not None

    def login_id(self, delivery: Delivery | None = None) -> str:
        """Return the login id to sign in with: for a delivery the address, where it is one."""
        address = None if delivery is None else self.address(delivery)
        return address if address in self.login_ids else self.login_ids[0]

    def address(self, delivery: Delivery) -> str | None:
        """Return the address on file for *delivery*."""
        return self.email if delivery == "email" else self.phone


@dataclass(frozen=True, slots=True, repr=False)
class PendingLink:
    """An enchanted link on its way: what to poll with, which link to open, where it went."""

    pending_ref: str
    link_id: str
    destination: str


@dataclass(frozen=True, slots=True, repr=False)
class PendingMessage:
    """A WhatsApp message that the user has to send: what to poll with, and how to send it."""

    pending_ref: str
    authorization_uri: str
    image: str | None


@dataclass(frozen=True, slots=True, repr=False)
class PasskeyChallenge:
    """A WebAuthn challenge: options as the browser's `parseRequestOptionsFromJSON` takes them."""

    transaction_id: str
    options: dict[str, Any]


def read_tokens(reply: HTTPResponse) -> DescopeTokens:
    """Parse the tokens of a reply, in the body or (cookie mode) in its own `Set-Cookie` fields.

    Raises:
        DescopeError: There is no session token.
    """
    body = _object(reply)
    session = _text(body, "sessionJwt") or reply.cookie("DS")
    if session is None:
        raise DescopeError
    refresh = _text(body, "refreshJwt") or reply.cookie("DSR")
    return DescopeTokens(
        session_token=Secret(session),
        refresh_token=None if refresh is None else Secret(refresh),
        session_expiration=_number(body, "sessionExpiration"),
        refresh_max_age=_number(body, "cookieMaxAge"),
    )


def read_user(reply: HTTPResponse) -> DescopeUser:
    """Parse the user of a `me` reply.

    Raises:
        DescopeError: It names no user id or no login id.
    """
    body = _object(reply)
    user_id, login_ids = _text(body, "userId"), body.get("loginIds")
    if user_id is None or not isinstance(login_ids, list) or not login_ids:
        raise DescopeError
    if not all(isinstance(login_id, str) and login_id for login_id in login_ids):
        raise DescopeError
    # Go's JSON, which Descope's API speaks, does not tell letter cases of names apart.
    folded = {name.lower(): value for name, value in body.items()}
    providers, tenants = folded.get("oauth"), folded.get("usertenants")
    return DescopeUser(
        user_id,
        tuple(map(Secret, login_ids)),
        _secret_text(body, "email"),
        _secret_text(body, "phone"),
        totp=folded.get("totp") is True,
        passkey=folded.get("webauthn") is True,
        providers=tuple(p for p, used in providers.items() if used is True)
        if isinstance(providers, dict)
        else (),
        tenants=tuple(
            t["tenantId"]
            for t in tenants
            if isinstance(t, dict) and isinstance(t.get("tenantId"), str)
        )
        if isinstance(tenants, list)
        else (),
    )


def read_destination(reply: HTTPResponse, delivery: Delivery) -> str:
    """Parse the masked address that a code or link went to.

    Raises:
        DescopeError: It is missing or not printable text.
    """
    return _masked(_object(reply), "maskedEmail" if delivery == "email" else "maskedPhone")


def read_pending_link(reply: HTTPResponse) -> PendingLink:
    """Parse the start of an enchanted link.

    Raises:
        DescopeError: A part of it is missing.
    """
    body = _object(reply)
    link_id = body.get("linkId")
    return PendingLink(
        Secret(_required(body, "pendingRef", _MAX_TEXT)),
        str(link_id) if type(link_id) is int else _required(body, "linkId", _MAX_TEXT),
        _masked(body, "maskedEmail"),
    )


def read_done(reply: HTTPResponse) -> None:
    """Parse a reply that tells no more than that it is done.

    Raises:
        DescopeError: It is no JSON object, so it is not Descope's.
    """
    _object(reply)


def read_pending_message(reply: HTTPResponse) -> PendingMessage:
    """Parse the start of a WhatsApp sign-in by the user's own message.

    Raises:
        DescopeError: A part of it is missing, or its URL is none for a browser.
    """
    body = _object(reply)
    image = _text(body, "image")
    return PendingMessage(
        Secret(_required(body, "pendingRef", _MAX_TEXT)),
        _web_url(body, "redirectUrl"),
        image if image is None or len(image) <= _MAX_IMAGE else None,
    )


def read_passkey_challenge(reply: HTTPResponse) -> PasskeyChallenge:
    """Parse the start of a WebAuthn sign-in.

    Raises:
        DescopeError: A part of it is missing, or `options` is not JSON text of an object.
    """
    body = _object(reply)
    options = parse_object(_required(body, "options", _MAX_IMAGE).encode())
    if options is None:
        raise DescopeError
    public_key = options.get("publicKey", options)
    if not isinstance(public_key, dict):
        raise DescopeError
    return PasskeyChallenge(Secret(_required(body, "transactionId", _MAX_TEXT)), public_key)


def read_authorization_uri(reply: HTTPResponse) -> str:
    """Parse where to send the user for a provider's login.

    Raises:
        DescopeError: It is missing, or no URL that a browser may be sent to.
    """
    return _web_url(_object(reply), "url")


def error_code(reply: HTTPResponse) -> str:
    """Return Descope's error code, or the empty string where there is none."""
    try:
        code = reply.json_object().get("errorCode")
    except HTTPFailure:
        return ""
    return code if isinstance(code, str) else ""


def _object(reply: HTTPResponse) -> dict[str, Any]:
    try:
        return reply.json_object()
    except HTTPFailure:
        pass
    raise DescopeError


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def _secret_text(body: dict[str, Any], name: str) -> str | None:
    value = _text(body, name)
    return None if value is None else Secret(value)


def _required(body: dict[str, Any], name: str, longest: int) -> str:
    value = _text(body, name)
    if value is None or len(value) > longest:
        raise DescopeError
    return value


def _masked(body: dict[str, Any], name: str) -> str:
    masked = _required(body, name, _MAX_TEXT)
    if not masked.isprintable():
        raise DescopeError
    # An address too short to mask would come back whole.
    return masked if "*" in masked else _HIDDEN


def _web_url(body: dict[str, Any], name: str) -> str:
    """Return a URL that a browser may be sent to: https, or http on a loopback host."""
    url = _required(body, name, _MAX_URL)
    if not is_redirect_uri(url):
        raise DescopeError
    return url


def _number(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    return value if type(value) is int and value > 0 else None

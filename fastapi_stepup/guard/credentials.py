"""Credentials: from a connection to the one session token it presents, or a refusal."""

import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from starlette.requests import HTTPConnection

from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._urls import serialized_origin
from fastapi_stepup.errors import (
    ConfigurationError,
    CrossSiteRequest,
    InvalidRequest,
    Unauthenticated,
)

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

_AUTHORIZATION_LENGTH: Final = len(b"authorization")
_COOKIE_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BEARER: Final = re.compile(r"[ \t]*bearer(?![!#$%&'*+.^_`|~0-9a-z-])", re.IGNORECASE | re.ASCII)
_HTTP_SCHEMES: Final = {"ws": "http", "wss": "https"}


class Credential(NamedTuple):
    """The one token that a request presents, and which way it came."""

    token: str
    source: Literal["header", "cookie"]

    def __repr__(self) -> str:
        return f"Credential(source={self.source!r})"


class CredentialReader(SetOnce):
    """Finds the session token of a request: exactly one, the `Authorization` field first.

    A field that is there but unusable, even an empty one, never falls through to a cookie. Tokens
    in the query, in a form or under other names are not looked for (RFC 9700 section 2.1, RFC 6750
    section 2). A cookie authenticates an unsafe method or a WebSocket only with same-origin
    evidence: `Sec-Fetch-Site`, or for a caller without it an `Origin` that is the request's own.
    Does not look into the token.

    Args:
        session_cookie: Name of the cookie that holds the session token; `None` reads no cookies.
        refresh_cookie: Name of the cookie that holds the refresh token; `None` reads none.
        allowed_origins: Origins (`https://app.example.com`) whose pages may use the cookies too.

    Raises:
        ConfigurationError: A cookie name or an origin is malformed.
    """

    def __init__(
        self,
        *,
        session_cookie: str | None = "DS",
        refresh_cookie: str | None = "DSR",
        allowed_origins: Iterable[str] = (),
    ) -> None:
        for name in (session_cookie, refresh_cookie):
            if name is not None and not (isinstance(name, str) and _COOKIE_NAME.fullmatch(name)):
                msg = f"{name!r} is not a cookie name; None turns reading it off."
                raise ConfigurationError(msg)
        if session_cookie is not None and session_cookie == refresh_cookie:
            msg = "session_cookie and refresh_cookie must differ."
            raise ConfigurationError(msg)
        self.session_cookie = session_cookie
        self.refresh_cookie = refresh_cookie
        several = isinstance(allowed_origins, Iterable) and not isinstance(allowed_origins, str)
        listed = tuple(allowed_origins) if several else (None,)
        if None in map(serialized_origin, listed):
            msg = 'allowed_origins is a tuple of origins such as "https://app.example.com".'
            raise ConfigurationError(msg)
        self.allowed_origins: frozenset[str | None] = frozenset(map(serialized_origin, listed))

    def read(self, connection: HTTPConnection) -> Credential:
        """Return the session token that *connection* presents.

        Raises:
            Unauthenticated: There is none.
            InvalidRequest: There are several, or the `Authorization` field cannot be read.
            CrossSiteRequest: A cookie came where it needs same-origin evidence, without any.
        """
        token = self._authorization(connection)
        if token is not None:
            return Credential(token, "header")
        token = self._cookie(connection, self.session_cookie)
        if token is None:
            raise Unauthenticated
        self.require_same_origin(connection)
        return Credential(token, "cookie")

    def token(self, connection: HTTPConnection) -> str:
        """Return the session token alone; raises as `read`."""
        token = self._authorization(connection)
        return self.read(connection).token if token is None else token

    def refresh_token(self, connection: HTTPConnection) -> str | None:
        """Return the refresh token in the refresh cookie, if there is one.

        Raises:
            InvalidRequest: The cookie comes twice, so one of them may be planted.
        """
        return self._cookie(connection, self.refresh_cookie)

    def page_origin(self, connection: HTTPConnection) -> str | None:
        """Return the origin of the page that sent the request, if it is one that may.

        That is this app's own origin or one of `allowed_origins`, as the browser wrote it; `None`
        without an `Origin` field, or for any other origin.
        """
        origins = _fields(connection, b"origin")
        origin = serialized_origin(origins[0]) if len(origins) == 1 else None
        if origin is None or origin not in {
            *self.allowed_origins,
            _own_origin(connection),
        }:
            return None
        return origins[0].lower()

    def _authorization(self, connection: HTTPConnection) -> str | None:
        field = None
        for name, value in header_fields(connection):
            if len(name) == _AUTHORIZATION_LENGTH and name.lower() == b"authorization":
                if field is not None:
                    raise InvalidRequest
                field = value
        return None if field is None else _bearer_token(field.decode("latin-1"))

    def _cookie(self, connection: HTTPConnection, name: str | None) -> str | None:
        if name is None:
            return None
        prefix = name + "="
        # By hand: http.cookies lets the last duplicate win and unquotes values.
        values = [
            pair.strip(" \t").removeprefix(prefix)
            for field in _fields(connection, b"cookie")
            for pair in field.split(";")
            if pair.strip(" \t").startswith(prefix)
        ]
        if len(values) > 1:
            raise InvalidRequest
        return values[0] or None if values else None

    def require_same_origin(self, connection: HTTPConnection) -> None:
        """Check that a page of this app or of an allowed origin sent *connection*.

        Raises:
            CrossSiteRequest: Nothing shows it, and the request may change something.
        """
        scope = connection.scope
        if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
            return
        origins = _fields(connection, b"origin")
        sites = _fields(connection, b"sec-fetch-site")
        origin = serialized_origin(origins[0]) if len(origins) == 1 else None
        if origin is not None and origin in self.allowed_origins:
            return
        # Sec-Fetch-Site is written by the browser and cannot be set by a page.
        same = sites in (["same-origin"], ["none"])
        if not sites:
            same = origin is not None and origin == _own_origin(connection)
        if not same or len(origins) > 1:
            raise CrossSiteRequest


def _bearer_token(field: str) -> str:
    """Return the credentials of a `Bearer` field (RFC 9110 section 11.6.2)."""
    usual = field.startswith("Bearer ")
    found = None if usual else _BEARER.match(field)
    if not usual and found is None:
        raise Unauthenticated
    # An odd separator, a tab or a line fold, stays on the token and so makes it an invalid one.
    token = field[found.end() if found else 7 :].rstrip(" \t").lstrip(" ")
    if not token or "," in token:
        raise InvalidRequest
    return token


def header_fields(connection: HTTPConnection) -> list[tuple[bytes, bytes]]:
    """Return the header fields; ASGI allows any iterable, which may be good for one use only."""
    fields = connection.scope["headers"]
    return fields if type(fields) is list else connection.headers.raw


def _fields(connection: HTTPConnection, name: bytes) -> list[str]:
    return [
        value.decode("latin-1")
        for field, value in header_fields(connection)
        if field.lower() == name
    ]


def _own_origin(connection: HTTPConnection) -> str | None:
    hosts = _fields(connection, b"host")
    scheme = connection.scope.get("scheme", "http")
    return (
        serialized_origin(f"{_HTTP_SCHEMES.get(scheme, scheme)}://{hosts[0]}")
        if len(hosts) == 1
        else None
    )

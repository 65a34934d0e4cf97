"""Credentials: from a connection to the one session token it presents, or a refusal."""

import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._log import logger
from fastapi_stepup._urls import is_loopback, serialized_origin
from fastapi_stepup.errors import (
    ConfigurationError,
    CrossSiteRequest,
    InvalidRequest,
    Unauthenticated,
)

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BEARER: Final = re.compile(r"[ \t]*bearer(?![!#$%&'*+.^_`|~0-9a-z-])", re.IGNORECASE | re.ASCII)
_BARE: Final = re.compile(r"[ \t]*[^ \t,]+[ \t]*")
_HTTP_SCHEMES: Final = {"ws": "http", "wss": "https"}


class Credential(NamedTuple):
    """The one token that a request presents, and the way it came."""

    token: str
    source: Literal["header", "cookie"]

    def __repr__(self) -> str:
        return f"Credential(source={self.source!r})"


class CredentialReader(SetOnce):
    """Finds the session token of a request: exactly one, the header field first.

    - A field that is there but unusable, even an empty one, never falls through to a cookie.
    - Tokens in the query, in a form or under other names are not looked for (RFC 9700 section 2.1,
      RFC 6750 section 2).
    - A cookie authenticates an unsafe method or a WebSocket only with same-origin evidence. That is
      `Sec-Fetch-Site`, or for a caller without it an `Origin` that is the request's own.
    - Does not look into the token.

    Args:
        session_cookie: Name of the cookie that holds the session token; `None` reads no cookies.
        refresh_cookie: Name of the cookie that holds the refresh token; `None` reads none.
        allowed_origins: Origins (`https://app.example.com`) whose pages may use the cookies too.
        header: Name of the field with the token. In any other than `Authorization`, the token may
            also stand without `Bearer` in front.
        other_schemes: Schemes of the `Authorization` field that are not for this app, such as
            `("Basic",)` where a proxy asks for a password. A field with one counts as absent.
        safe_methods: Methods that a cookie authenticates without same-origin evidence. Leave out
            `"GET"` where GET requests change something: then a link from another site is refused.

    Raises:
        ConfigurationError: An argument cannot be used; the message says what can.
    """

    def __init__(
        self,
        *,
        session_cookie: str | None = "DS",
        refresh_cookie: str | None = "DSR",
        allowed_origins: Iterable[str] = (),
        header: str = "Authorization",
        other_schemes: Iterable[str] = (),
        safe_methods: Iterable[str] = SAFE_METHODS,
    ) -> None:
        for name in (session_cookie, refresh_cookie):
            if name is not None and not (isinstance(name, str) and _TOKEN.fullmatch(name)):
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
        if (
            not isinstance(header, str)
            or not _TOKEN.fullmatch(header)
            or header.lower() == "cookie"
        ):
            msg = f"header is the name of a header field other than Cookie, not {header!r}."
            raise ConfigurationError(msg)
        self.header: str = header.lower()
        self.other_schemes: frozenset[str] = frozenset(
            s.lower() for s in _tokens("other_schemes", other_schemes)
        )
        if "bearer" in self.other_schemes:
            msg = "other_schemes are those of others: Bearer is the one of the session token."
            raise ConfigurationError(msg)
        self.safe_methods: frozenset[str] = frozenset(_tokens("safe_methods", safe_methods))
        if not self.safe_methods <= SAFE_METHODS:
            msg = f"safe_methods are some of {', '.join(sorted(SAFE_METHODS))}."
            raise ConfigurationError(msg)
        self._warned = False
        self._field_name = self.header.encode()
        self._takes_bare_token = self.header != "authorization"

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
        return Credential(self._from_cookie(connection), "cookie")

    def token(self, connection: HTTPConnection) -> str:
        """Return the session token alone; raises as `read`.

        Asks `read` of a subclass that has one, unless the subclass has a `token` as well.
        """
        kind = type(self)
        if kind.read is not CredentialReader.read and kind.token is CredentialReader.token:
            return self.read(connection).token
        token = self._authorization(connection)
        return self._from_cookie(connection) if token is None else token

    def has_token_field(self, connection: HTTPConnection) -> bool:
        """Return whether the header field of the session token is there, usable or not.

        A field with one of `other_schemes` counts as absent.
        """
        return any(
            _scheme(field) not in self.other_schemes
            for field in _fields(connection, self._field_name)
        )

    def refresh_token(self, connection: HTTPConnection) -> str | None:
        """Return the refresh token in the refresh cookie, if there is one.

        Raises:
            InvalidRequest: The cookie has two values, so one of them may be planted.
        """
        return self._cookie(connection, self.refresh_cookie)

    def page_origin(self, connection: HTTPConnection) -> str | None:
        """Return the origin of the page that sent the request, if it is one that may.

        That is the `Origin` field as the browser wrote it, if it is one of `allowed_origins`, or
        the app's own both by the `Host` field and by the address at which the server listens
        (`scope["server"]`; on a loopback host each name of the host counts). The `Host` field alone
        is not enough: what leaves the app must not come from there. So behind a proxy the app's own
        origin belongs into `allowed_origins`.

        `None` without an `Origin` field, or for any other origin.
        """
        origins = _fields(connection, b"origin")
        origin = serialized_origin(origins[0]) if len(origins) == 1 else None
        if origin is None:
            return None
        if origin not in self.allowed_origins:
            if origin != _own_origin(connection):
                return None
            if not _is_servers_own(connection, origin):
                self._warn_about_host()
                return None
        return origins[0].lower()

    def _warn_about_host(self) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "The origin of a page is known from the Host field alone, which proves nothing. If "
                'it is yours, name it: allowed_origins=["https://app.example.com"].'
            )

    def _authorization(self, connection: HTTPConnection) -> str | None:
        name, length = self._field_name, len(self._field_name)
        field: str | None = None
        for each, value in header_fields(connection):
            if len(each) != length or each.lower() != name:
                continue
            text = value.decode("latin-1")
            if self.other_schemes and _scheme(text) in self.other_schemes:
                continue
            if field is not None:
                raise InvalidRequest
            field = text
        if field is None:
            return None
        if self._takes_bare_token and _BARE.fullmatch(field):
            return field.strip(" \t")
        return _bearer_token(field)

    def _from_cookie(self, connection: HTTPConnection) -> str:
        """Return the session token in the cookie, where it may authenticate *connection*."""
        token = self._cookie(connection, self.session_cookie)
        if token is None:
            raise Unauthenticated
        self.require_same_origin(connection)
        return token

    def _cookie(self, connection: HTTPConnection, name: str | None) -> str | None:
        if name is None:
            return None
        prefix = name + "="
        # By hand: http.cookies lets the last duplicate win and unquotes values.
        values = set()
        for field in _fields(connection, b"cookie"):
            for pair in field.split(";"):
                stripped = pair.strip(" \t")
                if stripped.startswith(prefix):
                    values.add(stripped[len(prefix) :])
        # One value under two paths or domains is one session; of two values, one may be planted.
        if len(values) > 1:
            raise InvalidRequest
        return values.pop() or None if values else None

    def require_same_origin(self, connection: HTTPConnection) -> None:
        """Check that a page of this app or of an allowed origin sent *connection*.

        Raises:
            CrossSiteRequest: Nothing shows it, and the request may change something.
        """
        scope = connection.scope
        if scope["type"] == "http" and scope["method"] in self.safe_methods:
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
    length = len(name)
    return [
        value.decode("latin-1")
        for field, value in header_fields(connection)
        if len(field) == length and field.lower() == name
    ]


def _own_origin(connection: HTTPConnection) -> str | None:
    hosts = _fields(connection, b"host")
    return _origin(connection, hosts[0]) if len(hosts) == 1 else None


def _is_servers_own(connection: HTTPConnection, origin: str) -> bool:
    """Return whether *origin* is the address at which the server listens."""
    host, port = connection.scope.get("server") or (None, None)
    if not isinstance(host, str) or port is None:
        return False
    own = _origin(connection, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if own is None or own == origin:
        return own is not None
    one, other = urlsplit(own), urlsplit(origin)
    return (one.scheme, one.port) == (other.scheme, other.port) and (
        is_loopback(one.hostname or "") and is_loopback(other.hostname or "")
    )


def _origin(connection: HTTPConnection, authority: str) -> str | None:
    scheme = connection.scope.get("scheme", "http")
    return serialized_origin(f"{_HTTP_SCHEMES.get(scheme, scheme)}://{authority}")


def _scheme(field: str) -> str:
    return field.strip(" \t").partition(" ")[0].lower()


def _tokens(name: str, values: Iterable[str]) -> tuple[str, ...]:
    listed = () if isinstance(values, str) or not isinstance(values, Iterable) else tuple(values)
    is_given = not isinstance(values, str) and isinstance(values, Iterable)
    if not is_given or not all(isinstance(v, str) and _TOKEN.fullmatch(v) for v in listed):
        msg = f"{name} is a tuple of words, not {values!r}."
        raise ConfigurationError(msg)
    return listed


def reader_from(
    reader: CredentialReader | None,
    *,
    session_cookie: str | None,
    refresh_cookie: str | None,
    allowed_origins: Iterable[str],
    defaults: tuple[str | None, str | None] = ("DS", "DSR"),
) -> CredentialReader:
    """Return *reader*, or one with the other options, whose cookies have *defaults*.

    Raises:
        ConfigurationError: *reader* is something else, or comes with other options.
    """
    if reader is None:
        return CredentialReader(
            session_cookie=session_cookie,
            refresh_cookie=refresh_cookie,
            allowed_origins=allowed_origins,
        )
    if not isinstance(reader, CredentialReader):
        msg = f"credentials is a CredentialReader, not {type(reader).__name__}."
        raise ConfigurationError(msg)
    if (session_cookie, refresh_cookie, allowed_origins) != (*defaults, ()):
        msg = "Give session_cookie, refresh_cookie and allowed_origins to the CredentialReader."
        raise ConfigurationError(msg)
    return reader

"""The cookies that a finished step-up sets."""

from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from fastapi_stepup._log import logger
from fastapi_stepup._options import flag, one_of
from fastapi_stepup._urls import is_loopback, serialized_origin
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.guard.credentials import CredentialReader

SameSite = Literal["lax", "strict", "none"]

_SAME_SITE: Final[tuple[SameSite, ...]] = ("lax", "strict", "none")
_PREFIXES: Final = ("__Secure-", "__Host-")
_FORWARDED: Final = ("forwarded", "x-forwarded-proto", "x-forwarded-for", "x-forwarded-host")


@dataclass(frozen=True, slots=True)
class CookieAttributes:
    """Attributes of the cookies, as far as the app sets them; `None` leaves them to us.

    Args:
        domain: `Domain`; `None` is this very host.
        secure: `Secure`. By default always, but for plain http on a loopback host.
        http_only: `HttpOnly` of the session cookie. By default true, unless the page keeps the
            refresh token itself: it manages the session cookie then.
        same_site: `SameSite`. By default `"lax"`; `"strict"` for a session cookie that the page
            manages, as Descope's browser SDK writes it.
    """

    domain: str | None = None
    secure: bool | None = None
    http_only: bool | None = None
    same_site: SameSite | None = None


def checked_attributes(
    attributes: CookieAttributes, credentials: CredentialReader
) -> CookieAttributes:
    """Return *attributes* if a browser takes cookies with them.

    Raises:
        ConfigurationError: An attribute is something else, or a browser would drop the cookie
            (RFC 6265bis sections 4.1.3 and 5.7).
    """
    secure, same_site = attributes.secure, attributes.same_site
    if secure is not None:
        flag("cookie_secure", secure)
    if attributes.http_only is not None:
        flag("cookie_http_only", attributes.http_only)
    if same_site is not None:
        one_of("cookie_same_site", same_site, _SAME_SITE)
    names = [name or "" for name in (credentials.session_cookie, credentials.refresh_cookie)]
    if attributes.domain is not None and any(name.startswith("__Host-") for name in names):
        msg = "A cookie named __Host-… has no domain: leave cookie_domain out."
        raise ConfigurationError(msg)
    if secure is False and any(name.startswith(_PREFIXES) for name in names):
        msg = "A cookie named __Secure-… or __Host-… is always Secure: leave cookie_secure out."
        raise ConfigurationError(msg)
    if secure is False and same_site == "none":
        msg = 'Browsers drop SameSite=None without Secure: change cookie_same_site="none".'
        raise ConfigurationError(msg)
    return attributes


class CookieWriter:
    """Sets the session cookie and the refresh cookie of one router.

    Args:
        attributes: What the app says about them.
        credentials: Their names.
    """

    def __init__(self, attributes: CookieAttributes, credentials: CredentialReader) -> None:
        self._attributes = checked_attributes(attributes, credentials)
        self._credentials = credentials
        self._warned = False

    def set_session(
        self, response: Response, request: Request, token: str, lifetime: int, *, by_script: bool
    ) -> None:
        """Set the session cookie.

        Args:
            response: Gets the cookie.
            request: The request that it answers.
            token: The session token.
            lifetime: Seconds until it expires.
            by_script: True if the page keeps the refresh token itself, so that it can also renew
                and delete this cookie.
        """
        http_only = self._attributes.http_only
        cookie = {
            "key": self._credentials.session_cookie,
            "value": token,
            "max_age": lifetime,
            # HttpOnly would protect nothing from a script that holds the refresh token, and would
            # keep it from ending the session.
            "httponly": not by_script if http_only is None else http_only,
            "samesite": self._attributes.same_site or ("strict" if by_script else "lax"),
        }
        self._set(response, request, cookie)

    def set_refresh(self, response: Response, request: Request, token: str, lifetime: int) -> None:
        """Set the refresh cookie. It is always `HttpOnly`: scripts had no access to the old one.

        Args:
            response: Gets the cookie.
            request: The request that it answers.
            token: The refresh token.
            lifetime: Seconds until it expires.
        """
        cookie = {
            "key": self._credentials.refresh_cookie,
            "value": token,
            "max_age": lifetime,
            "httponly": True,
            "samesite": self._attributes.same_site or "lax",
        }
        self._set(response, request, cookie)

    def _set(self, response: Response, request: Request, cookie: dict[str, Any]) -> None:
        secure = self._attributes.secure
        if secure is None:
            needed = cookie["key"].startswith(_PREFIXES) or cookie["samesite"] == "none"
            secure = needed or not _is_plain_loopback(request)
        if secure and not self._warned and _is_plain_http(request):
            self._warned = True
            logger.warning(
                "A step-up set Secure cookies for a request over plain http, where browsers drop "
                "them. If a proxy speaks https, let the server trust its X-Forwarded-Proto; if "
                "users really come over http, say stepup_router(cookie_secure=False)."
            )
        response.set_cookie(**cookie, path="/", domain=self._attributes.domain, secure=secure)


def _is_plain_http(request: HTTPConnection) -> bool:
    """Return whether the browser most likely speaks plain http; its `Origin` knows best."""
    if request.scope.get("scheme", "http") != "http":
        return False
    origin = request.headers.get("origin", "").lower()
    if origin.startswith("https:"):
        return False
    return not any(
        "https" in value.lower()
        for name in ("forwarded", "x-forwarded-proto")
        for value in request.headers.getlist(name)
    )


def _is_plain_loopback(request: HTTPConnection) -> bool:
    """Return whether the browser speaks plain http to this machine, with no proxy in between.

    A proxy may rewrite `Host` to a loopback address. So the `Origin` must agree where there is
    one, as browsers send it with each POST, and no forwarding field may be there.
    """
    if request.scope.get("scheme", "http") != "http":
        return False
    if any(name in request.headers for name in _FORWARDED):
        return False
    urls = [f"http://{host}" for host in request.headers.getlist("host")]
    urls += request.headers.getlist("origin")
    return bool(urls) and all(map(_is_http_loopback, urls))


def _is_http_loopback(url: str) -> bool:
    origin = serialized_origin(url)
    if origin is None or not origin.startswith("http:"):
        return False
    host = urlsplit(origin).hostname or ""
    return is_loopback(host) or host.endswith(".localhost")

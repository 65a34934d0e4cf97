"""Rules for URLs and origins that come from configuration, requests and replies."""

import re
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi_stepup._log import logger
from fastapi_stepup._options import plain
from fastapi_stepup.errors import ConfigurationError

_MAX_PRINTABLE: Final = 0x7E
_PORTS: Final = {"https": 443, "http": 80}
_UNWANTED: Final = frozenset('@?#\\%"<>^`{|}')
_UNSAFE: Final = frozenset(' "<>\\')  # Browsers read some of them as something else.
_ORIGIN: Final = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_warned_about: Final[set[str]] = set()


def checked_base_url(name: str, value: Any) -> str:
    """Return *value* as a base URL: scheme and host in lower case, no trailing slash.

    Paths are appended to it as text, so a path in it stays. The default port is left out.

    Args:
        name: The option's name, for the message.
        value: An https URL; plain http only for a loopback host, which logs one warning.

    Raises:
        ConfigurationError: Another scheme, plain http to another host, no host, user info, a
            query, a fragment, a dot segment, or a character that does not belong into a URL.
    """
    msg = (
        f"{name} must be an https URL such as https://api.descope.com (plain http only for a "
        "loopback host), without user info, query and fragment."
    )
    value = plain(value)
    if not isinstance(value, str):
        msg = f"{msg.removesuffix('.')}; {type(value).__name__} is no text."
        raise ConfigurationError(msg)
    if not all(" " < c <= chr(_MAX_PRINTABLE) for c in value):
        raise ConfigurationError(msg)
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigurationError(msg) from None
    unwanted = not _UNWANTED.isdisjoint(value) or not {".", ".."}.isdisjoint(parts.path.split("/"))
    if parts.scheme not in _PORTS or not host or unwanted or port == 0:
        raise ConfigurationError(msg)
    if parts.scheme == "http":
        if not is_loopback(host):
            raise ConfigurationError(msg)
        if parts.netloc not in _warned_about:
            _warned_about.add(parts.netloc)
            logger.warning("%s is plain http on a loopback host: for development only.", name)
    authority = f"[{host}]" if ":" in host else host
    if port is not None and port != _PORTS[parts.scheme]:
        authority += f":{port}"
    return f"{parts.scheme}://{authority}{parts.path.rstrip('/')}"


def checked_redirect_uri(name: str, value: Any) -> str:
    """Return *value*, unchanged, when it is a base URL that may have a query besides.

    Raises:
        ConfigurationError: It is no base URL, or its query is not percent-encoded.
    """
    text = plain(value)
    if not isinstance(text, str):
        return checked_base_url(name, text)  # It says which type that is.
    base, _, query = text.partition("?")
    checked_base_url(name, base)
    if not query.isascii() or not query.isprintable() or any(c in query for c in ' #"<>\\'):
        msg = f"The query of a URI in {name} must be percent-encoded and without a fragment."
        raise ConfigurationError(msg)
    return text


def is_redirect_uri(value: str) -> bool:
    """Return whether a browser may be sent to *value*: https, or http on a loopback host."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    host = parts.hostname or ""
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    is_plain = value.isascii() and value.isprintable() and _UNSAFE.isdisjoint(value)
    return bool(host) and is_safe and is_plain


def is_loopback(host: str) -> bool:
    """Return whether *host* can only be this machine: `localhost`, `127.0.0.0/8` or `::1`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def origin_of(url: str) -> str:
    """Return scheme, host and port of *url*, as an issuer on that host would start."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def serialized_origin(value: object) -> str | None:
    """Return a serialized origin (RFC 6454 section 6.2) in lower case and with its port.

    `None` when *value* is anything else, `"null"` included. URL objects write a slash after the
    host, which is no part of an origin, so one is ignored there.
    """
    text = plain(value)
    if text is not value and isinstance(text, str):
        text = text.removesuffix("/")
    found = _ORIGIN.fullmatch(text.lower()) if isinstance(text, str) else None
    if found is None:
        return None
    scheme, host, port = found.groups()
    return f"{scheme}://{host}:{port or _PORTS[scheme]}"

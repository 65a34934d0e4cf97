"""Protection of the admin API from web pages that its user happens to visit.

The admin API needs no credentials, and a browser reaches loopback for any page. Refused are:

- a request that a page of a foreign origin sends, read or not (`Origin`, `Sec-Fetch-Site`);
- a request under a host name that is not this machine's, on a loopback socket: a page whose name
  was changed to this address (DNS rebinding) is of the same origin and sends no `Origin`.

Does not protect from other programs, nor from other machines where the socket is not loopback.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

LOOPBACK_ORIGIN: Final = r"https?://(localhost|127(\.\d+){3}|\[::1\])(:\d+)?"


def is_loopback(host: str) -> bool:
    """Return whether *host* is an address or name of this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    # A socket of both families names IPv4 addresses in this form.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def is_foreign(scope: Scope) -> bool:
    """Return whether a request comes from a page that has no business here."""
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    # A socket is named by its address; an in-process client puts the host of its URL here.
    server = (scope.get("server") or ("",))[0]
    if is_loopback(server) and not is_loopback(_name_of(host)):
        return True
    origin = headers.get("origin")
    if origin is not None:
        own = f"{scope['scheme']}://{host}"
        return origin != own and re.fullmatch(LOOPBACK_ORIGIN, origin) is None
    navigates = headers.get("sec-fetch-mode") == "navigate"
    return headers.get("sec-fetch-site") == "cross-site" and not navigates


def _name_of(host: str) -> str:
    """Return the host without its port; empty for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""

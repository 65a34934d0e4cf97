"""The name under which a browser asks a server of this machine; against DNS rebinding."""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope


def is_local_name(host: str) -> bool:
    """Return whether *host* is an address or name of this machine (RFC 6761 section 6.3)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    # A socket of both families names IPv4 addresses in this form.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def is_rebound(scope: Scope) -> bool:
    """Return whether a loopback socket is asked under a name that is not this machine's.

    A page whose name was changed to this address (DNS rebinding) is of the same origin and sends
    no `Origin`. Does not protect a socket that is not loopback.
    """
    # A socket is named by its address; an in-process client puts the host of its URL here.
    server = (scope.get("server") or ("",))[0]
    host = Headers(scope=scope).get("host", "")
    return is_local_name(server) and not is_local_name(hostname_in(f"//{host}"))


def hostname_in(url: str) -> str:
    """Return the host of *url*, without its port; empty for what is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""

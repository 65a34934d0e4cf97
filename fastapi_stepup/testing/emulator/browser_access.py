"""Protection of the admin API from web pages that its user happens to visit.

The admin API needs no credentials, and a browser reaches loopback for any page. Refused are:

- a request that a page of a foreign origin sends, read or not (`Origin`, `Sec-Fetch-Site`);
- a request under a host name that is not this machine's, on a loopback socket: a page whose name
  was changed to this address (DNS rebinding) is of the same origin and sends no `Origin`.

Does not protect from other programs, nor from other machines where the socket is not loopback.
"""

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from fastapi_stepup.web.host_names import is_rebound

LOOPBACK_ORIGIN: Final = r"https?://(localhost|127(\.\d+){3}|\[::1\])(:\d+)?"


def is_foreign(scope: Scope) -> bool:
    """Return whether a request comes from a page that has no business here."""
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if is_rebound(scope):
        return True
    origin = headers.get("origin")
    if origin is not None:
        own = f"{scope['scheme']}://{host}"
        return origin != own and re.fullmatch(LOOPBACK_ORIGIN, origin) is None
    navigates = headers.get("sec-fetch-mode") == "navigate"
    return headers.get("sec-fetch-site") == "cross-site" and not navigates

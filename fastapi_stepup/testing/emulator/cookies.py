"""Session cookies in the cookie jar of a test's HTTP client, as in a browser's."""

from typing import Any
from urllib.parse import urlsplit

from fastapi_stepup.testing.emulator.sessions import Tokens


def put_cookies(client: Any, tokens: Tokens) -> None:
    """Put *tokens* into the cookie jar of *client*, in place of earlier ones.

    Later requests of the client carry both cookies and `Sec-Fetch-Site: same-origin`, as those of a
    page of the app do. `Set-Cookie` of the app's host replaces or deletes them.

    Args:
        client: A `TestClient`, a client of `httpx` or `httpx2`, or a `requests.Session`.
        tokens: The tokens of a sign-in.

    Raises:
        TypeError: *client* has no cookie jar of that kind.
    """
    jar: Any = getattr(client, "cookies", None)
    headers: Any = getattr(client, "headers", None)
    if not callable(getattr(jar, "set", None)) or not hasattr(headers, "__setitem__"):
        raise TypeError(
            "client is a TestClient, a client of httpx or httpx2, or a requests.Session, "
            f"not {type(client).__name__}."
        )
    host = urlsplit(str(getattr(client, "base_url", ""))).hostname or ""
    host = f"[{host}]" if ":" in host else host
    # http.cookiejar adds ".local" to a host without dots. The same domain here makes one cookie of
    # this one and the app's own.
    domain = f"{host}.local" if host and "." not in host else host
    for name, value in tokens.cookies.items():
        jar.set(name, value, domain=domain, path="/")
    headers["Sec-Fetch-Site"] = "same-origin"

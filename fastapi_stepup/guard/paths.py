"""Paths of the app's own routes, as a client of this host has to write them."""

from typing import Any
from urllib.parse import quote

from starlette.requests import HTTPConnection
from starlette.routing import NoMatchFound


def paths_of(connection: HTTPConnection, *names: str) -> tuple[str, ...] | None:
    """Return the paths of the routes called *names* in the app that serves *connection*.

    `root_path` is in front of each. They are never built from the `Host` field. `None` when the
    app does not have all of them.
    """
    scope = connection.scope
    outer_root = scope.get("app_root_path", scope.get("root_path", ""))
    # The innermost app too: an outer one cannot name the routes of a named mount.
    places: list[tuple[Any, str]] = [
        (scope.get("router"), outer_root),
        (scope.get("app"), scope.get("root_path", "")),
    ]
    for provider, root in places:
        try:
            return tuple(_of_this_host(root, provider.url_path_for(name)) for name in names)
        except (NoMatchFound, AttributeError):
            continue  # Not mounted there, or not in an app that routes by name.
    return None


def _of_this_host(root: str, path: str) -> str:
    """Return *root* and *path* as a path of the same host, whatever a path parameter put in."""
    joined = f"{root.rstrip('/')}{path}".lstrip("/")
    return quote(f"/{joined}", safe="/:@!$&'()*+,;=", errors="replace")

"""Paths of the app's own routes, as a client of this host has to write them.

Every path that the package hands out is built here: the URIs of challenges, the script's tag.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from starlette.convertors import Convertor
from starlette.requests import HTTPConnection
from starlette.routing import Host, Match, Mount

_BELOW: Final = "/{path}"  # what Starlette adds to the template of a mount
_PARAMETER: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class _Template:
    """The path template of a named route, prefixes of its mounts included."""

    name: str
    text: str
    convertors: tuple[tuple[str, Convertor[Any]], ...]

    def filled(self, values: Mapping[str, Any]) -> str | None:
        """Return the path with *values* in it, or `None` if it needs other ones."""
        texts: dict[str, str] = {}
        for name, convertor in self.convertors:
            if name not in values or name in texts:
                return None  # Of two parameters with one name, the request tells one value only.
            try:
                texts[name] = convertor.to_string(values[name])
            except (AssertionError, TypeError, ValueError):
                return None
        return _PARAMETER.sub(lambda found: texts[found[1]], self.text)


def paths_of(connection: HTTPConnection, *names: str) -> tuple[str, ...] | None:
    """Return the paths of the routes called *names* in the app that serves *connection*.

    - Looks through mounts, named or not, and included routers, from the outermost router down; then
      in the innermost app, in case the outermost cannot be looked through.
    - Of several routes with one name takes the nearest: the one whose path shares the most segments
      with the request's.
    - Parameters in a path get the values that they have in this request.
    - Each path starts with `root_path` and with exactly one slash, so that no browser reads a host
      in it. It is percent-encoded. Nothing of it comes from the `Host` field.

    Returns `None` when the app does not have all of them, or when a value would lead to another
    place (dot segments).
    """
    scope = connection.scope
    top = scope.get("router")
    top_root = scope.get("app_root_path", scope.get("root_path", ""))
    found = _nearest(scope, top, top_root, names)
    if found is None:
        inner = scope.get("app")
        found = _nearest(scope, inner, _root_of(scope, inner), names)
    return found


def _nearest(
    scope: Mapping[str, Any], app: Any, root: str, names: Collection[str]
) -> tuple[str, ...] | None:
    values = scope.get("path_params", {})
    here = _below(root, scope.get("path", "")).split("/")
    best: dict[str, tuple[int, str]] = {}
    for template in _templates(scope, app, frozenset(names)):
        path = template.filled(values)
        if path is None:
            continue
        nearness = _shared_segments(path.split("/"), here)
        if template.name not in best or nearness > best[template.name][0]:
            best[template.name] = nearness, path
    paths = [of_this_host(root, best[name][1]) if name in best else None for name in names]
    return None if None in paths else tuple(path for path in paths if path is not None)


def _templates(
    scope: Mapping[str, Any],
    app: Any,
    names: frozenset[str],
    prefix: str = "",
    convertors: tuple[tuple[str, Convertor[Any]], ...] = (),
) -> Iterator[_Template]:
    """Yield the templates of the routes called *names* in *app* and in what is mounted in it."""
    for route in routes_in(app):
        if isinstance(route, Mount):
            below = prefix + route.path_format.removesuffix(_BELOW)
            own = tuple(item for item in route.param_convertors.items() if item[0] != "path")
            yield from _templates(scope, route.app, names, below, convertors + own)
        elif isinstance(route, Host):
            # A path alone leads to no other host.
            if route.matches(dict(scope))[0] is not Match.NONE:
                yield from _templates(scope, route.app, names, prefix, convertors)
        elif getattr(route, "name", None) in names:
            own = tuple(route.param_convertors.items())
            yield _Template(route.name, prefix + route.path_format, convertors + own)


def router_in(app: Any) -> Any:
    """Return what has routes inside of the middleware *app*: an app or a router, or `None`."""
    while app is not None and not has_routes(app):
        app = getattr(app, "app", None)
    return app


def has_routes(app: Any) -> bool:
    """Return whether *app* has routes of its own; an ASGI app may call something else so."""
    return isinstance(getattr(app, "routes", None), Sequence)


def routes_in(app: Any) -> Iterable[Any]:
    """Yield the routes of *app*, through middleware around it and included routers in it."""
    for route in getattr(router_in(app), "routes", ()):
        # FastAPI keeps an included router as one route, since 0.13x; its routes have prefixes.
        contexts = getattr(route, "effective_route_contexts", None)
        if contexts is None:
            yield route
        else:
            for context in contexts():
                yield getattr(context, "starlette_route", None) or context


def _root_of(scope: Mapping[str, Any], app: Any) -> str:
    """Return the path under which *app* was entered, although it may have mounts itself."""
    root: str = scope.get("root_path", "")
    segments = root.split("/")
    for length in range(len(segments), 0, -1):
        entered = "/".join(segments[:length])
        inside = {**scope, "root_path": entered}
        if any(route.matches(inside)[0] is not Match.NONE for route in routes_in(app)):
            return entered
    return root


def _below(root: str, path: str) -> str:
    return path[len(root) :] if root and path.startswith(root) else path


def _shared_segments(one: list[str], other: list[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def of_this_host(root: str, path: str) -> str | None:
    """Return *root* and *path* as a path of the same host, whatever a path parameter put in.

    `None` where it would lead to another place (dot segments).
    """
    joined = f"{root.rstrip('/')}{path}".lstrip("/")
    if not {".", ".."}.isdisjoint(joined.split("/")):
        return None
    return quote(f"/{joined}", safe="/:@!$&'()*+,;=", errors="replace")

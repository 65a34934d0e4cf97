"""guarded_routes: the guarded and the open routes of an app."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from fastapi import routing
from starlette.endpoints import HTTPEndpoint
from starlette.routing import Host, Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from fastapi_stepup.guard.conditions import Conditional, Once, asked_by, purpose_in
from fastapi_stepup.guard.credentials import SAFE_METHODS
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.markers import marked
from fastapi_stepup.guard.paths import has_routes
from fastapi_stepup.policy.policy import StepUpPolicy
from fastapi_stepup.web.dependencies import RequireSession
from fastapi_stepup.web.middleware import StepUpMiddleware
from fastapi_stepup.web.rule_coverage import required_everywhere
from fastapi_stepup.web.rules import HTTP_METHODS, Asked

EntryPoint = Literal["dependency", "middleware", "decorator", "helper"]

WEBSOCKET: Final = "WEBSOCKET"
ANY_METHOD: Final = "*"

# FastAPI 0.137 and later keep included routers as nodes that have no path.
flat_routes: Final[Callable[[Iterable[Any]], Iterable[Any]]] = getattr(
    routing, "iter_route_contexts", iter
)

# Middlewares of a guard, each with the path that it sees as its root.
Outer = tuple[tuple[StepUpMiddleware, str], ...]
Guards = tuple[StepUpGuard, ...]
EntryPoints = tuple[tuple[EntryPoint, Asked], ...]


@dataclass(frozen=True, slots=True)
class GuardedRoute:
    """One route of an app and the entry points that guard it.

    Args:
        path: The path template, prefixes of routers and mounts included.
        methods: HTTP methods; `WEBSOCKET` for a WebSocket route, `*` for a mounted app that
            cannot be looked into.
        entry_points: The entry points that guard it, outermost first, each with what it asks for: a
            policy, also for one use or with a condition (its text then ends in `once for payment`
            or `when over_limit`), or less. Helper
            routes that need no session (status, the page of an enchanted link) count as
            `("helper", "public")`: they are open on purpose, and safe to be.
    """

    path: str
    methods: frozenset[str]
    entry_points: EntryPoints

    @property
    def doors(self) -> EntryPoints:
        """The same as `entry_points`, by the name that it had first."""
        return self.entry_points

    @property
    def is_open(self) -> bool:
        """True if no entry point of the guard is in front of it."""
        return not self.entry_points

    @property
    def mutates(self) -> bool:
        """True if it takes anything but safe methods (RFC 9110 section 9.2.1)."""
        return not self.methods <= SAFE_METHODS

    @property
    def asks_step_up(self) -> bool | Literal["sometimes"]:
        """True if one of its entry points asks for more than a session; a condition: sometimes."""
        if any(isinstance(access, (StepUpPolicy, Once)) for _, access in self.entry_points):
            return True
        has_conditions = any(isinstance(access, Conditional) for _, access in self.entry_points)
        return "sometimes" if has_conditions else False

    @property
    def once(self) -> tuple[str, ...]:
        """The purposes for which one step-up is good for one use here; usually none."""
        purposes = (purpose_in(access) for _, access in self.entry_points)
        return tuple(dict.fromkeys(purpose for purpose in purposes if purpose is not None))


def guarded_routes(app: ASGIApp, guard: StepUpGuard) -> list[GuardedRoute]:
    """Return every route of *app* with the entry points of *guard* in front of it.

    For a test that no mutating route is open:

    ```python
    assert [r.path for r in guarded_routes(app, guard) if r.mutates and r.is_open] == []
    ```

    - Sees dependencies on routes, routers and the app, `requires_step_up`, and `StepUpMiddleware`
      on or around the app, on mounts and on mounted apps.
    - Looks into included routers, mounts and `Host` routes.
    - Lists a route once for each group of methods that is guarded alike.
    - Counts a route as open where any value of its path's parameters is open.
    - Counts what `any_of` made as its members too: a route that asks one of them is guarded.
    - Does not see calls of `guard.authorize` inside handlers, nor the files of `app.frontend`.
    """
    return [route for _, _, route in owned_routes(app, guard)]


def owned_routes(
    app: ASGIApp, guard: StepUpGuard, *, alone: bool = False
) -> Iterator[tuple[Any, str, GuardedRoute]]:
    """Yield what `guarded_routes` returns, each with the app that has the route and its path.

    Args:
        app: The app.
        guard: The guard.
        alone: Leave out the entry points of the guards that *guard* was made of.
    """
    guards = (guard,) if alone else tuple(dict.fromkeys((guard, *guard.members)))
    return _walk_app(app, guards, "", ())


def _walk_app(
    app: Any, guards: Guards, prefix: str, outer: Outer
) -> Iterator[tuple[Any, str, GuardedRoute]]:
    """Yield the routes of an ASGI app that is reachable under *prefix* behind *outer*."""
    app, outer = _unwrapped(app, guards, prefix, outer)
    if not has_routes(app):
        methods = {"GET", "HEAD"} if isinstance(app, StaticFiles) else {ANY_METHOD}
        for route in _grouped(f"{prefix}/{{path:path}}", methods, outer, ()):
            yield app, prefix, route
        return
    for middleware in getattr(app, "user_middleware", ()):
        if middleware.cls is StepUpMiddleware:
            outer += _standing(StepUpMiddleware(app, **middleware.kwargs), guards, prefix)
    for route in flat_routes(app.routes):
        original = getattr(route, "_effective_route", route)
        if isinstance(original, Host):
            yield from _walk_app(original.app, guards, prefix, outer)
        elif isinstance(original, Mount):
            yield from _walk_app(original.app, guards, prefix + original.path, outer)
        else:
            for found in _walk_route(original, guards, prefix, outer):
                yield app, prefix, found


def _unwrapped(app: Any, guards: Guards, prefix: str, outer: Outer) -> tuple[Any, Outer]:
    """Return the app inside of all its middleware, and the middlewares in front of it."""
    inner = app
    while inner is not None:
        app = inner
        if isinstance(app, StepUpMiddleware):
            outer += _standing(app, guards, prefix)
        elif has_routes(app):
            break
        inner = getattr(app, "app", None)
    return app, outer


def _walk_route(route: Any, guards: Guards, prefix: str, outer: Outer) -> Iterator[GuardedRoute]:
    inner = getattr(route, "app", None)
    while isinstance(inner, StepUpMiddleware):
        outer += _standing(inner, guards, prefix)
        inner = inner.app
    entry_points = dict.fromkeys((*_decorated(route, guards), *_dependencies(route, guards)))
    yield from _grouped(prefix + route.path, _methods(route), outer, tuple(entry_points))


def _standing(middleware: StepUpMiddleware, guards: Guards, prefix: str) -> Outer:
    return ((middleware, prefix),) if middleware.guard in guards else ()


def _methods(route: Any) -> set[str]:
    if isinstance(route, WebSocketRoute):
        return {WEBSOCKET}
    endpoint = getattr(route, "endpoint", None)
    if isinstance(endpoint, type) and issubclass(endpoint, HTTPEndpoint):
        handled = {method for method in HTTP_METHODS if hasattr(endpoint, method.lower())}
        return set(route.methods or handled)
    return set(getattr(route, "methods", None) or {ANY_METHOD})


def _grouped(
    path: str, methods: Iterable[str], outer: Outer, inner: EntryPoints
) -> Iterator[GuardedRoute]:
    """Yield a route once for each group of its methods that is guarded alike."""
    groups: dict[EntryPoints, set[str]] = {}
    for method in sorted(methods):
        entry_points: dict[tuple[EntryPoint, Asked], None] = {}
        for middleware, prefix in outer:
            entry_points.update(dict.fromkeys(_asked(middleware, prefix, path, method)))
        groups.setdefault((*entry_points, *inner), set()).add(method)
    for group, members in groups.items():
        yield GuardedRoute(path, frozenset(members), group)


def _asked(middleware: StepUpMiddleware, prefix: str, path: str, method: str) -> EntryPoints:
    """Return what a middleware asks of a route, nothing if it opens any part of it."""
    methods: Iterable[str | None] = (method,)
    if method == WEBSOCKET:
        methods = (None,)
    elif method == ANY_METHOD:
        methods = (None, ANY_METHOD, *HTTP_METHODS)
    relative = path.removeprefix(prefix) or "/"
    variants = [required_everywhere(middleware.table, relative, each) for each in methods]
    if () in variants:
        return ()
    accesses = dict.fromkeys(access for variant in variants for access in variant)
    return tuple(("middleware", access) for access in accesses)


def _dependencies(route: Any, guards: Guards) -> Iterator[tuple[EntryPoint, Asked]]:
    waiting = [getattr(route, "dependant", None)]
    while waiting:
        dependant: Any = waiting.pop()
        if dependant is None:
            continue
        call = dependant.call
        if isinstance(call, RequireSession) and call.guard in guards:
            yield "dependency", _asked_by(call)
        waiting.extend(dependant.dependencies)


def _asked_by(dependency: RequireSession) -> Asked:
    if dependency.policy is None:
        return "session"
    return asked_by(dependency.policy, dependency.when, dependency.once)


def _decorated(route: Any, guards: Guards) -> Iterator[tuple[EntryPoint, Asked]]:
    endpoint = getattr(route, "endpoint", None)
    endpoint = getattr(endpoint, "dispatch", endpoint)
    while endpoint is not None:
        for each in guards:
            access = marked(endpoint, each)
            if access is None:
                continue
            yield ("helper" if access == "public" else "decorator"), access
        endpoint = getattr(endpoint, "__wrapped__", None)

"""The policies that all entry points of a route ask, so that one challenge can name them.

RFC 9470 section 3 wants all shortfalls in one challenge. A client that is told of one policy at a
time has to step up once for each.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

from starlette.requests import HTTPConnection
from starlette.routing import Host, Match, Mount

from fastapi_stepup.guard.conditions import Once, asked_by
from fastapi_stepup.guard.markers import marked
from fastapi_stepup.guard.paths import router_in, routes_in
from fastapi_stepup.policy.policy import StepUpPolicy

RULES_SCOPE_KEY: Final = "fastapi_stepup.rules"

_DEEPEST: Final = 16  # mounts within mounts


def keep_rules(connection: HTTPConnection, guard: object, required: tuple[object, ...]) -> None:
    """Keep what a middleware of *guard* asks of this connection: policies, or a session.

    A `Conditional` is kept here too, once its condition said yes.
    """
    known: Mapping[object, tuple[object, ...]] | None = connection.scope.get(RULES_SCOPE_KEY)
    if known is None:
        connection.scope[RULES_SCOPE_KEY] = {guard: required}
    else:
        connection.scope[RULES_SCOPE_KEY] = {**known, guard: known.get(guard, ()) + required}


def policies_of_route(connection: HTTPConnection, guard: object) -> tuple[StepUpPolicy, ...]:
    """Return what the entry points of *guard* ask of this route, the outermost first.

    - Sees rules of middleware in front, dependencies of app, routers and route, and the decorator.
    - Looks the route up itself where routing is still to come.
    - Counts a conditional policy only where its condition said yes to this request already.
    - Does not see calls of `guard.authorize` inside a handler.
    """
    scope = connection.scope
    kept = scope.get(RULES_SCOPE_KEY, {}).get(guard, ())
    route = serving_route(scope)
    asked = [
        *(each.policy if isinstance(each, Once) else each for each in kept if _is_always(each)),
        *_of_dependencies(route, guard, kept),
        *_of_endpoint(scope.get("endpoint") or getattr(route, "endpoint", None), guard),
    ]
    return tuple(dict.fromkeys(asked))


def _is_always(asked: object) -> TypeGuard[StepUpPolicy | Once]:
    """Return whether it is a policy that is asked without a condition of a dependency."""
    return isinstance(asked, (StepUpPolicy, Once))


def serving_route(scope: Mapping[str, Any]) -> Any:
    """Return the route that serves *scope*, with the dependencies of routers that include it."""
    route = scope.get("route")
    if route is None:
        return route_ahead(scope, scope.get("app"))
    if isinstance(route, (Mount, Host)):
        return route_ahead(scope, route.app)
    return matched_route(scope)


def matched_route(scope: Mapping[str, Any]) -> Any:
    """Return the route in *scope*, with the dependencies of all routers that include it."""
    route = scope.get("route")
    # FastAPI 0.137 and later: a route as it is where a router was included.
    context = scope.get("fastapi", {}).get("effective_route_context")
    return context if context is not None and context.original_route is route else route


def route_ahead(scope: Mapping[str, Any], app: Any) -> Any:
    """Return the route of *app* that will serve *scope*, or `None`.

    - Respects the method, the order of the routes, mounts and hosts.
    - Does not see a middleware below that changes the path.

    Args:
        scope: The connection as *app* gets it.
        app: The app, or middleware around it.
    """
    scope = dict(scope)
    for _ in range(_DEEPEST):
        app = router_in(app)
        if getattr(app, "root_path", ""):
            scope["root_path"] = app.root_path  # as FastAPI does
        for route in routes_in(app):
            match, child = route.matches(scope)
            if match is Match.FULL:
                break
        else:
            return None
        if not isinstance(route, (Mount, Host)):
            return route
        app, scope = route.app, {**scope, **child}
    return None


def is_value_taken(connection: HTTPConnection, dependency: object) -> bool:
    """Return whether the handler, or a dependency, takes the value of *dependency*."""
    dependants = _dependants(serving_route(connection.scope))
    return any(each.call == dependency and each.name is not None for each in dependants)


def _of_dependencies(route: Any, guard: object, kept: tuple[object, ...]) -> Iterator[StepUpPolicy]:
    for dependant in _dependants(route):
        # `RequireSession` is of a layer above; it is known by what it has.
        policy = getattr(dependant.call, "policy", None)
        if isinstance(policy, StepUpPolicy) and getattr(dependant.call, "guard", None) is guard:
            when = getattr(dependant.call, "when", None)
            once = getattr(dependant.call, "once", None)
            if when is None or asked_by(policy, when, once) in kept:
                yield policy


def _dependants(route: Any) -> Iterator[Any]:
    """Yield the dependants of *route* but those that are overridden, in FastAPI's order."""
    provider = getattr(route, "dependency_overrides_provider", None)
    overrides = getattr(provider, "dependency_overrides", None) or {}
    waiting = [*reversed(getattr(getattr(route, "dependant", None), "dependencies", ()))]
    while waiting:
        dependant: Any = waiting.pop()
        if overrides and dependant.call in overrides:
            continue
        yield dependant
        # Popped from the end, so in the order in which FastAPI runs them.
        waiting.extend(reversed(dependant.dependencies))


def _of_endpoint(endpoint: Any, guard: object) -> Iterator[StepUpPolicy]:
    endpoint = getattr(endpoint, "dispatch", endpoint)
    while endpoint is not None:
        access = marked(endpoint, guard)
        if isinstance(access, StepUpPolicy):
            yield access
        endpoint = getattr(endpoint, "__wrapped__", None)

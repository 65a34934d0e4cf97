"""`routes`: each route of an app, with what its entry points ask for."""

from starlette.applications import Starlette

from fastapi_stepup.cli.loading import LoadingFailed, guards, load
from fastapi_stepup.cli.output import Report, Row, Section
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.web.route_inventory import EntryPoint, GuardedRoute, guarded_routes
from fastapi_stepup.web.rules import Asked


def list_routes(target: str) -> Report:
    """Return the routes of the app *target*.

    A route counts as open if no guard of the process is in front of it. Does not see calls of
    `guard.authorize` inside handlers.

    Raises:
        LoadingFailed: There is no such app, or it has no guard.
    """
    app = load(target)
    found = guards()
    if not found:
        msg = "There is no guard in this app: make one with StepUpGuard.for_descope(…)."
        raise LoadingFailed(msg)
    listed = routes_of(app, found)
    rows = tuple(
        Row(
            (" ".join(sorted(route.methods)), route.path, _asked(route), _entry_points(route)),
            "bad" if route.is_open and route.mutates else "note" if route.is_open else None,
        )
        for route in listed
    )
    data = {
        "routes": [
            {
                "path": route.path,
                "methods": sorted(route.methods),
                "open": route.is_open,
                "mutates": route.mutates,
                "asks_step_up": route.asks_step_up,
                "once": list(route.once),
                "entry_points": [
                    {"entry_point": kind, "asks": str(access)}
                    for kind, access in route.entry_points
                ],
            }
            for route in listed
        ]
    }
    table = Section("Routes", ("methods", "path", "asks for", "entry points"), rows)
    open_ones = [route for route in listed if route.is_open and route.mutates]
    summary = f"{len(listed)} routes, {len(open_ones)} open ones change state."
    return Report((table,), data, summary, found=bool(open_ones))


def routes_of(app: Starlette, guards: list[StepUpGuard]) -> list[GuardedRoute]:
    """Return each route of *app* once, with the entry points of all *guards*."""
    return _joined([guarded_routes(app, guard) for guard in guards])


def open_routes(report: Report, *, mutating: bool) -> list[str]:
    """Return the paths of open routes; with *mutating* only of those that change state."""
    return [
        route["path"]
        for route in report.data["routes"]
        if route["open"] and (route["mutates"] or not mutating)
    ]


def _joined(by_guard: list[list[GuardedRoute]]) -> list[GuardedRoute]:
    """Return each route once, with the entry points of all guards."""
    asked_at: dict[tuple[str, str], list[tuple[EntryPoint, Asked]]] = {}
    for routes in by_guard:
        for route in routes:
            for method in route.methods:
                known = asked_at.setdefault((route.path, method), [])
                known.extend(each for each in route.entry_points if each not in known)
    grouped: dict[tuple[str, tuple[tuple[EntryPoint, Asked], ...]], set[str]] = {}
    for (path, method), asked in asked_at.items():
        grouped.setdefault((path, tuple(asked)), set()).add(method)
    return [
        GuardedRoute(path, frozenset(methods), asked) for (path, asked), methods in grouped.items()
    ]


def _asked(route: GuardedRoute) -> str:
    if route.is_open:
        return "OPEN" if route.mutates else "open"
    return ", ".join(dict.fromkeys(str(access) for _, access in route.entry_points))


def _entry_points(route: GuardedRoute) -> str:
    return ", ".join(dict.fromkeys(kind for kind, _ in route.entry_points))

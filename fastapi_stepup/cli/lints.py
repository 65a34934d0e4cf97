"""Lints of an app: what it asks that cannot work, or not as it was meant."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.routing import Host, Mount

from fastapi_stepup._urls import is_loopback
from fastapi_stepup.browser.assets import stepup_script_routes
from fastapi_stepup.claims import Claims
from fastapi_stepup.cli.findings import Finding
from fastapi_stepup.guard.conditions import Conditional, policy_in
from fastapi_stepup.guard.credentials import SAFE_METHODS
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.paths import router_in
from fastapi_stepup.guard.step_up_endpoints import StepUpEndpoints
from fastapi_stepup.policy.policy import StepUpPolicy
from fastapi_stepup.web.route_inventory import GuardedRoute, flat_routes, guarded_routes

# What a project's sessions live by default; a step-up ends with its session token.
USUAL_LIFETIME: Final = 600

# A session to try policies on: with a first factor, since `mfa` is met by any second one.
_BY_PASSWORD: Final = Claims({"sub": "U2", "amr": ["pwd"]})
_ASSETS: Final = frozenset(route.path for route in stepup_script_routes())
_MOST: Final = 3


@dataclass(frozen=True, slots=True)
class GuardedApp:
    """An app as one of its guards sees it.

    Args:
        guard: The guard.
        routes: All routes, with the entry points of this guard.
        names: The names of all routes.
    """

    guard: StepUpGuard
    routes: list[GuardedRoute]
    names: frozenset[str | None]

    @property
    def mounted(self) -> list[StepUpEndpoints]:
        """The helper routers of the guard that are in the app."""
        return [each for each in self.guard.refusals.endpoints if each.status_name in self.names]

    def policies(self) -> dict[StepUpPolicy, list[str]]:
        """Return what routes ask, conditions left out, each with these routes in words."""
        asked: dict[StepUpPolicy, list[str]] = {}
        for route in self.routes:
            for _, access in route.entry_points:
                policy = policy_in(access)
                if policy is not None:
                    asked.setdefault(policy, []).append(in_words(route))
        return asked


def lints(app: Starlette, guards: list[StepUpGuard]) -> list[Finding]:
    """Return what is wrong or worth a look in *app*, the bad things of each guard first.

    Does not see calls of `guard.authorize` inside handlers.
    """
    names = frozenset(getattr(route, "name", None) for route in _routes(app))
    found: list[Finding] = []
    for guard in guards:
        seen = GuardedApp(guard, guarded_routes(app, guard), names)
        if hasattr(
            guard, "descope"
        ):  # Other issuers have no helper routes, and tell when users proved.
            found += [*_unmet(seen), *_unreachable(seen, app, guards), *_ages(seen)]
        found += [*_conditions(seen), *_redirect_uris(seen), *_cookies(seen)]
    return found


def in_words(route: GuardedRoute) -> str:
    """Return a route as `POST /pay`."""
    return f"{' '.join(sorted(route.methods))} {route.path}"


def _unmet(seen: GuardedApp) -> Iterator[Finding]:
    """Policies that no mounted method leads to: their users go round in a circle."""
    asked = seen.policies()
    if asked and not seen.mounted:
        yield Finding(
            "helper routes",
            "look",
            "None are mounted: clients need another way to step up, or "
            "app.include_router(stepup_router(guard)).",
        )
        return
    for policy, routes in asked.items():
        if not any(each.methods_for(policy, _BY_PASSWORD) for each in seen.mounted):
            yield Finding(
                "policies",
                "bad",
                f"No mounted method proves {policy}, which {_listed(routes)} asks for: mount one "
                "in stepup_router(methods=[…]), or change the policy.",
            )


def _unreachable(seen: GuardedApp, app: Starlette, guards: list[StepUpGuard]) -> Iterator[Finding]:
    """Helper routes and scripts behind a step-up: then no user can begin one."""
    helpers = tuple(
        route.path for route in _routes(app) if any(each.has(route) for each in seen.mounted)
    )
    for guard in guards:
        if guard is seen.guard:  # it lets its own helper routes through
            continue
        closed = [route for route in guarded_routes(app, guard) if route.asks_step_up is True]
        behind = [route for route in closed if route.path.endswith(helpers)]
        if behind:
            yield Finding(
                "helper routes",
                "bad",
                f"Another guard asks for a step-up in front of {_listed(map(in_words, behind))}: "
                "leave them out of what it guards.",
            )
    scripts = [
        route.path
        for route in seen.routes
        if route.asks_step_up is True and f"/{route.path.rpartition('/')[2]}" in _ASSETS
    ]
    if scripts:
        yield Finding(
            "helper routes",
            "bad",
            f"{_listed(scripts)} asks for a step-up, which the page needs it for: "
            f'StepUpRule("{scripts[0]}", "public").',
        )


def _ages(seen: GuardedApp) -> Iterator[Finding]:
    """Windows that are longer than the session token lives, with which a step-up ends."""
    known = seen.guard.verifier.max_lifetime
    for policy, routes in seen.policies().items():
        ages = [each.max_age for each in policy.alternatives if each.max_age is not None]
        longest = max(ages, default=0)
        if known is not None and longest >= known:
            lives = f"no token lives longer than {known} s (max_lifetime)"
        elif known is None and longest > USUAL_LIFETIME:
            lives = f"Descope's tokens live {USUAL_LIFETIME} s unless the project says more"
        else:
            continue
        yield Finding(
            "policies",
            "look",
            f"max_age of {policy} ({_listed(routes)}) may never run out: {lives}, and a step-up "
            "ends with its token.",
        )


def _conditions(seen: GuardedApp) -> Iterator[Finding]:
    for route in seen.routes:
        if route.asks_step_up == "sometimes":
            asked = [access for _, access in route.entry_points if isinstance(access, Conditional)]
            yield Finding(
                "conditions",
                "look",
                f"{in_words(route)} asks for {_listed(map(str, asked))}; otherwise a session is "
                "enough.",
            )


def _redirect_uris(seen: GuardedApp) -> Iterator[Finding]:
    """Pages that links lead back to, but no browser can open."""
    served = {route.path for route in seen.routes if route.methods & SAFE_METHODS}
    for uri in dict.fromkeys(uri for each in seen.mounted for uri in each.redirect_uris):
        parts = urlsplit(uri)
        if is_loopback(parts.hostname or ""):
            yield Finding(
                "redirect URIs",
                "look",
                f"{_without_query(uri)} is this machine: links work nowhere else.",
            )
        elif parts.path not in served:
            yield Finding(
                "redirect URIs",
                "look",
                f"No route of this app serves {_without_query(uri)}: make sure that another one "
                "does, and that the project allows it.",
            )


def _cookies(seen: GuardedApp) -> Iterator[Finding]:
    """Cookies that a browser would drop, or not send."""
    for endpoints in seen.mounted:
        cookies = endpoints.cookies
        if cookies["secure"] is False:
            yield Finding(
                "cookies",
                "look",
                "cookie_secure=False sends the session over plain http too: leave it out where "
                "users come over https.",
            )
        for origin in sorted(filter(None, seen.guard.credentials.allowed_origins)):
            fault = _fault_of_cookies(origin, cookies)
            if fault is not None:
                yield Finding("cookies", "bad", fault)


def _fault_of_cookies(origin: str, cookies: Mapping[str, Any]) -> str | None:
    """Return why pages of *origin* have no use of the cookies, if it is so."""
    parts = urlsplit(origin)
    host, domain = parts.hostname or "", cookies["domain"]
    if parts.scheme == "http" and cookies["secure"] is not False and not is_loopback(host):
        return f"Browsers drop Secure cookies at {origin}: serve it by https."
    is_outside = domain is not None and not f".{host}".endswith(f".{domain}")
    if is_outside and cookies["same_site"] != "none":
        return (
            f"Browsers send no cookie from {origin}, which is outside of {domain}: "
            'stepup_router(cookie_same_site="none").'
        )
    return None


def _routes(app: Any) -> Iterator[Any]:
    """Yield the routes of *app*, and of all that is mounted in it."""
    for route in flat_routes(getattr(router_in(app), "routes", ())):
        original = getattr(route, "_effective_route", route)
        if isinstance(original, (Mount, Host)):
            yield from _routes(original.app)
        else:
            yield original


def _listed(items: Iterable[str]) -> str:
    first, *others = dict.fromkeys(items)
    shown = [first, *others[: _MOST - 1]]
    return ", ".join(shown) + (" …" if len(others) >= _MOST else "")


def _without_query(uri: str) -> str:
    """Return *uri* without its query, which may hold what belongs in no output."""
    return uri.partition("?")[0]

"""stepup_router: the helper routes that step a session up through Descope."""

import re
from collections.abc import Iterable
from dataclasses import asdict
from importlib.util import find_spec
from itertools import count
from typing import Final, get_args

from fastapi import APIRouter
from starlette.routing import Route

from fastapi_stepup._log import logger
from fastapi_stepup._options import some_of
from fastapi_stepup._urls import checked_redirect_uri
from fastapi_stepup.browser.assets import stepup_script_routes
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.step_up_endpoints import StepUpEndpoints
from fastapi_stepup.providers.descope.requests import DELIVERIES, Delivery
from fastapi_stepup.router.cookies import CookieAttributes, CookieWriter, SameSite
from fastapi_stepup.router.endpoints import NoStoreRoute, add_method_route, operation_id
from fastapi_stepup.router.flow import StepUpFlow
from fastapi_stepup.router.methods.base import Method, StepUpMethod
from fastapi_stepup.router.methods.registry import NEED_REDIRECT_URI, build_methods
from fastapi_stepup.router.rate_limits import Limiter, StepUpLimits
from fastapi_stepup.router.status import add_status_routes

# Each router's routes are named apart: a challenge must point to those of its own guard, with the
# methods that are offered there.
_numbers: Final = count(1)
_COOKIE_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
_FLOW_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEFAULT_LIMITS: Final = StepUpLimits()


def stepup_router(
    guard: StepUpGuard,
    *,
    prefix: str = "/step-up",
    methods: Iterable[Method] | None = None,
    deliveries: tuple[Delivery, ...] = DELIVERIES,
    redirect_uris: tuple[str, ...] = (),
    flow_id: str | None = "step-up",
    enroll_uri: str | None = None,
    limits: StepUpLimits | None = _DEFAULT_LIMITS,
    redis_url: str | None = None,
    cookie_domain: str | None = None,
    cookie_secure: bool | None = None,
    cookie_http_only: bool | None = None,
    cookie_same_site: SameSite | None = None,
) -> APIRouter:
    """Return the helper routes of *guard*, ready for `app.include_router`.

    | method | routes, all `POST` below *prefix* |
    |---|---|
    | `otp` | `/otp/start` sends a code, `/otp/verify` exchanges it |
    | `totp` | `/totp/verify` exchanges an authenticator app's code |
    | `magiclink` | `/magiclink/start` sends a link, `/magiclink/verify` exchanges its token |
    | `enchantedlink` | `/enchantedlink/start`, `/poll` (202 until opened), `/verify` (its page) |
    | `passkey` | `/passkey/start` gives WebAuthn options, `/passkey/finish` takes the credential |
    | `oauth`, `sso` | `/start` gives the provider's URL, `/callback` exchanges its code |
    | `notp` | `/notp/start`, `/notp/poll`: the user sends the WhatsApp message |

    `GET` or `POST {prefix}/status` says whether the session is stepped up and how it can be;
    `GET {prefix}/stepup.js` is the browser's side of it all (`stepup_script` gives its tag). Whose
    session it is comes from the verified tokens and from Descope, never from the body. Does not
    create users and does not sign anybody in.

    Args:
        guard: Authorizes the callers and talks to Descope.
        prefix: Path prefix of the routes.
        methods: What is offered, in the order in which challenges list it; `["otp"]` by default.
        deliveries: How codes may be sent, in the order in which challenges list them.
        redirect_uris: Pages that links and providers may lead back to, as exact https URIs; the
            first one is the default. Needed for `magiclink`, `enchantedlink`, `oauth` and `sso`.
        flow_id: The Descope flow that front ends may run instead, which challenges name when
            *methods* is given; `None` names none.
        enroll_uri: Where a user who can use none of the methods can enrol one; told to them.
        limits: Limits of our own, which need the extra `limits`; without it the default is left
            out, with a warning. `None` turns them off.
        redis_url: Count in this Redis, for several processes together; in this one by default.
        cookie_domain: `Domain` of the cookies that are set, such as `"example.com"`. Give the one
            that the sign-in sets them with, or the browser keeps both and sends both. `None` is
            for cookies of this very host.
        cookie_secure: `Secure` of the cookies. By default true, except for plain http on a
            loopback host. Say false where users come over plain http.
        cookie_http_only: `HttpOnly` of the session cookie. By default true, unless the page sends
            its refresh token in the body: it manages the session cookie then. Say false where a
            page manages it and Descope the refresh cookie, which is always `HttpOnly`.
        cookie_same_site: `SameSite` of the cookies: `"lax"`, `"strict"` or `"none"`. By default
            `"lax"`; `"strict"` for a session cookie that the page manages.

    Raises:
        ConfigurationError: An argument cannot be used; the message says what can.
    """
    if not isinstance(guard, StepUpGuard):
        msg = "stepup_router takes the guard first: stepup_router(guard)."
        raise ConfigurationError(msg)
    if not hasattr(guard, "descope"):
        msg = (
            "The helper routes are Descope's: give the guard of StepUpGuard.for_descope, also "
            "where it is one in any_of(…). With another issuer the client sends the user to it "
            "again, with acr_values and max_age of the challenge: see onChallenge of stepup.js "
            "and StepUpAuth(authorize=…)."
        )
        raise ConfigurationError(msg)
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        msg = f'prefix is a plain path such as "/step-up" (or empty), not {prefix!r}.'
        raise ConfigurationError(msg)
    if flow_id is not None and not (isinstance(flow_id, str) and _FLOW_ID.fullmatch(flow_id)):
        msg = f"flow_id is the id of a Descope flow, or None, not {flow_id!r}."
        raise ConfigurationError(msg)
    chosen = some_of("methods", ("otp",) if methods is None else methods, get_args(Method))
    offered = some_of("deliveries", deliveries, DELIVERIES)
    pages = _pages(redirect_uris, chosen)
    attributes = CookieAttributes(
        domain=_domain(cookie_domain),
        secure=cookie_secure,
        http_only=cookie_http_only,
        same_site=cookie_same_site,
    )
    built: list[StepUpMethod] = []
    flow = StepUpFlow(
        guard,
        limiter=_limiter(guard, limits, redis_url),
        redirect_uris=pages,
        enroll_uri=None if enroll_uri is None else checked_redirect_uri("enroll_uri", enroll_uri),
        cookies=CookieWriter(attributes, guard.credentials),
        can_step_up=lambda user: any(method.usable_by(user) for method in built),
    )
    built += build_methods(flow, chosen, offered)
    router = APIRouter(
        prefix=prefix,
        tags=["step-up"],
        route_class=NoStoreRoute,
        generate_unique_id_function=operation_id,
    )
    number = next(_numbers)
    uris: dict[str, dict[str, str]] = {}
    sessionless: list[str] = []
    for method in built:
        for route in method.routes():
            name = f"stepup{route.path.replace('/', '_')}_{number}"
            uris.setdefault(method.name, {})[route.uri] = name
            add_method_route(router, flow, method.name, route, name)
            sessionless += [name] if route.finishes or route.public else []
    status_name = f"stepup_status_{number}"
    add_status_routes(router, flow, built, status_name)
    guard.refusals.mount(
        StepUpEndpoints(
            methods=tuple(offer for method in built for offer in method.offers()),
            uris=uris,
            status_name=status_name,
            flow_id=None if methods is None else flow_id,
            further_names=(f"{status_name}_head", f"{status_name}_post"),
            sessionless_names=tuple(sessionless),
            handlers=tuple(route.endpoint for route in router.routes if isinstance(route, Route)),
            redirect_uris=pages,
            cookies=asdict(attributes),
        )
    )
    router.routes.extend(stepup_script_routes(prefix))
    return router


def _pages(redirect_uris: object, methods: tuple[Method, ...]) -> tuple[str, ...]:
    if not isinstance(redirect_uris, Iterable) or isinstance(redirect_uris, str):
        msg = 'redirect_uris is a tuple such as ("https://shop.example/step-up",).'
        raise ConfigurationError(msg)
    pages = [checked_redirect_uri("redirect_uris", page) for page in redirect_uris]
    needing = sorted(NEED_REDIRECT_URI.intersection(methods))
    if needing and not pages:
        msg = f"{', '.join(needing)} lead back to a page of yours: name it in redirect_uris."
        raise ConfigurationError(msg)
    return tuple(pages)


def _domain(cookie_domain: object) -> str | None:
    if cookie_domain is None:
        return None
    if not isinstance(cookie_domain, str) or not _COOKIE_DOMAIN.fullmatch(cookie_domain):
        msg = f'cookie_domain is a lower-case domain like "example.com", not {cookie_domain!r}.'
        raise ConfigurationError(msg)
    return cookie_domain


def _limiter(
    guard: StepUpGuard, limits: StepUpLimits | None, redis_url: str | None
) -> Limiter | None:
    if limits is None:
        if redis_url is not None:
            msg = "redis_url is where limits are counted, and limits=None has none."
            raise ConfigurationError(msg)
        return None
    if limits is _DEFAULT_LIMITS and redis_url is None and find_spec("limits") is None:
        logger.warning(
            "The helper routes count no attempts: pip install 'fastapi-stepup[limits]', or say "
            "limits=None to rely on Descope's limits alone."
        )
        return None
    return Limiter(
        limits, namespace=guard.project_id, redis_url=redis_url, emit=guard.decisions.emit
    )

"""stepup_router: the helper routes that step a session up through Descope."""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import count
from typing import Annotated, Any, Final, TypeVar, get_args

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from fastapi_stepup._log import logger
from fastapi_stepup._urls import checked_redirect_uri
from fastapi_stepup.browser.assets import asset_routes
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ConfigurationError, ImpersonationRefused, StepUpError
from fastapi_stepup.guard.guard import HelperRoutes, StepUpGuard
from fastapi_stepup.providers.descope.requests import DELIVERIES, Delivery
from fastapi_stepup.router.flow import METHODS, NEED_REDIRECT_URI, OTP, Method, Route, Steps
from fastapi_stepup.router.rate_limits import Limiter, StepUpLimits
from fastapi_stepup.router.schemas import (
    Pending,
    StepUpBody,
    StepUpStatus,
    UsableMethod,
    read_body,
)
from fastapi_stepup.web.dependencies import RequireSession
from fastapi_stepup.web.markers import GUARD_MARK
from fastapi_stepup.web.openapi import document_refusals

# Each router's routes are named apart: a challenge must point to those of its own guard, with the
# methods that are offered there.
_numbers: Final = count(1)
_COOKIE_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
_FLOW_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Pragma": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_DEFAULT_LIMITS: Final = StepUpLimits()

Choice = TypeVar("Choice", bound=str)


class HelperRoute(APIRoute):
    """A route whose every answer, refusals included, is kept out of caches and referrers."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                response: Response = await handler(request)
            except HTTPException as error:
                error.headers = {**_HEADERS, **(error.headers or {})}
                # The frames it went through hold codes and tokens, which error reporters collect.
                refusal = error.with_traceback(None)
            else:
                response.headers.update(_HEADERS)
                return response
            raise refusal

        return guarded


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
            Given, challenges also say where the status route and the other methods' routes are.
        deliveries: How codes may be sent, in the order in which challenges list them.
        redirect_uris: Pages that links and providers may lead back to, as exact https URIs; the
            first one is the default. Needed for `magiclink`, `enchantedlink`, `oauth` and `sso`.
        flow_id: The Descope flow that front ends may run instead, which challenges name when
            *methods* is given; `None` names none.
        enroll_uri: Where a user who can use none of the methods can enrol one; told to them.
        limits: Limits of our own, which need the extra `limits`; without it the default is left
            out, with a warning. `None` turns them off.
        redis_url: Count in this Redis, for several processes together; in this one by default.
        cookie_domain: `Domain` of the cookies that are set, `"example.com"`: what whoever signs
            your users in sets them with, or the browser keeps both and sends both. `None` is for
            cookies of this very host.

    Raises:
        ConfigurationError: An argument cannot be used; the message says what can.
    """
    if not isinstance(guard, StepUpGuard):
        msg = "stepup_router takes the guard first: stepup_router(guard)."
        raise ConfigurationError(msg)
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        msg = f'prefix is a plain path such as "/step-up" (or empty), not {prefix!r}.'
        raise ConfigurationError(msg)
    if flow_id is not None and not (isinstance(flow_id, str) and _FLOW_ID.fullmatch(flow_id)):
        msg = f"flow_id is the id of a Descope flow, or None, not {flow_id!r}."
        raise ConfigurationError(msg)
    chosen = _several("methods", ("otp",) if methods is None else methods, get_args(Method))
    offered = _several("deliveries", deliveries, DELIVERIES)
    pages = _pages(redirect_uris, chosen)
    _check_domain(cookie_domain, guard)
    steps = Steps(
        guard,
        limiter=_limiter(guard, limits, redis_url),
        redirect_uris=pages,
        enroll_uri=None if enroll_uri is None else checked_redirect_uri("enroll_uri", enroll_uri),
        cookie_domain=cookie_domain,
    )
    steps.methods = [
        OTP(steps, offered) if name == "otp" else METHODS[name](steps) for name in chosen
    ]
    number = next(_numbers)
    router = APIRouter(
        prefix=prefix,
        tags=["step-up"],
        route_class=HelperRoute,
        generate_unique_id_function=_operation_id,
    )
    uris: dict[str, dict[str, str]] = {}
    for method in steps.methods:
        for route in method.routes():
            name = f"stepup{route.path.replace('/', '_')}_{number}"
            uris.setdefault(method.name, {})[route.uri] = name
            _add(router, guard, route, name)
    status_name = f"stepup_status_{number}"
    _add_status(router, steps, status_name)
    guard.mount_helper_routes(
        HelperRoutes(
            methods=tuple(offer for method in steps.methods for offer in method.offers()),
            uris=uris,
            # The plain router answers what it always did; clients that know more ask for more.
            status_name=None if methods is None else status_name,
            flow_id=None if methods is None else flow_id,
        )
    )
    router.routes.extend(asset_routes(prefix))
    return router


def _add(router: APIRouter, guard: StepUpGuard, route: Route, name: str) -> None:
    caller = Depends(RequireSession(guard))

    async def answer(request: Request, claims: Claims | None) -> Response:
        with _bound(guard):
            # Or whoever acts for the user could talk them out of a code and become them.
            if claims is not None and claims.impersonated:
                raise ImpersonationRefused
            body = await read_body(request, route.body)
            reply = await route.handle(request, claims, body)
        return reply if isinstance(reply, Response) else JSONResponse(reply.model_dump())

    async def with_session(request: Request, claims: Annotated[Claims, caller]) -> Response:
        return await answer(request, claims)

    async def without(request: Request) -> Response:
        return await answer(request, None)

    setattr(without, GUARD_MARK, (guard, "public"))

    schema = route.body.model_json_schema()
    content = {"application/json": {"schema": schema}}
    statuses = [400, 403, 413, 415, 422, 429, 502, 503]
    responses: dict[int | str, dict[str, Any]] = {
        **document_refusals(statuses if route.public else [401, *statuses]),
        **({202: {"model": Pending, "description": "Not done yet"}} if route.pending else {}),
    }
    router.add_api_route(
        route.path,
        without if route.public else with_session,
        methods=["POST"],
        name=name,
        response_model=route.reply,
        responses=responses,
        openapi_extra={"requestBody": {"required": True, "content": content}},
        summary=route.summary,
    )
    # Without it the app would send tokens on to a URL that it makes from the Host field.
    router.add_api_route(
        f"{route.path}/",
        _not_found(guard if route.public else None),
        methods=["POST"],
        include_in_schema=False,
        dependencies=[] if route.public else [caller],
    )


def _not_found(guard: StepUpGuard | None) -> Callable[[], Awaitable[None]]:
    async def no_redirect() -> None:
        raise HTTPException(404)

    setattr(no_redirect, GUARD_MARK, (guard, "public"))
    return no_redirect


def _add_status(router: APIRouter, steps: Steps, name: str) -> None:
    async def status(request: Request) -> StepUpStatus:
        return await step_up_status(request, steps)

    setattr(status, GUARD_MARK, (steps.guard, "public"))

    add = partial(router.add_api_route, "/status", status, response_model=StepUpStatus)
    add(methods=["GET"], name=name, summary="Whether the session is stepped up, and how it can be")
    add(
        methods=["POST"],
        name=f"{name}_post",
        summary="The same, with the refresh token in the body",
        responses=document_refusals([413, 415, 422]),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": StepUpBody.model_json_schema()}},
            }
        },
    )
    router.add_api_route(
        "/status/", _not_found(steps.guard), methods=["GET", "POST"], include_in_schema=False
    )


async def step_up_status(request: Request, steps: Steps) -> StepUpStatus:
    """Return the session's state; on any doubt it is not stepped up.

    The ways to step up are those that this user can use, with masked addresses, where a refresh
    token comes along and Descope answers; else all that are mounted. A refresh token that is no
    good one of the session's own user, or that Descope cannot confirm, is a doubt; without one the
    session speaks for itself.

    Raises:
        InvalidBody: A body came that is not what the route takes.
        UnsupportedMediaType: Or not JSON.
        BodyTooLarge: Or too long.
    """
    guard = steps.guard
    body = StepUpBody()
    if request.method == "POST":
        body = await read_body(request, StepUpBody)
    mounted = [UsableMethod(method=offer) for m in steps.methods for offer in m.offers()]
    status = StepUpStatus(methods=mounted, enroll_uri=steps.enroll_uri)
    try:
        claims = await guard.authorize(request)
        status.signed_in, status.expires_at = True, int(claims.expires_at)
        if claims.impersonated:
            return status
        refresh_token = body.refresh_token or guard.credentials.refresh_token(request)
        if refresh_token is not None:
            await steps.count_poll(claims)
            user = (await steps.identify(claims, refresh_token)).user
            usable = [found for method in steps.methods for found in method.usable_by(user)]
            status.methods = [UsableMethod(method=name, destination=to) for name, to in usable]
    except StepUpError:
        return status
    status.stepped_up = claims.stepped_up
    return status


def _several(name: str, values: object, known: tuple[Choice, ...]) -> tuple[Choice, ...]:
    listed: tuple[Any, ...] = ()
    if isinstance(values, Iterable) and not isinstance(values, str):
        listed = tuple(dict.fromkeys(values))
    if not listed or not set(listed) <= set(known):
        msg = f"{name} is a tuple of: {', '.join(known)}."
        raise ConfigurationError(msg)
    return listed


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


def _check_domain(cookie_domain: object, guard: StepUpGuard) -> None:
    if cookie_domain is None:
        return
    if not isinstance(cookie_domain, str) or not _COOKIE_DOMAIN.fullmatch(cookie_domain):
        msg = f'cookie_domain is a lower-case domain like "example.com", not {cookie_domain!r}.'
        raise ConfigurationError(msg)
    names = (guard.credentials.session_cookie, guard.credentials.refresh_cookie)
    if any((name or "").startswith("__Host-") for name in names):
        # RFC 6265bis section 4.1.3.2: a browser drops such a cookie when it has a Domain.
        msg = "A cookie named __Host-… has no domain: leave cookie_domain out."
        raise ConfigurationError(msg)


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
    return Limiter(limits, namespace=guard.project_id, redis_url=redis_url)


@contextmanager
def _bound(guard: StepUpGuard) -> Iterator[None]:
    """Give each refusal the guard's realm."""
    try:
        yield
    except StepUpError as error:
        error.bind(realm=guard.realm)
        raise


def _operation_id(route: APIRoute) -> str:
    """Name an operation after its path, which is the same in each run, unlike a route's name."""
    method = min(route.methods or {"any"}).lower()
    return re.sub(r"\W+", "_", route.path_format).strip("_") + f"_{method}"

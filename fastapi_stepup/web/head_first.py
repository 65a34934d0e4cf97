"""StepUpRoute: refuse a request before its body is read."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastapi_stepup.errors import Unauthenticated
from fastapi_stepup.guard.route_policies import matched_route
from fastapi_stepup.web.body_names import check_body_names
from fastapi_stepup.web.dependencies import RequireSession, RequireStepUp
from fastapi_stepup.web.one_use import OneUse

_DECIDED_HERE = (RequireSession.__call__, RequireStepUp.__call__)


class StepUpRoute(APIRoute):
    """A route whose `RequireSession` and `RequireStepUp` decide before the body is read.

    FastAPI reads and parses the whole body before it runs a dependency. A route of this class asks
    the guard first, so an upload without a step-up costs one answer, and bad JSON is no hint.

    ```python
    router = APIRouter(route_class=StepUpRoute)
    app.router.route_class = StepUpRoute  # for the routes of the app itself
    ```

    - Sees dependencies of the route, its routers and the app, and those below other dependencies.
    - Leaves the claims in the scope, where the dependency finds them without a second verification.
    - Respects `dependency_overrides`.
    - Asks only for a session where a condition (`when=`) decides, which may need the body.
    - Does not decide early for subclasses of the two that have a `__call__` of their own.

    After `install(app, guard)` a route of any class decides so, if it takes a body.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_body_names(self)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler that FastAPI calls with the request."""
        handle = super().get_route_handler()

        async def decide_first(request: Request) -> Response:
            await authorize_from_head(request.scope)
            return await handle(request)

        return decide_first


class HeadFirst:
    """Makes each route of a router decide as `StepUpRoute` does, if it takes a body.

    It is inside of every middleware: one in between may hide what `receive` raises.

    Args:
        app: The router.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_decided = False

        async def receiving() -> Message:
            nonlocal is_decided
            if not is_decided and "route" in scope:
                # For such a route the first message is the body that FastAPI parses before it runs
                # dependencies; it lets our errors pass. For others it is some later message, which
                # a stream may ask for when its step-up has become too old.
                if getattr(matched_route(scope), "body_field", None) is not None:
                    await authorize_from_head(scope)
                # Not before: error reporters read the body too, and hide that it was refused.
                is_decided = True
            return await receive()

        await self.app(scope, receiving, send)


async def authorize_from_head(scope: Scope) -> None:
    """Ask all that the dependencies of the matched route ask, without the request's body.

    A caller without a token is left to the dependency where an earlier one takes the request: that
    one may call `guard.authorize(request, token=…)`.

    Raises:
        StepUpError: The refusal.
    """
    request = Request(scope)
    for required, may_get_token in _required(scope):
        guard = required.guard
        # The dependency asks again: it reports what is only reported, and knows the condition.
        is_open = guard.report_only or required.when is not None
        try:
            await guard.authorize(request, None if is_open else required.policy)
        except Unauthenticated:
            if may_get_token:
                return
            raise


def _required(scope: Scope) -> Iterator[tuple[RequireSession, bool]]:
    """Yield what asks for a session, and whether a dependency ahead of it may supply the token."""
    route = matched_route(scope)
    provider = getattr(route, "dependency_overrides_provider", None)
    overrides = getattr(provider, "dependency_overrides", None) or {}
    may_get_token = False
    for dependant in _called(getattr(route, "dependant", None), overrides):
        if overrides and dependant.call in overrides:
            may_get_token = True  # its replacement may take anything
            continue
        call = dependant.call
        if isinstance(call, RequireSession) and type(call).__call__ in _DECIDED_HERE:
            yield call, may_get_token
        elif isinstance(call, OneUse):
            continue  # it asks what the dependency asks that it belongs to
        elif dependant.request_param_name or dependant.http_connection_param_name:
            may_get_token = True


def _called(dependant: Any, overrides: Mapping[Any, Any]) -> Iterator[Any]:
    """Yield the dependencies below *dependant* in the order in which FastAPI calls them."""
    for each in getattr(dependant, "dependencies", ()):
        if not overrides or each.call not in overrides:
            yield from _called(each, overrides)
        yield each

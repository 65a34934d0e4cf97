"""The routes of the methods on an `APIRouter`, and the class of all helper routes."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette._utils import is_async_callable
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from fastapi_stepup._log import logger
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import KeysUnavailable, RevocationUnavailable, StepUpError
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.markers import mark
from fastapi_stepup.guard.refusals import is_without_session
from fastapi_stepup.router.body import read_body
from fastapi_stepup.router.flow import StepUpFlow, refuse_impersonated
from fastapi_stepup.router.methods.base import Method, MethodRoute
from fastapi_stepup.router.records import Step, reporting
from fastapi_stepup.router.schemas import Pending
from fastapi_stepup.router.session_response import Caller
from fastapi_stepup.web.dependencies import RequireSession
from fastapi_stepup.web.openapi import document_refusals

_PENDING: Final = 202
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Pragma": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class NoStoreRoute(APIRoute):
    """A route whose every answer, refusals included, is kept out of caches and referrers.

    A refusal is returned, not raised, wherever the app has a handler for it. So it leaves no
    frame behind, and no error reporter sends the request's body along.
    """

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]  # a function of any kind there
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                response: Response = await handler(request)
            except HTTPException as error:
                refusal = error.with_traceback(None)
            else:
                response.headers.update(_HEADERS)
                return response
            refusal.headers = {**_HEADERS, **(refusal.headers or {})}
            return await refused(request, refusal)

        return answered


class StatusRoute(NoStoreRoute):
    """A route of a path that has others with other methods: a 405 names them all."""

    allow: Final = "GET, HEAD, POST"

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            HTTPException: 405 for any other method, with the methods of the whole path.
        """
        if scope["method"] not in (self.methods or ()):
            raise HTTPException(405, headers={**_HEADERS, "Allow": self.allow})
        await super().handle(scope, receive, send)


async def refused(request: Request, error: HTTPException) -> Response:
    """Return the app's own answer to *error*.

    Handlers are looked up as Starlette does, with one difference: a handler of a class of ours
    goes before one of a status.

    Raises:
        HTTPException: The app has no handler for it; it is *error*.
    """
    # Not the handlers in the scope: an error reporter may have wrapped them.
    handlers = getattr(request.app, "exception_handlers", {})
    kinds: list[Any] = list(type(error).__mro__)
    ours = [kind for kind in kinds if issubclass(kind, StepUpError)]
    for key in (*ours, error.status_code, *kinds):
        handler = handlers.get(key)
        if handler is not None:
            break
    else:
        raise error
    if is_async_callable(handler):
        response: Response = await handler(request, error)
    else:
        response = await run_in_threadpool(handler, request, error)
    return response


class SessionOrRefusal(RequireSession):
    """Dependency of routes that finish a step-up: the claims, or the refusal where they ran out.

    Without a session, or with one that expired, the handler gets the refusal instead of the
    claims. It may go on with the refresh token. Any other refusal is raised.
    """

    _entry_point = None

    async def __call__(self, connection: HTTPConnection) -> Claims | StepUpError:  # type: ignore[override]  # the router alone uses it
        """Authorize *connection*; FastAPI calls this."""
        try:
            return await super().__call__(connection)
        except StepUpError as error:
            if not is_without_session(error):
                raise
            return error.with_traceback(None)


def add_method_route(
    router: APIRouter, flow: StepUpFlow, method: Method, route: MethodRoute, name: str
) -> None:
    """Add *route* of *method* to *router* under the name *name*.

    - Asks for a session before it reads the body, unless the route is public.
    - A route that finishes a step-up takes the refresh token where the session ran out.
    - Refuses impersonated sessions.
    """
    guard = flow.guard
    session = Depends(SessionOrRefusal(guard) if route.finishes else RequireSession(guard))

    async def answer(request: Request, claims: Claims | StepUpError | None) -> Response:
        decisions = guard.decisions
        with _bound(guard), reporting(decisions, request, method, route.action) as step:
            if claims is None:
                caller, body = None, await read_body(request, route.body)
            elif isinstance(claims, Claims):
                _name_caller(step, claims)
                refuse_impersonated(claims)
                body = await read_body(request, route.body)
                caller = flow.caller_with_session(request, claims, body)
            else:
                caller, body = await _without_session(flow, request, route, claims)
                _name_caller(step, caller.claims)
            reply = await route.handle(request, caller, body)
            if step is not None:
                step.is_pending = isinstance(reply, Response) and reply.status_code == _PENDING
        return reply if isinstance(reply, Response) else JSONResponse(reply.model_dump())

    async def with_session(
        request: Request, claims: Annotated[Claims | StepUpError, session]
    ) -> Response:
        return await answer(request, claims)

    async def without(request: Request) -> Response:
        return await answer(request, None)

    mark(without, guard, "public")

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
        openapi_extra=json_body(route.body.model_json_schema()),
        summary=route.summary,
    )
    # Without it the app would send tokens on to a URL that it makes from the Host field.
    router.add_api_route(
        f"{route.path}/",
        no_redirect(guard if route.public else None),
        methods=["POST"],
        include_in_schema=False,
        dependencies=[] if route.public else [Depends(RequireSession(guard))],
    )


def no_redirect(public_of: StepUpGuard | None) -> Callable[[], Awaitable[None]]:
    """Return an endpoint that answers 404.

    Args:
        public_of: The guard whose public route this is; `None` if its dependencies guard it.
    """

    async def not_found() -> None:
        raise HTTPException(404)

    if public_of is not None:
        mark(not_found, public_of, "public")
    return not_found


def json_body(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what OpenAPI says about a body that FastAPI does not read itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def operation_id(route: APIRoute) -> str:
    """Return an operation id made of the path, which is the same in each run, unlike the name."""
    method = min(route.methods or {"any"}).lower()
    return re.sub(r"\W+", "_", route.path_format).strip("_") + f"_{method}"


def _name_caller(step: Step | None, claims: Claims) -> None:
    if step is not None:
        step.claims = claims


async def _without_session(
    flow: StepUpFlow, request: Request, route: MethodRoute, refusal: StepUpError
) -> tuple[Caller, Any]:
    """Return the caller and the body of a request whose session ran out.

    Raises:
        StepUpError: It is *refusal* where the refresh token does not help: who has no session
            learns nothing about the body.
        KeysUnavailable: The refresh token cannot be verified at the moment.
        RevocationUnavailable: The app's own revocation check failed.
    """
    try:
        body = await read_body(request, route.body)
        return await flow.caller_by_refresh_token(request, body), body
    except (KeysUnavailable, RevocationUnavailable):
        raise
    except StepUpError:
        pass
    raise refusal


@contextmanager
def _bound(guard: StepUpGuard) -> Iterator[None]:
    """Give each refusal the guard's realm, and log it."""
    try:
        yield
    except StepUpError as error:
        if error.realm is None:  # The guard logs those that it binds.
            logger.debug("Refused: %s.", error.log_line)
        error.bind(realm=guard.realm, resource_metadata=guard.refusals.resource_metadata)
        raise

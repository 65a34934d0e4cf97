"""The routes of the methods on an `APIRouter`, and the class of all helper routes."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ImpersonationRefused, StepUpError
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.router.body import read_body
from fastapi_stepup.router.methods.base import MethodRoute
from fastapi_stepup.router.schemas import Pending
from fastapi_stepup.web.dependencies import RequireSession
from fastapi_stepup.web.markers import mark
from fastapi_stepup.web.openapi import document_refusals

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Pragma": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class NoStoreRoute(APIRoute):
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


def add_method_route(router: APIRouter, guard: StepUpGuard, route: MethodRoute, name: str) -> None:
    """Add *route* to *router* under the name *name*.

    - Asks for a session before it reads the body, unless the route is public.
    - Refuses impersonated sessions.
    """
    caller = Depends(RequireSession(guard))

    async def answer(request: Request, claims: Claims | None) -> Response:
        with _bound(guard):
            # An impersonator could talk the user out of a code, and then become them.
            if claims is not None and claims.impersonated:
                raise ImpersonationRefused
            body = await read_body(request, route.body)
            reply = await route.handle(request, claims, body)
        return reply if isinstance(reply, Response) else JSONResponse(reply.model_dump())

    async def with_session(request: Request, claims: Annotated[Claims, caller]) -> Response:
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
        dependencies=[] if route.public else [caller],
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


@contextmanager
def _bound(guard: StepUpGuard) -> Iterator[None]:
    """Give each refusal the guard's realm."""
    try:
        yield
    except StepUpError as error:
        error.bind(realm=guard.realm)
        raise

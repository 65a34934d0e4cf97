"""The status route: whether the session is stepped up, and how this user can step up."""

from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter, Request

from fastapi_stepup.errors import StepUpError
from fastapi_stepup.guard.markers import mark
from fastapi_stepup.router.body import read_body
from fastapi_stepup.router.endpoints import StatusRoute, json_body, no_redirect
from fastapi_stepup.router.flow import StepUpFlow
from fastapi_stepup.router.methods.base import StepUpMethod
from fastapi_stepup.router.schemas import StepUpRequestBody, StepUpStatus, UsableMethod
from fastapi_stepup.web.openapi import document_refusals


def add_status_routes(
    router: APIRouter, flow: StepUpFlow, methods: Sequence[StepUpMethod], name: str
) -> None:
    """Add `GET`, `HEAD` and `POST /status` to *router*.

    Args:
        router: The router.
        flow: Identifies the caller.
        methods: The mounted methods.
        name: The name of the GET route.
    """

    async def status(request: Request) -> StepUpStatus:
        return await step_up_status(request, flow, methods)

    mark(status, flow.guard, "public")

    add = partial(
        router.add_api_route,
        "/status",
        status,
        response_model=StepUpStatus,
        route_class_override=StatusRoute,
    )
    add(methods=["GET"], name=name, summary="Whether the session is stepped up, and how it can be")
    add(methods=["HEAD"], name=f"{name}_head", include_in_schema=False)
    add(
        methods=["POST"],
        name=f"{name}_post",
        summary="The same, with the refresh token in the body",
        responses=document_refusals([413, 415, 422]),
        openapi_extra=json_body(StepUpRequestBody.model_json_schema()),
    )
    router.add_api_route(
        "/status/",
        no_redirect(flow.guard),
        methods=["GET", "HEAD", "POST"],
        include_in_schema=False,
    )


async def step_up_status(
    request: Request, flow: StepUpFlow, methods: Sequence[StepUpMethod]
) -> StepUpStatus:
    """Return the session's state. It is not stepped up on any doubt.

    - With a refresh token that Descope confirms, `methods` are those that this user can use, with
      masked addresses. Otherwise they are all that are mounted.
    - `subject` is that of the session, so that a page that cannot read its cookies notices another
      account in them.
    - A refresh token that is not a good one of the session's own user, or that Descope cannot
      confirm, is a doubt. Without one the session speaks for itself.

    Raises:
        InvalidBody: The body is not what the route takes.
        UnsupportedMediaType: The body is not JSON.
        BodyTooLarge: The body is too long.
    """
    guard = flow.guard
    body = StepUpRequestBody()
    if request.method == "POST":
        body = await read_body(request, StepUpRequestBody)
    mounted = [UsableMethod(method=offer) for m in methods for offer in m.offers()]
    status = StepUpStatus(methods=mounted, enroll_uri=flow.enroll_uri)
    try:
        claims = await guard.authorize(request, entry_point=None)
        status.signed_in, status.subject = True, claims.subject
        status.expires_at = int(claims.expires_at)
        if claims.impersonated:
            return status
        caller = flow.caller_with_session(request, claims, body)
        if caller.refresh_token is not None:
            user = await flow.identify(caller)
            usable = [found for method in methods for found in method.usable_by(user)]
            status.methods = [UsableMethod(method=name, destination=to) for name, to in usable]
    except StepUpError:
        return status
    status.stepped_up = claims.stepped_up
    return status

"""Between HTTP and the rooms of the emulator: authenticate, decode, call, encode."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fastapi_stepup.testing.faults import (
    INVALID_BODY,
    MALFORMED,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    UNKNOWN_PROJECT,
    Refusal,
)
from fastapi_stepup.testing.project import Call, Project

Handler: TypeAlias = Callable[[Call], Mapping[str, object]]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def endpoint(project: Project, handler: Handler) -> Endpoint:
    """Return an endpoint that answers with what *handler* returns, called under the lock."""

    async def answer(request: Request) -> Response:
        token = bearer_token(request.headers.get("authorization", ""), project.project_id)
        call = Call(request.path_params, await json_object(request), token)
        with project.lock:
            return JSONResponse(handler(call))

    return answer


def bearer_token(authorization: str, project_id: str) -> str | None:
    """Return the JWT of `Bearer <project id>[:<JWT>][:<auth management key>]`.

    Only a JWT has two dots, which tells it from the key when it is the JWT that was left out.

    Raises:
        Refusal: The scheme or the project id is wrong.
    """
    scheme, _, credentials = authorization.partition(" ")
    sent_id, *secrets = credentials.strip().split(":")
    if scheme.lower() != "bearer" or sent_id != project_id:
        raise Refusal(UNKNOWN_PROJECT, "The bearer must begin with the project id")
    return next((secret for secret in secrets if secret.count(".") == 2), None)  # noqa: PLR2004


async def json_object(request: Request) -> Mapping[str, object]:
    """Return the JSON object in the body; an empty body is an empty object.

    Raises:
        Refusal: The body is not JSON, or not an object.
    """
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError:
        raise Refusal(MALFORMED, "The body is not JSON") from None
    if not isinstance(body, dict):
        raise Refusal(INVALID_BODY, "The body must be a JSON object")
    return body


async def answer_refusal(_: Request, refusal: Exception) -> Response:
    """Answer a refusal with its fault."""
    assert isinstance(refusal, Refusal)  # noqa: S101 - narrows Starlette's type
    return JSONResponse(refusal.body, refusal.fault.status, refusal.headers)


async def answer_http_exception(_: Request, error: Exception) -> Response:
    """Answer what the router refuses, by path or by method, in Descope's form."""
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows Starlette's type
    fault = NOT_FOUND if error.status_code == NOT_FOUND.status else METHOD_NOT_ALLOWED
    return JSONResponse(Refusal(fault).body, fault.status, error.headers)

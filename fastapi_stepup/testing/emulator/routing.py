"""Requests to sign-in methods: authenticate, decode, call, encode."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fastapi_stepup.testing.emulator.errors import (
    INVALID_BODY,
    MALFORMED,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    UNKNOWN_PROJECT,
    Refusal,
)
from fastapi_stepup.testing.emulator.models import Call
from fastapi_stepup.testing.emulator.project import Project

_DOTS_OF_A_JWT: Final = 2
Handler: TypeAlias = Callable[[Call], Mapping[str, object] | list[object]]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def endpoint(project: Project, handler: Handler) -> Endpoint:
    """Return an endpoint that answers with the result of *handler*, called under the lock."""

    async def answer(request: Request) -> Response:
        secrets = bearer_secrets(request.headers.get("authorization", ""), project.project_id)
        # Only a JWT has two dots: where it is left out, an auth management key may come first.
        jwts = [secret for secret in secrets if secret.count(".") == _DOTS_OF_A_JWT]
        token = jwts[0] if jwts else project.responses.refresh_cookie(request)
        call = Call(
            request.path_params,
            await json_object(request),
            token,
            key=secrets[0] if secrets else "",
            query=dict(request.query_params),
            base_url=_base_url(request),
        )
        with project.lock:
            return project.responses.response(handler(call))

    return answer


def _base_url(request: Request) -> str:
    """Return the emulator's own URL; Starlette's leaves out where the emulator is mounted."""
    root: str = request.scope.get("root_path", "")
    return str(request.url.replace(path=root, query="", fragment="")).rstrip("/")


def get(project: Project, path: str, handler: Handler) -> Route:
    """Return the route of a call by GET."""
    return Route(path, endpoint(project, handler), methods=["GET"])


def post(project: Project, path: str, handler: Handler) -> Route:
    """Return the route of a call by POST."""
    return Route(path, endpoint(project, handler), methods=["POST"])


def bearer_secrets(authorization: str, project_id: str) -> list[str]:
    """Return the parts after the project id in `Bearer <project id>[:<JWT or key>]...`.

    Raises:
        Refusal: The scheme or the project id is wrong.
    """
    scheme, _, credentials = authorization.partition(" ")
    sent_id, *secrets = credentials.strip().split(":")
    if scheme.lower() != "bearer" or sent_id != project_id:
        raise Refusal(UNKNOWN_PROJECT, "The bearer must begin with the project id")
    return secrets


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
    """Answer a refusal with its error reply."""
    assert isinstance(refusal, Refusal)  # noqa: S101 - narrows Starlette's type
    return JSONResponse(refusal.body, refusal.error.status, refusal.headers)


async def answer_http_exception(_: Request, error: Exception) -> Response:
    """Answer an unknown path or method in Descope's form."""
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows Starlette's type
    reply = NOT_FOUND if error.status_code == NOT_FOUND.status else METHOD_NOT_ALLOWED
    return JSONResponse(Refusal(reply).body, reply.status, error.headers)

"""Step-up in an app's OpenAPI schema: security scheme, refusals, `x-step-up`."""

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final

from starlette.applications import Starlette

from fastapi_stepup.errors import (
    CrossSiteRequest,
    ImpersonationRefused,
    InvalidRequest,
    InvalidToken,
    KeysUnavailable,
    OneTimeUnavailable,
    RejectReason,
    RevocationUnavailable,
    StepUpBusy,
    StepUpError,
    Unauthenticated,
)
from fastapi_stepup.guard.conditions import Conditional, policy_in
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.refusals import PROBLEM_MEDIA_TYPE
from fastapi_stepup.policy.policy import StepUpPolicy, all_of
from fastapi_stepup.web.dependencies import scheme_of
from fastapi_stepup.web.problem_schema import SCHEMA_NAME, StepUpRefusal, problem_schema
from fastapi_stepup.web.route_inventory import GuardedRoute, owned_routes

EXTENSION: Final = "x-step-up"

_COOKIE: Final = "Cookie"  # behind the name of a scheme
_CONVERTOR: Final = re.compile(r":[^{}]*\}")
_CHALLENGE: Final = ("WWW-Authenticate", "The challenge (RFC 6750, RFC 9470).")
_WAIT: Final = ("Retry-After", "Seconds to wait.")
_NOT_STORED: Final = ("Cache-Control", "no-store")


def describe(
    schema: dict[str, Any], app: Starlette, guard: StepUpGuard, *, around: Iterable[Starlette] = ()
) -> None:
    """Describe the guard in *schema*, in place.

    - Adds to every guarded operation the security schemes (header, and cookie if the guard reads
      one), each refusal with its headers, problem schema and example, and `x-step-up` with the
      policy where one is asked, `"conditional": true` where a request may have to meet less, and
      the purposes as `once` where a step-up is good for one use.
    - Covers operations behind a middleware rule like those with a dependency.
    - Does not change a description that the app has for a status.

    Args:
        schema: The schema of *app*.
        app: The app.
        guard: The guard.
        around: Apps on which *app* may be mounted, whose middleware is then in front of it.
    """
    around = tuple(around)
    for member in guard.members:
        if member is not guard:  # Its routes take its tokens only.
            describe(schema, app, member, around=around)
    guarded = {
        (_openapi_path(route.path.removeprefix(prefix)), method.lower()): route
        for root in (app, *around)
        for owner, prefix, route in owned_routes(root, guard, alone=True)
        if owner is app and any(asked != "public" for _, asked in route.entry_points)
        for method in route.methods
    }
    described = _unwrap_refusals(schema)
    for path, operations in schema.get("paths", {}).items():
        for method, operation in operations.items():
            route = guarded.get((path, method))
            if route is not None:
                _describe_operation(operation, route, guard)
                described = True
    if described:
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {})[SCHEMA_NAME] = problem_schema()
        schemes = components.setdefault("securitySchemes", {})
        for member in guard.members:
            name, model = scheme_of(member)
            schemes.setdefault(
                name, model.model_dump(mode="json", by_alias=True, exclude_none=True)
            )
            cookie = member.credentials.session_cookie
            if cookie is not None:
                schemes.setdefault(name + _COOKIE, _cookie_scheme(cookie, member))


def document_refusals(statuses: Iterable[int]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a helper route: a problem for each status, as FastAPI wraps it.

    `describe` unwraps it where `install` does so with the answers.
    """
    documented: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        documented[status] = {
            "description": HTTPStatus(status).phrase,
            "model": StepUpRefusal,
        }
        documented[status]["headers"] = dict(map(_header, _fields(status)))
    return documented


def _unwrap_refusals(schema: dict[str, Any]) -> bool:
    """Make the refusals of the helper routes bare problems; return whether there are any."""
    wrapped = {"schema": {"$ref": f"#/components/schemas/{StepUpRefusal.__name__}"}}
    bare = {"schema": {"$ref": f"#/components/schemas/{SCHEMA_NAME}"}}
    for operations in schema.get("paths", {}).values():
        for operation in operations.values():
            for response in operation.get("responses", {}).values():
                if response.get("content") == {"application/json": wrapped}:
                    response["content"] = {PROBLEM_MEDIA_TYPE: bare}
    schemas = schema.get("components", {}).get("schemas", {})
    return schemas.pop(StepUpRefusal.__name__, None) is not None


def _describe_operation(operation: dict[str, Any], route: GuardedRoute, guard: StepUpGuard) -> None:
    conditional = [asked for _, asked in route.entry_points if isinstance(asked, Conditional)]
    policies = [
        policy for _, asked in route.entry_points if (policy := policy_in(asked)) is not None
    ]
    if policies:
        operation[EXTENSION] = _extension(policies, guard)
    if conditional:
        operation[EXTENSION]["conditional"] = True
    if route.once:
        operation[EXTENSION]["once"] = list(route.once)
    operation["security"] = _security(operation.get("security") or [{}], guard)
    responses = operation.setdefault("responses", {})
    refusals = _refusals(policies, guard, is_once=bool(route.once))
    for status, same in groupby(refusals, lambda refusal: refusal.status):
        responses.setdefault(str(status), _response(status, list(same)))


def _security(requirements: list[dict[str, Any]], guard: StepUpGuard) -> list[dict[str, Any]]:
    """Return alternatives, each with the session in the header or in the cookie."""
    header = {scheme_of(member)[0]: None for member in guard.members}
    cookies = {
        scheme_of(member)[0] + _COOKIE: None
        for member in guard.members
        if member.credentials.session_cookie is not None
    }
    if any(name in requirement for requirement in requirements for name in cookies):
        return requirements
    alternatives = [
        {**{name if n in header else n: s for n, s in requirement.items()}, name: []}
        for name in (*header, *cookies)
        for requirement in requirements
    ]
    return [each for n, each in enumerate(alternatives) if each not in alternatives[:n]]


def _refusals(
    policies: list[StepUpPolicy], guard: StepUpGuard, *, is_once: bool
) -> list[StepUpError]:
    """Return every refusal of a guarded operation, by status; the likeliest of each first."""
    refusals: list[StepUpError] = [InvalidRequest()]
    if policies:
        refusals.append(all_of(policies).refusal_example(marks_step_up=guard.marks_step_up))
    refusals += [Unauthenticated(), InvalidToken(RejectReason.EXPIRED)]
    if guard.credentials.session_cookie is not None:
        refusals.append(CrossSiteRequest())
    if policies:
        refusals.append(ImpersonationRefused())
    if is_once:
        refusals.append(StepUpBusy())
    refusals += [KeysUnavailable(), RevocationUnavailable()]
    if is_once:
        refusals.append(OneTimeUnavailable())
    for refusal in refusals:
        refusal.bind(realm=guard.realm, resource_metadata=guard.refusals.resource_metadata)
    return refusals


def _extension(policies: list[StepUpPolicy], guard: StepUpGuard) -> dict[str, Any]:
    """Return all that the entry points of a route ask, as one policy."""
    marked = {"stepped_up": True} if guard.marks_step_up else {}
    listed = [{**marked, **each.members()} for each in all_of(policies).alternatives]
    return listed[0] if len(listed) == 1 else {"any_of": listed}


def _response(status: int, refusals: list[StepUpError]) -> dict[str, Any]:
    examples = {
        refusal.code: {"summary": refusal.title, "value": dict(refusal.problem)}
        for refusal in refusals
    }
    content = {"schema": {"$ref": f"#/components/schemas/{SCHEMA_NAME}"}, "examples": examples}
    headers = dict(map(_header, _fields(status)))
    for name, header in headers.items():
        header["examples"] = {
            refusal.code: {"value": refusal.headers[name]}
            for refusal in refusals
            if name in refusal.headers
        }
    return {
        "description": "; ".join(refusal.title for refusal in refusals),
        "headers": headers,
        "content": {PROBLEM_MEDIA_TYPE: content},
    }


def _fields(status: int) -> Iterator[tuple[str, str]]:
    """Yield the header fields of refusals with *status*: name and description."""
    yield _NOT_STORED
    if status in {400, 401}:
        yield _CHALLENGE
    if status in {409, 429, 503}:
        yield _WAIT


def _header(field: tuple[str, str]) -> tuple[str, dict[str, Any]]:
    name, description = field
    return name, {"description": description, "schema": {"type": "string"}}


def _cookie_scheme(name: str, guard: StepUpGuard) -> dict[str, Any]:
    token = "Session token of Descope" if guard.issuer is None else "Access token"
    return {
        "type": "apiKey",
        "in": "cookie",
        "name": name,
        "description": f"{token} in the session cookie.",
    }


def _openapi_path(template: str) -> str:
    """Return a route's path the way OpenAPI writes it: without convertors."""
    return _CONVERTOR.sub("}", template)

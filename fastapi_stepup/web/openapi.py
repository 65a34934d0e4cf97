"""Step-up in an app's OpenAPI schema: security scheme, refusals, `x-step-up`."""

import re
from collections.abc import Iterable
from copy import deepcopy
from http import HTTPStatus
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, RootModel
from starlette.applications import Starlette

from fastapi_stepup.challenge import Challenge
from fastapi_stepup.errors import (
    CrossSiteRequest,
    InvalidRequest,
    KeysUnavailable,
    StepUpError,
    StepUpRequired,
    Unauthenticated,
)
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.refusals import PROBLEM_MEDIA_TYPE
from fastapi_stepup.policy.policy import StepUpPolicy
from fastapi_stepup.web.dependencies import SCHEME, SCHEME_NAME
from fastapi_stepup.web.route_inventory import GuardedRoute, owned_routes

SCHEMA_NAME: Final = "StepUpProblem"
EXTENSION: Final = "x-step-up"

_CONVERTOR: Final = re.compile(r":[^{}]*\}")
_PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": SCHEMA_NAME,
    "description": "An RFC 9457 problem; `code` is stable, `detail` is for a person.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "unmet": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["requirement", "reason"],
                "properties": {
                    "requirement": {"enum": ["step_up", "amr", "acr"]},
                    "reason": {"enum": ["missing", "expired"]},
                },
            },
        },
        "max_age": {"type": "integer", "minimum": 0},
        "acr_values": {"type": "array", "items": {"type": "string"}},
        "amr": {"type": "array", "items": {"type": "string"}},
        "unmet_after_step_up": {
            "const": True,
            "description": "The step-up just now was not enough: the same again will not help.",
        },
        "step_up": {
            "type": "object",
            "required": ["methods"],
            "properties": {
                "start_uri": {"type": "string", "description": "Sends a one-time code."},
                "verify_uri": {"type": "string", "description": "Takes a one-time code."},
                "methods": {"type": "array", "items": {"type": "string"}},
                "status_uri": {"type": "string"},
                "flow_id": {"type": "string", "description": "The Descope flow to run instead."},
                "uris": {
                    "type": "object",
                    "description": "The routes of each other method.",
                    "additionalProperties": {
                        "type": "object",
                        "additionalProperties": {"type": "string"},
                    },
                },
            },
        },
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "problem"],
                "properties": {"field": {"type": "string"}, "problem": {"type": "string"}},
            },
        },
        "enroll_uri": {"type": "string"},
    },
}
_REFUSAL_HEADERS: Final[dict[int, tuple[str, str]]] = {
    401: ("WWW-Authenticate", "The challenge (RFC 6750, RFC 9470)."),
    429: ("Retry-After", "Seconds to wait."),
    503: ("Retry-After", "Seconds to wait."),
}


def _only_the_problem(schema: dict[str, Any]) -> None:
    schema.clear()
    schema.update(deepcopy(_PROBLEM_SCHEMA))


class StepUpProblem(RootModel[dict[str, Any]]):
    """A problem, for the schema of routes."""

    model_config: ClassVar[ConfigDict] = ConfigDict(json_schema_extra=_only_the_problem)


class StepUpRefusal(BaseModel):
    """A refusal as FastAPI wraps it, in an app without `install`."""

    detail: StepUpProblem


def describe(
    schema: dict[str, Any], app: Starlette, guard: StepUpGuard, *, around: Iterable[Starlette] = ()
) -> None:
    """Describe the guard in *schema*, in place.

    - Adds to every guarded operation the security scheme, the refusals with header, problem schema
      and example, and `x-step-up` with the policy where one is asked.
    - Covers operations behind a middleware rule like those with a dependency.
    - Does not change a description that the app has for a status.

    Args:
        schema: The schema of *app*.
        app: The app.
        guard: The guard.
        around: Apps on which *app* may be mounted, whose middleware is then in front of it.
    """
    guarded = {
        (_openapi_path(route.path.removeprefix(prefix)), method.lower()): route
        for root in (app, *around)
        for owner, prefix, route in owned_routes(root, guard)
        if owner is app and any(asked != "public" for _, asked in route.doors)
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
        components.setdefault("schemas", {})[SCHEMA_NAME] = deepcopy(_PROBLEM_SCHEMA)
        model = SCHEME.model_dump(mode="json", by_alias=True, exclude_none=True)
        components.setdefault("securitySchemes", {}).setdefault(SCHEME_NAME, model)


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
        if status in _REFUSAL_HEADERS:
            name, description = _REFUSAL_HEADERS[status]
            documented[status]["headers"] = {name: _header(description)}
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
    policies = [asked for _, asked in route.doors if isinstance(asked, StepUpPolicy)]
    refusals: list[StepUpError] = [InvalidRequest(), CrossSiteRequest(), KeysUnavailable()]
    if policies:
        strictest = policies[-1]
        refusals.append(
            StepUpRequired(
                [{"requirement": "step_up", "reason": "missing"}],
                max_age=strictest.max_age,
                acr_values=strictest.acr,
                amr=strictest.amr,
            )
        )
        operation[EXTENSION] = _extension(policies)
    else:
        refusals.append(Unauthenticated())
    # The members of the list are alternatives; the session is asked for with each of them.
    security = operation.get("security") or [{}]
    if not any(SCHEME_NAME in requirement for requirement in security):
        operation["security"] = [{**requirement, SCHEME_NAME: []} for requirement in security]
    responses = operation.setdefault("responses", {})
    for refusal in refusals:
        refusal.bind(realm=guard.realm)
        responses.setdefault(str(refusal.status), _response(refusal))


def _extension(policies: list[StepUpPolicy]) -> dict[str, Any]:
    # Any other policy asks for plain step-up too.
    stricter = [_policy(p) for p in dict.fromkeys(policies) if p != StepUpPolicy()]
    return {"all_of": stricter} if len(stricter) > 1 else (stricter or [_policy(StepUpPolicy())])[0]


def _policy(policy: StepUpPolicy) -> dict[str, Any]:
    members: dict[str, Any] = {"stepped_up": True}
    if policy.max_age is not None:
        members["max_age"] = policy.max_age
    if policy.amr:
        members["amr"] = list(policy.amr)
    if policy.acr:
        members["acr_values"] = list(policy.acr)
    return members


def _response(refusal: StepUpError) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{SCHEMA_NAME}"}
    response: dict[str, Any] = {
        "description": refusal.title,
        "content": {PROBLEM_MEDIA_TYPE: {"schema": reference, "example": dict(refusal.problem)}},
    }
    challenge: Challenge | None = refusal.challenge()
    if challenge is not None:
        name, description = _REFUSAL_HEADERS[401]
        response["headers"] = {
            name: _header(description) | {"example": str(challenge)},
        }
    return response


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _openapi_path(template: str) -> str:
    """Return a route's path the way OpenAPI writes it: without convertors."""
    return _CONVERTOR.sub("}", template)

"""What an app's OpenAPI schema says about step-up: security scheme, refusals, `x-step-up`."""

import re
from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Final

from starlette.applications import Starlette

from fastapi_stepup.answers import PROBLEM_MEDIA_TYPE
from fastapi_stepup.challenge import Challenge
from fastapi_stepup.dependency import SCHEME, SCHEME_NAME
from fastapi_stepup.errors import (
    CrossSiteRequest,
    InvalidRequest,
    KeysUnavailable,
    StepUpError,
    StepUpRequired,
    Unauthenticated,
)
from fastapi_stepup.guard import StepUpGuard
from fastapi_stepup.inventory import GuardedRoute, owned_routes
from fastapi_stepup.policy import StepUpPolicy

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
        "step_up": {
            "type": "object",
            "required": ["start_uri", "verify_uri", "methods"],
            "properties": {
                "start_uri": {"type": "string"},
                "verify_uri": {"type": "string"},
                "methods": {"type": "array", "items": {"type": "string"}},
            },
        },
    },
}


def describe(
    schema: dict[str, Any], app: Starlette, guard: StepUpGuard, *, around: Iterable[Starlette] = ()
) -> None:
    """Add to *schema*, in place, what the guard answers on each operation it guards.

    For every guarded operation: the security scheme, the refusals with header, problem schema and
    example, and `x-step-up` with the policy where one is asked. What the app already says about a
    status stays. Operations behind a middleware rule are covered like those with a dependency.

    Args:
        schema: The schema of *app*.
        app: The app.
        guard: The guard.
        around: Apps on which *app* may be mounted, and whose middleware stands in front of it.
    """
    guarded = {
        (_openapi_path(route.path.removeprefix(prefix)), method.lower()): route
        for root in (app, *around)
        for owner, prefix, route in owned_routes(root, guard)
        if owner is app and not route.is_open
        for method in route.methods
    }
    described = False
    for path, operations in schema.get("paths", {}).items():
        for method, operation in operations.items():
            route = guarded.get((path, method))
            if route is not None:
                _describe_operation(operation, route, guard)
                described = True
    if described:
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {}).setdefault(SCHEMA_NAME, deepcopy(_PROBLEM_SCHEMA))
        model = SCHEME.model_dump(mode="json", by_alias=True, exclude_none=True)
        components.setdefault("securitySchemes", {}).setdefault(SCHEME_NAME, model)


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
    telling = [_policy(p) for p in dict.fromkeys(policies) if p != StepUpPolicy()]
    return {"all_of": telling} if len(telling) > 1 else (telling or [_policy(StepUpPolicy())])[0]


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
        response["headers"] = {
            "WWW-Authenticate": {
                "description": "The challenge (RFC 6750, RFC 9470).",
                "schema": {"type": "string"},
                "example": str(challenge),
            }
        }
    return response


def _openapi_path(template: str) -> str:
    """Return a route's path the way OpenAPI writes it: without convertors."""
    return _CONVERTOR.sub("}", template)

"""The JSON schema of problems, for OpenAPI."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, RootModel

from fastapi_stepup.errors import StepUpError

SCHEMA_NAME: Final = "StepUpProblem"

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
                    "reason": {"enum": ["missing", "expired", "used"]},
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


def _codes(kind: type[StepUpError]) -> Iterator[str]:
    """Yield the codes of an error class and of all below it."""
    if hasattr(kind, "code"):
        yield kind.code
    for below in kind.__subclasses__():
        yield from _codes(below)


def _only_the_problem(schema: dict[str, Any]) -> None:
    schema.clear()
    schema.update(problem_schema())


def problem_schema() -> dict[str, Any]:
    """Return the JSON schema of a problem, with every code that a client may meet."""
    schema = deepcopy(_PROBLEM_SCHEMA)
    # Not an enum: a client must expect codes of later versions and of the app.
    schema["properties"]["code"]["examples"] = sorted(set(_codes(StepUpError)))
    return schema


class StepUpProblem(RootModel[dict[str, Any]]):
    """A problem, for the schema of routes."""

    model_config: ClassVar[ConfigDict] = ConfigDict(json_schema_extra=_only_the_problem)


class StepUpRefusal(BaseModel):
    """A refusal as FastAPI wraps it, in an app without `install`."""

    detail: StepUpProblem

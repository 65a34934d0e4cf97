"""Responses for refusals: the bare RFC 9457 problem."""

from typing import Final

from starlette.responses import JSONResponse

from fastapi_stepup.errors import StepUpError

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"


def problem_response(error: StepUpError) -> JSONResponse:
    """Return *error* as `application/problem+json`, with its headers."""
    return JSONResponse(
        error.problem, error.status, headers=error.headers, media_type=PROBLEM_MEDIA_TYPE
    )

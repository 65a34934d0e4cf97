"""Responses for refusals: the bare RFC 9457 problem."""

from starlette.responses import JSONResponse

from fastapi_stepup.errors import StepUpError
from fastapi_stepup.guard.refusals import PROBLEM_MEDIA_TYPE


def problem_response(error: StepUpError) -> JSONResponse:
    """Return *error* as `application/problem+json`, with its headers."""
    return JSONResponse(
        error.problem, error.status, headers=error.headers, media_type=PROBLEM_MEDIA_TYPE
    )

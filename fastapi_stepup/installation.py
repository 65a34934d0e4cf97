"""install: make an app answer refusals as bare RFC 9457 problems."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from fastapi_stepup.errors import ConfigurationError, StepUpError
from fastapi_stepup.guard import StepUpGuard

PROBLEM_MEDIA_TYPE = "application/problem+json"


def install(app: Starlette, guard: StepUpGuard) -> None:
    """Make *app* answer the refusals of *guard* as `application/problem+json`.

    Optional: without it both frameworks answer them too, FastAPI wrapped in `{"detail": …}`.
    Works on FastAPI and Starlette apps; a second call changes nothing.

    Raises:
        ConfigurationError: The app has served a request already, or *guard* is not a guard.
    """
    if not isinstance(guard, StepUpGuard):
        msg = "install takes the app and the guard: install(app, guard)."
        raise ConfigurationError(msg)
    if app.middleware_stack is not None:
        msg = "Call install(app, guard) where the app is built, before it serves requests."
        raise ConfigurationError(msg)
    app.add_exception_handler(StepUpError, _answer)


async def _answer(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StepUpError)  # noqa: S101  # for the type checker
    return JSONResponse(
        error.problem, error.status, headers=error.headers, media_type=PROBLEM_MEDIA_TYPE
    )

"""install: bare problems, OpenAPI descriptions and readable challenges for an app."""

from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from fastapi_stepup.errors import ConfigurationError, StepUpError
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.web.cors import ChallengeExposure
from fastapi_stepup.web.openapi import describe
from fastapi_stepup.web.responses import problem_response

_installed: WeakKeyDictionary[Starlette, WeakSet[StepUpGuard]] = WeakKeyDictionary()


def install(app: Starlette, guard: StepUpGuard) -> None:
    """Make *app* describe the refusals of *guard* to clients.

    - Refusals are answered as `application/problem+json`. (Without it both frameworks answer them
      too, FastAPI wrapped in `{"detail": …}`.)
    - FastAPI's OpenAPI schema shows on each guarded operation the security scheme, the refusals
      and `x-step-up`, whether a dependency or a `StepUpMiddleware` rule guards it, also for routes
      that are added later.
    - Where CORS lets another origin read a 401, it may read `WWW-Authenticate` too.

    Optional. Works on FastAPI and Starlette apps, in any order with `add_middleware`. A second call
    changes nothing.

    Raises:
        ConfigurationError: The app has served a request already, or an argument is something
            else.
    """
    if not isinstance(app, Starlette) or not isinstance(guard, StepUpGuard):
        msg = "install takes the app and the guard: install(app, guard)."
        raise ConfigurationError(msg)
    if app.middleware_stack is not None:
        msg = "Call install(app, guard) where the app is built, before it serves requests."
        raise ConfigurationError(msg)
    app.add_exception_handler(StepUpError, _answer)
    guards = _installed.setdefault(app, WeakSet())
    if not guards:
        _expose_challenges(app)
    if guard not in guards:
        guards.add(guard)
        _document(app, guard)


async def _answer(_: Request, error: Any) -> Response:
    return problem_response(error)


def _document(app: Any, guard: StepUpGuard) -> None:
    generate = getattr(app, "openapi", None)
    if generate is None:
        return
    described: dict[str, Any] | None = None

    def openapi() -> dict[str, Any]:
        nonlocal described
        schema: dict[str, Any] = generate()
        # FastAPI keeps the schema and makes a new one when routes were added.
        if schema is not described:
            describe(schema, app, guard, around=[a for a in _installed if a is not app])
            described = schema
        return schema

    app.openapi = openapi


def _expose_challenges(app: Any) -> None:
    build = app.build_middleware_stack
    # Outside of every middleware, whenever it is added: CORSMiddleware would overwrite the field.
    app.build_middleware_stack = lambda: ChallengeExposure(build())

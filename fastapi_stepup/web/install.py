"""install: make an app answer refusals as bare problems, say so in OpenAPI, and let CORS pass."""

from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastapi_stepup.errors import ConfigurationError, StepUpError
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.web.openapi import describe
from fastapi_stepup.web.responses import problem_response

_EXPOSE: Final = "Access-Control-Expose-Headers"
_REFUSALS: Final = frozenset({400, 401, 429, 503})
_FIELDS: Final = ("WWW-Authenticate", "Retry-After")

_installed: WeakKeyDictionary[Starlette, WeakSet[StepUpGuard]] = WeakKeyDictionary()


def install(app: Starlette, guard: StepUpGuard) -> None:
    """Make *app* tell clients all about the refusals of *guard*.

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


class ChallengeExposure:
    """Adds `WWW-Authenticate` and `Retry-After` to what a cross-origin page may read of a refusal.

    Only where CORS already lets the page read the answer; what is exposed already stays.

    Args:
        app: The app whose answers pass through.

    References:
        Fetch standard, section 3.3.6; RFC 9449 section 7.1.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _REFUSALS:
                headers = MutableHeaders(scope=message)
                exposed = [part.strip() for part in headers.get(_EXPOSE, "").split(",")]
                known = {part.lower() for part in exposed}
                added = [n for n in _FIELDS if n in headers and n.lower() not in known]
                if added and "access-control-allow-origin" in headers:
                    headers[_EXPOSE] = ", ".join([*filter(None, exposed), *added])
            await send(message)

        await self.app(scope, receive, sending)

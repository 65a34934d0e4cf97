"""install: bare problems, OpenAPI descriptions and readable challenges for an app."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.routing import Host, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastapi_stepup.claims import CLAIMS_SCOPE_KEY
from fastapi_stepup.errors import ConfigurationError, StepUpError
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.paths import has_routes
from fastapi_stepup.web.body_names import check_body_names
from fastapi_stepup.web.caching import keep_private
from fastapi_stepup.web.cors import expose_challenge
from fastapi_stepup.web.exception_handlers import (
    LAST_RESORT,
    answer,
    handlers_of,
    put_refusals_first,
)
from fastapi_stepup.web.head_first import HeadFirst
from fastapi_stepup.web.openapi import describe
from fastapi_stepup.web.route_inventory import flat_routes
from fastapi_stepup.web.swagger_ui import DocsLayer, docs_path

_DESCRIBES: Final = "__fastapi_stepup_describes__"

_installed: Final[WeakKeyDictionary[Starlette, WeakSet[StepUpGuard]]] = WeakKeyDictionary()
_with_docs: Final[WeakSet[Starlette]] = WeakSet()


def install(app: Starlette, guard: StepUpGuard, *, docs: bool | str = False) -> None:
    """Make *app* describe the refusals of *guard* to clients.

    - Refusals are answered as `application/problem+json`, from whichever entry point, and before
      the app's handlers for a status such as 401, for `HTTPException` and for `Exception`. A
      handler of the app for `StepUpError`, or for one of its kinds, answers instead. (Without
      `install` both frameworks answer refusals too, FastAPI wrapped in `{"detail": …}`.)
    - FastAPI's OpenAPI schema shows on each guarded operation the security schemes, the refusals
      and `x-step-up`, whether a dependency or a `StepUpMiddleware` rule guards it, also for routes
      that are added later. An `app.openapi` of the app's own is described when the app starts to
      serve, and by another call of `install`.
    - Where CORS lets another origin read a refusal, it may read `WWW-Authenticate` too.
    - A refusal comes before the body is read.
    - A reply to a session says `Cache-Control: private`, unless the app says something itself.
    - Apps that are mounted on *app* when it starts to serve are installed too.
    - A condition (`when=`) that names the body otherwise than its route stops the start.

    Optional. Works on FastAPI and Starlette apps, in any order with `add_middleware` and with what
    instruments the app. A second call changes nothing else.

    Args:
        app: A FastAPI or Starlette app.
        guard: The guard.
        docs: Make the app's Swagger UI step up: `Execute` on a guarded route opens the dialog of
            `stepup.js` and sends the request once more, and `Authorize` signs a user of the
            emulator in. `True` is for the page at the app's `docs_url`, a path for one of yours.

    Raises:
        ConfigurationError: The app has served a request already, or an argument is something
            else, or there is no Swagger UI.
    """
    if not isinstance(app, Starlette) or not isinstance(guard, StepUpGuard):
        msg = "install takes the app and the guard: install(app, guard)."
        raise ConfigurationError(msg)
    if app.middleware_stack is not None:
        msg = "Call install(app, guard) where the app is built, before it serves requests."
        raise ConfigurationError(msg)
    path = docs_path(app, docs) if docs else None
    put_refusals_first(app)
    guards = _installed.setdefault(app, WeakSet())
    if not guards:
        _add_layer(app)
    guards.add(guard)
    if path is not None and app not in _with_docs:
        _with_docs.add(app)
        _add_docs(app, guard, path)
    _document(app)


def _add_layer(app: Any) -> None:
    build = app.build_middleware_stack

    def build_with_layer() -> ASGIApp:
        for mounted in _mounted(app):
            if mounted.middleware_stack is None:
                for guard in _installed[app]:
                    install(mounted, guard)
        for route in flat_routes(app.routes):
            check_body_names(getattr(route, "_effective_route", route))
        _document(app)
        handlers, router = app.exception_handlers, app.router
        last = {key: handlers[key] for key in handlers if key in LAST_RESORT}
        # Frameworks build their own way and from these two, so they are replaced for that time.
        app.exception_handlers, app.router = handlers_of(app) | last, HeadFirst(router)
        try:
            stack = build()
        finally:
            app.exception_handlers, app.router = handlers, router
        # Outside of every middleware, whenever it is added: CORSMiddleware overwrites the field.
        return _outermost_but_one(stack, RefusalLayer)

    app.build_middleware_stack = build_with_layer


def _add_docs(app: Any, guard: StepUpGuard, path: str) -> None:
    build = app.build_middleware_stack
    layer = partial(DocsLayer, path=path, guard=guard)
    app.build_middleware_stack = lambda: _outermost_but_one(build(), layer)


def _outermost_but_one(stack: ASGIApp, layer: Callable[[ASGIApp], ASGIApp]) -> ASGIApp:
    """Put *layer* around *stack*, but inside of the middleware that instrumentations look for."""
    if isinstance(stack, ServerErrorMiddleware):
        stack.app = layer(stack.app)
        return stack
    return layer(stack)


def _mounted(app: Any) -> Iterator[Any]:
    """Yield the apps mounted on *app*, below plain routers and behind middlewares too."""
    for route in flat_routes(app.routes):
        original = getattr(route, "_effective_route", route)
        if not isinstance(original, (Host, Mount)):
            continue
        inner: Any = original.app
        while inner is not None and not has_routes(inner):
            inner = getattr(inner, "app", None)
        if isinstance(inner, Starlette):
            yield inner
        elif inner is not None:
            yield from _mounted(inner)


def _document(app: Any) -> None:
    """Describe what `app.openapi` returns, if that is not done already."""
    generate = getattr(app, "openapi", None)
    if generate is None or hasattr(generate, _DESCRIBES):
        return
    described: dict[str, Any] | None = None
    by: set[StepUpGuard] = set()

    def openapi() -> dict[str, Any]:
        nonlocal described, by
        schema: dict[str, Any] = generate()
        guards = set(_installed[app])
        # FastAPI keeps the schema and makes a new one when routes were added.
        if schema is not described or guards != by:
            others = [other for other in _installed if other is not app]
            for guard in guards:
                describe(schema, app, guard, around=others)
            described, by = schema, guards
        return schema

    setattr(openapi, _DESCRIBES, True)
    app.openapi = openapi


class RefusalLayer:
    """The layer that `install` adds around all other middleware.

    Args:
        app: The app inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        has_started = False

        async def sending(message: Message) -> None:
            nonlocal has_started
            has_started = True
            if message["type"] == "http.response.start":
                expose_challenge(message)
                if CLAIMS_SCOPE_KEY in scope:
                    keep_private(message)
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except StepUpError as error:
            # A middleware of the app's own asked the guard.
            if has_started:
                raise
            await answer(error, scope, receive, sending)

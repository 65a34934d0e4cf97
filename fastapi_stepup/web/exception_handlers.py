"""How an app answers a refusal: its own exception handlers, and those of `install`."""

from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakSet

from starlette._utils import is_async_callable
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketState

from fastapi_stepup.errors import StepUpError
from fastapi_stepup.guard.refusals import POLICY_VIOLATION
from fastapi_stepup.web.responses import problem_response

# Starlette keeps these for its outermost middleware.
LAST_RESORT: Final = (500, Exception)

_refusals_first: Final[WeakSet[Starlette]] = WeakSet()


def put_refusals_first(app: Starlette) -> None:
    """Let *app* answer refusals as bare problems, before its handlers for a status.

    A handler that the app has for `StepUpError`, or for one of its kinds, still answers.
    """
    if StepUpError not in app.exception_handlers:
        app.add_exception_handler(StepUpError, _bare_problem)
    _refusals_first.add(app)


def handlers_of(app: Starlette) -> dict[Any, Any]:
    """Return the handlers by which *app* answers exceptions, but for those of last resort."""
    own = {key: value for key, value in app.exception_handlers.items() if key not in LAST_RESORT}
    if app not in _refusals_first:
        return own
    return {
        # Starlette looks for a handler of the status before it looks for one of the class.
        key: _unless_refusal(value, own) if isinstance(key, int) else value
        for key, value in own.items()
    }


async def answer(
    error: HTTPException | WebSocketException, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer *error* as the app in the scope answers what is raised in it."""
    app = scope.get("app")
    if not isinstance(app, Starlette) and isinstance(error, StepUpError):
        await problem_response(error)(scope, receive, send)
        return
    handlers = handlers_of(app) if isinstance(app, Starlette) else {}

    async def refusing(*_: object) -> None:
        raise error

    await ExceptionMiddleware(refusing, handlers=handlers)(scope, receive, send)


async def _bare_problem(connection: Any, error: Any) -> Any:
    # Once a WebSocket is accepted, no server takes an HTTP answer any more.
    if getattr(connection, "application_state", None) is WebSocketState.CONNECTED:
        await connection.close(POLICY_VIOLATION, error.code)
        return None
    return problem_response(error)


def _unless_refusal(for_status: Any, handlers: Mapping[Any, Any]) -> Any:
    async def handle(connection: Any, error: Exception) -> Any:
        handler = for_status
        if isinstance(error, StepUpError):
            handler = next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)
        if is_async_callable(handler):
            return await handler(connection, error)
        return await run_in_threadpool(handler, connection, error)

    return handle

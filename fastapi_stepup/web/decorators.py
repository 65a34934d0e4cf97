"""requires_step_up: the guard on Starlette endpoints."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from starlette._utils import is_async_callable
from starlette.concurrency import run_in_threadpool
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket

from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.markers import mark
from fastapi_stepup.policy.policy import StepUpPolicy, check_asks_something

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def requires_step_up(
    guard: StepUpGuard, policy: StepUpPolicy | None = None
) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator that lets only sessions pass that meet *policy*.

    - Works on functions with a `request` or `websocket` parameter. Sync ones run in the thread
      pool, as Starlette runs them.
    - Works on `HTTPEndpoint` and `WebSocketEndpoint` classes.
    - Leaves the claims in the scope for `claims_from(request)`.
    - Refuses as the dependency does.
    - Does not guard what a decorator below it registers: `@app.get(…)` goes above it.

    Args:
        guard: The guard that decides.
        policy: The policy that a session must meet; plain step-up by default.

    Raises:
        ConfigurationError: *guard* or *policy* is something else, or the decorated endpoint is
            neither such a class nor a function with such a parameter, or is a generator.
    """
    asked = StepUpPolicy() if policy is None else policy
    if not isinstance(guard, StepUpGuard) or not isinstance(asked, StepUpPolicy):
        msg = "Write @requires_step_up(guard) or @requires_step_up(guard, StepUpPolicy(…))."
        raise ConfigurationError(msg)
    if not guard.marks_step_up:
        check_asks_something(asked)

    def decorate(endpoint: Endpoint) -> Endpoint:
        guarded: Endpoint = (
            _guarded_class(endpoint, guard, asked)
            if inspect.isclass(endpoint)
            else _guarded_function(endpoint, guard, asked)
        )
        return guarded

    return decorate


def _guarded_class(endpoint: Any, guard: StepUpGuard, policy: StepUpPolicy) -> Any:
    if not issubclass(endpoint, (HTTPEndpoint, WebSocketEndpoint)):
        msg = f"{endpoint.__name__} is neither an HTTPEndpoint nor a WebSocketEndpoint."
        raise ConfigurationError(msg)

    async def dispatch(self: Any) -> None:
        connection: HTTPConnection = (
            Request(self.scope)
            if issubclass(endpoint, HTTPEndpoint)
            else WebSocket(self.scope, self.receive, self.send)
        )
        await guard.authorize(connection, policy, entry_point="decorator")
        await super(guarded, self).dispatch()

    # Not on the class: a subclass that replaces `dispatch` is not guarded.
    mark(dispatch, guard, policy)
    guarded: Any = type(endpoint.__name__, (endpoint,), {"dispatch": dispatch})
    guarded.__module__, guarded.__doc__ = endpoint.__module__, endpoint.__doc__
    guarded.__qualname__ = endpoint.__qualname__
    return guarded


def _guarded_function(endpoint: Any, guard: StepUpGuard, policy: StepUpPolicy) -> Any:
    if inspect.isgeneratorfunction(endpoint) or inspect.isasyncgenfunction(endpoint):
        msg = f"{endpoint.__name__} is a generator; guard it with RequireStepUp instead."
        raise ConfigurationError(msg)
    names = list(inspect.signature(endpoint).parameters)
    name = next((n for n in names if n in {"request", "websocket"}), None)
    if name is None:
        msg = (
            f"{getattr(endpoint, '__name__', endpoint)!r} needs a parameter named request or "
            "websocket to be guarded."
        )
        raise ConfigurationError(msg)
    position = names.index(name)
    is_async = is_async_callable(endpoint)

    @functools.wraps(endpoint)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        connection = kwargs[name] if name in kwargs else args[position]
        await guard.authorize(connection, policy, entry_point="decorator")
        if is_async:
            return await endpoint(*args, **kwargs)
        return await run_in_threadpool(endpoint, *args, **kwargs)

    mark(guarded, guard, policy)
    return guarded

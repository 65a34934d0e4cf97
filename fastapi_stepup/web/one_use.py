"""One-time step-ups at entry points: spent by what the app answers, else given back."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import Signature
from typing import Any, Final

from starlette._utils import is_async_callable
from starlette.exceptions import WebSocketException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketState

from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import StepUpError
from fastapi_stepup.guard.conditions import asked_by, said_yes
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.one_time import Hold, is_good_answer
from fastapi_stepup.guard.route_policies import is_value_taken, keep_rules, matched_route
from fastapi_stepup.policy.policy import StepUpPolicy
from fastapi_stepup.web.exception_handlers import answer

_ANSWER_SCOPE_KEY: Final = "fastapi_stepup.answer"
_WATCHED: Final = "__fastapi_stepup_watched__"
_ERROR: Final = 400


async def serve_once(
    app: ASGIApp,
    guard: StepUpGuard,
    connection: HTTPConnection,
    holds: Sequence[Hold],
    *,
    receive: Receive,
    send: Send,
) -> None:
    """Let *app* serve *connection*, and settle *holds* by its answer.

    - They are spent before a 2xx or 3xx answer starts, and before a WebSocket is accepted.
    - They are given back by any other answer, by an exception, and where there is no answer.
    - Where they cannot be spent, the answer of *app* is replaced by the refusal.
    """
    scope = connection.scope
    is_replaced = False

    async def sending(message: Message) -> None:
        nonlocal is_replaced
        if is_replaced:
            return
        try:
            spent = _spends(message)
            if spent is not None:
                await settle_all(guard, connection, holds, spent=spent)
        except (StepUpError, WebSocketException) as refusal:
            is_replaced = True
            await answer(refusal, scope, receive, send)
        else:
            await send(message)

    try:
        await app(scope, receive, sending)
    finally:
        await settle_all(guard, connection, holds, spent=False)


async def settle_all(
    guard: StepUpGuard, connection: HTTPConnection, holds: Sequence[Hold], *, spent: bool
) -> None:
    """Settle each of *holds*; those that are settled already stay so.

    Raises:
        StepUpError: One is used, and the store failed.
        WebSocketException: The same, for a WebSocket that has no HTTP answer.
    """
    failed: StepUpError | WebSocketException | None = None
    for hold in holds:
        try:
            await guard.settle(connection, hold, spent=spent)
        except (StepUpError, WebSocketException) as error:
            failed = error
    if failed is not None:
        raise failed


def _spends(message: Message) -> bool | None:
    """Return whether *message* decides that a step-up is used; `None` if it decides nothing."""
    kind = message["type"]
    if kind in {"http.response.start", "websocket.http.response.start"}:
        status: int = message["status"]
        return status < _ERROR
    if kind in {"websocket.accept", "websocket.close"}:
        return bool(kind == "websocket.accept")
    return None


class OneUse:
    """Dependency that lets one request use a step-up, and settles that when its handler is done.

    `RequireStepUp(once=…)` depends on it at function scope, so that it settles before the answer
    starts. Not to be used alone.

    Args:
        dependency: The dependency that depends on it.
        guard: The guard that decides.
        policy: What the session must meet.
        when: The condition, if there is one.
        once: The purpose.
    """

    __signature__: Signature

    def __init__(
        self,
        dependency: object,
        guard: StepUpGuard,
        policy: StepUpPolicy,
        *,
        when: Callable[..., Any] | None,
        once: str,
    ) -> None:
        self._dependency = dependency
        self._guard = guard
        self._policy = policy
        self._when = when
        self._once = once

    async def __call__(
        self,
        connection: HTTPConnection,
        response: Response,
        *,
        asked: object = True,
        session: Claims | None = None,  # noqa: ARG002  # asked for so that it is checked first
    ) -> AsyncIterator[Claims | None]:
        """Authorize *connection*, and hold its step-up while the handler runs.

        Args:
            connection: A request or a WebSocket.
            response: Where handlers set a status that they do not return.
            asked: What the condition answered.
            session: Not used.

        Yields:
            The claims; `None` where a helper route decides itself and nothing takes them.

        Raises:
            StepUpError: The refusal.
            WebSocketException: The refusal of a WebSocket that has no HTTP answer.
            TypeError: The condition answered neither `True` nor `False`.
        """
        guard, when = self._guard, self._when
        if when is not None:
            if not said_yes(when, asked):
                yield await guard.authorize(connection, entry_point="dependency")
                return
            keep_rules(connection, guard, (asked_by(self._policy, when, self._once),))
        hold = await self._held(connection)
        if hold is None:
            yield None
            return
        try:
            if isinstance(connection, WebSocket):
                if connection.application_state is not WebSocketState.CONNECTING:
                    await guard.settle(connection, hold, spent=True)  # accepted by an entry before
                with _spending_on_accept(connection, guard, hold):
                    yield hold.claims
                spent = False
            else:
                given = _watch(connection, response)
                yield hold.claims
                spent = given.status(connection) < _ERROR
        except BaseException as error:
            await guard.settle(connection, hold, spent=is_good_answer(error))
            raise
        await guard.settle(connection, hold, spent=spent)

    async def _held(self, connection: HTTPConnection) -> Hold | None:
        """Return what *connection* holds; `None` where a helper route decides itself."""
        guard = self._guard
        try:
            return await guard.hold(connection, self._once, self._policy, entry_point="dependency")
        except StepUpError as error:
            is_left = guard.refusals.leaves_to_route(connection, error)
            if is_left and not is_value_taken(connection, self._dependency):
                return None
            raise

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OneUse):
            return NotImplemented
        return self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash(self._settings())

    def _settings(self) -> tuple[object, ...]:
        return self._guard, self._policy, self._when, self._once


@contextmanager
def _spending_on_accept(websocket: WebSocket, guard: StepUpGuard, hold: Hold) -> Iterator[None]:
    """Spend *hold* when the handler accepts: a WebSocket may live longer than any lease."""
    send = websocket.send

    async def sending(message: Message) -> None:
        if message["type"] == "websocket.accept":
            await guard.settle(websocket, hold, spent=True)
        await send(message)

    websocket.send = sending  # type: ignore[method-assign]  # Starlette has no other place to see it
    try:
        yield
    finally:
        websocket.send = send  # type: ignore[method-assign]  # as it was


@dataclass(slots=True)
class _Answer:
    """What the handler of one request answered.

    Args:
        response: The one that FastAPI passes to dependencies and handlers.
        is_noted: True once the handler has returned, as far as that is seen.
        noted: The status that it returned or set; `None` if neither.
    """

    response: Response
    is_noted: bool = False
    noted: int | None = None

    def status(self, connection: HTTPConnection) -> int:
        """Return the status that the client of *connection* is going to get."""
        declared: int | None = getattr(connection.scope.get("route"), "status_code", None)
        set_or_returned = self.noted if self.is_noted else self.response.status_code
        return set_or_returned or declared or 200

    def note(self, answered: object) -> None:
        """Note what the handler returns. FastAPI reads no status that is set after that."""
        answer_of = answered if isinstance(answered, Response) else self.response
        self.is_noted, self.noted = True, answer_of.status_code


_current: Final[ContextVar[_Answer | None]] = ContextVar("fastapi_stepup_answer", default=None)


def _watch(connection: HTTPConnection, response: Response) -> _Answer:
    """Return where the answer of the request's handler will be noted.

    A dependency does not see a `Response` that the handler returns. FastAPI has no place to look,
    so the handler is replaced, once, in the route's `dependant` by one that notes its status.
    """
    scope: Scope = connection.scope
    answer_of: _Answer = scope.setdefault(_ANSWER_SCOPE_KEY, _Answer(response))
    _current.set(answer_of)
    dependant: Any = getattr(matched_route(scope), "dependant", None)
    handler = getattr(dependant, "call", None)
    if handler is not None and not hasattr(handler, _WATCHED):
        dependant.call = _watched(handler)
    return answer_of


def _watched(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return *handler*, but noting the status of what it returns."""

    async def noting_later(*args: Any, **kwargs: Any) -> Any:
        noted = _current.get()
        return _note(noted, await handler(*args, **kwargs))

    def noting(*args: Any, **kwargs: Any) -> Any:
        noted = _current.get()
        return _note(noted, handler(*args, **kwargs))

    watched = functools.wraps(handler)(noting_later if is_async_callable(handler) else noting)
    setattr(watched, _WATCHED, True)
    return watched


def _note(noted: _Answer | None, answered: object) -> object:
    if noted is not None:
        noted.note(answered)
    return answered

"""RequireSession and RequireStepUp: the guard as FastAPI dependencies."""

from collections.abc import Callable, Iterable
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, cast

from fastapi import Depends
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection
from starlette.responses import Response

from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._options import Duration
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ConfigurationError, StepUpError
from fastapi_stepup.events import EntryPointName
from fastapi_stepup.guard.conditions import (
    asked_by,
    checked_condition,
    checked_purpose,
    said_yes,
)
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.route_policies import is_value_taken, keep_rules
from fastapi_stepup.policy.policy import StepUpPolicy, check_asks_something
from fastapi_stepup.web.one_use import OneUse

SCHEME_NAME: Final = "DescopeSession"
ACCESS_TOKEN_NAME: Final = "AccessToken"  # noqa: S105  # the name of a security scheme
_CONNECTION: Final = Parameter(
    "connection", Parameter.POSITIONAL_OR_KEYWORD, annotation=HTTPConnection
)
_NOT_ASKED: Final = object()
# Where a helper route decides itself; nothing takes the value there.
_TAKEN_BY_NOBODY: Final = cast("Claims", None)
_RESPONSE: Final = Parameter("response", Parameter.POSITIONAL_OR_KEYWORD, annotation=Response)
SCHEME: Final = HTTPBearer(
    bearerFormat="JWT",
    description="Session token of Descope, as a bearer token or in the session cookie.",
)
ACCESS_TOKEN: Final = HTTPBearer(
    bearerFormat="JWT", description="Access token (RFC 9068) of this API's issuer."
)


def scheme_of(guard: StepUpGuard) -> tuple[str, HTTPBearer]:
    """Return name and model of the security scheme for tokens in the header."""
    if guard.issuer is None:
        return SCHEME_NAME, SCHEME
    return ACCESS_TOKEN_NAME, ACCESS_TOKEN


class RequireSession(SetOnce, SecurityBase):
    """Dependency that lets signed-in requests pass and gives the handler their `Claims`.

    - Works on HTTP and WebSocket routes, sync and async handlers, on a route, a router or the app.
    - Instances are immutable. FastAPI runs equal ones once per request.
    - As a dependency of the whole app it leaves the helper routes that need no session to
      themselves: those that finish a step-up, and the public ones.
    - Does not ask for step-up.

    ```python
    SignedIn = Annotated[Claims, Depends(RequireSession(guard))]
    ```

    Args:
        guard: The guard that decides.

    Raises:
        ConfigurationError: *guard* is not a `StepUpGuard`.
    """

    model: HTTPBearer
    scheme_name: str
    guard: StepUpGuard
    policy: StepUpPolicy | None
    when: Callable[..., Any] | None
    _entry_point: ClassVar[EntryPointName | None] = "dependency"
    once: str | None
    _hash: int  # computed once: FastAPI asks several times a request

    def __init__(self, guard: StepUpGuard) -> None:
        self._set(guard, None)

    def _set(
        self,
        guard: StepUpGuard,
        policy: StepUpPolicy | None,
        when: Callable[..., Any] | None = None,
        once: str | None = None,
    ) -> None:
        if not isinstance(guard, StepUpGuard):
            msg = (
                f"{type(self).__name__} takes the guard first: "
                f'{type(self).__name__}(StepUpGuard.for_descope("P…")).'
            )
            raise ConfigurationError(msg)
        self.guard = guard
        self.policy = policy
        self.when = checked_condition(when)
        self.once = None if once is None else checked_purpose(once)
        self.scheme_name, self.model = scheme_of(guard.members[0])
        self._hash = hash((type(self), guard, policy, when, once))

    async def __call__(self, connection: HTTPConnection) -> Claims:
        """Authorize *connection*; FastAPI calls this.

        Raises:
            StepUpError: The refusal, which both frameworks answer.
            WebSocketException: The refusal of a WebSocket that has no HTTP answer.
        """
        try:
            return await self.guard.authorize(
                connection, self.policy, entry_point=self._entry_point
            )
        except StepUpError as error:
            if self._is_left_to_route(connection, error):
                return _TAKEN_BY_NOBODY
            raise

    def _is_left_to_route(self, connection: HTTPConnection, error: StepUpError) -> bool:
        """Return whether a helper route decides instead: nothing takes the claims then."""
        is_left = self.guard.refusals.leaves_to_route(connection, error)
        return is_left and not is_value_taken(connection, self)

    @property
    def dependency(self) -> NoReturn:
        """Looked for by FastAPI on what should be a `Depends`.

        Raises:
            ConfigurationError: Always; the message says what to write.
        """
        raise _forgotten_depends(type(self))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> NoReturn:
        """Refuse to be a mere annotation: FastAPI would ignore it, and the route were open.

        Raises:
            ConfigurationError: Always; the message says what to write.
        """
        raise _forgotten_depends(cls)

    def __deepcopy__(self, memo: object) -> NoReturn:
        """Refuse to be the default of a query parameter, which FastAPI copies in each request.

        Raises:
            ConfigurationError: Always; the message says what to write.
        """
        raise _forgotten_depends(type(self))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RequireSession):
            return NotImplemented
        return (type(self), self.guard, self.policy, self.when, self.once) == (
            type(other),
            other.guard,
            other.policy,
            other.when,
            other.once,
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        more = {"when": self.when, "once": self.once}
        given = "".join(f", {name}={value!r}" for name, value in more.items() if value is not None)
        return f"{type(self).__name__}({self.guard!r}, policy={self.policy!r}{given})"


class RequireStepUp(RequireSession):
    """Dependency that lets only stepped-up sessions pass and gives the handler their `Claims`.

    A signed-in request that is not stepped up gets 401 with an RFC 9470 challenge.

    ```python
    SteppedUp = Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]
    ```

    With *when* it depends on the request. The condition is itself a dependency, so it takes what
    any dependency takes, the body included:

    - It runs only for sessions. `False` lets a session pass as `RequireSession` does. So, as a
      dependency of the whole app, it keeps helper routes from finishing where the session ran out:
      put it on routes, or on routers of yours.
    - It answers `True` or `False`. Anything else is a `TypeError`, so 500, as is what it raises.
    - A body parameter of it has the name that the route gives the body. With another name FastAPI
      expects both inside one object. `install` and `StepUpRoute` find that at start-up.

    With *once* one step-up is good for one use, shared by all entry points of that purpose:

    - The step-up is held while the handler runs. It is spent when the handler returns, or raises
      an `HTTPException` below 400. It is given back when it answers 4xx or 5xx, or raises anything
      else: do not turn an exception into a 2xx answer. A WebSocket spends it when it is accepted.
    - A request with a step-up that is used gets 401 with `"reason": "used"`; with one that another
      request holds, 409 `step_up_busy`. Where that cannot be known, 503 `one_time_unavailable`.
    - It is settled before the answer starts; the `scope` of `Depends` need not be given.
    - HEAD and OPTIONS spend nothing, nor does report-only mode.
    - Several processes need `redis_url=` on the guard.

    Args:
        guard: The guard that decides.
        max_age: Longest age of the step-up; see `StepUpPolicy`.
        amr: Authentication methods, any one of which must have been used.
        acr: Authentication context classes, any one of which is enough.
        policy: A ready policy, instead of *max_age*, *amr* and *acr*.
        when: A dependency that says whether this request needs the step-up; by default each does.
        once: What one step-up is good for once; by default it is good for as long as it is recent.

    Raises:
        ConfigurationError: An argument cannot be used, or *policy* comes with another one, or
            *when* or *once* comes for a subclass with a `__call__` of its own.
    """

    policy: StepUpPolicy

    def __init__(
        self,
        guard: StepUpGuard,
        *,
        max_age: Duration | None = None,
        amr: Iterable[str] | str = (),
        acr: Iterable[str] | str = (),
        policy: StepUpPolicy | None = None,
        when: Callable[..., Any] | None = None,
        once: str | None = None,
    ) -> None:
        if policy is None:
            policy = StepUpPolicy(max_age=max_age, amr=amr, acr=acr)
        elif not isinstance(policy, StepUpPolicy) or max_age is not None or amr or acr:
            msg = "Give RequireStepUp either policy=StepUpPolicy(…) or max_age, amr and acr."
            raise ConfigurationError(msg)
        self._set(guard, policy, when, once)
        if not guard.marks_step_up:
            check_asks_something(policy)
        if self.once is not None:
            guard.declare_once(self.once, policy)
        if type(self).__call__ is RequireStepUp.__call__:
            self.__signature__: Signature = Signature([_CONNECTION, *self._asks()])
        elif when is not None or once is not None:
            name = "once" if when is None else "when"
            msg = f"{type(self).__name__} has a __call__ of its own, so it cannot take {name}=."
            raise ConfigurationError(msg)

    def _asks(self) -> list[Parameter]:
        """Return parameters for what FastAPI asks before this dependency, in this order."""
        asks: dict[str, Any] = {}
        if self.when is not None:
            # So that no condition runs for a caller without a session.
            asks |= {"session": Depends(RequireSession(self.guard)), "asked": Depends(self.when)}
        if self.once is not None:
            use = OneUse(self, self.guard, self.policy, when=self.when, once=self.once)
            inner = [_CONNECTION, _RESPONSE, *map(_keyword, asks, asks.values())]
            use.__signature__ = Signature(inner)
            # Not left to who declares it: at request scope it ends after the answer has started.
            asks["admitted"] = Depends(use, scope="function")
        return list(map(_keyword, asks, asks.values()))

    # Hidden from type checkers, to which `__call__(self, connection)` of a subclass remains right.
    if not TYPE_CHECKING:  # pragma: no branch - false for type checkers only

        async def __call__(
            self,
            connection: HTTPConnection,
            *,
            asked: object = True,
            session: Claims | None = None,  # noqa: ARG002  # asked for so that it is checked first
            admitted: object = _NOT_ASKED,
        ) -> Claims:
            """Authorize *connection*; FastAPI calls this.

            Args:
                connection: A request or a WebSocket.
                asked: What the condition answered.
                session: Not used.
                admitted: The claims, where *once* made another dependency decide.

            Raises:
                StepUpError: The refusal, which both frameworks answer.
                WebSocketException: The refusal of a WebSocket that has no HTTP answer.
                TypeError: The condition answered neither `True` nor `False`.
            """
            if self.once is not None:
                if admitted is _NOT_ASKED:
                    raise _asked_directly()
                return cast("Claims", admitted)
            if self.when is not None:
                return await self._authorize_when(self.when, connection, asked)
            # As above: a call of it would cost each request a coroutine.
            try:
                return await self.guard.authorize(
                    connection, self.policy, entry_point=self._entry_point
                )
            except StepUpError as error:
                if self._is_left_to_route(connection, error):
                    return _TAKEN_BY_NOBODY
                raise

    async def _authorize_when(
        self, when: Callable[..., Any], connection: HTTPConnection, asked: object
    ) -> Claims:
        if not said_yes(when, asked):
            return await self.guard.authorize(connection, entry_point=self._entry_point)
        keep_rules(connection, self.guard, (asked_by(self.policy, when, None),))
        return await self.guard.authorize(connection, self.policy, entry_point=self._entry_point)


def _keyword(name: str, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default)


def _asked_directly() -> TypeError:
    msg = (
        "RequireStepUp with once= works as a FastAPI dependency only; in a handler write "
        "async with guard.once(request, purpose, policy)."
    )
    return TypeError(msg)


def _forgotten_depends(kind: type[RequireSession]) -> ConfigurationError:
    name = kind.__name__
    return ConfigurationError(
        f"{name} guards nothing without Depends: write dependencies=[Depends({name}(guard))] or "
        f"claims: Annotated[Claims, Depends({name}(guard))]."
    )

"""RequireSession and RequireStepUp: the guard as FastAPI dependencies."""

from collections.abc import Iterable
from typing import Final, NoReturn

from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection

from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._options import Duration
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.policy.policy import StepUpPolicy

SCHEME_NAME: Final = "DescopeSession"
SCHEME: Final = HTTPBearer(
    bearerFormat="JWT",
    description="Session token of Descope, as a bearer token or in the session cookie.",
)


class RequireSession(SetOnce, SecurityBase):
    """Dependency that lets signed-in requests pass and gives the handler their `Claims`.

    - Works on HTTP and WebSocket routes, sync and async handlers, on a route, a router or the app.
    - Instances are immutable. FastAPI runs equal ones once per request.
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
    _hash: int  # computed once: FastAPI asks several times a request

    def __init__(self, guard: StepUpGuard) -> None:
        self._set(guard, None)

    def _set(self, guard: StepUpGuard, policy: StepUpPolicy | None) -> None:
        if not isinstance(guard, StepUpGuard):
            msg = (
                f"{type(self).__name__} takes the guard first: "
                f'{type(self).__name__}(StepUpGuard.for_descope("P…")).'
            )
            raise ConfigurationError(msg)
        self.guard = guard
        self.policy = policy
        self.model = SCHEME
        self.scheme_name = SCHEME_NAME
        self._hash = hash((type(self), guard, policy))

    async def __call__(self, connection: HTTPConnection) -> Claims:
        """Authorize *connection*; FastAPI calls this.

        Raises:
            StepUpError: The refusal, which both frameworks answer.
            WebSocketException: The refusal of a WebSocket that has no HTTP answer.
        """
        return await self.guard.authorize(connection, self.policy)

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
        return (type(self), self.guard, self.policy) == (type(other), other.guard, other.policy)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.guard!r}, policy={self.policy!r})"


class RequireStepUp(RequireSession):
    """Dependency that lets only stepped-up sessions pass and gives the handler their `Claims`.

    A signed-in request that is not stepped up gets 401 with an RFC 9470 challenge.

    ```python
    SteppedUp = Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]
    ```

    Args:
        guard: The guard that decides.
        max_age: Longest age of the step-up; see `StepUpPolicy`.
        amr: Authentication methods, any one of which must have been used.
        policy: A ready policy, instead of *max_age* and *amr*.

    Raises:
        ConfigurationError: An argument cannot be used, or *policy* comes with another one.
    """

    policy: StepUpPolicy

    def __init__(
        self,
        guard: StepUpGuard,
        *,
        max_age: Duration | None = None,
        amr: Iterable[str] | str = (),
        policy: StepUpPolicy | None = None,
    ) -> None:
        if policy is None:
            policy = StepUpPolicy(max_age=max_age, amr=amr)
        elif not isinstance(policy, StepUpPolicy) or max_age is not None or amr:
            msg = "Give RequireStepUp either policy=StepUpPolicy(…) or max_age and amr."
            raise ConfigurationError(msg)
        self._set(guard, policy)


def _forgotten_depends(kind: type[RequireSession]) -> ConfigurationError:
    name = kind.__name__
    return ConfigurationError(
        f"{name} guards nothing without Depends: write dependencies=[Depends({name}(guard))] or "
        f"claims: Annotated[Claims, Depends({name}(guard))]."
    )

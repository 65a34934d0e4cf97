"""Values that StepUpAuth and its prompt exchange."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias


class SessionTokens(Protocol):
    """A session as a sign-in returns it, such as `fastapi_stepup.testing.Tokens`."""

    @property
    def session_token(self) -> str:
        """The session JWT."""
        ...

    @property
    def refresh_token(self) -> str | None:
        """The refresh JWT. A step-up needs it."""
        ...


@dataclass(frozen=True, slots=True)
class StepUpTokens:
    """A session. Its `repr` shows no token."""

    session_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUpQuestion:
    """A question to the prompt: a code is asked for, or another method.

    Attributes:
        method: How the code was sent; `"totp"` for the one of an authenticator app.
        destination: Masked address or number that the code was sent to; `None` for `"totp"`.
        choices: All methods that are offered, *method* included.
        max_age: Seconds that a step-up is good for at this route; `None` when it does not say.
        acr_values: Authentication contexts that would do.
        amr: Authentication methods that would do.
        unmet: Requirements that are not met, as `{"requirement": …, "reason": …}`.
        problem: Code of the problem with the last answer, such as `"otp_rejected"`.
    """

    method: str
    destination: str | None
    choices: tuple[str, ...]
    max_age: int | None
    acr_values: tuple[str, ...]
    amr: tuple[str, ...]
    unmet: tuple[Mapping[str, str], ...]
    problem: str | None = None


StepUpPrompt: TypeAlias = Callable[[StepUpQuestion], str | Awaitable[str | None] | None]

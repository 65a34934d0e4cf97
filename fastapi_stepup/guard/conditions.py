"""What an entry point asks beyond a policy: of which requests, and whether for one use."""

import re
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from starlette._utils import is_async_callable
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.policy.policy import StepUpPolicy

Condition = Callable[[HTTPConnection], bool | Awaitable[bool]]

_PURPOSE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


@dataclass(frozen=True, slots=True)
class Once:
    """A policy of which one step-up is good for one use.

    Args:
        policy: What is asked.
        purpose: What it is used for; each purpose has a use of its own.
    """

    policy: StepUpPolicy
    purpose: str

    def __str__(self) -> str:
        return f"{self.policy} once for {self.purpose}"


@dataclass(frozen=True, slots=True)
class Conditional:
    """A policy that is asked only of some requests; the others need a session.

    Args:
        policy: What is asked where the condition says yes.
        when: The condition.
    """

    policy: StepUpPolicy | Once
    when: Callable[..., Any]

    def __str__(self) -> str:
        return f"{self.policy} when {condition_name(self.when)}"


def asked_by(
    policy: StepUpPolicy, when: Callable[..., Any] | None, once: str | None
) -> StepUpPolicy | Once | Conditional:
    """Return what an entry point asks that has these settings."""
    asked = policy if once is None else Once(policy, once)
    return asked if when is None else Conditional(asked, when)


def policy_in(asked: object) -> StepUpPolicy | None:
    """Return the policy in what an entry point asks; `None` where it asks for a session only."""
    while isinstance(asked, (Conditional, Once)):
        asked = asked.policy
    return asked if isinstance(asked, StepUpPolicy) else None


def purpose_in(asked: object) -> str | None:
    """Return the purpose in what an entry point asks, if one step-up is good for one use."""
    asked = asked.policy if isinstance(asked, Conditional) else asked
    return asked.purpose if isinstance(asked, Once) else None


def condition_name(when: Callable[..., Any]) -> str:
    """Return the name of a condition, for people."""
    name: str = getattr(when, "__name__", type(when).__name__)
    return name


def checked_condition(when: Any) -> Callable[..., Any] | None:
    """Return *when* if it can be a condition, or is `None`.

    Raises:
        ConfigurationError: It is something else.
    """
    if when is None:
        return None
    if isinstance(when, Hashable) and callable(when):
        return when
    msg = f"when is a function that returns True or False, without Depends, not {when!r}."
    raise ConfigurationError(msg)


def checked_purpose(once: Any) -> str:
    """Return *once* if it can name a purpose.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(once, str) and _PURPOSE.fullmatch(once):
        return once
    msg = (
        'once names what the step-up is used for, such as once="delete-account": up to 64 letters, '
        f"digits and . : _ -, not {once!r}."
    )
    raise ConfigurationError(msg)


def said_yes(when: Callable[..., Any], answer: object) -> bool:
    """Return *answer* if it is a plain yes or no.

    Nothing else is taken as either. `None` is what a function returns that forgot to answer, and a
    coroutine, which is true, is one that was not awaited.

    Raises:
        TypeError: It is neither `True` nor `False`.
    """
    if answer is True or answer is False:
        return answer
    if hasattr(answer, "close"):
        answer.close()  # a coroutine would warn later that it was never awaited
    msg = (
        f"{condition_name(when)}, given as when=, returns True or False, "
        f"not {type(answer).__name__}."
    )
    raise TypeError(msg)


async def is_asked(when: Condition, connection: HTTPConnection) -> bool:
    """Return whether *when* says yes for *connection*, of which it does not see the body.

    Functions that are not async run in the thread pool, since they may block.

    Raises:
        TypeError: It answers neither `True` nor `False`.
    """
    head = HTTPConnection(connection.scope)
    if is_async_callable(when):
        return said_yes(when, await when(head))
    return said_yes(when, await run_in_threadpool(when, head))

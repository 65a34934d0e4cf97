"""Conditions: a function that says, for one request, whether a policy is asked."""

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any

from starlette._utils import is_async_callable
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.policy.policy import StepUpPolicy

Condition = Callable[[HTTPConnection], bool | Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Conditional:
    """A policy that is asked only of some requests; the others need a session.

    Args:
        policy: What is asked where the condition says yes.
        when: The condition.
    """

    policy: StepUpPolicy
    when: Callable[..., Any]

    def __str__(self) -> str:
        return f"{self.policy} when {condition_name(self.when)}"


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

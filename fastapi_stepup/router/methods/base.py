"""What a step-up method is: its routes, and who can use it."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from fastapi_stepup.events import MethodName
from fastapi_stepup.providers.descope.client import DescopeClient
from fastapi_stepup.providers.descope.responses import DescopeUser
from fastapi_stepup.router.flow import StepUpFlow
from fastapi_stepup.router.records import Action
from fastapi_stepup.router.schemas import SteppedUpSession, StepUpRequestBody

_SHORT: Final = 7

Method = MethodName


@dataclass(frozen=True, slots=True)
class MethodRoute:
    """One `POST` route of a method.

    Args:
        path: Path below the router's prefix.
        uri: The name under which a challenge points to it.
        body: The body that it takes.
        reply: The body of its 200.
        handle: Gets the request, the caller (`None` where *public*) and the body.
        summary: One line for OpenAPI.
        public: Needs no session.
        pending: May answer 202.
        finishes: Ends a step-up. The refresh token says who the caller is if the session ran out
            on the way.
    """

    path: str
    uri: str
    body: type[StepUpRequestBody]
    reply: type[BaseModel]
    handle: "Callable[[Request, Any, Any], Awaitable[BaseModel | Response]]"
    summary: str
    public: bool = False
    pending: bool = False
    finishes: bool = False

    @property
    def action(self) -> Action | None:
        """What it does to the step-up; `None` for the page of an enchanted link."""
        if self.reply is SteppedUpSession:
            return "finish"
        return "start" if self.uri == "start_uri" else None


class StepUpMethod(ABC):
    """A method to step up by.

    Subclasses give their name as `name=`, list their routes, and say who can use them. The
    handlers of the routes raise the errors of `StepUpFlow` and of `DescopeClient`.
    """

    name: ClassVar[Method]

    def __init_subclass__(cls, *, name: Method) -> None:
        """Take the name of a method."""
        super().__init_subclass__()
        cls.name = name

    def __init__(self, flow: StepUpFlow) -> None:
        self.flow = flow

    @property
    def descope(self) -> DescopeClient:
        """The guard's client of the moment."""
        return self.flow.guard.descope

    @abstractmethod
    def routes(self) -> list[MethodRoute]:
        """Return the method's routes."""

    def offers(self) -> list[str]:
        """Return how a challenge lists the method."""
        return [self.name]

    @abstractmethod
    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        """Return the offers that *user* can use, each with its masked address if it has one."""


def masked(address: str | None) -> str | None:
    """Return an e-mail address or a phone number with just enough left to recognise it."""
    if address is None:
        return None
    name, at, domain = address.rpartition("@")
    if at:
        return f"{name[:1] if len(name) > 1 else ''}**@{domain}"
    if len(address) <= _SHORT:
        return "***"
    return f"{address[:2]}{'*' * (len(address) - 4)}{address[-2:]}"

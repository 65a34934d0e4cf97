"""RequireSession and RequireStepUp where `Depends` around them is forgotten."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireSession, RequireStepUp, StepUpGuard
from fastapi_stepup.errors import ConfigurationError


def nothing() -> None:
    """Do nothing."""


def registered(annotation: Any) -> None:
    """Register a handler with one parameter."""

    def handler(who: Any) -> None: ...

    handler.__annotations__["who"] = annotation
    FastAPI().get("/")(handler)


@pytest.mark.parametrize("kind", [RequireSession, RequireStepUp])
@pytest.mark.parametrize(
    "register",
    [
        pytest.param(lambda slip: FastAPI().get("/", dependencies=[slip])(nothing), id="route"),
        pytest.param(lambda slip: FastAPI(dependencies=[slip]).get("/")(nothing), id="app"),
        pytest.param(lambda slip: APIRouter(dependencies=[slip]).get("/")(nothing), id="router"),
        pytest.param(
            lambda slip: APIRouter(dependencies=[slip]).websocket("/")(nothing), id="websocket"
        ),
        pytest.param(lambda slip: registered(Annotated[Claims, slip]), id="claims"),
        pytest.param(lambda slip: registered(Annotated[str, slip]), id="text"),
        pytest.param(lambda slip: registered(Annotated[Any, slip]), id="anything"),
        pytest.param(registered, id="bare"),
        pytest.param(lambda slip: registered(type(slip)), id="class"),
    ],
)
def test_a_forgotten_depends_says_what_to_write(
    kind: type[RequireSession], register: Callable[[Any], Any], guard: StepUpGuard
) -> None:
    """At registration, in every place that takes dependencies or annotations."""
    with pytest.raises(ConfigurationError, match=rf"Annotated\[Claims, Depends\({kind.__name__}\("):
        register(kind(guard))


@pytest.mark.parametrize("kind", [RequireSession, RequireStepUp])
def test_the_class_in_depends_says_what_to_write(kind: type[RequireSession]) -> None:
    """FastAPI would make an instance for each request, and take the guard from its body."""
    with pytest.raises(
        ConfigurationError, match=r"Depends\(RequireStepUp\(guard\)\).*not the class"
    ):
        FastAPI().get("/", dependencies=[Depends(kind)])(nothing)


def test_a_forgotten_depends_as_a_default_fails_closed(guard: StepUpGuard) -> None:
    """FastAPI takes it for the default of a query parameter, so the first request fails."""
    app = FastAPI()

    @app.get("/pay")
    def pay(who: str = RequireStepUp(guard)) -> str:  # type: ignore[assignment]
        raise AssertionError

    with pytest.raises(ConfigurationError, match="guards nothing without Depends"):
        TestClient(app).get("/pay")

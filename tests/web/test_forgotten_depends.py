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
def test_a_forgotten_depends_says_what_to_write(
    kind: type[RequireSession], guard: StepUpGuard, subtests: pytest.Subtests
) -> None:
    """At registration, in every place that takes dependencies or annotations."""
    rows: dict[str, Callable[[Any], Any]] = {
        "route": lambda slip: FastAPI().get("/", dependencies=[slip])(nothing),
        "app": lambda slip: FastAPI(dependencies=[slip]).get("/")(nothing),
        "router": lambda slip: APIRouter(dependencies=[slip]).get("/")(nothing),
        "websocket": lambda slip: APIRouter(dependencies=[slip]).websocket("/")(nothing),
        "claims": lambda slip: registered(Annotated[Claims, slip]),
        "text": lambda slip: registered(Annotated[str, slip]),
        "anything": lambda slip: registered(Annotated[Any, slip]),
        "bare": registered,
        "class": lambda slip: registered(type(slip)),
    }
    for name, register in rows.items():
        with (
            subtests.test(name),
            pytest.raises(
                ConfigurationError, match=rf"Annotated\[Claims, Depends\({kind.__name__}\("
            ),
        ):
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

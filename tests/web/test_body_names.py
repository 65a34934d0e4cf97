"""Conditions that name the body otherwise than their route does."""

from collections.abc import Callable

import pytest
from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel
from starlette.testclient import TestClient

from fastapi_stepup import RequireStepUp, StepUpGuard, StepUpRoute, install
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.testing import DescopeEmulator

ANN = "ann@example.com"


class Transfer(BaseModel):
    """A body."""

    amount: int


async def over_limit(transfer: Transfer) -> bool:
    """Ask for a step-up above the limit."""
    return transfer.amount > 1000


def mismatched(guard: StepUpGuard, where: str) -> Callable[[], object]:
    """Return what finds out that condition and route name the body differently."""
    required = Depends(RequireStepUp(guard, when=over_limit))
    app = FastAPI()
    install(app, guard)
    router = APIRouter(route_class=StepUpRoute) if where == "class" else APIRouter()

    def pay(payment: Transfer) -> None: ...

    def add() -> None:
        router.post("/pay", dependencies=[required])(pay)

    if where == "class":
        return add
    add()
    app.include_router(router)
    return lambda: TestClient(app).post("/pay")


@pytest.mark.parametrize("where", ["install", "class"])
def test_other_name_for_the_body_stops_the_start(where: str, guard: StepUpGuard) -> None:
    """FastAPI would expect both in one object, and every client would get 422."""
    start = mismatched(guard, where)

    with pytest.raises(
        ConfigurationError,
        match=r"over_limit, given as when= at /pay, calls the body 'transfer', the route 'payment'",
    ):
        start()


def test_conditions_that_name_the_body_differently_stop_the_start(guard: StepUpGuard) -> None:
    """Two conditions of one route have to agree as well."""

    def other(payment: Transfer) -> bool:
        raise AssertionError

    app = FastAPI(dependencies=[Depends(RequireStepUp(guard, when=over_limit))])
    install(app, guard)
    app.post("/pay", dependencies=[Depends(RequireStepUp(guard, when=other))])(lambda: "done")

    with pytest.raises(
        ConfigurationError, match=r"other, .* calls the body 'payment', the route 'tra"
    ):
        TestClient(app).post("/pay")


def test_body_of_the_condition_alone_is_fine(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """The condition's body is then the route's."""
    app = FastAPI()
    app.post("/pay", dependencies=[Depends(RequireStepUp(guard, when=over_limit))])(lambda: "done")
    install(app, guard)
    response = TestClient(app).post(
        "/pay", json={"amount": 1}, headers=descope.sign_in(ANN).headers
    )

    assert response.status_code == 200

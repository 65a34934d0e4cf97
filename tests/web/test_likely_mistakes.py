"""The likely mistakes with policies: each says in a sentence what to write instead."""

import logging
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from starlette.testclient import TestClient

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpGuard,
    StepUpPolicy,
    StepUpRoute,
    StepUpRule,
    install,
)
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.testing import DescopeEmulator

P = StepUpPolicy(max_age="5m")
Q = StepUpPolicy(amr=["webauthn"])


class Transfer(BaseModel):
    """A body."""

    amount: int


def over_limit(payment: Transfer) -> bool:
    """Name the body otherwise than the route does."""
    return payment.amount > 1000


async def later() -> bool:
    """Answer later."""
    raise AssertionError


def coroutine(guard: StepUpGuard) -> RequireStepUp:
    """Give the coroutine instead of the function."""
    called = later()
    try:
        return RequireStepUp(guard, when=called)  # type: ignore[arg-type]
    finally:
        called.close()


def with_other_name(guard: StepUpGuard, app: FastAPI) -> FastAPI:
    """Register a route whose condition names the body otherwise."""

    @app.post("/pay")
    async def pay(
        transfer: Transfer,
        claims: Annotated[Claims, Depends(RequireStepUp(guard, when=over_limit))],
    ) -> None: ...

    return app


def started(guard: StepUpGuard) -> None:
    """Start an installed app."""
    app = FastAPI()
    install(app, guard)
    with TestClient(with_other_name(guard, app)):
        pass


def registered(guard: StepUpGuard) -> None:
    """Register a StepUpRoute."""
    app = FastAPI()
    app.router.route_class = StepUpRoute
    with_other_name(guard, app)


def nine() -> StepUpPolicy:
    """Combine one alternative too many."""
    policy = StepUpPolicy(amr=["a0"])
    for number in range(1, 9):
        policy |= StepUpPolicy(amr=[f"a{number}"])
    return policy


@pytest.mark.parametrize(
    ("mistake", "kind", "says"),
    [
        pytest.param(lambda g: P and Q, TypeError, "write p & q or p | q", id="p and q"),
        pytest.param(lambda g: not P, TypeError, "write p & q or p | q", id="not p"),
        pytest.param(lambda g: P - Q, TypeError, "combine them with & and |", id="p - q"),
        pytest.param(
            coroutine,
            ConfigurationError,
            "when is a function that returns True or False",
            id="coroutine",
        ),
        pytest.param(
            lambda g: RequireStepUp(g, when=Depends(over_limit)),
            ConfigurationError,
            "returns True or False, without Depends",
            id="when=Depends",
        ),
        pytest.param(
            started,
            ConfigurationError,
            "Give the parameter the same name in both",
            id="body name, installed",
        ),
        pytest.param(
            registered,
            ConfigurationError,
            "Give the parameter the same name in both",
            id="body name, StepUpRoute",
        ),
        pytest.param(lambda g: nine(), ConfigurationError, "8 is the most. Ask for less", id="9"),
        pytest.param(
            lambda g: StepUpPolicy(amr=["passkey"]), ConfigurationError, "webauthn", id="passkey"
        ),
        pytest.param(
            lambda g: RequireStepUp(g, once=True),  # type: ignore[arg-type]
            ConfigurationError,
            'such as once="delete-account"',
            id="once=True",
        ),
        pytest.param(
            lambda g: StepUpRule("/pay", "session", once="pay"),
            ConfigurationError,
            "once is about a step-up: give a StepUpPolicy",
            id="once of a session",
        ),
        pytest.param(
            lambda g: RequireStepUp(g, policy=P, max_age="5m"),
            ConfigurationError,
            r"either policy=StepUpPolicy\(…\) or max_age, amr and acr",
            id="policy and max_age",
        ),
    ],
)
def test_mistake_names_its_fix(
    mistake: Callable[[StepUpGuard], Any], kind: type[Exception], says: str, guard: StepUpGuard
) -> None:
    """Where it is written or where the app starts, before the first request."""
    with pytest.raises(kind, match=says):
        mistake(guard)


def test_empty_alternative_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """It is valid, and any step-up meets the whole."""
    policy = P | StepUpPolicy(amr=[])

    assert policy == StepUpPolicy()
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.records[0].getMessage().endswith("asks for nothing more. Leave that one out.")


def test_once_needs_no_scope(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """The mistake of leaving `scope="function"` out cannot be made: both settle in time."""
    app = FastAPI()
    scopes: dict[str, Any] = {"/a": None, "/b": "request"}
    for path, scope in scopes.items():
        once = Depends(RequireStepUp(guard, once=path[1:]), scope=scope)
        app.post(path, dependencies=[once])(lambda: "done")
    client = TestClient(app)
    headers = dict(descope.step_up("ann@example.com").headers)

    for path in scopes:
        statuses = [client.post(path, headers=headers).status_code for _ in range(2)]
        assert statuses == [200, 401]

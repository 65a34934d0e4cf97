"""Fixtures of the tests of the official SDKs."""

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from descope import DescopeClient, DescopeClientAsync
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard
from fastapi_stepup.testing import DescopeEmulator
from tests.sdk.python_client import SDKClient
from tests.sdk.served import Served, Shop


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The emulator's settings; a test's parameter."""
    return dict(getattr(request, "param", {}))


@pytest.fixture
def served(settings: dict[str, Any]) -> Iterator[Served]:
    """A fresh emulator on a free port of this machine."""
    emulator = DescopeEmulator(**settings)
    with emulator.serve() as url:
        yield Served(emulator, url)


@pytest.fixture
def shop(served: Served) -> Shop:
    """An app that knows the emulator only by its URL, as it would know Descope."""
    guard = StepUpGuard.for_descope(served.project_id, base_url=served.url)
    app = FastAPI()
    needed = Depends(RequireStepUp(guard, max_age="5m"))

    @app.post("/checkout")
    async def checkout(claims: Annotated[Claims, needed]) -> str:
        return claims.subject

    return Shop(TestClient(app))


@pytest.fixture(params=[DescopeClient, DescopeClientAsync], ids=["sync", "async"])
def sdk(request: pytest.FixtureRequest, served: Served) -> SDKClient:
    """Each of the two clients."""
    return SDKClient(served, request.param)

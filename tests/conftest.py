"""Fixtures that every test may use."""

from collections.abc import Iterator

import pytest

from fastapi_stepup import StepUpGuard
from fastapi_stepup.testing import DescopeEmulator


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each asynchronous test on both event loops."""
    return str(request.param)


@pytest.fixture
def guard() -> StepUpGuard:
    """A guard with the defaults; give a test `descope` too, and its tokens are good."""
    return StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")


@pytest.fixture
def descope(guard: StepUpGuard) -> Iterator[DescopeEmulator]:
    """The Descope of `guard`, for the time of the test."""
    with DescopeEmulator(project_id=guard.project_id).attach(guard) as descope:
        yield descope

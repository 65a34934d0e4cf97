"""Fixtures that every test may use."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from fastapi_stepup import StepUpGuard
from fastapi_stepup.testing import DescopeEmulator

HERE: Final = Path(__file__).parent

# What a place needs or costs; single tests elsewhere carry marks of their own.
MARKS: Final = {
    "browser": "browser",
    "contract/test_schemathesis.py": "slow",
    "contract/test_servers.py": "servers",
    "examples": "slow",
    "examples/test_shop_in_chromium.py": "browser",
    "policy/test_laws.py": "slow",
    "project/test_benchmarks.py": "slow",
    "sdk": "sdk",
    "tokens/test_properties.py": "slow",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by where they stand."""
    for item in items:
        for place, mark in MARKS.items():
            if item.path.is_relative_to(HERE / place):
                item.add_marker(mark)


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

"""Fixtures: the emulator behind the app's guard, and a client.

Start the tests: `python -m pytest examples/tests_folder`
"""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from examples.tests_folder.app import app, guard
from fastapi_stepup.testing import DescopeEmulator


@pytest.fixture
def descope(descope_emulator: DescopeEmulator) -> Iterator[DescopeEmulator]:
    """The Descope of the app, new for each test."""
    with descope_emulator.attach(guard) as descope:
        yield descope


@pytest.fixture
def client() -> TestClient:
    """A client without a session."""
    return TestClient(app)

"""Key set tests run on asyncio; those about event loops run on trio too."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of tests that do not care which one it is."""
    return "asyncio"

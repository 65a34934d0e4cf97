"""Fixtures of tests of entry points."""

from collections.abc import Iterator

import pytest

from tests.support.one_time import OneTime


@pytest.fixture
def ann() -> Iterator[OneTime]:
    """A guard with a store in memory, and a stepped-up session."""
    with OneTime() as ann:
        yield ann

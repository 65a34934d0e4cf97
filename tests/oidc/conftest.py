"""Fixtures of the tests with a real issuer; one that is running is used by all that can."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.oidc.stack import Stack, stack


@pytest.fixture(scope="package")
def stacks() -> Iterator[Callable[..., Stack]]:
    """Returns the running stack with these settings of the issuer."""
    running: dict[tuple[tuple[str, str], ...], Stack] = {}
    with ExitStack() as closing:

        def of(**settings: str) -> Stack:
            key = tuple(sorted(settings.items()))
            if key not in running:
                running[key] = closing.enter_context(stack(**settings))
            running[key].events.clear()
            return running[key]

        yield of

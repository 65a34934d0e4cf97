"""Fixtures for the tests of StepUpAuth on real sockets."""

from collections.abc import Iterator

import pytest

from fastapi_stepup.testing.server import served
from tests.client.site import CLIENTS, Site


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    """The name of a client: synchronous or not, of httpx or httpx2."""
    return str(request.param)


@pytest.fixture(scope="package")
def sites() -> Iterator[list[Site]]:
    """Two sites, served for all tests."""
    shop, other = Site(), Site()
    with served(shop) as shop.url, served(other) as other.url:
        yield [shop, other]


@pytest.fixture
def shop(sites: list[Site]) -> Site:
    """The site that gets the tokens."""
    return sites[0].reset()


@pytest.fixture
def other(sites: list[Site]) -> Site:
    """A site that must not get a token."""
    return sites[1].reset()

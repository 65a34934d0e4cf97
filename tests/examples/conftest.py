"""Fixtures of the tests of the shop."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from examples.tee_hee_tees.app import Settings, create_app
from examples.tee_hee_tees.store import Store
from tests.examples.shop import HERE, Shop


@pytest.fixture(autouse=True)
def no_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own Descope project out of these tests."""
    monkeypatch.delenv("DESCOPE_PROJECT_ID", raising=False)
    monkeypatch.delenv("DESCOPE_BASE_URI", raising=False)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop on its own emulator, with no session."""
    database = tmp_path / "shop.sqlite3"
    app = create_app(Settings(database=database))
    with TestClient(app, base_url=HERE, follow_redirects=False) as browser:
        yield Shop(app, browser, app.state.emulator, Store(database))

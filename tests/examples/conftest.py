"""Fixtures of the tests of the shop."""

import fcntl
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

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
def usual_ports() -> Iterator[None]:
    """The ports that pages and files name, which one test at a time listens on."""
    with Path(gettempdir(), "fastapi-stepup-usual-ports").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop on its own emulator, with no session."""
    database = tmp_path / "shop.sqlite3"
    app = create_app(Settings(database=database))
    with TestClient(app, base_url=HERE, follow_redirects=False) as browser:
        yield Shop(app, browser, app.state.emulator, Store(database))

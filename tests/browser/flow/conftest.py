"""Fixtures of the tests of Descope's flow components."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from fastapi_stepup.testing import Tokens
from tests.browser.flow.stack import (
    ANN,
    CHROMIUM,
    PACKAGES,
    UI,
    Stack,
    Visit,
    built_react,
    launched,
    running,
)

_MISSING = [
    name
    for name, is_there in (
        ("Chromium", bool(CHROMIUM)),
        ("npm ci --prefix tests/browser/flow/node", PACKAGES.is_dir()),
    )
    if not is_there
]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled React sample."""
    if _MISSING:
        pytest.skip(f"needs {' and '.join(_MISSING)}")
    return built_react(tmp_path_factory.mktemp("react"))


@pytest.fixture(scope="module")
def chromium(built: Path) -> Iterator[Browser]:
    """Chromium, cut off from the network but for this machine.

    Closed after each module: Playwright leaves an event loop running in this thread until then.
    """
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def stacks(built: Path) -> Iterator[dict[str, Stack]]:
    """The app and its emulator, with plain screens and with Descope's own."""
    with running(built) as plain, running(built, ui=UI) as descope:
        yield {"plain": plain, "descope": descope}


@pytest.fixture(params=["plain", "descope"])
def look(request: pytest.FixtureRequest) -> str:
    """The look of the screens: plain HTML, or Descope's own elements."""
    return str(request.param)


@pytest.fixture
def stack(stacks: dict[str, Stack], look: str) -> Stack:
    """The running app, with an emulator that is empty but for Ann."""
    stack = stacks[look]
    stack.emulator.reset()
    stack.clock[0] = 0
    stack.emulator.create_user(ANN, phone="+15550100012", name="Ann")
    return stack


@pytest.fixture
def ann(stack: Stack) -> Tokens:
    """Ann, signed in."""
    return stack.emulator.sign_in(ANN)


@pytest.fixture
def visit(stack: Stack, chromium: Browser) -> Iterator[Visit]:
    """A fresh browser context; no other host may be asked for, no script may fail."""
    context = chromium.new_context()
    with context:
        visit = Visit(stack, context)
        yield visit
        assert visit.foreign == []
        assert visit.errors == []

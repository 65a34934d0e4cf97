"""The shop in Chromium, the way people use it: each scenario of `scenarios/` is a test.

Screenshots of each state, light and dark, wide and narrow, are in `build/screenshots/shop`.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest

PACKAGES = [
    Path(__file__).parents[1] / folder / "node/node_modules" for folder in ("browser", "sdk")
]
pytestmark = pytest.mark.skipif(
    shutil.which("chromium") is None or not all(map(Path.is_dir, PACKAGES)),
    reason="needs chromium, and npm ci in tests/browser/node and tests/sdk/node",
)
SCENARIOS = {
    "shopping": (
        "browse",
        "browse_without_script",
        "order",
        "cancel",
        "reload",
        "expire",
        "outlive_session",
        "be_refused",
    ),
    "refunding": ("refund", "refund_two_at_once", "refund_too_late", "refund_by_passkey"),
    "front_ends": ("step_up_by_the_script", "step_up_by_hand", "step_up_by_the_sdk", "record"),
}


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    """Resources that the scenarios share, closed at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("module", "name"),
    [
        pytest.param(f"tests.examples.scenarios.{module}", name, id=name)
        for module, names in SCENARIOS.items()
        for name in names
    ],
)
def test_scenario(stack: ExitStack, module: str, name: str) -> None:
    """The scenario runs to its end."""
    getattr(import_module(module), name)(stack)

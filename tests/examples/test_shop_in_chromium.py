"""The shop in Chromium, the way people use it.

The stories are told in `stories/`, which is no package on purpose: coverage asks for no line of it
where there is no browser, and for every line where there is one. Screenshots of each state, in both
colour schemes and for both a desk and a phone, are in `build/screenshots/shop`.
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
NEEDS_BROWSER = pytest.mark.skipif(
    shutil.which("chromium") is None or not all(map(Path.is_dir, PACKAGES)),
    reason="needs chromium, and npm ci in tests/browser/node and tests/sdk/node",
)
STORIES = {
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
def cast() -> Iterator[ExitStack]:
    """Whom the stories bring along, to be sent home at the end."""
    with ExitStack() as cast:
        yield cast


@pytest.mark.parametrize(
    ("module", "name"),
    [
        pytest.param("contextlib", "closing", id="none"),  # tells nothing, also without a browser
        *(
            pytest.param(f"tests.examples.stories.{module}", name, id=name, marks=NEEDS_BROWSER)
            for module, names in STORIES.items()
            for name in names
        ),
    ],
)
def test_story(cast: ExitStack, module: str, name: str) -> None:
    """The story comes true."""
    getattr(import_module(module), name)(cast)

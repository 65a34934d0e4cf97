"""stepup.js in Chromium, against the served app: its dialog, two origins, Descope's component.

The stories are told in JavaScript, in `node/*.test.mjs`, so that this file is covered whether there
is a browser or not. Screenshots of every state of the dialog are in `build/screenshots/dialog`.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from fastapi_stepup.testing.server import served
from tests.browser.app import create_app
from tests.browser.suites import HERE, PACKAGES, passed

NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or ""
SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots" / "dialog"

# What the app is asked for before a browser comes: both of its pages, and both forms of a refusal.
STAND_IN = """
import os, httpx
for name in ("STEPUP_SITE", "STEPUP_PLAIN"):
    site = os.environ[name]
    assert "stepup.js?v=" in httpx.get(site).text
    control = site + "/descope/_emulator/"
    tokens = httpx.post(control + "sign-in", json={"login_id": "ann@example.com"}).json()
    headers = {"Authorization": "Bearer " + tokens["session_token"]}
    assert httpx.post(site + "/pay", headers=headers, json=1).status_code == 401
    tokens = httpx.post(
        control + "step-up", json={"login_id": "ann@example.com", "amr": ["sms"]}
    ).json()
    headers = {"Authorization": "Bearer " + tokens["session_token"]}
    assert httpx.post(site + "/pay", headers=headers, json=1).json() == {"paid": 1, "amr": ["sms"]}
    assert httpx.post(site + "/refund", headers=headers).json() == ["sms"]
print("# pass 1")
"""
NEEDS_PACKAGES = pytest.mark.skipif(
    NODE is None or not PACKAGES.is_dir(), reason="needs node: cd tests/browser/node && npm ci"
)
NEEDS_BROWSER = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")


def stories(*names: str) -> list[str]:
    """Return the command that tells them."""
    files = (str(HERE / "node" / f"{name}.test.mjs") for name in names)
    return [NODE or "node", "--test", "--test-reporter=tap", *files]


@pytest.fixture(scope="module")
def sites() -> Iterator[Mapping[str, str]]:
    """The app, served twice, as the stories find it."""
    with served(create_app()) as site, served(create_app(installed=False)) as plain:
        yield {
            # By its name: passkeys want one, and another origin has the number.
            "STEPUP_SITE": site.replace("127.0.0.1", "localhost"),
            "STEPUP_PLAIN": plain.replace("127.0.0.1", "localhost"),
            "STEPUP_CHROMIUM": CHROMIUM,
            "STEPUP_SCREENSHOTS": str(SCREENSHOTS),
        }


@pytest.mark.parametrize(
    ("command", "at_least"),
    [
        pytest.param([sys.executable, "-c", STAND_IN], 1, id="app"),
        pytest.param(stories("contract"), 3, id="contract", marks=NEEDS_PACKAGES),
        pytest.param(
            stories("dialog", "page"), 40, id="stories", marks=[NEEDS_PACKAGES, NEEDS_BROWSER]
        ),
    ],
)
def test_stories(sites: Mapping[str, str], command: Sequence[str], at_least: int) -> None:
    """Every story comes true: none failed, none was skipped, none got lost."""
    assert passed(command, **sites) >= at_least

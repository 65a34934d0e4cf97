"""stepup.js in Chromium, against the served app: its dialog, two origins, Descope's component.

The scenarios are JavaScript, in `node/*.test.mjs`. Screenshots of every state of the dialog are
written to `build/screenshots/dialog`.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from fastapi_stepup.testing.server import served
from tests.browser import front_ends
from tests.browser.app import create_app
from tests.browser.suites import HERE, PACKAGES, passed

NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or ""
SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots" / "dialog"

NEEDS_PACKAGES = pytest.mark.skipif(
    NODE is None or not PACKAGES.is_dir(), reason="needs node: cd tests/browser/node && npm ci"
)
NEEDS_BROWSER = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")


FILES = sorted(path.name.removesuffix(".test.mjs") for path in (HERE / "node").glob("*.test.mjs"))
WITHOUT_BROWSER = "contract"


def scenarios(*names: str) -> list[str]:
    """Return the command that runs them."""
    files = (str(HERE / "node" / f"{name}.test.mjs") for name in names)
    return [NODE or "node", "--test", "--test-reporter=tap", *files]


@pytest.fixture(scope="module")
def sites() -> Iterator[Mapping[str, str]]:
    """The app, served twice, as environment variables of the scenarios."""
    with (
        served(create_app()) as site,
        served(create_app(installed=False)) as plain,
        served(front_ends.create_app()) as recipes,
    ):
        yield {
            # By its name: passkeys need one, and the number is another origin.
            "STEPUP_SITE": site.replace("127.0.0.1", "localhost"),
            "STEPUP_PLAIN": plain.replace("127.0.0.1", "localhost"),
            "STEPUP_FRONT_ENDS": recipes.replace("127.0.0.1", "localhost"),
            "STEPUP_CHROMIUM": CHROMIUM,
            "STEPUP_SCREENSHOTS": str(SCREENSHOTS),
        }


def test_app_that_the_browser_uses(sites: Mapping[str, str]) -> None:
    """Both forms of the app serve their page and refuse a session without a step-up."""
    for name in ("STEPUP_SITE", "STEPUP_PLAIN"):
        site = sites[name]
        session = signed_in(site, "sign-in")
        stepped_up = signed_in(site, "step-up", amr=["sms"])
        assert "stepup.js?v=" in httpx.get(site).text
        assert httpx.post(f"{site}/pay", headers=session, json=1).status_code == 401
        paid = httpx.post(f"{site}/pay", headers=stepped_up, json=1)
        assert paid.json() == {"paid": 1, "amr": ["sms"]}
        assert httpx.post(f"{site}/refund", headers=stepped_up).json() == ["sms"]


def signed_in(site: str, step: str, **members: object) -> Mapping[str, str]:
    """Return the headers of a session that the emulator of *site* makes."""
    body = {"login_id": "ann@example.com", **members}
    tokens = httpx.post(f"{site}/descope/_emulator/{step}", json=body).json()
    return {"Authorization": f"Bearer {tokens['session_token']}"}


@pytest.mark.parametrize(
    ("command", "at_least"),
    [
        pytest.param(scenarios(WITHOUT_BROWSER), 4, id="contract", marks=NEEDS_PACKAGES),
        pytest.param(
            scenarios(*(name for name in FILES if name != WITHOUT_BROWSER)),
            103,
            id="scenarios",
            marks=[NEEDS_PACKAGES, NEEDS_BROWSER],
        ),
    ],
)
def test_scenarios(sites: Mapping[str, str], command: Sequence[str], at_least: int) -> None:
    """Every scenario passes: none failed, none was skipped, none was lost."""
    assert passed(command, **sites) >= at_least  # pragma: no cover - needs node and its packages

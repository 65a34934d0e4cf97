"""`examples/react`: its pages built as they are, in front of its API and an emulator."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from examples.react.app import create_app
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.server import served
from tests.browser.flow.stack import ANN, PACKAGES, Stack, Visit

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "react"
PICTURES = EXAMPLE.parents[1] / "build" / "screenshots" / "react"
AXE = PACKAGES / "axe-core" / "axe.min.js"
PATHS = {"react": "/", "component": "/component.html"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built by the example's own command."""
    vite = EXAMPLE / "node_modules" / ".bin" / "vite"
    if not vite.exists():
        pytest.skip("needs npm ci --prefix examples/react")
    folder = tmp_path_factory.mktemp("pages")
    command = ["npm", "run", "build", "--prefix", str(EXAMPLE), "--", "--outDir", str(folder)]
    subprocess.run([*command, "--emptyOutDir"], check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def stack(pages: Path) -> Iterator[Stack]:
    """The example and its emulator, on two ports of this machine."""
    emulator = DescopeEmulator()
    with emulator.serve() as first:
        descope = first.replace("127.0.0.1", "localhost")
        with served(create_app(emulator.project_id, descope, pages)) as url:
            yield Stack(emulator, descope, url.replace("127.0.0.1", "localhost"), [0.0])


@pytest.fixture(params=PATHS)
def visit(stack: Stack, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A phone on one of the two pages, before any sign-in; no other host may be asked for."""
    stack.emulator.reset()
    stack.emulator.create_user(ANN, name="Ann", phone="+15550100012")
    with chromium.new_context(viewport={"width": 390, "height": 844}) as context:
        visit = Visit(stack, context)
        visit.page.goto(stack.url + PATHS[request.param])
        yield visit
        assert (visit.foreign, visit.errors) == ([], [])


def signed_in(visit: Visit) -> None:
    """Sign in by a code."""
    email = visit.page.locator("descope-wc input[name=email]")
    email.fill(ANN)
    visit.press("submit")
    visit.reads("We sent it to a**@example.com")
    visit.enter(visit.stack.code)
    expect(visit.page.locator("#hello")).to_have_text("Hello Ann.")


def test_transfer_after_a_step_up(visit: Visit) -> None:
    """The refusal's flow runs in place, the transfer is made, and the next one at once."""
    signed_in(visit)
    transfer, outcome = visit.page.locator("#transfer"), visit.page.locator("#outcome")
    transfer.click()
    expect(outcome).to_have_text("One moment: please confirm that it is you.")
    visit.press("otp-sms")
    visit.reads("We sent it to +1********12")
    visit.enter(visit.stack.wrong_code)
    visit.reads("The code is wrong.")
    visit.enter(visit.stack.code)
    expect(outcome).to_contain_text("was made.")
    first = outcome.inner_text()
    expect(visit.page.locator("descope-wc")).to_have_count(0)
    transfer.click()
    expect(outcome).not_to_have_text(first)
    expect(outcome).to_contain_text("was made.")


@pytest.mark.parametrize("visit", ["react"], indirect=True)
def test_signing_out(visit: Visit) -> None:
    """`useUser` greets the user, and the first screen is back after `logout`."""
    signed_in(visit)
    visit.page.get_by_role("button", name="Sign out").click()
    visit.reads("Sign up or sign in.")
    assert [visit.stack.emulator.state_of(one) for one in visit.stack.emulator.sessions] == [
        "logged out"
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(visit: Visit, scheme: Any) -> None:
    """There is nothing for axe to find on any screen, and nothing is cut off."""
    page = visit.page
    page.emulate_media(color_scheme=scheme)
    name = f"{'component' if 'component' in page.url else 'react'}-{scheme}"
    PICTURES.mkdir(parents=True, exist_ok=True)

    def looked(state: str) -> None:
        page.wait_for_timeout(200)
        page.screenshot(path=PICTURES / f"{name}-{state}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        if not page.evaluate("() => 'axe' in window"):
            page.evaluate(AXE.read_text("utf-8"))
        found: Any = page.evaluate("async () => (await axe.run()).violations")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []

    visit.reads("Sign up or sign in.")
    looked("welcome")
    signed_in(visit)
    looked("signed-in")
    page.locator("#transfer").click()
    visit.reads("Confirm it is you")
    looked("step-up")

"""The shop with Descope's flow: what its server lets through, and the scenarios in Chromium."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from examples.tee_hee_tees.app import Settings, create_app
from examples.tee_hee_tees.flow import FlowFiles
from examples.tee_hee_tees.serve import main
from examples.tee_hee_tees.store import Store
from tests.examples.scenarios import flowing
from tests.examples.scenarios.browser import AXE
from tests.examples.shop import HERE, Shop

SCENARIOS = (
    flowing.flow_by_code,
    flowing.flow_by_link,
    flowing.flow_by_link_elsewhere,
    flowing.flow_by_provider,
    flowing.flow_by_passkey,
    flowing.flow_closed,
)


@pytest.fixture
def files(tmp_path: Path) -> FlowFiles:
    """A folder with a component, though not Descope's."""
    component = tmp_path / "@descope" / "web-component" / "dist" / "index.js"
    component.parent.mkdir(parents=True)
    component.write_text("// a component")
    return FlowFiles(tmp_path)


@pytest.fixture
def flowing_shop(tmp_path: Path, files: FlowFiles) -> Iterator[Shop]:
    """A shop that has the component."""
    database = tmp_path / "shop.sqlite3"
    app = create_app(Settings(database=database, flow=files))
    with TestClient(app, base_url=HERE, follow_redirects=False) as browser:
        yield Shop(app, browser, app.state.emulator, Store(database))


def in_cart(shop: Shop) -> str:
    """Sign in, put a shirt into the cart, and return the cart."""
    shop.sign_in(page="cart")
    shop.post("/cart", {"shirt": "free-hugs", "size": "M", "quantity": "1"})
    return shop.browser.get("/cart").text


def test_shop_without_the_component_says_what_to_do(shop: Shop) -> None:
    """There is no switch, no file, and nothing of the emulator at `/descope`."""
    page = in_cart(shop)
    assert "start the shop with <code>--flow node_modules</code>" in page
    assert 'role="switch"' not in page
    for path in ("/flow/component.js", "/descope/pages/P2/v2-beta/config.json"):
        assert shop.browser.get(path).status_code == 404
    assert shop.post("/flow", {"flow": "on"}).status_code == 303
    assert "descope-wc" not in shop.browser.get("/cart").text


def test_switch_is_remembered_and_loosens_the_policy_of_the_cart(flowing_shop: Shop) -> None:
    """With it on, the cart alone takes styles with a nonce that is new for each page."""
    shop = flowing_shop
    assert 'aria-checked="false"' in in_cart(shop)
    assert shop.post("/flow", {"flow": "on"}).headers["location"] == "/cart"
    first, second = (shop.browser.get("/cart") for _ in range(2))
    assert 'aria-checked="true"' in first.text
    assert '<script src="/flow/component.js"></script>' in first.text
    policies = [page.headers["content-security-policy"] for page in (first, second)]
    assert policies[0] != policies[1]
    assert "script-src 'self'; style-src 'self' 'nonce-" in policies[0]
    assert "unsafe" not in policies[0]
    assert (
        "require-trusted-types-for"
        in (shop.browser.get("/orders").headers["content-security-policy"])
    )
    assert shop.post("/flow", {"flow": "maybe"}).status_code == 422
    shop.post("/flow", {"flow": "off"})
    assert "component.js" not in shop.browser.get("/cart").text


def test_flow_gets_the_refresh_token_of_the_cookie(flowing_shop: Shop) -> None:
    """The page need not know it; a page of another site gets nothing by it."""
    shop = flowing_shop
    shop.sign_in()
    body = {"flowId": "step-up", "componentsVersion": "3.14.1"}
    bearer = {"Authorization": f"Bearer {shop.descope.project_id}"}
    own = {**bearer, "Sec-Fetch-Site": "same-origin"}
    started = shop.browser.post("/descope/v1/flow/start", json=body, headers=own)
    assert started.json()["screen"]["id"].startswith("choose-method.")
    for site in ("same-site", "cross-site"):
        headers = {**bearer, "Sec-Fetch-Site": site}
        refused = shop.browser.post("/descope/v1/flow/start", json=body, headers=headers)
        assert refused.status_code == 403
    shop.browser.cookies.clear()
    assert shop.browser.post("/descope/v1/flow/start", json=body, headers=own).status_code == 401


@pytest.mark.parametrize("path", ["/", "/_emulator/outbox", "/v1/auth/me", "/v2/keys/P2"])
def test_rest_of_the_emulator_stays_inside(flowing_shop: Shop, path: str) -> None:
    """Only what the component loads and calls is passed on."""
    assert flowing_shop.browser.get(f"/descope{path}").status_code == 404


def test_session_of_the_flow_must_be_the_users_own(flowing_shop: Shop) -> None:
    """A stepped-up session of the same user goes into the cookie, another's and nonsense do not."""
    shop = flowing_shop
    shop.sign_in()
    bob = shop.descope.step_up("bob@example.com")
    refused = shop.call("/flow/session", {"session_token": bob.session_token})
    assert (refused.status_code, refused.json()["code"]) == (403, "subject_mismatch")
    assert shop.call("/flow/session", {"session_token": "x.y.z"}).status_code == 401
    own = shop.descope.step_up("ann@example.com")
    kept = shop.call("/flow/session", {"session_token": own.session_token})
    assert kept.json() == {"stepped_up": True}
    assert shop.browser.cookies["DS"] == own.session_token
    foreign = shop.browser.post("/flow/session", json={}, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403


def test_folder_without_the_component_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says which package to install."""
    with pytest.raises(SystemExit):
        main(["--flow", str(tmp_path), "--database", str(tmp_path / "shop.sqlite3")])
    assert "npm install @descope/web-component" in capsys.readouterr().err


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    """Resources that the scenarios share, closed at the end."""
    missing = [folder for folder in (flowing.PACKAGES, AXE) if not folder.exists()]
    if shutil.which("chromium") is None or missing:
        pytest.skip("needs chromium, and npm ci in tests/browser/node and tests/browser/flow/node")
    with ExitStack() as stack:
        yield stack


@pytest.mark.browser
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(stack: ExitStack, scenario: flowing.Scenario) -> None:
    """The scenario runs to its end."""
    scenario(stack)

"""front-ends.md: its Python blocks, its links, and the forms of its scripts.

Its scripts run in a browser, in `node/front_ends.test.mjs`.
"""

import re
from typing import Annotated
from urllib.parse import quote

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard
from fastapi_stepup.testing import DescopeEmulator
from tests.browser.front_ends import PAGE, block, blocks, create_app, files, run

PREFLIGHT = {
    "Origin": "https://shop.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


@pytest.fixture
def app(guard: StepUpGuard, descope: DescopeEmulator) -> FastAPI:
    """An app with the page's first block, and a checkout."""
    app = FastAPI()
    run(block("python", "include_router("), app, guard)

    @app.post("/checkout")
    async def checkout(claims: Annotated[Claims, Depends(RequireStepUp(guard))]) -> str:
        return claims.subject

    return app


@pytest.mark.parametrize("path", ["/checkout", "/step-up/otp/start", "/step-up/status"])
def test_page_of_another_origin_may_post(app: FastAPI, guard: StepUpGuard, path: str) -> None:
    """The preflight of its POST, with a bearer and JSON, is answered."""
    run(block("python", "CORSMiddleware"), app, guard)

    reply = TestClient(app).options(path, headers=PREFLIGHT)

    assert reply.status_code == 200
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    allowed = reply.headers["Access-Control-Allow-Headers"].lower()
    assert {"authorization", "content-type"} <= {name.strip() for name in allowed.split(",")}


def test_page_of_another_origin_may_read(
    app: FastAPI, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The challenge and the waiting time are exposed to it; a stepped-up session pays."""
    run(block("python", "CORSMiddleware"), app, guard)
    ann = descope.sign_in("ann@example.com")
    client = TestClient(app, headers={"Origin": "https://shop.example"})

    reply = client.post("/checkout", headers=ann.headers)
    paid = client.post("/checkout", headers=descope.step_up("ann@example.com").headers)

    assert paid.json() == ann.user_id
    assert reply.status_code == 401
    assert reply.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    exposed = reply.headers["Access-Control-Expose-Headers"].lower()
    assert {"www-authenticate", "retry-after"} <= {name.strip() for name in exposed.split(",")}


def test_scripts_are_public_behind_the_middleware(app: FastAPI, guard: StepUpGuard) -> None:
    """A page loads them without a token; the rest needs a session or more."""
    run(block("python", "StepUpMiddleware"), app, guard)
    client = TestClient(app)

    statuses = {
        path: client.get(path).status_code
        for path in (
            "/step-up/stepup.js",
            "/step-up/use-stepup.js",
            "/step-up/status",
            "/step-up/stepup.d.ts",
        )
    }

    assert list(statuses.values()) == [200, 200, 401, 401]
    assert client.post("/checkout").status_code == 401


@pytest.mark.parametrize("path", ["/account", "/account?tab=a%20b&x=%26", "/account?next=//x"])
def test_navigation_is_sent_to_the_page_that_asks(path: str) -> None:
    """It names where to come back to; a fetch gets the challenge."""
    app = create_app()
    client = TestClient(app, follow_redirects=False)
    ann = app.state.emulator.sign_in("ann@example.com")
    cookies = {"Cookie": f"DS={ann.session_token}", "Sec-Fetch-Site": "same-origin"}

    navigation = client.get(path, headers={**cookies, "Sec-Fetch-Mode": "navigate"})
    fetch = client.get(path, headers={**cookies, "Sec-Fetch-Mode": "cors"})

    assert navigation.status_code == 303
    assert navigation.headers["Location"] == f"/confirm?next={quote(path, safe='')}"
    assert fetch.status_code == 401
    assert "insufficient_user_authentication" in fetch.headers["WWW-Authenticate"]


def test_page_that_asks_loads_the_script_that_is_served() -> None:
    """Its tag has the URL and the hash of `stepup.js`."""
    client = TestClient(create_app())
    page = client.get("/confirm")

    assert page.status_code == 200
    (url,) = re.findall(r'src="(/step-up/stepup\.js\?v=\w+)" integrity="sha384-', page.text)
    assert client.get(url).status_code == 200


def test_links_lead_somewhere() -> None:
    """Every link is a file of the repository or a heading of the page."""
    text = PAGE.read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {
        "#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
    }

    for link in re.findall(r"\]\((.+?)\)", text):
        assert link in anchors if link.startswith("#") else (PAGE.parent / link).exists(), link


def test_every_script_is_used() -> None:
    """No block is of a kind that no test reads."""
    languages = set(re.findall(r"^```(\w+)$", PAGE.read_text("utf-8"), re.MULTILINE))

    assert languages == {"html", "js", "jsx", "python", "text"}
    assert len(blocks("python")) == 5
    assert set(files()) == {
        "axios-step-up.js",
        "confirm.js",
        "flow-step-up.js",
        "htmx-step-up.js",
        "leave.js",
        "popup.js",
        "sign-in.js",
        "step-up-after.js",
        "upload.js",
    }

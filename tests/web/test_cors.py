"""A page of another origin reads the challenge: real servers, a real browser."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse
from starlette.routing import Mount
from starlette.testclient import TestClient

from fastapi_stepup import Challenge, StepUpGuard, StepUpMiddleware, StepUpPolicy, install
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.server import served
from tests.support.attack_requests import SECRET, anything

CHROMIUM = shutil.which("chromium") or ""

# Both drivers get the page's URL, the API's URL and the API's token, and print what script of the
# page could read: status, challenge, code of the problem. They are programs of their own, so that
# this file is covered whether there is a browser or not.
BROWSER = f"""
import json, sys
from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]
FETCH = '''async ([url, token]) => {{
    const headers = {{Authorization: `Bearer ${{token}}`}};
    const reply = await fetch(url, {{method: "POST", headers}});
    return [reply.status, reply.headers.get("WWW-Authenticate"), await reply.text()];
}}'''
page_url, *target = sys.argv[1:]
with sync_playwright() as playwright:
    with playwright.chromium.launch(executable_path={CHROMIUM!r}, args=FLAGS) as browser:
        page = browser.new_page()
        page.goto(page_url)
        print(json.dumps(page.evaluate(FETCH, target)))
"""
STAND_IN = """
import json, sys
import httpx2

page_url, url, token = sys.argv[1:]
origin = {"Origin": page_url.rstrip("/")}
asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
preflight = httpx2.options(url, headers=origin | asked)
assert preflight.is_success and preflight.headers["access-control-allow-origin"] == origin["Origin"]
reply = httpx2.post(url, headers=origin | {"Authorization": f"Bearer {token}"})
assert reply.headers["access-control-allow-origin"] == origin["Origin"]
exposed = reply.headers.get("access-control-expose-headers", "").lower()
challenge = reply.headers.get("www-authenticate") if "www-authenticate" in exposed else None
print(json.dumps([reply.status_code, challenge, reply.text]))
"""


def read_by_a_page(driver: str, page_url: str, api_url: str, token: str) -> Any:
    """Return what script of a page reads of the API's answer: status, challenge, body."""
    command = [sys.executable, "-c", driver, page_url, f"{api_url}/pay", token]
    finished = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return json.loads(finished.stdout)


@pytest.mark.parametrize(
    "driver",
    [
        pytest.param(STAND_IN, id="stand-in"),
        pytest.param(
            BROWSER,
            id="chromium",
            marks=pytest.mark.skipif(
                not (CHROMIUM and find_spec("playwright")), reason="needs chromium and playwright"
            ),
        ),
    ],
)
def test_a_page_of_another_origin_reads_the_challenge(
    driver: str, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Preflight, the refusal with its challenge, and data once it is stepped up."""
    page = Starlette(routes=[Mount("/", HTMLResponse("<title>Shop</title>"))])
    api = FastAPI()
    install(api, guard)
    api.mount("/", anything)
    with served(page) as page_url, served(api) as api_url:
        api.add_middleware(StepUpMiddleware, guard=guard, default=StepUpPolicy(max_age="5m"))
        api.add_middleware(
            CORSMiddleware,
            allow_origins=[page_url],
            allow_methods=["POST"],
            allow_headers=["Authorization"],
            expose_headers=["X-Request-Id"],
        )

        status, challenge, body = read_by_a_page(
            driver, page_url, api_url, descope.sign_in("ann@example.com").session_token
        )
        allowed = read_by_a_page(
            driver, page_url, api_url, descope.step_up("ann@example.com").session_token
        )

    assert (status, json.loads(body)["code"]) == (401, "insufficient_user_authentication")
    assert [c.max_age for c in Challenge.parse(challenge)] == [300]
    assert allowed == [200, None, SECRET]


ORIGIN = {"Origin": "https://shop.example"}
PREFLIGHT = ORIGIN | {"Access-Control-Request-Method": "POST"}


def cors_app(guard: StepUpGuard, *, outermost: bool, **cors: Any) -> FastAPI:
    """Return an app with both middlewares."""
    app = FastAPI()
    install(app, guard)
    app.add_api_route("/pay", lambda: SECRET, methods=["GET", "POST", "OPTIONS"])
    settings = {"allow_origins": ["https://shop.example"], "allow_methods": ["POST"]} | cors
    if not outermost:
        app.add_middleware(CORSMiddleware, **settings)
    app.add_middleware(StepUpMiddleware, guard=guard)
    if outermost:
        app.add_middleware(CORSMiddleware, **settings)
    return app


def test_preflights_pass_with_cors_outside(guard: StepUpGuard) -> None:
    """The CORS answer, and no handler runs; an `OPTIONS` that is none is refused."""
    client = TestClient(cors_app(guard, outermost=True))

    answer = client.options("/pay", headers=PREFLIGHT)

    assert (answer.status_code, answer.text) == (200, "OK")
    assert client.options("/pay", headers=ORIGIN).status_code == 401


def test_preflights_are_refused_with_cors_inside(guard: StepUpGuard) -> None:
    """The wrong order is safe: neither CORS nor the handler answers without a token."""
    answer = TestClient(cors_app(guard, outermost=False)).options("/pay", headers=PREFLIGHT)

    assert answer.status_code == 401
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("fields", [{}, {"Authorization": "Bearer"}], ids=["401", "400"])
def test_challenges_are_exposed(
    fields: dict[str, str], guard: StepUpGuard, subtests: pytest.Subtests
) -> None:
    """A page of another origin may read the challenge; what it may read already stays."""
    rows: dict[str, tuple[dict[str, Any], str]] = {
        "nothing-yet": ({}, "WWW-Authenticate"),
        "some": ({"expose_headers": ["X-A", "X-B"]}, "X-A, X-B, WWW-Authenticate"),
        "already": ({"expose_headers": ["www-authenticate"]}, "www-authenticate"),
        "any-origin": ({"allow_origins": ["*"]}, "WWW-Authenticate"),
    }
    for name, (cors, exposed) in rows.items():
        with subtests.test(name):
            client = TestClient(cors_app(guard, outermost=True, **cors))

            answer = client.post("/pay", headers=ORIGIN | fields)

            assert answer.headers["access-control-expose-headers"] == exposed
            assert "access-control-allow-origin" in answer.headers


def test_challenges_are_not_exposed_to_other_origins(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Without CORS for the origin, or for another answer, nothing is added."""
    client = TestClient(cors_app(guard, outermost=True))

    foreign = client.post("/pay", headers={"Origin": "https://evil.example"})
    passed = client.post("/pay", headers=ORIGIN | descope.step_up("ann@example.com").headers)

    assert "access-control-expose-headers" not in foreign.headers
    assert "access-control-expose-headers" not in passed.headers

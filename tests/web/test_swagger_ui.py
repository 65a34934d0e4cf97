"""`install(app, guard, docs=True)`: the page of Swagger UI and what its script asks for.

`tests/examples/test_swagger_ui.py` drives the page in a browser.
"""

import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard, StepUpMiddleware, install
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.testing import DescopeEmulator

JSON = {"Content-Type": "application/json"}


def documented(guard: StepUpGuard, **options: Any) -> FastAPI:
    """Return an app whose Swagger UI steps up."""
    app = FastAPI(**options)
    install(app, guard, docs=True)
    return app


def tag(page: str) -> dict[str, str]:
    """Return the attributes of the script behind `<head>`."""
    found = re.search(r"<head><script (.*?)></script>", page)
    assert found
    return dict(re.findall(r'([\w-]+)="(.*?)"', found[1]))


def test_page_gets_the_script(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Its tag names the scheme, the script of the dialog, and on an emulator where to sign in."""
    client = TestClient(documented(guard))
    page = client.get("/docs")

    assert tag(page.text) == {
        "src": "/docs/swagger-ui-stepup.js",
        "data-scheme": "DescopeSession",
        "data-stepup": "/docs/stepup.js",
        "data-sign-in": "/docs/sign-in",
    }
    assert len(page.content) == int(page.headers["Content-Length"])
    for name in ("swagger-ui-stepup.js", "stepup.js", "stepup.js?part=flow"):
        script = client.get(f"/docs/{name}")
        assert script.headers["Content-Type"].startswith("text/javascript")


def test_page_below_a_prefix_names_its_scripts_there(guard: StepUpGuard) -> None:
    """`root_path` is part of the paths."""
    client = TestClient(documented(guard, docs_url="/help"), root_path="/api")

    assert tag(client.get("/api/help").text)["src"] == "/api/help/swagger-ui-stepup.js"


@pytest.mark.parametrize("root", ["//evil.example", "/\\evil.example"])
def test_path_of_the_page_leads_to_no_other_host(guard: StepUpGuard, root: str) -> None:
    """A mount whose prefix is a parameter lets a link decide what is before the path."""
    client = TestClient(documented(guard), root_path=root)

    assert re.match(r"/[^/\\]", tag(client.get("/docs").text)["src"])


def test_page_at_no_certain_path_gets_no_script(guard: StepUpGuard) -> None:
    """A dot segment leads elsewhere."""
    client = TestClient(documented(guard), root_path="/a/..")

    assert "swagger-ui-stepup" not in client.get("/docs").text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://proxy.example"}, 200),
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Origin": "http://localhost:5173"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[evil"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:8000"}, 403),
        ({"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}, 403),
    ],
)
def test_pages_of_other_sites_cannot_sign_in(
    guard: StepUpGuard, descope: DescopeEmulator, headers: dict[str, str], status: int
) -> None:
    """Nor a page whose name was changed to the address of this machine."""
    client = TestClient(documented(guard), base_url="http://127.0.0.1:8000")

    reply = client.post("/docs/sign-in", json={"login_id": "ann@example.com"}, headers=headers)

    assert reply.status_code == status
    assert (not descope.users) == (status == 403)


def test_real_project_offers_no_sign_in(guard: StepUpGuard) -> None:
    """Where Descope is no emulator there is nothing to sign in at, and nothing is sent."""
    client = TestClient(documented(guard))

    assert "data-sign-in" not in tag(client.get("/docs").text)
    reply = client.post("/docs/sign-in", json={"login_id": "ann@example.com"})
    assert (reply.status_code, reply.content) == (404, b"")


def test_guard_of_another_issuer_offers_no_sign_in() -> None:
    """Its page answers challenges all the same."""
    guard = StepUpGuard.for_oidc("https://issuer.example", audience="api")
    client = TestClient(documented(guard))

    assert "data-sign-in" not in tag(client.get("/docs").text)
    assert client.post("/docs/sign-in", json={"login_id": "ann"}).status_code == 404


def test_user_of_the_emulator_signs_in(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """The reply has both tokens, is not stored, and the session is hers."""
    client = TestClient(documented(guard))
    reply = client.post("/docs/sign-in", json={"login_id": "ann@example.com"})

    assert reply.headers["Cache-Control"] == "no-store"
    assert set(reply.json()) == {"session_token", "refresh_token"}
    headers = {"Authorization": f"Bearer {reply.json()['session_token']}"}
    app = FastAPI()

    @app.get("/me")
    async def me(request: Request) -> str:
        return (await guard.authorize(request)).subject

    ann = descope.sign_in("ann@example.com")
    assert TestClient(app).get("/me", headers=headers).json() == ann.user_id


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(b'{"login_id": "ann@example.com"}', {}, 415, id="no-type"),
        pytest.param(b"login_id=ann", {"Content-Type": "text/plain"}, 415, id="text"),
        pytest.param(b'{"login_id": ""}', JSON, 422, id="empty"),
        pytest.param(b'{"login_id": 1}', JSON, 422, id="number"),
        pytest.param(b"[]", JSON, 422, id="list"),
        pytest.param(b"{", JSON, 422, id="no-json"),
        pytest.param(b'{"login_id": "%s"}' % (b"a" * 4096), JSON, 413, id="large"),
    ],
)
def test_other_bodies_sign_nobody_in(
    guard: StepUpGuard,
    descope: DescopeEmulator,
    body: bytes,
    headers: dict[str, str],
    status: int,
) -> None:
    """A form of another site, a body of another shape and a large one are refused."""
    reply = TestClient(documented(guard)).post("/docs/sign-in", content=body, headers=headers)

    assert reply.status_code == status
    assert descope.requests == []


class Broken(httpx.AsyncBaseTransport):
    """An emulator that answers with no session."""

    is_descope_emulator = True

    def __init__(self, reply: httpx.Response) -> None:
        self.reply = reply

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as ever."""
        return self.reply


def test_body_of_4096_bytes_is_read(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """One byte more is too large."""
    client = TestClient(documented(guard))
    body = b'{"login_id": "ann@example.com"}'

    exact = client.post("/docs/sign-in", content=body.ljust(4096), headers=JSON)
    more = client.post("/docs/sign-in", content=body.ljust(4097), headers=JSON)

    assert (exact.status_code, more.status_code) == (200, 413)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(httpx.Response(400, content=b"{}"), id="refused"),
        pytest.param(httpx.Response(200, content=b"?"), id="no-json"),
    ],
)
def test_emulator_that_fails_signs_nobody_in(reply: httpx.Response) -> None:
    """An error of it, and an answer that is no JSON, are 404 here."""
    guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz", transport=Broken(reply))
    client = TestClient(documented(guard))

    assert client.post("/docs/sign-in", json={"login_id": "ann"}).status_code == 404


def test_nonce_of_the_page_is_put_on_the_script(guard: StepUpGuard) -> None:
    """A page of one's own keeps its policy, and the script gets the nonce."""
    app = FastAPI(docs_url=None)
    install(app, guard, docs="/help")

    @app.get("/help")
    async def page() -> HTMLResponse:
        page = get_swagger_ui_html(openapi_url="/openapi.json", title="Help")
        page.headers["Content-Security-Policy"] = "script-src 'self' 'nonce-abc123'"
        return page

    reply = TestClient(app).get("/help")
    assert tag(reply.text)["nonce"] == "abc123"
    assert reply.headers["Content-Security-Policy"] == "script-src 'self' 'nonce-abc123'"


def test_compressed_pages_get_the_script_too(guard: StepUpGuard) -> None:
    """The page is asked for uncompressed; every other reply is compressed as before."""
    app = documented(guard)
    app.add_middleware(GZipMiddleware, minimum_size=1)
    client = TestClient(app)

    assert "Content-Encoding" not in client.get("/docs").headers
    assert tag(client.get("/docs").text)
    assert client.get("/openapi.json").headers["Content-Encoding"] == "gzip"


def test_other_pages_pass_as_they_are(guard: StepUpGuard) -> None:
    """What is no Swagger UI, no HTML or below the path is the app's own."""
    app = FastAPI(docs_url=None)
    install(app, guard, docs="/help")

    @app.get("/help")
    async def page() -> StreamingResponse:
        return StreamingResponse(iter(["<html><head>", "</head></html>"]), media_type="text/html")

    @app.get("/help/{name}")
    async def below(name: str) -> str:
        return name

    @app.post("/help")
    async def post() -> str:
        return "posted"

    client = TestClient(app)
    assert client.get("/help").text == "<html><head></head></html>"
    assert client.post("/help").json() == "posted"
    assert client.get("/help/sign-in").json() == "sign-in"
    assert client.post("/help/other", json={"login_id": "ann@example.com"}).status_code == 405
    assert client.delete("/help/stepup.js").status_code == 405


def test_scripts_are_served_in_front_of_a_closed_app(guard: StepUpGuard) -> None:
    """They are public, as files; the page itself is for the rules to open."""
    app = documented(guard)
    app.add_middleware(StepUpMiddleware, guard=guard)
    client = TestClient(app)

    assert client.get("/docs").status_code == 401
    assert client.get("/docs/stepup.js").status_code == 200


def test_page_has_the_script_once(guard: StepUpGuard) -> None:
    """A second call of `install` adds nothing."""
    app = documented(guard)
    install(app, guard, docs=True)

    assert TestClient(app).get("/docs").text.count("swagger-ui-stepup.js") == 1


@pytest.mark.parametrize(
    ("app", "docs"),
    [
        pytest.param(FastAPI(docs_url=None), True, id="turned-off"),
        pytest.param(Starlette(), True, id="starlette"),
        pytest.param(FastAPI(), "docs", id="no-path"),
        pytest.param(FastAPI(), 1, id="number"),
    ],
)
def test_app_without_swagger_ui_is_refused(guard: StepUpGuard, app: Starlette, docs: Any) -> None:
    """The error says what to write."""
    with pytest.raises(ConfigurationError, match=r'docs="/docs"'):
        install(app, guard, docs=docs)

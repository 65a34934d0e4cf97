"""Cookies that Descope's web SDK manages (`sessionTokenViaCookie`), before and after a step-up."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import pytest
import trustme
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse
from playwright.sync_api import Browser, BrowserContext, Page
from starlette.staticfiles import StaticFiles

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, install, stepup_router
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.server import served, server_for
from tests.browser.flow.stack import ANN, PACKAGES

# By the SDK's defaults the cookie is `Secure`, `SameSite=Strict` and for the path `/`.
PAGE: Final = """\
<!doctype html>
<html lang="en">
<title>Shop</title>
<link rel="icon" href="data:,">
<script src="/packages/@descope/web-js-sdk/dist/index.umd.js"></script>
<script type="module">
  import { withStepUp } from "/step-up/stepup.js";
  const baseUrl = `${location.origin}/descope`;
  const sdk = Descope({
    projectId: "PROJECT", baseUrl, persistTokens: true, autoRefresh: false,
    sessionTokenViaCookie: true,
  });
  const getTokens = () => ({ refreshToken: sdk.getRefreshToken() });
  const onTokens = ({ refreshToken }) => localStorage.setItem("DSR", refreshToken);
  const call = withStepUp(fetch, { getTokens, onTokens });
  const pay = () => call("/checkout", { method: "POST" });
  Object.assign(globalThis, { sdk, pay });
</script>
<main>
  <button onclick="pay()">Pay</button>
</main>
</html>
"""


def create_app(emulator: DescopeEmulator, **options: Any) -> FastAPI:
    """Return a shop on *emulator*, which is below its own path as behind a custom domain."""
    guard = StepUpGuard.for_descope(emulator.project_id, transport=emulator.transport)
    app = FastAPI()
    install(app, guard)
    app.include_router(stepup_router(guard, **options))
    app.mount("/descope", emulator)
    app.mount("/packages", StaticFiles(directory=PACKAGES))

    @app.post("/checkout")
    async def checkout(
        claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))],
    ) -> str:
        return claims.subject

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE.replace("PROJECT", emulator.project_id))

    return app


@contextmanager
def served_by_tls(app: FastAPI, folder: Path) -> Iterator[str]:
    """Serve *app* on loopback over https, by a certificate that no browser trusts."""
    certificate = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem
    certificate.write_to_path(folder / "localhost.pem")
    server = server_for(app)
    server.config.port = 0
    server.config.ssl_certfile = folder / "localhost.pem"
    server.config.ssl_version = ssl.PROTOCOL_TLS_SERVER
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield f"https://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@dataclass
class Shopper:
    """Ann's browser, in a session that the SDK began by a code."""

    emulator: DescopeEmulator
    context: BrowserContext
    page: Page

    def cookies(self, name: str) -> list[Any]:
        """Return the cookies of this name."""
        return [one for one in self.context.cookies() if one["name"] == name]

    @property
    def session(self) -> str:
        """The session token, which is in the one cookie of its name."""
        (cookie,) = self.cookies("DS")
        return str(cookie["value"])

    def sign_in(self) -> None:
        """Sign in by a code, as the SDK does."""
        self.page.evaluate("login => sdk.otp.signIn.email(login)", ANN)
        code = self.emulator.outbox[-1].code
        self.page.evaluate("given => sdk.otp.verify.email(...given)", [ANN, code])

    def pay(self) -> list[str]:
        """Pay, step up by a code, and return the `DS` cookies of the two requests."""
        with self.page.expect_response("**/checkout") as refused:
            self.page.get_by_role("button", name="Pay").click()
        code = self.page.get_by_role("textbox", name="6-digit code")
        code.wait_for()
        code.fill(self.emulator.outbox[-1].code)
        with self.page.expect_response("**/checkout") as paid:
            self.page.get_by_role("button", name="Confirm").click()
        assert [refused.value.status, paid.value.status] == [401, 200]
        fields = [one.value.request.all_headers()["cookie"] for one in (refused, paid)]
        return [
            value
            for field in fields
            for name, value in (pair.split("=", 1) for pair in field.split("; "))
            if name == "DS"
        ]


REFRESH = {
    # Where the refresh token is, what the emulator does for that, and the options of the router.
    "page": ("body", {}),
    "cookie": ("cookies", {"cookie_http_only": False, "cookie_same_site": "strict"}),
}


@pytest.fixture(scope="module", params=["http", "https"])
def scheme(request: pytest.FixtureRequest) -> str:
    """Plain http on loopback, or https."""
    return str(request.param)


@pytest.fixture(scope="module", params=REFRESH)
def site(
    request: pytest.FixtureRequest,
    scheme: str,
    tmp_path_factory: pytest.TempPathFactory,
    chromium: Browser,  # where it is missing, so may the SDK be that is served
) -> Iterator[tuple[DescopeEmulator, str]]:
    """The served shop and its emulator."""
    mode, options = REFRESH[request.param]
    emulator = DescopeEmulator(response_mode=mode)  # type: ignore[arg-type]
    app = create_app(emulator, **options)
    folder = tmp_path_factory.mktemp("tls")
    serving = served(app) if scheme == "http" else served_by_tls(app, folder)
    with serving as url:
        yield emulator, url.replace("127.0.0.1", "localhost")


@pytest.fixture
def ann(site: tuple[DescopeEmulator, str], chromium: Browser) -> Iterator[Shopper]:
    """Ann, signed in by the SDK."""
    emulator, url = site
    emulator.reset()
    emulator.create_user(ANN)
    with nullcontext(chromium.new_context(ignore_https_errors=True)) as context, context:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.goto(url)
        page.wait_for_function("globalThis.pay")
        ann = Shopper(emulator, context, page)
        ann.sign_in()
        yield ann


def test_step_up_replaces_the_cookie_of_the_sdk(ann: Shopper) -> None:
    """The next request carries the new session and no other; the SDK renews it and ends it."""
    plain = ann.session
    refresh_cookies = len(ann.cookies("DSR"))

    sent = ann.pay()

    assert sent == [plain, ann.session]
    assert len(set(sent)) == 2
    assert len(ann.cookies("DSR")) == refresh_cookies
    ann.page.evaluate("sdk.refresh()")
    assert ann.session not in sent
    ann.page.evaluate("sdk.logout()")
    assert ann.cookies("DS") == ann.cookies("DSR") == []

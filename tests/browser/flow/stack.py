"""An app with pages of Descope's components, its guarded API, and the emulator they call."""

import base64
import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse
from playwright.sync_api import (
    Browser,
    BrowserContext,
    CDPSession,
    Page,
    Request,
    expect,
    sync_playwright,
)
from starlette.staticfiles import StaticFiles

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, install
from fastapi_stepup.testing import DescopeEmulator, Tokens
from fastapi_stepup.testing.authenticators.webauthn import Passkey, base64url
from fastapi_stepup.testing.server import served
from tests.browser.front_ends import block

HERE: Final = Path(__file__).parent
PACKAGES: Final = HERE / "node" / "node_modules"
UI: Final = PACKAGES / "@descope" / "web-components-ui"
CHROMIUM: Final = shutil.which("chromium") or ""
ANN: Final = "ann@example.com"
_DEBOUNCE: Final = 150
_LOOPBACK: Final = ("localhost", "127.0.0.1")
_SCRIPTS: Final = {
    "component": ["/packages/@descope/web-component/dist/index.js", "/site/component.js"],
    "react": ["/built/react.js"],
    "checkout": ["/built/checkout.js"],
    "sdk": ["/packages/@descope/web-js-sdk/dist/index.umd.js", "/site/sdk.js"],
}
_MAIN: Final = """\
<main>
<div id="root"></div>
<p id="steps"></p>
<button id="pay">Pay</button> <button id="close">Close</button> <button id="open">Open</button>
<p id="paid"></p>
</main>"""
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Shop</title>
<link rel="icon" href="data:,">
{main}
<script>globalThis.settings = {settings};</script>
{scripts}
</html>
"""


def built_react(folder: Path) -> Path:
    """Bundle the React samples into *folder*, and return the folder."""
    component = block("jsx", "@descope/react-sdk").replace("https://api.shop.example", "")
    written = folder / "Checkout.jsx"
    written.write_text(f"{component}\nexport {{ Checkout }};\n", "utf-8")
    subprocess.run(
        [
            PACKAGES / ".bin" / "esbuild",
            HERE / "site" / "react.jsx",
            HERE / "site" / "checkout.jsx",
            "--bundle",
            "--jsx=automatic",
            f"--alias:documented-checkout={written}",
            '--define:process.env.NODE_ENV="production"',
            f"--outdir={folder}",
            "--log-level=error",
        ],
        check=True,
        env={"NODE_PATH": str(PACKAGES), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        timeout=120,
    )
    return folder


def create_app(emulator: DescopeEmulator, emulator_url: str, built: Path) -> FastAPI:
    """Return the app: one page a component, and a checkout that needs a step-up."""
    guard = StepUpGuard.for_descope(emulator.project_id, base_url=emulator_url)
    app = FastAPI()
    install(app, guard)
    app.mount("/packages", StaticFiles(directory=PACKAGES))
    app.mount("/site", StaticFiles(directory=HERE / "site"))
    app.mount("/built", StaticFiles(directory=built))

    @app.post("/checkout")
    async def checkout(
        claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))],
    ) -> str:
        return claims.subject

    @app.get("/pages/{component}")
    async def page(component: str, flow: str = "step-up", theme: str = "light") -> HTMLResponse:
        settings = {
            "projectId": emulator.project_id,
            "baseUrl": emulator_url,
            "flowId": flow,
            "theme": theme,
        }
        scripts = _SCRIPTS[component]
        own = scripts[0].startswith("/built/")
        filled = {
            "{settings}": json.dumps(settings),
            "{main}": '<div id="root"></div>' if own else _MAIN,
            "{scripts}": "\n".join(f'<script src="{url}"></script>' for url in scripts),
        }
        html = _PAGE
        for place, text in filled.items():
            html = html.replace(place, text)
        return HTMLResponse(html)

    return app


@dataclass(frozen=True)
class Stack:
    """The served app and emulator."""

    emulator: DescopeEmulator
    emulator_url: str
    url: str
    clock: list[float]

    @property
    def code(self) -> str:
        """The latest code."""
        return self.emulator.outbox[-1].code

    def log_out(self, tokens: Tokens) -> None:
        """End a session, as its user does elsewhere."""
        bearer = f"Bearer {self.emulator.project_id}:{tokens.refresh_token}"
        reply = httpx.post(
            f"{self.emulator_url}/v1/auth/logout", headers={"Authorization": bearer}, json={}
        )
        assert reply.is_success

    def claims(self, session_token: str) -> dict[str, object]:
        """Return the claims of a session token."""
        return Tokens(session_token, "", "", "").claims

    @property
    def wrong_code(self) -> str:
        """A code that was not sent."""
        return f"{(int(self.code) + 1) % 1_000_000:06d}"


@contextmanager
def running(built: Path, *, ui: Path | None = None) -> Iterator[Stack]:
    """Serve an emulator and the app on two ports of this machine."""
    ahead = [0.0]
    emulator = DescopeEmulator(clock=lambda: time.time() + ahead[0], ui=ui)
    with served(emulator) as emulator_url:
        descope = _by_name(emulator_url)
        with served(create_app(emulator, descope, built)) as url:
            yield Stack(emulator, descope, _by_name(url), ahead)


def _by_name(url: str) -> str:
    """Return a URL of this machine with its name, which passkeys need."""
    return url.replace("127.0.0.1", "localhost")


@contextmanager
def launched() -> Iterator[Browser]:
    """Start Chromium without a network: every name but this machine's is unknown."""
    expect.set_options(timeout=15_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
            ],
        )
        with browser:
            yield browser


@dataclass
class Visit:
    """A browser context of one user, on one page.

    Attributes:
        foreign: The URLs of other hosts that were asked for.
        errors: Uncaught errors of the page's scripts.
    """

    stack: Stack
    context: BrowserContext
    page: Page = field(init=False)
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    devtools: CDPSession = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.context.on("request", self._note)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in _LOOPBACK:
            self.foreign.append(request.url)

    def sign_in(self, tokens: Tokens) -> None:
        """Put the session where Descope's SDKs keep it."""
        stored = json.dumps(
            # The last one tells React's provider that there is a session to refresh.
            {"DS": tokens.session_token, "DSR": tokens.refresh_token, "DSLI": "1"}
        )
        self.context.add_init_script(
            "if (!localStorage.getItem('DS')) for (const [name, value] of"
            f" Object.entries({stored})) localStorage.setItem(name, value);"
        )

    def open(self, component: str, **query: str) -> None:
        """Open the page of a component."""
        parameters = "&".join(f"{name}={value}" for name, value in query.items())
        self.page.goto(f"{self.stack.url}/pages/{component}?{parameters}")

    def press(self, element_id: str) -> None:
        """Press a button of the flow."""
        # The component takes one press at a time. Descope's elements repeat their id inside.
        self.page.wait_for_timeout(_DEBOUNCE)
        self.page.locator(f"descope-wc #{element_id}").first.click()

    def enter(self, code: str) -> None:
        """Type a code; a passcode sends itself when it is complete."""
        passcode = self.page.locator("descope-wc descope-passcode input").first
        plain = self.page.locator("descope-wc input#code")
        passcode.or_(plain).first.wait_for()
        if plain.count():
            plain.fill(code)
            self.press("submit")
        else:
            for place, digit in enumerate(code):
                self.page.locator("descope-wc descope-passcode input").nth(place).fill(digit)

    def steps(self, text: str) -> None:
        """Wait until the component has reported *text*, such as `ready success`."""
        self.page.locator("#steps", has_text=text).wait_for()

    def reads(self, text: str) -> None:
        """Wait until the flow shows *text*."""
        self.page.locator("descope-wc", has_text=text).wait_for()

    def add_authenticator(self) -> str:
        """Give the browser a virtual authenticator and return its id."""
        devtools = self.context.new_cdp_session(self.page)
        devtools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        added = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self.devtools = devtools
        return str(added["authenticatorId"])

    def add_passkey(self, login_id: str, authenticator_id: str) -> None:
        """Give a user a passkey that the browser's authenticator holds."""
        key = generate_private_key(SECP256R1())
        user = self.stack.emulator.user(login_id)
        identifier = secrets.token_bytes(16)
        private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        credential = {
            "credentialId": base64.b64encode(identifier).decode(),
            "isResidentCredential": True,
            "rpId": "localhost",
            "privateKey": base64.b64encode(private).decode(),
            "userHandle": base64.b64encode(user.user_id.encode()).decode(),
            "signCount": 1,
        }
        self.devtools.send(
            "WebAuthn.addCredential",
            {"authenticatorId": authenticator_id, "credential": credential},
        )
        passkey = Passkey(base64url(identifier), key.public_key(), "localhost", 1)
        user.passkeys[passkey.credential_id] = passkey

    def signs_in_at_provider(self, login_id: str = ANN) -> None:
        """Sign in on the provider's page, which leads back."""
        self.page.wait_for_url("**/_provider/**")
        self.page.locator("[name=login_id]").fill(login_id)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/pages/**")

    def pays(self, status: str) -> bool:
        """Press Pay and wait until the guarded API has answered *status*."""
        self.page.locator("#pay").click()
        self.page.locator("#paid", has_text=f"paid: {status}").wait_for()
        return True

    def checkout(self, session_token: str) -> int:
        """Return the status of the guarded API for a session."""
        headers = {"Authorization": f"Bearer {session_token}"}
        return httpx.post(f"{self.stack.url}/checkout", headers=headers).status_code

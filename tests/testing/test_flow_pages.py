"""The static files of Descope's flow component."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.__main__ import main

PROJECT = "P2LocalEmulatorProject000001"
PAGES = f"/pages/{PROJECT}/v2-beta"
SCRIPTS = "/npm/@descope/web-components-ui@3.14.1/dist/umd"
SCREENS = [
    "choose-method.otp-email.otp-sms.otp-voice.otp-whatsapp.magiclink-email.magiclink-sms.passkey"
    ".totp.oauth-google.oauth-github",
    "magic-link-sent",
    "magic-link-sent-again",
    "sign-up-or-in",
    "verify-code",
    "verify-totp",
]


class Elements(HTMLParser):
    """The elements of a fragment, which must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found.append((tag, dict(attrs)))
        if tag != "input":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last."""
        assert self._open.pop() == tag

    @property
    def buttons(self) -> list[str | None]:
        """The ids of the buttons."""
        kinds = ("button", "biometrics")
        return [found.get("id") for _, found in self.found if found.get("data-type") in kinds]

    @property
    def fields(self) -> list[str | None]:
        """The names of the inputs."""
        return [found["name"] for _, found in self.found if "name" in found]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder like that of the UI package."""
    scripts = tmp_path / "dist" / "umd"
    scripts.mkdir(parents=True)
    (scripts / "index.js").write_text("globalThis.DescopeUI = {};")
    (scripts / "descope-button.js").write_text("button")
    (scripts / "index.js.map").write_text("map")
    (scripts / "fonts").mkdir()
    (scripts / "fonts" / "font-1.woff").write_bytes(b"\x00font")
    (tmp_path / "secret.js").write_text("secret")
    described = {"name": "@descope/web-components-ui", "version": "9.8.7"}
    (tmp_path / "package.json").write_text(json.dumps(described))
    return tmp_path


@pytest.fixture
def plain(emulator: DescopeEmulator) -> TestClient:
    """A browser, and an emulator without the package."""
    return TestClient(emulator)


@pytest.fixture
def dressed(package: Path) -> TestClient:
    """A browser, and an emulator with the package."""
    return TestClient(DescopeEmulator(ui=package))


def test_configuration_names_the_flows(plain: TestClient, dressed: TestClient) -> None:
    """The component starts a flow at once, and knows the version of its elements."""
    flow = {"version": 1, "targetLocales": []}
    for client, version in ((plain, "3.14.1"), (dressed, "9.8.7")):
        config = client.get(f"{PAGES}/config.json").json()
        assert config["componentsVersion"] == version
        assert config["flows"] == {"step-up": flow, "sign-up-or-in": flow}
        assert config["cssTemplate"] == {"light": {"fonts": {}}, "dark": {"fonts": {}}}


def test_theme_is_for_plain_screens_only(plain: TestClient, dressed: TestClient) -> None:
    """The package brings its own theme."""
    for client, is_styled in ((plain, True), (dressed, False)):
        theme = client.get(f"{PAGES}/theme.json").json()
        assert ("descope-screen" in theme["light"]["globals"]) is is_styled
        assert theme["dark"] == {"globals": "", "components": {}}


@pytest.mark.parametrize("screen", SCREENS)
def test_screens_are_the_same_in_both_looks(
    plain: TestClient, dressed: TestClient, screen: str
) -> None:
    """Both have the same buttons and inputs, a place for errors, and poll alike."""
    page, descope = (client.get(f"{PAGES}/{screen}.html") for client in (plain, dressed))
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    ours, theirs = Elements(page.text), Elements(descope.text)
    assert ours.buttons == theirs.buttons
    assert ours.buttons
    assert ours.fields == theirs.fields
    for found in (ours, theirs):
        kinds = [attributes.get("data-type") for _, attributes in found.found]
        assert kinds.count("error-message") == 1
        assert ("polling" in kinds) is screen.startswith("magic-link")
    names = {tag for tag, _ in ours.found}
    assert {name for name in names if "-" in name} == {"descope-screen", "descope-text"}


def test_unknown_files_are_not_there(plain: TestClient, dressed: TestClient) -> None:
    """Another project's, an unknown screen, an unknown button, the map, the older version."""
    for path in (
        "/pages/P2other/v2-beta/config.json",
        f"/pages/{PROJECT}/v2-alpha/config.json",
        f"{PAGES}/nothing.html",
        f"{PAGES}/verify-code",
        f"{PAGES}/verify-code.json",
        f"{PAGES}/choose-method.html",
        f"{PAGES}/choose-method.otp-email.<b>.html",
        f"{SCRIPTS}/descope-link.js",
    ):
        assert plain.get(path).status_code == dressed.get(path).status_code == 404, path
    assert plain.get(f"{SCRIPTS}/descope-button.js").status_code == 404


def test_plain_script_defines_what_the_screens_use(plain: TestClient) -> None:
    """It is small, and stands for the package."""
    script = plain.get(f"{SCRIPTS}/index.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "globalThis.DescopeUI" in script.text
    assert len(script.content) < 1000


def test_package_is_served_with_its_theme(dressed: TestClient) -> None:
    """Its scripts are unchanged, but for the theme behind the first."""
    index = dressed.get(f"{SCRIPTS}/index.js").text
    assert index.startswith("globalThis.DescopeUI = {};")
    assert "DescopeDev.js" in index
    assert dressed.get(f"{SCRIPTS}/descope-button.js").text == "button"
    font = dressed.get(f"{SCRIPTS}/fonts/font-1.woff")
    assert (font.content, font.headers["content-type"]) == (b"\x00font", "font/woff")


@pytest.mark.parametrize(
    "path", ["index.js.map", "..%2f..%2fsecret.js", "..%2f..%2fpackage.json", "%2fetc%2fpasswd", ""]
)
def test_no_other_file_is_served(dressed: TestClient, path: str) -> None:
    """Neither what is beside the scripts nor above them."""
    assert dressed.get(f"{SCRIPTS}/{path}").status_code == 404


@pytest.mark.parametrize("described", [None, "{", "[]", '{"name": "other"}'])
def test_other_folders_are_refused(
    package: Path, described: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence says how to get the package, from Python and on the command line."""
    file = package / "package.json"
    file.unlink()
    if described is not None:
        file.write_text(described)
    with pytest.raises(ValueError, match="npm install @descope/web-components-ui"):
        DescopeEmulator(ui=package)
    assert main(["--ui", str(package)]) == 1
    assert "npm install @descope/web-components-ui" in capsys.readouterr().err


def test_folder_without_scripts_is_refused(package: Path) -> None:
    """The package's sources are no package."""
    (package / "dist" / "umd" / "index.js").unlink()
    with pytest.raises(ValueError, match="is not the package"):
        DescopeEmulator(ui=str(package))

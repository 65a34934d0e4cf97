"""StepUpGuard: what its options become."""

import logging
from typing import Any

import httpx
import pytest

from fastapi_stepup import (
    StepUpGuard,
)
from fastapi_stepup.errors import (
    ConfigurationError,
    DescopeUnavailable,
    InvalidToken,
    KeysUnavailable,
)
from fastapi_stepup.testing import REMOVE, DescopeEmulator
from tests.guard.connections import ANN, PROJECT

REGIONAL = "Puse1" + 27 * "a"


def test_project_comes_from_the_argument_or_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument wins over `DESCOPE_PROJECT_ID`, whose blanks are forgiven."""
    monkeypatch.setenv("DESCOPE_PROJECT_ID", f" {PROJECT}\n")

    assert StepUpGuard.for_descope().project_id == PROJECT
    assert StepUpGuard.for_descope("P1").project_id == "P1"


def test_base_url_comes_from_the_argument_the_variable_or_the_project(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """First what is given, then `DESCOPE_BASE_URI`, then Descope's host in the project's region."""
    assert StepUpGuard.for_descope(PROJECT).base_url == "https://api.descope.com"
    assert StepUpGuard.for_descope(REGIONAL).base_url == "https://api.use1.descope.com"
    monkeypatch.setenv("DESCOPE_BASE_URI", "https://auth.example.com/")
    assert StepUpGuard.for_descope(REGIONAL).base_url == "https://auth.example.com"
    given = StepUpGuard.for_descope(PROJECT, base_url="https://id.example.com")
    assert given.base_url == "https://id.example.com"
    assert given.keys.url == f"https://id.example.com/v2/keys/{PROJECT}"
    monkeypatch.setenv("DESCOPE_BASE_URI", "")
    assert StepUpGuard.for_descope(PROJECT).base_url == "https://api.descope.com"


def test_missing_or_malformed_project_id_says_where_to_find_it(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """Nothing but an id goes into a path or a host; the message names both ways to give it."""
    rows: list[Any] = [
        None,
        "",
        " ",
        f"{PROJECT}\n",
        "../../x",
        "x/../../keys",
        "x?y",
        "x#y",
        "P2%2f",
        "P2:x",
        "\uff302",
        1000 * "P",
        42,
    ]
    monkeypatch.delenv("DESCOPE_PROJECT_ID", raising=False)
    for project_id in rows:
        with (
            subtests.test(project_id=project_id),
            pytest.raises(ConfigurationError, match=r"DESCOPE_PROJECT_ID.*Project Settings"),
        ):
            StepUpGuard.for_descope(project_id)


def test_bad_base_url_says_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """The message says what is accepted, and names the argument or the variable at fault."""
    rows: list[Any] = [
        "http://api.descope.com",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0:8085",
        "ftp://api.descope.com",
        "https://",
        "https://ann@api.descope.com",
        "https://api.descope.com?x=1",
        "https://api.descope.com#x",
        "https://api.descope.com\n",
        "api.descope.com",
        "",
        42,
    ]
    for base_url in rows:
        with (
            subtests.test(base_url=base_url),
            pytest.raises(ConfigurationError, match="base_url must be an https URL such as"),
        ):
            StepUpGuard.for_descope(PROJECT, base_url=base_url)
    monkeypatch.setenv("DESCOPE_BASE_URI", "http://api.descope.com")
    with pytest.raises(ConfigurationError, match="DESCOPE_BASE_URI must be an https URL"):
        StepUpGuard.for_descope(PROJECT)


def test_bad_option_says_what_to_change(subtests: pytest.Subtests) -> None:
    """Wrong configuration fails at construction, with what can be used instead."""
    rows: dict[str, tuple[str, Any, str]] = {
        "negative-leeway": ("leeway", -1, "from 0 to 60"),
        "long-leeway": ("leeway", 61, "from 0 to 60"),
        "leeway-text": ("leeway", "5s", "from 0 to 60"),
        "leeway-nan": ("leeway", float("nan"), "from 0 to 60"),
        "leeway-bool": ("leeway", True, "from 0 to 60"),
        "short-ttl": ("keys_ttl", 1, "from 60 to"),
        "endless-ttl": ("keys_ttl", float("inf"), "from 60 to"),
        "hard-below-soft": ("keys_max_stale", 100, "at least ttl"),
        "no-algorithm": ("algorithms", ("none",), "RS256"),
        "symmetric": ("algorithms", ("RS256", "HS256"), "RS256"),
        "algorithms-text": ("algorithms", "RS256", "RS256"),
        "issuers-text": ("issuers", "https://a", "exact strings"),
        "issuer-wildcard": ("issuers", ("*",), "exact strings"),
        "empty-audience": ("audience", (), "at least one"),
        "realm-with-newline": ("realm", 'a"\n', "printable ASCII"),
        "realm-number": ("realm", 5, "printable ASCII"),
        "cookie-name": ("session_cookie", "D S", "cookie name"),
        "one-cookie-for-both": ("refresh_cookie", "DS", "must differ"),
        "origins-text": ("allowed_origins", "https://a", "tuple of origins"),
        "token-size": ("max_token_size", 1, "1024"),
        "warmup": ("warmup", "eager", "best-effort"),
        "warmup-list": ("warmup", [], "best-effort"),
        "report-only-text": ("report_only", "no", "True or False"),
        "transport": ("transport", httpx.HTTPTransport(), "AsyncBaseTransport"),
    }
    for name, (option, value, hint) in rows.items():
        with subtests.test(name):
            options: dict[str, Any] = {option: value}

            with pytest.raises(ConfigurationError, match=hint):
                StepUpGuard.for_descope(PROJECT, **options)


@pytest.mark.parametrize("option", ["audiance", "verify", "auto_error", "verify_signature"])
def test_unknown_option_is_a_type_error(option: str) -> None:
    """A typo is never ignored, and there is no switch that turns verification off."""
    options: dict[str, Any] = {option: False}

    with pytest.raises(TypeError, match=option):
        StepUpGuard.for_descope(PROJECT, **options)


@pytest.mark.anyio
async def test_descope_gets_more_time_than_the_key_endpoint() -> None:
    """Sending a message takes a while; without keys every request waits."""
    patience = {}

    def answer(request: httpx.Request) -> httpx.Response:
        patience[request.url.path] = request.extensions["timeout"]["read"]
        return httpx.Response(500)

    guard = StepUpGuard.for_descope(PROJECT, transport=httpx.MockTransport(answer))
    token = DescopeEmulator(PROJECT).sign_in(ANN).session_token
    with pytest.raises(KeysUnavailable):
        await guard.verify(token)
    with pytest.raises(DescopeUnavailable):
        await guard.descope.me(token)

    assert patience == {f"/v2/keys/{PROJECT}": 3, "/v1/auth/me": 10}


@pytest.mark.anyio
async def test_static_keys_need_no_network(descope: DescopeEmulator) -> None:
    """With the key set given, nothing is ever fetched."""
    unreachable = httpx.MockTransport(lambda _: httpx.Response(500))
    keys = {"keys": [descope.signing_key.jwk]}
    guard = StepUpGuard.for_descope(PROJECT, static_keys=keys, transport=unreachable)
    ann = descope.step_up(ANN)

    assert (await guard.verify(ann.session_token)).subject == ann.user_id


@pytest.mark.anyio
async def test_session_needs_no_name_unless_asked_for(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Some projects issue sessions without `drn`; `require_session_name=True` rejects them."""
    token = descope.token(drn=REMOVE)
    strict = StepUpGuard.for_descope(PROJECT, require_session_name=True)

    assert "drn" not in (await guard.verify(token)).raw
    with descope.attach(strict), pytest.raises(InvalidToken):
        await strict.verify(token)


def test_construction_warns_once_about_plain_http(caplog: pytest.LogCaptureFixture) -> None:
    """Plain http on loopback is for development, and says so once, not per request (OB-011)."""
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        StepUpGuard.for_descope(PROJECT, base_url="http://127.0.0.1:61235")

    assert caplog.text.count("plain http") == 1


def test_settings_hold(guard: StepUpGuard, subtests: pytest.Subtests) -> None:
    """What guards a route cannot be loosened while it runs (CF-009)."""
    settings: dict[object, tuple[str, ...]] = {
        guard: ("verifier", "keys", "descope", "project_id", "base_url", "report_only", "realm"),
        guard.keys: ("url", "ttl", "algorithms"),
        guard.descope: ("project_id", "base_url"),
        guard.credentials: ("session_cookie", "allowed_origins"),
        guard.verifier: ("leeway", "audience", "issuers"),
    }
    for owner, names in settings.items():
        for name in names:
            with subtests.test(owner=type(owner).__name__, name=name):
                before = getattr(owner, name)
                with pytest.raises(AttributeError, match="immutable"):
                    setattr(owner, name, None)
                with pytest.raises(AttributeError, match="immutable"):
                    delattr(owner, name)
                assert getattr(owner, name) is before

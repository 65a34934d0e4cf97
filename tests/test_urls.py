"""Rules for URLs and origins: base URLs, redirect URIs, loopback hosts, origins."""

from typing import Any

import httpx
import pytest
from pydantic import HttpUrl, SecretStr
from starlette.datastructures import URL

from fastapi_stepup import StepUpGuard
from fastapi_stepup._options import plain, project_id as checked_project_id
from fastapi_stepup._urls import (
    checked_base_url,
    checked_redirect_uri,
    is_loopback,
    is_redirect_uri,
    origin_of,
    serialized_origin,
)
from fastapi_stepup.errors import ConfigurationError


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://api.descope.com", id="JW-077-http"),
        pytest.param("file:///etc/passwd", id="JW-077-file"),
        pytest.param("ftp://api.descope.com", id="JW-077-ftp"),
        pytest.param("data:application/json,{}", id="JW-077-data"),
        pytest.param("https://user@api.descope.com", id="JW-077-userinfo"),
        pytest.param("https://user:pw@api.descope.com", id="JW-077-password"),
        pytest.param("https://api.descope.com#x", id="JW-077-fragment"),
        pytest.param("https://api.descope.com#", id="JW-077-empty-fragment"),
        pytest.param("https://", id="JW-077-no-host"),
        pytest.param("https:///path", id="JW-077-empty-host"),
        pytest.param("https://[fe80::1%25eth0]", id="JW-077-zone"),
        pytest.param("https://[fe80::1%eth0]", id="JW-077-raw-zone"),
        pytest.param("https://[::1", id="JW-077-open-bracket"),
        pytest.param("https://api.descope.com /x", id="JW-077-space"),
        pytest.param(" https://api.descope.com", id="JW-077-leading-space"),
        pytest.param("https://api.descope.com\n", id="JW-077-newline"),
        pytest.param("https://api.descope.com\x00", id="JW-077-nul"),
        pytest.param("https://api\tdescope.com", id="JW-077-tab"),
        pytest.param("https://\u0430pi.descope.com", id="JW-077-unicode"),
        pytest.param("https://api.descope.com\\@evil.example", id="JW-077-backslash"),
        pytest.param("https://api.descope.com/%2e%2e", id="JW-077-percent"),
        pytest.param("//api.descope.com", id="no-scheme"),
        pytest.param("api.descope.com", id="bare-host"),
        pytest.param("https://api.descope.com:0", id="port-0"),
        pytest.param("https://api.descope.com:65536", id="port-high"),
        pytest.param("https://api.descope.com:https", id="port-name"),
        pytest.param("https://api.descope.com/a/../b", id="dot-segments"),
        pytest.param("https://api.descope.com/<x>", id="angle-brackets"),
        pytest.param("", id="empty"),
        pytest.param(None, id="none"),
        pytest.param(b"https://api.descope.com", id="bytes"),
        pytest.param("https://api.descope.com?x=1", id="JW-081-query"),
        pytest.param("https://api.descope.com?", id="JW-081-empty-query"),
        pytest.param("http://10.0.0.1", id="JW-078-private"),
        pytest.param("http://localhost.example", id="JW-078-lookalike"),
        pytest.param("http://127.0.0.1.example", id="JW-078-lookalike-address"),
        pytest.param("http://0.0.0.0", id="JW-078-any"),
        pytest.param("http://2130706433", id="JW-078-decimal"),
    ],
)
def test_a_bad_base_url_is_refused(url: Any) -> None:
    """The message names the option and says what is wanted."""
    with pytest.raises(ConfigurationError, match=r"^base_url must be an https URL"):
        checked_base_url("base_url", url)


@pytest.mark.parametrize(
    ("url", "result"),
    [
        pytest.param("https://api.descope.com", "https://api.descope.com", id="plain"),
        pytest.param("https://api.descope.com/", "https://api.descope.com", id="JW-081-slash"),
        pytest.param("https://x.example/a/b//", "https://x.example/a/b", id="JW-081-path"),
        pytest.param("https://x.example:8443/a", "https://x.example:8443/a", id="JW-081-port"),
        pytest.param("https://x.example:443", "https://x.example", id="JW-081-default-port"),
        pytest.param("https://x.example:", "https://x.example", id="JW-081-empty-port"),
        pytest.param("HTTPS://API.Descope.com/A", "https://api.descope.com/A", id="JW-081-case"),
        pytest.param("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443", id="ipv6"),
        pytest.param("https://10.0.0.1", "https://10.0.0.1", id="private-by-https"),
        pytest.param("https://xn--bcher-kva.example", "https://xn--bcher-kva.example", id="idna"),
    ],
)
def test_a_good_base_url_is_normalised(url: str, result: str) -> None:
    """Lower-case scheme and host, no default port, no trailing slash, the path as it is."""
    assert checked_base_url("base_url", url) == result


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://localhost:18085", id="JW-078-localhost"),
        pytest.param("http://127.0.0.1:18085", id="JW-078-ipv4"),
        pytest.param("http://127.9.9.9:18085", id="JW-078-ipv4-net"),
        pytest.param("http://[::1]:18085", id="JW-078-ipv6"),
    ],
)
def test_plain_http_on_loopback_is_warned_about_once(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning names the option and comes once, however often the URL is used."""
    assert checked_base_url("the_option", url) == url
    assert checked_base_url("the_option", url + "/") == url
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["the_option is plain http on a loopback host: for development only."]
    assert is_loopback(url.split("//")[1].rsplit(":", 1)[0].strip("[]"))


@pytest.mark.parametrize(
    "project_id",
    [
        pytest.param("../../x", id="JW-079-dots"),
        pytest.param("x/../../keys", id="JW-079-path"),
        pytest.param("x?y", id="JW-079-query"),
        pytest.param("x#y", id="JW-079-fragment"),
        pytest.param("P2%2f", id="JW-079-percent"),
        pytest.param("", id="JW-079-empty"),
        pytest.param("P" * 1024, id="JW-079-long"),
        pytest.param("P2x\n", id="JW-079-newline"),
        pytest.param("P2x@evil.example", id="JW-079-at"),
        pytest.param("\u0420" + "2x", id="JW-079-unicode"),
    ],
)
def test_a_project_id_that_could_bend_a_url_is_refused(project_id: str) -> None:
    """It goes into a path and a host name, so nothing but letters, digits, `_` and `-` passes."""
    with pytest.raises(ConfigurationError):
        StepUpGuard.for_descope(project_id)


@pytest.mark.parametrize(
    ("project_id", "base", "url"),
    [
        pytest.param("P2x", None, "https://api.descope.com/v2/keys/P2x", id="default"),
        pytest.param(
            "P2x",
            "https://x.example:8443/auth/",
            "https://x.example:8443/auth/v2/keys/P2x",
            id="JW-081-joined",
        ),
        pytest.param(
            "Puse1" + "x" * 27,
            None,
            "https://api.use1.descope.com/v2/keys/Puse1" + "x" * 27,
            id="region",
        ),
    ],
)
def test_the_key_set_url_is_base_url_and_project(
    project_id: str, base: str | None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is built from configuration alone."""
    monkeypatch.delenv("DESCOPE_BASE_URI", raising=False)
    assert StepUpGuard.for_descope(project_id, base_url=base).keys.url == url


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(HttpUrl("https://api.euc1.descope.com"), id="pydantic"),
        pytest.param(httpx.URL("https://api.euc1.descope.com"), id="httpx"),
        pytest.param(URL("https://api.euc1.descope.com"), id="starlette"),
        pytest.param(SecretStr("https://api.euc1.descope.com"), id="secret"),
    ],
)
def test_url_objects_of_settings_are_taken(url: Any) -> None:
    """For base URLs, redirect URIs and origins alike."""
    guard = StepUpGuard.for_descope("P2x", base_url=url)

    assert guard.base_url == "https://api.euc1.descope.com"
    assert checked_redirect_uri("redirect_uris", url).rstrip("/") == "https://api.euc1.descope.com"
    assert serialized_origin(url) == "https://api.euc1.descope.com:443"


@pytest.mark.parametrize(
    ("value", "kind"), [(7, "int"), (None, "NoneType"), (b"https://x", "bytes"), (["x"], "list")]
)
def test_other_types_are_named(value: Any, kind: str) -> None:
    """The text is right, so the message says that it is the type."""
    for check in (checked_base_url, checked_redirect_uri):
        with pytest.raises(ConfigurationError, match=f"; {kind} is no text"):
            check("option", value)


def test_a_secret_project_id_is_taken() -> None:
    """Some teams keep it among their secrets."""
    assert checked_project_id(SecretStr("P2" + 26 * "a")) == "P2" + 26 * "a"
    assert plain(7) == 7


@pytest.mark.parametrize(
    ("project_id", "odd"),
    [
        pytest.param("P2" + 26 * "a", False, id="28"),
        pytest.param("Puse1" + 27 * "a", False, id="32"),
        pytest.param("P2" + 25 * "b", True, id="27"),
        pytest.param("P2" + 27 * "b", True, id="29"),
        pytest.param("X2" + 26 * "b", True, id="letter"),
        pytest.param("P2" + 25 * "b" + "_", True, id="underscore"),
        pytest.param("Puse1" + 28 * "b", True, id="33"),
    ],
)
def test_a_project_id_of_another_form_is_warned_of(
    project_id: str,
    odd: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once: no token would pass, and the keys would never be found."""
    assert checked_project_id(project_id) == checked_project_id(project_id) == project_id

    assert [project_id in message for message in caplog.messages] == [True] * odd


@pytest.mark.parametrize(
    ("uri", "usable"),
    [
        pytest.param("https://shop.example/step-up", True, id="https"),
        pytest.param("https://shop.example/step-up?a=%20b&c", True, id="query"),
        pytest.param("http://127.0.0.1:8000/step-up", True, id="loopback"),
        pytest.param("http://shop.example/", False, id="plain-http"),
        pytest.param("https://shop.example/#a", False, id="fragment"),
        pytest.param("https://shop.example/?a=#b", False, id="fragment-in-query"),
        pytest.param("https://shop.example/?a b", False, id="space-in-query"),
        pytest.param('https://shop.example/?"', False, id="quote-in-query"),
        pytest.param("https://shop.example/?\\", False, id="backslash-in-query"),
        pytest.param("https://shop.example/?caf\u00e9", False, id="unicode-in-query"),
        pytest.param("https://shop.example/?a\x00", False, id="nul-in-query"),
        pytest.param("javascript:alert(1)", False, id="script"),
    ],
)
def test_redirect_uris_are_base_urls_with_a_query(uri: str, usable: bool) -> None:  # noqa: FBT001
    """As they are written, or a message that names the option."""
    if usable:
        assert checked_redirect_uri("redirect_uris", uri) == uri
    else:
        with pytest.raises(ConfigurationError, match="redirect_uris"):
            checked_redirect_uri("redirect_uris", uri)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        pytest.param("https://accounts.example/o?a=b#c", True, id="https"),
        pytest.param("http://localhost:8085/o", True, id="loopback"),
        pytest.param("http://accounts.example/", False, id="plain-http"),
        pytest.param("javascript:alert(1)", False, id="script"),
        pytest.param("data:text/html,x", False, id="data"),
        pytest.param("//accounts.example/", False, id="no-scheme"),
        pytest.param("https:///o", False, id="no-host"),
        pytest.param("https://[::1", False, id="open-bracket"),
        pytest.param("https://a.example/ x", False, id="space"),
        pytest.param("https://a.example/<x", False, id="angle-bracket"),
        pytest.param("https://a.example\\@b.example", False, id="backslash"),
        pytest.param("https://a.example/\u00e9", False, id="unicode"),
        pytest.param("https://a.example/\x7f", False, id="control"),
    ],
)
def test_a_browser_is_only_sent_where_it_is_safe(url: str, safe: bool) -> None:  # noqa: FBT001
    """https, or http on this machine, and nothing that browsers read as something else."""
    assert is_redirect_uri(url) is safe


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("LOCALHOST", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:  # noqa: FBT001
    """By its one name, or by address; URL parsers give hosts in lower case."""
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("https://Shop.example", "https://shop.example:443"),
        ("http://shop.example:8000", "http://shop.example:8000"),
        ("http://[::1]", "http://[::1]:80"),
        ("https://shop.example/", None),
        ("https://shop.example:123456", None),
        ("https://a@shop.example", None),
        ("ftp://shop.example", None),
        ("null", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_origins_are_compared_with_their_ports(value: object, origin: str | None) -> None:
    """In one form; what is no origin is none."""
    assert serialized_origin(value) == origin


def test_the_origin_of_a_url_is_how_it_begins() -> None:
    """As an issuer on that host would be written."""
    assert origin_of("https://x.example:8443/a/b") == "https://x.example:8443"

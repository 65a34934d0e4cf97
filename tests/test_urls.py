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

API = "https://api.descope.com"


@pytest.mark.parametrize(
    "urls",
    [
        pytest.param(["http://api.descope.com", "file:///etc/passwd", "ftp://api.descope.com",
                      "data:application/json,{}", "//api.descope.com", "api.descope.com"],
                     id="JW-077-scheme"),
        pytest.param(["https://user@api.descope.com", "https://user:pw@api.descope.com",
                      f"{API}\\@evil.example"], id="JW-077-userinfo"),
        pytest.param([f"{API}#x", f"{API}#"], id="JW-077-fragment"),
        pytest.param([f"{API}?x=1", f"{API}?"], id="JW-081-query"),
        pytest.param(["https://", "https:///path", "https://[fe80::1%25eth0]",
                      "https://[fe80::1%eth0]", "https://[::1"], id="JW-077-host"),
        pytest.param([f"{API} /x", f" {API}", f"{API}\n", f"{API}\x00", "https://api\tdescope.com",
                      "https://\u0430pi.descope.com", f"{API}/<x>"], id="JW-077-characters"),
        pytest.param([f"{API}/%2e%2e", f"{API}/a/../b"], id="JW-077-dot-segments"),
        pytest.param([f"{API}:0", f"{API}:65536", f"{API}:https"], id="port"),
        pytest.param(["http://10.0.0.1", "http://localhost.example", "http://127.0.0.1.example",
                      "http://0.0.0.0", "http://2130706433"], id="JW-078-no-loopback"),
        pytest.param(["", None, API.encode()], id="no-text"),
    ],
)  # fmt: skip
def test_a_bad_base_url_is_refused(urls: list[Any], subtests: pytest.Subtests) -> None:
    """The message names the option and says what is wanted."""
    for url in urls:
        with (
            subtests.test(ascii(url)),
            pytest.raises(ConfigurationError, match=r"^base_url must be an https URL"),
        ):
            checked_base_url("base_url", url)


def test_a_good_base_url_is_normalised(subtests: pytest.Subtests) -> None:
    """Lower-case scheme and host, no default port, no slash at the end, the path as it is."""
    normalised = {
        "https://api.descope.com": "https://api.descope.com",
        "https://api.descope.com/": "https://api.descope.com",
        "https://x.example/a/b//": "https://x.example/a/b",
        "https://x.example/~": "https://x.example/~",
        "https://x.example:8443/a": "https://x.example:8443/a",
        "https://x.example:443": "https://x.example",
        "https://x.example:": "https://x.example",
        "HTTPS://API.Descope.com/A": "https://api.descope.com/A",
        "https://[2001:db8::1]:8443": "https://[2001:db8::1]:8443",
        "https://10.0.0.1": "https://10.0.0.1",
        "https://xn--bcher-kva.example": "https://xn--bcher-kva.example",
    }
    for url, result in normalised.items():
        with subtests.test(url):
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


def test_a_project_id_that_could_bend_a_url_is_refused(subtests: pytest.Subtests) -> None:
    """It goes into a path and a host name (JW-079): letters, digits, `_` and `-` alone pass."""
    for project_id in (
        "../../x",
        "x/../../keys",
        "x?y",
        "x#y",
        "P2%2f",
        "",
        "P" * 1024,
        "P2x\n",
        "P2x@evil.example",
        "\u0420" + "2x",
    ):
        with subtests.test(ascii(project_id)[:40]), pytest.raises(ConfigurationError):
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


def test_other_types_are_named() -> None:
    """The text is right, so the message says that it is the type."""
    for check in (checked_base_url, checked_redirect_uri):
        for value in (7, None, b"https://x", ["x"]):
            with pytest.raises(ConfigurationError, match=f"; {type(value).__name__} is no text"):
                check("option", value)


def test_a_secret_project_id_is_taken() -> None:
    """Some teams keep it among their secrets."""
    assert checked_project_id(SecretStr("P2" + 26 * "a")) == "P2" + 26 * "a"
    assert plain(7) == 7


def test_a_project_id_of_another_form_is_warned_of(
    subtests: pytest.Subtests, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: no token would pass, and the keys would never be found."""
    for project_id in ("P2" + 26 * "a", "Puse1" + 27 * "a"):
        assert checked_project_id(project_id) == project_id
    assert caplog.messages == []
    for odd in (
        "P2" + 25 * "b",
        "P2" + 27 * "b",
        "X2" + 26 * "b",
        "P2" + 25 * "b" + "_",
        "Puse1" + 28 * "b",
    ):
        caplog.clear()
        with subtests.test(odd):
            assert checked_project_id(odd) == checked_project_id(odd) == odd
            assert [odd in message for message in caplog.messages] == [True]


def test_redirect_uris_are_base_urls_with_a_query(subtests: pytest.Subtests) -> None:
    """As they are written, or a message that names the option."""
    for uri in (
        "https://shop.example/step-up",
        "https://shop.example/step-up?a=%20b&c",
        "http://127.0.0.1:8000/step-up",
    ):
        assert checked_redirect_uri("redirect_uris", uri) == uri
    for other in (
        "http://shop.example/",
        "https://shop.example/#a",
        "https://shop.example/?a=#b",
        "https://shop.example/?a b",
        'https://shop.example/?"',
        "https://shop.example/?\\",
        "https://shop.example/?caf\u00e9",
        "https://shop.example/?a\x00",
        "javascript:alert(1)",
    ):
        with subtests.test(ascii(other)), pytest.raises(ConfigurationError, match="redirect_uris"):
            checked_redirect_uri("redirect_uris", other)


def test_a_browser_is_only_sent_where_it_is_safe(subtests: pytest.Subtests) -> None:
    """https, or http on this machine, and nothing that browsers read as something else."""
    for url in ("https://accounts.example/o?a=b#c", "http://localhost:8085/o"):
        assert is_redirect_uri(url)
    for other in (
        "http://accounts.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "//accounts.example/",
        "https:///o",
        "https://[::1",
        "https://a.example/ x",
        "https://a.example/<x",
        "https://a.example\\@b.example",
        "https://a.example/\u00e9",
        "https://a.example/\x7f",
    ):
        with subtests.test(ascii(other)):
            assert not is_redirect_uri(other)


def test_loopback_is_this_machine_alone(subtests: pytest.Subtests) -> None:
    """By its one name, or by address; URL parsers give hosts in lower case."""
    for host in ("localhost", "127.0.0.1", "127.255.0.9", "::1"):
        assert is_loopback(host)
    for other in ("0.0.0.0", "10.0.0.1", "localhost.example", "LOCALHOST", ""):
        with subtests.test(other):
            assert not is_loopback(other)


def test_origins_are_compared_with_their_ports(subtests: pytest.Subtests) -> None:
    """In one form; what is no origin is none."""
    origins: dict[object, str | None] = {
        "https://Shop.example": "https://shop.example:443",
        "http://shop.example:8000": "http://shop.example:8000",
        "http://[::1]": "http://[::1]:80",
        "https://shop.example/": None,
        "https://shop.example:123456": None,
        "https://a@shop.example": None,
        "ftp://shop.example": None,
        "null": None,
        "": None,
        None: None,
        7: None,
    }
    for value, origin in origins.items():
        with subtests.test(repr(value)):
            assert serialized_origin(value) == origin


def test_the_origin_of_a_url_is_how_it_begins() -> None:
    """As an issuer on that host would be written."""
    assert origin_of("https://x.example:8443/a/b") == "https://x.example:8443"

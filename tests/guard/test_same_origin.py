"""The same-origin rule: when a cookie may present a token."""

from typing import Any

import pytest
from starlette.requests import HTTPConnection

from fastapi_stepup import errors
from fastapi_stepup.guard.credentials import SAFE_METHODS, CredentialReader
from tests.guard.connections import HOST, SAME, Header, connection, read

NONE = errors.Unauthenticated


EVIDENCE: list[Any] = [
    pytest.param([SAME], True, id="CK-003-same-origin"),
    pytest.param([("sec-fetch-site", "none")], True, id="user-originated"),
    pytest.param([("origin", "https://app.example.com")], True, id="CK-003-origin"),
    pytest.param([("origin", "HTTPS://APP.Example.COM")], True, id="CK-009-upper-case"),
    pytest.param([("origin", "https://app.example.com:443")], True, id="default-port"),
    pytest.param([SAME, ("origin", "null")], True, id="opaque-origin-of-a-private-form"),
    pytest.param([SAME, ("origin", "https://outer.example")], True, id="proxy-changed-the-host"),
    pytest.param([], False, id="no-evidence"),
    pytest.param([("sec-fetch-site", "same-site")], False, id="CK-005-sibling"),
    pytest.param([("sec-fetch-site", "same-site"), ("origin", "https://x.example.com")], False,
                 id="CK-005-sibling-with-origin"),
    pytest.param([("sec-fetch-site", "cross-site")], False, id="cross-site"),
    pytest.param([("sec-fetch-site", "cross-site"), ("origin", "https://app.example.com")], False,
                 id="cross-site-with-our-origin"),
    pytest.param([("sec-fetch-site", "")], False, id="fetch-site-empty"),
    pytest.param([("sec-fetch-site", "Same-Origin")], False, id="fetch-site-upper-case"),
    pytest.param([("sec-fetch-site", '"same-origin"')], False, id="fetch-site-quoted"),
    pytest.param([("sec-fetch-site", "same-origin;a=b")], False, id="fetch-site-parameter"),
    pytest.param([("sec-fetch-site", "same-origin, cross-site")], False, id="fetch-site-list"),
    pytest.param([("sec-fetch-site", "unheard-of")], False, id="fetch-site-unknown"),
    pytest.param([SAME, SAME], False, id="fetch-site-twice"),
    pytest.param([SAME, ("sec-fetch-site", "cross-site")], False, id="fetch-site-twice-differing"),
    pytest.param([("sec-fetch-site", "cross-site"), SAME], False, id="fetch-site-twice-reversed"),
    pytest.param([("sec-fetch-mode", "same-origin"), ("sec-fetch-dest", "same-origin")], False,
                 id="other-fetch-fields"),
    pytest.param([("origin", "https://evil.example")], False, id="CK-006-foreign-origin"),
    pytest.param([("origin", "null")], False, id="CK-007-null"),
    pytest.param([("origin", "")], False, id="origin-empty"),
    pytest.param([("origin", "*")], False, id="origin-star"),
    pytest.param([("origin", "https://app.example.com.evil.com")], False, id="CK-009-suffix"),
    pytest.param([("origin", "https://evilapp.example.com")], False, id="CK-009-prefix"),
    pytest.param([("origin", "https://app.example.com:8443")], False, id="CK-009-other-port"),
    pytest.param([("origin", "https://app.example.com:80")], False, id="CK-009-port-of-http"),
    pytest.param([("origin", "http://app.example.com")], False, id="CK-009-http"),
    pytest.param([("origin", "https://app.example.com.")], False, id="CK-009-trailing-dot"),
    pytest.param([("origin", "https://app.example.com/")], False, id="path"),
    pytest.param([("origin", "https://app.example.com?x")], False, id="query"),
    pytest.param([("origin", "https://app.example.com#x")], False, id="fragment"),
    pytest.param([("origin", "https://app.example.com:")], False, id="empty-port"),
    pytest.param([("origin", "https://app.example.com:0443")], False, id="padded-port"),
    pytest.param([("origin", "https://user@app.example.com")], False, id="user-info"),
    pytest.param([("origin", "https://app.example.com@evil.example")], False, id="as-user-info"),
    pytest.param([("origin", "https:\\\\app.example.com")], False, id="backslashes"),
    pytest.param([("origin", "https:app.example.com")], False, id="no-slashes"),
    pytest.param([("origin", "//app.example.com")], False, id="no-scheme"),
    pytest.param([("origin", "app.example.com")], False, id="bare-host"),
    pytest.param([("origin", "wss://app.example.com")], False, id="socket-scheme"),
    pytest.param([("origin", " https://app.example.com")], False, id="space-before"),
    pytest.param([("origin", "https://app.example.com\n")], False, id="newline-at-end"),
    pytest.param([("origin", "https://app.example.com\x00")], False, id="nul-at-end"),
    pytest.param([("origin", "https://app.example.com, https://app.example.com")], False,
                 id="origin-list"),
    pytest.param([("origin", "https://app.example.com https://evil.example")], False,
                 id="origin-chain"),
    pytest.param([("origin", "https://app.example.com")] * 2, False, id="origin-twice"),
    pytest.param([SAME, ("origin", "https://app.example.com"), ("origin", "https://evil.example")],
                 False, id="origin-twice-with-fetch-site"),
    pytest.param([("referer", "https://app.example.com/page")], False, id="referer-is-no-evidence"),
    pytest.param([("x-requested-with", "XMLHttpRequest")], False, id="x-requested-with"),
    pytest.param([("x-forwarded-host", "evil.example"), ("origin", "https://evil.example")], False,
                 id="forwarded-host"),
    pytest.param([("forwarded", "host=evil.example"), ("origin", "https://evil.example")], False,
                 id="forwarded"),
    pytest.param([HOST, ("origin", "https://app.example.com")], False, id="host-twice"),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "passes"), EVIDENCE)
def test_same_origin_evidence(
    headers: list[Header],
    passes: bool,  # noqa: FBT001
) -> None:
    """A cookie needs it on unsafe methods and on WebSockets (CK-013)."""
    fields = (HOST, ("cookie", "DS=t"), *headers)
    post = connection(*fields, method="POST", scheme="https", kind="http")
    websocket = connection(*fields, method="", scheme="wss", kind="websocket")

    expected = "t" if passes else errors.CrossSiteRequest
    assert read(CredentialReader(), post) == expected
    assert read(CredentialReader(), websocket) == expected


@pytest.mark.parametrize(
    "method",
    ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "QUERY", "PURGE", "PROPFIND", "get", "Get", ""],
)
def test_every_method_that_is_not_known_to_be_safe_is_guarded(method: str) -> None:
    """Also unknown ones, and known ones in another case."""
    given = connection(HOST, ("cookie", "DS=t"), method=method)

    assert read(CredentialReader(), given) is errors.CrossSiteRequest


@pytest.mark.parametrize("method", sorted(SAFE_METHODS))
def test_safe_methods_need_no_evidence(method: str) -> None:
    """A link from elsewhere may show a signed-in user their page."""
    cross = ("sec-fetch-site", "cross-site")
    given = connection(HOST, ("cookie", "DS=t"), cross, method=method)

    assert read(CredentialReader(), given) == "t"


def test_method_override_makes_nothing_safe() -> None:
    """What counts is the method that the server saw."""
    override = ("x-http-method-override", "GET")
    given = connection(HOST, ("cookie", "DS=t"), override, method="POST")

    assert read(CredentialReader(), given) is errors.CrossSiteRequest


def test_absent_cookie_is_no_csrf() -> None:
    """Without a cookie a foreign request is just one without credentials."""
    given = connection(HOST, ("origin", "https://evil.example"), method="POST")

    assert read(CredentialReader(), given) is NONE


@pytest.mark.parametrize(
    ("scheme", "host", "origin", "passes"),
    [
        pytest.param("http", "localhost:8000", "http://localhost:8000", True, id="port"),
        pytest.param("http", "localhost:8000", "http://localhost:8001", False, id="other-port"),
        pytest.param("http", "localhost:8000", "http://localhost", False, id="no-port"),
        pytest.param("http", "localhost:8000", "http://127.0.0.1:8000", False, id="other-name"),
        pytest.param("http", "app.example.com:80", "http://app.example.com", True, id="80"),
        pytest.param("https", "app.example.com:443", "https://app.example.com", True, id="443"),
        pytest.param("https", "app.example.com:80", "https://app.example.com", False, id="80-tls"),
        pytest.param("http", "app.example.com", "https://app.example.com", False, id="tls-ended"),
        pytest.param("ws", "localhost:8000", "http://localhost:8000", True, id="ws"),
        pytest.param("wss", "app.example.com", "https://app.example.com", True, id="wss"),
        pytest.param("ws", "app.example.com", "https://app.example.com", False, id="ws-of-https"),
        pytest.param("wss", "app.example.com", "http://app.example.com", False, id="wss-of-http"),
        pytest.param("ws", "app.example.com", "ws://app.example.com", False, id="ws-origin"),
        pytest.param("http", "[::1]:8000", "http://[::1]:8000", True, id="ipv6"),
        pytest.param("https", "[2001:DB8::1]", "https://[2001:db8::1]", True, id="ipv6-case"),
        pytest.param("https", "[::1]", "https://[::1]:443", True, id="ipv6-default-port"),
        pytest.param("https", "[::1]", "https://[::2]", False, id="ipv6-other"),
        pytest.param("https", "::1", "https://::1", False, id="ipv6-bare"),
        pytest.param("https", "[::1%25eth0]", "https://[::1%25eth0]", False, id="ipv6-zone"),
        pytest.param("https", "APP.example.com", "https://app.EXAMPLE.com", True, id="case"),
        pytest.param("https", "app_1.internal", "https://app_1.internal", True, id="underscore"),
        pytest.param("https", "xn--bcher-kva.example", "https://xn--bcher-kva.example", True,
                     id="punycode"),
        pytest.param("https", "b\xfccher.test", "https://b\xfccher.test", False, id="u-label"),
        pytest.param("https", "", "https://", False, id="empty-host"),
        pytest.param("https", "null", "null", False, id="host-null"),
        pytest.param("https", "x@app.example.com", "https://x@app.example.com", False, id="user"),
        pytest.param("https", "app.example.com/x", "https://app.example.com/x", False, id="path"),
        pytest.param("https", "a,b", "https://a,b", False, id="two-hosts-in-one"),
        pytest.param("ftp", "app.example.com", "ftp://app.example.com", False, id="other-scheme"),
    ],
)  # fmt: skip
def test_own_origin(scheme: str, host: str, origin: str, passes: bool) -> None:  # noqa: FBT001
    """Scheme, host and port must all be ours; whatever is odd about either is no match."""
    given = connection(
        ("host", host), ("cookie", "DS=t"), ("origin", origin), method="POST", scheme=scheme
    )

    assert read(CredentialReader(), given) == ("t" if passes else errors.CrossSiteRequest)


def test_own_origin_needs_a_host() -> None:
    """Without `Host` there is nothing to compare with; without a scheme ASGI means http."""
    origin = ("origin", "http://a")
    without = connection(("cookie", "DS=t"), origin, method="POST", scheme="http")
    scope = {**connection(("host", "a"), ("cookie", "DS=t"), origin, method="POST").scope}
    del scope["scheme"]

    assert read(CredentialReader(), without) is errors.CrossSiteRequest
    assert read(CredentialReader(), HTTPConnection(scope)) == "t"


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        pytest.param("https://shop.example.com", True, id="listed"),
        pytest.param("https://shop.example.com:443", True, id="default-port"),
        pytest.param("HTTPS://SHOP.example.com", True, id="case"),
        pytest.param("http://localhost:3000", True, id="second"),
        pytest.param("http://localhost:3001", False, id="other-port"),
        pytest.param("http://shop.example.com", False, id="other-scheme"),
        pytest.param("https://x.shop.example.com", False, id="subdomain"),
        pytest.param("null", False, id="null"),
    ],
)
@pytest.mark.parametrize("site", [None, "cross-site", "same-site"])
def test_allowed_origins_may_use_the_cookies(
    origin: str,
    passes: bool,  # noqa: FBT001
    site: str | None,
) -> None:
    """Whatever `Sec-Fetch-Site` says: to the browser they are another site."""
    reader = CredentialReader(allowed_origins=["https://Shop.example.com", "http://localhost:3000"])
    sites = [] if site is None else [("sec-fetch-site", site)]
    cookie, sent = ("cookie", "DS=t"), ("origin", origin)

    alone = connection(HOST, cookie, sent, *sites, method="POST")
    twice = connection(HOST, cookie, sent, sent, *sites, method="POST")
    assert read(reader, alone) == ("t" if passes else errors.CrossSiteRequest)
    assert read(reader, twice) is errors.CrossSiteRequest


@pytest.mark.parametrize(
    "origins",
    [
        pytest.param("https://app.example.com", id="text"),
        pytest.param(["*"], id="star"),
        pytest.param(["https://*.example.com"], id="wildcard"),
        pytest.param(["null"], id="null"),
        pytest.param([""], id="empty"),
        pytest.param(["app.example.com"], id="no-scheme"),
        pytest.param(["https://app.example.com/"], id="slash"),
        pytest.param(["https://app.example.com\n"], id="newline"),
        pytest.param(["https://user@app.example.com"], id="user-info"),
        pytest.param(["https://b\u00fccher.example"], id="u-label"),
        pytest.param(["wss://app.example.com"], id="socket"),
        pytest.param(["https://app.example.com", None], id="none-inside"),
        pytest.param([b"https://app.example.com"], id="bytes"),
        pytest.param(None, id="none"),
        pytest.param(5, id="number"),
        pytest.param(True, id="true"),
    ],
)
def test_origins_that_are_none_are_refused(origins: Any) -> None:
    """At construction; there are no patterns."""
    with pytest.raises(errors.ConfigurationError, match="tuple of origins"):
        CredentialReader(allowed_origins=origins)


@pytest.mark.parametrize(
    ("method", "safe", "passes"),
    [
        pytest.param("GET", (), False, id="get"),
        pytest.param("OPTIONS", (), False, id="options"),
        pytest.param("HEAD", ("HEAD",), True, id="head-kept"),
        pytest.param("GET", ("HEAD",), False, id="get-left-out"),
        pytest.param("GET", ("GET", "HEAD"), True, id="get-kept"),
    ],
)
def test_state_changing_get_can_be_asked_for_evidence(
    method: str,
    safe: tuple[str, ...],
    passes: bool,  # noqa: FBT001
) -> None:
    """A link from another site then does nothing on the user's cookie."""
    reader = CredentialReader(safe_methods=iter(safe))
    cookie = ("cookie", "DS=t")
    cross = connection(HOST, cookie, ("sec-fetch-site", "cross-site"), method=method)

    assert read(reader, cross) == ("t" if passes else errors.CrossSiteRequest)
    assert read(reader, connection(HOST, cookie, SAME, method=method)) == "t"
    assert read(reader, connection(("authorization", "Bearer t"), method=method)) == "t"


def test_methods_that_are_safe() -> None:
    """RFC 9110 section 9.2.1, and no other."""
    assert {"GET", "HEAD", "OPTIONS", "TRACE"} == SAFE_METHODS


def test_text_is_no_tuple_of_origins() -> None:
    """Not even the empty one."""
    with pytest.raises(errors.ConfigurationError, match="tuple of origins"):
        CredentialReader(allowed_origins="")


def page(
    *headers: Header, server: tuple[str, int | None] | None, scheme: str = "https"
) -> HTTPConnection:
    """Return a request that a server at *server* got."""
    given = connection(*headers, method="POST", scheme=scheme)
    given.scope["server"] = server
    return given


@pytest.mark.parametrize(
    ("origin", "host", "server", "scheme"),
    [
        ("https://app.example.com", "app.example.com", ("app.example.com", 443), "https"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", ("127.0.0.1", 8000), "http"),
        ("http://localhost:8000", "localhost:8000", ("127.0.0.1", 8000), "http"),
        ("http://localhost:8000", "localhost:8000", ("::1", 8000), "http"),
        ("http://[::1]:8000", "[::1]:8000", ("::1", 8000), "http"),
        ("HTTP://LOCALHOST:8000", "Localhost:8000", ("127.0.0.1", 8000), "http"),
    ],
)
def test_page_origin_is_the_servers_own(
    origin: str, host: str, server: tuple[str, int], scheme: str
) -> None:
    """By the field, the host and the address together."""
    given = page(("origin", origin), ("host", host), server=server, scheme=scheme)

    assert CredentialReader().page_origin(given) == origin.lower()


@pytest.mark.parametrize(
    ("origin", "host", "server"),
    [
        pytest.param("https://evil.example", "evil.example", ("10.0.0.5", 443), id="host"),
        pytest.param("https://evil.example", "evil.example", ("127.0.0.1", 443), id="rebinding"),
        pytest.param("https://evil.example", "a b", ("app.example.com", 443), id="unreadable-host"),
        pytest.param("null", "a b", ("app.example.com", 443), id="null-and-unreadable-host"),
        pytest.param("null", "null", ("null", 443), id="null"),
        pytest.param("https://app.example.com", "x.example", ("app.example.com", 443), id="other"),
        pytest.param("https://a.example", "a.example", None, id="no-server"),
        pytest.param("https://a.example", "a.example", ("/run/app.sock", None), id="unix-socket"),
        pytest.param("https://localhost", "localhost", ("127.0.0.1", 8443), id="loopback-port"),
        pytest.param("https://localhost", "localhost", ("10.0.0.5", 443), id="loopback-elsewhere"),
        pytest.param("https://a.example", "a.example", (None, 443), id="nameless-server"),
        pytest.param("https://localhost", "localhost", ("fe80::1%eth0", 443), id="zone"),
    ],
)
def test_page_origin_does_not_come_from_the_host_field(
    origin: str, host: str, server: tuple[str, int | None] | None
) -> None:
    """What leaves the app is never what a caller wrote into it."""
    given = page(("origin", origin), ("host", host), server=server)

    assert CredentialReader().page_origin(given) is None


def test_page_origin_needs_no_host_where_it_is_allowed() -> None:
    """Behind a proxy the app's own origin is configured."""
    reader = CredentialReader(allowed_origins=["https://app.example.com"])
    allowed, other = ("origin", "https://app.example.com"), ("origin", "https://x.example")

    assert reader.page_origin(page(allowed, server=None)) == "https://app.example.com"
    assert reader.page_origin(page(allowed, allowed, server=None)) is None
    assert reader.page_origin(page(other, server=None)) is None
    assert reader.page_origin(page(server=None)) is None


def test_operator_is_told_once_to_name_the_origin(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that the caller wrote is in the line."""
    reader = CredentialReader()
    for name in ("app.example.com", "evil.example"):
        given = page(("origin", f"https://{name}"), ("host", name), server=("10.0.0.5", 443))
        assert reader.page_origin(given) is None

    assert caplog.text.count("allowed_origins") == 1
    assert "evil" not in caplog.text

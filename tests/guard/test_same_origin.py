"""The same-origin rule: when a cookie may present a token."""

from typing import Any

import pytest
from starlette.requests import HTTPConnection

from fastapi_stepup import errors
from fastapi_stepup.guard.credentials import SAFE_METHODS, CredentialReader
from tests.guard.connections import HOST, SAME, Header, connection, read

NONE = errors.Unauthenticated


EVIDENCE: dict[str, Any] = {
    "CK-003-same-origin": ([SAME], True),
    "user-originated": ([("sec-fetch-site", "none")], True),
    "CK-003-origin": ([("origin", "https://app.example.com")], True),
    "CK-009-upper-case": ([("origin", "HTTPS://APP.Example.COM")], True),
    "default-port": ([("origin", "https://app.example.com:443")], True),
    "opaque-origin-of-a-private-form": ([SAME, ("origin", "null")], True),
    "proxy-changed-the-host": ([SAME, ("origin", "https://outer.example")], True),
    "no-evidence": ([], False),
    "CK-005-sibling": ([("sec-fetch-site", "same-site")], False),
    "CK-005-sibling-with-origin": (
        [("sec-fetch-site", "same-site"), ("origin", "https://x.example.com")],
        False,
    ),
    "cross-site": ([("sec-fetch-site", "cross-site")], False),
    "cross-site-with-our-origin": (
        [("sec-fetch-site", "cross-site"), ("origin", "https://app.example.com")],
        False,
    ),
    "fetch-site-empty": ([("sec-fetch-site", "")], False),
    "fetch-site-upper-case": ([("sec-fetch-site", "Same-Origin")], False),
    "fetch-site-quoted": ([("sec-fetch-site", '"same-origin"')], False),
    "fetch-site-parameter": ([("sec-fetch-site", "same-origin;a=b")], False),
    "fetch-site-list": ([("sec-fetch-site", "same-origin, cross-site")], False),
    "fetch-site-unknown": ([("sec-fetch-site", "unheard-of")], False),
    "fetch-site-twice": ([SAME, SAME], False),
    "fetch-site-twice-differing": ([SAME, ("sec-fetch-site", "cross-site")], False),
    "fetch-site-twice-reversed": ([("sec-fetch-site", "cross-site"), SAME], False),
    "other-fetch-fields": (
        [("sec-fetch-mode", "same-origin"), ("sec-fetch-dest", "same-origin")],
        False,
    ),
    "CK-006-foreign-origin": ([("origin", "https://evil.example")], False),
    "CK-007-null": ([("origin", "null")], False),
    "origin-empty": ([("origin", "")], False),
    "origin-star": ([("origin", "*")], False),
    "CK-009-suffix": ([("origin", "https://app.example.com.evil.com")], False),
    "CK-009-prefix": ([("origin", "https://evilapp.example.com")], False),
    "CK-009-other-port": ([("origin", "https://app.example.com:8443")], False),
    "CK-009-port-of-http": ([("origin", "https://app.example.com:80")], False),
    "CK-009-http": ([("origin", "http://app.example.com")], False),
    "CK-009-trailing-dot": ([("origin", "https://app.example.com.")], False),
    "path": ([("origin", "https://app.example.com/")], False),
    "query": ([("origin", "https://app.example.com?x")], False),
    "fragment": ([("origin", "https://app.example.com#x")], False),
    "empty-port": ([("origin", "https://app.example.com:")], False),
    "padded-port": ([("origin", "https://app.example.com:0443")], False),
    "user-info": ([("origin", "https://user@app.example.com")], False),
    "as-user-info": ([("origin", "https://app.example.com@evil.example")], False),
    "backslashes": ([("origin", "https:\\\\app.example.com")], False),
    "no-slashes": ([("origin", "https:app.example.com")], False),
    "no-scheme": ([("origin", "//app.example.com")], False),
    "bare-host": ([("origin", "app.example.com")], False),
    "socket-scheme": ([("origin", "wss://app.example.com")], False),
    "space-before": ([("origin", " https://app.example.com")], False),
    "newline-at-end": ([("origin", "https://app.example.com\n")], False),
    "nul-at-end": ([("origin", "https://app.example.com\x00")], False),
    "origin-list": ([("origin", "https://app.example.com, https://app.example.com")], False),
    "origin-chain": ([("origin", "https://app.example.com https://evil.example")], False),
    "origin-twice": ([("origin", "https://app.example.com")] * 2, False),
    "origin-twice-with-fetch-site": (
        [SAME, ("origin", "https://app.example.com"), ("origin", "https://evil.example")],
        False,
    ),
    "referer-is-no-evidence": ([("referer", "https://app.example.com/page")], False),
    "x-requested-with": ([("x-requested-with", "XMLHttpRequest")], False),
    "forwarded-host": (
        [("x-forwarded-host", "evil.example"), ("origin", "https://evil.example")],
        False,
    ),
    "forwarded": ([("forwarded", "host=evil.example"), ("origin", "https://evil.example")], False),
    "host-twice": ([HOST, ("origin", "https://app.example.com")], False),
}


def test_same_origin_evidence(subtests: pytest.Subtests) -> None:
    """A cookie needs it on unsafe methods and on WebSockets (CK-013)."""
    for name, (headers, passes) in EVIDENCE.items():
        with subtests.test(name):
            fields = (HOST, ("cookie", "DS=t"), *headers)
            post = connection(*fields, method="POST", scheme="https", kind="http")
            websocket = connection(*fields, method="", scheme="wss", kind="websocket")

            expected = "t" if passes else errors.CrossSiteRequest
            assert read(CredentialReader(), post) == expected
            assert read(CredentialReader(), websocket) == expected


def test_every_method_that_is_not_known_to_be_safe_is_guarded(subtests: pytest.Subtests) -> None:
    """Also unknown ones, and known ones in another case."""
    rows: list[str] = [
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "CONNECT",
        "QUERY",
        "PURGE",
        "PROPFIND",
        "get",
        "Get",
        "",
    ]
    for method in rows:
        with subtests.test(method=method):
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


def test_own_origin(subtests: pytest.Subtests) -> None:
    """Scheme, host and port must all be ours; whatever is odd about either is no match."""
    rows: dict[str, tuple[str, str, str, bool]] = {
        "port": ("http", "localhost:8000", "http://localhost:8000", True),
        "other-port": ("http", "localhost:8000", "http://localhost:8001", False),
        "no-port": ("http", "localhost:8000", "http://localhost", False),
        "other-name": ("http", "localhost:8000", "http://127.0.0.1:8000", False),
        "80": ("http", "app.example.com:80", "http://app.example.com", True),
        "443": ("https", "app.example.com:443", "https://app.example.com", True),
        "80-tls": ("https", "app.example.com:80", "https://app.example.com", False),
        "tls-ended": ("http", "app.example.com", "https://app.example.com", False),
        "ws": ("ws", "localhost:8000", "http://localhost:8000", True),
        "wss": ("wss", "app.example.com", "https://app.example.com", True),
        "ws-of-https": ("ws", "app.example.com", "https://app.example.com", False),
        "wss-of-http": ("wss", "app.example.com", "http://app.example.com", False),
        "ws-origin": ("ws", "app.example.com", "ws://app.example.com", False),
        "ipv6": ("http", "[::1]:8000", "http://[::1]:8000", True),
        "ipv6-case": ("https", "[2001:DB8::1]", "https://[2001:db8::1]", True),
        "ipv6-default-port": ("https", "[::1]", "https://[::1]:443", True),
        "ipv6-other": ("https", "[::1]", "https://[::2]", False),
        "ipv6-bare": ("https", "::1", "https://::1", False),
        "ipv6-zone": ("https", "[::1%25eth0]", "https://[::1%25eth0]", False),
        "case": ("https", "APP.example.com", "https://app.EXAMPLE.com", True),
        "underscore": ("https", "app_1.internal", "https://app_1.internal", True),
        "punycode": ("https", "xn--bcher-kva.example", "https://xn--bcher-kva.example", True),
        "u-label": ("https", "b\xfccher.test", "https://b\xfccher.test", False),
        "empty-host": ("https", "", "https://", False),
        "host-null": ("https", "null", "null", False),
        "user": ("https", "x@app.example.com", "https://x@app.example.com", False),
        "path": ("https", "app.example.com/x", "https://app.example.com/x", False),
        "two-hosts-in-one": ("https", "a,b", "https://a,b", False),
        "other-scheme": ("ftp", "app.example.com", "ftp://app.example.com", False),
    }
    for name, (scheme, host, origin, passes) in rows.items():
        with subtests.test(name):
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


@pytest.mark.parametrize("site", [None, "cross-site", "same-site"])
def test_allowed_origins_may_use_the_cookies(site: str | None, subtests: pytest.Subtests) -> None:
    """Whatever `Sec-Fetch-Site` says: to the browser they are another site."""
    rows: dict[str, tuple[str, bool]] = {
        "listed": ("https://shop.example.com", True),
        "default-port": ("https://shop.example.com:443", True),
        "case": ("HTTPS://SHOP.example.com", True),
        "second": ("http://localhost:3000", True),
        "other-port": ("http://localhost:3001", False),
        "other-scheme": ("http://shop.example.com", False),
        "subdomain": ("https://x.shop.example.com", False),
        "null": ("null", False),
    }
    reader = CredentialReader(allowed_origins=["https://Shop.example.com", "http://localhost:3000"])
    sites = [] if site is None else [("sec-fetch-site", site)]
    cookie = ("cookie", "DS=t")
    for name, (origin, passes) in rows.items():
        with subtests.test(name):
            sent = ("origin", origin)

            alone = connection(HOST, cookie, sent, *sites, method="POST")
            twice = connection(HOST, cookie, sent, sent, *sites, method="POST")
            assert read(reader, alone) == ("t" if passes else errors.CrossSiteRequest)
            assert read(reader, twice) is errors.CrossSiteRequest


def test_origins_that_are_none_are_refused(subtests: pytest.Subtests) -> None:
    """At construction; there are no patterns."""
    rows: dict[str, Any] = {
        "text": "https://app.example.com",
        "star": ["*"],
        "wildcard": ["https://*.example.com"],
        "null": ["null"],
        "empty": [""],
        "no-scheme": ["app.example.com"],
        "slash": ["https://app.example.com/"],
        "newline": ["https://app.example.com\n"],
        "user-info": ["https://user@app.example.com"],
        "u-label": ["https://b\u00fccher.example"],
        "socket": ["wss://app.example.com"],
        "none-inside": ["https://app.example.com", None],
        "bytes": [b"https://app.example.com"],
        "none": None,
        "number": 5,
        "true": True,
    }
    for name, origins in rows.items():
        with (
            subtests.test(name),
            pytest.raises(errors.ConfigurationError, match="tuple of origins"),
        ):
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
    *headers: Header, server: tuple[str | None, int | None] | None, scheme: str = "https"
) -> HTTPConnection:
    """Return a request that a server at *server* got."""
    given = connection(*headers, method="POST", scheme=scheme)
    given.scope["server"] = server
    return given


def test_page_origin_is_the_servers_own(subtests: pytest.Subtests) -> None:
    """By the field, the host and the address together."""
    rows: list[tuple[str, str, tuple[str, int], str]] = [
        ("https://app.example.com", "app.example.com", ("app.example.com", 443), "https"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", ("127.0.0.1", 8000), "http"),
        ("http://localhost:8000", "localhost:8000", ("127.0.0.1", 8000), "http"),
        ("http://localhost:8000", "localhost:8000", ("::1", 8000), "http"),
        ("http://[::1]:8000", "[::1]:8000", ("::1", 8000), "http"),
        ("HTTP://LOCALHOST:8000", "Localhost:8000", ("127.0.0.1", 8000), "http"),
    ]
    for origin, host, server, scheme in rows:
        with subtests.test(origin=origin):
            given = page(("origin", origin), ("host", host), server=server, scheme=scheme)

            assert CredentialReader().page_origin(given) == origin.lower()


def test_page_origin_does_not_come_from_the_host_field(subtests: pytest.Subtests) -> None:
    """What leaves the app is never what a caller wrote into it."""
    rows: dict[str, tuple[str, str, tuple[str | None, int | None] | None]] = {
        "host": ("https://evil.example", "evil.example", ("10.0.0.5", 443)),
        "rebinding": ("https://evil.example", "evil.example", ("127.0.0.1", 443)),
        "unreadable-host": ("https://evil.example", "a b", ("app.example.com", 443)),
        "null-and-unreadable-host": ("null", "a b", ("app.example.com", 443)),
        "null": ("null", "null", ("null", 443)),
        "other": ("https://app.example.com", "x.example", ("app.example.com", 443)),
        "no-server": ("https://a.example", "a.example", None),
        "unix-socket": ("https://a.example", "a.example", ("/run/app.sock", None)),
        "loopback-port": ("https://localhost", "localhost", ("127.0.0.1", 8443)),
        "loopback-elsewhere": ("https://localhost", "localhost", ("10.0.0.5", 443)),
        "nameless-server": ("https://a.example", "a.example", (None, 443)),
        "zone": ("https://localhost", "localhost", ("fe80::1%eth0", 443)),
    }
    for name, (origin, host, server) in rows.items():
        with subtests.test(name):
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

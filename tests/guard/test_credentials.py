"""Credentials: which token a request presents, and when a cookie may present one.

Rows of the catalogue are in the test ids (HD: headers, CK: cookies). Where it leaves an outcome
open, this is the decision:

- HD-006: `Bearer` without credentials is 400. The scheme is ours, so it is a broken request and
  not one without credentials.
- HD-007: several spaces after `Bearer` are fine, as RFC 9110 section 11.4 has `1*SP`.
- HD-017: field names are compared without case, so that `Authorization` and `authorization` are two
  fields to a server that does not lower them, and 400.
- HD-018: the header wins, and the cookie is not looked at: it can be stale or planted.
- HD-019: a bad header never falls through to a cookie; nor does an empty one, nor another scheme.
- HD-005, CK-014: several tokens are 400, even when they are the same.
- `Sec-Fetch-Site: none` passes: the user did it, by an address bar or a bookmark, no site could.
- `Sec-Fetch-Site` decides where it is sent. Browsers write it, no page can, and it holds behind a
  proxy that changes scheme or host. `Origin` against our own host is for callers without it, and
  against `allowed_origins` for all.
"""

import time
from collections.abc import Iterator
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI, WebSocket
from hypothesis import given as examples, settings, strategies as st
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message

from fastapi_stepup import Challenge, Claims, RequireSession, StepUpGuard, errors
from fastapi_stepup.guard.credentials import SAFE_METHODS, Credential, CredentialReader
from fastapi_stepup.testing import DescopeEmulator

Header = tuple[str, str]

SAME: Header = ("sec-fetch-site", "same-origin")


def connection(
    *headers: Header, method: str = "GET", scheme: str = "https", kind: str = "http"
) -> HTTPConnection:
    """Return a connection as a server hands it on: raw bytes, in this order."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    scope: dict[str, Any] = {"type": kind, "scheme": scheme, "path": "/", "headers": raw}
    if kind == "http":
        scope["method"] = method
    return HTTPConnection(scope)


def read(reader: CredentialReader, given: HTTPConnection) -> str | type[Exception]:
    """Return the token that *given* presents, or the kind of refusal."""
    try:
        return reader.read(given).token
    except errors.StepUpError as error:
        return type(error)


NONE = errors.Unauthenticated
BAD = errors.InvalidRequest

AUTHORIZATION: list[Any] = [
    pytest.param([], NONE, id="HD-001-no-header"),
    pytest.param(["Bearer t"], "t", id="HD-002"),
    pytest.param(["bearer t"], "t", id="HD-003-lower"),
    pytest.param(["BEARER t"], "t", id="HD-003-upper"),
    pytest.param(["bEaReR t"], "t", id="HD-003-mixed"),
    pytest.param(["Bearer a", "Bearer b"], BAD, id="two-fields"),
    pytest.param(["Bearer a", "Bearer a"], BAD, id="two-fields-the-same"),
    pytest.param(["Bearer a", "Basic b"], BAD, id="two-fields-another-scheme"),
    pytest.param(["", "Bearer a"], BAD, id="two-fields-one-empty"),
    pytest.param(["Bearer a,Bearer b"], BAD, id="HD-005-two-in-one"),
    pytest.param(["Bearer a, Basic b"], BAD, id="HD-005-and-basic"),
    pytest.param(["Bearer a,"], BAD, id="HD-005-comma-at-end"),
    pytest.param(["Bearer ,a"], BAD, id="HD-005-comma-at-start"),
    pytest.param(["Basic b, Bearer a"], NONE, id="HD-005-basic-first"),
    pytest.param(["Bearer"], BAD, id="HD-006-alone"),
    pytest.param(["Bearer "], BAD, id="HD-006-and-space"),
    pytest.param(["Bearer\t"], BAD, id="HD-006-and-tab"),
    pytest.param(["Bearer  t"], "t", id="HD-007-two-spaces"),
    pytest.param(["Bearer      t"], "t", id="HD-007-many-spaces"),
    pytest.param(["  Bearer t \t"], "t", id="whitespace-around"),
    pytest.param(["Bearer t x"], "t x", id="HD-009-two-words"),
    pytest.param(["Bearer t;x"], "t;x", id="HD-009-semicolon"),
    pytest.param(['Bearer "t"'], '"t"', id="HD-009-quoted"),
    pytest.param(["Bearer realm=t"], "realm=t", id="HD-009-parameter"),
    pytest.param(["Basic dDp0"], NONE, id="HD-010-basic"),
    pytest.param(["Token t"], NONE, id="HD-010-token"),
    pytest.param(["JWT t"], NONE, id="HD-010-jwt"),
    pytest.param(["DPoP t"], NONE, id="HD-010-dpop"),
    pytest.param(["Digest a=b"], NONE, id="HD-010-digest"),
    pytest.param(["t"], NONE, id="HD-010-no-scheme"),
    pytest.param(["Bearert"], NONE, id="HD-011-no-space"),
    pytest.param(["BearerX t"], NONE, id="HD-011-longer-scheme"),
    pytest.param(["Bearer-t x"], NONE, id="HD-011-hyphen"),
    pytest.param(["XBearer t"], NONE, id="HD-011-prefix"),
    pytest.param(['"Bearer" t'], NONE, id="HD-011-quoted-scheme"),
    pytest.param(["Bearer t\xe9"], "t\xe9", id="HD-013-latin-1"),
    pytest.param(["Bearer \xa0t"], "\xa0t", id="HD-013-no-break-space"),
    pytest.param(["Bearer\xa0t"], "\xa0t", id="HD-013-no-break-space-separates"),
    pytest.param(["Bearer \u20ac".encode().decode("latin-1")], "\xe2\x82\xac", id="HD-013-utf-8"),
    pytest.param(["B\xe9arer t"], NONE, id="HD-013-in-scheme"),
    pytest.param(["\xa0"], NONE, id="HD-013-only-no-break-space"),
    pytest.param(["Bearer t\x00"], "t\x00", id="HD-014-nul"),
    pytest.param(["Bearer\x00t"], "\x00t", id="HD-014-nul-separates"),
    pytest.param(["\x00Bearer t"], NONE, id="HD-014-nul-first"),
    pytest.param(["Bearer t\r\nX: y"], "t\r\nX: y", id="HD-014-crlf"),
    pytest.param(["Bearer t\n"], "t\n", id="HD-014-newline-at-end"),
    pytest.param(["Bearer\r\n t"], "\r\n t", id="HD-015-fold-after-scheme"),
    pytest.param(["Bearer t\r\n u"], "t\r\n u", id="HD-015-fold-in-token"),
    pytest.param(["Bearer\tt"], "\tt", id="tab-separates"),
    pytest.param([""], NONE, id="HD-027-empty"),
    pytest.param(["  \t "], NONE, id="HD-027-blank"),
]


@pytest.mark.parametrize(("fields", "expected"), AUTHORIZATION)
def test_authorization_field(fields: list[str], expected: str | type[Exception]) -> None:
    """Exactly one `Bearer` field; whatever follows the scheme is the token, odd or not."""
    given = connection(*(("authorization", field) for field in fields))

    assert read(CredentialReader(), given) == expected


@pytest.mark.parametrize(("fields", "expected"), AUTHORIZATION)
def test_hd_018_hd_019_header_wins_over_a_cookie(
    fields: list[str], expected: str | type[Exception]
) -> None:
    """With a good cookie beside it each field has the same outcome; only no field at all differs.

    And the cookie is not asked for same-origin evidence (CK-010), nor whether it comes once.
    """
    listed = [("authorization", field) for field in fields]
    good = connection(*listed, ("cookie", "DS=cookie"), SAME, method="POST")
    bad = connection(("cookie", "DS=a; DS=b"), *listed, method="POST")
    wanted = expected if fields else "cookie"

    assert read(CredentialReader(), good) == wanted
    assert read(CredentialReader(), bad) == (expected if fields else BAD)


@settings(max_examples=100, deadline=None)
@examples(st.text(st.characters(max_codepoint=255), max_size=12), st.sampled_from(["", "Bearer"]))
def test_no_field_falls_through_or_escapes(text: str, scheme: str) -> None:
    """Whatever bytes it has: a token out of the field itself, or one of two refusals."""
    field = scheme + text
    given = connection(("authorization", field), ("cookie", "DS=cookie"))
    outcome = read(CredentialReader(), given)

    assert outcome in (NONE, BAD) or (isinstance(outcome, str) and outcome in field)
    assert outcome != ""


@pytest.mark.parametrize(
    "name",
    [
        "proxy-authorization",
        "x-authorization",
        "x-forwarded-authorization",
        "authorization ",
        "authorization\x00",
        "authorisation",
        "x-access-token",
        "ds",
        "dsr",
        "set-cookie",
        "cookie2",
    ],
)
def test_hd_021_other_fields_are_not_looked_at(name: str) -> None:
    """Not even those that a gateway may add."""
    for value in ("Bearer t", "DS=t"):
        assert read(CredentialReader(), connection((name, value))) is NONE


@pytest.mark.parametrize("name", ["Authorization", "AUTHORIZATION", "aUTHORIZATION"])
def test_hd_017_field_names_have_no_case(name: str) -> None:
    """A server that does not lower them opens no second way."""
    reader = CredentialReader()

    assert read(reader, connection((name, "Bearer t"))) == "t"
    assert read(reader, connection((name, "Bearer a"), ("authorization", "Bearer b"))) is BAD
    assert read(reader, connection((name, "Basic x"), ("COOKIE", "DS=t"))) is NONE


def test_hd_017_case_of_the_other_fields() -> None:
    """`Cookie`, `Origin`, `Host` and `Sec-Fetch-Site` likewise."""
    reader = CredentialReader()
    cookie, host = ("Cookie", "DS=t"), ("HOST", "app.example.com")
    evidence = [("Origin", "https://app.example.com"), ("Sec-Fetch-Site", "same-origin")]

    for each in evidence:
        assert read(reader, connection(cookie, host, each, method="POST")) == "t"
    assert read(reader, connection(cookie, ("cookie", "DS=u"))) is BAD
    twice = connection(cookie, evidence[1], ("sec-fetch-site", "cross-site"), method="POST")
    assert read(reader, twice) is errors.CrossSiteRequest


def test_headers_may_be_any_iterable() -> None:
    """ASGI promises no list, and one that can be read only once is enough."""
    once = ((name, value) for name, value in [(b"host", b"a"), (b"cookie", b"DS=t")])
    given = HTTPConnection({"type": "http", "method": "GET", "path": "/", "headers": once})

    assert read(CredentialReader(), given) == "t"


COOKIES: list[Any] = [
    pytest.param(["DS=t"], "t", id="CK-002"),
    pytest.param(["a=b; DS=t; c=d"], "t", id="CK-002-among-others"),
    pytest.param(["a=b;DS=t;c=d"], "t", id="CK-002-no-space"),
    pytest.param([";; DS=t ;"], "t", id="CK-002-empty-pairs"),
    pytest.param(["a=b", "DS=t"], "t", id="CK-002-second-field"),
    pytest.param(["DS=t="], "t=", id="equals-in-value"),
    pytest.param(["DS=a; DS=b"], BAD, id="CK-014-twice"),
    pytest.param(["DS=a", "DS=b"], BAD, id="CK-014-two-fields"),
    pytest.param(["DS=a; DS=a"], BAD, id="CK-014-twice-the-same"),
    pytest.param(["DS=; DS=a"], BAD, id="CK-014-one-empty"),
    pytest.param(["DS=a; x=y", "z=w; DS=b"], BAD, id="CK-014-among-others"),
    pytest.param(['DS="t"'], '"t"', id="CK-015-quoted"),
    pytest.param(['DS="a\\073b"'], '"a\\073b"', id="CK-015-octal"),
    pytest.param(["DS=%74"], "%74", id="CK-015-percent"),
    pytest.param(["DS=a,DS=b"], "a,DS=b", id="comma-joined"),
    pytest.param(["DS=a DS=b"], "a DS=b", id="space-joined"),
    pytest.param(["DS=\xe9"], "\xe9", id="latin-1"),
    pytest.param(["DS=t\x00"], "t\x00", id="nul"),
    pytest.param(["DSR=t"], NONE, id="CK-017-refresh-cookie-only"),
    pytest.param(["DS="], NONE, id="cleared"),
    pytest.param(["DS"], NONE, id="no-equals"),
    pytest.param(["DS =t"], NONE, id="space-before-equals"),
    pytest.param(["DS\t=t"], NONE, id="tab-before-equals"),
    pytest.param(["DS= t"], " t", id="space-after-equals"),
    pytest.param(["ds=t"], NONE, id="other-case"),
    pytest.param(["Ds=t; DS=u"], "u", id="other-case-beside"),
    pytest.param(["XDS=t"], NONE, id="longer-name-before"),
    pytest.param(["DS2=t"], NONE, id="longer-name-after"),
    pytest.param(["=DS=t"], NONE, id="nameless"),
    pytest.param(["\xa0DS=t"], NONE, id="no-break-space-before"),
    pytest.param(["\x0bDS=t"], NONE, id="vertical-tab-before"),
    pytest.param(["a=DS=t"], NONE, id="in-a-value"),
    pytest.param(['a="x; DS=t; y"'], "t", id="quotes-hide-nothing"),
    pytest.param(["__Host-DS=t"], NONE, id="prefixed-name"),
    pytest.param(["$Version=1; DS=t; $Path=/"], "t", id="rfc-2965"),
    pytest.param([""], NONE, id="empty"),
]


@pytest.mark.parametrize(("fields", "expected"), COOKIES)
def test_session_cookie(fields: list[str], expected: str | type[Exception]) -> None:
    """Exactly one cookie of exactly that name; its value is not unquoted."""
    given = connection(*(("cookie", field) for field in fields))

    assert read(CredentialReader(), given) == expected


@pytest.mark.parametrize(("fields", "expected"), COOKIES)
def test_refresh_cookie(fields: list[str], expected: str | type[Exception]) -> None:
    """Is read by the same rules; when there is none, that is for the caller to judge."""
    reader = CredentialReader(session_cookie="DSR", refresh_cookie="DS")
    given = connection(*(("cookie", field) for field in fields))

    if expected is BAD:
        with pytest.raises(errors.InvalidRequest):
            reader.refresh_token(given)
    else:
        assert reader.refresh_token(given) == (None if expected is NONE else expected)


def test_ck_001_cookies_can_be_turned_off() -> None:
    """Either of them; then even two of it are nothing to us."""
    given = connection(("cookie", "DS=t; DSR=u; DS=v; DSR=w"))
    reader = CredentialReader(session_cookie=None, refresh_cookie=None)

    assert read(reader, given) is NONE
    assert reader.refresh_token(given) is None


def test_cookie_names_can_be_chosen() -> None:
    """`__Host-` names are the ones that a subdomain cannot plant; marks are no patterns."""
    reader = CredentialReader(session_cookie="__Host-DS", refresh_cookie="__Host-DSR")
    given = connection(("cookie", "DS=a; __Host-DS=t; DSR=b; __Host-DSR=u"))

    assert read(reader, given) == "t"
    assert reader.refresh_token(given) == "u"
    assert read(CredentialReader(session_cookie="D.*"), connection(("cookie", "DSS=t"))) is NONE


def test_source_of_the_token_is_told() -> None:
    """The helper routes answer the way the token came."""
    reader = CredentialReader()

    assert reader.read(connection(("authorization", "Bearer t"))) == Credential("t", "header")
    assert reader.read(connection(("cookie", "DS=t"))) == Credential("t", "cookie")


def test_ob_005_repr_shows_no_token() -> None:
    """Of the one object that holds it."""
    assert "secret" not in f"{Credential('secret', 'header')!r}"


@pytest.mark.parametrize(
    "name", ["", "D S", "DS=", "DS;", "D\u00e9", "DS\n", '"DS"', "D,S", "D\x00S", 5, b"DS", True]
)
@pytest.mark.parametrize("option", ["session_cookie", "refresh_cookie"])
def test_cookie_names_that_cannot_be_are_refused(option: str, name: Any) -> None:
    """RFC 6265 section 4.1.1: a name is a token."""
    with pytest.raises(errors.ConfigurationError, match="not a cookie name"):
        CredentialReader(**{option: name})


def test_one_name_for_both_cookies_is_refused() -> None:
    """A refresh token would pass for a session."""
    with pytest.raises(errors.ConfigurationError, match="differ"):
        CredentialReader(session_cookie="X", refresh_cookie="X")


HOST: Header = ("host", "app.example.com")

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
@pytest.mark.parametrize(
    ("kind", "scheme", "method"),
    [("http", "https", "POST"), ("websocket", "wss", "")],
    ids=["POST", "websocket"],
)
def test_same_origin_evidence(
    headers: list[Header],
    passes: bool,  # noqa: FBT001
    kind: str,
    scheme: str,
    method: str,
) -> None:
    """A cookie needs it on unsafe methods and on WebSockets (CK-013)."""
    given = connection(HOST, ("cookie", "DS=t"), *headers, method=method, scheme=scheme, kind=kind)

    assert read(CredentialReader(), given) == ("t" if passes else errors.CrossSiteRequest)


@pytest.mark.parametrize(
    "method",
    ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "QUERY", "PURGE", "PROPFIND", "get", "Get", ""],
)
def test_ck_011_every_method_that_is_not_known_to_be_safe_is_guarded(method: str) -> None:
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


def test_ck_019_many_and_large_cookies_take_bounded_time() -> None:
    """Far more than any server lets through is still read in a moment."""
    large = ("cookie", f"a={'x' * 8192}; DS=t")
    many = [("cookie", "; ".join(f"c{i}={i}" for i in range(200))) for _ in range(200)]
    started = time.process_time()

    assert read(CredentialReader(), connection(large)) == "t"
    assert read(CredentialReader(), connection(*many, ("cookie", "DS=t"))) == "t"
    assert read(CredentialReader(), connection(("cookie", "DS=;" * 100_000))) is BAD
    assert read(CredentialReader(), connection(("authorization", " " * 10**6))) is NONE
    assert read(CredentialReader(), connection(("authorization", "Bearer" + " " * 10**6))) is BAD
    assert time.process_time() - started < 5


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@pytest.fixture
def app(guard: StepUpGuard, descope: DescopeEmulator) -> FastAPI:
    """An app with a page and a WebSocket that need a session."""
    app = FastAPI()
    signed_in = Annotated[Claims, Depends(RequireSession(guard))]

    @app.api_route("/", methods=METHODS)
    async def page(claims: signed_in) -> str:
        return claims.subject

    @app.websocket("/ws")
    async def socket(websocket: WebSocket, claims: signed_in) -> None:
        await websocket.accept()
        await websocket.send_text(claims.subject)
        await websocket.close()

    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of `app` on its own https origin."""
    with TestClient(app, base_url="https://app.example.com") as client:
        yield client


def told(status: int, challenge: str) -> str:
    """Return the catalogue's word for an answer: the status, and T, A or S for a 401."""
    found = [c.error for c in Challenge.parse(challenge)]
    kinds = {"invalid_token": "T", None: "A"}
    return f"{status}{kinds[found[0]]}" if status == 401 else str(status)


def ask(app: FastAPI, *headers: tuple[str, bytes], method: str = "GET") -> str:
    """Return what `app` answers to headers that no client library would send."""
    sent: list[Message] = []
    receive: Any = anyio.sleep_forever  # nothing has to be read to refuse a request

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode("latin-1"), value) for name, value in headers],
    }
    anyio.run(app, scope, receive, send)
    start = sent[0]
    answered = {name: value.decode() for name, value in start["headers"]}
    return told(start["status"], answered.get(b"www-authenticate", ""))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(b"Bearer %s", "200", id="HD-002"),
        pytest.param(b"bEaReR %s", "200", id="HD-003"),
        pytest.param(b"Bearer %s,Bearer %s", "400", id="HD-005-two"),
        pytest.param(b"Bearer %s, Basic eDp5", "400", id="HD-005-basic"),
        pytest.param(b"Bearer", "400", id="HD-006"),
        pytest.param(b"Bearer  %s", "200", id="HD-007"),
        pytest.param(b"Bearer %s %s", "401T", id="HD-009-two-words"),
        pytest.param(b"Bearer %s;x", "401T", id="HD-009-semicolon"),
        pytest.param(b'Bearer "%s"', "401T", id="HD-009-quoted"),
        pytest.param(b"Basic %s", "401A", id="HD-010"),
        pytest.param(b"DPoP %s", "401A", id="HD-010-dpop"),
        pytest.param(b"Bearer%s", "401A", id="HD-011"),
        pytest.param(b"BearerX %s", "401A", id="HD-011-longer"),
        pytest.param(b"Bearer %s\xe9", "401T", id="HD-013-latin-1"),
        pytest.param("Bearer %s\u20ac".encode(), "401T", id="HD-013-utf-8"),
        pytest.param(b"Bearer %s\xff\xfe", "401T", id="HD-013-neither"),
        pytest.param(b"Bearer \xc2\xa0%s", "401T", id="HD-013-no-break-space"),
        pytest.param(b"Bearer %s\x00", "401T", id="HD-014-nul"),
        pytest.param(b"Bearer \x00%s", "401T", id="HD-014-nul-before"),
        pytest.param(b"Bearer %s\r", "401T", id="HD-014-cr"),
        pytest.param(b"Bearer %s\n", "401T", id="HD-014-lf"),
        pytest.param(b"Bearer %s\r\nX-Evil: 1", "401T", id="HD-014-crlf"),
        pytest.param(b"Bearer\r\n %s", "401T", id="HD-015-after-scheme"),
        pytest.param(b"Bearer %s\r\n x", "401T", id="HD-015-after-token"),
        pytest.param(b"Bearer\t%s", "401T", id="tab"),
        pytest.param(b"Bearer " + b"e" * 70_000, "401T", id="70-kilobytes"),
        pytest.param(b"Bearer %s" + b"e" * 70_000, "401T", id="70-kilobytes-more"),
        pytest.param(b"Bearer ..", "401T", id="dots"),
        pytest.param(b"%s", "401A", id="token-alone"),
        pytest.param(b"", "401A", id="HD-027"),
    ],
)
def test_authorization_field_at_the_app(
    app: FastAPI, descope: DescopeEmulator, template: bytes, expected: str
) -> None:
    """What the raw field means to a client; a good cookie beside it changes nothing."""
    token = descope.sign_in("ann@example.com").session_token.encode()
    value = template.replace(b"%s", token)
    cookie, site = ("cookie", b"DS=" + token), ("sec-fetch-site", b"same-origin")

    assert ask(app, ("authorization", value)) == expected
    assert ask(app, ("Authorization", value)) == expected
    assert ask(app, ("authorization", value), cookie, site, method="POST") == expected


def test_hd_005_hd_017_two_fields_at_the_app(app: FastAPI, descope: DescopeEmulator) -> None:
    """Whatever their case and order, and although one is good."""
    good = b"Bearer " + descope.sign_in("ann@example.com").session_token.encode()

    for names in [("authorization", "authorization"), ("Authorization", "authorization")]:
        for values in [(good, b"Bearer x"), (b"Bearer x", good), (good, good), (good, b"")]:
            assert ask(app, *zip(names, values, strict=True)) == "400"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param("DS=%s", "200", id="CK-002"),
        pytest.param("DS=%s; DS=%s", "400", id="CK-014"),
        pytest.param("DS=x; DS=%s", "400", id="CK-014-good-one-last"),
        pytest.param('DS="%s"', "401T", id="CK-015"),
        pytest.param("DS=%s\\056x", "401T", id="CK-015-octal"),
        pytest.param("DSR=%s", "401A", id="CK-017-other-name"),
        pytest.param("DS=", "401A", id="cleared"),
        pytest.param("DS=x", "401T", id="not-a-token"),
        pytest.param("ds=%s", "401A", id="case"),
    ],
)
def test_session_cookie_at_the_app(
    client: TestClient, descope: DescopeEmulator, template: str, expected: str
) -> None:
    """GET with a cookie; CK-014 to CK-017."""
    cookie = template.replace("%s", descope.sign_in("ann@example.com").session_token)
    response = client.get("/", headers={"Cookie": cookie})

    assert told(response.status_code, response.headers.get("www-authenticate", "")) == expected


def test_ck_017_ck_018_refresh_token_is_no_session(
    client: TestClient, descope: DescopeEmulator
) -> None:
    """Under either name: nothing is refreshed silently, and Descope is not asked to."""
    refresh = descope.sign_in("ann@example.com").refresh_token

    for cookie, expected in [(f"DSR={refresh}", "401A"), (f"DS={refresh}", "401T")]:
        response = client.get("/", headers={"Cookie": cookie})
        assert told(response.status_code, response.headers["www-authenticate"]) == expected
        assert "set-cookie" not in response.headers
    assert all(request.method == "GET" for request in descope.requests)


def test_ck_001_cookies_turned_off_at_the_app(descope: DescopeEmulator) -> None:
    """A valid cookie is then no credential."""
    guard = StepUpGuard.for_descope(descope.project_id, session_cookie=None)
    app = FastAPI(dependencies=[Depends(RequireSession(guard))])
    app.add_api_route("/", lambda: "unreached")
    ann = descope.sign_in("ann@example.com")

    with descope.attach(guard):
        response = TestClient(app).get("/", headers=ann.cookie_headers)
    assert told(response.status_code, response.headers["www-authenticate"]) == "401A"


@pytest.mark.parametrize("method", [m for m in METHODS if m != "GET"])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({"Sec-Fetch-Site": "same-origin"}, 200, id="CK-003"),
        pytest.param({"Origin": "https://app.example.com"}, 200, id="CK-003-origin"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, 403, id="CK-005"),
        pytest.param({"Origin": "https://evil.example"}, 403, id="CK-006"),
        pytest.param({"Origin": "null"}, 403, id="CK-007"),
        pytest.param({"Origin": "https://app.example.com.evil.com"}, 403, id="CK-009"),
        pytest.param({}, 403, id="no-evidence"),
    ],
)
def test_cross_site_request_at_the_app(
    client: TestClient,
    descope: DescopeEmulator,
    method: str,
    headers: dict[str, str],
    expected: int,
) -> None:
    """CK-003 to CK-011: 403 has no challenge, since another token would not help."""
    ann = descope.sign_in("ann@example.com")
    cookie = {"Cookie": f"DS={ann.session_token}"}
    response = client.request(method, "/", headers={**cookie, **headers})

    assert response.status_code == expected
    assert "www-authenticate" not in response.headers
    if expected == 403:
        assert response.json()["detail"]["code"] == "cross_site_request"


def test_ck_010_header_needs_no_evidence(client: TestClient, descope: DescopeEmulator) -> None:
    """No page of another site can make a browser send it."""
    ann = descope.sign_in("ann@example.com")
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}

    assert client.post("/", headers={**ann.headers, **foreign}).status_code == 200


@pytest.mark.parametrize(
    ("url", "form"),
    [
        pytest.param("/?access_token=%s", {}, id="HD-022-access-token"),
        pytest.param("/?token=%s", {}, id="HD-022-token"),
        pytest.param("/?DS=%s", {}, id="HD-022-cookie-name"),
        pytest.param("/", {"access_token": "%s"}, id="HD-023"),
    ],
)
def test_tokens_elsewhere_are_not_looked_for(
    client: TestClient, descope: DescopeEmulator, url: str, form: dict[str, str]
) -> None:
    """RFC 6750 sections 2.2 and 2.3 are not supported; RFC 9700 forbids the query."""
    token = descope.sign_in("ann@example.com").session_token
    content = "&".join(f"{name}={value.replace('%s', token)}" for name, value in form.items())
    response = client.post(
        url.replace("%s", token),
        content=content,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert told(response.status_code, response.headers["www-authenticate"]) == "401A"


def test_hd_025_ck_013_websockets(client: TestClient, descope: DescopeEmulator) -> None:
    """A token in the query is none; a cookie needs same-origin evidence on every handshake."""
    ann = descope.sign_in("ann@example.com")
    cookie = {"Cookie": f"DS={ann.session_token}"}
    url = "wss://app.example.com/ws"
    refused: list[tuple[str, dict[str, str], int]] = [
        (f"{url}?token={ann.session_token}", {}, 401),
        (url, cookie, 403),
        (url, {**cookie, "Origin": "https://evil.example"}, 403),
        (url, {**cookie, "Origin": "null"}, 403),
        (url, {**cookie, "Sec-Fetch-Site": "cross-site"}, 403),
    ]

    for address, headers, status in refused:
        with pytest.raises(WebSocketDenialResponse) as denied:
            client.websocket_connect(address, headers=headers).__enter__()
        assert denied.value.status_code == status
    for headers in (
        ann.headers,
        {**ann.headers, "Origin": "https://evil.example"},
        {**cookie, "Origin": "https://app.example.com"},
        {**cookie, "Sec-Fetch-Site": "same-origin"},
    ):
        with client.websocket_connect(url, headers=headers) as session:
            assert session.receive_text() == ann.user_id


def test_hd_030_hostile_host_is_not_reflected(client: TestClient, descope: DescopeEmulator) -> None:
    """Neither in the challenge nor in any link."""
    for headers in ({}, descope.sign_in("ann@example.com").cookie_headers):
        response = client.delete("/", headers={**headers, "Host": "evil.example"})
        assert "evil.example" not in f"{response.headers}{response.text}"

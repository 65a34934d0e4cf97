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
- HD-005: several tokens are 400, even when they are the same. CK-014: so are several values of a
  cookie; the same value under two paths or domains is one.
- `Sec-Fetch-Site: none` passes: the user did it, by an address bar or a bookmark, no site could.
- `Sec-Fetch-Site` decides where it is sent. Browsers write it, no page can, and it holds behind a
  proxy that changes scheme or host. `Origin` against our own host is for callers without it, and
  against `allowed_origins` for all.
"""

import time
from typing import Any

import pytest
from hypothesis import given as examples, settings, strategies as st
from starlette.requests import HTTPConnection

from fastapi_stepup import errors
from fastapi_stepup.guard.credentials import Credential, CredentialReader
from tests.guard.connections import SAME, connection, read

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
def test_header_wins_over_a_cookie(fields: list[str], expected: str | type[Exception]) -> None:
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
def test_other_fields_are_not_looked_at(name: str) -> None:
    """Not even those that a gateway may add."""
    for value in ("Bearer t", "DS=t"):
        assert read(CredentialReader(), connection((name, value))) is NONE


@pytest.mark.parametrize("name", ["Authorization", "AUTHORIZATION", "aUTHORIZATION"])
def test_field_names_have_no_case(name: str) -> None:
    """A server that does not lower them opens no second way."""
    reader = CredentialReader()

    assert read(reader, connection((name, "Bearer t"))) == "t"
    assert read(reader, connection((name, "Bearer a"), ("authorization", "Bearer b"))) is BAD
    assert read(reader, connection((name, "Basic x"), ("COOKIE", "DS=t"))) is NONE


def test_case_of_the_other_fields() -> None:
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
    pytest.param(["DS=a; DS=a"], "a", id="CK-014-twice-the-same"),
    pytest.param(["DS=a", "x=y; DS=a; DS=a"], "a", id="CK-014-thrice-the-same"),
    pytest.param(["DS=; DS="], NONE, id="CK-014-twice-cleared"),
    pytest.param(["DS=a; DS=a; DS=A"], BAD, id="CK-014-twice-and-another"),
    pytest.param(["DS=a; DS=a "], "a", id="CK-014-twice-but-for-a-space"),
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


def test_cookies_can_be_turned_off() -> None:
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


def test_source_of_the_token_is_known() -> None:
    """The helper routes answer the way the token came."""
    reader = CredentialReader()

    assert reader.read(connection(("authorization", "Bearer t"))) == Credential("t", "header")
    assert reader.read(connection(("cookie", "DS=t"))) == Credential("t", "cookie")


def test_repr_shows_no_token() -> None:
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


def test_many_and_large_cookies_take_bounded_time() -> None:
    """Far more than any server lets through is still read in a moment."""
    large = ("cookie", f"a={'x' * 8192}; DS=t")
    many = [("cookie", "; ".join(f"c{i}={i}" for i in range(200))) for _ in range(200)]
    started = time.process_time()

    assert read(CredentialReader(), connection(large)) == "t"
    assert read(CredentialReader(), connection(*many, ("cookie", "DS=t"))) == "t"
    assert read(CredentialReader(), connection(("cookie", "DS=;" * 100_000))) is NONE
    assert read(CredentialReader(), connection(("authorization", " " * 10**6))) is NONE
    assert read(CredentialReader(), connection(("authorization", "Bearer" + " " * 10**6))) is BAD
    assert time.process_time() - started < 5

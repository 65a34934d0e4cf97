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


AUTHORIZATION: dict[str, Any] = {
    "HD-001-no-header": ([], NONE),
    "HD-002": (["Bearer t"], "t"),
    "HD-003-lower": (["bearer t"], "t"),
    "HD-003-upper": (["BEARER t"], "t"),
    "HD-003-mixed": (["bEaReR t"], "t"),
    "two-fields": (["Bearer a", "Bearer b"], BAD),
    "two-fields-the-same": (["Bearer a", "Bearer a"], BAD),
    "two-fields-another-scheme": (["Bearer a", "Basic b"], BAD),
    "two-fields-one-empty": (["", "Bearer a"], BAD),
    "HD-005-two-in-one": (["Bearer a,Bearer b"], BAD),
    "HD-005-and-basic": (["Bearer a, Basic b"], BAD),
    "HD-005-comma-at-end": (["Bearer a,"], BAD),
    "HD-005-comma-at-start": (["Bearer ,a"], BAD),
    "HD-005-basic-first": (["Basic b, Bearer a"], NONE),
    "HD-006-alone": (["Bearer"], BAD),
    "HD-006-and-space": (["Bearer "], BAD),
    "HD-006-and-tab": (["Bearer\t"], BAD),
    "HD-007-two-spaces": (["Bearer  t"], "t"),
    "HD-007-many-spaces": (["Bearer      t"], "t"),
    "whitespace-around": (["  Bearer t \t"], "t"),
    "HD-009-two-words": (["Bearer t x"], "t x"),
    "HD-009-semicolon": (["Bearer t;x"], "t;x"),
    "HD-009-quoted": (['Bearer "t"'], '"t"'),
    "HD-009-parameter": (["Bearer realm=t"], "realm=t"),
    "HD-010-basic": (["Basic dDp0"], NONE),
    "HD-010-token": (["Token t"], NONE),
    "HD-010-jwt": (["JWT t"], NONE),
    "HD-010-dpop": (["DPoP t"], NONE),
    "HD-010-digest": (["Digest a=b"], NONE),
    "HD-010-no-scheme": (["t"], NONE),
    "HD-011-no-space": (["Bearert"], NONE),
    "HD-011-longer-scheme": (["BearerX t"], NONE),
    "HD-011-hyphen": (["Bearer-t x"], NONE),
    "HD-011-prefix": (["XBearer t"], NONE),
    "HD-011-quoted-scheme": (['"Bearer" t'], NONE),
    "HD-011-at-the-end": (["Basic t Bearer "], NONE),
    "HD-013-latin-1": (["Bearer t\xe9"], "t\xe9"),
    "HD-013-no-break-space": (["Bearer \xa0t"], "\xa0t"),
    "HD-013-no-break-space-separates": (["Bearer\xa0t"], "\xa0t"),
    "HD-013-utf-8": (["Bearer \u20ac".encode().decode("latin-1")], "\xe2\x82\xac"),
    "HD-013-in-scheme": (["B\xe9arer t"], NONE),
    "HD-013-only-no-break-space": (["\xa0"], NONE),
    "HD-014-nul": (["Bearer t\x00"], "t\x00"),
    "HD-014-nul-separates": (["Bearer\x00t"], "\x00t"),
    "HD-014-nul-first": (["\x00Bearer t"], NONE),
    "HD-014-crlf": (["Bearer t\r\nX: y"], "t\r\nX: y"),
    "HD-014-newline-at-end": (["Bearer t\n"], "t\n"),
    "HD-015-fold-after-scheme": (["Bearer\r\n t"], "\r\n t"),
    "HD-015-fold-in-token": (["Bearer t\r\n u"], "t\r\n u"),
    "tab-separates": (["Bearer\tt"], "\tt"),
    "HD-027-empty": ([""], NONE),
    "HD-027-blank": (["  \t "], NONE),
}


def test_authorization_field(subtests: pytest.Subtests) -> None:
    """Exactly one `Bearer` field; whatever follows the scheme is the token, odd or not."""
    for name, (fields, expected) in AUTHORIZATION.items():
        with subtests.test(name):
            given = connection(*(("authorization", field) for field in fields))

            assert read(CredentialReader(), given) == expected


def test_header_wins_over_a_cookie(subtests: pytest.Subtests) -> None:
    """With a good cookie beside it each field has the same outcome; only no field at all differs.

    And the cookie is not asked for same-origin evidence (CK-010), nor whether it comes once.
    """
    for name, (fields, expected) in AUTHORIZATION.items():
        with subtests.test(name):
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


def test_other_fields_are_not_looked_at(subtests: pytest.Subtests) -> None:
    """Not even those that a gateway may add."""
    rows: list[str] = [
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
    ]
    for name in rows:
        with subtests.test(name=name):
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


COOKIES: dict[str, Any] = {
    "CK-002": (["DS=t"], "t"),
    "CK-002-among-others": (["a=b; DS=t; c=d"], "t"),
    "CK-002-no-space": (["a=b;DS=t;c=d"], "t"),
    "CK-002-empty-pairs": ([";; DS=t ;"], "t"),
    "CK-002-second-field": (["a=b", "DS=t"], "t"),
    "equals-in-value": (["DS=t="], "t="),
    "CK-014-twice": (["DS=a; DS=b"], BAD),
    "CK-014-two-fields": (["DS=a", "DS=b"], BAD),
    "CK-014-twice-the-same": (["DS=a; DS=a"], "a"),
    "CK-014-thrice-the-same": (["DS=a", "x=y; DS=a; DS=a"], "a"),
    "CK-014-twice-cleared": (["DS=; DS="], NONE),
    "CK-014-twice-and-another": (["DS=a; DS=a; DS=A"], BAD),
    "CK-014-twice-but-for-a-space": (["DS=a; DS=a "], "a"),
    "CK-014-one-empty": (["DS=; DS=a"], BAD),
    "CK-014-among-others": (["DS=a; x=y", "z=w; DS=b"], BAD),
    "CK-015-quoted": (['DS="t"'], '"t"'),
    "CK-015-octal": (['DS="a\\073b"'], '"a\\073b"'),
    "CK-015-percent": (["DS=%74"], "%74"),
    "comma-joined": (["DS=a,DS=b"], "a,DS=b"),
    "space-joined": (["DS=a DS=b"], "a DS=b"),
    "latin-1": (["DS=\xe9"], "\xe9"),
    "nul": (["DS=t\x00"], "t\x00"),
    "CK-017-refresh-cookie-only": (["DSR=t"], NONE),
    "cleared": (["DS="], NONE),
    "no-equals": (["DS"], NONE),
    "space-before-equals": (["DS =t"], NONE),
    "tab-before-equals": (["DS\t=t"], NONE),
    "space-after-equals": (["DS= t"], " t"),
    "other-case": (["ds=t"], NONE),
    "other-case-beside": (["Ds=t; DS=u"], "u"),
    "longer-name-before": (["XDS=t"], NONE),
    "longer-name-after": (["DS2=t"], NONE),
    "nameless": (["=DS=t"], NONE),
    "no-break-space-before": (["\xa0DS=t"], NONE),
    "vertical-tab-before": (["\x0bDS=t"], NONE),
    "in-a-value": (["a=DS=t"], NONE),
    "quotes-hide-nothing": (['a="x; DS=t; y"'], "t"),
    "prefixed-name": (["__Host-DS=t"], NONE),
    "rfc-2965": (["$Version=1; DS=t; $Path=/"], "t"),
    "empty": ([""], NONE),
}


def test_session_cookie(subtests: pytest.Subtests) -> None:
    """Exactly one cookie of exactly that name; its value is not unquoted."""
    for name, (fields, expected) in COOKIES.items():
        with subtests.test(name):
            given = connection(*(("cookie", field) for field in fields))

            assert read(CredentialReader(), given) == expected


def test_refresh_cookie(subtests: pytest.Subtests) -> None:
    """Is read by the same rules; when there is none, that is for the caller to judge."""
    for name, (fields, expected) in COOKIES.items():
        with subtests.test(name):
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


@pytest.mark.parametrize("option", ["session_cookie", "refresh_cookie"])
def test_cookie_names_that_cannot_be_are_refused(option: str, subtests: pytest.Subtests) -> None:
    """RFC 6265 section 4.1.1: a name is a token."""
    rows: list[Any] = [
        "",
        "D S",
        "DS=",
        "DS;",
        "D\u00e9",
        "DS\n",
        '"DS"',
        "D,S",
        "D\x00S",
        5,
        b"DS",
        True,
    ]
    for name in rows:
        with (
            subtests.test(name=name),
            pytest.raises(errors.ConfigurationError, match="not a cookie name"),
        ):
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

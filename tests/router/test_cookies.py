"""Cookies of a finished step-up: as strong as those they replace, and such that a browser keeps."""

import logging
from dataclasses import FrozenInstanceError
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard, stepup_router
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.guard.credentials import CredentialReader
from fastapi_stepup.router.cookies import CookieAttributes, CookieWriter
from tests.support.step_up_methods import (
    BY_NAME,
    ORIGIN,
    MethodCase,
    Person,
    cookies_of,
    each_method,
    signed_in,
)

NAMES = CredentialReader()


def request_from(url: str = "https://shop.example", **fields: str) -> Request:
    """Return a request to *url*, with these header fields."""
    scheme, _, host = url.partition("://")
    given = {"host": host} | {name.replace("_", "-"): value for name, value in fields.items()}
    headers = [(name.encode(), value.encode()) for name, value in given.items()]
    return Request({"type": "http", "scheme": scheme, "method": "POST", "headers": headers})


def cookies_for(
    request: Request, *, by_script: bool = False, names: CredentialReader = NAMES, **attributes: Any
) -> dict[str, dict[str, str]]:
    """Return the attributes of both cookies that answer *request*."""
    writer = CookieWriter(CookieAttributes(**attributes), names)
    response = Response()
    writer.set_session(response, request, "S", 600, by_script=by_script)
    writer.set_refresh(response, request, "R", 900)
    return cookies_of(httpx2.Response(200, headers=response.raw_headers))


def test_cookies_are_out_of_reach_by_default() -> None:
    """Secure, HttpOnly, Lax, for the whole host, and no longer than their tokens."""
    common = {"path": "/", "secure": "True", "httponly": "True", "samesite": "lax"}

    assert cookies_for(request_from()) == {
        "DS": {**common, "max-age": "600", "value": "S"},
        "DSR": {**common, "max-age": "900", "value": "R"},
    }


def test_page_that_keeps_the_refresh_token_manages_the_session_cookie() -> None:
    """It can renew and delete it, and other sites cannot use it: as Descope's SDK writes it."""
    cookies = cookies_for(request_from(), by_script=True)

    assert cookies["DS"] == {
        "path": "/",
        "secure": "True",
        "samesite": "strict",
        "max-age": "600",
        "value": "S",
    }
    assert cookies["DSR"].items() >= {"httponly": "True", "samesite": "lax"}.items()


@pytest.mark.parametrize("by_script", [False, True])
@pytest.mark.parametrize(
    ("attributes", "session", "refresh"),
    [
        pytest.param(
            {"http_only": False}, {"httponly": None}, {"httponly": "True"}, id="script-managed"
        ),
        pytest.param({"http_only": True}, {"httponly": "True"}, {"httponly": "True"}, id="kept"),
        pytest.param({"secure": False}, {"secure": None}, {"secure": None}, id="plain"),
        pytest.param({"secure": True}, {"secure": "True"}, {"secure": "True"}, id="secure"),
        pytest.param(
            {"same_site": "strict"}, {"samesite": "strict"}, {"samesite": "strict"}, id="strict"
        ),
        pytest.param({"same_site": "none"}, {"samesite": "none"}, {"samesite": "none"}, id="none"),
        pytest.param({"same_site": "lax"}, {"samesite": "lax"}, {"samesite": "lax"}, id="lax"),
        pytest.param(
            {"domain": "example.com"},
            {"domain": "example.com"},
            {"domain": "example.com"},
            id="domain",
        ),
    ],
)
def test_attributes_are_what_the_app_says(
    attributes: dict[str, Any],
    session: dict[str, str | None],
    refresh: dict[str, str | None],
    *,
    by_script: bool,
) -> None:
    """Whichever way the tokens came; the refresh cookie is always `HttpOnly`."""
    cookies = cookies_for(request_from(), by_script=by_script, **attributes)

    for name, expected in (("DS", session), ("DSR", refresh)):
        assert {key: cookies[name].get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("request_", "secure"),
    [
        pytest.param(request_from("http://localhost:8000"), None, id="localhost"),
        pytest.param(request_from("http://127.0.0.1"), None, id="ipv4"),
        pytest.param(request_from("http://[::1]:8000"), None, id="ipv6"),
        pytest.param(request_from("http://shop.localhost"), None, id="below-localhost"),
        pytest.param(
            request_from("http://localhost:8000", origin="http://localhost:3000"),
            None,
            id="page-on-another-port",
        ),
        pytest.param(request_from("https://localhost"), "True", id="https"),
        pytest.param(request_from("http://shop.example"), "True", id="another-host"),
        pytest.param(request_from("http://localhost.example"), "True", id="looks-like-it"),
        pytest.param(
            request_from("http://127.0.0.1:8000", origin="https://shop.example"),
            "True",
            id="proxy-that-rewrites-host",
        ),
        pytest.param(
            request_from("http://localhost", x_forwarded_proto="https"), "True", id="proxy"
        ),
        pytest.param(request_from("http://localhost", forwarded="for=1"), "True", id="rfc-7239"),
        pytest.param(request_from("http://localhost", origin="null"), "True", id="null-origin"),
        pytest.param(request_from("http://a b"), "True", id="no-host"),
        pytest.param(
            Request({"type": "http", "scheme": "http", "headers": []}), "True", id="nothing"
        ),
    ],
)
def test_plain_http_on_a_loopback_host_works_by_itself(
    request_: Request, secure: str | None
) -> None:
    """Only where browser and server are on the same machine with nothing in between."""
    assert cookies_for(request_)["DS"].get("secure") == secure


@pytest.mark.parametrize(
    ("names", "attributes"),
    [
        pytest.param(("__Secure-S", "__Host-R"), {}, id="prefixes"),
        pytest.param(("S", "R"), {"same_site": "none"}, id="none"),
    ],
)
def test_cookies_that_need_secure_have_it_everywhere(
    names: tuple[str, str], attributes: dict[str, Any]
) -> None:
    """A browser would drop them otherwise, also on a loopback host."""
    reader = CredentialReader(session_cookie=names[0], refresh_cookie=names[1])

    cookies = cookies_for(request_from("http://localhost"), names=reader, **attributes)

    assert {cookie["secure"] for cookie in cookies.values()} == {"True"}


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        pytest.param(request_from("http://shop.local"), 1, id="plain"),
        pytest.param(request_from("http://shop.local", origin="http://shop.local"), 1, id="page"),
        pytest.param(request_from("http://shop.local", origin="https://shop.local"), 0, id="proxy"),
        pytest.param(request_from("http://x", x_forwarded_proto="https"), 0, id="forwarded-proto"),
        pytest.param(request_from("http://x", forwarded="proto=https"), 0, id="forwarded"),
        pytest.param(request_from("https://shop.local"), 0, id="https"),
        pytest.param(request_from("http://localhost"), 0, id="loopback"),
    ],
)
def test_cookie_that_a_browser_drops_is_reported_once(
    request_: Request, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the option, where no https is anywhere in sight."""
    writer = CookieWriter(CookieAttributes(), NAMES)
    for _ in range(3):
        writer.set_session(Response(), request_, "S", 600, by_script=False)

    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == count
    assert all("Secure" in m and "stepup_router(cookie_secure=False)" in m for m in messages)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        pytest.param({"cookie_secure": "yes"}, "cookie_secure is True or False", id="secure"),
        pytest.param({"cookie_http_only": 1}, "cookie_http_only is True or False", id="http-only"),
        pytest.param({"cookie_same_site": "Lax"}, 'cookie_same_site is "lax"', id="same-site"),
        pytest.param(
            {"cookie_secure": False, "cookie_same_site": "none"}, "drop SameSite=None", id="none"
        ),
    ],
)
def test_bad_option_says_what_to_change(
    guard: StepUpGuard, options: dict[str, Any], hint: str
) -> None:
    """A router whose cookies no browser keeps is never made."""
    with pytest.raises(ConfigurationError, match=hint):
        stepup_router(guard, **options)


@pytest.mark.parametrize(
    ("names", "options", "hint"),
    [
        pytest.param(
            {"refresh_cookie": "__Host-DSR"},
            {"cookie_domain": "example.com"},
            "leave cookie_domain out",
            id="host-with-domain",
        ),
        pytest.param(
            {"session_cookie": "__Secure-DS"},
            {"cookie_secure": False},
            "leave cookie_secure out",
            id="secure-prefix",
        ),
        pytest.param(
            {"session_cookie": None, "refresh_cookie": "__Host-DSR"},
            {"cookie_secure": False},
            "leave cookie_secure out",
            id="host-prefix",
        ),
    ],
)
def test_prefixes_of_names_are_kept(
    names: dict[str, Any], options: dict[str, Any], hint: str
) -> None:
    """RFC 6265bis: a browser drops a cookie whose name promises what its attributes do not."""
    guard = StepUpGuard.for_descope("P1", **names)

    with pytest.raises(ConfigurationError, match=hint):
        stepup_router(guard, **options)


@pytest.mark.parametrize("source", ["session", "refresh"])
@each_method
def test_each_token_goes_back_as_it_came(ann: Person, case: MethodCase, source: str) -> None:
    """A cookie for the one that was a cookie, the body for the other."""
    proof = case.proof(ann)
    tokens = ann.tokens
    if source == "session":
        headers = {"Cookie": f"DS={tokens.session_token}", "Origin": ORIGIN}
        proof |= {"refresh_token": tokens.refresh_token}
    else:
        headers = {**tokens.headers, "Cookie": f"DSR={tokens.refresh_token}", "Origin": ORIGIN}

    done = ann.client.post(f"/step-up{case.finish}", headers=headers, json=proof)

    cookies, body = cookies_of(done), done.json()
    assert set(cookies) == ({"DS"} if source == "session" else {"DSR"})
    assert (body["session_token"] is None) is (source == "session")
    assert (body["refresh_token"] is None) is (source == "refresh")
    # A page with the refresh token can also delete the session cookie; no script gets at the other.
    assert ("httponly" in next(iter(cookies.values()))) is (source == "refresh")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("otp-email", {}, id="CK-021-no-domain"),
        pytest.param("otp-email", {"cookie_domain": "example.com"}, id="CK-023-domain"),
        pytest.param("passkey", {"cookie_domain": "example.com"}, id="OT-039-passkey"),
    ],
)
def test_domain_is_the_configured_one(
    guard: StepUpGuard, name: str, options: dict[str, Any]
) -> None:
    """Never one made from a hostile `Host`."""
    with signed_in(guard, by_cookie=True) as ann:
        person = Person(guard, ann.descope, by_cookie=True, options=options)
        case = BY_NAME[name]
        proof = case.proof(person)
        # The browser's word, so that the foreign Host is all that is odd.
        headers = person.tokens.cookie_headers | {"Host": "evil.example"}

        done = person.client.post(f"/step-up{case.finish}", headers=headers, json=proof)

    expected = options.get("cookie_domain")
    assert [cookie.get("domain") for cookie in cookies_of(done).values()] == [expected] * 2
    assert "evil" not in f"{done.headers} {done.text}"


def test_step_up_takes_over_plain_http_on_this_machine(
    guard: StepUpGuard, caplog: pytest.LogCaptureFixture
) -> None:
    """The client keeps the cookies, and the checkout opens with them."""
    caplog.set_level(logging.WARNING)
    with signed_in(guard) as ann:
        client = TestClient(ann.client.app, base_url="http://localhost:8000")
        client.headers["Sec-Fetch-Site"] = "same-origin"
        client.cookies.update(ann.tokens.cookies)
        client.post("/step-up/otp/start", json={"delivery": "email"})
        code = {"delivery": "email", "code": ann.descope.outbox[-1].code}
        client.cookies.clear()
        done = client.post("/step-up/otp/verify", json=code, headers=ann.tokens.cookie_headers)
        opened = client.post("/checkout")

    assert (done.status_code, opened.status_code) == (200, 200)
    assert caplog.records == []


def test_attributes_do_not_change() -> None:
    """One router's cookies are all alike."""
    attributes: Any = CookieAttributes()

    with pytest.raises(FrozenInstanceError):
        attributes.secure = False

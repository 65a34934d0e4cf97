"""Tokens in cookies, and what a browser is allowed."""

from http.cookies import SimpleCookie

import httpx2
import pytest

from fastapi_stepup.testing import DescopeEmulator
from tests.testing.conftest import Caller, error_of

ANN = "ann@example.com"


def in_cookies(*, rotate_refresh: bool = False, session_cookie: bool = False) -> Caller:
    """Return a caller of an emulator that puts the refresh token into a cookie."""
    emulator = DescopeEmulator(
        response_mode="cookies", rotate_refresh=rotate_refresh, session_cookie=session_cookie
    )
    emulator.create_user(ANN)
    return Caller(emulator)


def signed_in(caller: Caller) -> httpx2.Response:
    """Sign Ann in by a code."""
    caller.start()
    return caller.verify(caller.emulator.outbox[-1].code)


def cookies_of(response: httpx2.Response) -> SimpleCookie:
    """Return the cookies that a response sets."""
    cookies = SimpleCookie()
    for header in response.headers.get_list("set-cookie"):
        cookies.load(header)
    return cookies


def test_refresh_token_is_in_a_cookie() -> None:
    """The body has the session token only; the cookie is for HTTP, and lives as long as it."""
    caller = in_cookies()
    response = signed_in(caller)
    reply, cookie = response.json(), cookies_of(response)["DSR"]
    assert reply["refreshJwt"] == ""
    assert caller.claims(reply["sessionJwt"])["drn"] == "DS"
    assert cookie["max-age"] == str(reply["cookieMaxAge"])
    assert cookie["secure"] is cookie["httponly"] is True
    assert (cookie["path"], cookie["samesite"]) == ("/", "strict")
    assert "DS" not in cookies_of(response)


def test_refresh_token_is_taken_from_the_cookie() -> None:
    """A browser SDK has nothing else to send; a bearer with a token goes first."""
    caller = in_cookies()
    refresh_token = cookies_of(signed_in(caller))["DSR"].value
    cookie = {"Cookie": f"DSR={refresh_token}"}
    me = caller.client.get("/v1/auth/me", headers=caller.headers() | cookie)
    assert me.json()["loginIds"] == [ANN]
    other = caller.client.get("/v1/auth/me", headers=caller.headers("x.y.z") | cookie)
    assert error_of(other) == (401, "E061005")


def test_cookie_is_not_looked_at_in_body_mode(caller: Caller) -> None:
    """In body mode only the bearer counts."""
    token = caller.emulator.sign_in(ANN).refresh_token
    headers = caller.headers() | {"Cookie": f"DSR={token}"}
    assert error_of(caller.client.get("/v1/auth/me", headers=headers)) == (401, "E061005")


def test_refresh_sets_the_cookie_when_it_rotates() -> None:
    """Without rotation the one there is stays."""
    for rotate in (False, True):
        caller = in_cookies(rotate_refresh=rotate)
        refresh_token = cookies_of(signed_in(caller))["DSR"].value
        refreshed = caller.post("refresh", token=refresh_token)
        assert refreshed.json()["refreshJwt"] == ""
        assert ("DSR" in cookies_of(refreshed)) is rotate


def test_logout_clears_the_cookies() -> None:
    """Both are empty and expired."""
    caller = in_cookies(session_cookie=True)
    refresh_token = cookies_of(signed_in(caller))["DSR"].value
    cookies = cookies_of(caller.post("logout", token=refresh_token))
    assert {name: (cookie.value, cookie["max-age"]) for name, cookie in cookies.items()} == {
        "DS": ("", "0"),
        "DSR": ("", "0"),
    }


def test_session_token_may_be_in_a_cookie_too() -> None:
    """The body then has no token at all."""
    caller = in_cookies(session_cookie=True)
    response = signed_in(caller)
    reply, cookie = response.json(), cookies_of(response)["DS"]
    assert (reply["sessionJwt"], reply["refreshJwt"]) == ("", "")
    assert caller.claims(cookie.value)["drn"] == "DS"
    assert cookie["max-age"] == ""


def test_nested_tokens_move_too() -> None:
    """The session of a flow is in `authInfo`."""
    caller = in_cookies()
    token = caller.emulator.sign_in(ANN).refresh_token
    started = {"flowId": "step-up"}
    headers = caller.headers(token)
    screen = caller.client.post("/v1/flow/start", json=started, headers=headers).json()
    body = {
        "executionId": screen["executionId"],
        "input": {"code": caller.emulator.outbox[-1].code},
    }
    done = caller.client.post("/v1/flow/next", json=body, headers=caller.headers())
    assert done.json()["authInfo"]["refreshJwt"] == ""
    assert cookies_of(done)["DSR"].value


def test_response_mode_is_one_of_two() -> None:
    """A typing mistake does not end as body mode."""
    with pytest.raises(ValueError, match="'body' or 'cookies'"):
        DescopeEmulator(response_mode="cookie")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://[::1]:8080", True),
        ("https://localhost.evil.example", False),
        ("https://shop.example", False),
    ],
)
@pytest.mark.parametrize("path", ["/v1/auth/otp/signin/email", "/_emulator/sign-in"])
def test_pages_of_this_machine_may_call(
    caller: Caller, origin: str, path: str, *, allowed: bool
) -> None:
    """A loopback origin is allowed everything, with credentials; no other is."""
    preflight = caller.client.options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-descope-sdk-name",
        },
    )
    assert preflight.is_success is allowed
    body = {"loginId" if path.startswith("/v1") else "login_id": ANN}
    called = caller.client.post(path, json=body, headers=caller.headers() | {"Origin": origin})
    seen = {response.headers.get("access-control-allow-origin") for response in (preflight, called)}
    assert seen == {origin if allowed else None}
    assert "x-descope-sdk-name" in preflight.headers["access-control-allow-headers"]
    assert preflight.headers["access-control-allow-credentials"] == "true"

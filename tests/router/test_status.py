"""The status route: whether the session is stepped up, and how this user can step up."""

import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard, stepup_router
from fastapi_stepup.router.rate_limits import StepUpLimits
from fastapi_stepup.testing import DescopeEmulator, SigningKey, Tokens
from tests.support.step_up_methods import (
    ANN,
    BOB,
    BY_NAME,
    METHODS,
    SAFE_HEADERS,
    Person,
    Rewriting,
    add_user,
    refusal_of,
    signed_in,
)

OFFERS = ["email", "sms", "voice", "whatsapp", *METHODS[1:]]


def status_of(person: Person, *, by_get: bool = False, **members: Any) -> dict[str, Any]:
    """Ask for the status, by GET without a body, or by POST with the refresh token in it."""
    if by_get:
        person.client.cookies.clear()
        response = person.client.get("/step-up/status", headers=person.headers)
    else:
        response = person.post("/status", **members)
    assert response.status_code == 200
    assert dict(response.headers).items() >= SAFE_HEADERS.items()
    answer: dict[str, Any] = response.json()
    assert set(answer) == {
        "signed_in",
        "subject",
        "stepped_up",
        "expires_at",
        "methods",
        "enroll_uri",
    }
    assert (answer["subject"] is None) is not answer["signed_in"]
    return answer


@pytest.mark.parametrize("by_cookie", [False, True], ids=["by-header", "by-cookie"])
def test_status_lists_the_methods_that_this_user_can_use(
    guard: StepUpGuard, *, by_cookie: bool
) -> None:
    """Methods with masked addresses, by GET for cookies, by POST for a token in the body."""
    with signed_in(guard, by_cookie=by_cookie) as ann:
        before = status_of(ann, by_get=by_cookie)
        for name in ("totp", "passkey"):
            BY_NAME[name].prepare(ann)
        ann.tokens = ann.descope.step_up(ANN)
        after = status_of(ann, by_get=by_cookie)

    email, phone = "a**@example.com", "+1********12"
    addressed = [("email", email), ("sms", phone), ("voice", phone), ("whatsapp", phone)]
    linked = [("magiclink", email), ("enchantedlink", email)]
    federated = [("oauth", None), ("sso", None), ("notp", phone)]
    usable = [*addressed, *linked, *federated]
    told = [(m["method"], m["destination"]) for m in before["methods"]]
    assert told == usable
    assert (before["signed_in"], before["stepped_up"], before["enroll_uri"]) == (True, False, None)
    assert before["subject"] == after["subject"] == ann.tokens.user_id
    assert {m["method"] for m in after["methods"]} == set(OFFERS)
    assert after["stepped_up"] is True
    assert time.time() + 590 < after["expires_at"] <= time.time() + 600


def test_status_without_a_refresh_token_lists_what_is_mounted(ann: Person) -> None:
    """The session speaks for itself; nobody is asked about the user."""
    ann.tokens = ann.descope.step_up(ANN)

    status = status_of(ann, by_get=True)

    assert (status["signed_in"], status["stepped_up"]) == (True, True)
    assert status["methods"] == [{"method": name, "destination": None} for name in OFFERS]
    assert ann.asked_of_descope() == []


def test_status_of_a_user_without_any_method(ann: Person) -> None:
    """An empty list, and where to enrol."""
    ann.descope.create_user("nobody")
    options = {"enroll_uri": "https://shop.example/me"}
    nobody = Person(ann.guard, ann.descope, "nobody", options=options)

    status = status_of(nobody)

    assert (status["methods"], status["enroll_uri"]) == ([], "https://shop.example/me")


Doubt = Callable[[Person], dict[str, Any]]


def with_session(person: Person, **claims: Any) -> None:
    """Give the person a session with these claims beside the good refresh token."""
    token = person.descope.token(**{"su": True, "sub": person.tokens.user_id, **claims})
    person.tokens = Tokens(token, person.tokens.refresh_token, person.tokens.user_id, ANN)


def failing(status: int, path: str) -> Callable[[Person], None]:
    """Return what makes Descope fail."""
    return lambda person: person.descope.fail(status, times=20, path=path)


def logged_out(person: Person) -> None:
    """Log the person out at Descope."""
    person.descope.fail(401, path="/v1/auth/me", code="E064001")


@pytest.mark.parametrize(
    ("doubt", "signed_in_still"),
    [
        pytest.param(lambda p: with_session(p, exp=1, iat=1), False, id="expired"),
        pytest.param(lambda p: with_session(p, iss="P2another"), False, id="foreign-issuer"),
        pytest.param(lambda p: with_session(p, drn="DSR"), False, id="refresh-as-session"),
        pytest.param(lambda p: with_session(p, act={"sub": "K2"}), True, id="impersonated"),
        pytest.param(lambda p: with_session(p, sub="U2other"), True, id="another-user"),
        pytest.param(failing(503, "/v2/keys"), False, id="keys-down"),
        pytest.param(failing(503, "/v1/auth/me"), True, id="descope-down"),
        pytest.param(failing(429, "/v1/auth/me"), True, id="descope-throttles"),
        pytest.param(logged_out, True, id="logged-out"),
    ],
)
def test_status_is_not_stepped_up_on_any_doubt(
    guard: StepUpGuard, doubt: Callable[[Person], None], *, signed_in_still: bool
) -> None:
    """It is what a page shows, so it errs on the side of asking again."""
    with signed_in(guard) as ann:
        ann.tokens = ann.descope.step_up(ANN)
        doubt(ann)

        status = status_of(ann)

    assert (status["signed_in"], status["stepped_up"]) == (signed_in_still, False)
    assert (status["expires_at"] is not None) is signed_in_still
    assert status["methods"] == [{"method": name, "destination": None} for name in OFFERS]


@pytest.mark.parametrize("su", ["true", 1, None, [True]])
def test_status_takes_nothing_but_true_for_a_step_up(ann: Person, su: object) -> None:
    """A session with any other `su` is one that is not stepped up."""
    with_session(ann, su=su)

    assert status_of(ann)["stepped_up"] is False


@pytest.mark.parametrize(
    "refresh_token",
    [
        pytest.param(lambda d: d.sign_in(BOB).refresh_token, id="another-users"),
        pytest.param(lambda d: d.sign_in(ANN).session_token, id="session-token"),
        pytest.param(lambda d: d.token(drn="DSR", key=SigningKey()), id="forged"),
        pytest.param(
            lambda d: d.token(drn="DSR", sub=d.user(ANN).user_id, act={"sub": "K2"}),
            id="impersonated",
        ),
        pytest.param(lambda _: "nonsense", id="nonsense"),
    ],
)
@pytest.mark.parametrize("by_cookie", [False, True], ids=["by-header", "by-cookie"])
def test_status_doubts_a_refresh_token_that_is_no_good_one_of_the_user(
    guard: StepUpGuard, refresh_token: Callable[[DescopeEmulator], str], *, by_cookie: bool
) -> None:
    """Nobody learns another user's methods, and the session counts as not stepped up."""
    with signed_in(guard, by_cookie=by_cookie) as ann:
        add_user(ann.descope, BOB, "+15550100666")
        fresh = ann.descope.step_up(ANN)
        ann.tokens = Tokens(fresh.session_token, refresh_token(ann.descope), fresh.user_id, ANN)

        status = status_of(ann)

    assert (status["signed_in"], status["stepped_up"]) == (True, False)
    assert {m["destination"] for m in status["methods"]} == {None}


def test_status_with_two_refresh_cookies_is_a_doubt(ann: Person) -> None:
    """One of them may be planted."""
    fresh = ann.descope.step_up(ANN)
    cookies = f"DS={fresh.session_token}; DSR={fresh.refresh_token}; DSR=x"

    response = ann.client.get("/step-up/status", headers={"Cookie": cookies})

    assert response.json()["stepped_up"] is False


def test_status_without_a_session(ann: Person) -> None:
    """Somebody who is not signed in is told so, with 200."""
    for response in (
        ann.client.get("/step-up/status"),
        ann.client.post("/step-up/status", json={"refresh_token": ann.tokens.refresh_token}),
    ):
        assert response.json() == {
            "signed_in": False,
            "subject": None,
            "stepped_up": False,
            "expires_at": None,
            "methods": [{"method": name, "destination": None} for name in OFFERS],
            "enroll_uri": None,
        }
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize(
    ("send", "expected"),
    [
        pytest.param({"json": {"x": 1}}, (422, "invalid_body"), id="unknown-member"),
        pytest.param({"content": b"{}"}, (415, "unsupported_media_type"), id="no-json"),
        pytest.param({"json": {"refresh_token": 9**9}}, (422, "invalid_body"), id="number"),
        pytest.param({"json": {"refresh_token": 40000 * "x"}}, (413, "body_too_large"), id="long"),
    ],
)
def test_status_takes_a_refresh_token_and_nothing_else(
    ann: Person, send: dict[str, Any], expected: tuple[int, str]
) -> None:
    """Its body is held to the rules of every other route."""
    response: httpx2.Response = ann.client.post("/step-up/status", **send)

    assert refusal_of(response) == expected


def test_status_is_never_redirected(ann: Person) -> None:
    """Nobody is sent, with their token, to a URL made from the `Host` field."""
    for method in ("GET", "POST"):
        response = ann.client.request(
            method, "/step-up/status/", headers={"Host": "evil.example"}, follow_redirects=False
        )

        assert response.status_code == 404
        assert dict(response.headers).items() >= SAFE_HEADERS.items()


@pytest.mark.parametrize(
    ("rewrite", "usable"),
    [
        pytest.param({"totp": True, "webauthn": True, "oauth": {}}, {"totp", "passkey"}, id="case"),
        pytest.param({"TOTP": "true", "webauthn": 1, "OAuth": []}, set(), id="odd-types"),
        pytest.param({"OAuth": {"google": "yes"}}, set(), id="provider-not-true"),
        pytest.param({"userTenants": [{"tenantId": 7}, "acme", {}]}, set(), id="odd-tenants"),
        pytest.param({"userTenants": {"acme": 1}}, set(), id="no-list"),
        pytest.param({"userTenants": [{"tenantId": "acme"}]}, {"sso"}, id="tenant"),
    ],
)
def test_usable_methods_are_read_strictly(
    guard: StepUpGuard, rewrite: dict[str, Any], usable: set[str]
) -> None:
    """Letter case of names aside, only `true` is true and only a list is a list."""
    with signed_in(guard) as ann:
        nothing = {
            "email": "",
            "phone": "",
            "TOTP": False,
            "webauthn": False,
            "OAuth": {},
            "userTenants": [],
        }
        kept = {k: v for k, v in nothing.items() if k.lower() not in {r.lower() for r in rewrite}}
        body = {"userId": ann.tokens.user_id, "loginIds": [ANN]} | kept | rewrite
        with guard.on_transport(Rewriting(ann.descope.transport, "/v1/auth/me", lambda _: body)):
            methods = ann.post("/status").json()["methods"]

    assert {m["method"] for m in methods} == usable


def test_status_over_the_limit_is_a_doubt(guard: StepUpGuard) -> None:
    """It is answered all the same, without asking Descope."""
    with signed_in(guard) as ann:
        limits = StepUpLimits(polls_per_subject="1/hour")
        person = Person(guard, ann.descope, options={"limits": limits})
        person.tokens = person.descope.step_up(ANN)

        told = [person.post("/status").json()["stepped_up"] for _ in range(2)]

        assert told == [True, False]
        assert person.asked_of_descope() == ["/v1/auth/me"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_told_all_that_are_taken(ann: Person, method: str) -> None:
    """RFC 9110 section 15.5.6: `Allow` is about the path, not about one of its routes."""
    response = ann.client.request(method, "/step-up/status")

    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, POST")
    assert dict(response.headers).items() >= SAFE_HEADERS.items()


def test_head_answers_as_get_does(guard: StepUpGuard, ann: Person) -> None:
    """RFC 9110 section 9.1: also in an app without `install`, and it is not in the schema."""
    app = FastAPI()
    app.include_router(stepup_router(guard))
    client = TestClient(app)

    get, head = client.get("/step-up/status"), client.head("/step-up/status")

    assert (head.status_code, dict(head.headers)) == (200, dict(get.headers))
    assert set(app.openapi()["paths"]["/step-up/status"]) == {"get", "post"}

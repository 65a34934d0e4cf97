"""Hostile callers of the helper routes, for every method: each row of the threat list is a test."""

import json
import logging
import re
import time
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, cast

import httpx
import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard, install, stepup_router
from fastapi_stepup.errors import StepUpError
from fastapi_stepup.router.rate_limits import StepUpLimits
from fastapi_stepup.testing import REMOVE, DescopeEmulator, SigningKey, SoftwarePasskey, Tokens
from tests.support.step_up_methods import (
    ANN,
    BOB,
    BODIES,
    BY_NAME,
    METHODS,
    ORIGIN,
    PAGES,
    PHONE,
    PUBLIC,
    SAFE_HEADERS,
    WAYS,
    WITH_REFRESH_TOKEN,
    WITH_SESSION,
    Person,
    Rewriting,
    Way,
    add_user,
    app_for,
    cookies_of,
    each_method,
    each_route,
    each_route_with_session,
    each_way,
    refusal_of,
    shared_guard,
    signed_in,
)

EVIL = "evil.example"
by_either = pytest.mark.parametrize("by_cookie", [False, True], ids=["by-header", "by-cookie"])


@pytest.fixture
def guard() -> StepUpGuard:
    """The guard of the app that most tests share."""
    return shared_guard()


@pytest.fixture
def ann(guard: StepUpGuard) -> Iterator[Person]:
    """Ann, signed in by header; she has a passkey and an authenticator app."""
    with signed_in(guard) as ann:
        for name in ("totp", "passkey"):
            BY_NAME[name].prepare(ann)
        ann.descope.requests.clear()
        yield ann


@pytest.fixture
def bob(ann: Person) -> Person:
    """Bob, at the same app."""
    add_user(ann.descope, BOB, "+15550100666")
    return Person(ann.guard, ann.descope, BOB, app=cast("FastAPI", ann.client.app))


# -- who may


@each_route_with_session
def test_ot_001_session_is_asked_for_before_anything_else(ann: Person, path: str) -> None:
    """Without one nobody learns what a body looks like, and Descope hears nothing."""
    for send in ({"json": BODIES[path]}, {"content": b"x"}, {"json": {"refresh_token": "x"}}):
        response = ann.client.post(f"/step-up{path}", **send)

        assert refusal_of(response) == (401, "unauthenticated")
        assert response.headers["www-authenticate"] == f'Bearer realm="{ann.guard.realm}"'
    assert ann.asked_of_descope() == []


SESSIONS = [
    pytest.param(lambda d: d.sign_in(ANN).refresh_token, id="refresh-token"),
    pytest.param(lambda d: d.token(iss="P2another"), id="foreign-issuer"),
    pytest.param(lambda d: d.token(key=SigningKey()), id="forged"),
    pytest.param(lambda d: d.token(header={"alg": "none"}), id="unsigned"),
    pytest.param(lambda _: "nonsense", id="nonsense"),
]


@pytest.mark.parametrize("session", SESSIONS)
@each_route_with_session
def test_ot_001_session_must_be_a_good_one(
    ann: Person, path: str, session: Callable[[DescopeEmulator], str]
) -> None:
    """No step-up begins or ends on a session that opens nothing else."""
    token = session(ann.descope)
    ann.tokens = Tokens(token, ann.tokens.refresh_token, ann.tokens.user_id, ANN)

    assert refusal_of(ann.post(path, **BODIES[path])) == (401, "invalid_token")
    assert ann.asked_of_descope() == []


@each_route_with_session
def test_whoever_acts_for_a_user_cannot_step_up(ann: Person, path: str) -> None:
    """An impersonated session is refused on every route, before its body is read."""
    session = ann.descope.token(sub=ann.tokens.user_id, act={"sub": "K2support"}, su=True)
    ann.tokens = Tokens(session, ann.tokens.refresh_token, ann.tokens.user_id, ANN)

    assert refusal_of(ann.post(path, **BODIES[path])) == (403, "impersonation_refused")
    assert refusal_of(ann.post(path, nonsense=1)) == (403, "impersonation_refused")
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        pytest.param(lambda d: d.sign_in(BOB).refresh_token, 403, "subject_mismatch", id="bobs"),
        pytest.param(lambda d: d.sign_in(ANN).session_token, 401, "invalid_token", id="session"),
        pytest.param(
            lambda d: d.token(drn="DSR", key=SigningKey()), 401, "invalid_token", id="forged"
        ),
        pytest.param(
            lambda d: d.token(drn="DSR", sub=d.user(ANN).user_id, act={"sub": "K2"}),
            403,
            "impersonation_refused",
            id="impersonated",
        ),
        pytest.param(
            lambda d: d.token(drn="DSR", sub=d.user(ANN).user_id),
            401,
            "invalid_token",
            id="unknown-to-descope",
        ),
    ],
)
@by_either
@pytest.mark.parametrize("path", WITH_REFRESH_TOKEN)
def test_ot_003_refresh_token_must_be_the_sessions_own(
    ann: Person,
    path: str,
    token: Callable[[DescopeEmulator], str],
    status: int,
    code: str,
    *,
    by_cookie: bool,
) -> None:
    """Nothing is sent to anybody, and nothing tried, for a session and token that do not fit."""
    fresh = ann.tokens
    ann.by_cookie = by_cookie
    ann.tokens = Tokens(fresh.session_token, token(ann.descope), fresh.user_id, ANN)

    assert refusal_of(ann.post(path, **BODIES[path])) == (status, code)
    assert set(ann.asked_of_descope()) <= {"/v1/auth/me"}
    assert ann.descope.outbox == []


@pytest.mark.parametrize("refresh_token", ["", None])
@pytest.mark.parametrize("path", WITH_REFRESH_TOKEN)
def test_empty_refresh_token_is_none(ann: Person, path: str, refresh_token: str | None) -> None:
    """Descope steps nobody up without it, and is not even asked."""
    response = ann.post(path, **BODIES[path], refresh_token=refresh_token)

    assert refusal_of(response) == (400, "refresh_token_required")
    assert ann.asked_of_descope() == []


@each_way
def test_empty_refresh_token_leaves_the_cookie(guard: StepUpGuard, way: Way) -> None:
    """`refresh_token: ""` beside the cookie is a caller with a cookie, on the whole way."""
    with signed_in(guard, by_cookie=True) as ann:
        proof = way.proven(ann)

        done = ann.post(way.finish, **proof, refresh_token="")

        assert done.status_code == 200
        assert set(cookies_of(done)) == {"DS", "DSR"}


# -- whose session comes back


TAMPERED = [
    pytest.param({"sub": "U2somebody"}, 403, "subject_mismatch", id="OT-006-another-user"),
    pytest.param({"dsub": "U2somebody"}, 403, "subject_mismatch", id="OT-006-another-dsub"),
    pytest.param({"su": REMOVE}, 502, "descope_error", id="OT-005-no-su"),
    pytest.param({"su": "true"}, 502, "descope_error", id="OT-005-su-text"),
    pytest.param({"su": 1}, 502, "descope_error", id="OT-005-su-number"),
    pytest.param({"su": False}, 502, "descope_error", id="OT-005-su-false"),
    pytest.param({"drn": "DSR"}, 502, "descope_error", id="OT-007-refresh-token"),
    pytest.param({"iss": "P2another"}, 502, "descope_error", id="OT-006-foreign-issuer"),
    pytest.param(
        {"iss": "https://api.descope.com/P2abcdefghijklmnopqrstuvwxyz"},
        403,
        "subject_mismatch",
        id="OT-006-another-form-of-issuer",
    ),
    pytest.param({"exp": 1, "iat": 1}, 502, "descope_error", id="OT-006-expired"),
    pytest.param({"act": {"sub": "K1"}}, 502, "descope_error", id="OT-006-impersonated"),
    pytest.param({"aud": "another-api"}, 502, "descope_error", id="OT-006-foreign-audience"),
]


@pytest.mark.parametrize(("claims", "status", "code"), TAMPERED)
@by_either
@each_method
def test_session_that_is_not_the_callers_own_and_stepped_up_is_not_passed_on(
    guard: StepUpGuard,
    way: Way,
    claims: dict[str, Any],
    status: int,
    code: str,
    *,
    by_cookie: bool,
) -> None:
    """One hand-over decides for all methods, and what it refuses hands out no token."""
    with signed_in(guard, by_cookie=by_cookie) as ann:
        proof = way.proven(ann)
        ann.descope.tamper(**claims)

        response = ann.post(way.finish, **proof)

        assert refusal_of(response) == (status, code)
        assert "www-authenticate" not in response.headers


@pytest.mark.parametrize(
    ("rewrite", "status", "code"),
    [
        pytest.param(
            lambda d: {"sessionJwt": d.step_up(BOB).session_token},
            403,
            "subject_mismatch",
            id="session-of-bob",
        ),
        pytest.param(
            lambda d: {"refreshJwt": d.step_up(BOB).refresh_token},
            403,
            "subject_mismatch",
            id="refresh-token-of-bob",
        ),
        pytest.param(
            lambda d: {"sessionJwt": d.step_up(ANN).refresh_token},
            502,
            "descope_error",
            id="OT-007-refresh-token-as-session",
        ),
        pytest.param(lambda _: {"sessionJwt": ""}, 502, "descope_error", id="OT-007-no-session"),
        pytest.param(
            lambda d: {"refreshJwt": d.step_up(ANN).session_token},
            502,
            "descope_error",
            id="session-as-refresh-token",
        ),
        pytest.param(
            lambda d: {
                "refreshJwt": d.token(drn="DSR", sub=d.user(ANN).user_id, act={"sub": "K1"})
            },
            502,
            "descope_error",
            id="impersonated-refresh-token",
        ),
        pytest.param(
            lambda d: {"sessionJwt": d.token(su=True, sub=d.user(ANN).user_id, key=SigningKey())},
            502,
            "descope_error",
            id="OT-006-forged",
        ),
        pytest.param(
            lambda d: {"sessionJwt": DescopeEmulator(d.project_id).step_up(ANN).session_token},
            502,
            "descope_error",
            id="OT-006-another-key-set",
        ),
        pytest.param(
            lambda d: {"sessionJwt": f"{d.step_up(ANN).session_token}\r\nSet-Cookie: x=y"},
            502,
            "descope_error",
            id="CK-022-line-break",
        ),
        pytest.param(
            lambda d: {"refreshJwt": f"{d.step_up(ANN).refresh_token}; Domain=evil.example"},
            502,
            "descope_error",
            id="CK-022-attribute",
        ),
    ],
)
@each_method
def test_tokens_of_somebody_else_are_not_passed_on(
    ann: Person,
    way: Way,
    rewrite: Callable[[DescopeEmulator], dict[str, object]],
    status: int,
    code: str,
) -> None:
    """Both tokens are verified, and are the caller's, before either goes out."""
    proof = way.proven(ann)
    transport = Rewriting(ann.descope.transport, way.asks, lambda body: body | rewrite(ann.descope))

    with ann.guard.on_transport(transport):
        response = ann.post(way.finish, **proof)

    assert refusal_of(response) == (status, code)


@by_either
@each_method
def test_proof_of_another_user_steps_nobody_up(
    ann: Person, bob: Person, way: Way, *, by_cookie: bool
) -> None:
    """Bob's code, link, pending reference or provider's code gives Ann nothing."""
    ann.by_cookie = by_cookie
    proof = way.proven(bob)
    ann.post("/otp/start", delivery="email")

    status, code = refusal_of(ann.post(way.finish, **proof))

    # A code is tried against Ann's own account; everything else names Bob.
    expected = (400, "otp_rejected") if way.proof == "code" and "otp" in way.name else None
    assert (status, code) == (expected or (403, "subject_mismatch"))


@pytest.mark.parametrize("name", ["oauth", "sso"])
def test_step_up_at_the_provider_with_another_account_is_refused(
    ann: Person, bob: Person, name: str
) -> None:
    """Ann starts, somebody signs in as Bob there: nobody gets Bob's session."""
    way = BY_NAME[name]
    started = way.begin(ann)
    assert started is not None
    ann.login_id = BOB
    proof = way.prove(ann, started.json())

    assert refusal_of(ann.post(way.finish, **proof)) == (403, "subject_mismatch")


@pytest.mark.parametrize("name", ["magiclink-email", "oauth", "passkey"])
def test_proof_of_a_plain_sign_in_steps_nobody_up(ann: Person, name: str) -> None:
    """What was begun without step-up gives a session without `su`, which is not handed over."""
    way = BY_NAME[name]
    guard, emulator = ann.guard, ann.descope

    async def plain(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        target = body.get("loginOptions", body)
        target.pop("stepup", None)
        headers = {k: v for k, v in request.headers.items() if k != "content-length"}
        sent = httpx.Request(request.method, request.url, headers=headers, json=body)
        reply: httpx.Response = await emulator.transport.handle_async_request(sent)
        return reply

    class Plain(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if re.search("signin|authorize", request.url.path):
                return await plain(request)
            reply: httpx.Response = await emulator.transport.handle_async_request(request)
            return reply

    with guard.on_transport(Plain()):
        proof = way.proven(ann)
    emulator.requests.clear()

    assert refusal_of(ann.post(way.finish, **proof)) == (502, "descope_error")


@each_way
def test_ot_014_proof_works_once(ann: Person, way: Way) -> None:
    """A second use is refused and hands out no second session."""
    proof = way.proven(ann)
    assert ann.post(way.finish, **proof).status_code == 200

    assert refusal_of(ann.post(way.finish, **proof)) == (400, way.replay)


@each_way
def test_ot_041_logout_on_the_way_fails_closed(ann: Person, way: Way) -> None:
    """After a logout at Descope no session comes back, whatever was proven already."""
    proof = way.proven(ann)
    bearer = {"Authorization": f"Bearer {ann.guard.project_id}:{ann.tokens.refresh_token}"}
    TestClient(ann.descope).post("/v1/auth/logout", headers=bearer).raise_for_status()

    status, code = refusal_of(ann.post(way.finish, **proof))

    assert (status, code) in {(401, "invalid_token"), (400, way.replay)}


@each_way
def test_ot_042_fresh_session_from_a_clock_ahead_is_taken(ann: Person, way: Way) -> None:
    """Descope's clock may be some seconds ahead of ours."""
    proof = way.proven(ann)
    ann.descope.tamper(iat=int(time.time()) + 3)

    assert ann.post(way.finish, **proof).status_code == 200


@each_way
def test_session_whose_template_overrides_the_subject_can_step_up(ann: Person, way: Way) -> None:
    """With `sub` overridden by a JWT template, `dsub` says whose it is."""
    template: dict[str, Any] = {"sub": "customer-7", "dsub": ann.tokens.user_id}
    session = ann.descope.token(**template)
    ann.tokens = Tokens(session, ann.tokens.refresh_token, ann.tokens.user_id, ANN)
    proof = way.proven(ann)
    ann.descope.tamper(**template)

    done = ann.post(way.finish, **proof)

    assert (done.status_code, done.json()["subject"]) == (200, "customer-7")


@each_way
def test_session_under_a_key_that_cannot_be_had_is_not_passed_on(ann: Person, way: Way) -> None:
    """What cannot be verified is an answer that cannot be used."""
    proof = way.proven(ann)
    ann.post("/status")
    ann.descope.rotate_keys()
    ann.descope.fail(503, times=5, path="/v2/keys")

    assert refusal_of(ann.post(way.finish, **proof)) == (502, "descope_error")


# -- what a body may say


FOREIGN_MEMBERS = [
    pytest.param({"login_id": BOB}, id="OT-002-login-id"),
    pytest.param({"loginId": BOB}, id="OT-002-descopes-login-id"),
    pytest.param({"email": BOB}, id="OT-003-email"),
    pytest.param({"phone": "+15550100666"}, id="OT-003-phone"),
    pytest.param({"baseUrl": "https://evil.example"}, id="OT-023-base-url"),
    pytest.param({"projectId": "P2evil"}, id="OT-023-project-id"),
    pytest.param({"host": EVIL}, id="OT-023-host"),
    pytest.param({"customClaims": {"su": True}}, id="OT-027-custom-claims"),
    pytest.param({"loginOptions": {"stepup": False}}, id="OT-027-login-options"),
    pytest.param({"stepup": False, "mfa": True}, id="OT-027-flags"),
    pytest.param({"URI": "https://evil.example"}, id="OT-029-uri"),
    pytest.param({"redirect": "//evil.example"}, id="OT-029-redirect"),
    pytest.param({"next": "https:evil.example"}, id="OT-029-next"),
    pytest.param({"returnUrl": "javascript:alert(1)"}, id="OT-029-return-url"),
    pytest.param({"redirectURL": "https://evil.example"}, id="OT-029-redirect-url"),
    pytest.param({"origin": "https://evil.example"}, id="OT-023-origin"),
    pytest.param({"<script>": 1, "eyJx": 2}, id="OT-027-names-are-not-reflected"),
]


@pytest.mark.parametrize("members", FOREIGN_MEMBERS)
@each_route
def test_ot_027_unknown_members_are_refused(
    ann: Person, path: str, members: dict[str, Any]
) -> None:
    """Whose proof, where it goes and what it is for is not for the body to say."""
    response = ann.post(path, **BODIES[path], **members)

    assert refusal_of(response) == (422, "invalid_body")
    assert response.json()["errors"] == [{"field": "(unknown)", "problem": "extra_forbidden"}]
    assert ann.asked_of_descope() == []


PROOFS: list[Any] = [
    pytest.param("", id="empty"),
    pytest.param(" 123456 ", id="spaces"),
    pytest.param("123456\n", id="newline"),
    pytest.param("123456\x00", id="nul"),
    pytest.param("１２３４５６", id="fullwidth"),  # noqa: RUF001
    pytest.param(10000 * "1", id="long"),
    pytest.param(123456, id="number"),
    pytest.param(True, id="boolean"),
    pytest.param(None, id="null"),
    pytest.param(["123456"], id="list"),
    pytest.param({"a": "123456"}, id="object"),
]


@pytest.mark.parametrize("proof", PROOFS)
@each_method
def test_ot_013_proof_is_a_short_plain_text(ann: Person, way: Way, proof: object) -> None:
    """Anything else is refused before Descope sees it, and not echoed."""
    members = BODIES[way.finish] | {way.proof: proof}

    response = ann.post(way.finish, **members)

    assert refusal_of(response) == (422, "invalid_body")
    assert [error["field"] for error in response.json()["errors"]] == [way.proof]
    assert "123456" not in response.text
    assert len(response.content) < 500
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize("code", ["12345", "0000000", "12345a", "+12345", "1_2345"])
@pytest.mark.parametrize("path", ["/otp/verify", "/totp/verify"])
def test_ot_013_code_is_six_digits(ann: Person, path: str, code: str) -> None:
    """No other text is tried."""
    response = ann.post(path, **(BODIES[path] | {"code": code}))

    assert refusal_of(response) == (422, "invalid_body")
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize("answer", ["{}", [], None, 7, True], ids=repr)
def test_ot_013_passkey_answer_is_an_object(ann: Person, answer: object) -> None:
    """As `PublicKeyCredential.toJSON()` gives it."""
    response = ann.post("/passkey/finish", transaction_id="t", response=answer)

    assert refusal_of(response) == (422, "invalid_body")
    assert ann.asked_of_descope() == []


@each_route
def test_ot_013_large_body_is_refused(ann: Person, path: str) -> None:
    """A megabyte is not read to its end."""
    response = ann.post(path, **BODIES[path], padding=1024 * 1024 * "1")

    assert refusal_of(response) == (413, "body_too_large")
    assert ann.asked_of_descope() == []


WORDS = [
    pytest.param("../../mgmt/user", id="traversal"),
    pytest.param("email?x=", id="query"),
    pytest.param("sms%2f..", id="encoded"),
    pytest.param("a b", id="space"),
    pytest.param("a&redirectURL=https://evil.example", id="parameter"),
    pytest.param("", id="empty"),
    pytest.param(None, id="null"),
    pytest.param(["email"], id="list"),
]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/otp/start", "delivery"),
        ("/otp/verify", "delivery"),
        ("/magiclink/start", "delivery"),
        ("/oauth/start", "provider"),
        ("/sso/start", "tenant"),
    ],
)
def test_ot_025_names_are_plain_words(ann: Person, path: str, member: str, word: object) -> None:
    """What becomes a part of a URL to Descope is one of a few words, or plain ones."""
    response = ann.post(path, **(BODIES[path] | {member: word}))

    assert refusal_of(response) == (422, "invalid_body")
    assert response.json()["errors"][0]["field"] == member
    assert ann.asked_of_descope() == []


def test_ot_025_links_cannot_be_called(ann: Person) -> None:
    """A voice call reads no link out."""
    response = ann.post("/magiclink/start", delivery="voice")

    assert refusal_of(response) == (422, "invalid_body")


@pytest.mark.parametrize(
    "login_id",
    ["a/../../mgmt", "a?b=c", "a\r\nX: y", 2000 * "é", "A@EXAMPLE.com", "\u0430nn@x.com"],
)
@each_way
def test_ot_026_login_ids_travel_as_json_only(ann: Person, way: Way, login_id: str) -> None:
    """Whatever one holds, it is sent as it is and never changes a path."""
    add_user(ann.descope, login_id)
    caller = Person(ann.guard, ann.descope, login_id)
    proof = way.proven(caller)
    caller.descope.requests.clear()

    assert caller.post(way.finish, **proof).status_code == 200

    sent = {r.path for r in caller.descope.requests if r.path.startswith("/v1")} - {"/v1/auth/me"}
    assert len(sent) == 1
    assert sent.pop().startswith(way.asks)


REDIRECTS = [
    pytest.param("//evil.example", id="scheme-relative"),
    pytest.param("https:evil.example", id="no-slashes"),
    pytest.param("/\\evil.example", id="backslash"),
    pytest.param("javascript:alert(1)", id="script"),
    pytest.param("data:text/html,x", id="data"),
    pytest.param("%2f%2fevil.example", id="encoded"),
    pytest.param("https://evil.example", id="foreign"),
    pytest.param(f"{PAGES[0]}/", id="slash-more"),
    pytest.param(f"{PAGES[0]}?next=//evil.example", id="query-more"),
    pytest.param(f"{PAGES[0]}#x", id="fragment-more"),
    pytest.param(f"{PAGES[0]}.evil.example", id="suffix"),
    pytest.param("https://shop.example@evil.example/step-up", id="user-info"),
    pytest.param("https://SHOP.example/step-up", id="letter-case"),
    pytest.param("http://shop.example/step-up", id="scheme"),
    pytest.param("https://shop.example:443/step-up", id="port"),
    pytest.param(f" {PAGES[0]}", id="space"),
    pytest.param(f"{PAGES[0]}\n", id="newline"),
    pytest.param("", id="empty"),
]


@pytest.mark.parametrize("uri", REDIRECTS)
@pytest.mark.parametrize("name", ["magiclink-email", "enchantedlink", "oauth", "sso"])
def test_ot_029_only_configured_pages_are_led_back_to(ann: Person, name: str, uri: str) -> None:
    """The list is compared letter by letter, before anything is sent."""
    way = BY_NAME[name]
    assert way.start is not None

    response = ann.post(way.start, **way.members, redirect_uri=uri)

    assert refusal_of(response) == (422, "invalid_body")
    assert response.json()["errors"] == [{"field": "redirect_uri", "problem": "not_allowed"}]
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize("uri", [7, ["https://shop.example/step-up"], {}, 3000 * "x"])
@pytest.mark.parametrize("path", ["/magiclink/start", "/enchantedlink/start", "/oauth/start"])
def test_ot_029_page_is_a_text(ann: Person, path: str, uri: object) -> None:
    """Anything else is no page."""
    response = ann.post(path, **BODIES[path], redirect_uri=uri)

    assert refusal_of(response) == (422, "invalid_body")


@each_way
def test_ot_023_query_and_headers_change_nothing(ann: Person, way: Way) -> None:
    """The host that is asked, and for which project, is configuration."""
    seen = Rewriting(ann.descope.transport, "/never", dict)
    hostile = {
        "X-Descope-Base-Url": f"https://{EVIL}",
        "X-Descope-Project-Id": "P2evil",
        "X-Forwarded-Host": EVIL,
        "X-Forwarded-For": "6.6.6.6",
        "Forwarded": f"host={EVIL}",
    }
    proof = way.proven(ann)
    query = f"?baseUrl=https://{EVIL}&projectId=P2evil&host={EVIL}&next=//{EVIL}"
    with ann.guard.on_transport(seen):
        response = ann.client.post(
            f"/step-up{way.finish}{query}",
            headers=ann.headers | hostile,
            json=proof | {"refresh_token": ann.tokens.refresh_token},
        )

    assert response.status_code == 200
    assert {request.url.host for request in seen.requests} == {"api.descope.com"}
    projects = {r.headers["x-descope-project-id"] for r in seen.requests if "v1" in r.url.path}
    assert projects == {ann.guard.project_id}
    assert EVIL not in f"{response.text} {response.headers}"


# -- the passkey's origin


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Origin": "null"}, id="null"),
        pytest.param({"Origin": f"https://{EVIL}"}, id="foreign"),
        pytest.param({"Origin": f"{ORIGIN}.{EVIL}"}, id="suffix"),
        pytest.param({"Origin": "http://testserver"}, id="scheme"),
        pytest.param({"Origin": f"{ORIGIN}:8443"}, id="port"),
        pytest.param({"Origin": f"{ORIGIN}/"}, id="path"),
        pytest.param({"Origin": f"{ORIGIN}, https://{EVIL}"}, id="two-in-one"),
        pytest.param({"Origin": ORIGIN, "Host": EVIL}, id="foreign-host"),
        pytest.param({"Sec-Fetch-Site": "same-origin"}, id="fetch-metadata-alone"),
    ],
)
def test_passkey_is_only_asked_for_on_pages_of_the_app(
    ann: Person, headers: dict[str, str]
) -> None:
    """Its origin is the `Origin` field, and that must be the app's own or an allowed one."""
    response = ann.client.post(
        "/step-up/passkey/start",
        headers=ann.tokens.headers | headers,
        json={"refresh_token": ann.tokens.refresh_token},
    )

    assert refusal_of(response) == (403, "cross_site_request")
    assert ann.asked_of_descope() == []


def test_two_origins_are_no_origin(ann: Person) -> None:
    """Which of them Descope should be told, nobody can say."""
    fields = [*ann.tokens.headers.items(), ("Origin", ORIGIN), ("Origin", ORIGIN)]

    response = ann.client.post(
        "/step-up/passkey/start",
        headers=cast("Any", fields),
        json={"refresh_token": ann.tokens.refresh_token},
    )

    assert refusal_of(response) == (403, "cross_site_request")


def test_passkey_works_on_an_allowed_origin() -> None:
    """A front end on another host is named in `allowed_origins`, and its origin is passed on."""
    guard = StepUpGuard.for_descope(
        "P2abcdefghijklmnopqrstuvwxyz", allowed_origins=["https://shop.example"]
    )
    with signed_in(guard) as ann:
        ann.enrol_passkey()
        headers = ann.tokens.headers | {"Origin": "HTTPS://Shop.example"}
        body = {"refresh_token": ann.tokens.refresh_token}
        response = ann.client.post("/step-up/passkey/start", headers=headers, json=body)

        sent = [r.json for r in ann.descope.requests if r.path.endswith("signin/start")]
    assert response.json()["options"]["rpId"] == "shop.example"
    assert [cast("dict[str, Any]", body)["origin"] for body in sent] == ["https://shop.example"]


def phished(answer: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """What a browser answers on a page of somebody else."""
    stranger = SoftwarePasskey(f"https://{EVIL}")
    rp = {"rp": {"id": EVIL}, "user": {"id": "AAAA"}, "challenge": options["challenge"]}
    stranger.create(rp)
    asked = {"challenge": options["challenge"], "rpId": EVIL}
    phished: dict[str, Any] = json.loads(stranger.get(asked))
    return phished | {"id": answer["id"], "rawId": answer["rawId"]}


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda a, s: a | {"id": "AAAA", "rawId": "AAAA"}, id="unknown-credential"),
        pytest.param(lambda a, s: {"id": a["id"]}, id="no-response"),
        pytest.param(lambda a, s: a | {"response": {}}, id="empty-response"),
        pytest.param(
            lambda a, s: a | {"response": a["response"] | {"signature": "AAAA"}}, id="signature"
        ),
        pytest.param(lambda a, s: {}, id="nothing"),
        pytest.param(phished, id="phished"),
    ],
)
def test_passkey_answer_that_does_not_fit_is_rejected(
    ann: Person, forge: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
) -> None:
    """Only the real answer to this very challenge steps up."""
    started = ann.post("/passkey/start").json()
    answer = json.loads(ann.descope.passkey(ORIGIN).get(started["options"]))

    response = ann.post(
        "/passkey/finish",
        transaction_id=started["transaction_id"],
        response=forge(answer, started["options"]),
    )

    assert refusal_of(response) == (400, "passkey_rejected")


def test_passkey_answer_to_another_challenge_is_rejected(ann: Person) -> None:
    """An answer is for one transaction."""
    first, second = ann.post("/passkey/start").json(), ann.post("/passkey/start").json()
    answer = json.loads(ann.descope.passkey(ORIGIN).get(first["options"]))

    response = ann.post("/passkey/finish", transaction_id=second["transaction_id"], response=answer)

    assert refusal_of(response) == (400, "passkey_rejected")


# -- Descope's refusals

TROUBLE: list[Any] = [
    pytest.param({"status": 500}, (503, "descope_unavailable", "5"), id="OT-018-500"),
    pytest.param(
        {"status": 503, "retry_after": 9}, (503, "descope_unavailable", "9"), id="OT-018-503"
    ),
    pytest.param({"status": 429, "retry_after": 17}, (429, "too_many_attempts", "17"), id="OT-019"),
    pytest.param(
        {"status": 429, "retry_after": 10**9},
        (429, "too_many_attempts", "3600"),
        id="OT-019-absurd",
    ),
    pytest.param({"status": 302}, (502, "descope_error", None), id="OT-021-302"),
    pytest.param({"status": 307}, (502, "descope_error", None), id="OT-021-307"),
    pytest.param({"status": 404}, (502, "descope_error", None), id="OT-018-404"),
    pytest.param({"status": 409}, (502, "descope_error", None), id="OT-018-409"),
    pytest.param(
        {"status": 401, "body": b"<html>"}, (502, "descope_error", None), id="OT-018-401-html"
    ),
    pytest.param({"status": 200, "body": b"[]"}, (502, "descope_error", None), id="OT-022-array"),
    pytest.param({"status": 200, "body": b"{}"}, (502, "descope_error", None), id="OT-022-empty"),
    pytest.param(
        {"status": 200, "body": 300_000 * b" "}, (502, "descope_error", None), id="OT-022-huge"
    ),
]


@pytest.mark.parametrize(("failure", "answer"), TROUBLE)
@each_method
def test_ot_018_trouble_at_descope(
    ann: Person, way: Way, failure: dict[str, Any], answer: tuple[int, str, str | None]
) -> None:
    """Down is 503, nonsense is 502, in start and finish alike; nothing is tried twice."""
    proof = way.proven(ann)
    path = way.asks.rpartition("/")[0]
    for attempt in (way.begin, lambda person: person.post(way.finish, **proof)):
        ann.descope.requests.clear()
        ann.descope.fail(times=5, path=path, **failure)
        response = attempt(ann)
        ann.descope.fail(200, times=0)

        if response is not None:
            assert (*refusal_of(response), response.headers.get("retry-after")) == answer
            assert len(ann.asked_of_descope(path)) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 409, 429, 500])
@each_method
def test_ot_018_text_of_descope_is_never_echoed(ann: Person, way: Way, status: int) -> None:
    """Not its code, not its description, not its message."""
    told = {"errorCode": "E000000", "errorDescription": "told", "errorMessage": f"told {ANN}"}
    proof = way.proven(ann)
    ann.descope.fail(status, times=9, path="/v1/auth", body=json.dumps(told).encode())

    for response in filter(None, (way.begin(ann), ann.post(way.finish, **proof))):
        refusal_of(response)
        assert not re.search(f"told|E000000|{ANN}", f"{response.text} {response.headers}")


@pytest.mark.parametrize(
    ("path", "error", "status", "code"),
    [
        ("/totp/verify", "E061102", 400, "otp_rejected"),
        ("/totp/verify", "E061103", 400, "otp_exhausted"),
        ("/totp/verify", "E061005", 401, "invalid_token"),
        ("/magiclink/verify", "E062504", 400, "link_rejected"),
        ("/magiclink/verify", "E061005", 400, "link_rejected"),
        ("/magiclink/verify", "E064001", 400, "link_rejected"),
        ("/enchantedlink/verify", "E062504", 400, "link_rejected"),
        ("/enchantedlink/poll", "E062504", 400, "link_rejected"),
        ("/enchantedlink/poll", "E130429", 429, "too_many_attempts"),
        ("/notp/poll", "E999999", 400, "link_rejected"),
        ("/passkey/finish", "E011004", 400, "passkey_rejected"),
        ("/oauth/callback", "E061301", 400, "provider_rejected"),
        ("/sso/callback", "E061301", 400, "provider_rejected"),
        ("/magiclink/start", "E032101", 429, "too_many_attempts"),
        ("/magiclink/start", "E061005", 401, "invalid_token"),
        ("/enchantedlink/start", "E033005", 429, "too_many_attempts"),
        ("/notp/start", "E064001", 401, "invalid_token"),
    ],
)
def test_ot_018_codes_of_descope(
    ann: Person, path: str, error: str, status: int, code: str
) -> None:
    """What is known of Descope's codes becomes a code of ours."""
    kind = path.split("/")[1]
    room = {"passkey": "webauthn"}.get(kind, kind)
    ann.descope.fail(401, times=2, path=f"/v1/auth/{room}", code=error)

    response = ann.post(path, **BODIES[path])

    assert refusal_of(response) == (status, code)
    assert error not in response.text


@pytest.mark.parametrize(
    ("name", "member", "value"),
    [
        pytest.param("oauth", "url", "javascript:alert(1)", id="oauth-script"),
        pytest.param("oauth", "url", "http://evil.example/", id="oauth-http"),
        pytest.param("oauth", "url", "https://a b/", id="oauth-space"),
        pytest.param("oauth", "url", "https://a\\b/", id="oauth-backslash"),
        pytest.param("oauth", "url", "https:///x", id="oauth-no-host"),
        pytest.param("oauth", "url", "https://[x/", id="oauth-not-a-url"),
        pytest.param("sso", "url", "//evil.example", id="sso-relative"),
        pytest.param("sso", "url", None, id="sso-missing"),
        pytest.param("notp", "redirectUrl", "whatsapp://send", id="notp-scheme"),
        pytest.param("notp", "pendingRef", 7, id="notp-reference"),
        pytest.param("enchantedlink", "pendingRef", "", id="enchanted-reference"),
        pytest.param("enchantedlink", "linkId", True, id="enchanted-link-id"),
        pytest.param("enchantedlink", "maskedEmail", "a\nb*", id="enchanted-address"),
        pytest.param("passkey", "options", "{", id="passkey-options"),
        pytest.param("passkey", "options", '{"publicKey":[]}', id="passkey-array"),
        pytest.param("passkey", "transactionId", None, id="passkey-transaction"),
        pytest.param("magiclink-email", "maskedEmail", 7, id="magic-address"),
    ],
)
def test_start_that_answers_nonsense_is_nonsense(
    ann: Person, name: str, member: str, value: object
) -> None:
    """Nobody is sent to a page that is none, or told to poll with nothing."""
    way = BY_NAME[name]
    way.prepare(ann)
    path = way.asks.rpartition("/")[0]
    transport = Rewriting(ann.descope.transport, path, lambda body: body | {member: value})

    with ann.guard.on_transport(transport):
        response = way.begin(ann)

    assert response is not None
    assert refusal_of(response) == (502, "descope_error")


@pytest.mark.parametrize(
    ("rewrite", "member", "expected"),
    [
        pytest.param({"linkId": 42}, "link_id", "42", id="number"),
        pytest.param({"maskedEmail": "a@b.c"}, "destination", "***", id="not-masked"),
    ],
)
def test_odd_but_usable_answers_are_used(
    ann: Person, rewrite: dict[str, object], member: str, expected: str
) -> None:
    """A link id may be a number; an address that is not masked is hidden."""
    path = "/v1/auth/enchantedlink"
    with ann.guard.on_transport(
        Rewriting(ann.descope.transport, path, lambda body: body | rewrite)
    ):
        assert ann.post("/enchantedlink/start").json()[member] == expected


def test_picture_that_is_too_large_is_left_out(ann: Person) -> None:
    """The URL does, without its picture."""
    rewrite = {"image": 200_000 * "x"}
    path = "/v1/auth/notp"
    with ann.guard.on_transport(
        Rewriting(ann.descope.transport, path, lambda body: body | rewrite)
    ):
        assert ann.post("/notp/start").json()["image"] is None


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
def test_what_a_user_can_use_is_read_strictly(
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


# -- the shape of every reply


@each_route
def test_ot_030_refusals_are_kept_out_of_caches(ann: Person, path: str) -> None:
    """Whatever is wrong, the headers are right, also without `install`."""
    app = FastAPI()
    app.include_router(stepup_router(ann.guard, methods=METHODS, redirect_uris=PAGES))
    client = TestClient(app, base_url=ORIGIN)

    for send in ({}, {"json": {"x": 1}}, {"content": b"x"}):
        response = client.post(f"/step-up{path}", headers=ann.headers, **cast("Any", send))

        assert response.is_client_error
        assert dict(response.headers).items() >= SAFE_HEADERS.items()
        assert response.json()["detail"]["status"] == response.status_code
    slash = client.post(f"/step-up{path}/", headers=ann.headers, json={}, follow_redirects=False)
    assert slash.status_code == 404
    assert dict(slash.headers).items() >= SAFE_HEADERS.items()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
@each_route
def test_ot_031_only_post_is_allowed(ann: Person, path: str, method: str) -> None:
    """Nothing begins or ends by a link or an image."""
    response = ann.client.request(method, f"/step-up{path}", headers=ann.headers)

    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "content_type",
    [
        pytest.param("text/plain", id="text"),
        pytest.param("application/x-www-form-urlencoded", id="form"),
        pytest.param("multipart/form-data; boundary=x", id="multipart"),
        pytest.param("application/json, text/plain", id="two"),
        pytest.param("application/jsonx", id="longer"),
        pytest.param("", id="empty"),
    ],
)
@each_route
def test_ck_026_only_json_is_taken(ann: Person, path: str, content_type: str) -> None:
    """What a cross-site form could send is no request of ours."""
    response = ann.client.post(
        f"/step-up{path}",
        headers=ann.headers | {"Content-Type": content_type},
        content=json.dumps(BODIES[path]).encode(),
    )

    assert refusal_of(response) == (415, "unsupported_media_type")
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no-evidence"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="same-site"),
        pytest.param({"Origin": f"https://{EVIL}"}, id="foreign-origin"),
        pytest.param({"Origin": "null"}, id="null-origin"),
    ],
)
@each_route_with_session
def test_ck_025_other_sites_cannot_use_the_cookies(
    ann: Person, path: str, headers: dict[str, str]
) -> None:
    """Nobody steps a user up, or spends their tries, from another site (OT-037)."""
    cookies = {"Cookie": "; ".join(f"{n}={v}" for n, v in ann.tokens.cookies.items())}

    response = ann.client.post(f"/step-up{path}", headers=cookies | headers, json=BODIES[path])

    assert refusal_of(response) == (403, "cross_site_request")
    assert ann.asked_of_descope() == []


@each_way
def test_ck_023_cookies_get_the_configured_domain_and_no_other(
    guard: StepUpGuard, way: Way
) -> None:
    """`cookie_domain` is theirs; a hostile `Host` is nobody's."""
    with signed_in(guard, by_cookie=True) as ann:
        person = Person(
            guard, ann.descope, by_cookie=True, options={"cookie_domain": "example.com"}
        )
        proof = way.proven(person)
        # The browser's word, so that the foreign Host is all that is odd.
        headers = person.tokens.cookie_headers | {"Host": EVIL}

        done = person.client.post(f"/step-up{way.finish}", headers=headers, json=proof)

    assert done.status_code == 200
    assert {cookie["domain"] for cookie in cookies_of(done).values()} == {"example.com"}
    assert EVIL not in f"{done.headers} {done.text}"


def test_ot_015_unknown_used_and_expired_links_are_answered_alike(ann: Person) -> None:
    """The one route without a session tells nobody which links were sent."""
    ann.post("/enchantedlink/start")
    used = ann.descope.outbox[-1].token
    ann.client.post(f"/step-up{PUBLIC}", json={"token": used})

    replies = [
        ann.client.post(f"/step-up{PUBLIC}", json={"token": token})
        for token in (used, "unknown", used[::-1], 2000 * "x")
    ]

    assert {refusal_of(reply) for reply in replies} == {(400, "link_rejected")}
    assert len({reply.content for reply in replies}) == 1


# -- limits come before Descope


@each_route
def test_ot_009_limit_is_reached_before_descope_is_asked(guard: StepUpGuard, path: str) -> None:
    """Whoever is over a limit costs nothing but the count, on every route."""
    one = "1/hour"
    limits = StepUpLimits(
        starts_per_subject=one, tries_per_subject=one, tries_per_address=one, polls_per_subject=one
    )
    with signed_in(guard) as ann:
        person = Person(guard, ann.descope, options={"limits": limits})
        person.post(path, **BODIES[path])
        asked = len(person.asked_of_descope())

        response = person.post(path, **BODIES[path])

        assert refusal_of(response) == (429, "too_many_attempts")
        assert 3590 <= int(response.headers["retry-after"]) <= 3600
        assert len(person.asked_of_descope()) == asked > 0


def test_status_over_the_limit_is_a_doubt(guard: StepUpGuard) -> None:
    """It is answered all the same, without asking Descope."""
    with signed_in(guard) as ann:
        limits = StepUpLimits(polls_per_subject="1/hour")
        person = Person(guard, ann.descope, options={"limits": limits})
        person.tokens = person.descope.step_up(ANN)

        told = [person.post("/status").json()["stepped_up"] for _ in range(2)]

        assert told == [True, False]
        assert person.asked_of_descope() == ["/v1/auth/me"]


@pytest.mark.parametrize("path", WITH_REFRESH_TOKEN)
def test_what_cannot_be_a_step_up_counts_for_nothing(guard: StepUpGuard, path: str) -> None:
    """Nobody spends a user's tries without that user's session and refresh token."""
    one = "1/hour"
    limits = StepUpLimits(starts_per_subject=one, tries_per_subject=one)
    with signed_in(guard) as ann:
        BY_NAME["totp"].prepare(ann)
        BY_NAME["passkey"].prepare(ann)
        person = Person(guard, ann.descope, options={"limits": limits})
        ann.client = person.client
        fresh = ann.tokens
        foreign = person.descope.sign_in(BOB).refresh_token
        ann.tokens = Tokens(fresh.session_token, foreign, fresh.user_id, ANN)
        for _ in range(3):
            assert refusal_of(ann.post(path, **BODIES[path])) == (403, "subject_mismatch")
            assert ann.post(path, nonsense=1).status_code == 422

        response = person.post(path, **BODIES[path])

        assert response.status_code == 200 or refusal_of(response) == (400, "otp_rejected")


# -- nothing leaks

TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}")


@each_way
def test_ot_033_no_log_record_holds_a_secret(
    guard: StepUpGuard, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    """Every logger at DEBUG, httpx and httpcore too, over a real socket, good and bad (OT-035)."""
    emulator = DescopeEmulator(
        guard.project_id, response_mode="cookies", session_cookie=True, max_sends=1000
    )
    with emulator.serve() as url:
        served = StepUpGuard.for_descope(guard.project_id, base_url=url)
        add_user(emulator, ANN)
        ann = Person(served, emulator)
        way.prepare(ann)
        caplog.set_level(logging.DEBUG)

        proof = way.proven(ann)
        done = ann.post(way.finish, **proof)
        replayed = ann.post(way.finish, **proof)
        ann.post("/status")
        emulator.fail(500, times=9, path="/v1/auth")
        ann.post(way.finish, **proof)
        ann.by_cookie = True
        ann.post(way.finish, **proof)

    assert (done.status_code, replayed.status_code) == (200, 400)
    logged = "\n".join(f"{r.getMessage()} {r.args} {r.exc_text}" for r in caplog.records)
    assert "send_request_headers.started" in logged
    assert not TOKEN.search(logged)
    sent = [text for m in emulator.outbox for text in (m.code, m.token) if text]
    secrets = [ANN, "ann@", PHONE, *sent, *(v for v in proof.values() if len(str(v)) > 8)]
    assert [secret for secret in secrets if str(secret) in logged] == []


def locals_of_ours(frames: TracebackType | None) -> str:
    """Return the `repr` of every local variable in a frame of the package."""
    return "\n".join(
        repr(frame.f_locals)
        for frame, _ in traceback.walk_tb(frames)
        if "/fastapi_stepup/" in frame.f_code.co_filename
    )


@each_way
def test_ot_034_no_frame_of_a_refusal_holds_a_secret(ann: Person, way: Way) -> None:
    """An error reporter that collects local variables finds nothing in our frames."""
    seen: list[str] = []
    app = app_for(ann.guard)

    @app.exception_handler(StepUpError)
    async def report(_: Request, error: StepUpError) -> PlainTextResponse:
        assert (error.__cause__, error.__context__) == (None, None)
        seen.append(f"{locals_of_ours(error.__traceback__)} {error!r} {error} {error.args}")
        return PlainTextResponse("reported", error.status_code)

    ann.client = TestClient(app, base_url=ORIGIN)
    proof = way.proven(ann)
    ann.descope.fail(500, path=way.asks)
    statuses = [ann.post(way.finish, **proof).status_code]
    ann.descope.tamper(sub="U2somebody")
    statuses.append(ann.post(way.finish, **proof).status_code)
    statuses.append(ann.post(way.finish, **proof).status_code)
    statuses.append(ann.post(way.finish, **proof, nonsense=1).status_code)

    assert statuses == [503, 403, 400, 422]
    assert len(seen) == 4
    secrets = [ANN, PHONE, *(str(value) for value in proof.values() if value != "email")]
    for told in seen:
        assert not TOKEN.search(told)
        assert [secret for secret in secrets if len(secret) > 5 and secret in told] == []


@each_way
def test_ot_038_management_key_is_never_sent(
    ann: Person, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment holds for the SDKs is not for these calls."""
    monkeypatch.setenv("DESCOPE_MANAGEMENT_KEY", "K2secret")
    monkeypatch.setenv("DESCOPE_AUTH_MANAGEMENT_KEY", "K2secret")

    done = way.walk(ann)

    assert done.status_code == 200
    assert "K2secret" not in f"{done.text} {done.headers} {ann.guard!r}"
    assert "K2secret" not in "".join(str(r.headers) for r in ann.descope.requests)


@each_way
def test_ob_006_debug_mode_echoes_no_secret(ann: Person, way: Way) -> None:
    """Nor does an app in debug mode, or one without `install`."""
    app = FastAPI(debug=True)
    app.include_router(stepup_router(ann.guard, methods=METHODS, redirect_uris=PAGES))
    ann.client = TestClient(app, base_url=ORIGIN, raise_server_exceptions=False)
    proof = way.proven(ann)
    ann.descope.fail(500, path=way.asks)

    response: httpx2.Response = ann.post(way.finish, **proof)

    assert (response.status_code, response.json()["detail"]["code"]) == (503, "descope_unavailable")
    assert [v for v in proof.values() if len(str(v)) > 5 and str(v) in response.text] == []


def test_every_method_is_walked_here() -> None:
    """A method that is added needs a way; a way needs its routes in the tables."""
    assert {way.name.partition("-")[0] for way in WAYS} == set(METHODS)
    guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")
    app = FastAPI()
    install(app, guard)
    app.include_router(stepup_router(guard, methods=METHODS, redirect_uris=PAGES))
    mounted = {path.removeprefix("/step-up") for path in app.openapi()["paths"]}
    assert mounted == {*BODIES, "/status"}
    assert set(WITH_SESSION) == set(BODIES) - {PUBLIC}

"""stepup_router: the way from challenge to stepped-up session, and everything that may not pass."""

import json
import logging
import re
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Annotated, Any, cast

import httpx
import httpx2
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, install, stepup_router
from fastapi_stepup.errors import ConfigurationError, StepUpError
from fastapi_stepup.router.body import MAX_REQUEST_BODY
from fastapi_stepup.router.schemas import OTPVerify, SteppedUpSession
from fastapi_stepup.testing import (
    REMOVE,
    DescopeEmulator,
    SigningKey,
    Tokens,
    assert_step_up_challenge,
)
from tests.support.step_up_methods import ANN, BOB, SAFE_HEADERS, Rewriting, cookies_of

START, VERIFY = "/step-up/otp/start", "/step-up/otp/verify"


def app_for(guard: StepUpGuard, **options: Any) -> FastAPI:
    """Return an app with the helper routes and a checkout."""
    app = FastAPI()
    app.include_router(stepup_router(guard, **options))

    @app.post("/checkout")
    def checkout(claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]) -> str:
        return claims.subject

    return app


@dataclass
class Caller:
    """Ann's client: signed in, by header or by cookie, and what it sends."""

    guard: StepUpGuard
    descope: DescopeEmulator
    tokens: Tokens
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = TestClient(app_for(self.guard, **self.options), base_url="https://testserver")

    @property
    def code(self) -> str:
        """The latest code, or one that nobody was sent."""
        return next((message.code for message in reversed(self.descope.outbox)), "123456")

    def start(self, delivery: str = "email", **members: Any) -> httpx2.Response:
        """Ask for a code, by header."""
        body = {"delivery": delivery, "refresh_token": self.tokens.refresh_token} | members
        return self.client.post(START, headers=self.tokens.headers, json=body)

    def verify(self, delivery: str = "email", **members: Any) -> httpx2.Response:
        """Send the code back, by header."""
        body = {
            "delivery": delivery,
            "code": self.code,
            "refresh_token": self.tokens.refresh_token,
        } | members
        return self.client.post(VERIFY, headers=self.tokens.headers, json=body)

    def sent_to_descope(self, path: str = "/v1/auth/otp/") -> list[str]:
        """Return the paths below *path* that were asked of Descope."""
        return [r.path for r in self.descope.requests if r.path.startswith(path)]


@pytest.fixture
def ann(guard: StepUpGuard, descope: DescopeEmulator) -> Caller:
    """Ann, who has an address and a number, signed in by header."""
    descope.create_user(ANN, phone="+15550100012")
    return Caller(guard, descope, descope.sign_in(ANN))


def code_of(response: httpx2.Response) -> tuple[int, Any]:
    """Return status and problem code of a refusal that is kept out of caches."""
    assert dict(response.headers).items() >= SAFE_HEADERS.items()
    return response.status_code, response.json()["detail"]["code"]


def assert_no_token(response: httpx2.Response) -> None:
    """Assert that a reply hands out nothing."""
    assert "eyJ" not in response.text
    assert "set-cookie" not in response.headers
    assert response.is_error


# -- the whole way


@pytest.mark.parametrize(
    ("delivery", "destination"),
    [
        ("email", "a**@example.com"),
        ("sms", "+1********12"),
        ("voice", "+1********12"),
        ("whatsapp", "+1********12"),
    ],
)
def test_the_whole_way_by_header(ann: Caller, delivery: str, destination: str) -> None:
    """Challenge, code, stepped-up session in the body, and the checkout opens."""
    refused = ann.client.post("/checkout", headers=ann.tokens.headers)
    step_up = assert_step_up_challenge(refused, max_age=300)["step_up"]
    assert (step_up["start_uri"], step_up["verify_uri"]) == (START, VERIFY)

    started = ann.start(delivery)
    assert (started.status_code, started.json()) == (
        200,
        {"delivery": delivery, "destination": destination},
    )
    before = time.time()
    verified = ann.verify(delivery)

    session = verified.json()
    assert verified.status_code == 200
    assert session == {
        "session_token": session["session_token"],
        "refresh_token": session["refresh_token"],
        "token_type": "Bearer",
        "expires_at": session["expires_at"],
        "expires_in": session["expires_in"],
        "stepped_up": True,
        "subject": ann.tokens.user_id,
    }
    assert before + 598 <= session["expires_at"] <= time.time() + 601
    assert 595 <= session["expires_in"] <= 600
    assert "set-cookie" not in verified.headers
    for reply in (started, verified):
        assert dict(reply.headers).items() >= SAFE_HEADERS.items()
        assert reply.headers["content-type"] == "application/json"
    headers = {"Authorization": f"Bearer {session['session_token']}"}
    assert ann.client.post("/checkout", headers=headers).json() == ann.tokens.user_id
    assert ann.descope.outbox[-1].step_up


def test_the_whole_way_by_cookie(ann: Caller) -> None:
    """A browser with cookies gets cookies; no script sees a token (OT-039, CK-021)."""
    same_origin = {"Sec-Fetch-Site": "same-origin"}
    client = ann.client
    client.cookies.update(ann.tokens.cookies)
    assert_step_up_challenge(client.post("/checkout", headers=same_origin))

    started = client.post(START, headers=same_origin, json={"delivery": "sms"})
    assert started.json() == {"delivery": "sms", "destination": "+1********12"}
    client.cookies.clear()
    body = {"delivery": "sms", "code": ann.code}
    verified = client.post(VERIFY, headers=ann.tokens.cookie_headers, json=body)

    session = verified.json()
    assert verified.status_code == 200
    assert (session["session_token"], session["refresh_token"]) == (None, None)
    assert (session["stepped_up"], session["subject"]) == (True, ann.tokens.user_id)
    assert "eyJ" not in verified.text
    cookies = cookies_of(verified)
    assert {
        name: {k: v for k, v in c.items() if k not in {"value", "max-age"}}
        for name, c in cookies.items()
    } == {
        name: {"path": "/", "secure": "True", "httponly": "True", "samesite": "lax"}
        for name in ("DS", "DSR")
    }
    assert 595 <= int(cookies["DS"]["max-age"]) <= 600
    assert 28 * 86400 - 5 <= int(cookies["DSR"]["max-age"]) <= 28 * 86400
    assert client.post("/checkout", headers=same_origin).json() == ann.tokens.user_id


def test_refresh_token_in_a_cookie_stays_out_of_reach_of_scripts(ann: Caller) -> None:
    """With the session in the header and the refresh token in a cookie, each goes back its way."""
    headers = ann.tokens.headers | {"Cookie": f"DSR={ann.tokens.refresh_token}"}
    assert ann.client.post(START, headers=headers, json={"delivery": "email"}).status_code == 200

    body = {"delivery": "email", "code": ann.code, "refresh_token": ""}
    verified = ann.client.post(VERIFY, headers=headers, json=body)

    assert verified.json()["session_token"].startswith("eyJ")
    assert verified.json()["refresh_token"] is None
    assert list(cookies_of(verified)) == ["DSR"]


def test_refresh_token_in_the_body_wins_over_the_cookie(ann: Caller) -> None:
    """Whoever sends it in the body gets it there, whatever cookies the browser adds."""
    bob = ann.descope.sign_in(BOB)
    headers = ann.tokens.headers | {"Cookie": f"DSR={bob.refresh_token}"}
    members = {"delivery": "email", "refresh_token": ann.tokens.refresh_token}
    assert ann.client.post(START, headers=headers, json=members).status_code == 200

    verified = ann.client.post(VERIFY, headers=headers, json=members | {"code": ann.code})

    assert verified.json()["refresh_token"].startswith("eyJ")
    assert "set-cookie" not in verified.headers


@pytest.mark.parametrize(
    ("refresh_cookie", "in_body", "cookies"),
    [pytest.param("R", ["eyJ"], ["DS"], id="named"), pytest.param(None, ["eyJ"], ["DS"], id="off")],
)
def test_session_cookie_with_the_refresh_token_in_the_body(
    refresh_cookie: str | None, in_body: list[str], cookies: list[str], descope: DescopeEmulator
) -> None:
    """What came in the body goes back there, whatever way the session came."""
    guard = StepUpGuard.for_descope(descope.project_id, refresh_cookie=refresh_cookie)
    with descope.attach(guard):
        caller = Caller(guard, descope, descope.sign_in(ANN))
        headers = {
            "Cookie": f"DS={caller.tokens.session_token}",
            "Origin": "https://testserver",
        }
        members = {"delivery": "email", "refresh_token": caller.tokens.refresh_token}
        assert caller.client.post(START, headers=headers, json=members).status_code == 200
        body = members | {"code": caller.code}
        verified = caller.client.post(VERIFY, headers=headers, json=body)

    assert verified.json()["session_token"] is None
    assert re.findall("^eyJ", verified.json()["refresh_token"] or "") == in_body
    assert list(cookies_of(verified)) == cookies


def test_cookies_get_the_configured_domain(ann: Caller) -> None:
    """`cookie_domain` makes them replace those of whoever signed the user in."""
    caller = Caller(ann.guard, ann.descope, ann.tokens, {"cookie_domain": "example.com"})
    caller.start()
    body = {"delivery": "email", "code": caller.code}

    verified = caller.client.post(VERIFY, headers=ann.tokens.cookie_headers, json=body)

    assert {c["domain"] for c in cookies_of(verified).values()} == {"example.com"}


def test_domain_is_never_that_of_the_host_field(ann: Caller) -> None:
    """A hostile `Host` is reflected nowhere (CK-021, CK-023)."""
    ann.start()
    body = {"delivery": "email", "code": ann.code}
    headers = ann.tokens.cookie_headers | {"Host": "evil.example"}

    verified = ann.client.post(VERIFY, headers=headers, json=body)

    assert verified.status_code == 200
    assert "evil" not in f"{verified.headers} {verified.text}"


def test_refresh_token_that_stays_the_same_is_not_repeated(ann: Caller) -> None:
    """When Descope hands out no new one, there is none in the reply: the old one goes on."""
    with rewriting(ann, lambda body: body | {"refreshJwt": ""}):
        ann.start()
        verified = ann.verify()

    assert (verified.status_code, verified.json()["refresh_token"]) == (200, None)


def test_fresh_session_from_a_clock_ahead_is_taken(ann: Caller) -> None:
    """Descope's clock may be some seconds ahead of ours (OT-042)."""
    ann.start()
    ann.descope.tamper(iat=int(time.time()) + 3)

    assert ann.verify().status_code == 200


def test_user_without_an_address_for_the_delivery_is_told(ann: Caller) -> None:
    """Nothing is sent when there is nowhere to send it."""
    bob = Caller(ann.guard, ann.descope, ann.descope.sign_in(BOB))

    assert code_of(bob.start("sms")) == (400, "delivery_unavailable")
    assert bob.sent_to_descope() == []


def test_code_is_asked_for_by_the_login_id_that_is_the_address(ann: Caller) -> None:
    """Of several login ids that one is used, in both steps."""
    ann.descope.create_user("carol", login_ids=["c@example.com", "+15550100099"])
    carol = Caller(ann.guard, ann.descope, ann.descope.sign_in("carol"))

    for delivery, login_id in (("email", "c@example.com"), ("sms", "+15550100099")):
        carol.start(delivery)
        assert carol.verify(delivery).status_code == 200
        asked = [r.json for r in ann.descope.requests if r.path.endswith(f"/{delivery}")]
        assert [cast("dict[str, Any]", body)["loginId"] for body in asked] == [login_id] * 2


@pytest.mark.parametrize(
    "login_id",
    ["a/../../mgmt", "a?b=c", "a\r\nX: y", 2000 * "é", "A@EXAMPLE.com", "\u0430nn@example.com"],
)
def test_login_ids_travel_as_json_only(ann: Caller, login_id: str) -> None:
    """Whatever a login id holds, it is sent as it is and never changes a path (OT-026)."""
    ann.descope.create_user(login_id, email="x@example.com")
    caller = Caller(ann.guard, ann.descope, ann.descope.sign_in(login_id))

    caller.start()
    assert caller.verify().status_code == 200

    assert caller.sent_to_descope() == ["/v1/auth/otp/signin/email", "/v1/auth/otp/verify/email"]
    assert {message.login_id for message in ann.descope.outbox} == {login_id}


# -- who may


@pytest.mark.parametrize("path", [START, VERIFY])
def test_refresh_token_is_asked_for(ann: Caller, path: str) -> None:
    """Descope steps nobody up without it; empty is as good as none."""
    for members in ({}, {"refresh_token": None}, {"refresh_token": ""}):
        body = {"delivery": "email", **members} | ({"code": "123456"} if path == VERIFY else {})
        response = ann.client.post(path, headers=ann.tokens.headers, json=body)

        assert code_of(response) == (400, "refresh_token_required")
    assert ann.sent_to_descope("/v1") == []


REFRESH_TOKENS = [
    pytest.param(
        lambda d: d.sign_in(BOB).refresh_token, 403, "subject_mismatch", id="another-users"
    ),
    pytest.param(lambda d: d.sign_in(ANN).session_token, 401, "invalid_token", id="session-token"),
    pytest.param(lambda d: d.token(drn="DSR", key=SigningKey()), 401, "invalid_token", id="forged"),
    pytest.param(
        lambda d: d.token(drn="DSR", sub=d.user(ANN).user_id, exp=1),
        401,
        "invalid_token",
        id="expired",
    ),
    pytest.param(
        lambda d: d.token(drn="DSR", sub=d.user(ANN).user_id, iss="P2another"),
        401,
        "invalid_token",
        id="foreign",
    ),
    pytest.param(
        lambda d: d.token(drn="DSR", sub=d.user(ANN).user_id, act={"sub": "K2support"}),
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
    pytest.param(lambda d: "nonsense", 401, "invalid_token", id="nonsense"),
]


@pytest.mark.parametrize("by_cookie", [False, True], ids=["body", "cookie"])
@pytest.mark.parametrize(("token", "status", "code"), REFRESH_TOKENS)
def test_foreign_refresh_token_beside_a_good_session_is_refused(
    ann: Caller,
    token: Callable[[DescopeEmulator], str],
    status: int,
    code: str,
    *,
    by_cookie: bool,
) -> None:
    """It must be a good one of the session's own user; no code is sent to anybody else (OT-003)."""
    refresh_token = token(ann.descope)
    ann.start()
    sent = len(ann.descope.outbox)
    cookie = {"Cookie": f"DSR={refresh_token}"} if by_cookie else {}
    member = {} if by_cookie else {"refresh_token": refresh_token}
    for path, body in ((START, {}), (VERIFY, {"code": ann.code})):
        response = ann.client.post(
            path, headers=ann.tokens.headers | cookie, json={"delivery": "email"} | member | body
        )

        assert code_of(response) == (status, code)
        assert_no_token(response)
    assert len(ann.descope.outbox) == sent


def test_refusals_of_the_refresh_token_name_the_realm(ann: Caller) -> None:
    """Its challenge is the one that any guarded route gives."""
    response = ann.start(refresh_token="nonsense")

    assert response.headers["www-authenticate"].startswith(f'Bearer realm="{ann.guard.realm}", ')


def test_two_refresh_cookies_are_ambiguous(ann: Caller) -> None:
    """One of them may have been planted by a sister site."""
    cookies = f"DSR={ann.tokens.refresh_token}; DSR={ann.tokens.refresh_token}x"
    headers = ann.tokens.headers | {"Cookie": cookies}

    response = ann.client.post(START, headers=headers, json={"delivery": "email"})

    assert code_of(response) == (400, "invalid_request")


def test_whoever_acts_for_a_user_cannot_step_up(ann: Caller) -> None:
    """Nobody can talk a user out of a code and get their whole session for it."""
    acting = ann.descope.token(sub=ann.tokens.user_id, act={"sub": "K2support"})
    headers = {"Authorization": f"Bearer {acting}"}
    body = {"delivery": "email", "refresh_token": ann.tokens.refresh_token}

    response = ann.client.post(START, headers=headers, json=body)

    assert code_of(response) == (403, "impersonation_refused")
    assert ann.descope.outbox == []


def test_another_user_at_descope_is_a_mismatch(ann: Caller) -> None:
    """When Descope says that the refresh token is somebody else's, no code is sent."""
    with rewriting(ann, lambda body: body | {"userId": "U2somebody"}, path="/v1/auth/me"):
        assert code_of(ann.start()) == (403, "subject_mismatch")
    assert ann.descope.outbox == []


def test_session_whose_template_overrides_the_subject_can_step_up(ann: Caller) -> None:
    """With `sub` overridden by a JWT template, `dsub` is Descope's own id of the user."""
    template: dict[str, Any] = {"sub": "customer-7", "dsub": ann.tokens.user_id}
    ann.tokens = Tokens(
        ann.descope.token(**template), ann.tokens.refresh_token, ann.tokens.user_id, ANN
    )
    ann.start()
    ann.descope.tamper(**template)

    verified = ann.verify()

    assert (verified.status_code, verified.json()["subject"]) == (200, "customer-7")


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"sub": "customer-7"}, id="other-dsub"),
        pytest.param({"sub": "customer-7", "dsub": {"sub": "x"}}, id="dsub-object"),
        pytest.param({"sub": "customer-7", "dsub": ""}, id="dsub-empty"),
        pytest.param({"dsub": "U2somebody"}, id="foreign-dsub"),
    ],
)
def test_overridden_subject_must_be_of_the_same_user(ann: Caller, claims: dict[str, Any]) -> None:
    """`dsub` counts when it is there and a text, else `sub`."""
    session = ann.descope.token(**{"sub": ann.tokens.user_id, **claims})
    ann.tokens = Tokens(session, ann.tokens.refresh_token, ann.tokens.user_id, ANN)

    assert code_of(ann.start()) == (403, "subject_mismatch")


# -- what comes back


def rewriting(
    caller: Caller,
    rewrite: Callable[[dict[str, Any]], object],
    *,
    path: str = "/v1/auth/otp/verify",
) -> Any:
    """Return a context in which Descope's replies are rewritten."""
    return caller.guard.on_transport(Rewriting(caller.descope.transport, path, rewrite))


@pytest.mark.parametrize("by_cookie", [False, True], ids=["header", "cookie"])
@pytest.mark.parametrize(
    ("claims", "status", "code"),
    [
        pytest.param({"sub": "U2somebody"}, 403, "subject_mismatch", id="OT-006-another-user"),
        pytest.param({"su": REMOVE}, 502, "descope_error", id="OT-005-without-su"),
        pytest.param({"su": "true"}, 502, "descope_error", id="OT-005-su-text"),
        pytest.param({"su": 1}, 502, "descope_error", id="OT-005-su-number"),
        pytest.param({"su": False}, 502, "descope_error", id="OT-005-su-false"),
        pytest.param({"drn": "DSR"}, 502, "descope_error", id="OT-007-refresh-as-session"),
        pytest.param({"iss": "P2another"}, 502, "descope_error", id="OT-006-foreign-issuer"),
        pytest.param(
            {"iss": "https://api.descope.com/P2abcdefghijklmnopqrstuvwxyz"},
            403,
            "subject_mismatch",
            id="OT-006-another-form-of-issuer",
        ),
        pytest.param({"exp": 1, "iat": 1}, 502, "descope_error", id="OT-006-expired"),
        pytest.param({"iat": 32_000_000_000}, 502, "descope_error", id="OT-006-not-yet"),
        pytest.param({"sub": REMOVE}, 502, "descope_error", id="OT-006-nobody"),
        pytest.param({"act": {"sub": "K1"}}, 502, "descope_error", id="OT-006-impersonated"),
        pytest.param({"dsub": "U2somebody"}, 403, "subject_mismatch", id="OT-006-another-dsub"),
        pytest.param({"aud": "another-api"}, 502, "descope_error", id="OT-006-foreign-audience"),
        pytest.param({"cnf": {"jkt": "x"}}, 502, "descope_error", id="OT-006-bound-token"),
    ],
)
def test_session_that_must_not_be_passed_on(
    ann: Caller, claims: dict[str, Any], status: int, code: str, *, by_cookie: bool
) -> None:
    """A session that is not the caller's own, valid and stepped up hands out no token."""
    ann.start()
    ann.descope.tamper(**claims)
    headers = ann.tokens.cookie_headers if by_cookie else ann.tokens.headers
    body = {"delivery": "email", "code": ann.code, "refresh_token": ann.tokens.refresh_token}

    response = ann.client.post(VERIFY, headers=headers, json=body)

    assert code_of(response) == (status, code)
    assert_no_token(response)
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
            lambda d: {"refreshJwt": d.token(drn="DSR", key=SigningKey())},
            502,
            "descope_error",
            id="forged-refresh-token",
        ),
        pytest.param(
            lambda d: {"sessionJwt": d.token(su=True, sub=d.user(ANN).user_id, key=SigningKey())},
            502,
            "descope_error",
            id="forged-session",
        ),
        pytest.param(
            lambda d: {
                "sessionJwt": d.token(su=True, sub=d.user(ANN).user_id, header={"alg": "none"})
            },
            502,
            "descope_error",
            id="unsigned-session",
        ),
        pytest.param(
            lambda d: {"sessionJwt": DescopeEmulator(d.project_id).step_up(ANN).session_token},
            502,
            "descope_error",
            id="another-key-set",
        ),
        pytest.param(lambda _: {"sessionJwt": ["x"]}, 502, "descope_error", id="array"),
        pytest.param(lambda _: {"sessionJwt": 20000 * "x"}, 502, "descope_error", id="large"),
    ],
)
def test_tokens_that_must_not_be_passed_on(
    ann: Caller, rewrite: Callable[[DescopeEmulator], dict[str, object]], status: int, code: str
) -> None:
    """Every token of a reply is verified, and is of the caller, before any of them goes out."""
    with rewriting(ann, lambda body: body | rewrite(ann.descope)):
        ann.start()
        response = ann.verify()

    assert code_of(response) == (status, code)
    assert_no_token(response)


def test_cookies_of_the_reply_are_verified_like_its_body(ann: Caller) -> None:
    """In Descope's cookie mode the tokens come as cookies, and go on as ours (CK-022)."""
    fresh = ann.descope.step_up(ANN)

    def in_cookies(refresh_token: str) -> Callable[[dict[str, Any]], object]:
        body = {"sessionJwt": "", "refreshJwt": ""}
        fields = [("Set-Cookie", f"DS={fresh.session_token}"), ("Set-Cookie", refresh_token)]
        return lambda _: httpx.Response(200, json=body, headers=fields)

    with rewriting(ann, in_cookies(f"DSR={fresh.refresh_token}; Path=/; Domain=evil.example")):
        ann.start()
        good = ann.verify()
    with rewriting(ann, in_cookies('DSR="x y"; Path=/')):
        ann.start()
        hostile = ann.verify()

    assert good.json()["refresh_token"] == fresh.refresh_token
    assert "set-cookie" not in good.headers
    assert code_of(hostile) == (502, "descope_error")
    assert_no_token(hostile)


def test_session_under_a_key_that_cannot_be_had_is_not_passed_on(ann: Caller) -> None:
    """What cannot be verified is an answer that cannot be used."""
    ann.start()
    ann.descope.rotate_keys()
    ann.descope.fail(503, times=5, path="/v2/keys")

    response = ann.verify()

    assert code_of(response) == (502, "descope_error")
    assert_no_token(response)


def test_reply_that_says_two_things_is_nonsense(ann: Caller) -> None:
    """A member that comes twice is not read as either."""
    fresh, bob = ann.descope.step_up(ANN).session_token, ann.descope.step_up(BOB).session_token
    body = f'{{"sessionJwt":"{bob}","sessionJwt":"{fresh}"}}'.encode()

    with rewriting(ann, lambda _: httpx.Response(200, content=body)):
        ann.start()
        response = ann.verify()

    assert code_of(response) == (502, "descope_error")
    assert_no_token(response)


def test_keys_may_rotate_between_the_two_steps(ann: Caller) -> None:
    """The new session is signed by a key that is fetched for it; a revoked key ends the old one."""
    ann.start()
    ann.descope.rotate_keys()
    assert ann.verify().status_code == 200

    ann.start()
    ann.descope.revoke_keys()
    response = ann.verify()

    assert_no_token(response)
    assert code_of(response) == (401, "invalid_token")


def test_another_session_of_the_same_user_may_finish(ann: Caller) -> None:
    """A code is the user's: asked for on one device, it may be used on another."""
    ann.start()
    ann.tokens = ann.descope.sign_in(ANN)

    assert ann.verify().status_code == 200


def test_session_and_refresh_token_of_two_users_never_mix(ann: Caller) -> None:
    """Bob's code with Ann's session, or the other way round, steps up neither."""
    bob = Caller(ann.guard, ann.descope, ann.descope.sign_in(BOB))
    bob.start()

    for session, refresh in ((ann, bob), (bob, ann)):
        body = {
            "delivery": "email",
            "code": bob.code,
            "refresh_token": refresh.tokens.refresh_token,
        }
        response = ann.client.post(VERIFY, headers=session.tokens.headers, json=body)

        assert code_of(response) == (403, "subject_mismatch")
    assert bob.verify().json()["subject"] == bob.tokens.user_id


def test_report_only_guard_still_guards_the_helper_routes(descope: DescopeEmulator) -> None:
    """Reporting is about policies; whose session is stepped up is never left open."""
    guard = StepUpGuard.for_descope(descope.project_id, report_only=True)
    with descope.attach(guard):
        caller = Caller(guard, descope, descope.sign_in(ANN))
        caller.start()
        descope.tamper(su=REMOVE)
        cookies = {"Cookie": caller.tokens.cookie_headers["Cookie"]}

        assert code_of(caller.verify()) == (502, "descope_error")
        assert code_of(caller.client.post(START, json={})) == (401, "unauthenticated")
        refused = caller.client.post(START, headers=cookies, json={})
        assert code_of(refused) == (403, "cross_site_request")
        assert caller.client.post("/checkout", headers=caller.tokens.headers).status_code == 200


# -- Descope's refusals


@pytest.mark.parametrize(
    ("failure", "status", "code", "retry_after"),
    [
        pytest.param({"status": 500}, 503, "descope_unavailable", "5", id="OT-018-500"),
        pytest.param(
            {"status": 503, "retry_after": 9}, 503, "descope_unavailable", "9", id="OT-018-503"
        ),
        pytest.param(
            {"status": 502, "body": b"<html>bad gateway"},
            503,
            "descope_unavailable",
            "5",
            id="OT-018-502",
        ),
        pytest.param(
            {"status": 429, "retry_after": 17}, 429, "too_many_attempts", "17", id="OT-019-seconds"
        ),
        pytest.param({"status": 429}, 429, "too_many_attempts", "60", id="OT-019-silent"),
        pytest.param(
            {"status": 429, "retry_after": 10**9},
            429,
            "too_many_attempts",
            "3600",
            id="OT-019-absurd",
        ),
        pytest.param({"status": 302}, 502, "descope_error", None, id="OT-021-302"),
        pytest.param({"status": 307}, 502, "descope_error", None, id="OT-021-307"),
        pytest.param({"status": 404}, 502, "descope_error", None, id="OT-018-404"),
        pytest.param({"status": 409}, 502, "descope_error", None, id="OT-018-409"),
        pytest.param(
            {"status": 401, "body": b"<html>"}, 502, "descope_error", None, id="OT-018-401-html"
        ),
        pytest.param({"status": 200, "body": b"[]"}, 502, "descope_error", None, id="OT-022-array"),
        pytest.param(
            {"status": 200, "body": 300_000 * b" "}, 502, "descope_error", None, id="OT-022-huge"
        ),
        pytest.param(
            {"status": 200, "body": b'{"sessionJwt":1,"maskedEmail":1,"userId":1}'},
            502,
            "descope_error",
            None,
            id="OT-022-odd-types",
        ),
    ],
)
@pytest.mark.parametrize("at", ["/v1/auth/me", "/v1/auth/otp/signin", "/v1/auth/otp/verify"])
def test_trouble_at_descope(
    ann: Caller,
    failure: dict[str, Any],
    status: int,
    code: str,
    retry_after: str | None,
    *,
    at: str,
) -> None:
    """Down is 503, nonsense is 502; nothing is tried twice and nobody is logged out."""
    if at.endswith("verify"):
        ann.start()
    ann.descope.requests.clear()
    ann.descope.fail(times=5, path=at, **failure)

    response = ann.verify() if at.endswith("verify") else ann.start()

    assert code_of(response) == (status, code)
    assert response.headers.get("retry-after") == retry_after
    assert "www-authenticate" not in response.headers
    assert len(ann.sent_to_descope(at)) == 1
    assert_no_token(response)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        pytest.param("E061102", 400, "otp_rejected", id="OT-018-wrong-code"),
        pytest.param("E061103", 400, "otp_exhausted", id="OT-009-tries-used-up"),
        pytest.param("E061104", 400, "otp_expired", id="OT-018-expired"),
        pytest.param("E130429", 429, "too_many_attempts", id="OT-019-rate-limit"),
        pytest.param("E062108", 400, "otp_rejected", id="OT-018-unknown-user"),
        pytest.param("E064001", 401, "invalid_token", id="OT-041-logged-out"),
    ],
)
def test_codes_of_descope(ann: Caller, error: str, status: int, code: str) -> None:
    """What is known of Descope's codes is told to the client as a code of ours."""
    ann.start()
    ann.descope.fail(401, path="/v1/auth/otp/verify", code=error)

    response = ann.verify()

    assert code_of(response) == (status, code)
    assert error not in response.text


@pytest.mark.parametrize("status", [400, 401, 404, 409, 429, 500])
def test_text_of_descope_is_never_echoed(ann: Caller, status: int) -> None:
    """Not its code, not its description, not its message, whatever the status (OT-018)."""
    told = {"errorCode": "E000000", "errorDescription": "told", "errorMessage": f"told {ANN}"}
    ann.descope.fail(status, times=2, path="/v1/auth/otp", body=json.dumps(told).encode())

    for response in (ann.start(), ann.verify(code="123456")):
        assert response.is_error
        assert not re.search(f"told|E000000|{ANN}", f"{response.text} {response.headers}")


def test_wrong_code_can_be_corrected_until_tries_are_used_up(ann: Caller) -> None:
    """A wrong code says so; after too many of them only a new code helps (OT-009)."""
    ann.start()
    wrong = f"{(int(ann.code) + 1) % 1_000_000:06d}"

    for _ in range(ann.descope.max_attempts):
        assert code_of(ann.verify(code=wrong)) == (400, "otp_rejected")
    used_up = ann.verify()

    assert code_of(used_up) == (400, "otp_exhausted")
    ann.start()
    assert ann.verify().status_code == 200


def test_code_works_once(ann: Caller) -> None:
    """A second use of the same code is refused (OT-014)."""
    ann.start()
    assert ann.verify().status_code == 200

    again = ann.verify()

    assert code_of(again) == (400, "otp_rejected")
    assert_no_token(again)


def test_code_of_another_user_does_not_fit(ann: Caller) -> None:
    """Bob's code is nothing to Ann's session."""
    bob = Caller(ann.guard, ann.descope, ann.descope.sign_in(BOB))
    ann.start()
    bob.start()

    assert code_of(ann.verify(code=ann.descope.outbox[1].code)) == (400, "otp_rejected")


def test_logout_while_the_code_is_on_its_way_fails_closed(ann: Caller) -> None:
    """A refresh token that Descope no longer honours ends the step-up (OT-041)."""
    ann.start()
    bearer = f"{ann.descope.project_id}:{ann.tokens.refresh_token}"
    TestClient(ann.descope).post(
        "/v1/auth/logout", headers={"Authorization": f"Bearer {bearer}"}
    ).raise_for_status()

    response = ann.verify()

    assert code_of(response) == (401, "invalid_token")
    assert_no_token(response)


# -- what a client may send


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("", id="OT-013-empty"),
        pytest.param("12345", id="OT-013-five"),
        pytest.param("0000000", id="OT-013-seven"),
        pytest.param("12345a", id="OT-013-letter"),
        pytest.param("１２３４５６", id="OT-013-fullwidth"),  # noqa: RUF001
        pytest.param("١٢٣٤٥٦", id="OT-013-arabic"),
        pytest.param(" 123456 ", id="OT-013-spaces"),
        pytest.param("123456\n", id="OT-013-newline"),
        pytest.param("123456\x00", id="OT-013-nul"),
        pytest.param("+12345", id="OT-013-sign"),
        pytest.param("1_2345", id="OT-013-underscore"),
        pytest.param(123456, id="OT-013-number"),
        pytest.param(123456.0, id="OT-013-float"),
        pytest.param(True, id="OT-013-boolean"),
        pytest.param(None, id="OT-013-null"),
        pytest.param(["123456"], id="OT-013-list"),
        pytest.param({"code": "123456"}, id="OT-013-object"),
        pytest.param(10000 * "1", id="OT-013-long"),
    ],
)
def test_code_is_six_digits(ann: Caller, code: object) -> None:
    """Anything else is refused before Descope sees it, and not echoed (OB-007)."""
    response = ann.client.post(
        VERIFY,
        headers=ann.tokens.headers,
        json={"delivery": "email", "code": code, "refresh_token": ann.tokens.refresh_token},
    )

    assert code_of(response) == (422, "invalid_body")
    problem = response.json()["detail"]
    assert [error["field"] for error in problem["errors"]] == ["code"]
    assert set(problem) == {"type", "title", "status", "detail", "code", "errors"}
    assert "123456" not in response.text
    assert "input" not in response.text
    assert ann.sent_to_descope("/v1") == []


@pytest.mark.parametrize(
    "delivery",
    [
        pytest.param("../../mgmt/user", id="OT-025-traversal"),
        pytest.param("email?x=", id="OT-025-query"),
        pytest.param("sms%2f..", id="OT-025-encoded"),
        pytest.param("EMAIL", id="OT-025-case"),
        pytest.param("email ", id="OT-025-space"),
        pytest.param("im", id="OT-025-unknown"),
        pytest.param("", id="OT-025-empty"),
        pytest.param(None, id="OT-025-null"),
        pytest.param(["email"], id="OT-025-list"),
        pytest.param({"email": 1}, id="OT-025-object"),
    ],
)
def test_delivery_is_one_of_a_few_words(ann: Caller, delivery: object) -> None:
    """A path to Descope is only ever built from our own words."""
    response = ann.start(cast("str", delivery))

    assert code_of(response) == (422, "invalid_body")
    assert response.json()["detail"]["errors"][0]["field"] == "delivery"
    assert ann.sent_to_descope("/v1") == []


def test_delivery_that_is_not_offered_is_refused(ann: Caller) -> None:
    """`deliveries` limits both steps, and the challenge lists no others."""
    caller = Caller(ann.guard, ann.descope, ann.tokens, {"deliveries": ["sms"]})

    for response in (caller.start(), caller.verify(code="123456")):
        assert code_of(response) == (422, "invalid_body")
        expected = [{"field": "delivery", "problem": "not_offered"}]
        assert response.json()["detail"]["errors"] == expected
    assert caller.sent_to_descope("/v1") == []
    assert caller.start("sms").status_code == 200


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"login_id": BOB}, id="OT-002-login-id"),
        pytest.param({"loginId": BOB}, id="OT-002-descopes-login-id"),
        pytest.param({"email": BOB}, id="OT-003-email"),
        pytest.param({"phone": "+15550100666"}, id="OT-003-phone"),
        pytest.param({"baseUrl": "https://evil.example"}, id="OT-023-base-url"),
        pytest.param({"projectId": "P2evil"}, id="OT-023-project-id"),
        pytest.param({"customClaims": {"su": True}}, id="OT-027-custom-claims"),
        pytest.param({"loginOptions": {"stepup": False}}, id="OT-027-login-options"),
        pytest.param({"stepup": False, "mfa": True}, id="OT-027-flags"),
        pytest.param({"redirect": "//evil.example"}, id="OT-029-redirect"),
        pytest.param({"next": "https:evil.example"}, id="OT-029-next"),
        pytest.param({"returnUrl": "javascript:alert(1)"}, id="OT-029-return-url"),
        pytest.param({"<script>": 1, "eyJx": 2}, id="OT-027-names-are-not-reflected"),
        pytest.param({f"x{n}": n for n in range(1000)}, id="OT-027-many"),
    ],
)
def test_unknown_members_are_refused(ann: Caller, members: dict[str, Any]) -> None:
    """Whose code, where it goes and what it is for is not for the body to say."""
    for response in (ann.start(**members), ann.verify(code="123456", **members)):
        assert code_of(response) == (422, "invalid_body")
        expected = [{"field": "(unknown)", "problem": "extra_forbidden"}]
        assert response.json()["detail"]["errors"] == expected
        assert len(response.content) < 500
    assert ann.descope.outbox == []


def test_query_and_headers_change_nothing(ann: Caller) -> None:
    """The host that is asked, and for which project, is configuration (OT-023, OT-029)."""
    seen = Rewriting(ann.descope.transport, "/never", dict)
    query = "?baseUrl=https://evil.example&projectId=P2evil&host=evil.example&next=//evil.example"
    headers = ann.tokens.headers | {
        "X-Descope-Base-Url": "https://evil.example",
        "X-Descope-Project-Id": "P2evil",
        "X-Forwarded-Host": "evil.example",
        "Host": "evil.example",
    }
    with ann.guard.on_transport(seen):
        response = ann.client.post(
            START + query,
            headers=headers,
            json={"delivery": "email", "refresh_token": ann.tokens.refresh_token},
        )

    assert response.status_code == 200
    assert {request.url.host for request in seen.requests} == {"api.descope.com"}
    projects = {r.headers["x-descope-project-id"] for r in seen.requests if "v1" in r.url.path}
    assert projects == {ann.guard.project_id}
    assert "evil" not in f"{response.text} {response.headers}"


@pytest.mark.parametrize(
    "content_type",
    [
        pytest.param("text/plain", id="CK-026-text"),
        pytest.param("text/plain;application/json", id="CK-026-parameter"),
        pytest.param("application/x-www-form-urlencoded", id="CK-026-form"),
        pytest.param("multipart/form-data; boundary=x", id="CK-026-multipart"),
        pytest.param("application/json, text/plain", id="CK-026-two"),
        pytest.param("application/json+x", id="CK-026-suffix"),
        pytest.param("application/jsonx", id="CK-026-longer"),
        pytest.param("", id="CK-026-empty"),
        pytest.param(None, id="CK-026-none"),
    ],
)
@pytest.mark.parametrize("path", [START, VERIFY])
def test_only_json_is_taken(ann: Caller, content_type: str | None, path: str) -> None:
    """What a cross-site form could send is no request of ours."""
    declared = {} if content_type is None else {"Content-Type": content_type}

    response = ann.client.post(
        path, headers=ann.tokens.headers | declared, content=b'{"delivery":"email"}'
    )

    assert code_of(response) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON ; charset=utf-8", "application/json;x"]
)
def test_json_may_be_declared_with_parameters(ann: Caller, content_type: str) -> None:
    """Letter case and parameters make no difference."""
    body = json.dumps({"delivery": "email", "refresh_token": ann.tokens.refresh_token})

    response = ann.client.post(
        START, headers=ann.tokens.headers | {"Content-Type": content_type}, content=body
    )

    assert response.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="broken"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'"email"', id="string"),
        pytest.param(b"null", id="null"),
        pytest.param(b'\xef\xbb\xbf{"delivery":"email"}', id="byte-order-mark"),
        pytest.param('{"delivery":"email"}'.encode("utf-16"), id="utf-16"),
        pytest.param(b'{"delivery":"\xff"}', id="not-utf-8"),
        pytest.param(b'{"delivery":"email","delivery":"sms"}', id="twice"),
        pytest.param(b'{"delivery":"email","refresh_token":"\\ud800"}', id="lone-surrogate"),
        pytest.param(b'{"delivery":"email","refresh_token":NaN}', id="nan"),
        pytest.param(8000 * b"[" + 8000 * b"]", id="deep"),
    ],
)
def test_body_is_one_json_object(ann: Caller, body: bytes) -> None:
    """Anything else is 422, with nothing of it echoed."""
    headers = ann.tokens.headers | {"Content-Type": "application/json"}

    response = ann.client.post(START, headers=headers, content=body)

    assert code_of(response) == (422, "invalid_body")
    assert "errors" not in response.json()["detail"]


async def post_raw(guard: StepUpGuard, messages: Iterator[dict[str, Any]]) -> list[Any]:
    """Post the body in *messages*, as a server would hand it over, and return what is sent."""
    sent: list[Any] = []
    descope = DescopeEmulator(guard.project_id)
    bearer = f"Bearer {descope.sign_in(ANN).session_token}".encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": START,
        "query_string": b"",
        "headers": [(b"authorization", bearer), (b"content-type", b"application/json")],
    }

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    with descope.attach(guard):
        await app_for(guard)(scope, receive, send)
    return sent


@pytest.mark.anyio
async def test_endless_body_is_refused_at_the_limit(guard: StepUpGuard) -> None:
    """A body longer than a refresh token needs is never read to its end (OT-013)."""
    taken = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"type": "http.request", "body": 1024 * b" ", "more_body": True}

    start, body = await post_raw(guard, endless())

    assert (start["status"], json.loads(body["body"])["detail"]["code"]) == (413, "body_too_large")
    assert taken == MAX_REQUEST_BODY // 1024 + 1


@pytest.mark.anyio
async def test_body_that_breaks_off_is_no_error_of_ours(guard: StepUpGuard) -> None:
    """A client that goes away while it sends leaves no exception behind."""
    broken_off: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"delivery":', "more_body": True},
        {"type": "http.disconnect"},
    ]

    start, _ = await post_raw(guard, iter(broken_off))

    assert start["status"] == 422


def test_refresh_token_may_be_as_long_as_a_token_may_be(ann: Caller) -> None:
    """The limit of the body leaves room for the longest token; one more is refused as such."""
    longest = 16 * 1024 * "x"

    assert code_of(ann.start(refresh_token=longest)) == (401, "invalid_token")
    assert code_of(ann.start(refresh_token=f"{longest}x")) == (422, "invalid_body")
    assert code_of(ann.verify(code=1024 * 1024 * "1")) == (413, "body_too_large")


def test_session_is_asked_before_the_body_is_read(ann: Caller) -> None:
    """Without a session nobody learns what a body should look like (OT-001)."""
    for path in (START, VERIFY):
        response = ann.client.post(path, content=b"x", headers={"Content-Type": "text/plain"})

        assert code_of(response) == (401, "unauthenticated")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [START, VERIFY])
def test_other_methods_are_not_allowed(ann: Caller, method: str, path: str) -> None:
    """The routes take POST only (OT-031)."""
    response = ann.client.request(method, path, headers=ann.tokens.headers)

    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", [f"{START}/", f"{VERIFY}/"])
def test_slash_at_the_end_is_not_redirected(ann: Caller, path: str) -> None:
    """Tokens are never sent on to a URL made from the `Host` field."""
    headers = ann.tokens.headers | {"Host": "evil.example"}

    response = ann.client.post(path, headers=headers, json={}, follow_redirects=False)

    assert response.status_code == 404
    assert ann.client.post(path, json={}, follow_redirects=False).status_code == 401
    assert path not in ann.client.get("/openapi.json").json()["paths"]


# -- cookies and other sites


@pytest.mark.parametrize("path", [START, VERIFY])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="CK-025-no-evidence"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="CK-025-cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="CK-025-same-site"),
        pytest.param({"Origin": "https://evil.example"}, id="CK-025-foreign-origin"),
        pytest.param({"Origin": "null"}, id="CK-025-null-origin"),
        pytest.param({"Origin": "https://testserver.evil.example"}, id="CK-025-suffix"),
        pytest.param({"Origin": "http://testserver"}, id="CK-025-scheme"),
    ],
)
def test_other_sites_cannot_use_the_cookies(
    ann: Caller, path: str, headers: dict[str, str]
) -> None:
    """Nobody steps a user up, or spends their codes, from another site (OT-037)."""
    cookies = {"Cookie": "; ".join(f"{n}={v}" for n, v in ann.tokens.cookies.items())}
    body = {"delivery": "email"} | ({"code": "123456"} if path == VERIFY else {})

    response = ann.client.post(path, headers=cookies | headers, json=body)

    assert code_of(response) == (403, "cross_site_request")
    assert ann.sent_to_descope("/v1") == []


def test_refresh_cookie_alone_is_no_session(ann: Caller) -> None:
    """The refresh token by itself starts nothing."""
    headers = {"Cookie": f"DSR={ann.tokens.refresh_token}", "Sec-Fetch-Site": "same-origin"}

    response = ann.client.post(START, headers=headers, json={"delivery": "email"})

    assert code_of(response) == (401, "unauthenticated")


# -- nothing leaks


def test_no_log_record_holds_a_secret(ann: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """Over both flows, with every logger at DEBUG: no token, code, address or number (OB-001)."""
    caplog.set_level(logging.DEBUG)

    ann.start("sms")
    assert ann.verify("sms").status_code == 200
    ann.start("email")
    ann.verify("email", code="000000")
    body = {"delivery": "email", "code": ann.code}
    verified = ann.client.post(VERIFY, headers=ann.tokens.cookie_headers, json=body)
    assert verified.status_code == 200
    ann.start(refresh_token="eyJhbGciOiJSUzI1NiJ9.e30.x")
    ann.client.post("/checkout", headers={"Authorization": "Bearer eyJhbGciOiJSUzI1NiJ9.e30.x"})

    logged = "\n".join(f"{r.getMessage()} {r.args} {r.exc_text}" for r in caplog.records)
    assert "HTTP Request: POST" in logged
    assert not re.search(r"eyJ[A-Za-z0-9_-]{10,}", logged)
    for secret in (ANN, "ann@", "+1555", *(message.code for message in ann.descope.outbox)):
        assert secret not in logged


def locals_of_ours(frames: TracebackType | None) -> str:
    """Return the `repr` of every local variable in a frame of the package."""
    return "\n".join(
        repr(frame.f_locals)
        for frame, _ in traceback.walk_tb(frames)
        if "/fastapi_stepup/" in frame.f_code.co_filename
    )


def test_no_frame_of_a_refusal_holds_a_secret(ann: Caller) -> None:
    """An error reporter that collects local variables finds nothing in our frames (OT-034)."""
    seen: list[str] = []
    app = app_for(ann.guard)

    @app.exception_handler(StepUpError)
    async def report(_: Request, error: StepUpError) -> PlainTextResponse:
        assert (error.__cause__, error.__context__) == (None, None)
        seen.append(f"{locals_of_ours(error.__traceback__)} {error!r} {error} {error.args}")
        return PlainTextResponse("reported", error.status_code)

    ann.client = TestClient(app, base_url="https://testserver")
    ann.start()
    ann.descope.fail(500, times=2, path="/v1/auth/otp")
    statuses = [ann.start().status_code, ann.verify().status_code]
    ann.descope.tamper(sub="U2somebody")
    statuses += [ann.verify().status_code, ann.verify(code="1").status_code]

    assert statuses == [503, 503, 403, 422]
    assert len(seen) == 4
    for report_of_one in seen:
        for secret in ("eyJ", ann.code, ANN, "+1555"):
            assert secret not in report_of_one


def test_models_show_no_secret(ann: Caller) -> None:
    """Neither `repr` nor `str` of a body or of a reply has a token or a code (OB-005)."""
    body = OTPVerify(delivery="email", code="123456", refresh_token="eyJx")
    reply = SteppedUpSession(
        session_token="eyJx", refresh_token="eyJy", expires_at=1, expires_in=1, subject="U1"
    )

    for shown in (repr(body), str(body), repr(body.model_dump()), repr(reply), str(reply)):
        assert not re.search("123456|eyJ", shown)


def test_management_key_is_never_sent(ann: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment holds for the SDKs is not for these calls (OT-038)."""
    monkeypatch.setenv("DESCOPE_MANAGEMENT_KEY", "K2secret")
    monkeypatch.setenv("DESCOPE_AUTH_MANAGEMENT_KEY", "K2secret")

    ann.start()
    verified = ann.verify()

    assert verified.status_code == 200
    assert "K2secret" not in f"{verified.text} {verified.headers} {ann.guard!r}"
    assert "K2secret" not in "".join(str(r.headers) for r in ann.descope.requests)


def test_debug_mode_echoes_no_secret(ann: Caller) -> None:
    """Nor does an app in debug mode (OB-006)."""
    app = app_for(ann.guard)
    app.debug = True
    ann.client = TestClient(app, base_url="https://testserver", raise_server_exceptions=False)
    ann.start()
    ann.descope.fail(500, path="/v1/auth/otp/verify")

    response = ann.verify()

    assert code_of(response) == (503, "descope_unavailable")
    assert_no_token(response)


# -- the router itself


def test_installed_app_answers_bare_problems(ann: Caller) -> None:
    """After `install` the refusals of the helper routes are problems too, headers included."""
    app = app_for(ann.guard)
    install(app, ann.guard)
    ann.client = TestClient(app, base_url="https://testserver")

    response = ann.start("fax")

    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "invalid_body"
    assert dict(response.headers).items() >= SAFE_HEADERS.items()


def test_openapi_shows_bodies_and_replies(guard: StepUpGuard) -> None:
    """Both operations describe what they take and give, under names that stay the same."""
    app = FastAPI()
    app.include_router(stepup_router(guard), prefix="/v1")
    app.include_router(stepup_router(guard), prefix="/v2")

    paths = app.openapi()["paths"]

    operations = {path: operations["post"] for path, operations in paths.items()}
    named = {path: o["operationId"] for path, o in operations.items()}
    assert paths["/v1/step-up/status"]["get"]["operationId"] == "v1_step_up_status_get"
    assert named.pop("/v1/step-up/status") == "v1_step_up_status_post"
    assert named.pop("/v2/step-up/status") == "v2_step_up_status_post"
    assert named == {
        "/v1/step-up/otp/start": "v1_step_up_otp_start_post",
        "/v1/step-up/otp/verify": "v1_step_up_otp_verify_post",
        "/v2/step-up/otp/start": "v2_step_up_otp_start_post",
        "/v2/step-up/otp/verify": "v2_step_up_otp_verify_post",
    }
    body = operations["/v1/step-up/otp/verify"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["properties"]["code"]["pattern"] == "^[0-9]{6}$"
    assert body["schema"]["additionalProperties"] is False
    assert operations["/v1/step-up/otp/start"]["security"] == [{"DescopeSession": []}]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        pytest.param({"deliveries": ()}, "deliveries is a tuple of: email, sms", id="none"),
        pytest.param({"deliveries": "email"}, "deliveries is a tuple of", id="text"),
        pytest.param({"deliveries": ("fax",)}, "deliveries is a tuple of", id="unknown"),
        pytest.param({"prefix": "step-up"}, "prefix is a plain path", id="no-slash"),
        pytest.param({"prefix": "/step-up/"}, "prefix is a plain path", id="slash-at-the-end"),
        pytest.param({"prefix": "/"}, "prefix is a plain path", id="slash"),
        pytest.param({"prefix": "//evil.example"}, "prefix is a plain path", id="two-slashes"),
        pytest.param({"prefix": "/{a}"}, "prefix is a plain path", id="parameter"),
        pytest.param({"prefix": "/x\n"}, "prefix is a plain path", id="newline"),
        pytest.param({"prefix": "/../x"}, "prefix is a plain path", id="dots"),
        pytest.param({"prefix": None}, "prefix is a plain path", id="no-text"),
        pytest.param({"cookie_domain": "Example.com"}, "lower-case domain", id="upper-case"),
        pytest.param({"cookie_domain": "com"}, "lower-case domain", id="one-label"),
        pytest.param({"cookie_domain": "a.b; Path=/x"}, "lower-case domain", id="injection"),
        pytest.param({"cookie_domain": ""}, "lower-case domain", id="empty"),
    ],
)
def test_bad_option_says_what_to_change(
    guard: StepUpGuard, options: dict[str, Any], hint: str
) -> None:
    """A router that could not work is never made."""
    with pytest.raises(ConfigurationError, match=hint):
        stepup_router(guard, **options)


def test_host_cookies_have_no_domain() -> None:
    """A browser would drop them without a word."""
    guard = StepUpGuard.for_descope("P1", session_cookie=None, refresh_cookie="__Host-DSR")

    with pytest.raises(ConfigurationError, match="leave cookie_domain out"):
        stepup_router(guard, cookie_domain="example.com")


def test_something_else_than_a_guard_is_a_configuration_error() -> None:
    """The message shows how it is written."""
    not_a_guard: Any = "P2abcdefghijklmnopqrstuvwxyz"

    with pytest.raises(ConfigurationError, match=r"stepup_router\(guard\)"):
        stepup_router(not_a_guard)


def test_deliveries_may_come_from_anywhere(ann: Caller) -> None:
    """An iterator is read once, and each delivery is listed once, in the given order."""
    deliveries = iter(["sms", "email", "sms"])
    caller = Caller(ann.guard, ann.descope, ann.tokens, {"deliveries": deliveries})

    refused = caller.client.post("/checkout", headers=ann.tokens.headers)

    assert assert_step_up_challenge(refused)["step_up"]["methods"] == ["sms", "email"]

"""Every way to step up, from the challenge to an open door; dead ends and the status route."""

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import (
    Claims,
    DescopeClient,
    RequireStepUp,
    StepUpGuard,
    StepUpPolicy,
    stepup_router,
)
from fastapi_stepup._http import HTTPClient
from fastapi_stepup.errors import ConfigurationError, InvalidToken
from fastapi_stepup.router.methods.base import masked
from fastapi_stepup.testing import DescopeEmulator, SigningKey, Tokens, assert_step_up_challenge
from tests.support.step_up_methods import (
    ANN,
    BOB,
    BY_NAME,
    METHODS,
    ORIGIN,
    PAGES,
    PHONE,
    SAFE_HEADERS,
    Person,
    Way,
    add_user,
    app_for,
    cookies_of,
    each_method,
    each_way,
    refusal_of,
    shared_guard,
    signed_in,
)

OFFERS = ["email", "sms", "voice", "whatsapp", *METHODS[1:]]
DESCOPE_MODES = [
    pytest.param({}, id="body"),
    pytest.param({"response_mode": "cookies"}, id="refresh-cookie"),
    pytest.param({"response_mode": "cookies", "session_cookie": True}, id="cookies"),
]


@pytest.fixture
def guard() -> StepUpGuard:
    """The guard of the app that most tests share."""
    return shared_guard()


@pytest.fixture
def ann(guard: StepUpGuard) -> Iterator[Person]:
    """Ann, signed in by header."""
    with signed_in(guard) as ann:
        yield ann


# -- the whole way


@pytest.mark.parametrize("mode", DESCOPE_MODES)
@pytest.mark.parametrize("by_cookie", [False, True], ids=["by-header", "by-cookie"])
@each_way
def test_the_whole_way(
    guard: StepUpGuard, way: Way, mode: dict[str, Any], *, by_cookie: bool
) -> None:
    """Challenge, proof, stepped-up session the way the caller came, and the checkout opens."""
    with signed_in(guard, by_cookie=by_cookie, **mode) as ann:
        refused = ann.client.post("/checkout", headers=ann.headers)
        step_up = assert_step_up_challenge(refused, max_age=300)["step_up"]
        assert f"/step-up{way.finish}" in str(step_up)

        before = time.time()
        done = way.walk(ann)

        session = done.json()
        assert done.status_code == 200
        assert dict(done.headers).items() >= SAFE_HEADERS.items()
        tokens = {
            "session_token": session["session_token"],
            "refresh_token": session["refresh_token"],
        }
        assert session == tokens | {
            "token_type": "Bearer",
            "expires_at": session["expires_at"],
            "expires_in": session["expires_in"],
            "stepped_up": True,
            "subject": ann.tokens.user_id,
        }
        assert before + 598 <= session["expires_at"] <= time.time() + 601
        assert 595 <= session["expires_in"] <= 600
        cookies = cookies_of(done)
        if by_cookie:
            # OT-039, CK-021: the old cookies are replaced, out of reach of scripts.
            assert set(tokens.values()) == {None}
            kept = {"path": "/", "secure": "True", "httponly": "True", "samesite": "lax"}
            for cookie in cookies.values():
                assert cookie.items() >= kept.items()
                assert "domain" not in cookie
            assert 595 <= int(cookies["DS"]["max-age"]) <= 600
            tokens = {
                "session_token": cookies["DS"]["value"],
                "refresh_token": cookies["DSR"]["value"],
            }
        else:
            assert cookies == {}
        assert all(token.count(".") == 2 for token in tokens.values())
        ann.tokens = Tokens(**tokens, user_id=ann.tokens.user_id, login_id=ANN)
        opened = ann.client.post("/checkout", headers=ann.headers)
        assert (opened.status_code, opened.json()) == (200, ann.tokens.user_id)


@each_way
def test_session_says_how_it_was_stepped_up(ann: Person, way: Way) -> None:
    """`amr` has the way and the sign-in before it, so that a policy may ask for either."""
    app = FastAPI()

    @app.post("/by-this")
    def by_this(claims: Annotated[Claims, Depends(RequireStepUp(ann.guard, amr=way.amr))]) -> str:
        return " ".join(sorted(set(claims.amr)))

    session = way.walk(ann).json()["session_token"]

    opened = TestClient(app).post("/by-this", headers={"Authorization": f"Bearer {session}"})
    assert opened.json().split() == sorted(
        {"email", way.amr} | ({"mfa"} if way.amr != "email" else set())
    )


@pytest.mark.anyio
@pytest.mark.parametrize("mode", DESCOPE_MODES)
@each_way
async def test_refresh_rotation(guard: StepUpGuard, way: Way, mode: dict[str, Any]) -> None:
    """The refresh token that came back goes on and rotates; one that rotated away is refused."""
    with signed_in(guard, rotate_refresh=True, **mode) as ann:
        client = DescopeClient(guard.project_id, http=HTTPClient(ann.descope.transport))
        old = ann.tokens
        rotated = await client.refresh(old.refresh_token)
        assert rotated.refresh_token is not None
        ann.tokens = Tokens(rotated.session_token, rotated.refresh_token, old.user_id, old.login_id)
        handed_over = way.walk(ann).json()["refresh_token"]

        again = await client.refresh(handed_over)
        with pytest.raises(InvalidToken):
            await client.refresh(handed_over)
        assert again.refresh_token != handed_over
        ann.tokens = Tokens(rotated.session_token, old.refresh_token, old.user_id, old.login_id)
        assert refusal_of(ann.post("/totp/verify", code="123456")) == (401, "invalid_token")


@each_method
def test_step_up_may_be_repeated(ann: Person, way: Way) -> None:
    """A stepped-up session can be stepped up again, in time."""
    session = way.walk(ann).json()
    ann.tokens = Tokens(session["session_token"], session["refresh_token"], ann.tokens.user_id, ANN)

    assert way.walk(ann).status_code == 200


def test_refresh_cookie_is_set_only_for_who_has_one(ann: Person) -> None:
    """A header client that sends no refresh token with its proof gets the new one in the body."""
    proof = BY_NAME["magiclink-email"].proven(ann)
    finished = ann.post("/magiclink/verify", **proof, refresh_token=None)
    assert finished.json()["refresh_token"].startswith("eyJ")
    assert cookies_of(finished) == {}

    proof = BY_NAME["magiclink-email"].proven(ann)
    with_cookie = ann.headers | {"Cookie": f"DSR={ann.tokens.refresh_token}"}
    finished = ann.client.post("/step-up/magiclink/verify", headers=with_cookie, json=proof)
    assert finished.json()["refresh_token"] is None
    assert set(cookies_of(finished)) == {"DSR"}


# -- what the routes tell


def test_start_replies(ann: Person) -> None:
    """What each start answers, exactly; addresses are masked (OT-017)."""
    ann.enrol_passkey()
    email, phone = "a**@example.com", "+1********12"

    told = {
        "otp": ann.post("/otp/start", delivery="voice").json(),
        "magiclink": ann.post("/magiclink/start", delivery="email").json(),
        "enchantedlink": ann.post("/enchantedlink/start").json(),
        "passkey": ann.post("/passkey/start").json(),
        "oauth": ann.post("/oauth/start", provider="google").json(),
        "sso": ann.post("/sso/start", tenant="acme").json(),
        "notp": ann.post("/notp/start").json(),
    }

    assert told["otp"] == {"delivery": "voice", "destination": phone}
    assert told["magiclink"] == {"delivery": "email", "destination": email}
    assert set(told["enchantedlink"]) == {"pending_ref", "link_id", "destination"}
    assert told["enchantedlink"]["destination"] == email
    assert set(told["passkey"]) == {"transaction_id", "options"}
    assert told["passkey"]["options"].keys() >= {"challenge", "rpId", "allowCredentials"}
    assert told["oauth"].keys() == told["sso"].keys() == {"authorization_uri"}
    assert set(told["notp"]) == {"pending_ref", "authorization_uri", "image"}


@pytest.mark.parametrize("name", ["enchantedlink", "notp"])
def test_polling_is_202_until_it_is_done(ann: Person, name: str) -> None:
    """Pending is no error; afterwards the session is handed over, once."""
    way = BY_NAME[name]
    started = way.begin(ann)
    assert started is not None
    pending = started.json()["pending_ref"]

    for _ in range(3):
        waiting = ann.post(way.finish, pending_ref=pending)
        assert (waiting.status_code, waiting.json()) == (202, {"status": "pending"})
        assert dict(waiting.headers).items() >= SAFE_HEADERS.items()
    way.prove(ann, started.json())

    assert ann.post(way.finish, pending_ref=pending).status_code == 200
    assert refusal_of(ann.post(way.finish, pending_ref=pending)) == (400, "link_rejected")


def test_enchanted_link_is_confirmed_without_a_session(ann: Person) -> None:
    """The device that opens the link needs none, and gets no token."""
    ann.post("/enchantedlink/start")
    token = ann.descope.outbox[-1].token

    first = ann.client.post("/step-up/enchantedlink/verify", json={"token": token})
    second = ann.client.post("/step-up/enchantedlink/verify", json={"token": token})

    assert (first.status_code, first.json()) == (200, {"status": "verified"})
    assert dict(first.headers).items() >= SAFE_HEADERS.items()
    assert "set-cookie" not in first.headers
    assert refusal_of(second) == (400, "link_rejected")


@pytest.mark.parametrize("asked", [None, *PAGES])
@pytest.mark.parametrize(
    "name", ["magiclink-email", "magiclink-sms", "enchantedlink", "oauth", "sso"]
)
def test_user_comes_back_to_a_configured_page(ann: Person, name: str, asked: str | None) -> None:
    """The first page is the default; each of them may be asked for."""
    way = BY_NAME[name]
    assert way.start is not None
    members = {**way.members, **({} if asked is None else {"redirect_uri": asked})}

    started = ann.post(way.start, **members)

    if "link" in name:
        link = ann.descope.outbox[-1].link
    else:
        link = ann.descope.social_login(started.json()["authorization_uri"], ANN)
    page = asked or PAGES[0]
    assert link.startswith(f"{page}{'&' if '?' in page else '?'}")


def test_challenge_points_to_every_mounted_method(ann: Person) -> None:
    """The `step_up` member of a 401, exactly."""
    refused = ann.client.post("/checkout", headers=ann.headers)

    both = {"start_uri": "start", "callback_uri": "callback"}
    uris = {
        "totp": {"verify_uri": "verify"},
        "magiclink": {"start_uri": "start", "verify_uri": "verify"},
        "enchantedlink": {"start_uri": "start", "poll_uri": "poll", "verify_uri": "verify"},
        "passkey": {"start_uri": "start", "finish_uri": "finish"},
        "oauth": both,
        "sso": both,
        "notp": {"start_uri": "start", "poll_uri": "poll"},
    }
    assert assert_step_up_challenge(refused)["step_up"] == {
        "start_uri": "/step-up/otp/start",
        "verify_uri": "/step-up/otp/verify",
        "methods": OFFERS,
        "status_uri": "/step-up/status",
        "flow_id": "step-up",
        "uris": {
            method: {uri: f"/step-up/{method}/{step}" for uri, step in steps.items()}
            for method, steps in uris.items()
        },
    }


def test_only_what_is_chosen_is_mounted(guard: StepUpGuard) -> None:
    """Other methods have no routes and are in no challenge; without OTP it has no members."""
    options = {"methods": iter(["totp", "notp", "totp"]), "flow_id": None, "prefix": "/up"}
    with signed_in(guard) as ann:
        person = Person(guard, ann.descope, options=options)
        refused = person.client.post("/checkout", headers=person.headers)

        assert assert_step_up_challenge(refused)["step_up"] == {
            "methods": ["totp", "notp"],
            "status_uri": "/up/status",
            "uris": {
                "totp": {"verify_uri": "/up/totp/verify"},
                "notp": {"start_uri": "/up/notp/start", "poll_uri": "/up/notp/poll"},
            },
        }
        for path in ("/up/otp/start", "/up/passkey/start", "/up/magiclink/verify"):
            assert person.client.post(path, headers=person.headers, json={}).status_code == 404


def test_plain_router_answers_the_members_of_the_contract(ann: Person) -> None:
    """Without `methods` a challenge has what design section 5 shows, and the status route."""
    plain = Person(ann.guard, ann.descope, options={"methods": None, "redirect_uris": ()})

    refused = plain.client.post("/checkout", headers=plain.headers)

    assert set(assert_step_up_challenge(refused)["step_up"]) == {
        "start_uri",
        "verify_uri",
        "methods",
        "status_uri",
    }


# -- dead ends


def strict_app(guard: StepUpGuard, policy: StepUpPolicy) -> TestClient:
    """Return a client of an app with one route, under *policy*, and the helper routes."""
    app = app_for(guard)

    @app.post("/strict")
    def strict(claims: Annotated[Claims, Depends(RequireStepUp(guard, policy=policy))]) -> str:
        return claims.subject

    return TestClient(app, base_url=ORIGIN)


ROUTES_OF_START: list[Any] = [
    pytest.param("/otp/start", {"delivery": "email"}, id="otp"),
    pytest.param("/totp/verify", {"code": "123456"}, id="totp"),
    pytest.param("/magiclink/start", {"delivery": "sms"}, id="magiclink"),
    pytest.param("/enchantedlink/start", {}, id="enchantedlink"),
    pytest.param("/passkey/start", {}, id="passkey"),
    pytest.param("/sso/start", {"tenant": "acme"}, id="sso"),
    pytest.param("/notp/start", {}, id="notp"),
]


@pytest.mark.parametrize(
    ("options", "member"),
    [
        pytest.param({}, {}, id="no-enroll-uri"),
        pytest.param(
            {"enroll_uri": "https://shop.example/me?tab=security"},
            {"enroll_uri": "https://shop.example/me?tab=security"},
            id="enroll-uri",
        ),
    ],
)
@pytest.mark.parametrize(("path", "body"), ROUTES_OF_START)
def test_user_without_any_method_is_told_where_to_enrol(
    ann: Person, path: str, body: dict[str, str], options: dict[str, str], member: dict[str, str]
) -> None:
    """403 `no_step_up_method`: another try would not help, so nothing is sent to anybody."""
    ann.descope.create_user("nobody")
    nobody = Person(ann.guard, ann.descope, "nobody", options=options)

    response = nobody.post(path, **body)

    assert refusal_of(response) == (403, "no_step_up_method")
    problem = response.json()
    assert {k: v for k, v in problem.items() if k == "enroll_uri"} == member
    assert "www-authenticate" not in response.headers
    assert nobody.asked_of_descope() == ["/v1/auth/me"]


@pytest.mark.parametrize(("path", "body"), ROUTES_OF_START)
def test_user_with_another_method_is_told_to_choose(
    ann: Person, path: str, body: dict[str, str]
) -> None:
    """400 `delivery_unavailable`, when this one does not work but another one would."""
    user = ann.descope.create_user("carol")
    user.providers["google"] = True
    carol = Person(ann.guard, ann.descope, "carol")

    assert refusal_of(carol.post(path, **body)) == (400, "delivery_unavailable")
    assert carol.asked_of_descope() == ["/v1/auth/me"]


def test_tenant_must_be_one_of_the_users_own(ann: Person) -> None:
    """Nobody is sent to the identity provider of a stranger."""
    assert refusal_of(ann.post("/sso/start", tenant="other")) == (400, "delivery_unavailable")
    assert ann.asked_of_descope("/v1/auth/sso") == []


@pytest.mark.parametrize(
    ("age", "policy", "loops"),
    [
        pytest.param(0, StepUpPolicy(amr="webauthn"), True, id="wrong-factor"),
        pytest.param(0, StepUpPolicy(acr="phr"), True, id="no-acr"),
        pytest.param(0, StepUpPolicy(), False, id="met"),
        pytest.param(3600, StepUpPolicy(amr="webauthn"), False, id="long-ago"),
        pytest.param(3600, StepUpPolicy(max_age=60), False, id="expired"),
    ],
)
def test_step_up_that_was_not_enough_says_so(
    ann: Person, age: int, policy: StepUpPolicy, *, loops: bool
) -> None:
    """`unmet_after_step_up` tells a client not to start the same step-up again."""
    headers = ann.descope.step_up(ANN, age=age).headers

    problem = strict_app(ann.guard, policy).post("/strict", headers=headers).json()
    asked = problem if isinstance(problem, dict) else {}
    assert asked.get("unmet_after_step_up", False) is loops


def test_the_same_step_up_does_not_loop(ann: Person) -> None:
    """A route that asks for a passkey, stepped up by e-mail: the second refusal is the last."""
    strict = strict_app(ann.guard, StepUpPolicy(amr="webauthn"))

    first = strict.post("/strict", headers=ann.headers).json()
    session = BY_NAME["otp-email"].walk(ann).json()["session_token"]
    second = strict.post("/strict", headers={"Authorization": f"Bearer {session}"}).json()
    session = BY_NAME["passkey"].walk(ann).json()["session_token"]
    third = strict.post("/strict", headers={"Authorization": f"Bearer {session}"})

    assert "unmet_after_step_up" not in first
    assert second["unmet_after_step_up"] is True
    assert second["step_up"]["uris"]["passkey"]["start_uri"] == "/step-up/passkey/start"
    assert third.status_code == 200


# -- the status route


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
    assert set(answer) == {"signed_in", "stepped_up", "expires_at", "methods", "enroll_uri"}
    return answer


@pytest.mark.parametrize("by_cookie", [False, True], ids=["by-header", "by-cookie"])
def test_status_tells_what_this_user_can_use(guard: StepUpGuard, *, by_cookie: bool) -> None:
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


# -- small print


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param(ANN, "a**@example.com", id="e-mail"),
        pytest.param("a@example.com", "**@example.com", id="one-letter"),
        pytest.param("a@b@example.com", "a**@example.com", id="two-signs"),
        pytest.param(PHONE, "+1********12", id="number"),
        pytest.param("+493012", "***", id="short-number"),
        pytest.param(None, None, id="none"),
    ],
)
def test_addresses_are_masked(address: str | None, expected: str | None) -> None:
    """What is left suffices to recognise one's own address, not to learn it."""
    assert masked(address) == expected


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        pytest.param({"methods": ["fax"]}, "methods is a tuple of: otp, totp", id="unknown"),
        pytest.param({"methods": "otp"}, "methods is a tuple of", id="methods-text"),
        pytest.param({"methods": []}, "methods is a tuple of", id="no-methods"),
        pytest.param({"methods": ["sso", "magiclink"]}, "magiclink, sso lead back", id="no-page"),
        pytest.param({"redirect_uris": PAGES[0]}, "redirect_uris is a tuple", id="page-text"),
        pytest.param({"redirect_uris": 7}, "redirect_uris is a tuple", id="page-number"),
        pytest.param({"redirect_uris": ["http://shop.example/"]}, "https", id="page-http"),
        pytest.param({"redirect_uris": ["javascript:alert(1)"]}, "https", id="page-script"),
        pytest.param({"redirect_uris": ["//shop.example"]}, "https", id="page-relative"),
        pytest.param({"redirect_uris": ["https://s.example/#x"]}, "https", id="page-fragment"),
        pytest.param(
            {"redirect_uris": ["https://s.example/?a#x"]}, "fragment", id="query-fragment"
        ),
        pytest.param({"redirect_uris": ["https://s.example/?a b"]}, "encoded", id="query-space"),
        pytest.param({"redirect_uris": ["https://s.example/?ä"]}, "encoded", id="query-umlaut"),
        pytest.param({"redirect_uris": ["https://s.example/?a\n"]}, "encoded", id="query-line"),
        pytest.param({"redirect_uris": [None]}, "https", id="page-none"),
        pytest.param({"enroll_uri": "http://shop.example"}, "enroll_uri must be", id="enroll-http"),
        pytest.param({"enroll_uri": 7}, "enroll_uri must be", id="enroll-number"),
        pytest.param({"flow_id": "a b"}, "flow_id is the id", id="flow-space"),
        pytest.param({"flow_id": 7}, "flow_id is the id", id="flow-number"),
        pytest.param({"limits": None, "redis_url": "redis://x"}, "redis_url is where", id="redis"),
    ],
)
def test_bad_option_says_what_to_change(
    guard: StepUpGuard, options: dict[str, Any], hint: str
) -> None:
    """A router that could not work is never made."""
    with pytest.raises(ConfigurationError, match=hint):
        stepup_router(guard, **options)


def test_pages_may_be_on_this_machine(guard: StepUpGuard) -> None:
    """Plain http is for a loopback host, in development."""
    app_for(guard, redirect_uris=("http://localhost:3000/verify", "http://127.0.0.1:8000/"))


def test_openapi_describes_every_route(guard: StepUpGuard) -> None:
    """Each route shows what it takes, what it gives and each refusal, with the headers it has."""
    schema = app_for(guard).openapi()

    paths = {p: o for p, o in schema["paths"].items() if p.startswith("/step-up/")}
    assert len(paths) == 17
    for path, operations in paths.items():
        if path.endswith("/status"):
            continue
        responses = operations["post"]["responses"]
        public = path.endswith("enchantedlink/verify")
        expected = {"200", "400", "403", "413", "415", "422", "429", "502", "503"}
        expected |= set() if public else {"401"}
        expected |= {"202"} if path.endswith("/poll") else set()
        assert set(responses) == expected, path
        for status in expected - {"200", "202"}:
            assert set(responses[status]["content"]) == {"application/problem+json"}
        assert "Retry-After" in responses["429"]["headers"]
        assert public or "WWW-Authenticate" in responses["401"]["headers"]
        assert operations["post"]["requestBody"]["required"] is True
    assert set(paths["/step-up/status"]) == {"get", "post"}
    assert "StepUpRefusal" not in schema["components"]["schemas"]
    assert ORIGIN not in str(schema)


def test_openapi_is_true_without_install_too(guard: StepUpGuard) -> None:
    """There a refusal is JSON with a `detail`, as it is answered."""
    app = FastAPI()
    app.include_router(stepup_router(guard))

    schema = app.openapi()

    refused = schema["paths"]["/step-up/otp/start"]["post"]["responses"]["401"]["content"]
    reference = "#/components/schemas/StepUpRefusal"
    assert refused == {"application/json": {"schema": {"$ref": reference}}}
    assert set(schema["components"]["schemas"]["StepUpRefusal"]["properties"]) == {"detail"}
    answer = TestClient(app).post("/step-up/otp/start")
    required = schema["components"]["schemas"]["StepUpProblem"]["required"]
    assert answer.json()["detail"].keys() >= set(required)

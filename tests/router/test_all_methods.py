"""What holds for every step-up method: one table of cases, walked from challenge to session."""

import time
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import Claims, DescopeClient, RequireStepUp, StepUpGuard, install, stepup_router
from fastapi_stepup._http import HTTPClient
from fastapi_stepup.errors import InvalidToken
from fastapi_stepup.router.rate_limits import StepUpLimits
from fastapi_stepup.testing import Tokens, assert_step_up_challenge
from tests.support.step_up_methods import (
    ANN,
    BODIES,
    BY_NAME,
    METHOD_CASES,
    METHODS,
    PAGES,
    PUBLIC,
    SAFE_HEADERS,
    WITH_SESSION,
    MethodCase,
    Person,
    Rewriting,
    cookies_of,
    each_case,
    each_method,
    each_route,
    refusal_of,
    signed_in,
)

EVIL = "evil.example"


def whole_cases() -> list[Any]:
    """Return every case with tokens in bodies, and one with each of Descope's cookie modes."""
    otp = BY_NAME["otp-email"]
    return [
        *(pytest.param(case, {}, id=case.name) for case in METHOD_CASES),
        pytest.param(otp, {"response_mode": "cookies"}, id="refresh-cookie"),
        pytest.param(otp, {"response_mode": "cookies", "session_cookie": True}, id="cookies"),
    ]


@pytest.mark.parametrize(("case", "mode"), whole_cases())
@pytest.mark.parametrize("by_cookie", [False, True], ids=["by-header", "by-cookie"])
def test_step_up_leads_from_the_challenge_to_the_open_route(
    guard: StepUpGuard, case: MethodCase, mode: dict[str, Any], *, by_cookie: bool
) -> None:
    """Challenge, proof, stepped-up session the way the caller came, and the checkout opens."""
    with signed_in(guard, by_cookie=by_cookie, **mode) as ann:
        refused = ann.client.post("/checkout", headers=ann.headers)
        step_up = assert_step_up_challenge(refused, max_age=300)["step_up"]
        assert f"/step-up{case.finish}" in str(step_up)

        before = time.time()
        done = case.complete(ann)

        session = done.json()
        assert done.status_code == 200
        assert dict(done.headers).items() >= SAFE_HEADERS.items()
        tokens = {name: session[name] for name in ("session_token", "refresh_token")}
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
            assert set(tokens.values()) == {None}
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


@each_case
def test_session_says_how_it_was_stepped_up(ann: Person, case: MethodCase) -> None:
    """`amr` has the method and the sign-in before it, so that a policy may ask for either."""
    app = FastAPI()

    @app.post("/by-this")
    def by_this(claims: Annotated[Claims, Depends(RequireStepUp(ann.guard, amr=case.amr))]) -> str:
        return " ".join(sorted(set(claims.amr)))

    session = case.complete(ann).json()["session_token"]

    opened = TestClient(app).post("/by-this", headers={"Authorization": f"Bearer {session}"})
    expected = {"email", case.amr} | ({"mfa"} if case.amr != "email" else set())
    assert set(opened.json().split()) == expected


@each_method
def test_step_up_may_be_repeated(ann: Person, case: MethodCase) -> None:
    """A stepped-up session can be stepped up again, in time."""
    session = case.complete(ann).json()
    ann.tokens = Tokens(session["session_token"], session["refresh_token"], ann.tokens.user_id, ANN)

    assert case.complete(ann).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@each_method
async def test_refresh_token_of_the_answer_goes_on(guard: StepUpGuard, case: MethodCase) -> None:
    """With rotation it replaces the old one, which is rejected from then on."""
    with signed_in(guard, rotate_refresh=True) as ann:
        client = DescopeClient(guard.project_id, http=HTTPClient(ann.descope.transport))
        old = ann.tokens
        rotated = await client.refresh(old.refresh_token)
        assert rotated.refresh_token is not None
        ann.tokens = Tokens(rotated.session_token, rotated.refresh_token, old.user_id, old.login_id)
        answered = case.complete(ann).json()["refresh_token"]

        again = await client.refresh(answered)
        with pytest.raises(InvalidToken):
            await client.refresh(answered)
        assert again.refresh_token != answered
        ann.tokens = Tokens(rotated.session_token, old.refresh_token, old.user_id, old.login_id)
        assert refusal_of(ann.post("/totp/verify", code="123456")) == (401, "invalid_token")


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=f"OT-014-{c.name}") for c in METHOD_CASES if c.name != "otp-voice"]
)
def test_proof_works_once(ann: Person, case: MethodCase) -> None:
    """A second use is refused and gives no second session."""
    proof = case.proof(ann)
    assert ann.post(case.finish, **proof).status_code == 200

    assert refusal_of(ann.post(case.finish, **proof)) == (400, case.replay)


@each_method
def test_proof_of_another_user_steps_nobody_up(ann: Person, bob: Person, case: MethodCase) -> None:
    """Bob's code, link, pending reference or provider's code gives Ann nothing."""
    proof = case.proof(bob)
    ann.post("/otp/start", delivery="email")

    status, code = refusal_of(ann.post(case.finish, **proof))

    # A code is tried against Ann's own account; everything else names Bob.
    expected = (400, "otp_rejected") if case.name in {"otp-email", "totp"} else None
    assert (status, code) == (expected or (403, "subject_mismatch"))


@pytest.mark.parametrize(
    "case",
    [pytest.param(BY_NAME[n], id=f"OT-041-{n}") for n in ("otp-email", "totp", "notp", "passkey")],
)
def test_logout_on_the_way_fails_closed(ann: Person, case: MethodCase) -> None:
    """After a logout at Descope no session comes back, whatever was proven already."""
    proof = case.proof(ann)
    bearer = {"Authorization": f"Bearer {ann.guard.project_id}:{ann.tokens.refresh_token}"}
    TestClient(ann.descope).post("/v1/auth/logout", headers=bearer).raise_for_status()

    status, code = refusal_of(ann.post(case.finish, **proof))

    assert (status, code) in {(401, "invalid_token"), (400, case.replay)}


@pytest.mark.parametrize("name", ["otp-email", "magiclink-email", "oauth", "sso"])
def test_query_and_headers_change_nothing(ann: Person, name: str) -> None:
    """The host that is asked, and for which project, is configuration."""
    case = BY_NAME[name]
    seen = Rewriting(ann.descope.transport, "/never", dict)
    hostile = {
        "X-Descope-Base-Url": f"https://{EVIL}",
        "X-Descope-Project-Id": "P2evil",
        "X-Forwarded-Host": EVIL,
        "X-Forwarded-For": "6.6.6.6",
        "Forwarded": f"host={EVIL}",
    }
    proof = case.proof(ann)
    query = f"?baseUrl=https://{EVIL}&projectId=P2evil&host={EVIL}&next=//{EVIL}"
    with ann.guard.on_transport(seen):
        response = ann.client.post(
            f"/step-up{case.finish}{query}",
            headers=ann.headers | hostile,
            json=proof | {"refresh_token": ann.tokens.refresh_token},
        )

    assert response.status_code == 200
    assert {request.url.host for request in seen.requests} == {"api.descope.com"}
    projects = {r.headers["x-descope-project-id"] for r in seen.requests if "v1" in r.url.path}
    assert projects == {ann.guard.project_id}
    assert EVIL not in f"{response.text} {response.headers}"


@pytest.mark.parametrize(
    "login_id",
    [
        pytest.param("a/../../mgmt", id="OT-026-path"),
        pytest.param("a?b=c", id="OT-026-query"),
        pytest.param("a\r\nX: y", id="OT-026-line-break"),
        pytest.param(2000 * "é", id="OT-026-long"),
        pytest.param("A@EXAMPLE.com", id="OT-026-case"),
        pytest.param("\u0430nn@x.com", id="OT-026-confusable"),
    ],
)
@pytest.mark.parametrize("name", ["otp-email", "passkey"])
def test_login_ids_travel_as_json_only(ann: Person, name: str, login_id: str) -> None:
    """A login id is sent as it is and never changes a path."""
    case = BY_NAME[name]
    add = ann.descope.create_user(login_id, email=f"at-{login_id}"[-60:], phone="+15550100777")
    caller = Person(ann.guard, ann.descope, login_id)
    proof = case.proof(caller)
    caller.descope.requests.clear()

    assert caller.post(case.finish, **proof).status_code == 200

    sent = {r.path for r in caller.descope.requests if r.path.startswith("/v1")} - {"/v1/auth/me"}
    assert len(sent) == 1
    assert sent.pop().startswith(case.asks)
    assert login_id in add.login_ids


@each_route
def test_limit_is_reached_before_descope_is_asked(guard: StepUpGuard, path: str) -> None:
    """Over a limit a request costs nothing but the count, on every route."""
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


def test_every_method_has_its_cases_and_routes_here() -> None:
    """A method that is added needs a case; a case needs its routes in the tables."""
    assert {case.name.partition("-")[0] for case in METHOD_CASES} == set(METHODS)
    guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")
    app = FastAPI()
    install(app, guard)
    app.include_router(stepup_router(guard, methods=METHODS, redirect_uris=PAGES))
    mounted = {path.removeprefix("/step-up") for path in app.openapi()["paths"]}
    assert mounted == {*BODIES, "/status"}
    assert set(WITH_SESSION) == set(BODIES) - {PUBLIC}

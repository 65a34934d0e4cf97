"""Who the caller is: the refresh token must be a good one of the session's own user."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_stepup import StepUpGuard
from fastapi_stepup.router.rate_limits import StepUpLimits
from fastapi_stepup.testing import DescopeEmulator, SigningKey, Tokens
from tests.support.step_up_methods import (
    ANN,
    BOB,
    BODIES,
    BY_NAME,
    FINISHING,
    ONE_CASE_EACH,
    ORIGIN,
    WITH_REFRESH_TOKEN,
    MethodCase,
    Person,
    Rewriting,
    cookies_of,
    refusal_of,
    signed_in,
)

by_either = pytest.mark.parametrize("by_cookie", [False, True], ids=["by-header", "by-cookie"])

REFRESH_TOKENS = [
    pytest.param(
        lambda d: d.sign_in(BOB).refresh_token, (403, "subject_mismatch"), id="another-users"
    ),
    pytest.param(lambda d: d.sign_in(ANN).session_token, (401, "invalid_token"), id="session"),
    pytest.param(
        lambda d: d.token(drn="DSR", key=SigningKey()), (401, "invalid_token"), id="forged"
    ),
    pytest.param(
        lambda d: d.token(drn="DSR", sub=d.user(ANN).user_id, exp=1),
        (401, "invalid_token"),
        id="expired",
    ),
    pytest.param(
        lambda d: d.token(drn="DSR", sub=d.user(ANN).user_id, iss="P2another"),
        (401, "invalid_token"),
        id="foreign",
    ),
    pytest.param(
        lambda d: d.token(drn="DSR", sub=d.user(ANN).user_id, act={"sub": "K2support"}),
        (403, "impersonation_refused"),
        id="impersonated",
    ),
    pytest.param(
        lambda d: d.token(drn="DSR", sub=d.user(ANN).user_id),
        (401, "invalid_token"),
        id="unknown-to-descope",
    ),
    pytest.param(lambda _: "nonsense", (401, "invalid_token"), id="nonsense"),
]


def with_refresh_token(person: Person, token: str) -> None:
    """Give the person this refresh token beside their session."""
    kept = person.tokens
    person.tokens = Tokens(kept.session_token, token, kept.user_id, kept.login_id)


@by_either
@pytest.mark.parametrize(("token", "expected"), REFRESH_TOKENS)
def test_refresh_token_must_be_the_sessions_own(
    ann: Person,
    token: Callable[[DescopeEmulator], str],
    expected: tuple[int, str],
    *,
    by_cookie: bool,
) -> None:
    """Nothing is sent, and nothing tried, for a session and a token that do not fit."""
    ann.by_cookie = by_cookie
    with_refresh_token(ann, token(ann.descope))

    for path in ("/otp/start", "/otp/verify"):
        response = ann.post(path, **BODIES[path])

        assert refusal_of(response) == expected
        if expected[0] == 401:
            challenge = response.headers["www-authenticate"]
            assert challenge.startswith(f'Bearer realm="{ann.guard.realm}", ')
    assert set(ann.asked_of_descope()) <= {"/v1/auth/me"}
    assert ann.descope.outbox == []


@pytest.mark.parametrize("path", WITH_REFRESH_TOKEN)
def test_refresh_token_of_another_user_is_refused_everywhere(ann: Person, path: str) -> None:
    """On each route that works with one."""
    with_refresh_token(ann, ann.descope.sign_in(BOB).refresh_token)

    assert refusal_of(ann.post(path, **BODIES[path])) == (403, "subject_mismatch")
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize("path", WITH_REFRESH_TOKEN)
def test_refresh_token_is_asked_for(ann: Person, path: str) -> None:
    """Descope steps no session up without it; empty is as good as none."""
    for missing in ("", None):
        response = ann.post(path, **BODIES[path], refresh_token=missing)

        assert refusal_of(response) == (400, "refresh_token_required")
    assert ann.asked_of_descope() == []


def test_two_refresh_cookies_are_ambiguous(ann: Person) -> None:
    """One of two values may have been planted by a sister site, whatever the route."""
    proof = BY_NAME["magiclink-email"].proof(ann)
    cookies = f"DSR={ann.tokens.refresh_token}; DSR={ann.tokens.refresh_token}x"
    headers = ann.headers | {"Cookie": cookies}

    for path, body in (("/otp/start", BODIES["/otp/start"]), ("/magiclink/verify", proof)):
        response = ann.client.post(f"/step-up{path}", headers=headers, json=body)

        assert refusal_of(response) == (400, "invalid_request")
    # The link is still good: it was not spent on a request that could not be answered.
    assert ann.post("/magiclink/verify", **proof).status_code == 200


def test_refresh_token_in_the_body_wins_over_the_cookie(ann: Person) -> None:
    """It comes back in the body too, whatever cookies the browser adds."""
    bob = ann.descope.sign_in(BOB)
    headers = ann.headers | {"Cookie": f"DSR={bob.refresh_token}"}
    members = {"delivery": "email", "refresh_token": ann.tokens.refresh_token}
    assert ann.client.post("/step-up/otp/start", headers=headers, json=members).status_code == 200

    code = {"code": ann.descope.outbox[-1].code}
    verified = ann.client.post("/step-up/otp/verify", headers=headers, json=members | code)

    assert verified.json()["refresh_token"].startswith("eyJ")
    assert "set-cookie" not in verified.headers


def test_another_user_at_descope_is_a_mismatch(ann: Person) -> None:
    """When Descope says that the refresh token is another user's, no code is sent."""
    rewriting = Rewriting(
        ann.descope.transport, "/v1/auth/me", lambda body: body | {"userId": "U2somebody"}
    )

    with ann.guard.on_transport(rewriting):
        assert refusal_of(ann.post("/otp/start", delivery="email")) == (403, "subject_mismatch")
    assert ann.descope.outbox == []


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"sub": "customer-7"}, id="another-subject"),
        pytest.param({"dsub": "U2somebody"}, id="another-dsub"),
    ],
)
def test_overridden_subject_must_be_of_the_same_user(ann: Person, claims: dict[str, Any]) -> None:
    """`dsub` counts where it is, else `sub`."""
    session = ann.descope.token(**{"sub": ann.tokens.user_id, **claims})
    ann.tokens = Tokens(session, ann.tokens.refresh_token, ann.tokens.user_id, ANN)

    assert refusal_of(ann.post("/otp/start", delivery="email")) == (403, "subject_mismatch")


@pytest.mark.parametrize("name", ["otp-email", "oauth"])
def test_session_whose_template_overrides_the_subject_can_step_up(ann: Person, name: str) -> None:
    """With `sub` overridden by a JWT template, `dsub` says whose it is."""
    case = BY_NAME[name]
    template: dict[str, Any] = {"sub": "customer-7", "dsub": ann.tokens.user_id}
    session = ann.descope.token(**template)
    ann.tokens = Tokens(session, ann.tokens.refresh_token, ann.tokens.user_id, ANN)
    proof = case.proof(ann)
    ann.descope.tamper(**template)

    done = ann.post(case.finish, **proof)

    assert (done.status_code, done.json()["subject"]) == (200, "customer-7")


def test_session_that_ran_out_may_have_had_another_subject(ann: Person) -> None:
    """A JWT template changes the session alone: the refresh token has Descope's own id."""
    case = BY_NAME["otp-email"]
    proof = case.proof(ann) | {"refresh_token": ann.tokens.refresh_token}
    ann.descope.tamper(sub="customer-7", dsub=ann.tokens.user_id)
    headers = run_out(ann, by_cookie=False, is_gone=False)

    done = ann.client.post(f"/step-up{case.finish}", headers=headers, json=proof)

    assert (done.status_code, done.json()["subject"]) == (200, "customer-7")


def test_another_session_of_the_same_user_may_finish(ann: Person) -> None:
    """A code is the user's: asked for on one device, it may be used on another."""
    case = BY_NAME["otp-email"]
    proof = case.proof(ann)
    ann.tokens = ann.descope.sign_in(ANN)

    assert ann.post(case.finish, **proof).status_code == 200


def run_out(person: Person, *, by_cookie: bool, is_gone: bool) -> dict[str, str]:
    """Return the headers of a request whose session ran out, and whose cookie may be gone."""
    expired = person.descope.token(sub=person.tokens.user_id, iat=1, exp=int(time.time()) - 60)
    cookie = f"DSR={person.tokens.refresh_token}"
    if not by_cookie:
        return {"Origin": ORIGIN} if is_gone else {"Authorization": f"Bearer {expired}"}
    session = "" if is_gone else f"; DS={expired}"
    return {"Cookie": cookie + session, "Origin": ORIGIN}


@pytest.mark.parametrize(
    ("case", "by_cookie", "is_gone"),
    [
        pytest.param(BY_NAME["otp-email"], False, False, id="expired"),
        pytest.param(BY_NAME["otp-email"], False, True, id="gone"),
        pytest.param(BY_NAME["otp-email"], True, False, id="expired-by-cookie"),
        *(
            pytest.param(case, True, True, id=case.name)
            for case in ONE_CASE_EACH
            if case.name != "totp"
        ),
    ],
)
def test_session_may_run_out_while_a_step_up_is_on_its_way(
    ann: Person, case: MethodCase, *, by_cookie: bool, is_gone: bool
) -> None:
    """The refresh token says who it is, and the tokens go back as that one came."""
    proof = case.proof(ann)
    if not by_cookie:
        proof |= {"refresh_token": ann.tokens.refresh_token}
    headers = run_out(ann, by_cookie=by_cookie, is_gone=is_gone)

    done = ann.client.post(f"/step-up{case.finish}", headers=headers, json=proof)

    assert (done.status_code, done.json()["subject"]) == (200, ann.tokens.user_id)
    assert set(cookies_of(done)) == ({"DS", "DSR"} if by_cookie else set())
    assert (done.json()["session_token"] is None) is by_cookie


@pytest.mark.parametrize(("token", "expected"), REFRESH_TOKENS)
@pytest.mark.parametrize("path", ["/otp/verify", "/magiclink/verify"])
def test_only_a_good_refresh_token_stands_for_a_session(
    ann: Person, path: str, token: Callable[[DescopeEmulator], str], expected: tuple[int, str]
) -> None:
    """Any other leaves the request without a session, or steps another user up, not Ann."""
    case = BY_NAME["otp-email" if path == "/otp/verify" else "magiclink-email"]
    proof = case.proof(ann) | {"refresh_token": token(ann.descope)}
    headers = run_out(ann, by_cookie=False, is_gone=False)

    response = ann.client.post(f"/step-up{path}", headers=headers, json=proof)

    status, code = refusal_of(response)
    if expected == (403, "subject_mismatch"):
        assert code in {"otp_rejected", "subject_mismatch"}
    else:
        assert (status, code) == (401, "invalid_token")


@pytest.mark.parametrize("path", FINISHING)
def test_body_is_a_secret_to_callers_without_any_session(ann: Person, path: str) -> None:
    """Without a good refresh token each refusal is the one about the session."""
    headers = {"Authorization": f"Bearer {ann.descope.token(exp=1, iat=1)}"}
    for body in ({}, {"x": 1}, BODIES[path], BODIES[path] | {"refresh_token": "x"}):
        response = ann.client.post(f"/step-up{path}", headers=headers, json=body)

        assert refusal_of(response) == (401, "invalid_token")
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize(
    "evidence",
    [
        pytest.param({}, id="none"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
        pytest.param({"Origin": "https://evil.example"}, id="foreign-origin"),
    ],
)
@pytest.mark.parametrize("is_gone", [False, True], ids=["expired", "gone"])
def test_refresh_cookie_needs_same_origin_evidence(
    ann: Person, evidence: dict[str, str], *, is_gone: bool
) -> None:
    """A made-up session in the header does not make another site's request one of ours."""
    proof = BY_NAME["otp-email"].proof(ann)
    headers = {"Cookie": f"DSR={ann.tokens.refresh_token}"} | evidence
    if not is_gone:
        headers["Authorization"] = f"Bearer {ann.descope.token(exp=1, iat=1)}"

    response = ann.client.post("/step-up/otp/verify", headers=headers, json=proof)

    assert response.status_code == 401
    twin = headers | {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
    assert ann.client.post("/step-up/otp/verify", headers=twin, json=proof).status_code == 200


def test_outage_of_the_keys_is_no_missing_session(ann: Person) -> None:
    """A refresh token that cannot be verified at the moment is 503, not 401."""
    guard = StepUpGuard.for_descope(ann.guard.project_id, transport=ann.descope.transport)
    ann.descope.fail(503, times=9, path="/v2/keys")
    cold = Person(guard, ann.descope)
    body = BODIES["/otp/verify"] | {"refresh_token": cold.tokens.refresh_token}
    headers = run_out(ann, by_cookie=False, is_gone=False)

    response = cold.client.post("/step-up/otp/verify", headers=headers, json=body)

    assert refusal_of(response) == (503, "keys_unavailable")


def test_logged_out_refresh_token_stands_for_no_session(ann: Person) -> None:
    """Descope is asked before a proof is tried that names its user itself."""
    proof = BY_NAME["magiclink-email"].proof(ann)
    ann.descope.fail(401, path="/v1/auth/me", code="E064001")

    response = ann.client.post(
        "/step-up/magiclink/verify",
        headers=run_out(ann, by_cookie=False, is_gone=False),
        json=proof | {"refresh_token": ann.tokens.refresh_token},
    )

    assert refusal_of(response) == (401, "invalid_token")
    assert "/v1/auth/magiclink/verify" not in ann.asked_of_descope()


@pytest.mark.parametrize("path", WITH_REFRESH_TOKEN)
def test_requests_that_cannot_be_a_step_up_count_for_nothing(guard: StepUpGuard, path: str) -> None:
    """A user's tries are spent with that user's session and refresh token only."""
    limits = StepUpLimits(starts_per_subject="1/hour", tries_per_subject="1/hour")
    with signed_in(guard) as ann:
        BY_NAME["totp"].prepare(ann)
        BY_NAME["passkey"].prepare(ann)
        person = Person(guard, ann.descope, options={"limits": limits})
        ann.client = person.client
        with_refresh_token(ann, person.descope.sign_in(BOB).refresh_token)
        for _ in range(3):
            assert refusal_of(ann.post(path, **BODIES[path])) == (403, "subject_mismatch")
            assert ann.post(path, nonsense=1).status_code == 422

        response = person.post(path, **BODIES[path])

        assert response.status_code == 200 or refusal_of(response) == (400, "otp_rejected")

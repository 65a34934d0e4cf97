"""Rules of every helper route: who may call it, with which request, and the headers it answers."""

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard, install, stepup_router
from fastapi_stepup.errors import StepUpError
from fastapi_stepup.testing import DescopeEmulator, SigningKey, Tokens
from tests.support.step_up_methods import (
    ANN,
    BODIES,
    METHODS,
    ORIGIN,
    PAGES,
    SAFE_HEADERS,
    WITH_SESSION,
    Person,
    refusal_of,
)

EVIL = "evil.example"


def on_one_and_once_elsewhere(rows: dict[str, Any], paths: list[str]) -> dict[str, tuple[str, Any]]:
    """Return every row with the first path, and the first row with each other path."""
    first, *others = paths
    name, row = next(iter(rows.items()))
    return {key: (first, value) for key, value in rows.items()} | {
        f"{name}{path}": (path, row) for path in others
    }


def test_session_is_asked_for_before_anything_else(ann: Person, subtests: pytest.Subtests) -> None:
    """OT-001: without one a caller does not learn the form of a body, and Descope hears nothing."""
    for path in WITH_SESSION:
        with subtests.test(path=path):
            ann.descope.requests.clear()
            for send in (
                {"json": BODIES[path]},
                {"content": b"x"},
                {"json": {"refresh_token": "x"}},
            ):
                response = ann.client.post(f"/step-up{path}", **cast("Any", send))

                assert refusal_of(response) == (401, "unauthenticated")
                assert response.headers["www-authenticate"] == f'Bearer realm="{ann.guard.realm}"'
            assert ann.asked_of_descope() == []


SESSIONS = {
    "forged": lambda d: d.token(key=SigningKey()),
    "refresh-token": lambda d: d.sign_in(ANN).refresh_token,
    "foreign-issuer": lambda d: d.token(iss="P2another"),
    "unsigned": lambda d: d.token(header={"alg": "none"}),
    "nonsense": lambda _: "nonsense",
    "expired": lambda d: d.token(exp=1, iat=1),
}


def test_session_must_be_a_good_one(ann: Person, subtests: pytest.Subtests) -> None:
    """No step-up begins or ends on a session that opens nothing else."""
    for name, (path, row) in on_one_and_once_elsewhere(
        SESSIONS, ["/otp/start", *(p for p in WITH_SESSION if p != "/otp/start")]
    ).items():
        with subtests.test(name):
            ann.descope.requests.clear()
            ann.tokens = Tokens(row(ann.descope), ann.tokens.refresh_token, ann.tokens.user_id, ANN)

            assert refusal_of(ann.post(path, **BODIES[path])) == (401, "invalid_token")
            assert ann.asked_of_descope() == []


def test_impersonator_cannot_step_up(ann: Person, subtests: pytest.Subtests) -> None:
    """An impersonated session is refused on every route, before its body is read."""
    for path in WITH_SESSION:
        with subtests.test(path=path):
            ann.descope.requests.clear()
            session = ann.descope.token(sub=ann.tokens.user_id, act={"sub": "K2support"}, su=True)
            ann.tokens = Tokens(session, ann.tokens.refresh_token, ann.tokens.user_id, ANN)

            assert refusal_of(ann.post(path, **BODIES[path])) == (403, "impersonation_refused")
            assert refusal_of(ann.post(path, nonsense=1)) == (403, "impersonation_refused")
            assert ann.asked_of_descope() == []


SITES = {
    "CK-025-no-evidence": {},
    "OT-037-cross-site": {"Sec-Fetch-Site": "cross-site"},
    "CK-025-same-site": {"Sec-Fetch-Site": "same-site"},
    "CK-025-foreign-origin": {"Origin": f"https://{EVIL}"},
    "CK-025-null-origin": {"Origin": "null"},
    "CK-025-suffix": {"Origin": f"{ORIGIN}.{EVIL}"},
    "CK-025-scheme": {"Origin": "http://testserver"},
}


def test_other_sites_cannot_use_the_cookies(ann: Person, subtests: pytest.Subtests) -> None:
    """No other site steps a user up, or spends their tries."""
    for name, (path, row) in on_one_and_once_elsewhere(SITES, WITH_SESSION).items():
        with subtests.test(name):
            ann.descope.requests.clear()
            cookies = {"Cookie": "; ".join(f"{n}={v}" for n, v in ann.tokens.cookies.items())}

            response = ann.client.post(f"/step-up{path}", headers=cookies | row, json=BODIES[path])

            assert refusal_of(response) == (403, "cross_site_request")
            assert ann.asked_of_descope() == []


def test_refresh_cookie_alone_starts_nothing(ann: Person, subtests: pytest.Subtests) -> None:
    """A start asks for a session."""
    for path in [p for p in WITH_SESSION if p.endswith("start")]:
        with subtests.test(path=path):
            headers = {"Cookie": f"DSR={ann.tokens.refresh_token}", "Origin": ORIGIN}

            response = ann.client.post(f"/step-up{path}", headers=headers, json=BODIES[path])

            assert refusal_of(response) == (401, "unauthenticated")


MEMBERS = {
    "OT-002-login-id": {"login_id": "bob@example.com"},
    "OT-002-descopes-login-id": {"loginId": "bob@example.com"},
    "OT-003-email": {"email": "bob@example.com"},
    "OT-003-phone": {"phone": "+15550100666"},
    "OT-023-base-url": {"baseUrl": "https://evil.example"},
    "OT-023-project-id": {"projectId": "P2evil"},
    "OT-023-host": {"host": EVIL},
    "OT-027-custom-claims": {"customClaims": {"su": True}},
    "OT-027-login-options": {"loginOptions": {"stepup": False}},
    "OT-027-flags": {"stepup": False, "mfa": True},
    "OT-029-uri": {"URI": "https://evil.example"},
    "OT-029-redirect": {"redirect": "//evil.example"},
    "OT-029-next": {"next": "https:evil.example"},
    "OT-029-return-url": {"returnUrl": "javascript:alert(1)"},
    "OT-023-origin": {"origin": "https://evil.example"},
    "OT-027-names-are-not-reflected": {"<script>": 1, "eyJx": 2},
    "OT-027-many": {f"x{n}": n for n in range(1000)},
}


def test_unknown_members_are_refused(ann: Person, subtests: pytest.Subtests) -> None:
    """The body does not say who steps up, where a code goes or what it is for."""
    for name, (path, row) in on_one_and_once_elsewhere(MEMBERS, list(BODIES)).items():
        with subtests.test(name):
            ann.descope.requests.clear()
            response = ann.post(path, **BODIES[path], **row)

            assert refusal_of(response) == (422, "invalid_body")
            assert response.json()["errors"] == [
                {"field": "(unknown)", "problem": "extra_forbidden"}
            ]
            assert len(response.content) < 500
            assert ann.asked_of_descope() == []


TYPES = {
    "CK-026-text": "text/plain",
    "CK-026-parameter": "text/plain;application/json",
    "CK-026-form": "application/x-www-form-urlencoded",
    "CK-026-multipart": "multipart/form-data; boundary=x",
    "CK-026-two": "application/json, text/plain",
    "CK-026-suffix": "application/json+x",
    "CK-026-longer": "application/jsonx",
    "CK-026-empty": "",
}


def test_only_json_is_taken(ann: Person, subtests: pytest.Subtests) -> None:
    """A cross-site form could send any other type."""
    for name, (path, row) in on_one_and_once_elsewhere(TYPES, list(BODIES)).items():
        with subtests.test(name):
            ann.descope.requests.clear()
            response = ann.client.post(
                f"/step-up{path}",
                headers=ann.headers | {"Content-Type": row},
                content=json.dumps(BODIES[path]).encode(),
            )

            assert refusal_of(response) == (415, "unsupported_media_type")
            assert ann.asked_of_descope() == []


def test_only_post_is_allowed(ann: Person, subtests: pytest.Subtests) -> None:
    """Nothing begins or ends by a link or an image."""
    for name, (path, row) in on_one_and_once_elsewhere(
        {
            f"OT-031-{method}": method
            for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")
        },
        list(BODIES),
    ).items():
        with subtests.test(name):
            response = ann.client.request(row, f"/step-up{path}", headers=ann.headers)

            assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_refusals_are_kept_out_of_caches(ann: Person, subtests: pytest.Subtests) -> None:
    """The headers are right in every refusal, also without `install`."""
    for path in BODIES:
        with subtests.test(path=path):
            app = FastAPI()
            app.include_router(stepup_router(ann.guard, methods=METHODS, redirect_uris=PAGES))
            client = TestClient(app, base_url=ORIGIN)

            for send in ({}, {"json": {"x": 1}}, {"content": b"x"}):
                response = client.post(f"/step-up{path}", headers=ann.headers, **cast("Any", send))

                assert response.is_client_error
                assert dict(response.headers).items() >= SAFE_HEADERS.items()
                assert response.json()["detail"]["status"] == response.status_code


def test_slash_at_the_end_is_not_redirected(ann: Person, subtests: pytest.Subtests) -> None:
    """No token is sent on to a URL made from the `Host` field."""
    for path in BODIES:
        with subtests.test(path=path):
            headers = ann.headers | {"Host": EVIL}

            response = ann.client.post(
                f"/step-up{path}/", headers=headers, json={}, follow_redirects=False
            )

            assert response.status_code == 404
            assert dict(response.headers).items() >= SAFE_HEADERS.items()
            assert f"{path}/" not in ann.client.get("/openapi.json").json()["paths"]


def kind_of_answer(app: Starlette, person: Person) -> Any:
    """Return the body of a refusal of *app*."""
    client = TestClient(app, base_url=ORIGIN)
    return client.post("/step-up/otp/start", headers=person.headers, json={"x": 1}).json()


def test_refusal_is_answered_by_the_apps_own_handlers(ann: Person) -> None:
    """By one for our errors first, then by one for the status, then for `HTTPException`."""

    def plain(kind: str) -> Callable[[Request, Exception], Any]:
        return lambda *_: JSONResponse({"kind": kind}, 422)

    async def slow(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"kind": type(error).__name__}, 422)

    answers = []
    for handlers in (
        {},
        {HTTPException: plain("any")},
        {422: plain("status")},
        {StepUpError: slow},
    ):
        app = FastAPI(exception_handlers=cast("Any", {**handlers}))
        app.include_router(stepup_router(ann.guard))
        answers.append(kind_of_answer(app, ann))
    with_both = FastAPI(exception_handlers={422: plain("status")})
    install(with_both, ann.guard)
    with_both.include_router(stepup_router(ann.guard))
    answers.append(kind_of_answer(with_both, ann))

    assert answers[0]["detail"]["code"] == "invalid_body"
    assert answers[1:4] == [{"kind": "any"}, {"kind": "status"}, {"kind": "InvalidBody"}]
    assert answers[4]["code"] == "invalid_body"


def test_refusal_without_any_handler_is_raised(ann: Person) -> None:
    """An app that took its handlers away gets Starlette's own answer, headers included."""
    app = FastAPI()
    app.exception_handlers.clear()
    app.include_router(stepup_router(ann.guard))
    client = TestClient(app, base_url=ORIGIN)

    response = client.post("/step-up/otp/start", headers=ann.headers, json={"x": 1})

    assert response.status_code == 422
    assert dict(response.headers).items() >= SAFE_HEADERS.items()


def test_a_token_that_the_app_supplies_is_the_session(descope: DescopeEmulator) -> None:
    """It came in no header field, so the reply gives its successor in the body."""
    guard = StepUpGuard.for_descope(descope.project_id, transport=descope.transport)

    async def supply(request: Request) -> None:
        await guard.authorize(request, token=request.headers["x-token"])

    app = FastAPI(dependencies=[Depends(supply)])
    install(app, guard)
    app.include_router(stepup_router(guard))
    client = TestClient(app, headers={"x-token": descope.sign_in(ANN).session_token})

    response = client.post("/step-up/otp/start", json={"delivery": "email"})

    assert refusal_of(response) == (400, "refresh_token_required")

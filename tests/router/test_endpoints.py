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
    each_route,
    each_route_with_session,
    refusal_of,
)

EVIL = "evil.example"


def on_one_and_once_elsewhere(rows: list[Any], paths: list[str]) -> pytest.MarkDecorator:
    """Return a mark: every row on the first path, the first row on each other path."""
    first, *others = paths
    name = rows[0].id
    return pytest.mark.parametrize(
        ("path", "row"),
        [
            *(pytest.param(first, row.values[0], id=row.id) for row in rows),
            *(pytest.param(p, rows[0].values[0], id=f"{name}{p}") for p in others),
        ],
    )


@pytest.mark.parametrize("path", [pytest.param(path, id=f"OT-001{path}") for path in WITH_SESSION])
def test_session_is_asked_for_before_anything_else(ann: Person, path: str) -> None:
    """Without one a caller does not learn the form of a body, and Descope hears nothing."""
    for send in ({"json": BODIES[path]}, {"content": b"x"}, {"json": {"refresh_token": "x"}}):
        response = ann.client.post(f"/step-up{path}", **cast("Any", send))

        assert refusal_of(response) == (401, "unauthenticated")
        assert response.headers["www-authenticate"] == f'Bearer realm="{ann.guard.realm}"'
    assert ann.asked_of_descope() == []


SESSIONS = [
    pytest.param(lambda d: d.token(key=SigningKey()), id="forged"),
    pytest.param(lambda d: d.sign_in(ANN).refresh_token, id="refresh-token"),
    pytest.param(lambda d: d.token(iss="P2another"), id="foreign-issuer"),
    pytest.param(lambda d: d.token(header={"alg": "none"}), id="unsigned"),
    pytest.param(lambda _: "nonsense", id="nonsense"),
    pytest.param(lambda d: d.token(exp=1, iat=1), id="expired"),
]


@on_one_and_once_elsewhere(
    SESSIONS, ["/otp/start", *(p for p in WITH_SESSION if p != "/otp/start")]
)
def test_session_must_be_a_good_one(
    ann: Person, path: str, row: Callable[[DescopeEmulator], str]
) -> None:
    """No step-up begins or ends on a session that opens nothing else."""
    ann.tokens = Tokens(row(ann.descope), ann.tokens.refresh_token, ann.tokens.user_id, ANN)

    assert refusal_of(ann.post(path, **BODIES[path])) == (401, "invalid_token")
    assert ann.asked_of_descope() == []


@each_route_with_session
def test_impersonator_cannot_step_up(ann: Person, path: str) -> None:
    """An impersonated session is refused on every route, before its body is read."""
    session = ann.descope.token(sub=ann.tokens.user_id, act={"sub": "K2support"}, su=True)
    ann.tokens = Tokens(session, ann.tokens.refresh_token, ann.tokens.user_id, ANN)

    assert refusal_of(ann.post(path, **BODIES[path])) == (403, "impersonation_refused")
    assert refusal_of(ann.post(path, nonsense=1)) == (403, "impersonation_refused")
    assert ann.asked_of_descope() == []


SITES = [
    pytest.param({}, id="CK-025-no-evidence"),
    pytest.param({"Sec-Fetch-Site": "cross-site"}, id="OT-037-cross-site"),
    pytest.param({"Sec-Fetch-Site": "same-site"}, id="CK-025-same-site"),
    pytest.param({"Origin": f"https://{EVIL}"}, id="CK-025-foreign-origin"),
    pytest.param({"Origin": "null"}, id="CK-025-null-origin"),
    pytest.param({"Origin": f"{ORIGIN}.{EVIL}"}, id="CK-025-suffix"),
    pytest.param({"Origin": "http://testserver"}, id="CK-025-scheme"),
]


@on_one_and_once_elsewhere(SITES, WITH_SESSION)
def test_other_sites_cannot_use_the_cookies(ann: Person, path: str, row: dict[str, str]) -> None:
    """No other site steps a user up, or spends their tries."""
    cookies = {"Cookie": "; ".join(f"{n}={v}" for n, v in ann.tokens.cookies.items())}

    response = ann.client.post(f"/step-up{path}", headers=cookies | row, json=BODIES[path])

    assert refusal_of(response) == (403, "cross_site_request")
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize("path", [p for p in WITH_SESSION if p.endswith("start")])
def test_refresh_cookie_alone_starts_nothing(ann: Person, path: str) -> None:
    """A start asks for a session."""
    headers = {"Cookie": f"DSR={ann.tokens.refresh_token}", "Origin": ORIGIN}

    response = ann.client.post(f"/step-up{path}", headers=headers, json=BODIES[path])

    assert refusal_of(response) == (401, "unauthenticated")


MEMBERS = [
    pytest.param({"login_id": "bob@example.com"}, id="OT-002-login-id"),
    pytest.param({"loginId": "bob@example.com"}, id="OT-002-descopes-login-id"),
    pytest.param({"email": "bob@example.com"}, id="OT-003-email"),
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
    pytest.param({"origin": "https://evil.example"}, id="OT-023-origin"),
    pytest.param({"<script>": 1, "eyJx": 2}, id="OT-027-names-are-not-reflected"),
    pytest.param({f"x{n}": n for n in range(1000)}, id="OT-027-many"),
]


@on_one_and_once_elsewhere(MEMBERS, list(BODIES))
def test_unknown_members_are_refused(ann: Person, path: str, row: dict[str, Any]) -> None:
    """The body does not say who steps up, where a code goes or what it is for."""
    response = ann.post(path, **BODIES[path], **row)

    assert refusal_of(response) == (422, "invalid_body")
    assert response.json()["errors"] == [{"field": "(unknown)", "problem": "extra_forbidden"}]
    assert len(response.content) < 500
    assert ann.asked_of_descope() == []


TYPES = [
    pytest.param("text/plain", id="CK-026-text"),
    pytest.param("text/plain;application/json", id="CK-026-parameter"),
    pytest.param("application/x-www-form-urlencoded", id="CK-026-form"),
    pytest.param("multipart/form-data; boundary=x", id="CK-026-multipart"),
    pytest.param("application/json, text/plain", id="CK-026-two"),
    pytest.param("application/json+x", id="CK-026-suffix"),
    pytest.param("application/jsonx", id="CK-026-longer"),
    pytest.param("", id="CK-026-empty"),
]


@on_one_and_once_elsewhere(TYPES, list(BODIES))
def test_only_json_is_taken(ann: Person, path: str, row: str) -> None:
    """A cross-site form could send any other type."""
    response = ann.client.post(
        f"/step-up{path}",
        headers=ann.headers | {"Content-Type": row},
        content=json.dumps(BODIES[path]).encode(),
    )

    assert refusal_of(response) == (415, "unsupported_media_type")
    assert ann.asked_of_descope() == []


@on_one_and_once_elsewhere(
    [
        pytest.param(method, id=f"OT-031-{method}")
        for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")
    ],
    list(BODIES),
)
def test_only_post_is_allowed(ann: Person, path: str, row: str) -> None:
    """Nothing begins or ends by a link or an image."""
    response = ann.client.request(row, f"/step-up{path}", headers=ann.headers)

    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@each_route
def test_refusals_are_kept_out_of_caches(ann: Person, path: str) -> None:
    """The headers are right in every refusal, also without `install`."""
    app = FastAPI()
    app.include_router(stepup_router(ann.guard, methods=METHODS, redirect_uris=PAGES))
    client = TestClient(app, base_url=ORIGIN)

    for send in ({}, {"json": {"x": 1}}, {"content": b"x"}):
        response = client.post(f"/step-up{path}", headers=ann.headers, **cast("Any", send))

        assert response.is_client_error
        assert dict(response.headers).items() >= SAFE_HEADERS.items()
        assert response.json()["detail"]["status"] == response.status_code


@each_route
def test_slash_at_the_end_is_not_redirected(ann: Person, path: str) -> None:
    """No token is sent on to a URL made from the `Host` field."""
    headers = ann.headers | {"Host": EVIL}

    response = ann.client.post(f"/step-up{path}/", headers=headers, json={}, follow_redirects=False)

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

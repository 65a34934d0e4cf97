"""What a client sees: one table of situations, and each door answers all of them alike."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpGuard,
    StepUpPolicy,
    install,
    stepup_router,
)
from fastapi_stepup.testing import DescopeEmulator, SigningKey

ANN = "ann@example.com"
REALM = "P2abcdefghijklmnopqrstuvwxyz"
SENTENCES = {
    "unauthenticated": (
        "Authentication required",
        "Sign in and send the session token as a bearer token.",
    ),
    "invalid_request": (
        "Unreadable credentials",
        "Send exactly one session token, in one way.",
    ),
    "invalid_token": (
        "Invalid session token",
        "The session token is not valid or has expired. Sign in again.",
    ),
    "insufficient_user_authentication": (
        "Step-up authentication required",
        "This action needs a fresh proof that it is you. Complete a step-up and try again.",
    ),
    "impersonation_refused": (
        "Impersonation refused",
        "An impersonated session cannot do this. The account's owner has to.",
    ),
    "cross_site_request": (
        "Cross-site request refused",
        "A request that a cookie authenticates must come from this site's own pages: send "
        "Sec-Fetch-Site or Origin, or send the session token as a bearer token.",
    ),
    "keys_unavailable": (
        "Verification keys unavailable",
        "Sessions cannot be verified right now. Try again shortly.",
    ),
}

Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Row:
    """A situation of design section 5 and what it is answered with."""

    fields: Callable[[DescopeEmulator], Fields]
    status: int
    code: str
    policy: StepUpPolicy = field(default_factory=StepUpPolicy)
    challenge: str | None = None
    members: Mapping[str, Any] = field(default_factory=dict)

    @property
    def header(self) -> str | None:
        """The whole `WWW-Authenticate` field."""
        if self.challenge is None:
            return None
        parts = [f'Bearer realm="{REALM}"', *filter(None, [self.challenge])]
        return ", ".join(parts).replace("…", SENTENCES[self.code][1])

    @property
    def problem(self) -> dict[str, Any]:
        """The whole problem."""
        title, detail = SENTENCES[self.code]
        return {
            "type": f"urn:fastapi-stepup:problem:{self.code}",
            "title": title,
            "status": self.status,
            "detail": detail,
            "code": self.code,
            **self.members,
        }


def bearer(token: str) -> Fields:
    """Return the field that presents *token*."""
    return [("Authorization", f"Bearer {token}")]


def cookie(token: str) -> Fields:
    """Return the field that presents *token* in the session cookie."""
    return [("Cookie", f"DS={token}")]


INVALID_REQUEST = 'error="invalid_request", error_description="…"'
INVALID_TOKEN = 'error="invalid_token", error_description="…"'
INSUFFICIENT = 'error="insufficient_user_authentication", error_description="…"'
NOT_STEPPED_UP = {"requirement": "step_up", "reason": "missing"}
TOO_OLD = {"requirement": "step_up", "reason": "expired"}

SESSION_ROWS = [
    pytest.param(Row(lambda _: [], 401, "unauthenticated", challenge=""), id="no-credentials"),
    pytest.param(
        Row(lambda _: [("Authorization", "Basic YTpi")], 401, "unauthenticated", challenge=""),
        id="another-scheme",
    ),
    pytest.param(
        Row(
            lambda d: 2 * bearer(d.step_up(ANN).session_token),
            400,
            "invalid_request",
            challenge=INVALID_REQUEST,
        ),
        id="two-tokens",
    ),
    pytest.param(
        Row(
            lambda d: cookie("{0}; DS={0}".format(d.step_up(ANN).session_token)),
            400,
            "invalid_request",
            challenge=INVALID_REQUEST,
        ),
        id="two-session-cookies",
    ),
    pytest.param(
        Row(
            lambda _: [("Authorization", "Bearer")],
            400,
            "invalid_request",
            challenge=INVALID_REQUEST,
        ),
        id="unreadable-authorization",
    ),
    pytest.param(
        Row(lambda _: bearer("x.y.z"), 401, "invalid_token", challenge=INVALID_TOKEN),
        id="malformed-token",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.token(su=True, key=SigningKey())),
            401,
            "invalid_token",
            challenge=INVALID_TOKEN,
        ),
        id="forged-token",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.step_up(ANN, expires_in=-10).session_token),
            401,
            "invalid_token",
            challenge=INVALID_TOKEN,
        ),
        id="expired-token",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.token(su=True, iss="P2anotherProject0000000000000")),
            401,
            "invalid_token",
            challenge=INVALID_TOKEN,
        ),
        id="foreign-token",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.step_up(ANN).refresh_token),
            401,
            "invalid_token",
            challenge=INVALID_TOKEN,
        ),
        id="refresh-token",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.token(su=True, act={"sub": "K2support"})),
            403,
            "impersonation_refused",
        ),
        id="impersonated-session",
    ),
    pytest.param(
        Row(
            lambda d: cookie(d.step_up(ANN).session_token),
            403,
            "cross_site_request",
        ),
        id="cookie-without-evidence",
    ),
    pytest.param(
        Row(
            lambda d: [
                *cookie(d.step_up(ANN).session_token),
                ("Origin", "https://evil.example"),
                ("Sec-Fetch-Site", "cross-site"),
            ],
            403,
            "cross_site_request",
        ),
        id="cookie-from-another-site",
    ),
]

STEP_UP_ROWS = [
    pytest.param(
        Row(
            lambda d: bearer(d.sign_in(ANN).session_token),
            401,
            "insufficient_user_authentication",
            challenge=INSUFFICIENT,
            members={"unmet": [NOT_STEPPED_UP]},
        ),
        id="session-without-step-up",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.token(su="true")),
            401,
            "insufficient_user_authentication",
            challenge=INSUFFICIENT,
            members={"unmet": [NOT_STEPPED_UP]},
        ),
        id="su-that-is-not-true",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.step_up(ANN, age=310).session_token),
            401,
            "insufficient_user_authentication",
            policy=StepUpPolicy(max_age="5m"),
            challenge=f'{INSUFFICIENT}, max_age="300"',
            members={"unmet": [TOO_OLD], "max_age": 300},
        ),
        id="step-up-too-old",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.step_up(ANN, amr=["email", "sms", "mfa"]).session_token),
            401,
            "insufficient_user_authentication",
            policy=StepUpPolicy(amr=["webauthn", "totp"]),
            challenge=INSUFFICIENT,
            members={
                "unmet": [{"requirement": "amr", "reason": "missing"}],
                "unmet_after_step_up": True,
                "amr": ["webauthn", "totp"],
            },
        ),
        id="wrong-factor",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.sign_in(ANN).session_token),
            401,
            "insufficient_user_authentication",
            policy=StepUpPolicy(max_age=60, amr="webauthn", acr=["phr", "phrh"]),
            challenge=f'{INSUFFICIENT}, acr_values="phr phrh", max_age="60"',
            members={
                "unmet": [
                    NOT_STEPPED_UP,
                    {"requirement": "amr", "reason": "missing"},
                    {"requirement": "acr", "reason": "missing"},
                ],
                "max_age": 60,
                "acr_values": ["phr", "phrh"],
                "amr": ["webauthn"],
            },
        ),
        id="everything-unmet",
    ),
]


@dataclass(frozen=True)
class Door:
    """A way into an app, and how its answer is written."""

    app: Callable[[StepUpGuard, StepUpPolicy], ASGIApp]
    media_type: str
    is_wrapped: bool = False
    is_websocket: bool = False
    path: str = "/pay"

    def answer(self, guard: StepUpGuard, policy: StepUpPolicy, fields: Fields) -> httpx2.Response:
        """Return the answer to one connection."""
        client = TestClient(self.app(guard, policy), base_url="https://testserver")
        headers = httpx2.Headers(fields)
        if not self.is_websocket:
            return client.post(self.path, headers=headers, json={"delivery": "email"})
        websocket = client.websocket_connect(self.path, headers=headers)
        with pytest.raises(WebSocketDenialResponse) as denial:
            websocket.__enter__()
        return denial.value


def through_fastapi(guard: StepUpGuard, policy: StepUpPolicy) -> FastAPI:
    """Return an app with a dependency, on a route and on a WebSocket."""
    app = FastAPI()
    stepped_up = Annotated[Claims, Depends(RequireStepUp(guard, policy=policy))]

    @app.post("/pay")
    def pay(claims: stepped_up) -> str:
        return claims.subject

    @app.websocket("/ws")
    async def converse(websocket: WebSocket, claims: stepped_up) -> None:
        await websocket.accept()
        await websocket.close(1000, claims.subject)

    return app


def through_fastapi_installed(guard: StepUpGuard, policy: StepUpPolicy) -> FastAPI:
    """Return the same app, installed."""
    app = through_fastapi(guard, policy)
    install(app, guard)
    return app


def through_starlette(guard: StepUpGuard, policy: StepUpPolicy) -> Starlette:
    """Return an app without FastAPI, whose endpoint asks the guard itself."""

    async def pay(request: Request) -> Response:
        claims = await guard.authorize(request, policy)
        return Response(claims.subject)

    return Starlette(routes=[Route("/pay", pay, methods=["POST"])])


def through_starlette_installed(guard: StepUpGuard, policy: StepUpPolicy) -> Starlette:
    """Return the same app, installed."""
    app = through_starlette(guard, policy)
    install(app, guard)
    return app


def through_router(guard: StepUpGuard, policy: StepUpPolicy) -> FastAPI:
    """Return an app with the helper routes."""
    app = FastAPI()
    app.include_router(stepup_router(guard))
    return app


FASTAPI = Door(through_fastapi, "application/json", is_wrapped=True)
INSTALLED = Door(through_fastapi_installed, "application/problem+json")
STARLETTE = Door(through_starlette, "text/plain; charset=utf-8")
STARLETTE_INSTALLED = Door(through_starlette_installed, "application/problem+json")
WEBSOCKET = Door(
    through_fastapi, "application/json", is_wrapped=True, is_websocket=True, path="/ws"
)
WEBSOCKET_INSTALLED = Door(
    through_fastapi_installed, "application/problem+json", is_websocket=True, path="/ws"
)
ROUTER_START = Door(through_router, "application/json", is_wrapped=True, path="/step-up/otp/start")
ROUTER_VERIFY = Door(
    through_router, "application/json", is_wrapped=True, path="/step-up/otp/verify"
)

DOORS = [
    pytest.param(FASTAPI, id="fastapi"),
    pytest.param(INSTALLED, id="fastapi-installed"),
    pytest.param(STARLETTE, id="starlette"),
    pytest.param(STARLETTE_INSTALLED, id="starlette-installed"),
    pytest.param(WEBSOCKET, id="websocket"),
    pytest.param(WEBSOCKET_INSTALLED, id="websocket-installed"),
]
ROUTER_DOORS = [
    pytest.param(ROUTER_START, id="router-start"),
    pytest.param(ROUTER_VERIFY, id="router-verify"),
]


def assert_answered(response: httpx2.Response, door: Door, row: Row) -> None:
    """Assert status, headers and body, each exactly."""
    assert response.status_code == row.status
    assert response.headers.get_list("www-authenticate") == list(filter(None, [row.header]))
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == door.media_type
    body = json.loads(response.content)
    assert body == ({"detail": row.problem} if door.is_wrapped else row.problem)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("row", [*SESSION_ROWS, *STEP_UP_ROWS])
def test_each_door_answers_each_situation(
    door: Door, row: Row, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Status, challenge and problem are those of the table, whatever door is asked."""
    response = door.answer(guard, row.policy, row.fields(descope))

    assert_answered(response, door, row)
    assert "retry-after" not in response.headers


@pytest.mark.parametrize("door", ROUTER_DOORS)
@pytest.mark.parametrize("row", SESSION_ROWS)
def test_the_helper_routes_answer_each_situation_of_a_session(
    door: Door, row: Row, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The helper routes ask for a session, and refuse as any guarded route does."""
    descope.create_user(ANN)
    verify = door.path.endswith("verify")
    client = TestClient(door.app(guard, row.policy), base_url="https://testserver")
    body = {"delivery": "email"} | ({"code": "123456"} if verify else {})

    response = client.post(door.path, headers=httpx2.Headers(row.fields(descope)), json=body)

    assert_answered(response, door, row)
    assert "retry-after" not in response.headers


@pytest.mark.parametrize("door", [*DOORS, *ROUTER_DOORS])
def test_each_door_answers_503_without_keys(
    door: Door, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Without keys nobody is told to sign in again: 503 and when to come back."""
    token = descope.step_up(ANN).session_token
    descope.fail(503, times=10, path="/v2/keys")

    response = door.answer(guard, StepUpPolicy(), bearer(token))

    assert_answered(response, door, Row(lambda _: [], 503, "keys_unavailable"))
    assert 1 <= int(response.headers["retry-after"]) <= 60


@pytest.mark.parametrize("door", [FASTAPI, INSTALLED, STARLETTE, STARLETTE_INSTALLED])
def test_each_door_opens_to_a_stepped_up_session(
    door: Door, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """What the table asks for is enough, and the handler knows who it is."""
    ann = descope.step_up(ANN, age=200)

    response = door.answer(guard, StepUpPolicy(max_age=300, amr="mfa"), bearer(ann.session_token))

    assert (response.status_code, ann.user_id in response.text) == (200, True)


def test_the_websocket_opens_to_a_stepped_up_session(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """What the table asks for is enough, and the handler knows who it is."""
    ann = descope.step_up(ANN)
    client = TestClient(through_fastapi(guard, StepUpPolicy()))

    with client.websocket_connect("/ws", headers=ann.headers) as websocket:
        message = websocket.receive()

    assert (message["code"], message["reason"]) == (1000, ann.user_id)


def test_connections_are_all_the_guard_needs(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """A bare `HTTPConnection` will do, so that any ASGI code can ask."""
    ann = descope.step_up(ANN)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        claims = await guard.authorize(HTTPConnection(scope), StepUpPolicy())
        await Response(claims.subject)(scope, receive, send)

    assert TestClient(app).post("/pay", headers=ann.headers).text == ann.user_id

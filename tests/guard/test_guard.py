"""StepUpGuard: construction, lifespan, `authorize` on requests and WebSockets, helper routes."""

import logging
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Annotated, Any, NamedTuple

import anyio
import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.exceptions import WebSocketException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpGuard,
    StepUpPolicy,
    claims_from,
    stepup_router,
)
from fastapi_stepup.errors import (
    ConfigurationError,
    DescopeUnavailable,
    InvalidToken,
    KeysUnavailable,
    StepUpRequired,
    Unauthenticated,
)
from fastapi_stepup.events import Event, ReportOnly
from fastapi_stepup.guard.report_only import authorize_or_report
from fastapi_stepup.testing import DescopeEmulator, SigningKey, assert_step_up_challenge

ANN = "ann@example.com"
PROJECT = "P2abcdefghijklmnopqrstuvwxyz"
REGIONAL = "Puse1" + 27 * "a"


class Clock:
    """The real time, and some more."""

    ahead = 0.0

    def __call__(self) -> float:
        """Return epoch seconds."""
        return time.time() + self.ahead


def request_with(headers: dict[str, str], **scope: Any) -> Request:
    """Return a request with *headers*."""
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    given = {"type": "http", "method": "POST", "path": "/pay", "headers": fields}
    return Request(given | scope)


# -- construction


def test_project_comes_from_the_argument_or_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument wins over `DESCOPE_PROJECT_ID`, whose blanks are forgiven."""
    monkeypatch.setenv("DESCOPE_PROJECT_ID", f" {PROJECT}\n")

    assert StepUpGuard.for_descope().project_id == PROJECT
    assert StepUpGuard.for_descope("P1").project_id == "P1"


def test_base_url_comes_from_the_argument_the_variable_or_the_project(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """First what is given, then `DESCOPE_BASE_URI`, then Descope's host in the project's region."""
    assert StepUpGuard.for_descope(PROJECT).base_url == "https://api.descope.com"
    assert StepUpGuard.for_descope(REGIONAL).base_url == "https://api.use1.descope.com"
    monkeypatch.setenv("DESCOPE_BASE_URI", "https://auth.example.com/")
    assert StepUpGuard.for_descope(REGIONAL).base_url == "https://auth.example.com"
    given = StepUpGuard.for_descope(PROJECT, base_url="https://id.example.com")
    assert given.base_url == "https://id.example.com"
    assert given.keys.url == f"https://id.example.com/v2/keys/{PROJECT}"
    monkeypatch.setenv("DESCOPE_BASE_URI", "")
    assert StepUpGuard.for_descope(PROJECT).base_url == "https://api.descope.com"


@pytest.mark.parametrize(
    "project_id",
    [
        None,
        "",
        " ",
        f"{PROJECT}\n",
        "../../x",
        "x/../../keys",
        "x?y",
        "x#y",
        "P2%2f",
        "P2:x",
        "\uff302",
        1000 * "P",
        42,
    ],
)
def test_missing_or_malformed_project_id_says_where_to_find_it(
    project_id: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but an id goes into a path or a host; the message names both ways to give it."""
    monkeypatch.delenv("DESCOPE_PROJECT_ID", raising=False)

    with pytest.raises(ConfigurationError, match=r"DESCOPE_PROJECT_ID.*Project Settings"):
        StepUpGuard.for_descope(project_id)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.descope.com",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0:8085",
        "ftp://api.descope.com",
        "https://",
        "https://ann@api.descope.com",
        "https://api.descope.com?x=1",
        "https://api.descope.com#x",
        "https://api.descope.com\n",
        "api.descope.com",
        "",
        42,
    ],
)
def test_bad_base_url_says_what_is_accepted(base_url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what is accepted, and names the argument or the variable at fault."""
    with pytest.raises(ConfigurationError, match="base_url must be an https URL such as"):
        StepUpGuard.for_descope(PROJECT, base_url=base_url)
    monkeypatch.setenv("DESCOPE_BASE_URI", "http://api.descope.com")
    with pytest.raises(ConfigurationError, match="DESCOPE_BASE_URI must be an https URL"):
        StepUpGuard.for_descope(PROJECT)


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        pytest.param("leeway", -1, "from 0 to 60", id="negative-leeway"),
        pytest.param("leeway", 61, "from 0 to 60", id="long-leeway"),
        pytest.param("leeway", "5s", "from 0 to 60", id="leeway-text"),
        pytest.param("leeway", float("nan"), "from 0 to 60", id="leeway-nan"),
        pytest.param("leeway", True, "from 0 to 60", id="leeway-bool"),
        pytest.param("keys_ttl", 1, "from 60 to", id="short-ttl"),
        pytest.param("keys_ttl", float("inf"), "from 60 to", id="endless-ttl"),
        pytest.param("keys_max_stale", 100, "at least ttl", id="hard-below-soft"),
        pytest.param("algorithms", ("none",), "RS256", id="no-algorithm"),
        pytest.param("algorithms", ("RS256", "HS256"), "RS256", id="symmetric"),
        pytest.param("algorithms", "RS256", "RS256", id="algorithms-text"),
        pytest.param("issuers", "https://a", "exact strings", id="issuers-text"),
        pytest.param("issuers", ("*",), "exact strings", id="issuer-wildcard"),
        pytest.param("audience", (), "at least one", id="empty-audience"),
        pytest.param("realm", 'a"\n', "printable ASCII", id="realm-with-newline"),
        pytest.param("realm", 5, "printable ASCII", id="realm-number"),
        pytest.param("session_cookie", "D S", "cookie name", id="cookie-name"),
        pytest.param("refresh_cookie", "DS", "must differ", id="one-cookie-for-both"),
        pytest.param("allowed_origins", "https://a", "tuple of origins", id="origins-text"),
        pytest.param("max_token_size", 1, "1024", id="token-size"),
        pytest.param("warmup", "eager", "best-effort", id="warmup"),
        pytest.param("warmup", [], "best-effort", id="warmup-list"),
        pytest.param("report_only", "no", "True or False", id="report-only-text"),
        pytest.param("transport", httpx.HTTPTransport(), "AsyncBaseTransport", id="transport"),
    ],
)
def test_bad_option_says_what_to_change(option: str, value: Any, hint: str) -> None:
    """Wrong configuration fails at construction, with what can be used instead."""
    options: dict[str, Any] = {option: value}

    with pytest.raises(ConfigurationError, match=hint):
        StepUpGuard.for_descope(PROJECT, **options)


@pytest.mark.parametrize("option", ["audiance", "verify", "auto_error", "verify_signature"])
def test_unknown_option_is_a_type_error(option: str) -> None:
    """A typo is never ignored, and there is no switch that turns verification off."""
    options: dict[str, Any] = {option: False}

    with pytest.raises(TypeError, match=option):
        StepUpGuard.for_descope(PROJECT, **options)


def test_repr_shows_the_project_only() -> None:
    """The guard's `repr` is fit for a log."""
    assert repr(StepUpGuard.for_descope("P1")) == "StepUpGuard(project_id='P1')"


@pytest.fixture
def nobody_listens() -> str:
    """A base URL on loopback where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_unreachable_base_url_is_answered_503_with_a_sentence(
    nobody_listens: str, descope: DescopeEmulator
) -> None:
    """The client learns that it may try again, and nothing about where we looked."""
    guard = StepUpGuard.for_descope(PROJECT, base_url=nobody_listens)
    app = FastAPI()

    @app.get("/pay", dependencies=[Depends(RequireStepUp(guard))])
    def pay() -> None:
        """Never reached."""

    response = TestClient(app).get("/pay", headers=descope.step_up(ANN).headers)

    assert response.status_code == 503
    assert response.json()["detail"]["detail"] == (
        "Sessions cannot be verified right now. Try again shortly."
    )
    assert nobody_listens not in response.text


# -- lifespan and health


@pytest.mark.anyio
async def test_entering_the_guard_fetches_the_keys_once(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """`async with guard` warms the keys up, so that no request has to wait for them."""
    assert (guard.health().ok, guard.health().keys.state) == (False, "empty")
    async with guard as entered:
        assert entered is guard
        assert (guard.health().ok, guard.health().keys.state) == (True, "fresh")
        await guard.verify(descope.sign_in(ANN).session_token)

    assert [request.path for request in descope.requests] == [f"/v2/keys/{PROJECT}"]


def test_lifespan_warms_the_keys_up(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """`FastAPI(lifespan=guard.lifespan)` does the same when the app starts."""
    with TestClient(FastAPI(lifespan=guard.lifespan)):
        assert guard.health().ok

    assert len(descope.requests) == 1


@pytest.mark.anyio
async def test_best_effort_starts_without_keys(
    guard: StepUpGuard, descope: DescopeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """By default an outage at start is logged, and requests fetch the keys later."""
    descope.fail(500, times=2)

    async with guard:
        assert guard.health().keys.state == "empty"

    assert "Starting without verification keys" in caplog.text


@pytest.mark.anyio
async def test_require_refuses_to_start_without_keys(descope: DescopeEmulator) -> None:
    """`warmup="require"` makes an outage at start visible to whoever starts the app."""
    guard = StepUpGuard.for_descope(PROJECT, warmup="require")
    descope.fail(500, times=2)

    with descope.attach(guard):
        with pytest.raises(KeysUnavailable):
            await guard.__aenter__()
        await anyio.sleep(1.1)
        async with guard:
            assert guard.health().ok


@pytest.mark.anyio
async def test_lazy_waits_for_a_request(descope: DescopeEmulator) -> None:
    """`warmup="lazy"` fetches nothing at start."""
    guard = StepUpGuard.for_descope(PROJECT, warmup="lazy")

    with descope.attach(guard):
        async with guard:
            assert descope.requests == []
        await guard.verify(descope.sign_in(ANN).session_token)

    assert len(descope.requests) == 1


@pytest.mark.anyio
async def test_verify_names_the_realm_in_its_challenge(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """What `verify` raises can be answered as it is."""
    with pytest.raises(InvalidToken) as refusal:
        await guard.verify("x.y.z")

    challenge = refusal.value.challenge()
    assert challenge is not None
    assert challenge.realm == PROJECT


@pytest.mark.anyio
async def test_descope_gets_more_time_than_the_key_endpoint() -> None:
    """Sending a message takes a while; without keys every request waits."""
    patience = {}

    def answer(request: httpx.Request) -> httpx.Response:
        patience[request.url.path] = request.extensions["timeout"]["read"]
        return httpx.Response(500)

    guard = StepUpGuard.for_descope(PROJECT, transport=httpx.MockTransport(answer))
    token = DescopeEmulator(PROJECT).sign_in(ANN).session_token
    with pytest.raises(KeysUnavailable):
        await guard.verify(token)
    with pytest.raises(DescopeUnavailable):
        await guard.descope.me(token)

    assert patience == {f"/v2/keys/{PROJECT}": 3, "/v1/auth/me": 10}


# -- authorize


@pytest.mark.anyio
async def test_second_call_verifies_nothing_again_but_asks_the_policy(
    descope: DescopeEmulator,
) -> None:
    """The claims stay with the request: a second door looks at neither token nor verdicts."""
    seen: list[Event] = []
    guard = StepUpGuard.for_descope(PROJECT, on_event=seen.append)
    with descope.attach(guard):
        request = request_with(descope.step_up(ANN, age=100).headers)
        claims = await guard.authorize(request)
        seen.clear()

        assert await guard.authorize(request, StepUpPolicy(max_age=200)) is claims
        assert claims_from(request) is claims
        with pytest.raises(StepUpRequired):
            await guard.authorize(request, StepUpPolicy(max_age=60))
        assert seen == []


@pytest.mark.anyio
async def test_claims_are_not_kept_for_another_request(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """One request's claims are never another's."""
    await guard.authorize(request_with(descope.step_up(ANN).headers))

    with pytest.raises(Unauthenticated):
        await guard.authorize(request_with({}))


@pytest.mark.anyio
async def test_policy_is_asked_by_the_guards_clock(descope: DescopeEmulator) -> None:
    """A step-up grows too old while its request, or WebSocket, lives."""
    clock = Clock()
    guard = StepUpGuard.for_descope(PROJECT, clock=clock)
    with descope.attach(guard):
        request = request_with(descope.step_up(ANN).headers)
        await guard.authorize(request, StepUpPolicy(max_age=60))
        clock.ahead = 62

        with pytest.raises(StepUpRequired):
            await guard.authorize(request, StepUpPolicy(max_age=60))


@pytest.mark.anyio
async def test_claims_do_not_outlive_their_token(descope: DescopeEmulator) -> None:
    """A call after the token expired is refused, leeway counted, as a new request would be."""
    clock = Clock()
    guard = StepUpGuard.for_descope(PROJECT, clock=clock)
    with descope.attach(guard):
        request = request_with(descope.step_up(ANN, expires_in=60).headers)
        await guard.authorize(request)
        clock.ahead = 62
        await guard.authorize(request)
        clock.ahead = 66

        with pytest.raises(InvalidToken):
            await guard.authorize(request)


@pytest.mark.anyio
async def test_two_guards_do_not_share_claims(descope: DescopeEmulator) -> None:
    """What one project's guard let in says nothing to another project's, in the same request."""
    guard, other = StepUpGuard.for_descope(PROJECT), StepUpGuard.for_descope("P2other")
    with descope.attach(guard), DescopeEmulator("P2other").attach(other) as other_descope:
        request = request_with(descope.step_up(ANN).headers)
        claims = await guard.authorize(request)
        with pytest.raises(InvalidToken):
            await other.authorize(request)
        headers = request_with(other_descope.sign_in(ANN).headers)["headers"]
        request = Request({**request.scope, "headers": headers})
        others = await other.authorize(request)

        assert (claims.issuer, others.issuer) == (PROJECT, "P2other")
        with pytest.raises(StepUpRequired):
            await other.authorize(request, StepUpPolicy())
        with pytest.raises(InvalidToken):
            await guard.authorize(request)


def test_two_guards_in_one_app(descope: DescopeEmulator) -> None:
    """Each route takes the sessions of its own guard only."""
    guard, other = StepUpGuard.for_descope(PROJECT), StepUpGuard.for_descope("P2other")
    app = FastAPI()

    @app.get("/ours")
    def ours(claims: Annotated[Claims, Depends(RequireStepUp(guard))]) -> str:
        return claims.issuer

    @app.get("/theirs")
    def theirs(claims: Annotated[Claims, Depends(RequireStepUp(other))]) -> str:
        return claims.issuer

    client = TestClient(app)
    with descope.attach(guard), DescopeEmulator("P2other").attach(other) as other_descope:
        ann, bob = descope.step_up(ANN).headers, other_descope.step_up("bob@example.com").headers

        assert client.get("/ours", headers=ann).json() == PROJECT
        assert client.get("/theirs", headers=bob).json() == "P2other"
        assert client.get("/ours", headers=bob).status_code == 401
        assert client.get("/theirs", headers=ann).status_code == 401


@pytest.mark.anyio
async def test_admit_does_what_authorize_does(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """The door that owes nobody claims refuses all the same."""
    ann = descope.step_up(ANN, age=100)

    claims = await authorize_or_report(guard, request_with(ann.headers), StepUpPolicy(max_age=200))
    assert claims is not None
    assert claims.subject == ann.user_id
    with pytest.raises(StepUpRequired):
        await authorize_or_report(guard, request_with(ann.headers), StepUpPolicy(max_age=60))
    with pytest.raises(Unauthenticated):
        await authorize_or_report(guard, request_with({}))


@pytest.mark.anyio
async def test_report_only_lets_pass_and_says_so(
    descope: DescopeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A policy is only reported; but what owes claims still asks for a session."""
    events: list[Event] = []
    guard = StepUpGuard.for_descope(PROJECT, report_only=True, on_event=events.append)
    assert guard.health().report_only
    with descope.attach(guard):
        plain = request_with(descope.sign_in(ANN).headers)
        assert (await guard.authorize(plain, StepUpPolicy())).stepped_up is False
        assert await authorize_or_report(guard, plain, StepUpPolicy()) is not None
        assert await authorize_or_report(guard, request_with({}), StepUpPolicy()) is None
        with pytest.raises(Unauthenticated):
            await guard.authorize(request_with({}), StepUpPolicy())

    assert [event.code for event in events if isinstance(event, ReportOnly)] == [
        "insufficient_user_authentication",
        "insufficient_user_authentication",
        "unauthenticated",
    ]
    assert "step-up is not enforced" in caplog.text
    assert caplog.text.count("a request passed that enforcement answers") == 3


@pytest.mark.anyio
async def test_static_keys_need_no_network(descope: DescopeEmulator) -> None:
    """With the key set given, nothing is ever fetched."""
    unreachable = httpx.MockTransport(lambda _: httpx.Response(500))
    keys = {"keys": [descope.signing_key.jwk]}
    guard = StepUpGuard.for_descope(PROJECT, static_keys=keys, transport=unreachable)
    ann = descope.step_up(ANN)

    assert (await guard.verify(ann.session_token)).subject == ann.user_id


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("later", "reason"),
    [
        pytest.param(lambda d, c: None, None, id="nothing"),
        pytest.param(
            lambda d, c: setattr(c, "ahead", 62), "insufficient_user_authentication", id="too-old"
        ),
        pytest.param(lambda d, c: setattr(c, "ahead", 700), "invalid_token", id="expired"),
    ],
)
async def test_recheck_asks_again_what_let_a_websocket_in(
    later: Callable[[DescopeEmulator, Clock], None], reason: str | None, descope: DescopeEmulator
) -> None:
    """Token and policies are judged anew, and the refusal closes with 1008."""
    clock = Clock()
    guard = StepUpGuard.for_descope(PROJECT, clock=clock)
    with descope.attach(guard):
        ann = descope.step_up(ANN)
        websocket = websocket_with(ann.headers)
        with pytest.raises(LookupError, match="authorize the WebSocket first"):
            await guard.recheck(websocket)
        await guard.authorize(websocket, StepUpPolicy(max_age=60))
        later(descope, clock)
        closed = None
        try:
            assert (await guard.recheck(websocket)).subject == ann.user_id
        except WebSocketException as refusal:
            closed = (refusal.code, refusal.reason)

    assert closed == (reason and (1008, reason))


def websocket_with(headers: dict[str, str]) -> WebSocket:
    """Return a WebSocket handshake with *headers*, on a server that cannot deny it over HTTP."""

    async def channel(*_: object) -> Any:
        """Never used."""

    return WebSocket({**request_with(headers).scope, "type": "websocket"}, channel, channel)


def locals_of_ours(frames: TracebackType | None) -> str:
    """Return the `repr` of every local variable in a frame of the package."""
    return "\n".join(
        repr(frame.f_locals)
        for frame, _ in traceback.walk_tb(frames)
        if "/fastapi_stepup/" in frame.f_code.co_filename
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(lambda d: d.fail(503, times=10), id="keys-unavailable"),
        pytest.param(lambda d: d.revoke_keys(), id="invalid-token"),
    ],
)
async def test_refusals_carry_no_frame_that_holds_the_token(
    failure: Callable[[DescopeEmulator], object], guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """An error reporter that collects local variables finds no token in our frames."""
    token = descope.step_up(ANN).session_token
    failure(descope)

    with pytest.raises((KeysUnavailable, InvalidToken)) as refusal:
        await guard.authorize(request_with({"Authorization": f"Bearer {token}"}))

    seen = locals_of_ours(refusal.value.__traceback__)
    assert "connection" in seen
    assert token not in seen
    assert refusal.value.__cause__ is None


# -- WebSocket


def without_denial(app: ASGIApp) -> ASGIApp:
    """Return *app* behind a server that cannot answer a WebSocket over HTTP."""

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {}}, receive, send)

    return server


def websocket_app(guard: StepUpGuard, *, accept_first: bool = False) -> FastAPI:
    """Return an app that asks for step-up before or after it accepts a WebSocket."""
    app = FastAPI()
    app.include_router(stepup_router(guard))

    @app.websocket("/ws")
    async def converse(websocket: WebSocket) -> None:
        if accept_first:
            await websocket.accept()
            await websocket.receive_text()
        claims = await guard.authorize(websocket, StepUpPolicy(max_age=300))
        await (websocket.close(1000, claims.subject) if accept_first else websocket.accept())

    return app


def test_websocket_is_denied_over_http_before_it_is_accepted(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The denial is the answer that a request would get, helper routes included."""
    client = TestClient(websocket_app(guard))
    websocket = client.websocket_connect("/ws", headers=dict(descope.sign_in(ANN).headers))

    with pytest.raises(WebSocketDenialResponse) as denial:
        websocket.__enter__()

    problem = assert_step_up_challenge(denial.value, max_age=300)
    assert problem["step_up"]["start_uri"] == "/step-up/otp/start"


def test_websocket_is_closed_where_it_cannot_be_denied(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A server without the denial extension is told 1008 and the problem code."""
    client = TestClient(without_denial(websocket_app(guard)))
    websocket = client.websocket_connect("/ws", headers=dict(descope.sign_in(ANN).headers))

    with pytest.raises(WebSocketDisconnect) as closed:
        websocket.__enter__()

    assert not isinstance(closed.value, WebSocketDenialResponse)
    assert (closed.value.code, closed.value.reason) == (1008, "insufficient_user_authentication")


@pytest.mark.parametrize("serve", [lambda app: app, without_denial], ids=["denial", "no-denial"])
def test_accepted_websocket_is_closed_with_1008(
    serve: Callable[[ASGIApp], ASGIApp], guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Once accepted there is no HTTP answer any more, whatever the server can do."""
    client = TestClient(serve(websocket_app(guard, accept_first=True)))

    with client.websocket_connect("/ws", headers=dict(descope.sign_in(ANN).headers)) as websocket:
        websocket.send_text("pay")
        closed = websocket.receive()

    assert closed == {
        "type": "websocket.close",
        "code": 1008,
        "reason": "insufficient_user_authentication",
    }


def test_stepped_up_websocket_is_let_in(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Before and after `accept`."""
    ann = descope.step_up(ANN)

    with TestClient(websocket_app(guard)).websocket_connect("/ws", headers=dict(ann.headers)):
        """Accepted."""
    client = TestClient(websocket_app(guard, accept_first=True))
    with client.websocket_connect("/ws", headers=dict(ann.headers)) as websocket:
        websocket.send_text("pay")
        closed = websocket.receive()

    assert (closed["code"], closed["reason"]) == (1000, ann.user_id)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({}, "cross_site_request", id="no-evidence"),
        pytest.param({"Origin": "https://evil.example"}, "cross_site_request", id="foreign"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, "cross_site_request", id="cross-site"),
    ],
)
def test_cookie_of_a_websocket_needs_evidence(
    headers: dict[str, str], code: str, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Another site's page cannot open a WebSocket on the user's cookie (CK-013)."""
    client = TestClient(websocket_app(guard))
    cookie = {"Cookie": f"DS={descope.step_up(ANN).session_token}"}
    websocket = client.websocket_connect("/ws", headers=cookie | headers)

    with pytest.raises(WebSocketDenialResponse) as denial:
        websocket.__enter__()

    assert (denial.value.status_code, denial.value.json()["detail"]["code"]) == (403, code)
    with client.websocket_connect("/ws", headers=cookie | {"Origin": "http://testserver"}):
        """Accepted."""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        pytest.param({"websocket.http.response": {}}, Unauthenticated, id="denial"),
        pytest.param({}, WebSocketException, id="no-denial"),
        pytest.param(None, WebSocketException, id="null"),
    ],
)
async def test_bare_connection_of_a_websocket_is_refused_in_its_way(
    extensions: Any, expected: type[Exception], guard: StepUpGuard
) -> None:
    """What counts is the scope, not the class it is wrapped in."""
    scope = {"type": "websocket", "headers": [], "extensions": extensions}

    with pytest.raises(expected):
        await guard.authorize(HTTPConnection(scope))


# -- where to step up


def paying(app: FastAPI | APIRouter, guard: StepUpGuard) -> None:
    """Add a route to *app* that asks for step-up."""

    @app.get("/pay", dependencies=[Depends(RequireStepUp(guard))])
    def pay() -> None:
        """Never reached."""


def with_prefixes(guard: StepUpGuard) -> FastAPI:
    """Include the helper router in a router that is included itself."""
    app, api = FastAPI(), APIRouter(prefix="/api")
    paying(app, guard)
    api.include_router(stepup_router(guard, prefix="/auth"), prefix="/v1")
    app.include_router(api)
    return app


def without_prefix(guard: StepUpGuard) -> FastAPI:
    """Include the helper router without any prefix."""
    app = FastAPI()
    paying(app, guard)
    app.include_router(stepup_router(guard, prefix=""))
    return app


def guarded_below(guard: StepUpGuard) -> FastAPI:
    """Mount an app with a guarded route below the one with the helper routes."""
    app, sub = FastAPI(), FastAPI()
    paying(sub, guard)
    app.include_router(stepup_router(guard))
    app.mount("/sub", sub, name="sub")
    return app


def helpers_below(guard: StepUpGuard) -> FastAPI:
    """Mount the app with the helper routes, without a name, below the one that is guarded."""
    app, sub = FastAPI(), FastAPI()
    sub.include_router(stepup_router(guard))
    app.mount("/sub", sub)
    paying(app, guard)
    return app


def both_in_a_named_mount(guard: StepUpGuard) -> FastAPI:
    """Mount guarded route and helper routes together, with a name."""
    app, sub = FastAPI(), FastAPI()
    paying(sub, guard)
    sub.include_router(stepup_router(guard))
    app.mount("/sub", sub, name="sub")
    return app


def in_a_mount_for_each_tenant(guard: StepUpGuard) -> FastAPI:
    """Mount both where the request's own path decides what comes before."""
    app, sub = FastAPI(), FastAPI()
    paying(sub, guard)
    sub.include_router(stepup_router(guard))
    app.mount("/of/{tenant:path}/at", sub, name="tenants")
    return app


def two_helper_routers(guard: StepUpGuard) -> FastAPI:
    """Make two helper routers and include only the second."""
    app = FastAPI()
    paying(app, guard)
    stepup_router(guard, prefix="/unused", deliveries=("sms",))
    app.include_router(stepup_router(guard, prefix="/used", deliveries=("email",)))
    return app


def anothers_helper_router(guard: StepUpGuard) -> FastAPI:
    """Include the helper router of another guard for the same project first."""
    app = FastAPI()
    paying(app, guard)
    app.include_router(stepup_router(StepUpGuard.for_descope(PROJECT), prefix="/another"))
    app.include_router(stepup_router(guard, prefix="/own", deliveries=("voice", "email", "voice")))
    return app


class Place(NamedTuple):
    """An app, a request for its guarded route, and where its challenge has to point."""

    build: Callable[[StepUpGuard], FastAPI]
    path: str
    start_uri: str
    root_path: str = ""
    methods: Sequence[str] = ("email", "sms", "voice", "whatsapp")


TENANT = "/of/a%20b%3Fc%22/at"


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(Place(with_prefixes, "/pay", "/api/v1/auth/otp/start"), id="prefixes"),
        pytest.param(
            Place(with_prefixes, "/r/pay", "/r/api/v1/auth/otp/start", "/r"), id="root-path"
        ),
        pytest.param(Place(without_prefix, "/pay", "/otp/start"), id="no-prefix"),
        pytest.param(Place(guarded_below, "/sub/pay", "/step-up/otp/start"), id="guarded-below"),
        pytest.param(
            Place(guarded_below, "/r/sub/pay", "/r/step-up/otp/start", "/r"), id="below-root-path"
        ),
        pytest.param(
            Place(helpers_below, "/r/pay", "/r/sub/step-up/otp/start", "/r"), id="helpers-below"
        ),
        pytest.param(
            Place(both_in_a_named_mount, "/r/sub/pay", "/r/sub/step-up/otp/start", "/r"),
            id="named-mount",
        ),
        pytest.param(
            Place(in_a_mount_for_each_tenant, f"{TENANT}/pay", f"{TENANT}/step-up/otp/start"),
            id="path-parameter",
        ),
        pytest.param(
            Place(two_helper_routers, "/pay", "/used/otp/start", methods=["email"]),
            id="two-routers",
        ),
        pytest.param(
            Place(anothers_helper_router, "/pay", "/own/otp/start", methods=["voice", "email"]),
            id="two-guards",
        ),
    ],
)
def test_challenge_says_where_to_step_up(
    place: Place, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The URLs are those of the app's own routes, wherever they are mounted, never from `Host`."""
    client = TestClient(place.build(guard), root_path=place.root_path)
    hostile = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}

    response = client.get(place.path, headers=descope.sign_in(ANN).headers | hostile)

    assert assert_step_up_challenge(response)["step_up"] == {
        "start_uri": place.start_uri,
        "verify_uri": place.start_uri.replace("start", "verify"),
        "methods": list(place.methods),
        "status_uri": place.start_uri.replace("otp/start", "status"),
    }
    assert "evil" not in response.text
    assert client.post(place.start_uri).status_code == 401


@pytest.mark.parametrize(
    ("root_path", "start_uri"),
    [
        pytest.param("//evil.example", "/evil.example/step-up/otp/start", id="two-slashes"),
        pytest.param("/\\evil.example", "/%5Cevil.example/step-up/otp/start", id="backslash"),
        pytest.param("/a\r\nb?c#d", "/a%0D%0Ab%3Fc%23d/step-up/otp/start", id="controls"),
        pytest.param("/\ud800", "/%3F/step-up/otp/start", id="surrogate"),
        pytest.param("/", "/step-up/otp/start", id="slash"),
        pytest.param("/shop/", "/shop/step-up/otp/start", id="slash-at-the-end"),
        pytest.param("shop", "/shop/step-up/otp/start", id="no-slash"),
    ],
)
@pytest.mark.anyio
async def test_root_path_cannot_lead_to_another_host(
    root_path: str, start_uri: str, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """What a proxy or a path parameter puts in front stays a path of this host."""
    app = FastAPI()
    app.include_router(stepup_router(guard))
    request = request_with(descope.sign_in(ANN).headers, app=app, root_path=root_path)

    with pytest.raises(StepUpRequired) as refusal:
        await guard.authorize(request, StepUpPolicy())

    assert refusal.value.problem["step_up"]["start_uri"] == start_uri


def test_challenge_has_no_step_up_member_without_helper_routes(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Neither where there is no helper router, nor where it is in another app."""
    app = FastAPI()
    paying(app, guard)
    client, ann = TestClient(app), descope.sign_in(ANN)

    assert "step_up" not in assert_step_up_challenge(client.get("/pay", headers=ann.headers))
    FastAPI().include_router(stepup_router(guard))
    assert "step_up" not in assert_step_up_challenge(client.get("/pay", headers=ann.headers))


def test_starlette_app_is_told_where_a_mounted_helper_router_is(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """An app that is otherwise plain Starlette may mount the helper routes."""
    helpers = FastAPI()
    helpers.include_router(stepup_router(guard))

    async def pay(request: Request) -> Response:
        await guard.authorize(request, StepUpPolicy())
        return JSONResponse(True)  # noqa: FBT003  # it is the body

    app = Starlette(routes=[Route("/pay", pay), Mount("/auth", helpers)])
    client = TestClient(app)

    refused = client.get("/pay", headers=descope.sign_in(ANN).headers)
    assert assert_step_up_challenge(refused)["step_up"]["start_uri"] == "/auth/step-up/otp/start"
    assert client.get("/pay", headers=descope.step_up(ANN).headers).json() is True


def test_other_refusals_do_not_say_where_to_step_up(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A step-up cures none of the other refusals."""
    app = without_prefix(guard)
    forged = descope.token(su=True, key=SigningKey())
    client = TestClient(app)

    for headers in ({}, {"Authorization": f"Bearer {forged}"}):
        assert "step_up" not in client.get("/pay", headers=headers).json()["detail"]


def test_construction_warns_once_about_plain_http(caplog: pytest.LogCaptureFixture) -> None:
    """Plain http on loopback is for development, and says so once, not per request (OB-011)."""
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        StepUpGuard.for_descope(PROJECT, base_url="http://127.0.0.1:61235")

    assert caplog.text.count("plain http") == 1


@pytest.mark.parametrize(
    ("part", "name"),
    [
        pytest.param(part, name, id=f"CF-009-{part or 'guard'}-{name}")
        for part, names in {
            "": ("project_id", "base_url", "verifier", "keys", "descope", "report_only", "realm"),
            "keys": ("url", "ttl", "algorithms"),
            "descope": ("project_id", "base_url"),
            "credentials": ("session_cookie", "allowed_origins"),
            "verifier": ("leeway", "audience", "issuers"),
        }.items()
        for name in names
    ],
)
def test_settings_hold(guard: StepUpGuard, part: str, name: str) -> None:
    """What guards a route cannot be loosened while it runs."""
    owner = getattr(guard, part) if part else guard
    before = getattr(owner, name)
    with pytest.raises(AttributeError, match="immutable"):
        setattr(owner, name, None)
    with pytest.raises(AttributeError, match="immutable"):
        delattr(owner, name)
    assert getattr(owner, name) is before

"""Decisions of entry points: one event and one audit record each, and nothing else."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from fastapi_stepup import (
    Claims,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    install,
    requires_step_up,
    stepup_router,
)
from fastapi_stepup.errors import ConfigurationError, StepUpError, StepUpRequired
from fastapi_stepup.events import (
    AuditRecord,
    Event,
    ReportOnly,
    StepUpAsked,
    StepUpMet,
    TokenCache,
    TokenRejected,
)
from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.guard.connections import ANN, PROJECT, Clock, request_with

pytestmark = pytest.mark.anyio

KEY = "a key of at least 16 bytes"
RECENT = StepUpPolicy(max_age=300)


class Heard:
    """What a guard reported."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.records: list[AuditRecord] = []

    def guard(self, **options: Any) -> StepUpGuard:
        """Return a guard that reports here."""
        given = {"audit_key": KEY} | options
        return StepUpGuard.for_descope(
            PROJECT, on_event=self.events.append, on_audit=self.records.append, **given
        )

    @property
    def decisions(self) -> list[Event]:
        """The events about decisions."""
        return [event for event in self.events if isinstance(event, (StepUpAsked, StepUpMet))]

    @property
    def said(self) -> list[tuple[str, str, str | None]]:
        """Action, outcome and reason of each record."""
        return [(each.action, each.outcome, each.reason) for each in self.records]


@pytest.fixture
def heard() -> Heard:
    """What the guard of a test reports."""
    return Heard()


def app_of(guard: StepUpGuard) -> FastAPI:
    """Return an app with a route behind each kind of entry point, and helper routes."""
    app = FastAPI()
    install(app, guard)
    app.include_router(stepup_router(guard))
    orders = APIRouter(prefix="/orders")
    step_up = Depends(RequireStepUp(guard, policy=RECENT))

    @orders.post("/{order_id}/dependency", dependencies=[step_up, step_up])
    def by_dependency() -> str:
        return "done"

    @app.get("/session")
    def session(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> str:
        return claims.subject

    @app.post("/handler")
    async def by_handler(request: Request) -> str:
        return (await guard.authorize(request, RECENT)).subject

    @requires_step_up(guard, RECENT)
    async def by_decorator(request: Request) -> Response:
        raise AssertionError

    app.include_router(orders)
    app.add_route("/decorator", by_decorator, methods=["POST"])

    @app.post("/middleware")
    def by_middleware() -> str:
        return "done"

    rules = [
        StepUpRule("/middleware", RECENT),
        StepUpRule("/step-up/*", RECENT),
        *(StepUpRule(p, "public") for p in ("/orders/*", "/session", "/handler", "/decorator")),
    ]
    app.add_middleware(StepUpMiddleware, guard=guard, rules=rules)
    return app


PATHS = {
    "dependency": ("/orders/7/dependency", "/orders/{order_id}/dependency"),
    "handler": ("/handler", "/handler"),
    "decorator": ("/decorator", "/decorator"),
    "middleware": ("/middleware", "/middleware"),
}


@pytest.mark.parametrize("entry_point", PATHS)
def test_refusal_is_reported_once_by_the_entry_point_that_makes_it(
    entry_point: str, heard: Heard
) -> None:
    """One event that names it, and one record with the template of the route."""
    guard = heard.guard()
    path, route = PATHS[entry_point]
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        headers = descope.sign_in(ANN).headers
        assert TestClient(app_of(guard)).post(path, headers=headers).status_code == 401

    assert heard.decisions == [StepUpAsked("step_up_missing", entry_point)]  # type: ignore[arg-type]
    (record,) = heard.records
    assert (record.action, record.outcome, record.reason) == (
        "access",
        "refused",
        "step_up_missing",
    )
    assert record.issuer == PROJECT
    assert record.route == route


@pytest.mark.parametrize("path", ["/orders/7/dependency", "/middleware"])
def test_met_policy_is_reported_once(path: str, heard: Heard) -> None:
    """With the age of the step-up; an equal policy asked twice is one decision."""
    guard = heard.guard()
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        headers = descope.step_up(ANN, age=100).headers
        assert TestClient(app_of(guard)).post(path, headers=headers).status_code == 200

    (met,) = heard.decisions
    assert isinstance(met, StepUpMet)
    assert met.age == pytest.approx(100, abs=3)
    assert heard.said == [("access", "succeeded", None)]


def test_session_alone_is_no_decision(heard: Heard) -> None:
    """Where no step-up is asked for nothing is reported but the token's own events."""
    guard = heard.guard()
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        headers = descope.sign_in(ANN).headers
        assert TestClient(app_of(guard)).get("/session", headers=headers).status_code == 200

    assert heard.decisions == []
    assert heard.records == []


def too_old(descope: DescopeEmulator) -> Tokens:
    """Return a session that was stepped up an hour ago."""
    return descope.step_up(ANN, age=3599)


@pytest.mark.parametrize(
    ("tokens", "policy", "reason"),
    [
        (lambda descope: descope.sign_in(ANN), StepUpPolicy(), "step_up_missing"),
        (too_old, RECENT, "step_up_expired"),
        (lambda descope: descope.step_up(ANN), StepUpPolicy(amr=["totp"]), "amr_missing"),
        (lambda descope: descope.step_up(ANN), StepUpPolicy(acr=["urn:x"]), "acr_missing"),
    ],
)
async def test_reason_is_the_first_unmet_requirement(
    tokens: Callable[[DescopeEmulator], Tokens], policy: StepUpPolicy, reason: str, heard: Heard
) -> None:
    """A word of a fixed list."""
    guard = heard.guard()
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        request = request_with(tokens(descope).headers)
        with pytest.raises(StepUpRequired):
            await guard.authorize(request, policy)

    assert heard.decisions == [StepUpAsked(reason, "handler")]  # type: ignore[arg-type]
    assert [record.reason for record in heard.records] == [reason]


@pytest.mark.parametrize(
    ("headers", "outcome", "reason"),
    [
        pytest.param({}, "refused", "unauthenticated", id="nobody"),
        pytest.param({"Authorization": "Bearer x.y.z"}, "refused", "malformed", id="bad-token"),
        pytest.param({"Authorization": "Bearer"}, "refused", "invalid_request", id="unreadable"),
        pytest.param({"Cookie": "DS=x"}, "refused", "cross_site_request", id="cross-site"),
    ],
)
@pytest.mark.parametrize("path", ["/handler", "/middleware"])
def test_caller_without_a_good_session_is_recorded_without_a_name(
    path: str, headers: dict[str, str], outcome: str, reason: str, heard: Heard
) -> None:
    """Nothing that such a caller sent is in the record."""
    guard = heard.guard()
    with DescopeEmulator(PROJECT).attach(guard):
        TestClient(app_of(guard)).post(path, headers=headers)

    assert heard.decisions == []
    assert heard.said == [("access", outcome, reason)]
    assert heard.records[0].subject is None
    assert heard.records[0].issuer is None


async def test_outage_is_a_failure_and_no_refusal(heard: Heard) -> None:
    """Nothing was decided about the caller."""
    guard = heard.guard()
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        headers = descope.sign_in(ANN).headers
        descope.fail(503, times=99)
        with pytest.raises(StepUpError):
            await guard.authorize(request_with(headers), RECENT)

    assert heard.said == [("access", "failed", "keys_unavailable")]


@pytest.mark.parametrize("path", ["/orders/7/dependency", "/middleware"])
def test_report_only_is_recorded_as_such(path: str, heard: Heard) -> None:
    """The request passed, so nothing was asked for."""
    guard = heard.guard(report_only=True)
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        headers = descope.sign_in(ANN).headers
        assert TestClient(app_of(guard)).post(path, headers=headers).status_code == 200

    assert heard.decisions == []
    assert ReportOnly("insufficient_user_authentication") in heard.events
    assert set(heard.said) == {("access", "reported", "step_up_missing")}


def test_report_only_middleware_records_a_caller_without_a_session(heard: Heard) -> None:
    """It refuses no request, and says so once."""
    guard = heard.guard(report_only=True)
    with DescopeEmulator(PROJECT).attach(guard):
        assert TestClient(app_of(guard)).post("/middleware").status_code == 200

    assert heard.said == [("access", "reported", "unauthenticated")]


def test_helper_route_that_the_middleware_leaves_open_is_no_refusal(heard: Heard) -> None:
    """Its policy would refuse the caller there; the route itself asks for a session."""
    guard = heard.guard()
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        tokens = descope.sign_in(ANN)
        body = {"refresh_token": tokens.refresh_token, "delivery": "email"}
        client = TestClient(app_of(guard))
        sent = client.post("/step-up/otp/start", headers=tokens.headers, json=body)
        status = client.get("/step-up/status", headers=tokens.headers)

    assert (sent.status_code, status.status_code) == (200, 200)
    assert heard.decisions == []
    assert heard.said == [("start", "succeeded", None)]


def test_websocket_that_is_closed_is_recorded(heard: Heard) -> None:
    """The reason of the refusal is there, though the caller learns a close code only."""
    guard = heard.guard()
    app = FastAPI()
    app.add_middleware(StepUpMiddleware, guard=guard, default=RECENT)

    @app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        """Never reached."""

    with DescopeEmulator(PROJECT).attach(guard) as descope:
        headers = descope.sign_in(ANN).headers
        with (
            pytest.raises(WebSocketDisconnect),
            TestClient(app).websocket_connect("/ws", headers=headers),
        ):
            raise AssertionError

    assert heard.decisions == [StepUpAsked("step_up_missing", "middleware")]
    assert heard.said == [("access", "refused", "step_up_missing")]


async def test_asking_again_is_reported_where_it_refuses_only(heard: Heard) -> None:
    """`recheck` before each message of a stream would flood the trail."""
    clock = Clock()
    guard = heard.guard(clock=clock)
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        request = request_with(descope.step_up(ANN).headers)
        await guard.authorize(request, RECENT)
        for _ in range(3):
            await guard.recheck(request)
        clock.ahead = 400
        with pytest.raises(StepUpError):
            await guard.recheck(request)

    assert heard.said == [("access", "succeeded", None), ("access", "refused", "step_up_expired")]


async def test_users_are_named_by_a_keyed_digest(heard: Heard) -> None:
    """The same under the same key, others under others; the user's id is nowhere."""

    async def subject_under(**options: Any) -> str | None:
        told = Heard()
        guard = told.guard(**options)
        with descope.attach(guard):
            await guard.authorize(request_with(tokens.headers), StepUpPolicy())
        return told.records[0].subject

    descope = DescopeEmulator(PROJECT)
    tokens = descope.step_up(ANN)
    digest = await subject_under()

    assert digest is not None
    assert len(digest) == 32
    assert tokens.user_id not in digest
    assert await subject_under(audit_key=KEY.encode()) == digest
    assert await subject_under(audit_key="another key of 16 bytes") != digest
    assert await subject_under(audit_key=None) != await subject_under(audit_key=None)
    assert await subject_under(audit_subjects="plain") == tokens.user_id


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ({}, None),
        ({"X-Request-ID": "req-1.a:b"}, "req-1.a:b"),
        ({"X-Request-ID": "x" * 129}, None),
        ({"X-Request-ID": "two words"}, None),
        ({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, "a" * 32),
        ({"traceparent": "00-short-1-01"}, None),
        ({"X-Request-ID": "r", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, "r"),
    ],
)
async def test_request_id_comes_from_the_caller_if_it_is_harmless(
    headers: dict[str, str], request_id: str | None, heard: Heard
) -> None:
    """At most 128 plain characters."""
    guard = heard.guard()
    with pytest.raises(StepUpError):
        await guard.authorize(request_with(headers))

    assert [record.request_id for record in heard.records] == [request_id]


@pytest.mark.parametrize(
    "options",
    [
        {"audit_subjects": "hashed"},
        {"audit_key": "too short"},
        {"audit_key": b"too short 15 by"},
        {"audit_key": 16},
    ],
)
def test_unusable_audit_options_are_refused(options: dict[str, Any]) -> None:
    """The message does not show the key."""
    with pytest.raises(ConfigurationError) as refused:
        StepUpGuard.for_descope(PROJECT, **options)

    assert "too short" not in str(refused.value)


def test_odd_user_id_breaks_no_decision(heard: Heard) -> None:
    """A lone surrogate is no UTF-8; whatever let it come here, the record is made."""
    claims = Claims({"iss": PROJECT, "sub": "U2\ud800"})
    heard.guard().decisions.record(request_with({}), "access", "succeeded", claims=claims)

    assert heard.said == [("access", "succeeded", None)]


def test_guard_without_hooks_reports_nothing() -> None:
    """Callers do not even ask what would be reported."""
    assert not StepUpGuard.for_descope(PROJECT).decisions.active
    assert StepUpGuard.for_descope(PROJECT, on_audit=print).decisions.active


@pytest.mark.parametrize("option", ["on_event", "on_audit"])
async def test_each_hook_works_without_the_other(option: str) -> None:
    """Both take a list."""
    seen: list[Any] = []
    hooks: Any = {option: [seen.append, seen.append]}
    guard = StepUpGuard.for_descope(PROJECT, **hooks)
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        await guard.authorize(request_with(descope.step_up(ANN).headers), RECENT)

    kinds = (StepUpMet, AuditRecord)
    assert len([each for each in seen if isinstance(each, kinds)]) == 2


async def test_rejected_token_is_an_event_and_a_record(heard: Heard) -> None:
    """The event counts, the record tells; both name the reason."""
    guard = heard.guard()
    with DescopeEmulator(PROJECT).attach(guard) as descope:
        request = request_with({"Authorization": f"Bearer {descope.token(iat=1, exp=2)}"})
        with pytest.raises(StepUpError):
            await guard.authorize(request)

    assert [each for each in heard.events if not isinstance(each, TokenCache)][-1] == (
        TokenRejected("expired")  # type: ignore[arg-type]
    )
    assert heard.said == [("access", "refused", "expired")]


def test_nothing_is_refused_where_a_helper_route_decides_itself(heard: Heard) -> None:
    """The dependency of the whole app lets a link be opened without a session."""
    guard = heard.guard()
    app = FastAPI(dependencies=[Depends(RequireSession(guard))])
    pages = ("https://shop.example/link",)
    app.include_router(stepup_router(guard, methods=["enchantedlink"], redirect_uris=pages))
    with DescopeEmulator(PROJECT).attach(guard):
        opened = TestClient(app).post("/step-up/enchantedlink/verify", json={"token": "t"})
        begun = TestClient(app).post("/step-up/enchantedlink/start", json={})

    assert (opened.status_code, begun.status_code) == (400, 401)
    assert [said for said in heard.said if said[0] == "access"] == [
        ("access", "refused", "unauthenticated")
    ]

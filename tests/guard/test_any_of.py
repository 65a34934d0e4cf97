"""any_of: a route for the tokens of several issuers."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated, Any, NamedTuple

import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.websockets import WebSocketDisconnect

from fastapi_stepup import (
    Challenge,
    Claims,
    CredentialReader,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    any_of,
    guarded_routes,
    install,
    requires_step_up,
    stepup_router,
)
from fastapi_stepup.errors import ConfigurationError, InvalidToken, StepUpRequired
from fastapi_stepup.events import Event, TokenRejected
from fastapi_stepup.testing import DescopeEmulator, OIDCIssuer

PROJECT = "P2abcdefghijklmnopqrstuvwxyz"
STAFF, PARTNERS, API = "https://staff.example", "https://partners.example/", "https://api.example"
FRESH = StepUpPolicy(max_age=300)


class Issuers(NamedTuple):
    """Three guards, what stands in for their issuers, and the events of the first one."""

    customers: StepUpGuard
    staff: StepUpGuard
    partners: StepUpGuard
    descope: DescopeEmulator
    staff_issuer: OIDCIssuer
    partner_issuer: OIDCIssuer
    events: list[Event]

    @property
    def guard(self) -> StepUpGuard:
        """The guard for all of them."""
        return any_of(self.customers, self.staff, self.partners)


@pytest.fixture
def issuers() -> Iterator[Issuers]:
    """Everything, for the time of the test."""
    events: list[Event] = []
    customers = StepUpGuard.for_descope(PROJECT, on_event=events.append)
    staff = StepUpGuard.for_oidc(STAFF, audience=API)
    partners = StepUpGuard.for_oidc(PARTNERS, audience=API, session_cookie="partner")
    with ExitStack() as stack:
        yield Issuers(
            customers,
            staff,
            partners,
            stack.enter_context(DescopeEmulator(project_id=PROJECT).attach(customers)),
            stack.enter_context(OIDCIssuer(STAFF, audience=API).attach(staff)),
            stack.enter_context(OIDCIssuer(PARTNERS, audience=API).attach(partners)),
            events,
        )


def client_of(guard: StepUpGuard) -> TestClient:
    """Return a client of an app that *guard* is in front of."""
    app = FastAPI()
    install(app, guard)

    @app.get("/pay")
    async def pay(claims: Annotated[Claims, Depends(RequireStepUp(guard, policy=FRESH))]) -> str:
        return claims.issuer

    @app.post("/me")
    async def me(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> str:
        return claims.issuer

    return TestClient(app)


def test_the_issuer_chooses_the_guard(issuers: Issuers) -> None:
    """And no other issuer is asked anything."""
    client = client_of(issuers.guard)

    assert client.get("/pay", headers=issuers.staff_issuer.headers(age=5)).json() == STAFF
    assert (issuers.partner_issuer.requests, issuers.descope.requests) == ([], [])
    assert client.get("/pay", headers=issuers.partner_issuer.headers(age=5)).json() == PARTNERS
    stepped_up = issuers.descope.step_up("ann@example.com")
    assert client.get("/pay", headers=stepped_up.headers).json() == PROJECT


def test_a_foreign_issuer_is_rejected_before_anything_is_fetched(issuers: Issuers) -> None:
    """As is a token that names none."""
    client = client_of(issuers.guard)
    foreign = OIDCIssuer("https://evil.example", audience=API)
    tokens = [foreign.token(age=5), "opaque", "a.b", "a.e30.c", "a.bnVsbA.c", "a.eyJpc3MiOjF9.c"]

    for token in [*tokens, "x" * 70_000]:
        answer = client.get("/pay", headers={"Authorization": f"Bearer {token}"})
        assert answer.json()["code"] == "invalid_token", token[:80]
    for stand_in in (issuers.staff_issuer, issuers.partner_issuer, issuers.descope):
        assert stand_in.requests == []
    assert [e.reason for e in issuers.events if isinstance(e, TokenRejected)] == ["issuer"] * 7


def test_a_signature_counts_by_the_keys_of_the_issuer_that_is_named(issuers: Issuers) -> None:
    """One issuer cannot sign for another one."""
    forged = issuers.staff_issuer.token(iss=PARTNERS, age=5)

    answer = client_of(issuers.guard).get("/pay", headers={"Authorization": f"Bearer {forged}"})

    assert answer.json()["code"] == "invalid_token"


def test_each_session_is_told_how_it_can_step_up(issuers: Issuers) -> None:
    """Descope's has helper routes; the others have the challenge alone, with the same realm."""
    app = FastAPI()
    install(app, issuers.guard)
    app.include_router(stepup_router(issuers.customers))

    @app.get("/pay", dependencies=[Depends(RequireStepUp(issuers.guard, policy=FRESH))])
    async def pay() -> None:
        """Pay."""

    client = TestClient(app)
    signed_in = issuers.descope.sign_in("ann@example.com").headers
    answers = [client.get("/pay", headers=h) for h in (signed_in, issuers.staff_issuer.headers())]

    assert ["step_up" in answer.json() for answer in answers] == [True, False]
    for answer in [*answers, client.get("/pay")]:
        challenge = Challenge.parse(answer.headers["WWW-Authenticate"])[0]
        assert challenge.realm == PROJECT


def test_a_step_up_that_a_hook_asks_for_leads_to_the_helper_routes() -> None:
    """There are no claims yet that could tell the issuer, so those of all guards count."""

    def ask_for_more(claims: Claims) -> bool:
        raise StepUpRequired([{"requirement": "step_up", "reason": "missing"}])

    customers = StepUpGuard.for_descope(PROJECT, is_revoked=ask_for_more)
    guard = any_of(customers, StepUpGuard.for_oidc(STAFF, audience=API))
    client = client_of(guard)
    client.app.include_router(stepup_router(customers))  # type: ignore[attr-defined]  # a FastAPI
    with DescopeEmulator(project_id=PROJECT).attach(customers) as descope:
        refused = client.get("/pay", headers=descope.step_up("ann@example.com").headers)

    assert refused.json()["code"] == "insufficient_user_authentication"
    assert refused.json()["step_up"]["verify_uri"] == "/step-up/otp/verify"


def test_a_dependency_of_the_whole_app_leaves_helper_routes_open(issuers: Issuers) -> None:
    """A step-up asked there could never be done."""
    app = FastAPI(dependencies=[Depends(RequireStepUp(issuers.guard, policy=FRESH))])
    app.include_router(stepup_router(issuers.customers))
    tokens = issuers.descope.sign_in("ann@example.com")

    answer = TestClient(app).post(
        "/step-up/otp/start",
        headers=tokens.headers,
        json={"delivery": "email", "refresh_token": tokens.refresh_token},
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("cookies", "expected"),
    [
        pytest.param(lambda w: {"partner": w.partner_issuer.token()}, 200, id="own"),
        pytest.param(lambda w: {"partner": w.staff_issuer.token()}, 401, id="of-another"),
        pytest.param(lambda w: {"DS": w.staff_issuer.token()}, 401, id="of-descope"),
        pytest.param(
            lambda w: {"DS": w.staff_issuer.token(), "partner": w.partner_issuer.token()},
            200,
            id="each-reads-its-own",
        ),
        pytest.param(lambda w: {"x": w.partner_issuer.token()}, 401, id="unknown"),
    ],
)
def test_a_cookie_is_for_the_guard_that_reads_it(
    issuers: Issuers, cookies: Any, expected: int
) -> None:
    """The guard of the staff reads none, so a token of theirs in a cookie is no credential."""
    client = client_of(issuers.guard)
    client.cookies.update(cookies(issuers))

    answer = client.post("/me", headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == expected
    cross = client.post("/me", headers={"Sec-Fetch-Site": "cross-site"})
    assert cross.status_code == (401 if "x" in client.cookies else 403)


def test_a_policy_must_be_one_that_all_can_meet(issuers: Issuers) -> None:
    """With Descope alone, a mere step-up can be asked for."""
    other = StepUpGuard.for_descope("P3abcdefghijklmnopqrstuvwxyz")

    with pytest.raises(ConfigurationError, match="ask for max_age, acr or amr"):
        RequireStepUp(issuers.guard)
    assert RequireStepUp(any_of(issuers.customers, other)).guard.members == (
        issuers.customers,
        other,
    )


def test_the_same_guards_are_one_guard(issuers: Issuers) -> None:
    """Written out at each route it is one dependency; nesting and repetition change nothing."""
    a, b, c = issuers.customers, issuers.staff, issuers.partners

    assert any_of(a, b) is any_of(a, b)
    assert any_of(any_of(a, b), c, a) is any_of(a, b, c)
    assert any_of(b, a) is not any_of(a, b)
    assert any_of(a) is a
    assert a.members == (a,)
    assert repr(any_of(a, b)) == f"any_of({a!r}, {b!r})"


def test_a_guard_that_is_used_no_more_goes() -> None:
    """Nothing holds on to it."""
    guards = [StepUpGuard.for_oidc(f"https://{n}.example", audience=API) for n in "ab"]
    reference = weakref.ref(any_of(*guards))

    gc.collect()

    assert reference() is None


@pytest.mark.parametrize(
    ("guards", "message"),
    [
        ((), "at least one"),
        (("P2",), "takes guards, not str"),
        (
            (
                StepUpGuard.for_oidc(STAFF, audience=API),
                StepUpGuard.for_oidc(STAFF, audience="https://other.example"),
            ),
            "same issuer",
        ),
        (
            (
                StepUpGuard.for_oidc(f"https://api.descope.com/{PROJECT}", audience=API),
                StepUpGuard.for_descope(PROJECT),
            ),
            "same issuer",
        ),
        (
            (
                StepUpGuard.for_oidc(STAFF, audience=API, report_only=True),
                StepUpGuard.for_descope(PROJECT),
            ),
            "report-only",
        ),
    ],
)
def test_guards_that_cannot_be_one(guards: tuple[Any, ...], message: str) -> None:
    """The message says what to change."""
    with pytest.raises(ConfigurationError, match=message):
        any_of(*guards)


def test_helper_routes_need_the_guard_of_descope(issuers: Issuers) -> None:
    """And not one that is made of several."""
    with pytest.raises(ConfigurationError, match="also where it is one in any_of"):
        stepup_router(issuers.guard)


def test_its_routes_are_described_and_listed(issuers: Issuers) -> None:
    """Those of its members too, since a route that asks one of them is guarded."""
    app = FastAPI(openapi_url="/schema")
    guard = issuers.guard
    install(app, guard)

    @app.get("/any", dependencies=[Depends(RequireStepUp(guard, policy=FRESH))])
    async def any_() -> None:
        """Take any."""

    @app.get("/staff", dependencies=[Depends(RequireSession(issuers.staff))])
    async def staff() -> None:
        """Take staff."""

    @app.get("/decorated")
    @requires_step_up(issuers.customers)
    async def decorated(request: Request) -> None:
        """Take customers."""

    listed = {route.path: route.is_open for route in guarded_routes(app, guard)}
    assert listed["/any"] is listed["/staff"] is listed["/decorated"] is False
    assert {r.path for r in guarded_routes(app, issuers.staff) if not r.is_open} == {"/staff"}
    schema = TestClient(app).get("/schema").json()
    assert schema["paths"]["/staff"]["get"]["security"] == [{"AccessToken": []}]
    assert schema["paths"]["/any"]["get"]["x-step-up"] == {"max_age": 300}
    assert schema["paths"]["/any"]["get"]["security"] == [
        {"DescopeSession": []},
        {"AccessToken": []},
        {"DescopeSessionCookie": []},
        {"AccessTokenCookie": []},
    ]
    assert set(schema["components"]["securitySchemes"]) == {
        "DescopeSession",
        "AccessToken",
        "DescopeSessionCookie",
        "AccessTokenCookie",
    }
    example = schema["paths"]["/any"]["get"]["responses"]["401"]["content"]
    refusal = example["application/problem+json"]["examples"]["insufficient_user_authentication"]
    assert refusal["value"]["unmet"] == [{"requirement": "step_up", "reason": "missing"}]


def test_the_middleware_takes_it(issuers: Issuers) -> None:
    """With the same answers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    guarded = StepUpMiddleware(app, guard=issuers.guard, default=FRESH)
    client = TestClient(guarded)

    assert client.get("/", headers=issuers.staff_issuer.headers(age=5)).status_code == 204
    assert client.get("/", headers=issuers.staff_issuer.headers(age=500)).status_code == 401
    assert client.get("/", headers=issuers.descope.step_up("ann@x.example").headers).is_success


def test_a_token_of_the_first_message_is_chosen_for_too(issuers: Issuers) -> None:
    """`authorize(token=…)` and `recheck` go the same way."""
    app = FastAPI()
    guard = issuers.guard

    @app.websocket("/")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        token = await websocket.receive_text()
        claims = await guard.authorize(websocket, FRESH, token=token)
        await websocket.send_text(claims.issuer)
        await websocket.send_text((await guard.recheck(websocket)).issuer)

    with TestClient(app).websocket_connect("/") as connected:
        connected.send_text(issuers.staff_issuer.token(age=5))
        assert [connected.receive_text(), connected.receive_text()] == [STAFF, STAFF]
    with TestClient(app).websocket_connect("/") as connected:
        connected.send_text("nonsense")
        with pytest.raises(WebSocketDisconnect):
            connected.receive_text()


@pytest.mark.anyio
async def test_it_opens_and_shows_all_its_guards(issuers: Issuers) -> None:
    """Health is that of the guard that is worst off."""
    guard = any_of(issuers.staff, issuers.partners)
    assert not guard.health().ok

    async with guard:
        assert guard.health().ok
        issuers.partners.verifier.clear()
        assert (await guard.verify(issuers.staff_issuer.token())).issuer == STAFF
        guard.verifier.forget("ann")
        guard.verifier.clear()
        assert guard.verifier.accepts_issuer(PARTNERS)
        assert not guard.verifier.accepts_issuer(PARTNERS.rstrip("/"))
        assert issuers.staff.verifier._cache._tokens == {}
    with pytest.raises(InvalidToken, match="not valid"):
        await guard.verifier.verify_refresh(issuers.staff_issuer.token())
    with (
        pytest.raises(ConfigurationError, match="to each of the guards"),
        guard.on_transport(issuers.staff_issuer.transport),
    ):
        raise AssertionError
    assert repr(guard.verifier).count("AccessTokenVerifier") == 2
    for name in ("keys", "descope", "project_id"):
        with pytest.raises(AttributeError):
            getattr(guard, name)


def test_fields_of_the_members_are_seen(issuers: Issuers) -> None:
    """Also where one of them takes its token from another field."""
    other = StepUpGuard.for_oidc(
        "https://c.example", audience=API, credentials=CredentialReader(header="X-Token")
    )
    reader = any_of(issuers.staff, other).credentials

    for name, seen in ((b"x-token", True), (b"authorization", True), (b"x", False)):
        scope = {"type": "http", "headers": [(name, b"a")]}
        assert reader.has_token_field(Request(scope)) is seen

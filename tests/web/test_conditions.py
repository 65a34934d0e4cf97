"""`when=`: a policy that only some requests must meet."""

from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Form, Request
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from fastapi_stepup import (
    Claims,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpPolicy,
    StepUpRoute,
    guarded_routes,
    install,
)
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.testing import DescopeEmulator

ANN = "ann@example.com"
RECENT = StepUpPolicy(max_age="5m")
PASSKEY = StepUpPolicy(amr=["webauthn"])


class Transfer(BaseModel):
    """A body."""

    amount: int


async def over_limit(transfer: Transfer) -> bool:
    """Ask for a step-up above the limit."""
    return transfer.amount > 1000


def from_abroad(connection: HTTPConnection) -> bool:
    """Ask for a step-up where a header field says so."""
    return "x-abroad" in connection.headers


def transfers(guard: StepUpGuard, route_class: Any = None) -> FastAPI:
    """An app with one conditional route."""
    app = FastAPI()
    if route_class is not None:
        app.router.route_class = route_class
    install(app, guard)

    @app.post("/transfers")
    async def pay(
        transfer: Transfer,
        claims: Annotated[Claims, Depends(RequireStepUp(guard, policy=RECENT, when=over_limit))],
    ) -> int:
        return transfer.amount

    return app


def guarded_by(required: RequireStepUp, **options: Any) -> FastAPI:
    """An app with one route without a body."""
    app = FastAPI(**options)
    app.post("/pay", dependencies=[Depends(required)])(lambda: "done")
    return app


@pytest.mark.parametrize("route_class", [None, StepUpRoute])
def test_amount_decides(route_class: Any, guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Under the limit a session is enough, over it a step-up is asked."""
    client = TestClient(transfers(guard, route_class))
    ann = dict(descope.sign_in(ANN).headers)
    stepped_up = dict(descope.step_up(ANN).headers)

    assert client.post("/transfers", json={"amount": 50}, headers=ann).json() == 50
    refused = client.post("/transfers", json={"amount": 5000}, headers=ann)
    assert (refused.status_code, refused.json()["code"], refused.json()["max_age"]) == (
        401,
        "insufficient_user_authentication",
        300,
    )
    assert client.post("/transfers", json={"amount": 5000}, headers=stepped_up).json() == 5000
    assert client.post("/transfers", json={"amount": "many"}, headers=ann).status_code == 422


def test_body_keeps_its_schema(guard: StepUpGuard) -> None:
    """The condition takes the body of the route and adds nothing to it."""
    operation = transfers(guard).openapi()["paths"]["/transfers"]["post"]

    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Transfer"}
    assert "parameters" not in operation
    assert operation["x-step-up"] == {"stepped_up": True, "max_age": 300, "conditional": True}
    assert "401" in operation["responses"]


def test_no_condition_runs_without_a_session(guard: StepUpGuard) -> None:
    """A caller without a session cannot keep a slow condition busy."""

    def count() -> bool:
        raise AssertionError

    client = TestClient(guarded_by(RequireStepUp(guard, when=count)))

    assert client.post("/pay").status_code == 401


@pytest.mark.parametrize("body", [{"amount": 50}, {"amount": "many"}])
def test_without_a_session_even_a_malformed_body_is_401(
    body: dict[str, Any], guard: StepUpGuard
) -> None:
    """`False` never makes a route public."""
    assert TestClient(transfers(guard)).post("/transfers", json=body).status_code == 401


@pytest.mark.parametrize("answer", [None, 0, 1, "", "no", []])
def test_only_true_and_false_are_answers(
    answer: object, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Anything else is an error of the app, even for a session that is stepped up."""
    client = TestClient(guarded_by(RequireStepUp(guard, when=lambda: answer)))

    with pytest.raises(TypeError, match=r"<lambda>, given as when=, returns True or False, not "):
        client.post("/pay", headers=descope.step_up(ANN).headers)


def test_coroutine_that_was_not_awaited_is_no_answer(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A coroutine is true, and decides nothing."""

    async def later() -> bool:
        return False

    app = guarded_by(RequireStepUp(guard, when=lambda: later()))  # noqa: PLW0108  # the mistake
    client = TestClient(app, raise_server_exceptions=False)

    assert client.post("/pay", headers=descope.step_up(ANN).headers).status_code == 500


def test_exception_in_a_condition_is_500(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Never open on error."""

    def broken() -> bool:
        raise ValueError

    client = TestClient(
        guarded_by(RequireStepUp(guard, when=broken)), raise_server_exceptions=False
    )

    assert client.post("/pay", headers=descope.step_up(ANN).headers).status_code == 500


def test_condition_that_reads_the_raw_body_of_a_form_is_500(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """FastAPI has read the form by then."""

    async def reads(request: Request) -> bool:
        return b"9999" in await request.body()

    app = FastAPI()

    @app.post("/pay", dependencies=[Depends(RequireStepUp(guard, when=reads))])
    async def pay(amount: Annotated[int, Form()]) -> None: ...

    client = TestClient(app, raise_server_exceptions=False)
    headers = descope.step_up(ANN).headers

    assert client.post("/pay", data={"amount": 5}, headers=headers).status_code == 500


def test_condition_takes_fields_of_a_form(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Fields have names of their own, so other ones than the route's are fine."""

    def over(amount: Annotated[int, Form()]) -> bool:
        return amount > 10

    app = FastAPI()
    install(app, guard)

    @app.post("/pay", dependencies=[Depends(RequireStepUp(guard, when=over))])
    async def pay(note: Annotated[str, Form()]) -> str:
        return note

    client, headers = TestClient(app), dict(descope.sign_in(ANN).headers)

    for amount, status in ((5, 200), (50, 401)):
        data = {"amount": amount, "note": "x"}
        assert client.post("/pay", data=data, headers=headers).status_code == status


def test_condition_asks_for_claims_and_runs_once(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Equal dependencies run once a request, with their condition."""
    runs: list[str] = []

    def known(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> bool:
        runs.append(claims.subject)
        return False

    app = guarded_by(
        RequireStepUp(guard, when=known), dependencies=[Depends(RequireStepUp(guard, when=known))]
    )
    ann = descope.sign_in(ANN)

    assert TestClient(app).post("/pay", headers=ann.headers).status_code == 200
    assert runs == [ann.user_id]


def test_condition_can_be_overridden(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """A test of the app decides for the condition."""
    app = transfers(guard)
    app.dependency_overrides[over_limit] = lambda: True
    client, headers = TestClient(app), dict(descope.sign_in(ANN).headers)

    assert client.post("/transfers", json={"amount": 1}, headers=headers).status_code == 401


def test_report_only_reports_and_lets_pass(descope: DescopeEmulator) -> None:
    """The condition is asked, the refusal is only reported."""
    guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz", report_only=True)
    client, headers = TestClient(transfers(guard)), dict(descope.sign_in(ANN).headers)

    with descope.attach(guard):
        response = client.post("/transfers", json={"amount": 5000}, headers=headers)

    assert response.status_code == 200


@pytest.mark.parametrize(("more", "is_refused"), [({}, False), ({"x-abroad": "1"}, True)])
def test_websocket(
    more: dict[str, str], *, is_refused: bool, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A condition decides about a WebSocket by its head."""
    app = FastAPI()
    install(app, guard)

    @app.websocket("/chat", dependencies=[Depends(RequireStepUp(guard, when=from_abroad))])
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    headers = {**descope.sign_in(ANN).headers, **more}
    session = TestClient(app).websocket_connect("/chat", headers=headers)
    if not is_refused:
        with session:
            return
    with pytest.raises(WebSocketDenialResponse) as denied, session:
        raise AssertionError
    assert denied.value.json()["code"] == "insufficient_user_authentication"


@pytest.mark.parametrize("is_inner", [True, False])
@pytest.mark.parametrize("is_yes", [True, False])
def test_challenge_names_it_only_where_the_condition_said_yes(
    *, is_yes: bool, is_inner: bool, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A policy that need not be met is not named; one that refuses first does not know yet."""
    conditional = Depends(RequireStepUp(guard, policy=PASSKEY, when=from_abroad))
    plain = Depends(RequireStepUp(guard, policy=RECENT))
    app = FastAPI(dependencies=[plain if is_inner else conditional])
    app.post("/pay", dependencies=[conditional if is_inner else plain])(lambda: "done")
    install(app, guard)
    abroad = {"x-abroad": "1"} if is_yes else {}

    problem = TestClient(app).post("/pay", headers={**descope.sign_in(ANN).headers, **abroad})

    assert problem.json()["max_age"] == 300
    assert ("amr" in problem.json()) == (is_yes and not is_inner)


def test_inventory_says_when(guard: StepUpGuard) -> None:
    """The condition stands beside the policy, and the route asks sometimes."""
    app = transfers(guard)
    app.get("/plain", dependencies=[Depends(RequireStepUp(guard))])(lambda: 1)
    app.get("/session", dependencies=[Depends(RequireSession(guard))])(lambda: 1)
    routes = {route.path: route for route in guarded_routes(app, guard)}

    entry_point = next(
        asked for _, asked in routes["/transfers"].entry_points if asked != "session"
    )
    assert str(entry_point) == f"{RECENT} when over_limit"
    asks = [routes[path].asks_step_up for path in ("/transfers", "/plain", "/session")]
    assert asks == ["sometimes", True, False]


def test_conditions_tell_dependencies_apart(guard: StepUpGuard) -> None:
    """Equal ones run once a request, so the condition counts."""
    one = RequireStepUp(guard, when=over_limit)

    assert one == RequireStepUp(guard, when=over_limit)
    assert hash(one) == hash(RequireStepUp(guard, when=over_limit))
    assert one not in {RequireStepUp(guard), RequireStepUp(guard, when=from_abroad)}
    assert "over_limit" in repr(one)
    with pytest.raises(AttributeError, match="immutable"):
        one.when = None


class Unhashable:
    """Can be called, but FastAPI cannot remember its answer."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> bool:
        """Answer."""
        return True


def test_condition_is_any_callable(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """One without a name of its own is called by that of its type."""

    def nothing() -> None:
        """Forget to answer."""

    client = TestClient(guarded_by(RequireStepUp(guard, when=partial(nothing))))

    with pytest.raises(
        TypeError, match="partial, given as when=, returns True or False, not NoneType"
    ):
        client.post("/pay", headers=descope.step_up(ANN).headers)


@pytest.mark.parametrize("when", [True, Depends(over_limit), "over_limit", Unhashable()])
def test_condition_is_a_function(when: Any, guard: StepUpGuard) -> None:
    """Whatever cannot be asked is found where it is declared."""
    with pytest.raises(ConfigurationError, match="when is a function that returns True or False"):
        RequireStepUp(guard, when=when)


def test_subclass_with_a_call_of_its_own_takes_no_condition(guard: StepUpGuard) -> None:
    """FastAPI would not give it the answer."""

    class Own(RequireStepUp):
        async def __call__(self, connection: HTTPConnection) -> Claims:
            raise AssertionError

    with pytest.raises(ConfigurationError, match="Own has a __call__ of its own"):
        Own(guard, when=over_limit)

"""`StepUpRule(…, when=…)`: a policy that only some requests must meet, in the middleware."""

from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from fastapi_stepup import (
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    claims_from,
    guarded_routes,
    install,
)
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.testing import DescopeEmulator

ANN = "ann@example.com"
RECENT = StepUpPolicy(max_age="5m")
PASSKEY = StepUpPolicy(amr=["webauthn"])


def from_abroad(connection: HTTPConnection) -> bool:
    """Ask for a step-up where a header field says so."""
    return "x-abroad" in connection.headers


async def from_abroad_later(connection: HTTPConnection) -> bool:
    """Do so asynchronously, of a user that is known by now."""
    return bool(claims_from(connection).subject) and from_abroad(connection)


def behind(guard: StepUpGuard, *rules: StepUpRule) -> FastAPI:
    """An app that answers with the body, behind rules."""
    app = FastAPI()

    @app.post("/pay")
    async def pay(request: Request) -> str:
        return (await request.body()).decode()

    app.add_middleware(StepUpMiddleware, guard=guard, rules=rules)
    install(app, guard)
    return app


@pytest.mark.parametrize("when", [from_abroad, from_abroad_later])
def test_head_decides(when: Any, guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Where the condition says no, a session is enough, and the body is left to the app."""
    client = TestClient(behind(guard, StepUpRule("/pay", RECENT, when=when)))
    ann, abroad = dict(descope.sign_in(ANN).headers), {"x-abroad": "1"}
    stepped_up = dict(descope.step_up(ANN).headers)

    assert client.post("/pay", content="7", headers=ann).json() == "7"
    refused = client.post("/pay", content="7", headers=ann | abroad)
    assert (refused.status_code, refused.json()["max_age"]) == (401, 300)
    assert client.post("/pay", content="7", headers=stepped_up | abroad).json() == "7"


def test_no_condition_runs_without_a_session(guard: StepUpGuard) -> None:
    """`False` never makes a path public."""

    def count(connection: HTTPConnection) -> bool:
        raise AssertionError

    rule = StepUpRule("/pay", RECENT, when=count)

    response = TestClient(behind(guard, rule)).post("/pay")

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("answer", [None, 0, 1, "no"])
def test_only_true_and_false_are_answers(
    answer: Any, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Anything else is an error of the app."""
    client = TestClient(behind(guard, StepUpRule("/pay", RECENT, when=lambda _: answer)))

    with pytest.raises(TypeError, match="returns True or False"):
        client.post("/pay", headers=descope.step_up(ANN).headers)


def test_exception_is_500(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Never open on error."""

    def broken(connection: HTTPConnection) -> bool:
        raise ValueError

    app = behind(guard, StepUpRule("/pay", RECENT, when=broken))
    client = TestClient(app, raise_server_exceptions=False)

    assert client.post("/pay", headers=descope.step_up(ANN).headers).status_code == 500


@pytest.mark.parametrize(("abroad", "is_named"), [({}, False), ({"x-abroad": "1"}, True)])
def test_challenge_names_it_only_where_the_condition_said_yes(
    abroad: dict[str, str], *, is_named: bool, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The route behind the middleware names what the rule asked of this request."""
    app = FastAPI()
    app.post("/pay", dependencies=[Depends(RequireStepUp(guard, policy=RECENT))])(lambda: 1)
    rule = StepUpRule("/pay", PASSKEY, when=from_abroad)
    app.add_middleware(StepUpMiddleware, guard=guard, rules=[rule])
    install(app, guard)

    headers = {**descope.sign_in(ANN).headers, **abroad}
    problem = TestClient(app).post("/pay", headers=headers).json()

    assert (problem["max_age"], "amr" in problem) == (300, is_named)


def test_loose_spelling_asks_the_condition_too(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A lenient app behind may serve it, so both what matches loosely and the default count."""
    app = behind(guard, StepUpRule("/pay", RECENT, when=from_abroad), StepUpRule("/*", "session"))
    headers = {**descope.sign_in(ANN).headers, "x-abroad": "1"}

    assert (
        TestClient(app).post("/PAY", headers=headers).json()["code"]
        == "insufficient_user_authentication"
    )


def test_a_rule_beside_one_with_a_condition_stands(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Whatever the condition says, the other policy that the path meets is asked."""
    rules = (StepUpRule("/Pay", PASSKEY), StepUpRule("/pay", RECENT, when=from_abroad))
    client = TestClient(behind(guard, *rules))

    refused = client.post("/pay", headers=descope.step_up(ANN).headers)
    assert (refused.status_code, refused.json()["amr"]) == (401, ["webauthn"])
    passkey = descope.step_up(ANN, amr=["webauthn"]).headers
    assert client.post("/pay", headers=passkey).status_code == 200


def test_report_only_asks_no_condition_without_a_session() -> None:
    """The missing session is reported, and the request passes."""
    guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz", report_only=True)

    def count(connection: HTTPConnection) -> bool:
        raise AssertionError

    rule = StepUpRule("/pay", RECENT, when=count)
    client = TestClient(behind(guard, rule))

    assert client.post("/pay", content="7").json() == "7"


def test_inventory_and_schema_say_when(guard: StepUpGuard) -> None:
    """The rule's condition is shown like a dependency's."""
    app = behind(guard, StepUpRule("/pay", RECENT, when=from_abroad))
    route = next(each for each in guarded_routes(app, guard) if each.path == "/pay")

    assert [str(asked) for _, asked in route.entry_points] == [f"{RECENT} when from_abroad"]
    assert route.asks_step_up == "sometimes"
    extension = app.openapi()["paths"]["/pay"]["post"]["x-step-up"]
    assert extension == {"stepped_up": True, "max_age": 300, "conditional": True}


def test_route_with_parameters_is_listed_with_its_condition(guard: StepUpGuard) -> None:
    """The inventory finds it for templates as well."""
    app = FastAPI()
    app.post("/pay/{number}")(lambda number: number)
    rules = [StepUpRule("/pay/*", RECENT, when=from_abroad)]
    app.add_middleware(StepUpMiddleware, guard=guard, rules=rules)
    route = next(each for each in guarded_routes(app, guard) if each.path == "/pay/{number}")

    assert route.asks_step_up == "sometimes"


@pytest.mark.parametrize("require", ["session", "public"])
def test_condition_needs_a_policy(require: Any) -> None:
    """There is nothing to decide about."""
    with pytest.raises(ConfigurationError, match="give a StepUpPolicy beside it"):
        StepUpRule("/pay", require, when=from_abroad)


def test_condition_is_a_function() -> None:
    """Whatever cannot be asked is found where it is declared."""
    with pytest.raises(ConfigurationError, match="when is a function"):
        StepUpRule("/pay", RECENT, when=True)  # type: ignore[arg-type]

"""RequireSession and RequireStepUp: what FastAPI makes of them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Security
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from fastapi_stepup import (
    Claims,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
)
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.testing import DescopeEmulator, Tokens, assert_step_up_challenge
from tests.support.attack_requests import SECRET

ANN = "ann@example.com"


class Counted(RequireStepUp):
    """A `RequireStepUp` that counts its runs."""

    runs = 0

    async def __call__(self, connection: HTTPConnection) -> Claims:
        """Count, then do as the parent does."""
        type(self).runs += 1
        return await super().__call__(connection)


def headers_of(tokens: Tokens) -> dict[str, str]:
    """Return fresh headers: the test client writes into those of a WebSocket."""
    return dict(tokens.headers)


def test_session_is_enough_where_only_a_session_is_asked(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """`RequireSession` lets a plain session in, and no request without one."""
    app = FastAPI()

    @app.get("/cart")
    def cart(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> str:
        return claims.subject

    client, ann = TestClient(app), descope.sign_in(ANN)

    assert client.get("/cart", headers=ann.headers).json() == ann.user_id
    assert client.get("/cart").status_code == 401


def test_step_up_is_asked_with_the_policy_of_the_arguments(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """`max_age`, `amr` and `acr` become the policy that the challenge names."""
    asked = RequireStepUp(guard, max_age="5m", amr="sms", acr=["phr", "phrh"])
    assert asked.policy == StepUpPolicy(max_age=300, amr=["sms"], acr=["phr", "phrh"])
    app = FastAPI()

    @app.get("/pay", dependencies=[Depends(RequireStepUp(guard, max_age="5m", amr="sms"))])
    async def pay() -> None:
        """Nothing to do."""

    client = TestClient(app)

    refused = client.get("/pay", headers=descope.sign_in(ANN).headers)
    assert_step_up_challenge(refused, max_age=300, amr=["sms"])
    accepted = client.get("/pay", headers=descope.step_up(ANN, amr=["email", "sms"]).headers)
    assert accepted.status_code == 200


@pytest.mark.parametrize("on", ["app", "router", "include", "route"])
def test_it_guards_on_every_level(on: str, guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """As a dependency of the app, of a router, of its inclusion or of a route."""
    dependencies = {
        level: [Depends(RequireStepUp(guard))] if level == on else []
        for level in ("app", "router", "include", "route")
    }
    app = FastAPI(dependencies=dependencies["app"])
    router = APIRouter(dependencies=dependencies["router"])

    @router.get("/pay", dependencies=dependencies["route"])
    def pay() -> None:
        """Nothing to do."""

    @router.websocket("/ws", dependencies=dependencies["route"])
    async def converse(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app.include_router(router, dependencies=dependencies["include"])
    client, plain, stepped_up = TestClient(app), descope.sign_in(ANN), descope.step_up(ANN)

    assert_step_up_challenge(client.get("/pay", headers=plain.headers))
    assert client.get("/pay", headers=stepped_up.headers).status_code == 200
    websocket = client.websocket_connect("/ws", headers=headers_of(plain))
    with pytest.raises(WebSocketDenialResponse) as denial:
        websocket.__enter__()
    assert_step_up_challenge(denial.value)
    with client.websocket_connect("/ws", headers=headers_of(stepped_up)) as websocket:
        assert websocket.receive()["type"] == "websocket.close"


def test_equal_ones_run_once_per_request(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """However often a request asks for the same thing, it is asked once; another one is asked."""
    app = FastAPI(dependencies=[Depends(Counted(guard, max_age=300))])
    same = Annotated[Claims, Depends(Counted(guard, max_age="5m"))]

    def sub_dependency(claims: same) -> str:
        return claims.subject

    @app.get("/pay")
    def pay(claims: same, again: same, sub: Annotated[str, Depends(sub_dependency)]) -> bool:
        return claims is again

    @app.get("/refund")
    def refund(
        claims: same, stricter: Annotated[Claims, Depends(Counted(guard, max_age=60))]
    ) -> bool:
        return claims is stricter

    client, ann = TestClient(app), descope.step_up(ANN)
    Counted.runs = 0

    assert client.get("/pay", headers=ann.headers).json() is True
    assert Counted.runs == 1
    assert client.get("/refund", headers=ann.headers).json() is True
    assert Counted.runs == 3


def test_security_scopes_make_no_difference(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """`Security(…)` guards as `Depends(…)` does."""
    app = FastAPI()

    @app.get("/pay")
    def pay(claims: Annotated[Claims, Security(RequireStepUp(guard), scopes=["pay"])]) -> str:
        return claims.subject

    client, ann = TestClient(app), descope.step_up(ANN)

    assert_step_up_challenge(client.get("/pay", headers=descope.sign_in(ANN).headers))
    assert client.get("/pay", headers=ann.headers).json() == ann.user_id


def test_refusal_comes_before_the_body_is_judged_and_before_background_work(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A refused request runs no handler and learns nothing about its body."""
    ran: list[str] = []
    app = FastAPI()

    @app.post("/pay", dependencies=[Depends(RequireStepUp(guard))])
    def pay(amount: int) -> None:
        ran.append("handler")

    client = TestClient(app)

    assert_step_up_challenge(client.post("/pay", headers=descope.sign_in(ANN).headers))
    assert ran == []
    assert client.post("/pay?amount=1", headers=descope.step_up(ANN).headers).status_code == 200
    assert ran == ["handler"]


def test_openapi_shows_the_scheme(guard: StepUpGuard) -> None:
    """A guarded operation has the padlock, an open one has not."""
    app = FastAPI()

    @app.get("/pay", dependencies=[Depends(RequireStepUp(guard))])
    def pay() -> None:
        """Never called."""

    @app.get("/shirts")
    def shirts() -> None:
        """Never called."""

    schema = app.openapi()

    assert schema["components"]["securitySchemes"] == {
        "DescopeSession": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "Session token of Descope, as a bearer token or in the session cookie.",
        }
    }
    assert schema["paths"]["/pay"]["get"]["security"] == [{"DescopeSession": []}]
    assert "security" not in schema["paths"]["/shirts"]["get"]


def test_an_override_of_an_equal_one_replaces_it(guard: StepUpGuard) -> None:
    """A test of the app may put ready claims in the place of the dependency."""
    app = FastAPI()
    claims = Claims({"sub": "U1", "iss": "P1", "iat": 1, "exp": 2, "su": True})

    @app.get("/pay")
    def pay(given: Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]) -> str:
        return given.subject

    app.dependency_overrides[RequireStepUp(guard, max_age=300)] = lambda: claims
    client = TestClient(app)

    assert client.get("/pay").json() == "U1"


def another_guard() -> StepUpGuard:
    """Return a guard for the same project that is not the same guard."""
    return StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(RequireSession, RequireSession, id="session"),
        pytest.param(RequireStepUp, RequireStepUp, id="step-up"),
        pytest.param(
            lambda guard: RequireStepUp(guard, max_age="5m", amr="sms"),
            lambda guard: RequireStepUp(guard, max_age=timedelta(minutes=5), amr=("sms",)),
            id="two-spellings",
        ),
        pytest.param(
            lambda guard: RequireStepUp(guard, max_age=60),
            lambda guard: RequireStepUp(guard, policy=StepUpPolicy(max_age=60)),
            id="ready-policy",
        ),
    ],
)
def test_equality_is_by_guard_and_policy(
    one: Callable[[StepUpGuard], RequireSession],
    other: Callable[[StepUpGuard], RequireSession],
    guard: StepUpGuard,
) -> None:
    """Two that ask the same guard for the same thing are equal and hash alike."""
    assert one(guard) == other(guard)
    assert hash(one(guard)) == hash(other(guard))
    assert one(guard) != one(another_guard())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(RequireSession, RequireStepUp, id="session-and-step-up"),
        pytest.param(RequireStepUp, lambda guard: RequireStepUp(guard, max_age=60), id="policies"),
        pytest.param(RequireStepUp, Counted, id="subclass"),
        pytest.param(RequireSession, lambda guard: guard, id="guard"),
    ],
)
def test_others_are_not_equal(
    one: Callable[[StepUpGuard], object],
    other: Callable[[StepUpGuard], object],
    guard: StepUpGuard,
) -> None:
    """One that asks for something else never stands in for another."""
    assert one(guard) != other(guard)


def test_methods_may_be_a_generator(guard: StepUpGuard) -> None:
    """They are read once and kept, so that every request is asked for them."""
    required = RequireStepUp(guard, amr=(name for name in ("sms", "email")))

    assert required == RequireStepUp(guard, amr=["sms", "email"])
    assert required.policy.amr == ("sms", "email")


def test_it_cannot_be_changed(guard: StepUpGuard) -> None:
    """A route is guarded until the end by what guards it at the start."""
    required = RequireStepUp(guard, max_age=60)

    for name in ("guard", "policy", "model", "scheme_name"):
        with pytest.raises(AttributeError, match=rf"RequireStepUp\.{name} is immutable"):
            setattr(required, name, None)
    with pytest.raises(AttributeError, match="RequireStepUp is immutable"):
        del required.policy
    assert required == RequireStepUp(guard, max_age=60)


def test_repr_says_what_is_asked(guard: StepUpGuard) -> None:
    """Its `repr` names guard and policy."""
    assert repr(RequireStepUp(guard, max_age=60)) == (
        "RequireStepUp(StepUpGuard(project_id='P2abcdefghijklmnopqrstuvwxyz'), "
        "policy=StepUpPolicy(max_age=60, amr=(), acr=()))"
    )


@pytest.mark.parametrize("not_a_guard", ["P2…", None, StepUpGuard, StepUpPolicy()])
def test_something_else_than_a_guard_is_a_configuration_error(
    not_a_guard: Any, subtests: pytest.Subtests
) -> None:
    """The message shows how it is written."""
    rows: list[type[RequireSession]] = [RequireSession, RequireStepUp]
    for kind in rows:
        with (
            subtests.test(kind=kind),
            pytest.raises(
                ConfigurationError, match=r"takes the guard first: Require\w+\(StepUpGuard"
            ),
        ):
            kind(not_a_guard)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"policy": StepUpPolicy(), "max_age": 0}, id="policy-and-max-age"),
        pytest.param({"policy": StepUpPolicy(), "amr": "sms"}, id="policy-and-amr"),
        pytest.param({"policy": StepUpPolicy(), "acr": "phr"}, id="policy-and-acr"),
        pytest.param({"policy": "5m"}, id="policy-of-another-type"),
    ],
)
def test_policy_comes_alone(arguments: dict[str, Any], guard: StepUpGuard) -> None:
    """A ready policy is not mixed with the arguments that make one."""
    with pytest.raises(ConfigurationError, match="either policy=StepUpPolicy"):
        RequireStepUp(guard, **arguments)


def test_bad_duration_is_a_configuration_error(
    guard: StepUpGuard, subtests: pytest.Subtests
) -> None:
    """The message says which durations there are."""
    rows: list[Any] = ["5 minutes", -1, 0.5, float("nan"), True, "", "1w"]
    for max_age in rows:
        with (
            subtests.test(max_age=max_age),
            pytest.raises(ConfigurationError, match='"90s", "5m", "2h" or "1d"'),
        ):
            RequireStepUp(guard, max_age=max_age)


def test_unknown_arguments_are_type_errors(guard: StepUpGuard) -> None:
    """A misspelt argument never weakens a route silently; nor can the guard be optional."""
    arguments: dict[str, Any] = {"maxage": 60}
    with pytest.raises(TypeError, match="maxage"):
        RequireStepUp(guard, **arguments)
    arguments = {"auto_error": False}
    with pytest.raises(TypeError, match="auto_error"):
        RequireSession(guard, **arguments)


def test_overridden_dependencies_do_not_weaken_it(guard: StepUpGuard) -> None:
    """A test's override opens the dependency only."""
    app = FastAPI()
    app.add_middleware(StepUpMiddleware, guard=guard)
    required = RequireStepUp(guard)
    app.add_api_route("/pay", lambda: SECRET, dependencies=[Depends(required)])
    app.dependency_overrides[required] = lambda: None

    assert TestClient(app).get("/pay").status_code == 401


def test_a_body_is_parsed_before_a_dependency_asks(guard: StepUpGuard) -> None:
    """FastAPI reads JSON first, so broken JSON is a 422; the middleware is earlier."""
    app = FastAPI()
    app.add_api_route(
        "/pay",
        lambda: SECRET,
        methods=["POST"],
        dependencies=[Depends(RequireStepUp(guard)), Depends(takes_json)],
    )
    broken = {"content": b"{", "headers": {"Content-Type": "application/json"}}
    assert TestClient(app).post("/pay", **broken).status_code == 422  # type: ignore[arg-type]
    assert TestClient(app).post("/pay", json={"a": 1}).status_code == 401
    app = FastAPI(middleware=[Middleware(StepUpMiddleware, guard=guard)], routes=app.routes)
    assert TestClient(app).post("/pay", **broken).status_code == 401  # type: ignore[arg-type]


def test_no_background_task_runs_for_a_refusal(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A task that an earlier dependency added goes with the refused request."""
    ran: list[str] = []

    def adds(tasks: BackgroundTasks) -> None:
        tasks.add_task(ran.append, "task")

    app = FastAPI()
    dependencies = [Depends(adds), Depends(RequireStepUp(guard))]
    app.add_api_route("/pay", lambda: SECRET, dependencies=dependencies)
    client = TestClient(app)

    assert client.get("/pay").status_code == 401
    assert ran == []
    assert client.get("/pay", headers=descope.step_up(ANN).headers).status_code == 200
    assert ran == ["task"]


def takes_json(amount: dict[str, int]) -> None:
    """Have a body read as JSON."""

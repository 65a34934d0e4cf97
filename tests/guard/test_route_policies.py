"""One challenge names what all entry points of a route ask."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp

from fastapi_stepup import (
    Claims,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    errors,
    install,
    requires_step_up,
)
from fastapi_stepup.guard.route_policies import keep_rules, policies_of_route, route_ahead
from fastapi_stepup.guard.step_up_endpoints import StepUpEndpoints
from fastapi_stepup.testing import DescopeEmulator

RECENT = StepUpPolicy(max_age="5m")
PASSKEY = StepUpPolicy(amr=["webauthn"])
ANN = "ann@example.com"


def handler() -> str:
    """Answer."""
    return "done"


def in_router_and_route(guard: StepUpGuard) -> ASGIApp:
    """A router asks for one thing, its route for another."""
    app = FastAPI()
    router = APIRouter(dependencies=[Depends(RequireStepUp(guard, policy=RECENT))])
    router.post("/pay", dependencies=[Depends(RequireStepUp(guard, policy=PASSKEY))])(handler)
    app.include_router(router)
    return app


def in_app_and_sub_dependency(guard: StepUpGuard) -> ASGIApp:
    """The app asks for one thing, a dependency of a dependency for another."""

    def payer(claims: Annotated[Claims, Depends(RequireStepUp(guard, policy=PASSKEY))]) -> str:
        return claims.subject

    app = FastAPI(dependencies=[Depends(RequireStepUp(guard, policy=RECENT))])

    @app.post("/pay")
    def pay(payer: Annotated[str, Depends(payer)]) -> str:
        return payer

    return app


def in_middleware_and_route(guard: StepUpGuard) -> ASGIApp:
    """A rule asks for one thing, the route behind it for another; the rule refuses first."""
    app = FastAPI()
    router = APIRouter(prefix="")
    router.post("/pay", dependencies=[Depends(RequireStepUp(guard, policy=PASSKEY))])(handler)
    app.include_router(router)
    rules = [StepUpRule("/pay", RECENT)]
    app.add_middleware(StepUpMiddleware, guard=guard, rules=rules)
    return app


def in_middleware_of_a_mounted_app(guard: StepUpGuard) -> ASGIApp:
    """Each of two apps has a middleware; the inner one's route asks as well."""
    inner = FastAPI()
    inner.post("/", dependencies=[Depends(RequireSession(guard))])(handler)
    inner.add_middleware(StepUpMiddleware, guard=guard, default=PASSKEY)
    outer = FastAPI()
    outer.mount("/pay", inner)
    outer.add_middleware(StepUpMiddleware, guard=guard, default=RECENT)
    return outer


def in_middleware_and_decorator(guard: StepUpGuard) -> ASGIApp:
    """The same without FastAPI."""

    @requires_step_up(guard, policy=PASSKEY)
    async def pay(request: Request) -> Response:
        return PlainTextResponse("done")

    middleware = [Middleware(StepUpMiddleware, guard=guard, default=RECENT)]
    return Starlette(routes=[Route("/pay", pay, methods=["POST"])], middleware=middleware)


def in_route_and_handler(guard: StepUpGuard) -> ASGIApp:
    """The handler asks for more once it runs; its refusal names the route's policy too."""
    app = FastAPI()

    @app.post("/pay", dependencies=[Depends(RequireStepUp(guard, policy=RECENT))])
    async def pay(request: Request) -> str:
        return (await guard.authorize(request, PASSKEY)).subject

    return app


APPS = [
    in_router_and_route,
    in_app_and_sub_dependency,
    in_middleware_and_route,
    in_middleware_and_decorator,
]


def problem_of(response: Any) -> dict[str, Any]:
    """Return the problem, wrapped by FastAPI or not."""
    body = response.json()
    problem: dict[str, Any] = body.get("detail", body) if "code" not in body else body
    return problem


@pytest.mark.parametrize("make", APPS)
def test_plain_session_is_told_of_everything_at_once(
    make: Callable[[StepUpGuard], ASGIApp], guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Age and factor stand in one challenge, whichever entry point refuses."""
    client = TestClient(make(guard))

    response = client.post("/pay", headers=descope.sign_in(ANN).headers)

    assert response.status_code == 401
    assert 'max_age="300"' in response.headers["www-authenticate"]
    problem = problem_of(response)
    assert (problem["max_age"], problem["amr"]) == (300, ["webauthn"])
    assert problem["unmet"] == [
        {"requirement": "step_up", "reason": "missing"},
        {"requirement": "amr", "reason": "missing"},
    ]
    assert "unmet_after_step_up" not in problem


@pytest.mark.parametrize("make", [*APPS, in_middleware_of_a_mounted_app, in_route_and_handler])
def test_doing_what_the_challenge_says_is_enough(
    make: Callable[[StepUpGuard], ASGIApp], guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """One step-up meets every entry point."""
    both = descope.step_up(ANN, amr=("webauthn",))

    assert TestClient(make(guard)).post("/pay", headers=both.headers).status_code == 200


def test_challenges_are_the_same_bytes(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """A client cannot tell which entry point refused."""
    headers = descope.sign_in(ANN).headers
    answers = [TestClient(make(guard)).post("/pay", headers=headers) for make in APPS]

    assert len({answer.headers["www-authenticate"] for answer in answers}) == 1
    assert all(problem_of(answer) == problem_of(answers[0]) for answer in answers)


def test_inner_app_names_what_the_outer_one_asked(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A middleware further in merges its rules with those that were met outside."""
    client = TestClient(in_middleware_of_a_mounted_app(guard))
    stepped_up = descope.step_up(ANN, amr=("email",))

    problem = problem_of(client.post("/pay", headers=stepped_up.headers))

    assert (problem["max_age"], problem["amr"]) == (300, ["webauthn"])
    assert problem["unmet"] == [{"requirement": "amr", "reason": "missing"}]
    assert problem["unmet_after_step_up"] is True


def test_handler_names_the_policy_of_its_route(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Nothing can be known of a handler before it runs, but its own refusal is complete."""
    client = TestClient(in_route_and_handler(guard))
    stepped_up = descope.step_up(ANN, amr=("email",))

    problem = problem_of(client.post("/pay", headers=stepped_up.headers))

    assert (problem["max_age"], problem["amr"]) == (300, ["webauthn"])


def test_websocket_is_told_of_everything(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """The denial response is merged like any other."""
    app = FastAPI(dependencies=[Depends(RequireStepUp(guard, policy=RECENT))])
    install(app, guard)

    @app.websocket("/chat", dependencies=[Depends(RequireStepUp(guard, policy=PASSKEY))])
    async def chat() -> None: ...

    session = TestClient(app).websocket_connect("/chat", headers=descope.sign_in(ANN).headers)
    with pytest.raises(WebSocketDenialResponse) as denied, session:
        raise AssertionError

    assert (denied.value.json()["max_age"], denied.value.json()["amr"]) == (300, ["webauthn"])


def test_dependency_that_is_overridden_is_not_named(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """It does not run, so the client need not meet it."""
    app = FastAPI(dependencies=[Depends(RequireStepUp(guard, policy=RECENT))])
    by_passkey = RequireStepUp(guard, policy=PASSKEY)
    app.post("/pay", dependencies=[Depends(by_passkey)])(handler)
    app.dependency_overrides[by_passkey] = handler

    problem = problem_of(TestClient(app).post("/pay", headers=descope.sign_in(ANN).headers))

    assert problem["max_age"] == 300
    assert "amr" not in problem


def test_other_guards_and_other_routes_are_left_out(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Only what this guard asks of this route counts; an unknown path has no route at all."""
    other = StepUpGuard.for_descope("P2anotherProject000000000000")
    app = FastAPI()
    app.post("/pay", dependencies=[Depends(RequireStepUp(other, policy=PASSKEY))])(handler)
    app.get("/pay", dependencies=[Depends(RequireStepUp(guard, policy=PASSKEY))])(handler)
    app.add_middleware(StepUpMiddleware, guard=guard, default=RECENT)
    client = TestClient(app)

    for method, path in (("POST", "/pay"), ("POST", "/nowhere")):
        problem = problem_of(client.request(method, path, headers=descope.sign_in(ANN).headers))
        assert problem["max_age"] == 300
        assert "amr" not in problem


def test_the_route_below_a_mount_is_named(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """A mount in the scope is not the route yet that serves the request."""
    sub = FastAPI()
    sub.post("/pay", dependencies=[Depends(RequireStepUp(guard, policy=PASSKEY))])(handler)
    mount = Mount("/sub", sub)
    app = Starlette(routes=[mount])
    scope = Request(
        {"type": "http", "method": "POST", "path": "/sub/pay", "headers": [], "app": app}
    ).scope
    scope.update(route=mount, root_path="/sub")

    assert policies_of_route(Request(scope), guard) == (PASSKEY,)


class Unhashable:
    """An endpoint that is no key of a mapping."""

    __hash__ = None  # type: ignore[assignment]

    async def __call__(self) -> None:
        """Answer nothing."""


@pytest.mark.parametrize("overrides", [{}, {handler: handler}])
def test_an_endpoint_need_not_be_hashable(
    overrides: dict[Any, Any], guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """No override can replace an endpoint, so it is not looked up among them."""
    app = FastAPI()
    app.post("/pay", dependencies=[Depends(RequireStepUp(guard, policy=RECENT))])(Unhashable())
    app.dependency_overrides.update(overrides)

    problem = problem_of(TestClient(app).post("/pay", headers=descope.sign_in(ANN).headers))

    assert problem["max_age"] == 300


def test_too_many_alternatives_to_name_are_asked_one_after_the_other(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Nine of them fit into no challenge; each entry point then names its own."""
    three = [
        StepUpPolicy(acr=f"{letter}1")
        | StepUpPolicy(acr=f"{letter}2")
        | StepUpPolicy(acr=f"{letter}3")
        for letter in "ab"
    ]
    app = FastAPI(dependencies=[Depends(RequireStepUp(guard, policy=three[0]))])
    app.post("/pay", dependencies=[Depends(RequireStepUp(guard, policy=three[1]))])(handler)

    problem = problem_of(TestClient(app).post("/pay", headers=descope.sign_in(ANN).headers))

    assert [each["acr_values"] for each in problem["alternatives"]] == [["a1"], ["a2"], ["a3"]]


@pytest.mark.anyio
async def test_refusal_of_what_is_too_much_to_name_is_its_own(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The route's policy is met; the handler's nine combinations with it fit into no challenge."""
    asked, more = (
        StepUpPolicy(acr=f"{letter}1")
        | StepUpPolicy(acr=f"{letter}2")
        | StepUpPolicy(acr=f"{letter}3")
        for letter in "ab"
    )
    token = descope.token(su=True, acr="a1")
    headers = [(b"authorization", f"Bearer {token}".encode())]
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": headers})
    keep_rules(request, guard, (asked,))

    with pytest.raises(errors.StepUpRequired) as caught:
        await guard.authorize(request, more)

    assert [each["acr_values"] for each in caught.value.problem["alternatives"]] == [
        ["b1"],
        ["b2"],
        ["b3"],
    ]


def test_app_that_is_mounted_in_itself_has_no_route_ahead() -> None:
    """The search ends."""
    router = Router()
    router.routes.append(Mount("", app=router))

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    assert route_ahead(scope, router) is None


def test_all_methods_are_offered_where_nothing_is_asked_of_them() -> None:
    """A refusal without a policy at hand names every method."""
    endpoints = StepUpEndpoints(("email", "totp"), {"otp": {}}, "status")

    assert endpoints.methods_for(None, None) == ("email", "totp")

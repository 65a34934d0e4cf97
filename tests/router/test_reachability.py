"""Helper routes behind a guard that asks for step-up: a challenge never leads to another one."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from fastapi_stepup import (
    Claims,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    install,
    stepup_router,
)
from tests.support.step_up_methods import BODIES, BY_NAME, METHODS, ORIGIN, PAGES, Person

Build = Callable[[StepUpGuard], tuple[Any, str]]


def helper_routes(guard: StepUpGuard) -> APIRouter:
    """Return the routes of all methods."""
    return stepup_router(guard, methods=METHODS, redirect_uris=PAGES)


def with_dependency_of_the_app(guard: StepUpGuard) -> tuple[Any, str]:
    """Step-up for a whole app."""
    app = FastAPI(dependencies=[Depends(RequireStepUp(guard, max_age="5m"))])
    app.include_router(helper_routes(guard))
    return app, ""


def with_dependency_of_a_dependency(guard: StepUpGuard) -> tuple[Any, str]:
    """A function of the app's own in between."""

    def current(claims: Annotated[Claims, Depends(RequireStepUp(guard))]) -> str:
        return claims.subject

    app = FastAPI(dependencies=[Depends(current)])
    app.include_router(helper_routes(guard))
    return app, ""


def with_parent_router(guard: StepUpGuard) -> tuple[Any, str]:
    """Step-up for a router, and another one around it."""
    app = FastAPI()
    api = APIRouter(prefix="/api", dependencies=[Depends(RequireStepUp(guard))])
    v1 = APIRouter(prefix="/v1")
    v1.include_router(helper_routes(guard))
    api.include_router(v1)
    app.include_router(api)
    return app, "/api/v1"


def with_include(guard: StepUpGuard) -> tuple[Any, str]:
    """Step-up where the router is included."""
    app = FastAPI()
    dependencies = [Depends(RequireStepUp(guard))]
    app.include_router(helper_routes(guard), prefix="/x", dependencies=dependencies)
    return app, "/x"


def with_middleware(guard: StepUpGuard) -> tuple[Any, str]:
    """Everything that no rule names."""
    app = FastAPI()
    app.include_router(helper_routes(guard))
    app.add_middleware(StepUpMiddleware, guard=guard)
    return app, ""


def with_middleware_around(guard: StepUpGuard) -> tuple[Any, str]:
    """In front of the app, by a rule that matches the helper routes too."""
    app = FastAPI()
    app.include_router(helper_routes(guard), prefix="/é")
    rules = [StepUpRule("/é/*", StepUpPolicy())]
    return StepUpMiddleware(app, guard=guard, rules=rules, default="session"), "/é"


def with_mount(guard: StepUpGuard) -> tuple[Any, str]:
    """A mounted app with middleware of its own."""
    inner = FastAPI()
    inner.include_router(helper_routes(guard))
    inner.add_middleware(StepUpMiddleware, guard=guard)
    return Starlette(routes=[Mount("/shop", app=inner)]), "/shop"


@pytest.mark.parametrize(
    "build",
    [
        with_dependency_of_the_app,
        with_dependency_of_a_dependency,
        with_parent_router,
        with_include,
        with_middleware,
        with_middleware_around,
        with_mount,
    ],
)
def test_helper_routes_are_reachable(ann: Person, build: Build) -> None:
    """Each answers for itself, and not that a step-up is required."""
    app, prefix = build(ann.guard)
    client = TestClient(app, base_url=ORIGIN)

    for path, body in (BODIES | {"/status": {}}).items():
        members = body | {"refresh_token": ann.tokens.refresh_token}
        url = f"{prefix}/step-up{path}"
        answer = client.post(url, headers=ann.headers, json=members).json()

        assert "insufficient_user_authentication" not in str(answer), path
    for method in ("GET", "HEAD"):
        response = client.request(method, f"{prefix}/step-up/status", headers=ann.headers)
        assert response.status_code == 200


@pytest.mark.parametrize("build", [with_dependency_of_the_app, with_middleware, with_mount])
def test_other_routes_stay_guarded(ann: Person, build: Build) -> None:
    """A path that only looks like a helper route does too, and so does one without a session."""
    app, prefix = build(ann.guard)
    client = TestClient(app, base_url=ORIGIN)

    for path in ("/step-up/otp/start/more", "/step-up/otp/startx", "/step-up//otp/start", "/other"):
        response = client.post(f"{prefix}{path}", headers=ann.headers, json={})
        assert response.status_code in {401, 404}
    without = client.post(f"{prefix}/step-up/otp/start", json={"delivery": "email"})
    assert without.status_code == 401


def test_guards_do_not_open_each_others_helper_routes(ann: Person) -> None:
    """The routes of one guard are other routes to another one."""
    other = StepUpGuard.for_descope(ann.guard.project_id)
    app = FastAPI(dependencies=[Depends(RequireStepUp(other))])
    install(app, other)
    app.include_router(helper_routes(ann.guard))
    with ann.descope.attach(other):
        body = {"delivery": "email", "refresh_token": ann.tokens.refresh_token}
        client = TestClient(app, base_url=ORIGIN)
        response = client.post("/step-up/otp/start", headers=ann.headers, json=body)

    assert response.json()["code"] == "insufficient_user_authentication"


SESSIONLESS = [
    (with_dependency_of_the_app, True),
    (with_parent_router, True),
    (with_include, True),
    (with_middleware, True),
    # It takes the claims, and there are none.
    (with_dependency_of_a_dependency, False),
]


@pytest.mark.parametrize(("build", "is_open"), SESSIONLESS)
def test_routes_that_need_no_session_decide_themselves(
    ann: Person, build: Build, *, is_open: bool
) -> None:
    """A step-up is finished after the session ran out, and a link opens on another device."""
    app, prefix = build(ann.guard)
    client = TestClient(app, base_url=f"{ORIGIN}{prefix}/step-up")
    proof = BY_NAME["otp-email"].proof(ann) | {"refresh_token": ann.tokens.refresh_token}
    ann.client.post(
        "/step-up/enchantedlink/start",
        headers=ann.headers,
        json={"refresh_token": ann.tokens.refresh_token},
    )
    token = ann.descope.outbox[-1].token

    opened = client.post("enchantedlink/verify", json={"token": token})
    finished = client.post("otp/verify", json=proof)
    begun = client.post("otp/start", json={"delivery": "email"})
    wrong = client.post("otp/verify", json={**proof, "refresh_token": ann.tokens.session_token})

    assert (opened.status_code, finished.status_code) == ((200, 200) if is_open else (401, 401))
    assert (begun.status_code, wrong.status_code) == (401, 401)


def test_condition_of_the_app_never_runs_without_a_session(ann: Person) -> None:
    """So a step-up of a session that ran out cannot be finished there."""

    def always() -> bool:
        raise AssertionError

    app = FastAPI(
        dependencies=[
            Depends(RequireSession(ann.guard)),
            Depends(RequireStepUp(ann.guard, when=always)),
        ]
    )
    app.include_router(helper_routes(ann.guard))
    proof = BY_NAME["otp-email"].proof(ann) | {"refresh_token": ann.tokens.refresh_token}

    answer = TestClient(app, base_url=ORIGIN).post("/step-up/otp/verify", json=proof)

    assert answer.status_code == 401

"""install: bare problems from the apps that ask for them."""

from typing import Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from fastapi_stepup import RequireSession, RequireStepUp, StepUpGuard, StepUpPolicy, install
from fastapi_stepup.errors import ConfigurationError, StepUpError, Unauthenticated
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge

ANN = "ann@example.com"


def app_with(*guards: StepUpGuard) -> FastAPI:
    """Return an app that has a route `/0`, `/1` and so on for each guard."""
    app = FastAPI()
    for number, guard in enumerate(guards):
        app.get(f"/{number}", dependencies=[Depends(RequireStepUp(guard))])(lambda: None)
    return app


def test_refusals_become_bare_problems(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """The body is the problem itself, under its own media type; status and headers stay."""
    plain, installed = app_with(guard), app_with(guard)
    install(installed, guard)
    headers = descope.sign_in(ANN).headers

    before = TestClient(plain).get("/0", headers=headers)
    after = TestClient(installed).get("/0", headers=headers)

    assert after.headers["content-type"] == "application/problem+json"
    assert after.json() == before.json()["detail"]
    assert_step_up_challenge(after)
    different = {"content-type", "content-length"}
    assert {k: v for k, v in after.headers.items() if k not in different} == {
        k: v for k, v in before.headers.items() if k not in different
    }


def test_other_errors_stay_as_they_are(guard: StepUpGuard) -> None:
    """The app's own exceptions, and its answers to unknown paths, are not touched."""
    app = app_with(guard)
    install(app, guard)

    @app.get("/teapot")
    def teapot() -> None:
        raise HTTPException(418, "short and stout")

    client = TestClient(app)

    assert client.get("/teapot").json() == {"detail": "short and stout"}
    assert client.get("/unknown").json() == {"detail": "Not Found"}


def test_starlette_app_is_served_too(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """An app without FastAPI answers the same bytes."""

    async def pay(request: Request) -> Response:
        claims = await guard.authorize(request, StepUpPolicy())
        return Response(claims.subject)

    starlette, fastapi = Starlette(routes=[Route("/0", pay)]), app_with(guard)
    for app in (starlette, fastapi):
        install(app, guard)
    headers = descope.sign_in(ANN).headers

    answers = [TestClient(app).get("/0", headers=headers) for app in (starlette, fastapi)]

    assert answers[0].content == answers[1].content
    assert answers[0].headers == answers[1].headers
    assert TestClient(starlette).get("/0", headers=descope.step_up(ANN).headers).is_success


def test_second_call_changes_nothing(guard: StepUpGuard) -> None:
    """Neither for the same guard nor for another one in the same app."""
    other = StepUpGuard.for_descope("P2other")
    app = app_with(guard, other)
    for installed in (guard, other, guard):
        install(app, installed)
    client = TestClient(app)

    for path, realm in (("/0", guard.project_id), ("/1", "P2other")):
        response = client.get(path)

        assert response.json()["code"] == "unauthenticated"
        assert response.headers["www-authenticate"] == f'Bearer realm="{realm}"'


def test_own_handler_for_one_error_is_kept(guard: StepUpGuard) -> None:
    """An app may answer one kind of refusal in its own way; the others stay problems."""
    app = app_with(guard)
    install(app, guard)

    @app.exception_handler(Unauthenticated)
    async def to_sign_in(_: Request, error: StepUpError) -> PlainTextResponse:
        return PlainTextResponse("sign in", error.status_code, error.headers)

    client = TestClient(app)

    assert (client.get("/0").status_code, client.get("/0").text) == (401, "sign in")
    two = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    assert client.get("/0", headers=two).json()["code"] == "invalid_request"


def test_app_that_serves_already_is_refused(guard: StepUpGuard) -> None:
    """Called too late it would change nothing, so it says so."""
    app = app_with(guard)
    TestClient(app).get("/0")

    with pytest.raises(ConfigurationError, match="before it serves requests"):
        install(app, guard)


def test_wrong_arguments_say_how_it_is_written(guard: StepUpGuard) -> None:
    """Swapped, or something else."""
    app: Any = FastAPI()
    for arguments in ((guard, app), (app, RequireSession(guard)), (app, None), (None, guard)):
        with pytest.raises(ConfigurationError, match=r"install\(app, guard\)"):
            install(*arguments)

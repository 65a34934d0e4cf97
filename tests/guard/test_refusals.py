"""Refusals: where a challenge says that the caller can step up."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from fastapi_stepup import (
    RequireStepUp,
    StepUpGuard,
    StepUpPolicy,
    stepup_router,
)
from fastapi_stepup.errors import (
    StepUpRequired,
)
from fastapi_stepup.testing import DescopeEmulator, SigningKey, assert_step_up_challenge
from tests.guard.connections import ANN, PROJECT, request_with


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


@pytest.mark.anyio
async def test_root_path_cannot_lead_to_another_host(
    guard: StepUpGuard, descope: DescopeEmulator, subtests: pytest.Subtests
) -> None:
    """What a proxy or a path parameter puts in front stays a path of this host."""
    rows: dict[str, tuple[str, str]] = {
        "two-slashes": ("//evil.example", "/evil.example/step-up/otp/start"),
        "backslash": ("/\\evil.example", "/%5Cevil.example/step-up/otp/start"),
        "controls": ("/a\r\nb?c#d", "/a%0D%0Ab%3Fc%23d/step-up/otp/start"),
        "surrogate": ("/\ud800", "/%3F/step-up/otp/start"),
        "slash": ("/", "/step-up/otp/start"),
        "slash-at-the-end": ("/shop/", "/shop/step-up/otp/start"),
        "no-slash": ("shop", "/shop/step-up/otp/start"),
    }
    for name, (root_path, start_uri) in rows.items():
        with subtests.test(name):
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

"""Refusals: a caller is invited only to a step-up that leads to what the route asks for."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import (
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpPolicy,
    install,
    stepup_router,
)
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge
from tests.guard.connections import ANN, PROJECT

EVERY_METHOD = ("otp", "totp", "magiclink", "enchantedlink", "passkey", "oauth", "sso", "notp")
PAGES = ("https://shop.example/step-up",)
DELIVERIES = ["email", "sms", "voice", "whatsapp"]

# Of each route: its policy, the session's `amr`, and the methods that it is offered.
Rows: TypeAlias = dict[str, tuple[StepUpPolicy, Sequence[str], list[str] | None]]


def pay() -> None:
    """Never reached."""


def client_of(
    guard: StepUpGuard, policies: Mapping[str, StepUpPolicy], **options: Any
) -> TestClient:
    """Return a client of an app with helper routes, and a route under each policy."""
    app = FastAPI()
    app.include_router(stepup_router(guard, redirect_uris=PAGES, limits=None, **options))
    for name, policy in policies.items():
        app.get(f"/{name}", dependencies=[Depends(RequireStepUp(guard, policy=policy))])(pay)
    return TestClient(app)


def step_up_member(
    guard: StepUpGuard, policy: StepUpPolicy, headers: dict[str, str], **options: Any
) -> dict[str, Any] | None:
    """Return what the challenge of a route under *policy* says about helper routes."""
    client = client_of(guard, {"pay": policy}, **options)
    problem = assert_step_up_challenge(client.get("/pay", headers=headers))
    member: dict[str, Any] | None = problem.get("step_up")
    return member


def check_methods(
    guard: StepUpGuard, descope: DescopeEmulator, subtests: pytest.Subtests, rows: Rows
) -> None:
    """Check which methods routes under each policy offer to a session, `None` for no invitation."""
    policies = {name: policy for name, (policy, _, _) in rows.items()}
    client = client_of(guard, policies, methods=EVERY_METHOD)
    for name, (_, session, offered) in rows.items():
        with subtests.test(name):
            headers = descope.sign_in(ANN, amr=session).headers

            problem = assert_step_up_challenge(client.get(f"/{name}", headers=headers))

            assert (problem["step_up"]["methods"] if "step_up" in problem else None) == offered


def test_methods_are_those_that_prove_what_is_asked_for(
    guard: StepUpGuard, descope: DescopeEmulator, subtests: pytest.Subtests
) -> None:
    """In the router's order; without any there is no invitation."""
    rows: dict[str, tuple[Sequence[str], Sequence[str], list[str] | None]] = {
        "anything": ([], ("email",), [*DELIVERIES, *EVERY_METHOD[1:]]),
        "email": (["email"], ("email",), ["email", "magiclink", "enchantedlink"]),
        "sms": (["sms"], ("email",), ["sms", "magiclink"]),
        "voice": (["voice"], ("email",), ["voice"]),
        "whatsapp": (["whatsapp"], ("email",), ["whatsapp", "magiclink", "notp"]),
        "webauthn": (["webauthn"], ("email",), ["passkey"]),
        "totp": (["totp"], ("email",), ["totp"]),
        "oauth": (["oauth"], ("email",), ["oauth"]),
        "fed": (["fed"], ("email",), ["sso"]),
        "otp": (["otp"], ("email",), [*DELIVERIES, "totp"]),
        "any-of-two": (["totp", "webauthn"], ("email",), ["totp", "passkey"]),
        "mfa": (["mfa"], ("email",), [*DELIVERIES[1:], "totp", "magiclink", *EVERY_METHOD[4:]]),
        "mfa-without-a-first-factor": (["mfa"], (), None),
        "the-session-has-mfa": (["mfa"], ("mfa",), [*DELIVERIES, *EVERY_METHOD[1:]]),
        "nothing-proves-it": (["pwd"], ("email",), None),
        "the-session-has-it-already": (["pwd"], ("pwd",), [*DELIVERIES, *EVERY_METHOD[1:]]),
        "has-it-and-can-prove-it": (["webauthn"], ("webauthn",), ["passkey"]),
    }
    under = {n: (StepUpPolicy(amr=amr), session, said) for n, (amr, session, said) in rows.items()}
    check_methods(guard, descope, subtests, under)


def test_methods_lead_to_one_of_the_alternatives(
    guard: StepUpGuard, descope: DescopeEmulator, subtests: pytest.Subtests
) -> None:
    """Wholly: a part of one is a way to nowhere."""
    webauthn, totp, sms, pwd = (StepUpPolicy(amr=m) for m in ("webauthn", "totp", "sms", "pwd"))
    gold = StepUpPolicy(max_age="1m", acr="gold")
    rows: Rows = {
        "either": (webauthn | sms, ("email",), ["sms", "magiclink", "passkey"]),
        "both": (webauthn & totp, ("email",), ["totp", "passkey"]),
        "the-other-half": (webauthn & totp, ("totp",), ["passkey"]),
        "half": (webauthn & pwd, ("email",), None),
        "one-way": (pwd | totp, ("email",), ["totp"]),
        "has-both-and-can-prove-one": (webauthn & pwd, ("pwd", "webauthn"), ["passkey"]),
        "one-way-asks-for-no-amr": (webauthn | gold, ("email",), [*DELIVERIES, *EVERY_METHOD[1:]]),
    }
    check_methods(guard, descope, subtests, rows)


def test_uris_are_those_of_the_methods(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """No client is sent to a route of a method that would not help."""
    headers = dict(descope.sign_in(ANN).headers)

    member = step_up_member(guard, StepUpPolicy(amr=["webauthn"]), headers, methods=EVERY_METHOD)

    assert member == {
        "methods": ["passkey"],
        "status_uri": "/step-up/status",
        "flow_id": "step-up",
        "uris": {
            "passkey": {
                "start_uri": "/step-up/passkey/start",
                "finish_uri": "/step-up/passkey/finish",
            }
        },
    }


def test_default_router_tells_the_status_route(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Where a client learns which of the methods this user has."""
    member = step_up_member(guard, StepUpPolicy(), dict(descope.sign_in(ANN).headers))

    assert member == {
        "start_uri": "/step-up/otp/start",
        "verify_uri": "/step-up/otp/verify",
        "methods": DELIVERIES,
        "status_uri": "/step-up/status",
    }


@pytest.mark.parametrize("amr", [(), ("email",)], ids=["step-up", "amr"])
def test_machine_is_not_invited(
    amr: tuple[str, ...], guard: StepUpGuard, descope: DescopeEmulator, subtests: pytest.Subtests
) -> None:
    """An access key has no user who could prove anything."""
    rows: dict[str, tuple[dict[str, Any], bool]] = {
        "user": ({"sub": "U" + 27 * "a"}, True),
        "access-key": ({"sub": "K" + 27 * "a"}, False),
        "access-key-without-amr": ({"sub": "K" + 27 * "a", "amr": None}, False),
        "user-with-own-subject": ({"sub": "ann", "dsub": "U" + 27 * "a"}, True),
        "key-with-own-subject": ({"sub": "bot", "dsub": "K" + 27 * "a"}, False),
        "subject-of-ones-own": ({"sub": "Kate"}, True),
        "dsub-number": ({"sub": "K" + 27 * "a", "dsub": 7}, True),
    }
    for name, (claims, invited) in rows.items():
        with subtests.test(name):
            headers = {"Authorization": f"Bearer {descope.token(**claims)}"}

            member = step_up_member(guard, StepUpPolicy(amr=amr), headers)

            assert (member is not None) is invited


def test_session_of_an_access_key_is_not_invited(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """As Descope exchanges one."""
    key = descope.create_access_key()
    app = FastAPI()
    app.include_router(stepup_router(guard))
    app.get("/pay", dependencies=[Depends(RequireStepUp(guard))])(pay)

    answer = TestClient(descope).post(
        "/v1/auth/accesskey/exchange",
        headers={"Authorization": f"Bearer {PROJECT}:{key.secret}"},
        json={},
    )
    headers = {"Authorization": f"Bearer {answer.json()['sessionJwt']}"}

    assert "step_up" not in assert_step_up_challenge(TestClient(app).get("/pay", headers=headers))


def behind_the_app(guard: StepUpGuard) -> FastAPI:
    """Ask for step-up in front of everything."""
    app = FastAPI(dependencies=[Depends(RequireStepUp(guard))])
    app.include_router(stepup_router(guard, limits=None))
    app.get("/pay")(pay)
    return app


def behind_a_router(guard: StepUpGuard) -> FastAPI:
    """Ask for step-up in a parent router."""
    app = FastAPI()
    api = APIRouter(dependencies=[Depends(RequireStepUp(guard, max_age="5m", amr=["sms"]))])
    api.include_router(stepup_router(guard, limits=None))
    api.get("/pay")(pay)
    app.include_router(api)
    return app


def behind_the_inclusion(guard: StepUpGuard) -> FastAPI:
    """Ask for step-up where the router is included."""
    app = FastAPI()
    stepped_up = Depends(RequireStepUp(guard))
    app.include_router(stepup_router(guard, limits=None), dependencies=[stepped_up])
    app.get("/pay", dependencies=[stepped_up])(pay)
    return app


def behind_a_mount(guard: StepUpGuard) -> FastAPI:
    """Ask for step-up in front of a mounted app."""
    app, sub = FastAPI(), behind_the_app(guard)
    app.mount("", sub)
    return app


APPS = [behind_the_app, behind_a_router, behind_the_inclusion, behind_a_mount]


@pytest.mark.parametrize("build", APPS)
@pytest.mark.parametrize("installed", [False, True])
def test_helper_routes_stay_reachable(
    build: Any, guard: StepUpGuard, descope: DescopeEmulator, *, installed: bool
) -> None:
    """A step-up that is asked of everything can still be done, and is still asked of the rest."""
    app = build(guard)
    if installed:
        install(app, guard)
    client, ann = TestClient(app), descope.sign_in(ANN)
    proof = {"delivery": "email", "refresh_token": ann.refresh_token}

    assert_step_up_challenge(client.get("/pay", headers=ann.headers))
    started = client.post("/step-up/otp/start", headers=ann.headers, json=proof)
    assert started.status_code == 200
    status = client.post(
        "/step-up/status", headers=ann.headers, json={"refresh_token": ann.refresh_token}
    )
    assert status.json()["signed_in"] is True
    assert client.get("/step-up/status", headers=ann.headers).status_code == 200
    code = descope.outbox[-1].code
    verified = client.post(
        "/step-up/otp/verify", headers=ann.headers, json=proof | {"code": code}
    ).json()
    assert verified["stepped_up"] is True


@pytest.mark.parametrize("build", APPS)
def test_helper_routes_still_ask_for_a_session(
    build: Any, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Nothing is opened: without one, with a bad one, or with another guard's step-up."""
    client = TestClient(build(guard))

    for headers in ({}, {"Authorization": "Bearer x.y.z"}):
        answer = client.post("/step-up/otp/start", headers=headers, json={"delivery": "email"})
        assert answer.status_code == 401


def test_impersonated_session_is_refused_there_too(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """An impersonator could obtain the user's code."""
    headers = {"Authorization": f"Bearer {descope.token(act={'sub': 'U2admin'})}"}

    answer = TestClient(behind_the_app(guard)).post("/step-up/otp/start", headers=headers, json={})

    assert answer.status_code == 403


def test_another_guards_step_up_is_asked(descope: DescopeEmulator) -> None:
    """Only a guard's own helper routes lead to what it asks for."""
    guard, other = StepUpGuard.for_descope(PROJECT), StepUpGuard.for_descope(PROJECT)
    app = FastAPI(dependencies=[Depends(RequireStepUp(other))])
    app.include_router(stepup_router(guard))

    with descope.attach(guard), descope.attach(other):
        ann = descope.sign_in(ANN)
        answer = TestClient(app).get("/step-up/status", headers=ann.headers)

    assert answer.status_code == 401


def test_route_of_the_apps_own_is_not_let_through(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Neither below the helper routes' prefix nor by a method that they do not take."""
    app = FastAPI(dependencies=[Depends(RequireStepUp(guard))])
    app.include_router(stepup_router(guard))
    app.get("/step-up/otp/start")(pay)
    app.get("/step-up/mine")(pay)
    client, ann = TestClient(app), descope.sign_in(ANN)

    for path in ("/step-up/otp/start", "/step-up/mine"):
        assert_step_up_challenge(client.get(path, headers=ann.headers))


def test_app_wide_session_closes_nothing(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """The helper routes ask for a session anyway."""
    app = FastAPI(dependencies=[Depends(RequireSession(guard))])
    app.include_router(stepup_router(guard, limits=None))
    ann = descope.sign_in(ANN)
    proof = {"delivery": "email", "refresh_token": ann.refresh_token}

    answer = TestClient(app).post("/step-up/otp/start", headers=ann.headers, json=proof)

    assert answer.status_code == 200

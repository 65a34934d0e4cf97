"""Tests of the app: who gets in, what a refusal says, and what happens in an outage."""

import pytest
from starlette.testclient import TestClient

from examples.tests_folder.app import app, guard
from fastapi_stepup import guarded_routes
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge

ANN = "ann@example.com"


def test_no_route_that_changes_something_is_open() -> None:
    """The inventory knows each route; a forgotten guard fails here."""
    routes = guarded_routes(app, guard)

    assert [route.path for route in routes if route.mutates and route.is_open] == []


def test_profile_needs_a_session(client: TestClient, descope: DescopeEmulator) -> None:
    """401 without one, and with one the user."""
    ann = descope.sign_in(ANN)

    assert client.get("/profile").status_code == 401
    assert client.get("/profile", headers=ann.headers).json() == ann.user_id


def test_checkout_asks_for_a_step_up(client: TestClient, descope: DescopeEmulator) -> None:
    """A session gets the challenge; the code makes it good enough."""
    ann = descope.sign_in(ANN)
    problem = assert_step_up_challenge(client.post("/checkout", headers=ann.headers), max_age=300)

    body = {"delivery": "email", "refresh_token": ann.refresh_token}
    client.post(problem["step_up"]["start_uri"], json=body, headers=ann.headers)
    body["code"] = descope.outbox[-1].code
    session = client.post(problem["step_up"]["verify_uri"], json=body, headers=ann.headers).json()

    headers = {"Authorization": f"Bearer {session['session_token']}"}
    assert client.post("/checkout", headers=headers).status_code == 200


@pytest.mark.parametrize(("age", "status"), [(299, 200), (301, 401)])
def test_step_up_is_good_for_five_minutes(
    client: TestClient, descope: DescopeEmulator, age: int, status: int
) -> None:
    """Age the step-up, not the clock."""
    ann = descope.step_up(ANN, age=age)

    assert client.post("/checkout", headers=ann.headers).status_code == status


def test_export_takes_a_passkey_only(client: TestClient, descope: DescopeEmulator) -> None:
    """A code is not enough."""
    by_code = descope.step_up(ANN, amr=["email"])
    by_passkey = descope.step_up(ANN, amr=["webauthn"])

    refused = client.post("/export", headers=by_code.headers)
    assert_step_up_challenge(refused, amr=["webauthn"])
    assert client.post("/export", headers=by_passkey.headers).json() == "exported"


def test_outage_signs_nobody_out(client: TestClient, descope: DescopeEmulator) -> None:
    """Without keys it is 503 and not 401."""
    ann = descope.step_up(ANN)
    descope.fail(503, times=1000)

    reply = client.post("/checkout", headers=ann.headers)
    assert reply.status_code == 503
    assert "Retry-After" in reply.headers

"""Each refusal of a helper route leaves one line in the log, with its reason and no secret."""

import logging
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard, stepup_router
from fastapi_stepup.testing import DescopeEmulator

PROJECT = "P2abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("send", "line"),
    [
        pytest.param(
            lambda client, _: client.post("/step-up/otp/start", headers={"Authorization": ""}),
            "401 unauthenticated",
            id="guard",
        ),
        pytest.param(
            lambda client, _: client.post("/step-up/otp/start", json={"delivery": "email"}),
            "400 refresh_token_required",
            id="flow",
        ),
        pytest.param(
            lambda client, _: client.post("/step-up/otp/start", content=b"{"),
            "415 unsupported_media_type",
            id="body",
        ),
        pytest.param(
            lambda client, refresh_token: client.post(
                "/step-up/otp/verify",
                json={"delivery": "email", "code": "000000", "refresh_token": refresh_token},
            ),
            "400 otp_rejected",
            id="descope",
        ),
    ],
)
def test_each_refusal_is_logged_once(
    send: Callable[[TestClient, str | None], object],
    line: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whichever part refuses; neither the code nor a token is in it."""
    guard, app = StepUpGuard.for_descope(PROJECT), FastAPI()
    app.include_router(stepup_router(guard))
    with (
        DescopeEmulator(PROJECT).attach(guard) as descope,
        caplog.at_level(logging.DEBUG, logger="fastapi_stepup"),
    ):
        ann = descope.sign_in("ann@example.com")
        send(TestClient(app, headers=ann.headers), ann.refresh_token)

    said = [message for message in caplog.messages if message.startswith("Refused")]
    assert said == [f"Refused: {line}."]

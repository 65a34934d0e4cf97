"""Tokens through a whole app: keys by HTTP, a dependency, and the answer that the client gets."""

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireSession, RequireStepUp, StepUpGuard
from fastapi_stepup.events import Event, TokenRejected
from fastapi_stepup.testing import REMOVE, DescopeEmulator, SigningKey
from tests.support.token_factory import NOW, PROJECT_ID

BLOCKED = "U2blocked"


def app_for(guard: StepUpGuard) -> FastAPI:
    """Return an app with a session route and a step-up route."""
    app = FastAPI()

    @app.get("/session")
    async def session(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> str:
        return claims.subject

    @app.get("/step-up")
    async def step_up(claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age=300))]) -> str:
        return claims.subject

    return app


@pytest.mark.parametrize(
    ("parts", "path", "expected"),
    [
        pytest.param({}, "/session", None, id="TV-001"),
        pytest.param({"su": True}, "/session", None, id="TV-093"),
        pytest.param({"su": True}, "/step-up", None, id="stepped-up"),
        *(
            pytest.param(
                {"su": su}, "/step-up", "insufficient_user_authentication", id=f"{row}-{su!r}"
            )
            for row, values in (
                ("TV-085", (REMOVE, False, None)),
                ("TV-086", ("true", "false", 1, 0, 1.0, [True], {"a": 1}, "1")),
            )
            for su in values
        ),
        *(
            pytest.param(
                {name: True}, "/step-up", "insufficient_user_authentication", id=f"TV-087-{name}"
            )
            for name in ("SU", "su ", "Su")
        ),
        pytest.param(
            {"amr": ["otp", "mfa"]}, "/step-up", "insufficient_user_authentication", id="TV-089"
        ),
        pytest.param(
            {"su": True, "exp": NOW - 60, "iat": NOW - 99}, "/step-up", "invalid_token", id="TV-090"
        ),
        pytest.param(
            {"su": True, "iat": NOW - 301},
            "/step-up",
            "insufficient_user_authentication",
            id="TV-091",
        ),
        pytest.param(
            {"nsec": {"su": True}}, "/step-up", "insufficient_user_authentication", id="nsec-su"
        ),
        pytest.param({"drn": "DSR"}, "/session", "invalid_token", id="TV-077"),
        pytest.param({"drn": "DSR", "su": True}, "/step-up", "invalid_token", id="TV-078"),
        pytest.param({"cnf": {"jkt": "x"}}, "/session", "invalid_token", id="TV-083"),
        pytest.param({"iss": "P2other"}, "/session", "invalid_token", id="TV-065"),
        pytest.param({"sub": BLOCKED}, "/session", "invalid_token", id="VC-014"),
        pytest.param({"header": {"alg": "none"}}, "/session", "invalid_token", id="TV-006"),
        pytest.param({"header": {"alg": "HS256"}}, "/session", "invalid_token", id="TV-009-pem"),
        pytest.param({"key": SigningKey()}, "/session", "invalid_token", id="forged"),
        pytest.param(
            {"sub": "K2accesskey", "amr": REMOVE},
            "/step-up",
            "insufficient_user_authentication",
            id="TV-082",
        ),
    ],
)
def test_answers_of_an_app(
    parts: dict[str, Any],
    path: str,
    expected: str | None,
) -> None:
    """A client learns one of the fixed codes and fixed text, never the reason."""
    events: list[Event] = []
    guard = StepUpGuard.for_descope(
        PROJECT_ID, on_event=events.append, is_revoked=lambda c: c.subject == BLOCKED
    )
    with (
        DescopeEmulator(project_id=PROJECT_ID).attach(guard) as emulator,
        TestClient(app_for(guard)) as client,
    ):
        token = emulator.token(**parts)
        reply = client.get(path, headers={"Authorization": f"Bearer {token}"})

    if expected is None:
        assert reply.status_code == 200
        return
    problem = reply.json()["detail"]
    assert (reply.status_code, problem["code"]) == (401, expected)
    challenge = reply.headers["www-authenticate"]
    assert f'error="{expected}"' in challenge
    for secret in (*token.split("."), parts.get("sub", "U2none"), "signature", "issuer"):
        assert secret not in reply.text + challenge or not secret
    rejected = [e for e in events if isinstance(e, TokenRejected)]
    assert len(rejected) == (expected == "invalid_token")

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


INSUFFICIENT = "insufficient_user_authentication"
INVALID = "invalid_token"


@pytest.mark.parametrize(
    ("path", "tokens", "expected"),
    [
        pytest.param("/session", [{}, {"su": True}], None, id="TV-001-TV-093"),
        pytest.param("/step-up", [{"su": True}], None, id="stepped-up"),
        pytest.param(
            "/step-up", [{}, {"su": False}, {"su": None}], INSUFFICIENT, id="TV-085-no-step-up"
        ),
        pytest.param(
            "/step-up",
            [{"su": su} for su in ("true", "false", "1", 1, 0, 1.0, [True], {"a": 1})],
            INSUFFICIENT,
            id="TV-086-like-true",
        ),
        pytest.param(
            "/step-up",
            [{"SU": True}, {"su ": True}, {"Su": True}, {"nsec": {"su": True}}],
            INSUFFICIENT,
            id="TV-087-elsewhere",
        ),
        pytest.param("/step-up", [{"amr": ["otp", "mfa"]}], INSUFFICIENT, id="TV-089"),
        pytest.param("/step-up", [{"su": True, "iat": NOW - 301}], INSUFFICIENT, id="TV-091"),
        pytest.param(
            "/step-up", [{"sub": "K2accesskey", "amr": REMOVE}], INSUFFICIENT, id="TV-082"
        ),
        pytest.param(
            "/step-up",
            [{"su": True, "exp": NOW - 60, "iat": NOW - 99}, {"su": True, "drn": "DSR"}],
            INVALID,
            id="TV-078-TV-090",
        ),
        pytest.param(
            "/session",
            [{"drn": "DSR"}, {"cnf": {"jkt": "x"}}, {"iss": "P2other"}, {"sub": BLOCKED}],
            INVALID,
            id="TV-065-TV-077-TV-083-VC-014",
        ),
        pytest.param(
            "/session",
            [{"header": {"alg": "none"}}, {"header": {"alg": "HS256"}}, {"key": SigningKey()}],
            INVALID,
            id="TV-006-TV-009-forged",
        ),
    ],
)
def test_answers_of_an_app(
    path: str, tokens: list[dict[str, Any]], expected: str | None, subtests: pytest.Subtests
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
        for parts in tokens:
            with subtests.test(parts=parts):
                token = emulator.token(**parts)
                reply = client.get(path, headers={"Authorization": f"Bearer {token}"})
                if expected is None:
                    assert reply.status_code == 200
                    continue
                problem = reply.json()["detail"]
                assert (reply.status_code, problem["code"]) == (401, expected)
                challenge = reply.headers["www-authenticate"]
                assert f'error="{expected}"' in challenge
                for secret in (*token.split("."), parts.get("sub", "U2none"), "signature"):
                    assert secret not in reply.text + challenge or not secret
                assert "issuer" not in reply.text + challenge
    rejected = [e for e in events if isinstance(e, TokenRejected)]
    assert len(rejected) == (len(tokens) if expected == INVALID else 0)

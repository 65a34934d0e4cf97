"""The app's own OpenAPI schema holds: no 500, no undocumented answer, whatever is sent."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import pytest
import schemathesis
from fastapi import Depends, FastAPI
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fastapi_stepup import (
    Claims,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    install,
    stepup_router,
)
from fastapi_stepup.testing import DescopeEmulator
from tests.support.step_up_methods import ANN, METHODS, ORIGIN, PAGES, Person, add_user

EXAMPLES = 2000
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")
sent: Counter[int] = Counter()


@cache
def app() -> FastAPI:
    """Return an app with every route there is, and one behind each dependency."""
    app = FastAPI()
    install(app, guard)
    app.include_router(stepup_router(guard, methods=METHODS, redirect_uris=PAGES, limits=None))

    @app.get("/profile")
    def profile(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> str:
        return claims.subject

    @app.post("/checkout")
    def checkout(claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]) -> str:
        return claims.subject

    return app


schema = schemathesis.openapi.from_asgi("/openapi.json", app())
OPERATIONS = sum(len(methods) for methods in app().openapi()["paths"].values())


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    """Ann, who has everything that can be enrolled."""
    emulator = DescopeEmulator(guard.project_id, max_sends=10**6, max_attempts=10**6)
    with emulator.attach(guard) as descope:
        add_user(descope, ANN)
        descope.totp_secret(ANN)
        person = Person(guard, descope, app=app())
        person.enrol_passkey()
        yield person


@schema.parametrize()
@settings(
    max_examples=EXAMPLES // OPERATIONS * 4 // 5,  # beside what covers each constraint once
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_a_documented_one(case: Case[Any], person: Person) -> None:
    """With a session by header, by cookie, or none, and mostly with the refresh token."""
    turn = sent.total() % 4
    headers = [
        person.tokens.headers,
        person.descope.step_up(ANN).cookie_headers,
        person.tokens.headers | {"Cookie": f"DSR={person.tokens.refresh_token}"},
        {},
    ][turn]
    if isinstance(case.body, dict) and turn == 0:
        case.body["refresh_token"] = person.tokens.refresh_token
    response = case.call(headers={**dict(case.headers or {}), "Origin": ORIGIN, **headers})
    sent[response.status_code] += 1

    case.validate_response(response, checks=CHECKS)


def test_enough_was_sent() -> None:
    """Two thousand examples in total, of which some came through, some had no session."""
    assert sent.total() >= EXAMPLES
    assert {200, 202, 400, 401, 422} - {202} <= set(sent)

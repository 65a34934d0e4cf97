"""StepUpAuth against a guarded app on the emulator."""

import threading
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Body, Depends, FastAPI

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpAuth,
    StepUpGuard,
    StepUpQuestion,
    StepUpTokens,
    install,
    stepup_router,
)
from fastapi_stepup.testing import DescopeEmulator, Tokens
from fastapi_stepup.testing.server import served
from tests.client.shop import SHOP, Prompt

ANN = "ann@example.com"


PHONE = "+491701234567"


@pytest.fixture
def app(guard: StepUpGuard, descope: DescopeEmulator) -> FastAPI:
    """A checkout that needs a step-up, and a refund that needs a phone."""
    app = FastAPI()
    install(app, guard)
    app.include_router(stepup_router(guard, methods=("otp", "totp"), limits=None))
    recent = Depends(RequireStepUp(guard, max_age="5m"))
    by_phone = Depends(RequireStepUp(guard, amr=("sms",)))

    @app.post("/checkout")
    async def checkout(claims: Annotated[Claims, recent], body: Annotated[Any, Body()]) -> Any:
        return [claims.subject, body]

    @app.post("/refund")
    async def refund(claims: Annotated[Claims, by_phone]) -> list[str]:
        return list(claims.amr)

    return app


@pytest.fixture
def ann(descope: DescopeEmulator) -> Tokens:
    """A signed-in user with an address and a phone."""
    descope.create_user(ANN, phone=PHONE)
    return descope.sign_in(ANN)


def of(app: FastAPI, auth: StepUpAuth) -> httpx.AsyncClient:
    """Return a client of *app*."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=SHOP, auth=auth)


@pytest.mark.anyio
async def test_async_client_steps_up_and_stays_so(
    app: FastAPI, descope: DescopeEmulator, ann: Tokens
) -> None:
    """A refused request is sent again with the new session, which later requests use."""
    asked: list[StepUpQuestion] = []
    kept: list[StepUpTokens] = []

    async def prompt(question: StepUpQuestion) -> str:
        asked.append(question)
        return descope.outbox[-1].code

    auth = StepUpAuth(ann, prompt, on_tokens=kept.append)
    async with of(app, auth) as client:
        first = await client.post("/checkout", json={"shirt": "M"})
        second = await client.post("/checkout", json={"shirt": "L"})

    assert [first.json(), second.json()] == [
        [ann.user_id, {"shirt": "M"}],
        [ann.user_id, {"shirt": "L"}],
    ]
    (question,) = asked
    assert question == StepUpQuestion(
        method="email",
        destination="a**@example.com",
        choices=("email", "sms", "voice", "whatsapp", "totp"),
        max_age=300,
        acr_values=(),
        amr=(),
        unmet=({"requirement": "step_up", "reason": "missing"},),
    )
    assert kept == [auth.tokens]
    assert auth.tokens.session_token != ann.session_token
    assert auth.tokens.refresh_token is not None


def test_sync_client_steps_up(app: FastAPI, descope: DescopeEmulator, ann: Tokens) -> None:
    """The same over a socket, by a synchronous client."""
    auth = StepUpAuth(ann, lambda _: descope.outbox[-1].code)

    with served(app) as url, httpx.Client(base_url=url, auth=auth, timeout=30) as client:
        response = client.post("/checkout", json=["M"])

    assert response.json() == [ann.user_id, ["M"]]


@pytest.mark.anyio
async def test_plain_prompt_of_an_async_client_may_block(
    app: FastAPI, descope: DescopeEmulator, ann: Tokens
) -> None:
    """A prompt that is not asynchronous does not stop the event loop: it runs in a thread."""
    threads: list[int] = []

    def prompt(_: StepUpQuestion) -> str:
        threads.append(threading.get_ident())
        return descope.outbox[-1].code

    async with of(app, StepUpAuth(ann, prompt)) as client:
        response = await client.post("/checkout", json=1)

    assert response.status_code == 200
    assert threads != [threading.get_ident()]


@pytest.mark.anyio
async def test_wrong_code_is_asked_for_again(
    app: FastAPI, descope: DescopeEmulator, ann: Tokens
) -> None:
    """The prompt hears what was wrong with its last answer."""
    problems: list[str | None] = []

    async def prompt(question: StepUpQuestion) -> str:
        problems.append(question.problem)
        right = descope.outbox[-1].code
        return right if question.problem else f"{(int(right) + 1) % 10**6:06}"

    async with of(app, StepUpAuth(ann, prompt)) as client:
        response = await client.post("/checkout", json=1)

    assert response.status_code == 200
    assert problems == [None, "otp_rejected"]


@pytest.mark.anyio
async def test_another_method_by_its_name(
    app: FastAPI, descope: DescopeEmulator, ann: Tokens
) -> None:
    """A choice in place of a code has one sent that way."""
    code = Prompt("sms", "email", "totp", descope.totp_code(ANN))

    async with of(app, StepUpAuth(ann, code)) as client:
        response = await client.post("/checkout", json=1)

    assert response.status_code == 200
    assert [(q.method, q.destination is None) for q in code.asked] == [
        ("email", False),
        ("sms", False),
        ("email", False),
        ("totp", True),
    ]
    assert [message.delivery for message in descope.outbox] == ["email", "sms", "email"]


@pytest.mark.anyio
async def test_route_that_names_a_factor_gets_it(
    app: FastAPI, descope: DescopeEmulator, ann: Tokens
) -> None:
    """Only methods that the challenge names in `amr` are offered and used."""

    async def prompt(question: StepUpQuestion) -> str:
        assert (question.method, question.choices, question.amr) == ("sms", ("sms",), ("sms",))
        return descope.outbox[-1].code

    async with of(app, StepUpAuth(ann, prompt)) as client:
        response = await client.post("/refund")

    assert "sms" in response.json()

"""Users who cannot step up by what they asked for, and step-ups that are not enough."""

import json
import re
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, StepUpPolicy
from fastapi_stepup.router.methods.base import masked
from tests.support.step_up_methods import (
    ANN,
    BY_NAME,
    ORIGIN,
    PHONE,
    Person,
    app_for,
    refusal_of,
)

ROUTES_OF_START: list[Any] = [
    pytest.param("/otp/start", {"delivery": "email"}, id="otp"),
    pytest.param("/totp/verify", {"code": "123456"}, id="totp"),
    pytest.param("/magiclink/start", {"delivery": "sms"}, id="magiclink"),
    pytest.param("/enchantedlink/start", {}, id="enchantedlink"),
    pytest.param("/passkey/start", {}, id="passkey"),
    pytest.param("/oauth/start", {"provider": "google"}, id="oauth"),
    pytest.param("/sso/start", {"tenant": "acme"}, id="sso"),
    pytest.param("/notp/start", {}, id="notp"),
]


def strict_app(guard: StepUpGuard, policy: StepUpPolicy) -> TestClient:
    """Return a client of an app with one route, under *policy*, and the helper routes."""
    app = app_for(guard)

    @app.post("/strict")
    def strict(claims: Annotated[Claims, Depends(RequireStepUp(guard, policy=policy))]) -> str:
        return claims.subject

    return TestClient(app, base_url=ORIGIN)


@pytest.mark.parametrize(
    ("options", "member"),
    [
        pytest.param({}, {}, id="no-enroll-uri"),
        pytest.param(
            {"enroll_uri": "https://shop.example/me?tab=security"},
            {"enroll_uri": "https://shop.example/me?tab=security"},
            id="enroll-uri",
        ),
    ],
)
@pytest.mark.parametrize(("path", "body"), ROUTES_OF_START)
def test_user_without_any_method_is_told_where_to_enrol(
    ann: Person, path: str, body: dict[str, str], options: dict[str, str], member: dict[str, str]
) -> None:
    """403 `no_step_up_method`: another try would not help, so nothing is sent to anybody."""
    ann.descope.create_user("nobody")
    nobody = Person(ann.guard, ann.descope, "nobody", options=options)

    response = nobody.post(path, **body)

    assert refusal_of(response) == (403, "no_step_up_method")
    problem = response.json()
    assert {k: v for k, v in problem.items() if k == "enroll_uri"} == member
    assert "www-authenticate" not in response.headers
    assert nobody.asked_of_descope() == ["/v1/auth/me"]


@pytest.mark.parametrize(("path", "body"), ROUTES_OF_START)
def test_user_with_another_method_is_told_to_choose(
    ann: Person, path: str, body: dict[str, str]
) -> None:
    """400 `delivery_unavailable`, when this one does not work but another one would."""
    user = ann.descope.create_user("carol")
    if path == "/oauth/start":
        user.email = "carol@example.com"
    else:
        user.providers["google"] = True
    carol = Person(ann.guard, ann.descope, "carol")

    assert refusal_of(carol.post(path, **body)) == (400, "delivery_unavailable")
    assert carol.asked_of_descope() == ["/v1/auth/me"]


@pytest.mark.parametrize(
    ("age", "policy", "loops"),
    [
        pytest.param(0, StepUpPolicy(amr="webauthn"), True, id="wrong-factor"),
        pytest.param(0, StepUpPolicy(acr="phr"), True, id="no-acr"),
        pytest.param(0, StepUpPolicy(), False, id="met"),
        pytest.param(3600, StepUpPolicy(amr="webauthn"), False, id="long-ago"),
        pytest.param(3600, StepUpPolicy(max_age=60), False, id="expired"),
    ],
)
def test_step_up_that_was_not_enough_says_so(
    ann: Person, age: int, policy: StepUpPolicy, *, loops: bool
) -> None:
    """`unmet_after_step_up` tells a client not to start the same step-up again."""
    headers = ann.descope.step_up(ANN, age=age).headers

    problem = strict_app(ann.guard, policy).post("/strict", headers=headers).json()
    asked = problem if isinstance(problem, dict) else {}
    assert asked.get("unmet_after_step_up", False) is loops


def test_the_same_step_up_does_not_loop(ann: Person) -> None:
    """A route that asks for a passkey, stepped up by e-mail: the second refusal is the last."""
    strict = strict_app(ann.guard, StepUpPolicy(amr="webauthn"))

    first = strict.post("/strict", headers=ann.headers).json()
    session = BY_NAME["otp-email"].complete(ann).json()["session_token"]
    second = strict.post("/strict", headers={"Authorization": f"Bearer {session}"}).json()
    session = BY_NAME["passkey"].complete(ann).json()["session_token"]
    third = strict.post("/strict", headers={"Authorization": f"Bearer {session}"})

    assert "unmet_after_step_up" not in first
    assert second["unmet_after_step_up"] is True
    assert second["step_up"]["uris"]["passkey"]["start_uri"] == "/step-up/passkey/start"
    assert third.status_code == 200


@pytest.mark.parametrize("name", ["magiclink-email", "oauth", "passkey"])
def test_proof_of_a_plain_sign_in_steps_nobody_up(ann: Person, name: str) -> None:
    """What was begun without step-up gives a session without `su`, which is not handed over."""
    case = BY_NAME[name]
    guard, emulator = ann.guard, ann.descope

    async def plain(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        target = body.get("loginOptions", body)
        target.pop("stepup", None)
        headers = {k: v for k, v in request.headers.items() if k != "content-length"}
        sent = httpx.Request(request.method, request.url, headers=headers, json=body)
        reply: httpx.Response = await emulator.transport.handle_async_request(sent)
        return reply

    class Plain(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if re.search("signin|authorize", request.url.path):
                return await plain(request)
            reply: httpx.Response = await emulator.transport.handle_async_request(request)
            return reply

    with guard.on_transport(Plain()):
        proof = case.proof(ann)
    emulator.requests.clear()

    assert refusal_of(ann.post(case.finish, **proof)) == (502, "descope_error")


def test_addresses_are_masked(subtests: pytest.Subtests) -> None:
    """What is left suffices to recognise one's own address, not to learn it."""
    rows: dict[str, tuple[str | None, str | None]] = {
        "e-mail": (ANN, "a**@example.com"),
        "one-letter": ("a@example.com", "**@example.com"),
        "two-signs": ("a@b@example.com", "a**@example.com"),
        "number": (PHONE, "+1********12"),
        "short-number": ("+493012", "***"),
        "none": (None, None),
    }
    for name, (address, expected) in rows.items():
        with subtests.test(name):
            assert masked(address) == expected

"""StepUpAuth reads the challenges of a server."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from fastapi_stepup import (
    StepUpAuth,
    StepUpCancelled,
    StepUpFailed,
)
from tests.client.shop import CODE, HEADER, OLD, OTP, Prompt, Server, elsewhere, problem, refused

PASSED = [
    pytest.param(lambda: httpx.Response(200, json=problem()), id="success"),
    pytest.param(lambda: httpx.Response(403, json=problem()), id="another-status"),
    pytest.param(lambda: httpx.Response(401), id="no-body"),
    pytest.param(
        lambda: refused({"code": "invalid_token"}, 'Bearer error="invalid_token"'), id="bad-token"
    ),
    pytest.param(lambda: refused({"step_up": OTP}, f'Basic error="{CODE}"'), id="another-scheme"),
    pytest.param(lambda: refused({"step_up": OTP}, 'Bearer error="x"'), id="another-error"),
    pytest.param(lambda: refused({"step_up": OTP}, 'Bearer a="'), id="unreadable-header"),
    pytest.param(lambda: refused([]), id="body-is-a-list"),
    pytest.param(lambda: refused({"code": CODE, "step_up": None}), id="no-step-up"),
    pytest.param(lambda: elsewhere(methods="email"), id="methods-are-text"),
    pytest.param(lambda: elsewhere(methods=["oauth", 1]), id="no-method-for-a-prompt"),
    pytest.param(lambda: elsewhere(start_uri="https://evil.example/"), id="start-elsewhere"),
    pytest.param(lambda: elsewhere(verify_uri="//evil.example/"), id="verify-elsewhere"),
    pytest.param(lambda: elsewhere(start_uri="http://shop.example/"), id="start-without-tls"),
    pytest.param(lambda: elsewhere(start_uri=1, methods=["email"]), id="start-is-no-text"),
    pytest.param(lambda: elsewhere(start_uri="http://[", methods=["email"]), id="start-is-no-uri"),
    pytest.param(lambda: elsewhere(uris=None, methods=["totp"]), id="totp-without-uris"),
    pytest.param(lambda: elsewhere(uris={"totp": {}}, methods=["totp"]), id="totp-without-a-uri"),
    pytest.param(lambda: refused(problem(unmet_after_step_up=True)), id="not-enough"),
]


@pytest.mark.parametrize("answer", PASSED)
def test_passed_through(answer: Callable[[], httpx.Response]) -> None:
    """An answer that is no challenge, or cannot be met here, is passed on unasked."""
    server = Server({"/pay": lambda _: answer()})

    with server.client(StepUpAuth(OLD, Prompt())) as client:
        response = client.get("/pay")

    assert response.content == answer().content
    assert server.paths == ["/pay"]


def test_deep_nesting_is_no_json() -> None:
    """A body that would exhaust the stack is passed on like any other."""
    deep = httpx.Response(401, text="[" * 100_000, headers={"Content-Type": "application/json"})

    with Server({"/pay": lambda _: deep}).client(StepUpAuth(OLD, Prompt())) as client:
        assert client.get("/pay").status_code == 401


BODIES = [
    pytest.param(
        problem(max_age=5, acr_values=["urn:c"]), HEADER, (5, ("urn:c",)), id="body-first"
    ),
    pytest.param({"detail": problem(max_age=5)}, "", (5, ()), id="body-in-detail"),
    pytest.param(problem(), HEADER, (60, ("urn:a", "urn:b")), id="header-for-the-rest"),
    pytest.param({"step_up": OTP}, HEADER, (60, ("urn:a", "urn:b")), id="header-has-the-code"),
    pytest.param(problem(max_age="5"), "", (None, ()), id="max-age-is-text"),
    pytest.param(problem(max_age=0), HEADER, (0, ("urn:a", "urn:b")), id="max-age-is-zero"),
    pytest.param(problem(max_age=9_999_999_999), "", (9_999_999_999, ()), id="longest-max-age"),
    pytest.param(problem(max_age=10_000_000_000), "", (None, ()), id="max-age-is-too-long"),
]


@pytest.mark.parametrize(("body", "header", "expected"), BODIES)
def test_what_the_challenge_asks_for(
    body: Any, header: str, expected: tuple[int | None, tuple[str, ...]]
) -> None:
    """The body is read in both shapes, and the header for what it does not say."""
    prompt = Prompt(None)
    server = Server({"/pay": lambda _: refused(body, header)})

    with server.client(StepUpAuth(OLD, prompt)) as client, pytest.raises(StepUpCancelled):
        client.get("/pay")

    (question,) = prompt.asked
    assert (question.max_age, question.acr_values) == expected


EITHER = {"amr": ["webauthn"], "alternatives": [{"amr": ["webauthn"]}, {"amr": ["totp"]}]}


@pytest.mark.parametrize(
    ("members", "choices"),
    [
        pytest.param({"amr": ["totp"]}, ("totp",), id="named"),
        pytest.param({"amr": ["sms", "mfa"]}, ("email", "sms", "totp"), id="any-second-factor"),
        pytest.param({"amr": ["otp"]}, ("email", "sms", "totp"), id="any-code"),
        pytest.param(EITHER, ("totp",), id="second-alternative"),
        pytest.param(
            {"alternatives": [{"amr": ["totp"]}, {"amr": ["sms", "email"]}]},
            ("totp", "email", "sms"),
            id="nearest-first",
        ),
        pytest.param(
            {"alternatives": [{"amr": ["sms"]}, {"max_age": 5}]},
            ("sms", "email", "totp"),
            id="any-step-up",
        ),
        pytest.param(
            {"alternatives": [{"amr": [["sms"], ["totp"]]}]}, ("sms", "totp"), id="two-clauses"
        ),
        pytest.param({"amr": "sms"}, ("email", "sms", "totp"), id="amr-is-text"),
        pytest.param({"amr": ["sms"], "alternatives": ["x"]}, ("sms",), id="alternatives-are-text"),
    ],
)
def test_choices(members: dict[str, Any], choices: tuple[str, ...]) -> None:
    """Offered is what can meet an alternative, by the nearest one first."""
    prompt = Prompt(None)
    body = problem(**members) | {"step_up": OTP | {"methods": ["email", "sms", "totp"]}}
    server = Server({"/pay": lambda _: refused(body)})

    with server.client(StepUpAuth(OLD, prompt)) as client, pytest.raises(StepUpCancelled):
        client.get("/pay")

    assert prompt.asked[0].choices == choices
    listed = [one for one in members.get("alternatives", ()) if one != "x"]
    assert list(prompt.asked[0].alternatives) == listed


@pytest.mark.parametrize("methods", [["email", "totp"], []], ids=["offered", "nothing-offered"])
def test_challenge_that_no_method_can_meet_says_so(methods: list[str]) -> None:
    """Nothing is sent and the user is not asked: another round would end in the same refusal."""
    body = problem(amr=["webauthn"]) | {"step_up": OTP | {"methods": methods}}
    server = Server({"/pay": lambda _: refused(body)})

    with (
        server.client(StepUpAuth(OLD, Prompt())) as client,
        pytest.raises(StepUpFailed, match="no_step_up_method") as caught,
    ):
        client.get("/pay")

    assert caught.value.code == "no_step_up_method"
    assert server.paths == ["/pay"]


def test_methods_of_other_clients_are_left_to_the_app() -> None:
    """A challenge that a passkey may meet is passed on: this client has none."""
    body = problem(amr=["webauthn"]) | {"step_up": OTP | {"methods": ["email", "passkey"]}}
    server = Server({"/pay": lambda _: refused(body)})

    with server.client(StepUpAuth(OLD, Prompt())) as client:
        assert client.get("/pay").status_code == 401

    assert server.paths == ["/pay"]


def test_step_up_that_was_not_enough_is_tried_by_an_alternative() -> None:
    """Also such a challenge is met by any of its alternatives that names a method."""
    server = Server({"/pay": lambda _: refused(problem(unmet_after_step_up=True, **EITHER))})

    with server.client(StepUpAuth(OLD, Prompt("123456"))) as client:
        client.get("/pay")

    assert server.paths == ["/pay", "/step-up/totp/verify", "/pay"]


def test_step_up_that_was_not_enough_is_tried_by_a_named_method() -> None:
    """Such a challenge is met only by a method that it names, and only once."""
    server = Server({"/pay": lambda _: refused(problem(unmet_after_step_up=True, amr=["totp"]))})

    with server.client(StepUpAuth(OLD, Prompt("123456"))) as client:
        response = client.get("/pay")

    assert response.status_code == 401
    assert server.paths == ["/pay", "/step-up/totp/verify", "/pay"]

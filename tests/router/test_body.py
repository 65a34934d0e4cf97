"""Reading a request body: one JSON object of bounded size, never echoed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from fastapi_stepup import StepUpGuard, stepup_router
from fastapi_stepup.router.body import MAX_REQUEST_BODY
from fastapi_stepup.router.schemas import OTPVerify, SteppedUpSession
from fastapi_stepup.testing import DescopeEmulator
from tests.support.step_up_methods import (
    ANN,
    BODIES,
    MethodCase,
    Person,
    each_method,
    refusal_of,
)

START = "/step-up/otp/start"


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON ; charset=utf-8", "application/json;x"]
)
def test_json_may_be_declared_with_parameters(ann: Person, content_type: str) -> None:
    """Letter case and parameters make no difference."""
    body = json.dumps({"delivery": "email", "refresh_token": ann.tokens.refresh_token})

    response = ann.client.post(
        START, headers=ann.headers | {"Content-Type": content_type}, content=body
    )

    assert response.status_code == 200


def test_body_without_a_type_is_refused(ann: Person) -> None:
    """It is not declared as JSON."""
    response = ann.client.post(START, headers=ann.headers, content=b'{"delivery":"email"}')

    assert refusal_of(response) == (415, "unsupported_media_type")


def test_body_is_one_json_object(ann: Person, subtests: pytest.Subtests) -> None:
    """Anything else is 422, with nothing of it echoed."""
    rows: dict[str, bytes] = {
        "empty": b"",
        "broken": b"{",
        "array": b"[]",
        "string": b'"email"',
        "null": b"null",
        "byte-order-mark": b'\xef\xbb\xbf{"delivery":"email"}',
        "utf-16": '{"delivery":"email"}'.encode("utf-16"),
        "not-utf-8": b'{"delivery":"\xff"}',
        "twice": b'{"delivery":"email","delivery":"sms"}',
        "lone-surrogate": b'{"delivery":"email","refresh_token":"\\ud800"}',
        "nan": b'{"delivery":"email","refresh_token":NaN}',
        "deep": 8000 * b"[" + 8000 * b"]",
    }
    for name, body in rows.items():
        with subtests.test(name):
            headers = ann.headers | {"Content-Type": "application/json"}

            response = ann.client.post(START, headers=headers, content=body)

            assert refusal_of(response) == (422, "invalid_body")
            assert "errors" not in response.json()


PROOFS: dict[str, Any] = {
    "OT-013-empty": "",
    "OT-013-spaces": " 123456 ",
    "OT-013-newline": "123456\n",
    "OT-013-nul": "123456\x00",
    "OT-013-fullwidth": "１２３４５６",  # noqa: RUF001
    "OT-013-arabic": "١٢٣٤٥٦",
    "OT-013-five": "12345",
    "OT-013-seven": "0000000",
    "OT-013-letter": "12345a",
    "OT-013-sign": "+12345",
    "OT-013-underscore": "1_2345",
    "OT-013-long": 10000 * "1",
    "OT-013-number": 123456,
    "OT-013-float": 123456.0,
    "OT-013-boolean": True,
    "OT-013-null": None,
    "OT-013-list": ["123456"],
    "OB-007-object": {"code": "123456"},
}


def test_code_is_six_digits(ann: Person, subtests: pytest.Subtests) -> None:
    """Anything else is refused before Descope sees it, and not echoed."""
    for name, code in PROOFS.items():
        with subtests.test(name):
            ann.descope.requests.clear()
            response = ann.post("/otp/verify", delivery="email", code=code)

            assert refusal_of(response) == (422, "invalid_body")
            problem = response.json()
            assert [error["field"] for error in problem["errors"]] == ["code"]
            assert set(problem) == {"type", "title", "status", "detail", "code", "errors"}
            assert "123456" not in response.text
            assert "input" not in response.text
            assert len(response.content) < 500
            assert ann.asked_of_descope() == []


@pytest.mark.parametrize("proof", ["with space", 10000 * "x", 7, None])
@each_method
def test_proof_is_a_short_plain_text(ann: Person, case: MethodCase, proof: object) -> None:
    """Each method's proof is refused before Descope sees it if it is anything else."""
    response = ann.post(case.finish, **(BODIES[case.finish] | {case.secret: proof}))

    assert refusal_of(response) == (422, "invalid_body")
    assert [error["field"] for error in response.json()["errors"]] == [case.secret]
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize("answer", ["{}", [], None, 7, True], ids=repr)
def test_passkey_answer_is_an_object(ann: Person, answer: object) -> None:
    """As `PublicKeyCredential.toJSON()` gives it."""
    response = ann.post("/passkey/finish", transaction_id="t", response=answer)

    assert refusal_of(response) == (422, "invalid_body")


WORDS: dict[str, Any] = {
    "OT-025-traversal": "../../mgmt/user",
    "OT-025-query": "email?x=",
    "OT-025-encoded": "sms%2f..",
    "OT-025-case": "EMAIL ",
    "OT-025-parameter": "a&redirectURL=https://evil.example",
    "OT-025-empty": "",
    "OT-025-null": None,
    "OT-025-list": ["email"],
    "OT-025-object": {"email": 1},
}


@pytest.mark.parametrize(
    ("path", "member"),
    [("/otp/start", "delivery"), ("/oauth/start", "provider"), ("/sso/start", "tenant")],
)
def test_names_are_plain_words(
    ann: Person, path: str, member: str, subtests: pytest.Subtests
) -> None:
    """A part of a URL to Descope is one of a few words, or plain ones."""
    for name, word in WORDS.items():
        with subtests.test(name):
            ann.descope.requests.clear()
            response = ann.post(path, **(BODIES[path] | {member: word}))

            assert refusal_of(response) == (422, "invalid_body")
            assert response.json()["errors"][0]["field"] == member
            assert ann.asked_of_descope() == []


@pytest.mark.parametrize("path", ["/otp/verify", "/magiclink/start"])
def test_links_and_codes_go_by_what_can_carry_them(ann: Person, path: str) -> None:
    """A fax is none, and a voice call reads no link out."""
    delivery = "voice" if path == "/magiclink/start" else "fax"

    response = ann.post(path, **(BODIES[path] | {"delivery": delivery}))

    assert refusal_of(response) == (422, "invalid_body")


async def post_raw(guard: StepUpGuard, messages: Iterator[dict[str, Any]]) -> list[Any]:
    """Post the body in *messages*, as a server passes it, and return the messages sent back."""
    sent: list[Any] = []
    descope = DescopeEmulator(guard.project_id)
    bearer = f"Bearer {descope.sign_in(ANN).session_token}".encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": START,
        "query_string": b"",
        "headers": [(b"authorization", bearer), (b"content-type", b"application/json")],
    }
    app = FastAPI()
    app.include_router(stepup_router(guard))

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    with descope.attach(guard):
        await app(scope, receive, send)
    return sent


@pytest.mark.anyio
async def test_endless_body_is_refused_at_the_limit(guard: StepUpGuard) -> None:
    """A body longer than 32 KiB is never read to its end."""
    taken = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"type": "http.request", "body": 1024 * b" ", "more_body": True}

    start, body = await post_raw(guard, endless())

    assert (start["status"], json.loads(body["body"])["detail"]["code"]) == (413, "body_too_large")
    assert (taken, MAX_REQUEST_BODY) == (33, 32 * 1024)


@pytest.mark.anyio
async def test_body_that_breaks_off_is_no_error_of_ours(guard: StepUpGuard) -> None:
    """A client that goes away while it sends leaves no exception behind."""
    broken_off: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"delivery":', "more_body": True},
        {"type": "http.disconnect"},
    ]

    start, _ = await post_raw(guard, iter(broken_off))

    assert start["status"] == 422


def test_refresh_token_may_be_as_long_as_a_token_may_be(ann: Person) -> None:
    """The limit of the body leaves room for the longest token; one more is refused as such."""
    longest = 16 * 1024 * "x"

    told = [
        refusal_of(ann.post("/otp/start", delivery="email", refresh_token=longest)),
        refusal_of(ann.post("/otp/start", delivery="email", refresh_token=f"{longest}x")),
        refusal_of(ann.post("/otp/verify", delivery="email", code=1024 * 1024 * "1")),
    ]

    assert told == [(401, "invalid_token"), (422, "invalid_body"), (413, "body_too_large")]


def test_models_show_no_secret() -> None:
    """Neither `repr` nor `str` of a body or of a reply has a token or a code."""
    body = OTPVerify(delivery="email", code="123456", refresh_token="eyJx")
    reply = SteppedUpSession(
        session_token="eyJx", refresh_token="eyJy", expires_at=1, expires_in=1, subject="U1"
    )

    shown = f"{body!r} {body} {body.model_dump()!r} {reply!r} {reply}"

    assert "123456" not in shown
    assert "eyJ" not in shown

"""StepUpAuth: its requests, its prompt and its errors, against a stand-in for a server."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from fastapi_stepup import (
    StepUpAuth,
    StepUpCancelled,
    StepUpFailed,
    StepUpQuestion,
    StepUpTokens,
)
from tests.client.shop import (
    OLD,
    SESSION,
    SHOP,
    Prompt,
    Server,
    refused,
)


def test_what_is_sent() -> None:
    """The step-up's own requests carry the session, the refresh token and the client's timeouts."""
    server = Server()
    auth = StepUpAuth(OLD, Prompt("123456"), method="sms")

    with server.client(auth) as client:
        response = client.post("/pay", content=b"cart", timeout=7)

    assert response.json() == "paid"
    assert server.paths == ["/pay", "/step-up/otp/start", "/step-up/otp/verify", "/pay"]
    first, start, verify, second = server.requests
    assert [json.loads(sent.content) for sent in (start, verify)] == [
        {"delivery": "sms", "refresh_token": "refresh"},
        {"delivery": "sms", "refresh_token": "refresh", "code": "123456"},
    ]
    assert start.headers["authorization"] == verify.headers["authorization"] == "Bearer old"
    assert start.extensions["timeout"] == first.extensions["timeout"]
    assert first.content == second.content == b"cart"
    assert auth.tokens == StepUpTokens("new", "refresh")


def test_method_that_is_not_offered_is_not_insisted_on() -> None:
    """The first one that is offered is used then; without a refresh token none is sent."""
    server = Server()
    tokens = StepUpTokens("old")

    with server.client(StepUpAuth(tokens, Prompt("1"), method="voice")) as client:
        client.get("/pay")

    assert json.loads(server.requests[1].content) == {"delivery": "email"}


@pytest.mark.parametrize("code", ["otp_expired", "otp_exhausted"])
def test_code_that_only_a_new_one_replaces_is_sent_anew(code: str) -> None:
    """The prompt is asked for the new one, and gets the reason."""
    answers = iter([httpx.Response(400, json={"code": code}), httpx.Response(200, json=SESSION)])
    server = Server({"/step-up/otp/verify": lambda _: next(answers)})
    prompt = Prompt("111111", "222222")

    with server.client(StepUpAuth(OLD, prompt)) as client:
        assert client.get("/pay").json() == "paid"

    assert [question.problem for question in prompt.asked] == [None, code]
    assert server.paths.count("/step-up/otp/start") == 2


def test_nobody_is_asked_twice() -> None:
    """The answer after the step-up is returned, whatever it is."""
    server = Server({"/pay": lambda _: refused()})

    with server.client(StepUpAuth(OLD, Prompt("123456"))) as client:
        response = client.get("/pay")

    assert (response.status_code, server.paths.count("/pay")) == (401, 2)


def test_cancel() -> None:
    """A prompt without a code raises a typed error, and nothing is sent again."""
    server = Server()

    with server.client(StepUpAuth(OLD, Prompt(None))) as client, pytest.raises(StepUpCancelled):
        client.get("/pay")

    assert server.paths == ["/pay", "/step-up/otp/start"]


REFUSALS: list[Any] = [
    pytest.param(
        {
            "json": {"code": "too_many_attempts", "detail": "Wait."},
            "headers": {"Retry-After": "30"},
        },
        ("too_many_attempts", 30, "Wait."),
        id="bare",
    ),
    pytest.param(
        {"json": {"detail": {"code": "subject_mismatch"}}},
        ("subject_mismatch", None, "subject_mismatch"),
        id="in-detail",
    ),
    pytest.param({"text": "<h1>502</h1>"}, ("failed", None, "failed"), id="a-page"),
    pytest.param(
        {"json": [], "headers": {"Retry-After": "Tue, 24 Nov 2026 03:00:00 GMT"}},
        ("failed", None, "failed"),
        id="no-object",
    ),
]


@pytest.mark.parametrize(
    ("path", "reply", "expected"),
    [
        *(pytest.param("/step-up/otp/verify", *row.values, id=row.id) for row in REFUSALS),
        pytest.param("/step-up/otp/start", *REFUSALS[0].values, id="start"),
    ],
)
def test_refused_step_up(path: str, reply: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """The error says what the server said."""
    server = Server({path: lambda _: httpx.Response(429, **reply)})

    with (
        server.client(StepUpAuth(OLD, Prompt("123456"))) as client,
        pytest.raises(StepUpFailed) as raised,
    ):
        client.get("/pay")

    error = raised.value
    assert (error.code, error.retry_after, str(error)) == expected
    assert not isinstance(error, StepUpCancelled)


def test_too_many_wrong_codes() -> None:
    """After the given number of them the last refusal is raised."""
    server = Server(
        {"/step-up/otp/verify": lambda _: httpx.Response(400, json={"code": "otp_rejected"})}
    )
    prompt = Prompt("1", "2", "3")

    with (
        server.client(StepUpAuth(OLD, prompt, attempts=2)) as client,
        pytest.raises(StepUpFailed, match="otp_rejected"),
    ):
        client.get("/pay")

    assert prompt.answers == ["3"]


def test_success_without_a_session() -> None:
    """A reply that has no session token does not pass for one."""
    server = Server({"/step-up/otp/verify": lambda _: httpx.Response(200, json={})})

    with (
        server.client(StepUpAuth(OLD, Prompt("123456"))) as client,
        pytest.raises(StepUpFailed, match=r"^no_session$"),
    ):
        client.get("/pay")


def test_redirect_to_another_origin_has_no_say() -> None:
    """A challenge from where a redirect led is returned."""
    far = httpx.Response(302, headers={"Location": "https://evil.example/pay2"})
    server = Server({"/pay": lambda _: far, "/pay2": lambda _: refused()})

    with server.client(StepUpAuth(OLD, Prompt())) as client:
        response = client.get("/pay", follow_redirects=True)

    assert response.status_code == 401
    assert "authorization" not in server.requests[1].headers


@pytest.mark.parametrize("origin", [None, SHOP, f"{SHOP}:443/path"])
def test_tokens_go_to_one_origin(origin: str | None) -> None:
    """Requests to any other go without, and what comes back is passed on."""
    server = Server({"/other": lambda _: refused()})

    with server.client(StepUpAuth(OLD, Prompt("123456"), origin=origin)) as client:
        client.get("/pay")
        response = client.get("https://evil.example/other")

    assert response.status_code == 401
    assert "authorization" not in server.requests[-1].headers


@pytest.mark.anyio
async def test_tokens_of_an_async_client_go_to_one_origin() -> None:
    """The same for an asynchronous client."""
    server = Server({"/pay": lambda _: refused()})
    auth = StepUpAuth(OLD, Prompt(), origin="https://other.example")

    async with httpx.AsyncClient(transport=httpx.MockTransport(server), auth=auth) as client:
        response = await client.get(f"{SHOP}/pay")

    assert response.status_code == 401
    assert "authorization" not in server.requests[0].headers


def test_answers_can_be_streamed() -> None:
    """An answer that is no refusal is not read before the app reads it."""

    def pieces() -> Iterator[bytes]:
        yield b"paid"

    server = Server({"/pay": lambda _: httpx.Response(200, content=pieces())})

    with (
        server.client(StepUpAuth(OLD, Prompt())) as client,
        client.stream("GET", "/pay") as response,
    ):
        assert not response.is_stream_consumed
        assert list(response.iter_bytes()) == [b"paid"]


def test_streamed_body_is_sent_twice() -> None:
    """A body that comes in pieces is read into memory first."""

    def pieces() -> Iterator[bytes]:
        yield b"car"
        yield b"t"

    server = Server()

    with server.client(StepUpAuth(OLD, Prompt("123456"))) as client:
        response = client.post("/pay", content=pieces())

    assert response.json() == "paid"
    assert [server.requests[n].content for n in (0, 3)] == [b"cart", b"cart"]


@pytest.mark.anyio
async def test_streamed_body_of_an_async_client_is_sent_twice() -> None:
    """The same for an asynchronous one."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"cart"

    server = Server()
    transport = httpx.MockTransport(server)

    async with httpx.AsyncClient(transport=transport, auth=StepUpAuth(OLD, Prompt("1"))) as client:
        await client.post(f"{SHOP}/pay", content=pieces())

    assert [server.requests[n].content for n in (0, 3)] == [b"cart", b"cart"]


async def asynchronous(question: StepUpQuestion) -> str:
    """Answer asynchronously."""
    return "123456"


class Asynchronous:
    """A prompt that is an object."""

    async def __call__(self, question: StepUpQuestion) -> str:
        """Answer asynchronously."""
        return "123456"


def deferred(question: StepUpQuestion) -> Awaitable[str]:
    """Return the answer's future."""
    return asynchronous(question)


@pytest.mark.parametrize("prompt", [asynchronous, Asynchronous(), deferred])
@pytest.mark.anyio
async def test_asynchronous_prompts(prompt: Callable[[StepUpQuestion], Any]) -> None:
    """A function, an object, and what returns something to be awaited."""
    transport = httpx.MockTransport(Server())

    async with httpx.AsyncClient(transport=transport, auth=StepUpAuth(OLD, prompt)) as client:
        response = await client.get(f"{SHOP}/pay")

    assert response.json() == "paid"


@pytest.mark.parametrize("prompt", [asynchronous, lambda _: 123456])
def test_prompt_for_the_wrong_client(prompt: Callable[[StepUpQuestion], Any]) -> None:
    """An asynchronous prompt is an error in a synchronous client, and says what it needs."""
    with (
        Server().client(StepUpAuth(OLD, prompt)) as client,
        pytest.raises(TypeError, match=r"httpx\.AsyncClient"),
    ):
        client.get("/pay")


def test_nothing_is_shown() -> None:
    """No `repr` has a token."""
    auth = StepUpAuth(OLD, Prompt())

    assert (repr(auth), repr(auth.tokens)) == ("StepUpAuth()", "StepUpTokens()")

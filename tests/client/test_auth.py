"""StepUpAuth: against the guarded app on the emulator, and against servers of every kind."""

import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import anyio
import httpx
import pytest
from fastapi import Body, Depends, FastAPI

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpAuth,
    StepUpCancelled,
    StepUpFailed,
    StepUpGuard,
    StepUpQuestion,
    StepUpTokens,
    install,
    stepup_router,
)
from fastapi_stepup.testing import DescopeEmulator, Tokens
from fastapi_stepup.testing.server import served

ANN = "ann@example.com"
PHONE = "+491701234567"
SHOP = "https://shop.example"
CODE = "insufficient_user_authentication"
HEADER = f'Bearer realm="P2", error="{CODE}", max_age="60", acr_values="urn:a urn:b"'
OTP = {
    "start_uri": "/step-up/otp/start",
    "verify_uri": "/step-up/otp/verify",
    "methods": ["email", "sms", "totp", "oauth"],
    "uris": {"totp": {"verify_uri": "/step-up/totp/verify"}},
}
OLD = StepUpTokens("old", "refresh")
SESSION = {"session_token": "new", "refresh_token": None}

Reply = Callable[[httpx.Request], httpx.Response]


def problem(**members: Any) -> dict[str, Any]:
    """Return a refusal of the contract."""
    return {"code": CODE, "step_up": OTP, **members}


class Server:
    """A shop in place of the network: it asks for a step-up until the new token comes.

    Args:
        answers: Replies by path, in place of its own.
        gate: What the first answer of the checkout waits for.
    """

    def __init__(self, answers: dict[str, Reply] | None = None) -> None:
        self.answers = answers or {}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.requests.append(request)
        path = request.url.path
        if path in self.answers:
            return self.answers[path](request)
        if path.startswith("/step-up/"):
            return httpx.Response(200, json=SESSION | {"destination": "a**@example.com"})
        paid = request.headers["authorization"] == "Bearer new"
        return httpx.Response(200, json="paid") if paid else refused()

    @property
    def paths(self) -> list[str]:
        """What was asked for."""
        return [request.url.path for request in self.requests]

    def client(self, auth: httpx.Auth) -> httpx.Client:
        """Return a client that reaches nothing else."""
        return httpx.Client(transport=httpx.MockTransport(self), auth=auth, base_url=SHOP)


def refused(body: Any = None, header: str = HEADER) -> httpx.Response:
    """Return a step-up 401."""
    return httpx.Response(
        401,
        json=problem() if body is None else body,
        headers={"WWW-Authenticate": header} if header else {},
    )


class Prompt:
    """A prompt that gives these answers, and keeps what it was asked."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked: list[StepUpQuestion] = []

    def __call__(self, question: StepUpQuestion) -> str | None:
        """Answer."""
        self.asked.append(question)
        return self.answers.pop(0)


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
    """What the challenge names in `amr` is what is offered and used."""

    async def prompt(question: StepUpQuestion) -> str:
        assert (question.method, question.choices, question.amr) == ("sms", ("sms",), ("sms",))
        return descope.outbox[-1].code

    async with of(app, StepUpAuth(ann, prompt)) as client:
        response = await client.post("/refund")

    assert "sms" in response.json()


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


def test_expired_code_is_sent_anew() -> None:
    """The prompt is asked for the new one."""
    answers = iter(
        [httpx.Response(400, json={"code": "otp_expired"}), httpx.Response(200, json=SESSION)]
    )
    server = Server({"/step-up/otp/verify": lambda _: next(answers)})
    prompt = Prompt("111111", "222222")

    with server.client(StepUpAuth(OLD, prompt)) as client:
        assert client.get("/pay").json() == "paid"

    assert [question.problem for question in prompt.asked] == [None, "otp_expired"]
    assert server.paths.count("/step-up/otp/start") == 2


def test_nobody_is_asked_twice() -> None:
    """What the server answers after the step-up is returned, whatever it is."""
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


REFUSALS = [
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


@pytest.mark.parametrize("path", ["/step-up/otp/start", "/step-up/otp/verify"])
@pytest.mark.parametrize(("reply", "expected"), REFUSALS)
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
        pytest.raises(StepUpFailed, match="no_session"),
    ):
        client.get("/pay")


def elsewhere(**members: Any) -> httpx.Response:
    """Return a step-up 401 with these members of `step_up`."""
    return refused(problem(step_up=OTP | members))


PASSED = [
    pytest.param(lambda: httpx.Response(200, json=problem()), id="success"),
    pytest.param(lambda: httpx.Response(403, json=problem()), id="another-status"),
    pytest.param(lambda: httpx.Response(401), id="no-body"),
    pytest.param(
        lambda: refused({"code": "invalid_token"}, 'Bearer error="invalid_token"'), id="bad-token"
    ),
    pytest.param(lambda: refused({"code": "x"}, f'Basic error="{CODE}"'), id="another-scheme"),
    pytest.param(lambda: refused({"code": "x"}, 'Bearer a="'), id="unreadable-header"),
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
    """What is no challenge, or cannot be met here, is the app's to handle: nobody is asked."""
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


@pytest.mark.parametrize(
    ("amr", "choices"),
    [
        pytest.param(["totp"], ("totp",), id="named"),
        pytest.param(["hwk"], ("email", "sms", "totp"), id="not-named"),
        pytest.param(["sms", "mfa"], ("email", "sms", "totp"), id="any-second-factor"),
    ],
)
def test_choices(amr: list[str], choices: tuple[str, ...]) -> None:
    """Offered is what meets the policy for certain, if that is known; else all that may."""
    prompt = Prompt(None)
    server = Server({"/pay": lambda _: refused(problem(amr=amr))})

    with server.client(StepUpAuth(OLD, prompt)) as client, pytest.raises(StepUpCancelled):
        client.get("/pay")

    assert prompt.asked[0].choices == choices


def test_step_up_that_was_not_enough_is_tried_by_a_named_method() -> None:
    """Such a challenge is met only by a method that it names, and only once."""
    server = Server({"/pay": lambda _: refused(problem(unmet_after_step_up=True, amr=["totp"]))})

    with server.client(StepUpAuth(OLD, Prompt("123456"))) as client:
        response = client.get("/pay")

    assert response.status_code == 401
    assert server.paths == ["/pay", "/step-up/totp/verify", "/pay"]


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


@pytest.mark.anyio
async def test_parallel_tasks_share_one_prompt() -> None:
    """Three refused requests ask once, and each is sent once more."""
    server = Server()
    asked = 0

    async def prompt(_: StepUpQuestion) -> str:
        nonlocal asked
        asked += 1
        await anyio.sleep(0.1)
        return "123456"

    auth = StepUpAuth(OLD, prompt)
    statuses: list[int] = []

    async def pay(client: httpx.AsyncClient) -> None:
        statuses.append((await client.get("/pay")).status_code)

    async with (
        httpx.AsyncClient(
            transport=httpx.MockTransport(server), auth=auth, base_url=SHOP
        ) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(3):
            tasks.start_soon(pay, client)

    assert (asked, statuses) == (1, [200, 200, 200])
    assert server.paths.count("/pay") == 6


class Held:
    """A prompt that is answered from outside, and tells when it is asked."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked = threading.Semaphore(0)
        self.release = threading.Semaphore(0)
        self.count = 0

    def __call__(self, question: StepUpQuestion) -> str | None:
        """Answer when released."""
        self.count += 1
        self.asked.release()
        assert self.release.acquire(timeout=10)
        # Time for the others to come and wait, which they do in no way that could be seen.
        threading.Event().wait(0.3)
        return self.answers.pop(0)


class Crowd(Server):
    """A server that tells when a number of requests have been refused."""

    def __init__(self, size: int, answers: dict[str, Reply] | None = None) -> None:
        super().__init__(answers)
        self.arrived = threading.Barrier(size)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer; the first refusals wait for each other."""
        if request.headers["authorization"] == "Bearer old" and request.url.path.startswith("/pay"):
            self.arrived.wait(timeout=10)
        return super().__call__(request)


def test_parallel_threads_share_one_prompt() -> None:
    """The same in threads: whoever comes first asks, the others wait."""
    server, prompt = Crowd(3), Held("123456")
    auth = StepUpAuth(OLD, prompt)

    with server.client(auth) as client, ThreadPoolExecutor() as pool:
        calls = [pool.submit(client.get, "/pay") for _ in range(3)]
        assert prompt.asked.acquire(timeout=10)
        prompt.release.release()
        statuses = [call.result(timeout=10).status_code for call in calls]

    assert (prompt.count, statuses) == (1, [200, 200, 200])


@pytest.mark.anyio
async def test_cancel_is_for_all_that_wait() -> None:
    """One prompt that is cancelled ends every request that shared it, each with its own error."""
    answer = anyio.Event()

    async def prompt(_: StepUpQuestion) -> None:
        await answer.wait()

    transport = httpx.MockTransport(Server())
    errors: list[StepUpCancelled] = []

    async def pay(client: httpx.AsyncClient) -> None:
        with pytest.raises(StepUpCancelled) as raised:
            await client.get("/pay")
        errors.append(raised.value)

    async with (
        httpx.AsyncClient(
            transport=transport, auth=StepUpAuth(OLD, prompt), base_url=SHOP
        ) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(pay, client)
        tasks.start_soon(pay, client)
        await anyio.wait_all_tasks_blocked()
        answer.set()

    assert len(set(errors)) == 2


def test_whoever_waits_takes_over_when_a_step_up_is_abandoned() -> None:
    """A network error of one request's step-up is its own; the next one starts anew."""
    failures = iter([httpx.ConnectError("down")])

    def start(_: httpx.Request) -> httpx.Response:
        for failure in failures:
            raise failure
        return httpx.Response(200, json={})

    server = Crowd(2, {"/step-up/otp/start": start})

    with server.client(StepUpAuth(OLD, Prompt("123456"))) as client, ThreadPoolExecutor() as pool:
        calls = [pool.submit(client.get, "/pay") for _ in range(2)]
        errors = [call.exception(timeout=10) for call in calls]

    assert sorted(str(error) for error in errors) == ["None", "down"]


def test_late_refusal_asks_nobody() -> None:
    """A 401 to a session from before somebody else's step-up: the request is sent again first."""
    auth = StepUpAuth(OLD, Prompt("123456"))
    server = Server()

    def slow(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == "Bearer old":
            client.get("/pay")
            return refused()
        return httpx.Response(200, json="late")

    server.answers["/slow"] = slow
    with server.client(auth) as client:
        assert client.get("/slow").json() == "late"

    assert server.paths.count("/step-up/otp/start") == 1


def test_late_request_that_needs_another_factor_is_asked_for_it() -> None:
    """What somebody else's step-up did not meet is asked for, once."""
    prompt = Prompt("123456", "654321")
    auth = StepUpAuth(OLD, prompt)
    server = Server()
    refusals = iter([True, True, False])

    def slow(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == "Bearer old":
            client.get("/pay")
        return refused(problem(amr=["totp"])) if next(refusals) else httpx.Response(200)

    server.answers["/slow"] = slow
    server.answers["/step-up/totp/verify"] = lambda _: httpx.Response(
        200, json={"session_token": "newer", "refresh_token": "fresh"}
    )
    with server.client(auth) as client:
        assert client.get("/slow").status_code == 200

    assert [question.choices for question in prompt.asked] == [("email", "sms", "totp"), ("totp",)]
    assert auth.tokens == StepUpTokens("newer", "fresh")


@pytest.mark.anyio
async def test_cancelled_task_leaves_the_step_up_to_others() -> None:
    """When the request that asks is given up, another one that waits asks anew."""
    asked = 0
    first = anyio.Event()

    async def prompt(_: StepUpQuestion) -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            first.set()
            await anyio.sleep_forever()
        return "123456"

    auth = StepUpAuth(OLD, prompt)
    transport = httpx.MockTransport(Server())

    async def pay(client: httpx.AsyncClient, scope: anyio.CancelScope) -> None:
        with scope:
            await client.get("/pay")

    async with (
        httpx.AsyncClient(transport=transport, auth=auth, base_url=SHOP) as client,
        anyio.create_task_group() as tasks,
    ):
        given_up = anyio.CancelScope()
        tasks.start_soon(pay, client, given_up)
        await first.wait()
        tasks.start_soon(pay, client, anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        given_up.cancel()

    assert (asked, auth.tokens.session_token) == (2, "new")


def test_nothing_is_shown() -> None:
    """No `repr` has a token."""
    auth = StepUpAuth(OLD, Prompt())

    assert (repr(auth), repr(auth.tokens)) == ("StepUpAuth()", "StepUpTokens()")

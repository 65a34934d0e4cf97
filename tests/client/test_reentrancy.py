"""A callback of a step-up uses the same client: it never waits for the step-up that waits for it.

Every test has a deadline: without the rule it would hang.
"""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx
import pytest

from fastapi_stepup import StepUpAuth, StepUpQuestion, StepUpTokens
from tests.client.shop import OLD, SHOP, Prompt, Server, problem, refused


def within_seconds(work: Callable[[], Any]) -> Any:
    """Return the result of *work*, which must come in 10 s."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(work()), daemon=True)
    thread.start()
    thread.join(10)
    assert result, "It waits for itself."
    return result[0]


def test_prompt_that_sends_a_guarded_request() -> None:
    """Its own 401 comes back to it, and the step-up goes on."""
    inner: list[int] = []

    def prompt(_: StepUpQuestion) -> str:
        inner.append(client.get("/pay/info").status_code)
        return "123456"

    with Server().client(StepUpAuth(OLD, prompt)) as client:
        status = within_seconds(lambda: client.get("/pay").status_code)

    assert (status, inner) == (200, [401])


@pytest.mark.anyio
async def test_asynchronous_prompt_that_sends_a_guarded_request() -> None:
    """The same for an asynchronous client, from a task that the prompt starts."""
    inner: list[int] = []

    async def ask() -> None:
        inner.append((await client.get("/pay/info")).status_code)

    async def prompt(_: StepUpQuestion) -> str:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
        return "123456"

    transport = httpx.MockTransport(Server())
    auth = StepUpAuth(OLD, prompt)
    with anyio.fail_after(10):
        async with httpx.AsyncClient(transport=transport, auth=auth, base_url=SHOP) as client:
            response = await client.get("/pay")

    assert (response.status_code, inner) == (200, [401])


@pytest.mark.anyio
async def test_plain_prompt_of_an_async_client_that_uses_another_one() -> None:
    """A prompt that runs in a thread is still part of its step-up."""
    server = Server()
    inner: list[int] = []

    def prompt(_: StepUpQuestion) -> str:
        with server.client(auth) as client:
            inner.append(client.get("/pay/info").status_code)
        return "123456"

    auth = StepUpAuth(OLD, prompt)
    transport = httpx.MockTransport(server)
    with anyio.fail_after(10):
        async with httpx.AsyncClient(transport=transport, auth=auth, base_url=SHOP) as client:
            response = await client.get("/pay")

    assert (response.status_code, inner) == (200, [401])


def test_event_hook_that_sends_a_guarded_request() -> None:
    """A hook also runs for the requests of the step-up itself."""
    inner: list[int] = []

    def hook(request: httpx.Request) -> None:
        if request.url.path == "/step-up/otp/start":
            inner.append(client.get("/pay/info").status_code)

    with Server().client(StepUpAuth(OLD, Prompt("123456"))) as client:
        client.event_hooks = {"request": [hook]}
        status = within_seconds(lambda: client.get("/pay").status_code)

    assert (status, inner) == (200, [401])


def test_on_tokens_that_sends_a_guarded_request() -> None:
    """By then the step-up is over: the new session is used."""
    inner: list[int] = []

    def keep(_: StepUpTokens) -> None:
        inner.append(client.get("/pay/info").status_code)

    with Server().client(StepUpAuth(OLD, Prompt("123456"), on_tokens=keep)) as client:
        status = within_seconds(lambda: client.get("/pay").status_code)

    assert (status, inner) == (200, [200])


def test_on_tokens_that_needs_another_factor_asks_for_it() -> None:
    """A step-up that begins when another is over is one of its own."""
    prompt = Prompt("123456", "654321")
    server = Server({"/totp": lambda _: refused(problem(amr=["totp"]))})
    inner: list[int] = []

    def keep(_: StepUpTokens) -> None:
        if len(inner) < 1:
            inner.append(0)
            inner.append(client.get("/totp").status_code)

    with server.client(StepUpAuth(OLD, prompt, on_tokens=keep)) as client:
        status = within_seconds(lambda: client.get("/pay").status_code)

    assert (status, inner, len(prompt.asked)) == (200, [0, 401], 2)


def test_two_sessions_whose_prompts_use_each_other() -> None:
    """Neither waits for the other, whether in one thread or in two."""
    first_server, second_server = Server(), Server()

    def first_prompt(_: StepUpQuestion) -> str:
        with second_server.client(second) as client:
            client.get("/pay")
        return "123456"

    def second_prompt(_: StepUpQuestion) -> str:
        with first_server.client(first) as client:
            client.get("/pay")
        return "123456"

    first, second = StepUpAuth(OLD, first_prompt), StepUpAuth(OLD, second_prompt)
    with first_server.client(first) as client:
        assert within_seconds(lambda: client.get("/pay").status_code) == 200


def test_two_threads_that_wait_for_each_other() -> None:
    """Each prompts for one session and uses the other's client meanwhile."""
    servers = [Server(), Server()]
    both_ask = threading.Barrier(2)
    auths: list[StepUpAuth] = []

    def prompt_of(index: int) -> Callable[[StepUpQuestion], str]:
        def prompt(_: StepUpQuestion) -> str:
            both_ask.wait(timeout=10)
            with servers[1 - index].client(auths[1 - index]) as client:
                client.get("/pay")
            return "123456"

        return prompt

    def pay(index: int) -> int:
        with servers[index].client(auths[index]) as client:
            return client.get("/pay").status_code

    auths += [StepUpAuth(OLD, prompt_of(index)) for index in range(2)]

    def both() -> list[int]:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(pay, range(2)))

    assert within_seconds(both) == [200, 200]


def test_thread_that_a_prompt_starts_with_its_context() -> None:
    """A thread belongs to the step-up if it has the context of the prompt."""
    inner: list[int] = []

    def prompt(_: StepUpQuestion) -> str:
        context = contextvars.copy_context()
        with ThreadPoolExecutor() as pool:
            inner.append(pool.submit(context.run, client.get, "/pay/info").result(10).status_code)
        return "123456"

    with Server().client(StepUpAuth(OLD, prompt)) as client:
        status = within_seconds(lambda: client.get("/pay").status_code)

    assert (status, inner) == (200, [401])


def test_prompt_of_one_session_may_step_another_one_up() -> None:
    """Only a wait for itself is given up."""
    helper = Server()
    auth = StepUpAuth(OLD, Prompt("111111"))
    inner: list[int] = []

    def prompt(_: StepUpQuestion) -> str:
        with helper.client(auth) as client:
            inner.append(client.get("/pay").status_code)
        return "123456"

    with Server().client(StepUpAuth(OLD, prompt)) as client:
        assert within_seconds(lambda: client.get("/pay").status_code) == 200

    assert (inner, auth.tokens.session_token) == ([200], "new")


def test_request_after_a_step_up_is_not_part_of_it() -> None:
    """The thread that asked may be asked again, and a prompt that raises leaves nothing behind."""
    server = Server()
    answers: list[Any] = [RuntimeError("mine"), "123456"]

    def prompt(_: StepUpQuestion) -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    with server.client(StepUpAuth(OLD, prompt)) as client:
        with pytest.raises(RuntimeError, match="mine"):
            client.get("/pay")
        assert client.get("/pay").status_code == 200

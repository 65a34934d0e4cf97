"""Requests of several tasks and threads share one step-up."""

from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest

from fastapi_stepup import (
    StepUpAuth,
    StepUpCancelled,
    StepUpQuestion,
    StepUpTokens,
)
from tests.client.shop import OLD, SHOP, Crowd, Held, Prompt, Server, problem, refused


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


def test_parallel_threads_share_one_prompt() -> None:
    """The same in threads: the first request asks, the others wait."""
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


def test_a_waiting_request_takes_over_when_a_step_up_is_abandoned() -> None:
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
    """A 401 to a session from before another request's step-up: the request is sent again first."""
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
    """A factor that another request's step-up did not prove is asked for, once."""
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

"""One-time step-ups over two uvicorn processes that share a real Redis."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from fastapi_stepup.testing import DescopeEmulator
from tests.router.test_redis import REDIS, free_port, running

ROOT = Path(__file__).parents[2]
ANN = "ann@example.com"

pytestmark = [
    pytest.mark.redis,
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(REDIS is None, reason="redis-server is not installed"),
]


@dataclass
class Pair:
    """Two processes of one app."""

    descope: DescopeEmulator
    processes: list["subprocess.Popen[str]"]
    urls: list[str]

    def headers(self) -> dict[str, str]:
        """Return the header fields of a new step-up."""
        return dict(self.descope.step_up(ANN).headers)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two processes, Redis and the emulator."""
    descope = DescopeEmulator(project_id="P2abcdefghijklmnopqrstuvwxyz")
    with ExitStack() as stack:
        command = (REDIS or "", "--save", "", "--bind", "127.0.0.1", "--port")
        redis_url = stack.enter_context(running(command, free_port()))
        emulator = stack.enter_context(descope.serve())
        program = [sys.executable, "-m", "tests.support.one_time_server"]
        arguments = [descope.project_id, emulator, redis_url]
        processes = []
        for _ in range(2):
            process = stack.enter_context(
                subprocess.Popen(
                    [*program, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
                )
            )
            stack.callback(process.terminate)
            processes.append(process)
        ports = [process.stdout.readline().strip() for process in processes if process.stdout]
        yield Pair(descope, processes, [f"http://127.0.0.1:{port}/pay" for port in ports])


async def at_once(client: httpx.AsyncClient, urls: list[str], headers: Any) -> Counter[int]:
    """Send the same request to both processes, twenty times to each; count the statuses."""
    statuses: Counter[int] = Counter()

    async def send(url: str) -> None:
        statuses[(await client.post(url, headers=headers)).status_code] += 1

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(send, urls[number % 2])
    return statuses


@pytest.mark.anyio
async def test_one_of_forty_passes_in_each_of_200_rounds(pair: Pair) -> None:
    """The others are busy or used; never does a second one pass, nor none."""
    async with httpx.AsyncClient(timeout=60) as client:
        for _ in range(200):
            statuses = await at_once(client, pair.urls, pair.headers())

            assert statuses[200] == 1
            assert statuses[200] + statuses[401] + statuses[409] == 40


def test_step_up_of_a_killed_process_is_free_when_its_lease_ends(pair: Pair) -> None:
    """Until then it is held, and afterwards it is good once."""
    headers = pair.headers()
    killed, other = pair.urls

    def post(url: str, **query: str) -> int:
        return httpx.post(url, headers=headers, params=query, timeout=60).status_code

    assert httpx.get(killed, timeout=60).status_code == 405  # it is up
    with pytest.raises(httpx.TimeoutException):
        httpx.post(killed, headers=headers, params={"then": "sleep"}, timeout=1)
    pair.processes[0].kill()
    started = time.monotonic()
    assert post(other) == 409
    while (status := post(other)) == 409:
        assert time.monotonic() - started < 10
        time.sleep(0.1)

    assert status == 200
    assert post(other) == 401


def test_handler_that_fails_gives_it_back_to_the_other_process(pair: Pair) -> None:
    """At once, as often as it fails."""
    headers = pair.headers()
    statuses = [
        httpx.post(url, headers=headers, params={"then": then}, timeout=60).status_code
        for url, then in zip(pair.urls * 3, ("fail", "fail", "fail", "", "", ""), strict=True)
    ]
    assert statuses == [500, 500, 500, 200, 401, 401]

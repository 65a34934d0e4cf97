"""A cold start: what requests that wait for the first key set do to the event loop."""

import asyncio
from time import thread_time

import httpx

from benchmarks.material import Material, guard_on
from benchmarks.measuring import Effort, Figure, at_most

_REQUESTS = 10_000
_FETCH = 0.05
_TURNS = 3


async def figures(effort: Effort) -> list[Figure]:
    """Return the longest turn of the loop while 10,000 first tokens come before the keys do.

    All come in one turn, so that in the first one nothing is in between; the keys come after 50 ms.
    """
    material = Material()
    requests = min(_REQUESTS, effort.cached_tokens)
    tokens = material.tokens(min(effort.tokens, requests))
    turns = [await _turns(material, tokens, requests) for _ in range(_TURNS)]
    note = f"{requests:,} requests in one turn, CPU time"
    names = ("they come", "the keys arrive")
    return [
        Figure(
            name=f"cold start: longest stall of the loop when {what}",
            # The least of three: the collector may stop one of them for what others left behind.
            value=min(each[number] for each in turns) * 1e3,
            unit="ms",
            target=at_most(100),
            note=note,
        )
        for number, what in enumerate(names)
    ]


async def _turns(material: Material, tokens: list[str], requests: int) -> tuple[float, float]:
    """Return the longest turn before the keys were there, and after that."""
    arrived = False

    async def answer(_: httpx.Request) -> httpx.Response:
        nonlocal arrived
        await asyncio.sleep(_FETCH)
        arrived = True
        return httpx.Response(200, json=material.jwks)

    guard = guard_on(answer)
    verifying = [
        asyncio.ensure_future(guard.verifier.verify(tokens[number % len(tokens)]))
        for number in range(requests)
    ]
    longest = [0.0, 0.0]
    while not (arrived and verifying[-1].done()):
        place, started = int(arrived), thread_time()
        await asyncio.sleep(0)
        longest[place] = max(longest[place], thread_time() - started)
    await asyncio.gather(*verifying)
    return longest[0], longest[1]

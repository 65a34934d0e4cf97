"""The key endpoint is down: how long a 503 takes."""

import asyncio
from time import perf_counter
from typing import Final, NoReturn

import httpx
from starlette.requests import HTTPConnection

from benchmarks.material import Material, guard_on
from benchmarks.measuring import Effort, Figure, below, percentile, quartiles
from benchmarks.requests import scope_for
from fastapi_stepup.errors import KeysUnavailable

_PAUSE: Final = 0.005
_SOON: Final = 10.0


async def figures(effort: Effort) -> list[Figure]:
    """Return how long a guard without keys takes to say so.

    Those that ask during the backoff are answered at once. Those that are there when it ends wait
    for the next attempt, which their answer depends on.
    """

    def refuse(request: httpx.Request) -> NoReturn:
        raise httpx.ConnectError("refused", request=request)

    guard = guard_on(refuse)
    connection = HTTPConnection(scope_for("/", Material().token()))
    taken: list[float] = []
    end = perf_counter() + effort.outage_seconds
    while perf_counter() < end:
        started = perf_counter()
        try:
            await guard.authorize(connection)
        except KeysUnavailable:
            taken.append((perf_counter() - started) * 1e3)
        await asyncio.sleep(_PAUSE)
    late = [milliseconds for milliseconds in taken if milliseconds >= _SOON]
    low, median, high = quartiles(taken)
    return [
        Figure(
            name="503 with the key endpoint down, median",
            value=median,
            low=low,
            high=high,
            unit="ms",
            target=below(_SOON),
            note=f"{len(taken)} answers, the first one {taken[0]:.0f} ms",
        ),
        Figure(
            name="503 with the key endpoint down, slowest",
            value=percentile(taken, 1),
            unit="ms",
            note=f"{len(late)} waited for an attempt",
        ),
    ]

"""A guarded route next to one that only reads the header, and the middleware, in process."""

from itertools import pairwise

from starlette.types import ASGIApp

from benchmarks.material import Material
from benchmarks.measuring import Contender, Effort, Figure, at_least, at_most, compared, race
from benchmarks.requests import app_with, getter
from fastapi_stepup import StepUpMiddleware, StepUpRule


def _gets(app: ASGIApp, path: str, token: str | None, size: int) -> Contender:
    get = getter(app, path, token)

    async def turn() -> None:
        for _ in range(size):
            await get()

    return Contender(turn=turn, calls=size)


async def figures(effort: Effort) -> list[Figure]:
    """Return what the dependency costs a route, as a share of the requests per second it had."""
    material = Material()
    app = app_with(material.guard())
    token = material.token()
    paths = ("/guarded", "/header", "/scheme", "/public")
    guarded, header, scheme, public = await race(
        [_gets(app, path, token, effort.batch) for path in paths], rounds=effort.rounds
    )
    name = "requests/s in process: guarded route / route that {}"
    return [
        compared(name.format("reads the header"), header, guarded, target=at_least(0.88)),
        compared(name.format("has FastAPI's APIKeyHeader"), scheme, guarded),
        compared(name.format("depends on nothing"), public, guarded),
    ]


async def middleware(effort: Effort) -> list[Figure]:
    """Return what the middleware adds to the time that a route takes."""
    material = Material()
    guard, token = material.guard(), material.token()
    bare, covered = app_with(guard), app_with(guard)
    rules = [
        StepUpRule("/docs", "public"),
        StepUpRule("/public", "public", methods={"GET"}),
        StepUpRule("/admin/*", "session"),
        StepUpRule("/header", "session"),
        StepUpRule("/guarded", "session"),
    ]
    covered.add_middleware(StepUpMiddleware, guard=guard, rules=rules)
    pairs = [(app, path) for path in ("/public", "/guarded", "/header") for app in (covered, bare)]
    times = await race(
        [_gets(app, path, token, effort.batch) for app, path in pairs], rounds=effort.rounds
    )
    names = (
        "time with the middleware / without: public route",
        "time with the middleware / without: route with a dependency of the guard",
        "time with the middleware / without: route that only the middleware guards",
    )
    targets = (at_most(1.05), at_most(1.10), None)
    sides = list(pairwise(times))[::2]
    return [
        compared(name, those, these, target=target, note=f"{len(rules)} rules")
        for name, (those, these), target in zip(names, sides, targets, strict=True)
    ]

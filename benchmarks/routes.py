"""A guarded route next to one that only reads the header, and the middleware, in process.

One app for each route: in an app of several, one route further costs 1.3 µs.
"""

from benchmarks.contenders import decoder, gets
from benchmarks.material import Material
from benchmarks.measuring import (
    Effort,
    Figure,
    at_least,
    at_most,
    compared,
    compared_additions,
    race,
)
from benchmarks.requests import apps_with
from fastapi_stepup import StepUpMiddleware, StepUpRule


async def figures(effort: Effort) -> list[Figure]:
    """Return what the dependency costs a route, as a share of the requests per second it had."""
    material = Material()
    apps = apps_with(material.guard())
    tokens = [material.token(su=True)]
    names = ("guarded", "stepped", "header", "scheme", "public")
    asked = [(f"/{name}", "bearer") for name in names] + [
        ("/guarded", "cookie"),
        ("/cookie", "cookie"),
    ]
    guarded, stepped, header, scheme, public, with_cookie, cookie = await race(
        [gets(apps[path], path, tokens, effort.batch, field=field) for path, field in asked],
        rounds=effort.rounds,
    )
    name = "requests/s in process: {} / route that {}"
    goal, cookie_goal = at_least(0.88), at_least(0.80)
    only = "reads the header"
    return [
        compared(name.format("RequireSession", only), header, guarded, target=goal),
        compared(name.format("RequireStepUp", only), header, stepped, target=goal),
        compared(
            name.format("RequireSession with a cookie", "reads the cookie field"),
            cookie,
            with_cookie,
            target=cookie_goal,
        ),
        compared(name.format("RequireSession", "has FastAPI's APIKeyHeader"), scheme, guarded),
        compared(name.format("RequireSession", "depends on nothing"), public, guarded),
    ]


async def first_tokens(effort: Effort) -> list[Figure]:
    """Return what a dependency adds to a request whose token was not seen before."""
    material = Material()
    guard = material.guard()
    apps = apps_with(guard, decoder(material.key.jwk))
    tokens = material.tokens(effort.tokens)
    asked = (("/guarded", "bearer"), ("/decode", "bearer"), ("/header", "bearer"))
    more = (("/guarded", "cookie"), ("/cookie", "cookie"))
    guarded, decode, header, with_cookie, cookie = await race(
        [
            gets(
                apps[path],
                path,
                tokens,
                effort.batch,
                field=field,
                prepare=guard.verifier.clear,
            )
            for path, field in asked + more
        ],
        rounds=effort.rounds,
    )
    name = "first-time token in a request: {} adds / a jwt.decode dependency adds"
    return [
        compared_additions(
            name.format("RequireSession"),
            (guarded, header),
            (decode, header),
            target=at_most(0.68),
        ),
        compared_additions(
            name.format("RequireSession with a cookie"), (with_cookie, cookie), (decode, header)
        ),
    ]


async def middleware(effort: Effort) -> list[Figure]:
    """Return what the middleware adds to the time that a route takes."""
    material = Material()
    guard, tokens = material.guard(), [material.token(su=True)]
    bare, covered = apps_with(guard), apps_with(guard)
    rules = [
        StepUpRule("/docs", "public"),
        StepUpRule("/public", "public", methods={"GET"}),
        StepUpRule("/admin/*", "session"),
        StepUpRule("/header", "session"),
        StepUpRule("/guarded", "session"),
    ]
    for app in covered.values():
        app.add_middleware(StepUpMiddleware, guard=guard, rules=rules)
    pairs = [
        (apps, path) for path in ("/public", "/header", "/guarded") for apps in (covered, bare)
    ]
    public, bare_public, only, header, both, guarded = await race(
        [gets(apps[path], path, tokens, effort.batch) for apps, path in pairs], rounds=effort.rounds
    )
    name = "time with the middleware / without: {}"
    note = f"{len(rules)} rules"
    return [
        compared(name.format("public route"), public, bare_public, target=at_most(1.05), note=note),
        compared(
            name.format("route that only it guards"), only, header, target=at_most(1.17), note=note
        ),
        compared(
            name.format("route with a dependency of the guard"),
            both,
            guarded,
            target=at_most(1.10),
            note=note,
        ),
        compared(
            "requests/s in process: middleware and dependency / route that reads the header",
            header,
            both,
            target=at_least(0.80),
            note=note,
        ),
    ]

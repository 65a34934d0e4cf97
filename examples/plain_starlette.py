"""Step-up without FastAPI in the app: a decorator, a rule, and a call inside an endpoint.

Start it: `python -m examples.plain_starlette`
"""

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from fastapi_stepup import (
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    claims_from,
    install,
    requires_step_up,
    stepup_router,
)

guard = StepUpGuard.for_descope("P2LocalEmulatorProject000001")
recent = StepUpPolicy(max_age="5m")


async def home(request: Request) -> PlainTextResponse:
    """Welcome everyone: a rule says so."""
    return PlainTextResponse("Welcome.")


async def profile(request: Request) -> PlainTextResponse:
    """Show who is signed in: for this path a session is enough."""
    return PlainTextResponse(claims_from(request).subject)


@requires_step_up(guard, recent)
async def refund(request: Request) -> PlainTextResponse:
    """Pay back; the decorator asks for a step-up."""
    return PlainTextResponse(f"Refunded by {claims_from(request).subject}.")


async def transfer(request: Request) -> PlainTextResponse:
    """Pay; only a large amount needs a step-up."""
    amount = int(request.query_params.get("amount", "0"))
    if amount > 1000:
        await guard.authorize(request, recent)
    return PlainTextResponse(f"Paid {amount}.")


helpers = FastAPI(
    openapi_url=None
)  # the helper routes are FastAPI's, so they are an app of their own
helpers.include_router(stepup_router(guard, prefix=""))

app = Starlette(
    routes=[
        Route("/", home),
        Route("/profile", profile),
        Route("/refund", refund, methods=["POST"]),
        Route("/transfer", transfer, methods=["POST"]),
        Mount("/step-up", helpers),
    ],
    middleware=[
        Middleware(
            StepUpMiddleware,
            guard=guard,
            rules=[
                StepUpRule("/", "public"),
                StepUpRule("/step-up/stepup.js", "public"),
                StepUpRule("/profile", "session"),
                StepUpRule("/transfer", "session"),
            ],
        )
    ],
    lifespan=guard.lifespan,
)
install(app, guard)

if __name__ == "__main__":
    from examples.serving import serve

    serve(app, guard)

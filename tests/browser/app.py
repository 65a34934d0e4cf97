"""A small app for the browser to step up in: a page under a strict CSP, and guarded routes.

It brings its emulator along, under `/descope`, so that a test can sign users in and read their
codes. Served once it has two origins: `http://localhost` with the cookies, and
`http://127.0.0.1`, which other pages reach with a bearer token.
"""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpGuard,
    StepUpPolicy,
    install,
    stepup_router,
)
from fastapi_stepup.browser.assets import stepup_script
from fastapi_stepup.testing import DescopeEmulator

SITE = Path(__file__).parent / "site"
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self' http://127.0.0.1:*",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
)


def policies(guard: StepUpGuard) -> APIRouter:
    """Return routes whose policies say more than one thing."""
    by_code = RequireStepUp(guard, max_age="5m", amr=("email", "sms"))
    by_passkey = RequireStepUp(guard, max_age="2m", amr=("webauthn",))
    router = APIRouter(prefix="/policies")
    inner = APIRouter(dependencies=[Depends(by_code)])

    @inner.post("/both")
    async def both(claims: Annotated[Claims, Depends(by_passkey)]) -> list[str]:
        return list(claims.amr)

    passkey_or_app = StepUpPolicy(max_age="2m", amr=["webauthn"]) | StepUpPolicy(amr=["totp"])

    @router.post("/either")
    async def either(
        claims: Annotated[Claims, Depends(RequireStepUp(guard, policy=passkey_or_app))],
    ) -> list[str]:
        return list(claims.amr)

    async def over_limit(amount: Annotated[int, Body(embed=True)]) -> bool:
        return amount > 1000

    transfers = RequireStepUp(guard, max_age="5m", when=over_limit)

    @router.post("/transfer")
    async def transfer(
        claims: Annotated[Claims, Depends(transfers)], amount: Annotated[int, Body(embed=True)]
    ) -> list[str]:
        return [str(amount), *claims.amr]

    router.include_router(inner)
    return router


def create_app(*, installed: bool = True) -> FastAPI:
    """Return the app; `app.state.emulator` is its emulator.

    Args:
        installed: Whether problems are answered bare and all methods are offered; else problems are
            in FastAPI's `{"detail": …}`, and codes are all there is.
    """
    emulator = DescopeEmulator()
    guard = StepUpGuard.for_descope(emulator.project_id, transport=emulator.transport)
    app = FastAPI()
    app.state.emulator = emulator
    if installed:
        install(app, guard)
        helpers = stepup_router(
            guard,
            methods=("otp", "totp", "passkey", "magiclink", "enchantedlink"),
            redirect_uris=("http://localhost/site/link.html",),
            limits=None,
        )
    else:
        helpers = stepup_router(guard, limits=None)
    app.include_router(helpers)
    app.add_middleware(
        CORSMiddleware,
        allow_origin_regex=r"http://(localhost|127\.0\.0\.1):\d+",
        allow_methods=["*"],
        allow_headers=["authorization", "content-type"],
    )
    app.include_router(policies(guard))
    recent = Depends(RequireStepUp(guard, max_age="5m"))
    by_phone = Depends(RequireStepUp(guard, amr=("sms",)))

    @app.post("/pay")
    async def pay(claims: Annotated[Claims, recent], body: Annotated[Any, Body()]) -> Any:
        return {"paid": body, "amr": list(claims.amr)}

    @app.post("/refund")
    async def refund(claims: Annotated[Claims, by_phone]) -> list[str]:
        return list(claims.amr)

    orders: list[Any] = []

    @app.post("/orders")
    async def order(body: Annotated[Any, Body()]) -> RedirectResponse:
        orders.append(body)
        return RedirectResponse("/orders/last", 303)

    @app.get("/orders/last")
    async def last(claims: Annotated[Claims, recent]) -> Any:
        return {"orders": len(orders), "last": orders[-1], "amr": list(claims.amr)}

    @app.get("/")
    async def page(request: Request) -> HTMLResponse:
        script = stepup_script(request)
        html = SITE.joinpath("index.html").read_text("utf-8").format(script=script)
        return HTMLResponse(html, headers={"Content-Security-Policy": POLICY})

    app.mount("/descope", emulator)
    app.mount("/site", StaticFiles(directory=SITE))
    return app

"""A small app for the browser to step up in: a page under a strict CSP, and guarded routes.

It brings its emulator along, under `/descope`, so that a test can sign users in and read their
codes. Served once it has two origins: `http://localhost` with the cookies, and
`http://127.0.0.1`, which other pages reach with a bearer token.
"""

from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, install, stepup_router
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

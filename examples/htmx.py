"""A page of HTMX whose button needs a step-up: one listener answers the 401 with the dialog.

Start it: `python -m examples.htmx`
"""

from typing import Annotated

from fastapi import Depends, FastAPI, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, install, stepup_router
from fastapi_stepup.testing import DescopeEmulator

guard = StepUpGuard.for_descope("P2LocalEmulatorProject000001")
app = FastAPI(lifespan=guard.lifespan)
install(app, guard)
app.include_router(stepup_router(guard))

PAGE = """<!doctype html>
<html lang="en">
<meta name="viewport" content="width=device-width">
<title>Orders</title>
<script src="https://unpkg.com/htmx.org@2.0.11/dist/htmx.min.js" defer></script>
<script type="module" src="/htmx-step-up.js"></script>
<style>
  :root { color-scheme: light dark; font: 1rem/1.5 system-ui }
  body { max-width: 30rem; margin: 2rem auto }
</style>
<h1>Orders</h1>
<form method="post" action="/sign-in"><button>Sign in as Ann</button></form>
<button hx-post="/orders/7/cancel" hx-target="#result">Cancel order 7</button>
<p id="result" role="status"></p>
"""
# The two scripts of docs/how-to/front-ends.md in one.
SCRIPT = """
import { withStepUp } from "/step-up/stepup.js";

const asked = withStepUp(async (url, { answers }) => answers.shift(), { fetch });

document.body.addEventListener("htmx:responseError", async ({ detail }) => {
  const { xhr, target, requestConfig } = detail;
  if (xhr.status !== 401) return;
  const { verb, path, elt } = requestConfig;
  const answers = [new Response(xhr.responseText, { status: 401 }), new Response()];
  const again = await asked(path, { answers }).catch(() => null);
  if (again?.ok) await htmx.ajax(verb, path, { source: elt, target });
});
"""


@app.get("/")
async def page() -> HTMLResponse:
    """Show the page."""
    return HTMLResponse(PAGE)


@app.get("/htmx-step-up.js")
async def script() -> Response:
    """Serve its script."""
    return Response(SCRIPT, media_type="text/javascript")


@app.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Sign Ann in on the emulator; on a real project Descope's SDK sets these cookies."""
    emulator: DescopeEmulator = request.app.state.emulator
    ann = emulator.sign_in("ann@example.com")
    back = RedirectResponse("/", 303)
    back.set_cookie("DS", ann.session_token, httponly=True, samesite="lax")
    back.set_cookie("DSR", ann.refresh_token, httponly=True, samesite="lax")
    return back


@app.post("/orders/{number}/cancel")
async def cancel(
    number: int, claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]
) -> HTMLResponse:
    """Cancel an order: a fragment, as HTMX takes it."""
    return HTMLResponse(f"Order {number} is cancelled.")


if __name__ == "__main__":
    from examples.serving import serve

    serve(app, guard)

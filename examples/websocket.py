"""A WebSocket that only stepped-up sessions open, and that ends when the step-up is too old.

Start it: `pip install websockets && python -m examples.websocket`
"""

from typing import Annotated

from fastapi import Depends, FastAPI, WebSocket

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, StepUpPolicy, install, stepup_router

guard = StepUpGuard.for_descope("P2LocalEmulatorProject000001")
app = FastAPI(lifespan=guard.lifespan)
install(app, guard)
app.include_router(stepup_router(guard))

SteppedUp = Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]


@app.websocket("/orders")
async def orders(websocket: WebSocket, claims: SteppedUp) -> None:
    """Take orders; each is checked again, since the connection outlives its token."""
    await websocket.accept()
    async for order in websocket.iter_text():
        await guard.recheck(websocket)  # closes with 1008 and the problem code
        await websocket.send_text(f"{claims.subject} ordered {order}.")


@app.websocket("/chat")
async def chat(websocket: WebSocket) -> None:
    """Take the token in the first message, as clients do that can set no header."""
    await websocket.accept()
    token = await websocket.receive_text()
    claims = await guard.authorize(websocket, StepUpPolicy(max_age="5m"), token=token)
    await websocket.send_text(f"Welcome, {claims.subject}.")
    await websocket.close()


if __name__ == "__main__":
    from examples.serving import serve

    serve(app, guard)

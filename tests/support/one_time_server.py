"""A guarded app on uvicorn: `python -m tests.support.one_time_server PROJECT EMULATOR REDIS`.

Prints the port that it listens on. A step-up of it is good for one use, shared through Redis.
"""

import asyncio
import socket
import sys
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Response

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard


def app_of(project_id: str, base_url: str, redis_url: str) -> FastAPI:
    """Return an app with one route."""
    guard = StepUpGuard.for_descope(
        project_id, base_url=base_url, redis_url=redis_url, one_time_lease=3
    )
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/pay")
    async def pay(
        claims: Annotated[Claims, Depends(RequireStepUp(guard, once="pay"))], then: str = ""
    ) -> Response:
        if then == "sleep":  # pragma: no cover - the process is killed over it
            await asyncio.sleep(60)
        return Response(status_code=500 if then == "fail" else 200)

    return app


def main(project_id: str, base_url: str, redis_url: str) -> None:
    """Serve until the process is ended."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        print(listening.getsockname()[1], flush=True)  # noqa: T201  # for who started it
        config = uvicorn.Config(app_of(project_id, base_url, redis_url), log_level="warning")
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])

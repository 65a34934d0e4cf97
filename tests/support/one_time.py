"""Stores that fail, and sessions, for the tests of one-time step-ups."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final, Self

from fastapi import Depends, FastAPI, Response
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from fastapi_stepup import RequireStepUp, StepUpGuard
from fastapi_stepup.events import OneTimeUse
from fastapi_stepup.guard.one_time_store import HoldOutcome, MemoryStore
from fastapi_stepup.testing import DescopeEmulator

ANN: Final = "ann@example.com"
PROJECT: Final = "P2abcdefghijklmnopqrstuvwxyz"


class FailingStore(MemoryStore):
    """A store that fails where it is told to.

    Args:
        failing: What fails: `"hold"`, `"settle"`.
    """

    def __init__(self, *failing: str) -> None:
        super().__init__()
        self.failing = set(failing)
        self.holds = 0

    async def hold(self, key: str, holder: str, *, lease: float) -> HoldOutcome:
        """Hold, or fail."""
        self.holds += 1
        if "hold" in self.failing:
            raise ConnectionError
        return await super().hold(key, holder, lease=lease)

    async def settle(self, key: str, holder: str, *, spent: bool, keep: float) -> None:
        """Settle, or fail."""
        if "settle" in self.failing:
            raise ConnectionError
        await super().settle(key, holder, spent=spent, keep=keep)


class OneTime:
    """A guard with a store that may fail, its events, and one stepped-up session.

    Works while the context is open.

    Args:
        failing: What fails in the store.
        options: Options of the guard.
    """

    def __init__(self, *failing: str, **options: Any) -> None:
        self.store = FailingStore(*failing)
        self.events: list[str] = []
        self.guard = StepUpGuard.for_descope(
            PROJECT, one_time=self.store, on_event=self._note, **options
        )
        self.descope = DescopeEmulator(project_id=PROJECT)
        self.headers = dict(self.descope.step_up(ANN).headers)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.descope.attach(self.guard))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def again(self) -> dict[str, str]:
        """Return the header fields of another step-up of the same user."""
        return dict(self.descope.step_up(ANN).headers)

    def _note(self, event: object) -> None:
        if isinstance(event, OneTimeUse):
            self.events.append(event.outcome)


def app_of(ann: OneTime, handler: Callable[..., Any], **options: Any) -> FastAPI:
    """Return an app with one route that spends step-ups for "pay"."""
    app = FastAPI()
    once = Depends(RequireStepUp(ann.guard, max_age="5m", once="pay"))
    app.post("/pay", dependencies=[once], **options)(handler)
    return app


def posts(ann: OneTime, app: Any, times: int = 2) -> list[int]:
    """Return the statuses of the same request several times."""
    client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
    return [client.post("/pay", headers=ann.headers).status_code for _ in range(times)]


async def missing() -> Response:
    """Return 404."""
    return JSONResponse({}, 404)

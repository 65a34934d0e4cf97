"""`once=` on RequireStepUp: the answer of the handler decides whether a step-up is spent."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Response
from pydantic import BaseModel
from starlette.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.testclient import TestClient

from fastapi_stepup import RequireStepUp
from tests.support.one_time import OneTime, app_of, missing, posts


def redirect() -> Response:
    """Answer 303."""
    return RedirectResponse("/done", 303)


def failing() -> Response:
    """Return 503, from the thread pool."""
    return JSONResponse({}, 503)


async def set_status(response: Response) -> str:
    """Set 402 and return something else."""
    response.status_code = 402
    return "no"


async def raising() -> None:
    """Raise an answer."""
    raise HTTPException(400)


async def redirecting() -> None:
    """Raise a redirect."""
    raise HTTPException(303, headers={"Location": "/done"})


def breaking() -> None:
    """Raise an error."""
    raise RuntimeError


async def streaming() -> Response:
    """Answer 200 piece by piece."""
    return StreamingResponse(iter(["a", "b"]))


def unfit() -> str:
    """Return what the route does not promise."""
    return "unfit"


@pytest.mark.parametrize(
    ("handler", "options", "statuses"),
    [
        (redirect, {}, [303, 401]),
        (streaming, {}, [200, 401]),
        (lambda: None, {"status_code": 204}, [204, 401]),
        (missing, {}, [404, 404]),
        (missing, {"status_code": 201}, [404, 404]),
        (failing, {}, [503, 503]),
        (set_status, {}, [402, 402]),
        (raising, {}, [400, 400]),
        (redirecting, {}, [303, 401]),
        (breaking, {}, [500, 500]),
        (unfit, {"response_model": int}, [500, 500]),
        (lambda: None, {"status_code": 410}, [410, 410]),
    ],
)
def test_answer_decides(
    handler: Callable[..., Any], options: dict[str, Any], statuses: list[int], ann: OneTime
) -> None:
    """Spent by 2xx and 3xx; given back by 4xx, 5xx and exceptions, returned or raised."""
    assert posts(ann, app_of(ann, handler, **options)) == statuses


def test_status_that_is_set_after_the_handler_gives_nothing_back(ann: OneTime) -> None:
    """FastAPI answers with the status of the time when the handler returned."""

    async def late(response: Response) -> AsyncIterator[None]:
        yield
        response.status_code = 500

    later = Depends(late, scope="function")
    app = FastAPI()
    once = Depends(RequireStepUp(ann.guard, max_age="5m", once="pay"))
    app.post("/pay", dependencies=[once, later])(lambda: "done")
    assert posts(ann, app) == [200, 401]


def test_route_of_an_included_router_is_seen(ann: OneTime) -> None:
    """FastAPI serves it by a copy; a generator streams with the status that is declared."""
    router = APIRouter(prefix="/pay")
    once = Depends(RequireStepUp(ann.guard, once="pay"))
    router.post("", dependencies=[once])(missing)

    @router.post(
        "/events", dependencies=[once], response_class=StreamingResponse, response_model=None
    )
    async def events() -> AsyncIterator[bytes]:
        yield b"a"

    app = FastAPI()
    app.include_router(router)
    assert posts(ann, app) == [404, 404]
    client = TestClient(app, raise_server_exceptions=False)
    if client.post("/pay/events", headers=ann.headers).status_code != 200:
        pytest.skip("this FastAPI does not stream")  # pragma: no cover - an old one
    assert client.post("/pay/events", headers=ann.headers).status_code == 401


class Order(BaseModel):
    """A body."""

    amount: int


def test_malformed_body_gives_it_back(ann: OneTime) -> None:
    """FastAPI answers 422 after the dependencies ran."""

    async def pay(order: Order) -> int:
        return order.amount

    client = TestClient(app_of(ann, pay))

    bodies: list[Any] = [{}, {"amount": 1}, {"amount": 1}]
    statuses = [client.post("/pay", json=b, headers=ann.headers).status_code for b in bodies]
    assert statuses == [422, 200, 401]


@pytest.mark.parametrize("scope", [None, "function", "request"])
def test_it_is_settled_before_the_answer_starts(scope: Any, ann: OneTime) -> None:
    """Whatever scope its `Depends` has: a client that has its answer finds the step-up used."""
    seen: list[list[str]] = []

    class Watching(Response):
        async def __call__(self, *asgi: Any) -> None:
            seen.append(list(ann.events))
            await super().__call__(*asgi)

    app = FastAPI()
    once = Depends(RequireStepUp(ann.guard, once="pay"), scope=scope)
    app.post("/pay", dependencies=[once])(lambda: Watching("done"))

    assert posts(ann, app) == [200, 401]
    assert seen == [["spent"]]

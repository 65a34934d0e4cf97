"""Cache headers of replies that depend on a credential."""

from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.testclient import TestClient

from fastapi_stepup import (
    RequireSession,
    StepUpGuard,
    StepUpMiddleware,
    StepUpRule,
    install,
    requires_step_up,
)
from fastapi_stepup.testing import DescopeEmulator
from tests.support.exchange import ANN

PRIVATE = ("private", "Authorization, Cookie")


def cache_fields(response: Any) -> tuple[str | None, str | None]:
    """Return the fields of the reply that caches read."""
    return response.headers.get("cache-control"), response.headers.get("vary")


def installed(guard: StepUpGuard) -> FastAPI:
    """Return an installed app."""
    app = FastAPI()
    install(app, guard)
    return app


def behind_a_middleware(guard: StepUpGuard) -> FastAPI:
    """Return an app that its middleware guards, but for `/open`."""
    app = FastAPI()
    rules = [StepUpRule("/open", "public")]
    app.add_middleware(StepUpMiddleware, guard=guard, rules=rules, default="session")
    return app


BUILDS = [installed, behind_a_middleware]


async def stream(request: Request) -> Response:
    """Answer bit by bit."""

    async def chunks() -> Any:
        yield b"a"
        yield b"b"

    return StreamingResponse(chunks())


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("by", ["header", "cookie"])
def test_a_reply_to_a_session_is_private(
    build: Any, by: str, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """By header or cookie, for any kind of reply; an open route says nothing."""
    app = build(guard)
    asked = [Depends(RequireSession(guard))]
    app.get("/me", dependencies=asked)(lambda: {"name": "Ann"})
    app.get("/text", dependencies=asked)(lambda: PlainTextResponse("Ann"))
    app.get("/lost", dependencies=asked)(lambda: PlainTextResponse("who?", 404))
    app.get("/open")(lambda: 1)
    app.add_route("/stream", requires_step_up(guard)(stream))
    tokens = descope.step_up(ANN)
    headers = tokens.headers if by == "header" else {"Cookie": f"DS={tokens.session_token}"}
    client = TestClient(app)

    for path in ("/me", "/text", "/lost", "/stream"):
        assert cache_fields(client.get(path, headers=headers)) == PRIVATE
    assert cache_fields(client.get("/open", headers=headers)) == (None, None)
    assert cache_fields(client.get("/open")) == (None, None)


@pytest.mark.parametrize(
    "said",
    [
        {"Cache-Control": "public, max-age=60"},
        {"cache-control": "no-store"},
        {"Expires": "Thu, 01 Dec 2044 16:00:00 GMT"},
        {"Pragma": "no-cache"},
    ],
)
def test_what_the_app_says_itself_stays(
    said: dict[str, str], guard: StepUpGuard, descope: DescopeEmulator, subtests: pytest.Subtests
) -> None:
    """It knows better."""
    for build in BUILDS:
        with subtests.test(build=build):
            app = build(guard)
            asked = [Depends(RequireSession(guard))]
            app.get("/me", dependencies=asked)(lambda: PlainTextResponse("Ann", headers=said))

            response = TestClient(app).get("/me", headers=descope.sign_in(ANN).headers)

            [(name, value)] = said.items()
            assert response.headers[name] == value
            assert cache_fields(response) == (
                value if name.lower() == "cache-control" else None,
                None,
            )


def test_what_the_reply_varies_on_is_added_to(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Compression has said something already, and nothing is said twice."""
    app = installed(guard)
    app.add_middleware(GZipMiddleware, minimum_size=1)
    app.add_middleware(StepUpMiddleware, guard=guard, default="session")
    app.get("/me", dependencies=[Depends(RequireSession(guard))])(lambda: 100 * "Ann")

    response = TestClient(app).get("/me", headers=descope.sign_in(ANN).headers)

    assert cache_fields(response) == ("private", "Accept-Encoding, Authorization, Cookie")


@pytest.mark.parametrize("build", BUILDS)
def test_a_refusal_is_stored_nowhere(build: Any, guard: StepUpGuard) -> None:
    """As ever."""
    app = build(guard)
    app.get("/me", dependencies=[Depends(RequireSession(guard))])(lambda: 1)

    assert cache_fields(TestClient(app).get("/me")) == ("no-store", None)

"""A test's HTTP client with the session cookies of a browser."""

from importlib.metadata import version
from typing import Annotated, Any

import httpx
import httpx2
import pytest
from fastapi import Depends, FastAPI, Request, Response
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireSession, RequireStepUp, StepUpGuard
from fastapi_stepup.testing import DescopeEmulator

ANN = "ann@example.com"


@pytest.fixture
def guard(emulator: DescopeEmulator) -> StepUpGuard:
    """A guard of the emulated project."""
    return StepUpGuard.for_descope(DescopeEmulator().project_id)


@pytest.fixture
def app(guard: StepUpGuard) -> FastAPI:
    """An app that shows who is signed in, which cookies came, and how to sign out."""
    app = FastAPI()

    @app.get("/me")
    async def me(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> str:
        return claims.subject

    @app.post("/checkout")
    async def checkout(claims: Annotated[Claims, Depends(RequireStepUp(guard))]) -> str:
        return claims.subject

    @app.get("/cookies")
    async def cookies(request: Request) -> str:
        return request.headers.get("cookie", "")

    @app.post("/renew")
    async def renew(response: Response) -> None:
        response.set_cookie("DS", "new")
        response.delete_cookie("DSR")

    return app


@pytest.mark.parametrize(
    "base_url",
    [
        "http://testserver",
        "https://shop.example",
        pytest.param(
            "http://[::1]",
            marks=pytest.mark.skipif(
                version("starlette") < "1", reason="this TestClient knows no IPv6 host"
            ),
        ),
    ],
)
def test_client_is_signed_in(app: FastAPI, guard: StepUpGuard, base_url: str) -> None:
    """Its requests carry the session, reads and writes, and a later sign-in replaces it."""
    with DescopeEmulator().attach(guard) as descope:
        client = TestClient(app, base_url=base_url)
        ann = descope.sign_in(ANN, client=client)
        assert client.get("/me").json() == ann.user_id
        assert client.get("/cookies").json() == f"DS={ann.session_token}; DSR={ann.refresh_token}"
        assert client.post("/checkout").status_code == 401
        assert descope.step_up(ANN, client=client).user_id == ann.user_id
        assert client.post("/checkout").json() == ann.user_id
        bob = descope.sign_in("bob@example.com", client=client)
        assert client.get("/me").json() == bob.user_id


def test_cookies_of_the_app_replace_the_ones_given(app: FastAPI, guard: StepUpGuard) -> None:
    """One cookie of a name, not two; a deleted one is gone."""
    client = TestClient(app)
    DescopeEmulator().sign_in(ANN, client=client)
    client.post("/renew")
    assert client.get("/cookies").json() == "DS=new"


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
@pytest.mark.parametrize("base_url", ["", "https://shop.example"])
def test_clients_of_both_libraries_are_signed_in(library: Any, base_url: str) -> None:
    """With or without a base URL the cookies are in the jar."""
    client = library.Client(base_url=base_url)
    ann = DescopeEmulator().sign_in(ANN, client=client)
    assert dict(client.cookies) == ann.cookies
    assert client.headers["sec-fetch-site"] == "same-origin"


@pytest.mark.parametrize("client", ["client", {"cookies": {}}, httpx.Request("GET", "https://a")])
def test_other_objects_are_named(client: Any) -> None:
    """An object without a cookie jar is a sentence."""
    with pytest.raises(TypeError, match=f"requests.Session, not {type(client).__name__}"):
        DescopeEmulator().sign_in(ANN, client=client)

"""No refusal gives back what the request had in it."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard
from fastapi_stepup.testing import DescopeEmulator


@pytest.mark.parametrize(
    "host", [pytest.param("canary.example", id="HD-030"), pytest.param("shop.example", id="OB-009")]
)
def test_no_request_data_is_reflected(
    guard: StepUpGuard, descope: DescopeEmulator, host: str
) -> None:
    """Whatever a hostile request carries, its refusal has none of it."""

    async def endpoint(request: Request) -> None:
        await guard.authorize(request)

    app = Starlette(debug=True, routes=[Route("/{rest:path}", endpoint, methods=["POST"])])
    client = TestClient(app, base_url=f"http://{host}")
    token = descope.token(iss="canary", sub="canary")
    tampered = descope.sign_in("canary@example.com").session_token[:-8] + "canaryAA"

    for headers in (
        {},
        {"Authorization": "canary"},
        {"Authorization": "Bearer canary"},
        {"Authorization": "Bearer canary, Basic canary"},
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"Bearer {tampered}"},
        {"Cookie": "DS=canary", "Origin": "https://canary.example"},
        {"Cookie": "DS=canary", "Sec-Fetch-Site": "same-origin"},
        {"Cookie": "DS=canary; DS=canary"},
    ):
        response = client.post("/canary?canary=canary", headers=headers, content="canary")
        answer = f"{response.headers} {response.text}"
        assert response.status_code in {400, 401, 403}
        assert "canary" not in answer
        assert "eyJ" not in answer
        assert response.headers["cache-control"] == "no-store"

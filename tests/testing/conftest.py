"""Fixtures of the emulator's tests: a project with a clock, and an HTTP caller."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from fastapi_stepup.testing import DescopeEmulator, Tokens


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Caller:
    """A backend that calls Descope: the project id in the bearer, JSON in the body."""

    emulator: DescopeEmulator
    client: TestClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = TestClient(self.emulator)

    def headers(self, token: str = "") -> dict[str, str]:
        """Return the header that authenticates a call, with *token* behind the project id."""
        parts = filter(None, (self.emulator.project_id, token))
        return {"Authorization": f"Bearer {':'.join(parts)}"}

    def post(
        self, path: str, body: Mapping[str, object] | None = None, *, token: str = ""
    ) -> httpx2.Response:
        """Call an endpoint under `/v1/auth/`."""
        return self.client.post(f"/v1/auth/{path}", json=body or {}, headers=self.headers(token))

    def me(self, token: str) -> httpx2.Response:
        """Ask who the user of a refresh token is."""
        return self.client.get("/v1/auth/me", headers=self.headers(token))

    def start(
        self,
        login_id: str = "ann@example.com",
        delivery: str = "email",
        *,
        action: str = "signin",
        token: str = "",
        **options: object,
    ) -> httpx2.Response:
        """Ask for a code."""
        body = {"loginId": login_id, "loginOptions": options}
        return self.post(f"otp/{action}/{delivery}", body, token=token)

    def verify(
        self, code: str, login_id: str = "ann@example.com", delivery: str = "email"
    ) -> httpx2.Response:
        """Send a code back."""
        return self.post(f"otp/verify/{delivery}", {"loginId": login_id, "code": code})

    def claims(self, session_token: str) -> dict[str, Any]:
        """Return the claims of a session token that the emulator finds good."""
        parsed: dict[str, Any] = self.post("validate", token=session_token).json()["parsedJWT"]
        return parsed

    @property
    def wrong_code(self) -> str:
        """A code that was not the last one sent."""
        return f"{(int(self.emulator.outbox[-1].code) + 1) % 1_000_000:06d}"


def error_of(response: httpx2.Response) -> tuple[int, Any]:
    """Return status and error code of a refusal."""
    return response.status_code, response.json()["errorCode"]


@pytest.fixture
def clock() -> Clock:
    """A clock to move."""
    return Clock()


@pytest.fixture
def emulator(clock: Clock) -> DescopeEmulator:
    """An emulator with a clock to move, in which Ann has an address and a number."""
    emulator = DescopeEmulator(clock=clock)
    emulator.create_user("ann@example.com", phone="+15550100012")
    return emulator


@pytest.fixture
def caller(emulator: DescopeEmulator) -> Caller:
    """A backend that calls the emulator."""
    return Caller(emulator)


@pytest.fixture
def ann(emulator: DescopeEmulator) -> Tokens:
    """Ann, signed in by e-mail."""
    return emulator.sign_in("ann@example.com")

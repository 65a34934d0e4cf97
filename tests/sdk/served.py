"""Support of the tests of the official SDKs: a served emulator, and an app behind a guard."""

from dataclasses import dataclass

import httpx2
from starlette.testclient import TestClient

from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge


@dataclass(frozen=True, slots=True)
class Served:
    """An emulator on a socket."""

    emulator: DescopeEmulator
    url: str

    @property
    def project_id(self) -> str:
        """The project it serves."""
        return self.emulator.project_id

    @property
    def code(self) -> str:
        """The latest code."""
        return self.emulator.outbox[-1].code


@dataclass(frozen=True, slots=True)
class Shop:
    """An app whose checkout needs a step-up, by keys from the served emulator."""

    client: TestClient

    def accepts(self, token: str) -> bool:
        """Return whether the checkout accepts a session token."""
        return self._checkout(token).status_code == 200

    def challenges(self, token: str) -> bool:
        """Return whether the checkout asks the session to step up; anything else is an error."""
        return bool(assert_step_up_challenge(self._checkout(token), max_age=300))

    def rejects(self, token: str) -> bool:
        """Return whether the checkout rejects the token."""
        refused = self._checkout(token)
        return (refused.status_code, refused.json()["detail"]["code"]) == (401, "invalid_token")

    def _checkout(self, token: str) -> httpx2.Response:
        return self.client.post("/checkout", headers={"Authorization": f"Bearer {token}"})

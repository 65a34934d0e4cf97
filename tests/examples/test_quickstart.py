"""The README's program, the whole way."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from examples import quickstart
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge


@pytest.fixture
def descope() -> Iterator[DescopeEmulator]:
    """An emulator that the quickstart's guard talks to."""
    emulator = DescopeEmulator(project_id=quickstart.guard.project_id)
    with emulator.attach(quickstart.guard):
        yield emulator


def test_whole_way_from_challenge_to_order(descope: DescopeEmulator) -> None:
    """A session alone is challenged; the code from the outbox opens the checkout."""
    ann = descope.sign_in("ann@example.com")
    client = TestClient(quickstart.app)
    problem = assert_step_up_challenge(client.post("/checkout", headers=ann.headers), max_age=300)

    body = {"delivery": "email", "refresh_token": ann.refresh_token}
    started = client.post(problem["step_up"]["start_uri"], headers=ann.headers, json=body)
    assert started.json() == {"delivery": "email", "destination": "a**@example.com"}
    verified = client.post(
        problem["step_up"]["verify_uri"],
        headers=ann.headers,
        json=body | {"code": descope.outbox[-1].code},
    )
    headers = {"Authorization": f"Bearer {verified.json()['session_token']}"}
    placed = client.post("/checkout", headers=headers)
    assert (placed.status_code, placed.json()) == (200, f"Order placed for {ann.user_id}.")


def test_program_is_short() -> None:
    """The whole of it stays under 40 lines."""
    assert len(Path(quickstart.__file__).read_text(encoding="utf-8").splitlines()) < 40


def test_program_shows_the_whole_way(capfd: pytest.CaptureFixture[str]) -> None:
    """Run as a program it prints the challenge, where the code went, and the placed order."""
    runpy.run_path(quickstart.__file__, run_name="__main__")

    challenge, started, placed = capfd.readouterr().out.splitlines()
    assert "insufficient_user_authentication" in challenge
    assert "a**@example.com" in started
    assert placed.startswith("Order placed for U")

"""Ann and Bob, who are signed in to the app that most of these tests share."""

from collections.abc import Iterator
from typing import cast

import pytest
from fastapi import FastAPI

from fastapi_stepup import StepUpGuard
from tests.support.step_up_methods import BOB, BY_NAME, Person, add_user, shared_guard, signed_in


@pytest.fixture
def guard() -> StepUpGuard:
    """The guard of the app that most tests share."""
    return shared_guard()


@pytest.fixture
def ann(guard: StepUpGuard) -> Iterator[Person]:
    """Ann, signed in by header; she has a passkey and an authenticator app."""
    with signed_in(guard) as ann:
        for name in ("totp", "passkey"):
            BY_NAME[name].prepare(ann)
        ann.descope.requests.clear()
        yield ann


@pytest.fixture
def bob(ann: Person) -> Person:
    """Bob, at the same app."""
    add_user(ann.descope, BOB, "+15550100666")
    return Person(ann.guard, ann.descope, BOB, app=cast("FastAPI", ann.client.app))

"""Warnings about a `max_age` that has no effect."""

from typing import Any

import pytest

from fastapi_stepup import StepUpGuard, StepUpPolicy
from fastapi_stepup.claims import Claims
from fastapi_stepup.guard.policy_lints import MaxAgeLint
from fastapi_stepup.testing import DescopeEmulator
from tests.guard.connections import request_with

CLAIMS: dict[str, Any] = {"iss": "i", "sub": "U1", "iat": 1000, "exp": 1600, "su": True}


def look(policy: StepUpPolicy, times: int = 3, **claims: Any) -> None:
    """Have a new lint look several times."""
    lint = MaxAgeLint()
    for _ in range(times):
        lint.look(policy, Claims(CLAIMS | claims))


@pytest.mark.anyio
async def test_each_policy_is_said_once(
    guard: StepUpGuard, descope: DescopeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """When a token that lives no longer than `max_age` has met it."""
    tokens = descope.step_up("ann@example.com", expires_in=240)
    request = request_with(dict(tokens.headers))
    for _ in range(2):
        await guard.authorize(request, StepUpPolicy(max_age="5m"))
        await guard.authorize(request, StepUpPolicy(max_age=240))
        await guard.authorize(request, StepUpPolicy(max_age=239))
        await guard.authorize(request, StepUpPolicy())

    assert [record.getMessage() for record in caplog.records] == [
        f"max_age of the policy {policy} has no effect: tokens of stepped-up sessions live 240 "
        "seconds here, and a step-up ends with its token. Ask for less, or leave it out."
        for policy in ("step-up ≤5m", "step-up ≤4m")
    ]


@pytest.mark.parametrize(
    ("policy", "claims", "count"),
    [
        (StepUpPolicy(max_age=600), {}, 1),
        (StepUpPolicy(max_age=599), {}, 0),
        (StepUpPolicy(amr=["sms"]), {}, 0),
        (StepUpPolicy(max_age=0), {}, 0),
        (StepUpPolicy(max_age=60, amr=["sms"]) | StepUpPolicy(max_age=900), {}, 1),
        (StepUpPolicy(max_age=600), {"auth_time": 900}, 0),
    ],
)
def test_tokens_that_show_it(
    policy: StepUpPolicy, claims: dict[str, Any], count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One alternative is enough; with `auth_time` the age says more than the token."""
    look(policy, **claims)

    assert len(caplog.records) == count


def test_it_looks_at_a_few_tokens_only() -> None:
    """Requests go on at full speed then; a policy made in each request costs no more memory."""
    lint, policy = MaxAgeLint(), StepUpPolicy(max_age=60)
    for looks in range(1, 9):
        assert id(policy) not in lint.done
        lint.look(policy, Claims(CLAIMS))
        assert len(lint._looks) == 1, looks
    assert id(policy) in lint.done

    kept = [StepUpPolicy(max_age=number + 601) for number in range(3000)]
    for each in kept:
        lint.look(each, Claims(CLAIMS))
    assert len(lint._looks) <= 1024
    assert id(policy) not in lint.done
    assert len(lint._said) == 1024

"""`assert_step_up_challenge`: passes on a whole refusal, explains anything less."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, StepUpPolicy, install
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge

CHALLENGE = 'Bearer error="insufficient_user_authentication", max_age="300", acr_values="a b"'
PROBLEM = {
    "code": "insufficient_user_authentication",
    "status": 401,
    "unmet": [{"requirement": "step_up", "reason": "missing"}],
    "max_age": 300,
    "acr_values": ["a", "b"],
    "amr": ["sms"],
}


def answer(
    *,
    status: int = 401,
    challenge: str = CHALLENGE,
    cache: str = "no-store",
    body: Any = PROBLEM,
    **members: object,
) -> httpx.Response:
    """Return a refusal with parts replaced."""
    content = {**body, **members} if isinstance(body, dict) else body
    headers = {"WWW-Authenticate": challenge, "Cache-Control": cache}
    return httpx.Response(status, headers=headers, json=content)


@pytest.mark.parametrize("installed", [True, False], ids=["problem", "wrapped"])
def test_guarded_app_passes(*, installed: bool) -> None:
    """Both forms of a guarded app's refusal pass, and the problem is returned."""
    guard = StepUpGuard.for_descope("P2test")
    app = FastAPI()
    if installed:
        install(app, guard)
    policy = StepUpPolicy(max_age="5m", amr=("sms",))
    needed = Depends(RequireStepUp(guard, policy=policy))

    @app.post("/checkout")
    def checkout(claims: Annotated[Claims, needed]) -> str:
        return claims.subject

    client = TestClient(app)
    with DescopeEmulator("P2test").attach(guard) as descope:
        ann = descope.sign_in("ann@example.com")
        refused = client.post("/checkout", headers=ann.headers)
        bob = descope.step_up("bob@example.com", amr=("sms",))
        assert client.post("/checkout", headers=bob.headers).json() == bob.user_id
    problem = assert_step_up_challenge(refused, max_age=300, amr=["sms"])
    assert problem["code"] == "insufficient_user_authentication"


def test_everything_can_be_looked_at() -> None:
    """Every given value must be in the challenge and in the problem."""
    problem = assert_step_up_challenge(
        answer(),
        max_age=300,
        acr_values=["a", "b"],
        amr=["sms"],
        unmet=PROBLEM["unmet"],  # type: ignore[arg-type]
    )
    assert problem == PROBLEM


def test_challenge_of_another_layer_is_left_alone() -> None:
    """A proxy's own challenge may stand beside ours."""
    assert_step_up_challenge(answer(challenge=f'Basic realm="x", {CHALLENGE}'))


def test_anything_less_is_explained(subtests: pytest.Subtests) -> None:
    """The message names what was expected and what was seen."""
    rows: dict[str, tuple[dict[str, Any], str]] = {
        "status": ({"status": 403}, "the status to be 401, not 403"),
        "cache": ({"cache": "private"}, "to be 'no-store', not 'private'"),
        "no-challenge": ({"challenge": ""}, "to be 1, not 0; saw 401 with no challenge"),
        "two": ({"challenge": f"{CHALLENGE}, {CHALLENGE}"}, "challenges to be 1, not 2"),
        "error": ({"challenge": 'Bearer error="invalid_token"'}, "error='invalid_token'"),
        "unreadable": ({"challenge": 'Bearer a="1'}, "cannot be read"),
        "scheme": ({"challenge": CHALLENGE.replace("Bearer", "DPoP")}, "scheme to be 'bearer'"),
        "code": ({"code": "other"}, "code to be 'insufficient_user_"),
        "text-detail": ({"body": {"detail": "no"}}, "code to be"),
        "list-body": ({"body": ["no"]}, "code to be"),
        "max-age": ({"max_age": 60}, "the problem's max_age to be 300, not 60"),
        "acr-values": ({"acr_values": ["b"]}, "to be ['a', 'b'], not ['b']"),
        "unmet": ({"unmet": []}, "say what is unmet"),
    }
    for name, (parts, message) in rows.items():
        with subtests.test(name):
            with pytest.raises(AssertionError) as failure:
                assert_step_up_challenge(answer(**parts))
            assert message in str(failure.value)


def test_other_policy_is_explained(subtests: pytest.Subtests) -> None:
    """A refusal by another policy than the test expects is named."""
    rows: list[tuple[dict[str, Any], str]] = [
        ({"max_age": 60}, "max_age to be 60, not 300"),
        ({"acr_values": ["b", "a"]}, "acr_values to be ['b', 'a']"),
        ({"amr": ["email"]}, "amr to be ['email'], not ['sms']"),
        ({"unmet": []}, "unmet to be []"),
    ]
    for wanted, message in rows:
        with subtests.test(wanted=wanted):
            with pytest.raises(AssertionError) as failure:
                assert_step_up_challenge(answer(), **wanted)
            assert message in str(failure.value)


def test_body_that_is_no_json_is_explained() -> None:
    """A body that cannot be read is a problem without a code, and none of it is shown."""
    headers = {"WWW-Authenticate": CHALLENGE, "Cache-Control": "no-store"}
    response = httpx.Response(401, headers=headers, text="<html>secret")
    with pytest.raises(AssertionError, match="code to be") as failure:
        assert_step_up_challenge(response)
    assert "secret" not in str(failure.value)

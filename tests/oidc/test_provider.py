"""The guard behind npm `oidc-provider`: real logins, real tokens, real keys."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from fastapi_stepup import (
    AuthorizationRequest,
    StepUpAuth,
    StepUpCancelled,
    StepUpTokens,
    StepUpUnmet,
)
from fastapi_stepup.events import TokenRejected
from fastapi_stepup.testing import assert_step_up_challenge
from tests.oidc.provider import API, AskedTooOften, Denied, User, needs_oidc_provider
from tests.oidc.stack import Stack

pytestmark = needs_oidc_provider
Stacks = Callable[..., Stack]

STRONG = AuthorizationRequest(acr_values=("mfa",), max_age=300).parameters(essential=True)


def call(stack: Stack, token: str, path: str = "/pay") -> httpx.Response:
    """Return the answer of a guarded route to a token."""
    method = "GET" if path == "/read" else "POST"
    bearer = {"Authorization": f"Bearer {token}"}
    return httpx.request(method, stack.url + path, headers=bearer, timeout=30)


def reasons(response: httpx.Response) -> dict[str, str]:
    """Return what is unmet, and why."""
    problem = assert_step_up_challenge(response)
    return {one["requirement"]: one["reason"] for one in problem["unmet"]}


def paying(stack: Stack, user: User, *, essential: bool = True, **options: Any) -> httpx.Response:
    """Return the answer to a client that begins with a weak token and authorizes on a challenge."""

    def authorize(asked: AuthorizationRequest) -> str | None:
        try:
            return user.authorize(asked.parameters(essential=essential)).access
        except Denied:
            return None

    auth = StepUpAuth(StepUpTokens(user.authorize().access), authorize=authorize, **options)
    user.login = "mfa"
    with httpx.Client(base_url=stack.url, auth=auth, timeout=30) as client:
        return client.post("/pay", json="M")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_weak_token_leads_to_a_new_authorization(stacks: Stacks, algorithm: str) -> None:
    """The challenge names class and age; an authorization with both gives a token that will do."""
    stack = stacks(ALG=algorithm)
    user = stack.user()

    weak = call(stack, user.authorize().access)
    assert_step_up_challenge(weak, max_age=300, acr_values=["mfa"])
    answer = paying(stack, user)

    assert answer.json() == {"user": "ann", "acr": ["mfa"], "paid": "M"}
    assert user.logins == 2


def test_tokens_of_this_issuer_say_nothing_by_themselves(stacks: Stacks) -> None:
    """Without claims that the operator adds, class and time are missing, and nothing is guessed."""
    stack = stacks(NATIVE="1")
    user = stack.user("mfa")

    answer = call(stack, user.authorize(STRONG).access)

    assert set(reasons(answer).values()) == {"missing"}


def test_refresh_does_not_renew_the_login(stacks: Stacks) -> None:
    """A refreshed token is as old as the login, however new it is; a new login is recent."""
    stack = stacks()
    user = stack.user("mfa")
    first = user.authorize(STRONG)
    assert call(stack, first.access, "/read").status_code == 200

    stack.wait(310)
    second = user.refresh(first)

    assert second.claims["iat"] - first.claims["iat"] >= 310
    assert second.claims["auth_time"] == first.claims["auth_time"]
    assert set(reasons(call(stack, second.access, "/read")).values()) == {"expired"}
    recent = user.authorize({"max_age": "300"})
    assert call(stack, recent.access, "/read").status_code == 200


def test_age_alone_loses_the_class(stacks: Stacks) -> None:
    """An old strong login renewed by password is weak; the challenge names both, so it is not."""
    stack = stacks()
    user = stack.user("mfa")
    strong = user.authorize(STRONG)
    stack.wait(310)
    challenge = call(stack, strong.access)
    assert_step_up_challenge(challenge, max_age=300, acr_values=["mfa"])

    user.login = "pwd"
    fresh_but_weak = user.authorize({"max_age": "300"})
    refused = call(stack, fresh_but_weak.access)
    assert_step_up_challenge(refused, max_age=300, acr_values=["mfa"])

    user.login = "mfa"
    assert call(stack, user.authorize(STRONG).access).status_code == 200


def test_class_may_be_ignored_while_a_session_lives(stacks: Stacks) -> None:
    """`acr_values` is voluntary: the weak token comes back at once, and ends in a typed error."""
    user = stacks().user()

    with pytest.raises(StepUpUnmet) as raised:
        paying(stacks(), user, essential=False)

    assert raised.value.problem["acr_values"] == ["mfa"]
    assert user.logins == 1


def test_issuer_that_enforces_the_class_asks(stacks: Stacks) -> None:
    """A good server prompts for `acr_values` alone, as RFC 9470 section 5 asks it to."""
    stack = stacks(ENFORCE_ACR="1")
    user = stack.user()

    assert paying(stack, user, essential=False).status_code == 200
    assert user.logins == 2


def test_class_that_cannot_be_reached_is_an_error(stacks: Stacks) -> None:
    """One login more and a typed error; an issuer that asks for ever is the browser's to leave."""
    stack = stacks(WEAK="1", ONE_ROUND="1")
    user = stack.user()
    with pytest.raises(StepUpUnmet):
        paying(stack, user)
    assert user.logins == 2

    stubborn = stacks(WEAK="1")
    with pytest.raises(AskedTooOften):
        paying(stubborn, stubborn.user())


def test_user_who_declines_cancels(stacks: Stacks) -> None:
    """The issuer's `access_denied` is no login, and the client says so."""
    stack = stacks()
    user = stack.user()
    weak = user.authorize()
    user.login = "cancel"

    def authorize(asked: AuthorizationRequest) -> str | None:
        with pytest.raises(Denied, match="access_denied"):
            user.authorize(asked.parameters(essential=True))
        return None

    auth = StepUpAuth(StepUpTokens(weak.access), authorize=authorize)
    with httpx.Client(base_url=stack.url, auth=auth) as client, pytest.raises(StepUpCancelled):
        client.post("/pay")


def test_keys_rotate(stacks: Stacks) -> None:
    """A token under a new key is good at once, and one under the old key still is."""
    stack = stacks()
    user = stack.user("mfa")
    old = user.authorize(STRONG)
    assert call(stack, old.access).status_code == 200

    stack.provider.rotate_keys()
    new = user.authorize(STRONG)

    assert [call(stack, tokens.access).status_code for tokens in (new, old)] == [200, 200]


NO_SESSIONS = [
    pytest.param(lambda user: user.authorize(STRONG).id, "type", id="id-token"),
    pytest.param(lambda user: user.provider.machine_token(), "not_a_session", id="machine"),
    pytest.param(
        lambda user: user.authorize(STRONG, resource=f"{API}/opaque").access,
        "malformed",
        id="opaque",
    ),
    pytest.param(
        lambda user: user.authorize(STRONG, resource="https://other.example").access,
        "audience",
        id="another-audience",
    ),
    pytest.param(lambda user: user.authorize(STRONG).refresh, "malformed", id="refresh"),
]


@pytest.mark.parametrize(("token", "reason"), NO_SESSIONS)
def test_other_tokens_of_the_issuer_are_rejected(
    stacks: Stacks, token: Callable[[User], str], reason: str
) -> None:
    """The client reads `invalid_token`, and the operator why."""
    stack = stacks()

    answer = call(stack, token(stack.user("mfa")))

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    rejected = [event.reason for event in stack.events if isinstance(event, TokenRejected)]
    assert rejected == [reason]

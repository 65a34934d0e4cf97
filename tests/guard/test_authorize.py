"""StepUpGuard.authorize: the one decision behind every entry point, for requests."""

from collections.abc import Callable
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.testclient import TestClient

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpGuard,
    StepUpPolicy,
    claims_from,
)
from fastapi_stepup.errors import (
    InvalidToken,
    KeysUnavailable,
    StepUpRequired,
    Unauthenticated,
)
from fastapi_stepup.events import Event, StepUpAsked, StepUpMet
from fastapi_stepup.guard.report_only import authorize_or_report
from fastapi_stepup.testing import DescopeEmulator
from tests.guard.connections import ANN, PROJECT, Clock, locals_of_ours, request_with


@pytest.mark.anyio
async def test_second_call_verifies_nothing_again_but_asks_the_policy(
    descope: DescopeEmulator,
) -> None:
    """The claims stay with the request: a second entry point looks at neither token nor cache."""
    seen: list[Event] = []
    guard = StepUpGuard.for_descope(PROJECT, on_event=seen.append)
    with descope.attach(guard):
        request = request_with(descope.step_up(ANN, age=100).headers)
        claims = await guard.authorize(request)
        seen.clear()

        assert await guard.authorize(request, StepUpPolicy(max_age=200)) is claims
        assert claims_from(request) is claims
        with pytest.raises(StepUpRequired):
            await guard.authorize(request, StepUpPolicy(max_age=60))
        assert [type(event) for event in seen] == [StepUpMet, StepUpAsked]


@pytest.mark.anyio
async def test_claims_are_not_kept_for_another_request(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """One request's claims are never another's."""
    await guard.authorize(request_with(descope.step_up(ANN).headers))

    with pytest.raises(Unauthenticated):
        await guard.authorize(request_with({}))


@pytest.mark.anyio
async def test_policy_is_asked_by_the_guards_clock(descope: DescopeEmulator) -> None:
    """A step-up grows too old while its request, or WebSocket, lives."""
    clock = Clock()
    guard = StepUpGuard.for_descope(PROJECT, clock=clock)
    with descope.attach(guard):
        request = request_with(descope.step_up(ANN).headers)
        await guard.authorize(request, StepUpPolicy(max_age=60))
        clock.ahead = 62

        with pytest.raises(StepUpRequired):
            await guard.authorize(request, StepUpPolicy(max_age=60))


@pytest.mark.anyio
async def test_claims_do_not_outlive_their_token(descope: DescopeEmulator) -> None:
    """A call after the token expired is refused, leeway counted, as a new request would be."""
    clock = Clock()
    guard = StepUpGuard.for_descope(PROJECT, clock=clock)
    with descope.attach(guard):
        request = request_with(descope.step_up(ANN, expires_in=60).headers)
        await guard.authorize(request)
        clock.ahead = 62
        await guard.authorize(request)
        clock.ahead = 66

        with pytest.raises(InvalidToken):
            await guard.authorize(request)


@pytest.mark.anyio
async def test_two_guards_do_not_share_claims(descope: DescopeEmulator) -> None:
    """What one project's guard let in says nothing to another project's, in the same request."""
    guard, other = StepUpGuard.for_descope(PROJECT), StepUpGuard.for_descope("P2other")
    with descope.attach(guard), DescopeEmulator("P2other").attach(other) as other_descope:
        request = request_with(descope.step_up(ANN).headers)
        claims = await guard.authorize(request)
        with pytest.raises(InvalidToken):
            await other.authorize(request)
        headers = request_with(other_descope.sign_in(ANN).headers)["headers"]
        request = Request({**request.scope, "headers": headers})
        others = await other.authorize(request)

        assert (claims.issuer, others.issuer) == (PROJECT, "P2other")
        with pytest.raises(StepUpRequired):
            await other.authorize(request, StepUpPolicy())
        with pytest.raises(InvalidToken):
            await guard.authorize(request)


def test_two_guards_in_one_app(descope: DescopeEmulator) -> None:
    """Each route takes the sessions of its own guard only."""
    guard, other = StepUpGuard.for_descope(PROJECT), StepUpGuard.for_descope("P2other")
    app = FastAPI()

    @app.get("/ours")
    def ours(claims: Annotated[Claims, Depends(RequireStepUp(guard))]) -> str:
        return claims.issuer

    @app.get("/theirs")
    def theirs(claims: Annotated[Claims, Depends(RequireStepUp(other))]) -> str:
        return claims.issuer

    client = TestClient(app)
    with descope.attach(guard), DescopeEmulator("P2other").attach(other) as other_descope:
        ann, bob = descope.step_up(ANN).headers, other_descope.step_up("bob@example.com").headers

        assert client.get("/ours", headers=ann).json() == PROJECT
        assert client.get("/theirs", headers=bob).json() == "P2other"
        assert client.get("/ours", headers=bob).status_code == 401
        assert client.get("/theirs", headers=ann).status_code == 401


@pytest.mark.anyio
@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(lambda d: d.fail(503, times=10), id="keys-unavailable"),
        pytest.param(lambda d: d.revoke_keys(), id="invalid-token"),
    ],
)
async def test_refusals_carry_no_frame_that_holds_the_token(
    failure: Callable[[DescopeEmulator], object], guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """An error reporter that collects local variables finds no token in our frames."""
    token = descope.step_up(ANN).session_token
    failure(descope)

    with pytest.raises((KeysUnavailable, InvalidToken)) as refusal:
        await guard.authorize(request_with({"Authorization": f"Bearer {token}"}))

    seen = locals_of_ours(refusal.value.__traceback__)
    assert "connection" in seen
    assert token not in seen
    assert refusal.value.__cause__ is None


@pytest.mark.anyio
async def test_entry_points_of_one_request_verify_once(
    descope: DescopeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the token cache off too: the scope's claims are used while they hold."""
    guard = StepUpGuard.for_descope(PROJECT, verdict_cache_size=0)
    with descope.attach(guard):
        verified: list[object] = []
        verify = guard.verifier.verify

        async def counting(token: str) -> Claims:
            verified.append(None)
            return await verify(token)

        monkeypatch.setitem(vars(guard.verifier), "verify", counting)
        request = request_with(descope.step_up(ANN).headers)
        for _ in range(3):
            await guard.authorize(request, StepUpPolicy())
            await authorize_or_report(guard, request)

    assert len(verified) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(("seconds", "passes"), [(64, True), (65, False)])
async def test_claims_end_at_the_second_their_token_does(
    seconds: int,
    passes: bool,  # noqa: FBT001
    descope: DescopeEmulator,
) -> None:
    """At `exp` and the leeway of 5 seconds, exactly: what `verify` refuses is not kept longer."""
    now = [1_900_000_000.0]
    guard = StepUpGuard.for_descope(PROJECT, clock=lambda: now[0])
    token = descope.token(iat=1_900_000_000, exp=1_900_000_060)
    request = request_with({"Authorization": f"Bearer {token}"})
    with descope.attach(guard):
        await guard.authorize(request)
        now[0] += seconds

        if passes:
            await guard.authorize(request)
        else:
            with pytest.raises(InvalidToken):
                await guard.authorize(request)

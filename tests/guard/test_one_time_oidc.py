"""One-time step-ups of an issuer whose tokens can be refreshed: one login is one use."""

import time
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette

from fastapi_stepup import (
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    any_of,
)
from fastapi_stepup.errors import ConfigurationError, StepUpRequired
from fastapi_stepup.guard.one_time_store import MemoryStore
from fastapi_stepup.testing import OIDCIssuer
from tests.guard.connections import request_with
from tests.support.one_time import OneTime

ISSUER = "https://login.example"
API = "https://api.example"
RECENT = StepUpPolicy(max_age="5m")


class NotingStore(MemoryStore):
    """A store that notes how long it is to remember."""

    keep = 0.0

    async def settle(self, key: str, holder: str, *, spent: bool, keep: float) -> None:
        """Note it."""
        self.keep = keep
        await super().settle(key, holder, spent=spent, keep=keep)


@pytest.fixture
def guard() -> StepUpGuard:
    """A guard for the emulated issuer."""
    return StepUpGuard.for_oidc(ISSUER, audience=API, one_time=NotingStore())


@pytest.fixture
def issuer(guard: StepUpGuard) -> Iterator[OIDCIssuer]:
    """The issuer of `guard`, for the time of the test."""
    with OIDCIssuer(ISSUER, audience=API).attach(guard) as issuer:
        yield issuer


async def use(guard: StepUpGuard, token: str, policy: StepUpPolicy = RECENT) -> None:
    """Use the login that *token* tells of."""
    request = request_with({"authorization": f"Bearer {token}"})
    async with guard.once(request, "pay", policy):
        pass


@pytest.mark.anyio
async def test_refreshed_token_is_the_same_login(guard: StepUpGuard, issuer: OIDCIssuer) -> None:
    """Another token tells of it; a later login is another use."""
    login = int(time.time()) - 100
    await use(guard, issuer.token(auth_time=login))

    with pytest.raises(StepUpRequired) as used:
        await use(guard, issuer.token(auth_time=login, jti="refreshed"))
    await use(guard, issuer.token(auth_time=login + 1))

    assert used.value.problem["unmet"] == [{"requirement": "step_up", "reason": "used"}]
    # The issuer would answer with the same login where it is recent enough.
    assert used.value.max_age in {98, 99, 100}


@pytest.mark.anyio
async def test_login_that_is_later_than_its_token_is_the_same_login(
    guard: StepUpGuard, issuer: OIDCIssuer
) -> None:
    """The issuer's clocks may differ; a refreshed token is later than the login, the first not."""
    now = int(time.time())
    await use(guard, issuer.token(iat=now - 4, auth_time=now - 1))

    with pytest.raises(StepUpRequired) as used:
        await use(guard, issuer.token(iat=now, auth_time=now - 1))
    assert used.value.problem["unmet"] == [{"requirement": "step_up", "reason": "used"}]


@pytest.mark.anyio
@pytest.mark.parametrize("age", [0, 1])
async def test_login_of_this_second_must_be_repeated(
    age: int, guard: StepUpGuard, issuer: OIDCIssuer
) -> None:
    """`max_age=0` asks the issuer for a login in any case."""
    token = issuer.token(auth_time=int(time.time()) - age)
    await use(guard, token)

    with pytest.raises(StepUpRequired) as used:
        await use(guard, token)
    assert used.value.max_age in {0, 1}


@pytest.mark.anyio
async def test_it_is_remembered_as_long_as_any_route_would_take_the_login(
    guard: StepUpGuard, issuer: OIDCIssuer
) -> None:
    """Not only until this token expires: another one may tell of it."""
    store = guard.one_time.store
    assert isinstance(store, NotingStore)
    login = time.time() - 10
    await use(guard, issuer.token(auth_time=login, exp=time.time() + 30), RECENT | RECENT)
    assert store.keep == pytest.approx(300 - 10 + 60, abs=3)

    RequireStepUp(guard, max_age="2h", once="pay")
    RequireStepUp(guard, max_age="1h", once="pay")
    await use(guard, issuer.token(auth_time=login - 1))
    assert store.keep == pytest.approx(7200 - 11 + 60, abs=3)


@pytest.mark.anyio
async def test_age_must_be_limited(guard: StepUpGuard, issuer: OIDCIssuer) -> None:
    """Each token of a login would be good otherwise; found where it is declared."""
    by_class = StepUpPolicy(acr=["phr"])
    message = r"once= needs max_age= for this issuer"

    with pytest.raises(ConfigurationError, match=message):
        RequireStepUp(guard, policy=by_class | RECENT, once="pay")
    rules = [StepUpRule("/pay", by_class, once="pay")]
    with pytest.raises(ConfigurationError, match=message):
        StepUpMiddleware(Starlette(), guard=guard, rules=rules, default="public")
    with pytest.raises(ConfigurationError, match=message):
        await use(guard, issuer.token(acr="phr"), by_class)


@pytest.mark.anyio
async def test_any_of_shares_the_use_with_each_of_its_guards(
    guard: StepUpGuard, issuer: OIDCIssuer
) -> None:
    """Whichever guard a route names, one step-up is one use; the first guard's hooks hear of it."""
    with OneTime() as ann:
        both = any_of(ann.guard, guard)
        login = issuer.token(auth_time=int(time.time()))
        session = ann.headers["Authorization"].removeprefix("Bearer ")

        for token, own in ((login, guard), (session, ann.guard)):
            await use(both, token)
            for other in (own, both):
                with pytest.raises(StepUpRequired):
                    await use(other, token)
        request = request_with({"authorization": f"Bearer {issuer.token(auth_time=time.time())}"})
        async with both.once(request, "delete", RECENT), guard.once(request, "delete", RECENT):
            pass
    assert ann.events == ["spent", "used", "spent", "used", "used", "spent"]


def test_any_of_limits_the_age_if_one_of_its_guards_must(guard: StepUpGuard) -> None:
    """The same policy is asked of all."""
    with OneTime() as ann, pytest.raises(ConfigurationError, match="once= needs max_age="):
        RequireStepUp(any_of(ann.guard, guard), amr=["webauthn"], once="pay")

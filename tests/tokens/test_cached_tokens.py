"""TokenVerifier with its cache: the short way answers what the long way would."""

from typing import Any

import anyio
import pytest

from fastapi_stepup import StepUpGuard
from fastapi_stepup.testing import DescopeEmulator
from tests.support.token_factory import (
    NOW,
    PROJECT_ID,
    Clock,
    SignatureChecks,
    claims,
    jwk,
    key_set,
    make_token,
    private_key,
    reason,
    verifier,
)

pytestmark = pytest.mark.anyio


async def test_a_second_time_costs_no_signature_check() -> None:
    """One for the first request, none for the next ones, and the same claims."""
    checked, token = verifier(), make_token()

    with SignatureChecks() as checks:
        first = await checked.verify(token)
        again = [await checked.verify(token) for _ in range(5)]
    assert checks.made == 1
    assert again == [first] * 5

    checked = verifier(verdict_cache_size=0)
    with SignatureChecks() as checks:
        for _ in range(3):
            await checked.verify(token)
    assert checks.made == 3


@pytest.mark.parametrize("leeway", [pytest.param(0, id="leeway-0"), pytest.param(5, id="leeway-5")])
async def test_a_cached_token_expires_to_the_second(leeway: int) -> None:
    """It passes until `exp` and leeway, and not a moment longer."""
    clock = Clock(NOW)
    checked, token = verifier(clock=clock, leeway=leeway), make_token(claims(exp=NOW + 30))

    assert await reason(checked, token) is None
    clock.now = NOW + 30 + leeway - 0.001
    assert await reason(checked, token) is None
    clock.now = NOW + 30 + leeway
    assert await reason(checked, token) == "expired"


async def test_nothing_without_times_gets_in() -> None:
    """A token that lacks `iat` or `exp` is rejected, however often it comes."""
    checked = verifier()

    for name in ("iat", "exp"):
        token = make_token({n: v for n, v in claims().items() if n != name})
        assert [await reason(checked, token) for _ in range(2)] == ["claim_missing"] * 2
    assert len(checked._cache) == 0


async def test_times_are_checked_again_at_each_hit() -> None:
    """A clock that goes back finds a cached token not yet valid, as a fresh one would be."""
    clock = Clock(NOW)
    checked, token = verifier(clock=clock), make_token(claims(nbf=NOW))

    assert await reason(checked, token) is None
    clock.now = NOW - 6
    assert await reason(checked, token) == "not_yet_valid"
    clock.now = NOW - 5
    with SignatureChecks() as checks:
        assert await reason(checked, token) is None
    assert checks.made == 0


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(20, id="VC-005-20"),
        pytest.param(100, id="VC-005-100"),
        pytest.param(-1, id="VC-005-all-but-last"),
    ],
)
async def test_every_byte_of_a_token_counts(kept: int) -> None:
    """A forgery that begins like a cached token is not found."""
    checked, token = verifier(), make_token()
    await checked.verify(token)

    last = "B" if token[-1] == "A" else "A"
    tail = token[kept:-1].translate(str.maketrans("abc", "bca")) if kept > 0 else ""
    assert await reason(checked, token[:kept] + tail + last) in {"signature", "malformed", "key_id"}


async def test_a_cached_header_or_payload_lends_nothing() -> None:
    """A forgery with a cached token's header, or its payload, is checked in full."""
    checked, token = verifier(), make_token(claims(su=True))
    await checked.verify(token)
    head, payload, signature = token.split(".")
    other = make_token().split(".")

    assert await reason(checked, f"{head}.{payload}.{other[2]}") == "signature"
    assert await reason(checked, f"{head}.{other[1]}.{signature}") == "signature"
    assert await reason(checked, make_token(key=private_key(number=1))) == "signature"


def test_a_revoked_key_takes_its_cache_along() -> None:
    """With the next refresh, not a minute later; also a key that was replaced."""
    clock = Clock(float(NOW))
    guard = StepUpGuard.for_descope(PROJECT_ID, clock=clock)

    async def story(emulator: DescopeEmulator) -> None:
        token = emulator.token()
        assert await reason(guard.verifier, token) is None
        emulator.revoke_keys()
        assert await reason(guard.verifier, token) is None
        clock.now += 3700  # Past the hard limit, so that the next request fetches.
        assert await reason(guard.verifier, emulator.token()) is None
        assert await reason(guard.verifier, emulator.token(exp=NOW + 9999)) is None
        clock.now = NOW
        assert await reason(guard.verifier, token) == "unknown_key"

    with DescopeEmulator(project_id=PROJECT_ID, clock=clock).attach(guard) as emulator:
        anyio.run(story, emulator)


async def test_the_key_must_still_be_there_whatever_the_generation_says() -> None:
    """The same generation number over other keys lets nothing pass."""
    first, second = key_set(jwk()), key_set(jwk(number=1))
    assert first.generation == second.generation
    old = verifier(first)
    token = make_token()
    await old.verify(token)
    swapped = verifier(second)
    vars(swapped)["_cache"] = old._cache

    assert await reason(swapped, token) == "signature"

    gone = verifier(key_set(jwk(kid="k2")))
    vars(gone)["_cache"] = old._cache
    assert await reason(gone, token) == "unknown_key"

    same = verifier(key_set(jwk(), jwk(kid="k2")))
    vars(same)["_cache"] = old._cache
    with SignatureChecks() as checks:
        assert await reason(same, token) is None
    assert checks.made == 0


async def test_claims_of_a_hit_cannot_be_spoilt() -> None:
    """A handler cannot change what the next request sees, on any level."""
    checked, token = verifier(), make_token(claims(tenants={"T": {"roles": ["a"]}}))
    first: Any = await checked.verify(token)

    for spoil in (
        lambda: first.raw.update(su=True),
        lambda: first.raw["tenants"].pop("T"),
        lambda: first.raw["tenants"]["T"]["roles"].append("root"),
        lambda: setattr(first, "raw", {}),
    ):
        with pytest.raises((AttributeError, TypeError)):
            spoil()
    with pytest.raises(TypeError):
        first.raw["su"] = True
    with pytest.raises(TypeError):
        first.get("tenants")["T"] = {}
    again = await checked.verify(token)
    assert again.raw["tenants"]["T"]["roles"] == ("a",)
    assert not again.stepped_up


async def test_failures_are_never_kept() -> None:
    """A token that is rejected now may be good in a moment, or never."""
    clock = Clock(NOW)
    checked, early = verifier(clock=clock), make_token(claims(nbf=NOW + 10))

    for token in (
        early,
        make_token(claims(iss="x")),
        make_token(key=private_key(number=1)),
        "garbage",
        "",
    ):
        assert await reason(checked, token) is not None
    assert len(checked._cache) == 0
    clock.now = NOW + 10
    assert await reason(checked, early) is None


async def test_what_has_expired_but_for_leeway_is_not_kept() -> None:
    """An entry lives until `exp`; after it, within the leeway, each request is checked in full."""
    checked, token = verifier(), make_token(claims(exp=NOW - 1, iat=NOW - 60))

    with SignatureChecks() as checks:
        assert await reason(checked, token) is None
        assert await reason(checked, token) is None
    assert checks.made == 2


async def test_a_cold_start_costs_one_signature_check_for_each_token() -> None:
    """Requests that wait for the first key set with one token share its check as well."""
    guard = StepUpGuard.for_descope(PROJECT_ID)
    with DescopeEmulator(project_id=PROJECT_ID).attach(guard) as emulator:
        token = emulator.token()
        answers = []

        async def request() -> None:
            answers.append(await guard.verify(token))

        with SignatureChecks() as checks:
            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(request)
            await request()
    assert checks.made == 1
    assert len(answers) == 51
    assert {answer.subject for answer in answers} == {answers[0].subject}
    assert len(emulator.requests) == 1


async def test_clear_and_forget_take_effect_at_once() -> None:
    """For everybody, or for one subject."""
    checked = verifier()
    mine, yours = make_token(claims(sub="U2a")), make_token(claims(sub="U2b"))

    async def checks_made() -> int:
        with SignatureChecks() as checks:
            for token in (mine, yours):
                await checked.verify(token)
        return checks.made

    assert await checks_made() == 2
    checked.forget("U2a")
    assert await checks_made() == 1
    checked.forget("U2nobody")
    assert await checks_made() == 0
    checked.clear()
    checked.clear()
    assert await checks_made() == 2


def test_a_guard_with_an_emulator_starts_empty_and_gets_its_cache_back() -> None:
    """A token that passed with the keys of one emulator says nothing to another one."""
    guard = StepUpGuard.for_descope(PROJECT_ID)
    outer = DescopeEmulator(project_id=PROJECT_ID)
    inner = DescopeEmulator(project_id=PROJECT_ID)

    async def passes(token: str) -> tuple[str | None, int]:
        with SignatureChecks() as checks:
            answer = await reason(guard.verifier, token)
        return answer, checks.made

    with outer.attach(guard):
        token = outer.token()
        assert anyio.run(passes, token) == (None, 1)
        with inner.attach(guard):
            theirs = inner.token(header={"kid": outer.signing_key.kid})
            assert anyio.run(passes, token)[0] == "unknown_key"
            assert anyio.run(passes, inner.token()) == (None, 1)
        assert anyio.run(passes, token) == (None, 0)
        assert anyio.run(passes, theirs) == ("signature", 1)


async def test_more_sessions_than_places() -> None:
    """As many as there are places for are cached, and the rest is verified in full."""
    checked = verifier(verdict_cache_size=32)
    tokens = [make_token(claims(sub=f"U2{n}")) for n in range(100)]

    for token in tokens:
        assert (await checked.verify(token)).subject.startswith("U2")
    assert len(checked._cache) == 32

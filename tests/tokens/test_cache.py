"""The verdict cache: only what passed, only for as long as everything about it still holds."""

import gc
import json
import os
import pickle
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from cProfile import Profile
from types import FunctionType, ModuleType
from typing import Any

import anyio
import pytest
from hypothesis import given, settings, strategies as st

from fastapi_stepup import Claims, StepUpGuard
from fastapi_stepup._emitter import Emitter
from fastapi_stepup.errors import ConfigurationError, InvalidToken
from fastapi_stepup.events import Event, TokenCache
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.tokens.cache import MAX_CACHED_TOKEN, VERDICTS, VerdictCache, weigh
from fastapi_stepup.tokens.jwk import VerificationKey, load_keys
from tests.support.token_factory import (
    NOW,
    PROJECT_ID,
    claims,
    forge,
    header,
    jwk,
    key_set,
    private_key,
    reason,
    verifier,
)

pytestmark = pytest.mark.anyio

KEY = load_keys([jwk()], frozenset({"RS256"}))[0]["k1"]


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Checks:
    """Counts signature checks while it is open, without touching the code that makes them."""

    made = 0

    def __enter__(self) -> "Checks":
        self.profile = Profile()
        self.profile.enable()
        return self

    def __exit__(self, *_: object) -> None:
        self.profile.disable()
        code = VerificationKey.verifies.__code__
        self.made = sum(e.callcount for e in self.profile.getstats() if e.code is code)


def cache(size: int = VERDICTS, **options: Any) -> VerdictCache:
    """Return a cache on its own."""
    return VerdictCache(size, **{"settings": "", "emit": Emitter(), **options})


def put(
    verdicts: VerdictCache, token: str, members: Mapping[str, Any], lifetime: float = 60
) -> None:
    """Put a verdict on *token* in."""
    slot = verdicts.slot(token)
    assert slot is not None
    verdicts.get(slot, 1)
    verdicts.put(
        slot,
        1,
        Claims(members),
        KEY,
        payload=json.dumps(members).encode(),
        lifetime=lifetime,
        not_before=0,
        expires=NOW,
    )


def held(verdicts: VerdictCache, token: str) -> Claims | None:
    """Return the claims in the slot of *token*."""
    found = verdicts.get(verdicts.slot(token) or b"", 1)
    return None if found is None else found.claims


async def test_a_second_time_costs_no_signature_check() -> None:
    """VC-001: one for the first request, none for the next ones, and the same claims."""
    checked, token = verifier(), forge()

    with Checks() as checks:
        first = await checked.verify(token)
        again = [await checked.verify(token) for _ in range(5)]
    assert checks.made == 1
    assert again == [first] * 5

    checked = verifier(verdict_cache_size=0)
    with Checks() as checks:
        for _ in range(3):
            await checked.verify(token)
    assert checks.made == 3


@pytest.mark.parametrize("leeway", [pytest.param(0, id="leeway-0"), pytest.param(5, id="leeway-5")])
async def test_a_cached_token_expires_to_the_second(leeway: int) -> None:
    """VC-002: it passes until `exp` and leeway, and not a moment longer."""
    clock = Clock(NOW)
    checked, token = verifier(clock=clock, leeway=leeway), forge(claims(exp=NOW + 30))

    assert await reason(checked, token) is None
    clock.now = NOW + 30 + leeway - 0.001
    assert await reason(checked, token) is None
    clock.now = NOW + 30 + leeway
    assert await reason(checked, token) == "expired"


async def test_nothing_without_times_gets_in() -> None:
    """VC-003: a token that lacks `iat` or `exp` is refused, however often it comes."""
    checked = verifier()

    for name in ("iat", "exp"):
        token = forge({n: v for n, v in claims().items() if n != name})
        assert [await reason(checked, token) for _ in range(2)] == ["claim_missing"] * 2
    assert len(checked._verdicts) == 0


async def test_times_are_checked_again_at_each_hit() -> None:
    """A clock that goes back finds a cached token not yet valid, as a fresh one would be."""
    clock = Clock(NOW)
    checked, token = verifier(clock=clock), forge(claims(nbf=NOW))

    assert await reason(checked, token) is None
    clock.now = NOW - 6
    assert await reason(checked, token) == "not_yet_valid"
    clock.now = NOW - 5
    assert await reason(checked, token) is None


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(20, id="VC-005-20"),
        pytest.param(100, id="VC-005-100"),
        pytest.param(-1, id="VC-005-all-but-last"),
    ],
)
async def test_every_byte_of_a_token_counts(kept: int) -> None:
    """A forgery that begins like a cached token finds no verdict."""
    checked, token = verifier(), forge()
    await checked.verify(token)

    last = "B" if token[-1] == "A" else "A"
    tail = token[kept:-1].translate(str.maketrans("abc", "bca")) if kept > 0 else ""
    assert await reason(checked, token[:kept] + tail + last) in {"signature", "malformed", "key_id"}


async def test_a_cached_header_or_payload_lends_nothing() -> None:
    """VC-006: a forgery with a cached token's header, or its payload, is checked in full."""
    checked, token = verifier(), forge(claims(su=True))
    await checked.verify(token)
    head, payload, signature = token.split(".")
    other = forge().split(".")

    assert await reason(checked, f"{head}.{payload}.{other[2]}") == "signature"
    assert await reason(checked, f"{head}.{other[1]}.{signature}") == "signature"
    assert await reason(checked, forge(key=private_key(number=1))) == "signature"


def test_a_revoked_key_takes_its_verdicts_along() -> None:
    """VC-007, JW-039: with the next refresh, not a minute later; also a key that was replaced."""
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
    """The same generation number over other keys, as after a restart elsewhere, opens nothing."""
    first, second = key_set(jwk()), key_set(jwk(number=1))
    assert first.generation == second.generation
    old = verifier(first)
    token = forge()
    await old.verify(token)
    swapped = verifier(second)
    vars(swapped)["_verdicts"] = old._verdicts

    assert await reason(swapped, token) == "signature"

    gone = verifier(key_set(jwk(kid="k2")))
    vars(gone)["_verdicts"] = old._verdicts
    assert await reason(gone, token) == "unknown_key"

    same = verifier(key_set(jwk(), jwk(kid="k2")))
    vars(same)["_verdicts"] = old._verdicts
    with Checks() as checks:
        assert await reason(same, token) is None
    assert checks.made == 0


def test_a_new_generation_empties_the_cache() -> None:
    """Nothing verified under an earlier key set is found, and its memory is given back."""
    events: list[Event] = []
    verdicts = cache(emit=Emitter(events.append))
    put(verdicts, "a", claims())
    assert held(verdicts, "a") is not None

    assert verdicts.get(verdicts.slot("a") or b"", 2) is None
    assert len(verdicts) == 0
    assert events == [TokenCache("evict")]


def test_a_verdict_of_an_earlier_key_set_is_not_put_in() -> None:
    """A signature check that a refresh overtook does not empty the cache, nor enter it."""
    verdicts = cache()
    put(verdicts, "a", claims())
    slot = verdicts.slot("b") or b""
    verdicts.put(slot, 0, Claims(claims()), KEY, payload=b"", lifetime=9, not_before=0, expires=NOW)

    assert len(verdicts) == 1
    assert held(verdicts, "a") is not None


async def test_claims_of_a_hit_cannot_be_spoilt() -> None:
    """VC-009: a handler cannot change what the next request sees, on any level."""
    checked, token = verifier(), forge(claims(tenants={"T": {"roles": ["a"]}}))
    first: Any = await checked.verify(token)

    for spoil in (
        lambda: first.raw.update(su=True),
        lambda: first.raw["tenants"].pop("T"),
        lambda: first.raw["tenants"]["T"]["roles"].append("root"),
        lambda: setattr(first, "raw", {}),
    ):
        with pytest.raises(AttributeError):
            spoil()
    with pytest.raises(TypeError):
        first.raw["su"] = True
    again = await checked.verify(token)
    assert again.raw["tenants"]["T"]["roles"] == ("a",)
    assert not again.stepped_up


async def test_failures_are_never_kept() -> None:
    """VC-011, VC-015: a token that is refused now may be good in a moment, or never."""
    clock = Clock(NOW)
    checked, early = verifier(clock=clock), forge(claims(nbf=NOW + 10))

    for token in (early, forge(claims(iss="x")), forge(key=private_key(number=1)), "garbage", ""):
        assert await reason(checked, token) is not None
    assert len(checked._verdicts) == 0
    clock.now = NOW + 10
    assert await reason(checked, early) is None


async def test_what_has_expired_but_for_leeway_is_not_kept() -> None:
    """A verdict lives until `exp`; after it, within the leeway, each request is checked in full."""
    checked, token = verifier(), forge(claims(exp=NOW - 1, iat=NOW - 60))

    with Checks() as checks:
        assert await reason(checked, token) is None
        assert await reason(checked, token) is None
    assert checks.made == 2


def test_a_verdict_lives_a_minute_at_most() -> None:
    """And less when the token expires earlier; on a clock that nobody can turn back."""
    clock = Clock(1000.0)
    verdicts = cache(monotonic=clock)
    put(verdicts, "long", claims(), lifetime=600)
    put(verdicts, "short", claims(), lifetime=10)
    put(verdicts, "over", claims(), lifetime=0)

    assert [held(verdicts, t) is not None for t in ("long", "short", "over")] == [True, True, False]
    clock.now = 1010
    assert [held(verdicts, t) is not None for t in ("long", "short")] == [True, False]
    clock.now = 1059.9
    assert held(verdicts, "long") is not None
    clock.now = 1060
    assert held(verdicts, "long") is None


def test_what_is_no_token_has_no_slot() -> None:
    """Too long a token, text that is not ASCII, other types; and any when the cache is off."""
    verdicts = cache()

    assert verdicts.slot("x" * MAX_CACHED_TOKEN) is not None
    for token in ("x" * (MAX_CACHED_TOKEN + 1), "\ud800", "é", None, b"x", 5, ["x"]):
        assert verdicts.slot(token) is None
    assert cache(0).slot("x") is None


def test_slots_differ_by_settings_and_token() -> None:
    """Condition 2 of the reference: the generation is added where the verdict is kept."""
    slots = [c.slot(t) for c in (cache(settings="a"), cache(settings="b")) for t in ("x", "y")]

    assert len({*slots}) == 4
    assert {len(slot or b"") for slot in slots} == {32}
    assert cache(settings="a").slot("x") == slots[0]


async def test_a_cold_start_costs_one_signature_check_for_each_token() -> None:
    """Requests that wait for the first key set with one token share the verdict as well."""
    guard = StepUpGuard.for_descope(PROJECT_ID)
    with DescopeEmulator(project_id=PROJECT_ID).attach(guard) as emulator:
        token = emulator.token()
        with Checks() as checks:
            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(guard.verify, token)
            await guard.verify(token)
    assert checks.made == 1
    assert len(emulator.requests) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({}, {name: value}, id=name)
        for name, value in (
            ("audience", "a"),
            ("any_audience", True),
            ("issuers", ["x"]),
            ("issuer_hosts", []),
            ("types", ["at+jwt"]),
            ("leeway", 6),
            ("max_lifetime", 5),
            ("require_session_name", True),
            ("max_token_size", 2048),
            ("project_id", "P2other"),
        )
    ],
)
def test_every_setting_is_in_the_fingerprint(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two verifiers that may judge differently never share a slot, two alike always do."""
    first, second, third = (verifier(**o)._verdicts.slot("x") for o in (one, other, one))

    assert first == third
    assert first != second


def test_entries_are_bounded() -> None:
    """VC-010: the least recently used one goes first, and the event says so."""
    events: list[Event] = []
    verdicts = cache(3, emit=Emitter(events.append))
    for token in "abc":
        put(verdicts, token, {"sub": token})
    assert held(verdicts, "a") is not None
    put(verdicts, "c", {"sub": "c"})
    assert events == []

    put(verdicts, "d", {"sub": "d"})
    assert [held(verdicts, t) is not None for t in "abcd"] == [True, False, True, True]
    assert events == [TokenCache("evict")]
    assert len(verdicts) == 3


def test_bytes_are_bounded() -> None:
    """VC-010: heavy claims leave room for fewer entries, and the heaviest for none."""
    verdicts = cache(10)
    heavy = {"sub": "x", "a": [{}] * 40}
    assert 10_000 < weigh(json.dumps(heavy).encode()) < verdicts.max_bytes
    for token in range(10):
        put(verdicts, str(token), heavy)
    assert len(verdicts) < 4
    assert verdicts.weight <= verdicts.max_bytes

    before = len(verdicts)
    put(verdicts, "heaviest", {"sub": "x", "a": [{}] * 400})
    assert held(verdicts, "heaviest") is None
    assert len(verdicts) == before


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "typical": lambda n: claims(sub=f"U2{n}", rexp="2026-12-22T02:37:57Z", amr=["email", "mfa"]),
    "objects": lambda n: {"sub": f"U2{n}", "a": [{} for _ in range(300)]},
    "members": lambda n: {"sub": f"U2{n}", **{f"n{i}": f"v{i}{n}" for i in range(100)}},
    "tenants": lambda n: {"sub": f"U2{n}", "t": {f"T{i}{n}": {"roles": ["a1"]} for i in range(60)}},
    "floats": lambda n: {"sub": f"U2{n}", "a": [random.random() for _ in range(80)]},
    "wide-text": lambda n: {"sub": f"U2{n}", "a": f"{n}" + "a" * 1200 + "😀"},
    "short-text": lambda n: {"sub": f"U2{n}", "a": [f"{n:x}{i:x}" for i in range(200)]},
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_the_default_cache_stays_under_16_mib(shape: str) -> None:
    """VC-010: whatever claims are like, as the interpreter itself counts."""
    verdicts = cache()
    tokens = 200 if shape == "typical" else 60
    scale = VERDICTS / tokens
    verdicts = cache(tokens)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(tokens + 20):
        text = json.dumps(SHAPES[shape](number))
        put_parsed(verdicts, os.urandom(32), text.encode())
        del text
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert len(verdicts) > 0
    assert used * scale < 16 * 2**20
    assert used < verdicts.weight + 4096


def put_parsed(verdicts: VerdictCache, slot: bytes, payload: bytes) -> None:
    """Put a verdict in with claims that nothing else refers to."""
    verdicts.get(slot, 1)
    verdicts.put(
        slot,
        1,
        Claims(json.loads(payload)),
        KEY,
        payload=payload,
        lifetime=60,
        not_before=float(len(payload)),
        expires=time.time(),
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=40,
)


def deep_size(value: Any) -> int:
    """Return what *value* takes with all that it holds, counting nothing twice."""
    seen: dict[int, Any] = {}
    left = [value]
    while left:
        item = left.pop()
        if id(item) not in seen and not isinstance(item, (type, VerificationKey)):
            seen[id(item)] = item
            left += gc.get_referents(item)
    return sum(sys.getsizeof(item) for item in seen.values())


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(max_size=4), json_values, max_size=8), st.booleans())
def test_the_weight_is_an_upper_bound(members: dict[str, Any], ascii_only: bool) -> None:  # noqa: FBT001
    """No claims take more memory than they are weighed."""
    payload = json.dumps(members, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    assert deep_size(Claims(json.loads(payload))) <= weigh(payload)


async def test_memory_holds_no_token() -> None:
    """VC-018: no object that the verifier reaches contains a token, its payload or signature."""
    checked = verifier()
    tokens = [forge(claims(sub=f"U2{n}")) for n in range(20)]
    for token in tokens:
        await checked.verify(token)
    assert len(checked._verdicts) == 20

    seen: dict[int, Any] = {}
    left: list[Any] = [checked]
    while left:
        item = left.pop()
        if id(item) not in seen and not isinstance(item, (type, ModuleType, FunctionType)):
            seen[id(item)] = item
            left += gc.get_referents(item)
    texts = [item.encode() if isinstance(item, str) else item for item in seen.values()
             if isinstance(item, (str, bytes))]  # fmt: skip
    assert any(text == b"U219" for text in texts)
    for token in tokens:
        _, payload, signature = token.encode().split(b".")
        assert not [t for t in texts if payload in t or signature in t]


async def test_clear_and_forget_take_effect_at_once() -> None:
    """VC-019: for everybody, or for one subject."""
    checked = verifier()
    mine, yours = forge(claims(sub="U2a")), forge(claims(sub="U2b"))

    async def checks_made() -> int:
        with Checks() as checks:
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


def test_dropping_is_told_once_and_outside_the_lock() -> None:
    """A hook may call back: `clear`, `forget`, or look something up."""
    events: list[Event] = []

    def hook(event: Event) -> None:
        events.append(event)
        verdicts.forget("a")
        held(verdicts, "b")

    verdicts = cache(2, emit=Emitter(hook))
    for token in "abc":
        put(verdicts, token, {"sub": token})
    put(verdicts, "a", {"sub": "a"})
    verdicts.clear()
    verdicts.clear()

    assert events[0] == TokenCache("evict")
    assert len(events) <= 4
    assert len(verdicts) == 0


def test_a_rerouted_guard_starts_empty_and_gets_its_verdicts_back() -> None:
    """What an emulator vouched for is worth nothing outside of it, and the other way round."""
    guard = StepUpGuard.for_descope(PROJECT_ID)
    outer = DescopeEmulator(project_id=PROJECT_ID)
    inner = DescopeEmulator(project_id=PROJECT_ID)

    async def passes(token: str) -> tuple[str | None, int]:
        with Checks() as checks:
            verdict = await reason(guard.verifier, token)
        return verdict, checks.made

    with outer.attach(guard):
        token = outer.token()
        assert anyio.run(passes, token) == (None, 1)
        with inner.attach(guard):
            theirs = inner.token(header={"kid": outer.signing_key.kid})
            assert anyio.run(passes, token)[0] == "unknown_key"
            assert anyio.run(passes, inner.token()) == (None, 1)
        assert anyio.run(passes, token) == (None, 0)
        assert anyio.run(passes, theirs) == ("signature", 1)


def test_a_cache_cannot_leave_the_process() -> None:
    """OB-005: verdicts are not for pickling."""
    with pytest.raises(TypeError):
        pickle.dumps(cache())


@pytest.mark.parametrize("size", [-1, 1_000_001, True, 1.5, "1", None])
def test_sizes_that_are_refused(size: Any) -> None:
    """The message names the option that users know."""
    with pytest.raises(ConfigurationError, match="verdict_cache_size"):
        cache(size)


async def test_many_sessions_share_the_room(anyio_backend: str) -> None:
    """VC-010: as many as there is room for are remembered, and the rest is verified in full."""
    checked = verifier(verdict_cache_size=32)
    tokens = [forge(claims(sub=f"U2{n}")) for n in range(100)]

    for token in tokens:
        assert (await checked.verify(token)).subject.startswith("U2")
    assert len(checked._verdicts) == 32
    with pytest.raises(InvalidToken):
        await checked.verify(forge(head=header(kid="k2")))

"""A cached token and one that is verified in full get the same answer, whatever happened since."""

import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_stepup import Claims
from fastapi_stepup.errors import InvalidToken
from fastapi_stepup.tokens.cache import VerifiedTokenCache
from fastapi_stepup.tokens.jwk import load_keys
from fastapi_stepup.tokens.verifier import TokenVerifier
from tests.support.token_factory import (
    NOW,
    Clock,
    claims,
    flipped,
    header,
    jwk,
    key_set,
    make_token,
    private_key,
    verifier,
)

RS256 = frozenset({"RS256"})


def key_sets() -> list[dict[str, Any]]:
    """Return the sets that take turns: a second key, one gone, one replaced, another order."""
    first, second = jwk("RS256"), jwk("RS256", kid="k2", number=1)
    replaced = jwk("RS256", number=2)
    published = ([first, second], [first], [replaced, second], [second, first])
    return [load_keys(members, RS256)[0] for members in published]


def tokens() -> list[Any]:
    """Return what clients send: good tokens, some that end soon, bad ones, and odd types."""
    second: dict[str, Any] = {"head": header("RS256", kid="k2"), "key": private_key("RS256", 1)}
    usual: dict[str, Any] = {"head": header("RS256"), "key": private_key("RS256")}
    shapes: list[dict[str, Any]] = [
        *({"exp": NOW + seconds} for seconds in range(5, 400, 25)),
        *({"nbf": NOW + seconds} for seconds in range(5, 300, 50)),
        *({"su": True, "amr": ["mfa"], "tenants": {f"T{n}": {}}} for n in range(8)),
        {"roles": ["r" * 30] * 300},
        {"exp": NOW - 3, "iat": NOW - 60},
    ]
    good = [
        make_token(claims(sub=f"U2{n % 5}", n=n, **changes), **(second if n % 2 else usual))
        for n, changes in enumerate(shapes)
    ]
    bad = [
        flipped(good[0], 2),
        flipped(good[1], 1),
        good[0] + "\ud800",
        f" {good[2]}",
        make_token(claims(aud="x"), **usual),
        make_token(claims(drn="DSR"), **usual),
        make_token(alg="RS256", head=header("RS256", kid="k9"), key=private_key("RS256")),
    ]
    return [*good, *bad, None, b"x", 7, "", "x" * 20_000]


class Pair:
    """Two verifiers with the same settings, keys and clock; only one of them has a cache."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock(NOW)
        self.revoked: set[str] = set()
        self.keys = key_set(jwk("RS256"))
        self.cached = verifier(self.keys, clock=self.clock, verdict_cache_size=24, **options)
        self.plain = verifier(self.keys, clock=self.clock, verdict_cache_size=0, **options)
        cache = self.cached._cache
        assert isinstance(cache, VerifiedTokenCache)
        cache._monotonic = self.clock


def outcome(checked: TokenVerifier, token: Any) -> tuple[str, Claims | None]:
    """Return the reason of a rejection, or the claims; with static keys nothing is waited for."""
    try:
        checked.verify(token).send(None)
    except StopIteration as done:
        return "", done.value
    except InvalidToken as error:
        return error.reason.value, None
    raise AssertionError


def pairs() -> list[Pair]:
    """Return a pair for each combination of hooks."""
    revoked: set[str] = set()

    def is_revoked(checked: Claims) -> bool:
        return checked.subject in revoked

    made = []
    for hook in (None, is_revoked):
        for on_event in (None, list[object]().append):
            pair = Pair(is_revoked=hook, on_event=on_event)
            pair.revoked = revoked
            made.append(pair)
    return made


def walk(count: int, seed: int) -> dict[str, int]:
    """Send *count* tokens to both verifiers of some pair, and let things happen in between.

    Returns how often each outcome came.
    """
    chance = random.Random(seed)
    sent, sets, both = tokens(), key_sets(), pairs()
    seen: dict[str, int] = {}

    def rotate(pair: Pair) -> None:
        pair.keys._state.hold(chance.choice(sets))

    def revoke(pair: Pair) -> None:
        pair.revoked ^= {f"U2{chance.randrange(5)}"}

    def wait(pair: Pair) -> None:
        pair.clock.now += chance.choice((0.5, 3, 20, 61, -2, NOW - pair.clock.now))

    def drop(pair: Pair) -> None:
        chance.choice((pair.cached.clear, lambda: pair.cached.forget(f"U2{chance.randrange(5)}")))()

    happenings: list[Callable[[Pair], None]] = [rotate, revoke, wait, wait, drop]
    for _ in range(count):
        pair = chance.choice(both)
        if chance.random() < 0.04:
            chance.choice(happenings)(pair)
        token = chance.choice(sent)
        expected, claimed = outcome(pair.plain, token)
        assert outcome(pair.cached, token) == (expected, claimed)
        seen[expected] = seen.get(expected, 0) + 1
    return seen


EVERYTHING = {
    "", "expired", "not_yet_valid", "revoked", "signature", "unknown_key", "malformed",
    "too_large", "audience", "not_a_session",
}  # fmt: skip


def test_both_ways_answer_the_same() -> None:
    """Cached, expired meanwhile, revoked, rotated, dropped; hooks on and off; odd types."""
    assert walk(4000, 1).keys() >= EVERYTHING


# A million take minutes, and more where coverage is measured: `STEPUP_WALK=1000000`.
LONG_WALK = int(os.environ.get("STEPUP_WALK", "100000"))


@pytest.mark.slow
def test_both_ways_answer_the_same_for_long() -> None:
    """The same, for longer; some of what is wrong shows once in many thousands."""
    assert walk(LONG_WALK, 2).keys() >= EVERYTHING

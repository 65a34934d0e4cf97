"""VerifiedTokenCache on its own: what is found, for how long, and what is dropped when."""

import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from fastapi_stepup import Claims
from fastapi_stepup._emitter import Emitter
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.events import Event, TokenCache
from fastapi_stepup.tokens.cache import (
    CACHED_TOKENS,
    CachedToken,
    VerifiedTokenCache,
    _after_fork_in_child,
)
from fastapi_stepup.tokens.claims_set import Validity
from fastapi_stepup.tokens.jwk import load_keys
from tests.support.token_factory import NOW, Clock, claims, jwk

KEY = load_keys([jwk()], frozenset({"RS256"}))[0]["k1"]
VALIDITY = Validity(NOW - 5.0, NOW + 65.0)


def make_cache(size: int = 4096, **options: Any) -> VerifiedTokenCache:
    """Return a cache on its own."""
    return VerifiedTokenCache(size, **{"settings": "", "emit": Emitter(), **options})


def put(
    cache: VerifiedTokenCache,
    token: str,
    members: Mapping[str, Any] | None = None,
    *,
    lifetime: float = 60,
    generation: int = 1,
    payload: bytes = b"{}",
) -> None:
    """Put *token* in as if it had passed under the key set of *generation*."""
    digest, _ = cache.find(token, 1)
    assert digest is not None
    given = Claims({"sub": token} if members is None else members)
    cache.put(digest, generation, given, KEY, VALIDITY, lifetime=lifetime, payload=payload)


def found(cache: VerifiedTokenCache, tokens: str) -> str:
    """Return which of *tokens*, a letter each, are found."""
    return "".join(token for token in tokens if cache.find(token, 1)[1] is not None)


def test_an_entry_holds_all_that_must_hold_again() -> None:
    """Claims, key and times, as they were put in; not the token."""
    cache = make_cache(monotonic=Clock(1000))
    put(cache, "a", claims(), payload=b"{}")

    _, cached = cache.find("a", 1)
    assert cached == CachedToken(
        Claims(claims()), KEY, NOW - 5.0, NOW + 65.0, generation=1, until=1060.0, weight=2114
    )


def test_the_figures_are_those_of_the_documentation() -> None:
    """4096 tokens of 8 KiB at most, in 15 MiB; a million is the most that can be asked for."""
    assert CACHED_TOKENS == 4096
    cache = make_cache(4096)
    assert cache.max_bytes == 15 * 2**20
    assert make_cache(1_000_000).size == 1_000_000
    assert [cache.find("x" * n, 1)[0] is None for n in (8192, 8193)] == [False, True]


def test_sizes_that_cannot_be_used(subtests: pytest.Subtests) -> None:
    """The message names the option that users know."""
    sizes: tuple[Any, ...] = (-1, 1_000_001, True, 1.5, "1", None)
    for size in sizes:
        with (
            subtests.test(size=size),
            pytest.raises(ConfigurationError, match="verdict_cache_size"),
        ):
            make_cache(size)


def test_what_is_never_kept_has_no_digest(subtests: pytest.Subtests) -> None:
    """Text that is not ASCII, other types, what is too long; nothing of it is hashed."""
    tokens: tuple[Any, ...] = ("\ud800", "é", None, b"x", 5, ["x"], "x" * 2**20)
    for token in tokens:
        with subtests.test(token=token):
            assert make_cache().find(token, 1) == (None, None)


def test_a_cache_of_size_0_is_off() -> None:
    """Nothing has a digest."""
    assert make_cache(0).find("x", 1) == (None, None)


def test_digests_differ_by_settings_and_token() -> None:
    """Two verifiers that may judge differently never share an entry."""
    digests = [c.find(t, 1)[0] for c in (make_cache(settings=s) for s in "ab") for t in "xy"]

    assert len({*digests}) == 4
    assert {len(digest or b"") for digest in digests} == {32}
    assert make_cache(settings="a").find("x", 1)[0] == digests[0]


def test_an_entry_lives_a_minute_at_most() -> None:
    """And less when the token expires earlier; on a clock that cannot be set back."""
    clock = Clock(1000.0)
    cache = make_cache(monotonic=clock)
    put(cache, "l", lifetime=600)
    put(cache, "s", lifetime=10)

    assert found(cache, "ls") == "ls"
    clock.now = 1010
    assert found(cache, "ls") == "l"
    clock.now = 1059.9
    assert found(cache, "l") == "l"
    clock.now = 1060
    assert found(cache, "l") == ""


def test_what_is_over_is_not_kept() -> None:
    """It would be in the way of others."""
    for lifetime, kept in ((-1, 0), (0, 0), (0.5, 1), (1, 1)):
        cache = make_cache()
        put(cache, "a", lifetime=lifetime)
        assert len(cache) == kept, lifetime


def test_a_new_generation_empties_the_cache() -> None:
    """Nothing verified under an earlier key set is found, and its memory is given back."""
    events: list[Event] = []
    cache = make_cache(emit=Emitter(events.append))
    put(cache, "a")
    assert found(cache, "a") == "a"

    assert cache.find("a", 2)[1] is None
    assert (len(cache), cache.weight) == (0, 0)
    assert events == [TokenCache("evict")]


def test_a_token_of_an_earlier_key_set_is_not_put_in() -> None:
    """A signature check that a refresh overtook neither empties the cache nor enters it."""
    cache = make_cache()
    put(cache, "a")
    put(cache, "b", generation=0)

    assert found(cache, "ab") == "a"


def test_entries_of_another_generation_are_not_found() -> None:
    """Also where another thread has put one in since the cache was emptied."""
    cache = make_cache()
    put(cache, "a")
    cache._generation = 2

    assert cache.get(cache.find("a", 2)[0] or b"", 2) is None
    assert len(cache) == 1


def test_the_least_recently_used_entry_goes_first() -> None:
    """At most as many as its size; the event says that one went."""
    events: list[Event] = []
    cache = make_cache(3, emit=Emitter(events.append))
    for token in "abc":
        put(cache, token)
    assert found(cache, "a") == "a"
    put(cache, "c")
    assert (events, len(cache)) == ([], 3)

    put(cache, "d")
    assert found(cache, "abcd") == "acd"
    assert events == [TokenCache("evict")]
    assert len(cache) == 3


def test_a_cache_of_size_1_keeps_one() -> None:
    """The bound is inclusive."""
    cache = make_cache(1)
    put(cache, "a")
    assert found(cache, "a") == "a"
    put(cache, "b")
    assert found(cache, "ab") == "b"


def test_heavy_entries_leave_room_for_fewer() -> None:
    """3840 bytes for each place; one push may cost several others theirs, and is one event."""
    events: list[Event] = []
    cache = make_cache(5, emit=Emitter(events.append))
    for token in "abcde":
        put(cache, token)
    light = cache.weight

    put(cache, "h", payload=b"x" * 15_000)
    assert found(cache, "abcdeh") == "eh"
    assert cache.weight == light // 5 + 1792 + 15_000
    assert events == [TokenCache("evict")]


@pytest.mark.parametrize(("length", "kept"), [(17_408, "a"), (17_409, "")])
def test_what_would_take_all_there_is_is_not_kept(length: int, kept: str) -> None:
    """Up to the last byte; the others stay."""
    cache = make_cache(5)
    put(cache, "b")
    put(cache, "a", payload=b"x" * length)
    assert found(cache, "a") == kept
    assert found(cache, "b") == ("" if kept else "b")


def test_a_cache_that_is_just_full_drops_nothing() -> None:
    """To the byte, and no event says that one went."""
    events: list[Event] = []
    cache = make_cache(5, emit=Emitter(events.append))
    put(cache, "a", payload=b"x" * 17_408)
    assert (found(cache, "a"), events) == ("a", [])


def test_putting_a_token_in_again_replaces_it() -> None:
    """Its weight counts once."""
    cache = make_cache()
    put(cache, "a", payload=b"x" * 100)
    put(cache, "a", payload=b"x" * 200)

    assert (len(cache), cache.weight) == (1, 1992)


def test_forgetting_is_by_subject() -> None:
    """All tokens of that subject, and no others; one event for one that drops something."""
    events: list[Event] = []
    cache = make_cache(emit=Emitter(events.append))
    for token in "abc":
        put(cache, token, {"sub": "U2x" if token < "c" else "U2y"})

    cache.forget("U2z")
    assert events == []
    cache.forget("U2x")
    assert events == [TokenCache("evict")]
    assert found(cache, "abc") == "c"
    assert cache.weight == 2114
    cache.forget("U2x")
    assert events == [TokenCache("evict")]


def test_forgetting_finds_what_was_evicted_and_came_back() -> None:
    """The subjects are kept in step with the entries, and hold nothing longer than those."""
    cache = make_cache(2)
    for token in "abca":
        put(cache, token, {"sub": f"U2{token}"})
    assert cache._digests.keys() == {"U2c", "U2a"}

    cache.forget("U2a")
    assert found(cache, "abc") == "c"
    cache.clear()
    assert cache._digests == {}


def test_clearing_drops_everything() -> None:
    """One event, and none when there was nothing."""
    events: list[Event] = []
    cache = make_cache(emit=Emitter(events.append))
    put(cache, "a")
    put(cache, "b")

    cache.clear()
    cache.clear()
    assert (len(cache), cache.weight, found(cache, "ab")) == (0, 0, "")
    assert events == [TokenCache("evict")]
    put(cache, "a")
    assert found(cache, "a") == "a"


def test_an_entry_that_goes_during_a_look_up_does_no_harm() -> None:
    """Another thread may drop it between the two calls of a look-up."""
    cache = make_cache()
    put(cache, "a")
    digest, cached = cache.find("a", 1)
    assert digest is not None

    def drop() -> float:
        cache.forget("a")
        return 0.0

    cache._monotonic = drop
    assert cache.get(digest, 1) == cached
    assert len(cache) == 0


def test_events_are_outside_the_lock() -> None:
    """A hook may call back: `clear`, `forget`, or look something up."""
    events: list[Event] = []

    def hook(event: Event) -> None:
        events.append(event)
        cache.forget("a")
        found(cache, "b")

    cache = make_cache(2, emit=Emitter(hook))
    for token in "bca":
        put(cache, token)
    assert events == [TokenCache("evict")] * 2
    cache.clear()

    assert events == [TokenCache("evict")] * 3
    assert len(cache) == 0


def test_a_forked_child_starts_empty() -> None:
    """With a lock of its own, although the other one is held; it can be used at once."""
    cache = make_cache()
    put(cache, "a")
    cache._lock.acquire()

    _after_fork_in_child()
    assert (len(cache), cache.weight, cache._digests) == (0, 0, {})
    put(cache, "b")
    assert found(cache, "ab") == "b"


def test_a_cache_cannot_leave_the_process() -> None:
    """Verified tokens are not for pickling."""
    with pytest.raises(TypeError):
        pickle.dumps(make_cache())

"""`forget`: what dropping one user's tokens costs in a small cache and in a large one."""

from typing import cast

from benchmarks.measuring import Contender, Effort, Figure, at_most, compared, race
from fastapi_stepup._emitter import Emitter
from fastapi_stepup.claims import Claims
from fastapi_stepup.tokens.cache import VerifiedTokenCache
from fastapi_stepup.tokens.claims_set import Validity
from fastapi_stepup.tokens.jwk import VerificationKey

_SMALL = 4096
_LARGE = 200_000


async def figures(effort: Effort) -> list[Figure]:
    """Return what `forget` takes in a full cache of 200,000 tokens, next to one of 4,096."""
    large = min(_LARGE, effort.cached_tokens * 20)
    small, many = await race(
        [_forgets(size, effort.batch) for size in (min(_SMALL, large), large)],
        rounds=effort.rounds,
    )
    name = "forget a user among 200,000 cached tokens / among 4,096"
    note = f"{large:,} and {min(_SMALL, large):,} tokens, one of the user"
    return [compared(name, many, small, target=at_most(3), note=note)]


def _forgets(size: int, calls: int) -> Contender:
    """Return the contender that forgets *calls* users, each with one token, in a full cache."""
    cache = VerifiedTokenCache(size, settings="", emit=Emitter())
    key = cast("VerificationKey", None)  # nothing looks at it
    cache.get(b"", 0)

    def put(number: int) -> None:
        cache.put(
            number.to_bytes(32),
            0,
            Claims({"sub": str(number)}),
            key,
            Validity(0, 1),
            lifetime=60,
            payload=b"{}",
        )

    for number in range(size):
        put(number)
    # Steps through the whole cache: the oldest ones are no more at hand than others.
    chosen = range(0, size, max(1, size // calls))[:calls]

    def put_back() -> None:
        for number in chosen:
            put(number)

    async def turn() -> None:
        for number in chosen:
            cache.forget(str(number))

    return Contender(turn=turn, calls=len(chosen), prepare=put_back)

"""VerdictCache: tokens that passed, so that the next request with one costs no signature check."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from cachetools import LRUCache

from fastapi_stepup._emitter import Emitter
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.events import TokenCache
from fastapi_stepup.tokens.jwk import VerificationKey

VERDICTS: Final = 4096
VERDICT_TTL: Final = 60.0
MAX_CACHED_TOKEN: Final = 8 * 1024

_BYTES_PER_VERDICT: Final = 3840
_MAX_SIZE: Final = 1_000_000
# Bytes that CPython needs at most: for an entry, and for each part of what its claims hold.
_PER_ENTRY: Final = 1536
_PER_OBJECT: Final = 224
_PER_VALUE: Final = 96
_UNMARKED: Final = bytes(set(range(256)) - set(b"{[:,"))


@dataclass(slots=True, repr=False, eq=False)
class Verdict:
    """A token that passed, with all that must hold again before it passes without a check.

    `not_before` and `expires` are epoch seconds, the leeway included; `until` is on the cache's
    own clock; `weight` is an upper bound of what it takes in memory, in bytes.
    """

    claims: Claims
    key: VerificationKey
    not_before: float
    expires: float
    until: float
    weight: int


class _Verdicts(LRUCache[bytes, Verdict]):
    """Counts what it had to drop."""

    evicted = 0

    def popitem(self) -> tuple[bytes, Verdict]:
        self.evicted += 1
        return super().popitem()


class VerdictCache:
    """Remembers verdicts on tokens, in bounded memory and for at most a minute.

    Guarantees: only tokens that passed are in it, each under the SHA-256 of all its bytes together
    with the verifier's settings and the generation of the key set; no token is kept, nor a part of
    one; a new generation empties it. At most *size* entries, and *size* times 3840 bytes (15 MiB by
    default), least recently used first out; tokens over 8 KiB are not kept. Safe to use from any
    number of threads.

    Does not decide: whoever takes a verdict out checks times and key again (`TokenVerifier` does).

    An LRU cache and not a TLRU cache: the end of an entry has to be checked on two clocks anyway,
    and the heap that a TLRU cache orders ends with costs 3 µs for each token seen first. So an
    entry that ended may stay in memory until others push it out; it is never served.

    Args:
        size: Most entries, 0 to a million.
        settings: Whatever makes two verifiers judge one token differently, in any fixed form.
        emit: Called with a `TokenCache("evict")` whenever entries were dropped.
        monotonic: A clock that never goes back, in seconds.

    Raises:
        ConfigurationError: *size* is not a number in bounds.
    """

    def __init__(
        self,
        size: int,
        *,
        settings: str,
        emit: Emitter,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if type(size) is not int or not 0 <= size <= _MAX_SIZE:
            msg = f"verdict_cache_size is a number of tokens from 0 (off) to {_MAX_SIZE}."
            raise ConfigurationError(msg)
        self.size = size
        self.max_bytes: int = size * _BYTES_PER_VERDICT
        self._settings = sha256(settings.encode()).digest()
        self._emit = emit
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._generation = -1
        self._verdicts = self._empty()

    def _empty(self) -> _Verdicts:
        return _Verdicts(self.max_bytes, getsizeof=_weight)

    def slot(self, token: Any) -> bytes | None:
        """Return where verdicts on *token* belong; `None` for what is not to be remembered."""
        if not self.size or not isinstance(token, str) or len(token) > MAX_CACHED_TOKEN:
            return None
        if not token.isascii():
            return None
        return sha256(self._settings + token.encode("ascii")).digest()

    def get(self, slot: bytes, generation: int) -> Verdict | None:
        """Return the verdict in *slot* unless there is none or its minute is over.

        Empties the cache when *generation* is another one than before.

        Args:
            slot: From `slot`.
            generation: That of the key set.
        """
        if generation != self._generation:
            self._generation = generation
            self.clear()
        with self._lock:
            verdict = self._verdicts.get(_key(slot, generation))
        return verdict if verdict is not None and self._monotonic() < verdict.until else None

    def put(
        self,
        slot: bytes,
        generation: int,
        claims: Claims,
        key: VerificationKey,
        *,
        payload: bytes,
        lifetime: float,
        not_before: float,
        expires: float,
    ) -> None:
        """Remember that a token passed, for *lifetime* seconds at most.

        Does nothing when that is over, when the claims would take all the room there is, or when
        the key set is another one by now.

        Args:
            slot: From `slot`.
            generation: That of the key set, taken before the key was looked up.
            claims: What the token says.
            key: The key that it verified under.
            payload: The JSON that *claims* came from, to know their weight by.
            lifetime: Seconds until `exp`, the leeway not included.
            not_before: The earliest moment at which it passes, in epoch seconds.
            expires: The moment from which it does not.
        """
        weight = max(weigh(payload), _BYTES_PER_VERDICT)
        if lifetime <= 0 or weight > self.max_bytes or generation != self._generation:
            return
        until = self._monotonic() + min(lifetime, VERDICT_TTL)
        verdict = Verdict(claims, key, not_before, expires, until, weight)
        with self._lock:
            verdicts = self._verdicts
            before = verdicts.evicted
            verdicts[_key(slot, generation)] = verdict
            evicted = verdicts.evicted != before
        if evicted:
            self._emit(TokenCache("evict"))

    def clear(self) -> None:
        """Forget every verdict, at once."""
        with self._lock:
            before, self._verdicts = self._verdicts, self._empty()
        if len(before):
            self._emit(TokenCache("evict"))

    def forget(self, subject: str) -> None:
        """Forget every verdict on the tokens of *subject* (`sub`), at once."""
        with self._lock:
            verdicts = self._verdicts
            theirs = [slot for slot in verdicts if verdicts[slot].claims.subject == subject]
            for slot in theirs:
                del verdicts[slot]
        if theirs:
            self._emit(TokenCache("evict"))

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Work on an empty cache until the block ends, then have the old state back."""
        before = self._generation, self._verdicts
        self._generation, self._verdicts = -1, self._empty()
        try:
            yield
        finally:
            self._generation, self._verdicts = before

    def __len__(self) -> int:
        return len(self._verdicts)

    @property
    def weight(self) -> int:
        """Bytes that the entries take, at most."""
        return int(self._verdicts.currsize)


def _key(slot: bytes, generation: int) -> bytes:
    return slot + generation.to_bytes(8)


def _weight(verdict: Verdict) -> int:
    return verdict.weight


def weigh(payload: bytes) -> int:
    """Return an upper bound of the memory that a verdict with this payload takes, in bytes.

    Parsed and frozen, `{}` is fifty times larger than its JSON, so the length would be no bound.
    Counts what can open a container, name a member or separate values; one inside a string only
    makes the bound larger. A string takes up to four bytes for each character once one of them
    needs it.
    """
    width = 1 if payload.isascii() and b"\\" not in payload else 4
    marks = payload.translate(None, _UNMARKED)
    values = _PER_VALUE * len(marks) + _PER_OBJECT * marks.count(b"{")
    return _PER_ENTRY + width * len(payload) + values

"""VerifiedTokenCache: tokens verified a moment ago, so that the next request skips the signature.

Look-ups take no lock: each step of one is a single call into C, which other threads cannot divide.
Whatever changes the cache takes the lock.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, NamedTuple
from weakref import WeakSet

from fastapi_stepup._emitter import Emitter
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.events import TokenCache
from fastapi_stepup.tokens.claims_set import Validity
from fastapi_stepup.tokens.jwk import VerificationKey

CACHED_TOKENS: Final = 4096
CACHED_TOKEN_TTL: Final = 60.0
MAX_CACHED_TOKEN: Final = 8 * 1024

_BYTES_PER_TOKEN: Final = 3840
_MAX_SIZE: Final = 1_000_000
# Bytes that CPython needs at most: for an entry, and for each part of what its claims hold.
_PER_ENTRY: Final = 1792
_PER_OBJECT: Final = 224
_PER_VALUE: Final = 96
_caches: "Final[WeakSet[VerifiedTokenCache]]" = WeakSet()


class CachedToken(NamedTuple):
    """An entry for a token that passed: all that must hold again, and not the token.

    `not_before` and `expires` are epoch seconds, the leeway in them; `until` is on the cache's own
    clock; `weight` is an upper bound of the bytes that it takes.
    """

    claims: Claims
    key: VerificationKey
    not_before: float
    expires: float
    generation: int
    until: float
    weight: int


class VerifiedTokenCache:
    """Keeps the claims of tokens that passed, in bounded memory and for at most a minute.

    Guarantees:
    - Only tokens that passed are in it, each under the SHA-256 of all its bytes and the verifier's
      settings. No token is kept, nor a part of one.
    - A new generation of the key set empties it.
    - At most *size* entries, and *size* times 3840 bytes (15 MiB by default), whatever the claims
      are like. The least recently used one goes first. Tokens over 8 KiB are not kept.
    - Safe to use from any number of threads, and in forked children, where it starts empty.

    Does not decide: the caller checks times and key of what it finds (`TokenVerifier` does).

    Args:
        size: Most entries, 0 to a million.
        settings: Whatever makes two verifiers judge one token differently, in any fixed form.
        emit: Called with a `TokenCache("evict")` whenever entries were dropped.
        monotonic: A clock that never goes back, in seconds; `time.monotonic` without it.

    Raises:
        ConfigurationError: *size* is not a number in bounds.
    """

    def __init__(
        self,
        size: int,
        *,
        settings: str,
        emit: Emitter,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        if type(size) is not int or not 0 <= size <= _MAX_SIZE:
            msg = f"verdict_cache_size is a number of tokens from 0 (off) to {_MAX_SIZE}."
            raise ConfigurationError(msg)
        self.size = size
        self.max_bytes: int = size * _BYTES_PER_TOKEN
        # Copied for each token: to look the algorithm up anew takes as long as the hash itself.
        self._hash = sha256(sha256(settings.encode()).digest())
        self._emit = emit
        self._monotonic = monotonic
        self._generation = -1
        self._start_empty()
        _caches.add(self)

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._tokens: OrderedDict[bytes, CachedToken] = OrderedDict()
        self._digests: dict[str, set[bytes]] = {}
        self._weight = 0

    def find(self, token: Any, generation: int) -> tuple[bytes | None, CachedToken | None]:
        """Return the digest that *token* is kept under, and what is kept of it if anything is.

        There is no digest for what is never kept: too long a token, other types than text.

        Args:
            token: Anything that a request presents as a token.
            generation: That of the key set.
        """
        if not self.size or not isinstance(token, str) or len(token) > MAX_CACHED_TOKEN:
            return None, None
        if not token.isascii():
            return None, None
        hashed = self._hash.copy()
        hashed.update(token.encode("ascii"))
        digest = hashed.digest()
        return digest, self.get(digest, generation)

    def get(self, digest: bytes, generation: int) -> CachedToken | None:
        """Return the token with this digest, unless there is none or its minute is over.

        Empties the cache when *generation* is another one than before.
        """
        if generation != self._generation:
            self._generation = generation
            self.clear()
        tokens = self._tokens
        cached = tokens.get(digest)
        if (
            cached is None
            or cached.generation != generation
            or (self._monotonic or time.monotonic)() >= cached.until
        ):
            return None
        try:  # noqa: SIM105  # `suppress` takes longer than the whole look-up
            tokens.move_to_end(digest)
        except KeyError:
            pass  # Another thread dropped it between the two calls.
        return cached

    def put(
        self,
        digest: bytes,
        generation: int,
        claims: Claims,
        key: VerificationKey,
        validity: Validity,
        *,
        lifetime: float,
        payload: bytes,
    ) -> None:
        """Keep a token that passed, for *lifetime* seconds at most.

        Does nothing when that is over, when the claims would take all the memory there is, or when
        the key set is another one by now.

        Args:
            digest: From `find`.
            generation: That of the key set, read before the key was looked up.
            claims: What the token says.
            key: The key that it verified under.
            validity: When it passes.
            lifetime: Seconds until `exp`, the leeway not included.
            payload: The JSON that *claims* came from, to know their weight by.
        """
        weight = weigh(payload)
        if lifetime <= 0 or weight > self.max_bytes:
            return
        subject = claims.subject
        until = (self._monotonic or time.monotonic)() + min(lifetime, CACHED_TOKEN_TTL)
        cached = CachedToken(claims, key, *validity, generation, until, weight)
        with self._lock:
            if generation != self._generation:
                return
            tokens, digests = self._tokens, self._digests
            if digest in tokens:
                self._drop(digest)
            tokens[digest] = cached
            self._weight += weight
            if subject in digests:
                digests[subject].add(digest)
            else:
                digests[subject] = {digest}
            is_full = len(tokens) > self.size or self._weight > self.max_bytes
            if is_full:
                self._evict()
        if is_full and self._emit.hooks:
            self._emit(TokenCache("evict"))

    def clear(self) -> None:
        """Drop every token, at once."""
        with self._lock:
            dropped = len(self._tokens)
            self._tokens, self._digests, self._weight = OrderedDict(), {}, 0
        if dropped:
            self._emit(TokenCache("evict"))

    def forget(self, subject: str) -> None:
        """Drop every token of *subject* (`sub`), at once; takes no longer in a large cache."""
        with self._lock:
            theirs = tuple(self._digests.get(subject, ()))
            for digest in theirs:
                self._drop(digest)
        if theirs:
            self._emit(TokenCache("evict"))

    # Called with the lock held; `popitem` and not an iterator, which a look-up would break.

    def _evict(self) -> None:
        """Drop the least recently used tokens until the others are within both bounds."""
        tokens = self._tokens
        while len(tokens) > self.size or self._weight > self.max_bytes:
            self._account_for(*tokens.popitem(last=False))

    def _drop(self, digest: bytes) -> None:
        """Take one token out."""
        self._account_for(digest, self._tokens.pop(digest))

    def _account_for(self, digest: bytes, cached: CachedToken) -> None:
        """Adjust weight and subjects for a token that was taken out."""
        self._weight -= cached.weight
        subject = cached.claims.subject
        theirs = self._digests[subject]
        if len(theirs) == 1:  # the usual case
            del self._digests[subject]
        else:
            theirs.remove(digest)

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def weight(self) -> int:
        """Bytes that the entries take, at most."""
        return self._weight


def weigh(payload: bytes) -> int:
    """Return an upper bound of the memory that a token with this payload takes, in bytes.

    Parsed and frozen, `{}` is fifty times larger than its JSON. So neither the number of tokens nor
    their length bounds the memory. This counts what can open a container, name a member or separate
    values; one inside a string only makes the bound larger. A string takes up to four bytes for
    each character once one of them needs it.
    """
    width = 1 if payload.isascii() and b"\\" not in payload else 4
    objects = payload.count(b"{")
    values = len(payload) - len(payload.translate(None, b"{[:,"))
    return _PER_ENTRY + width * len(payload) + _PER_VALUE * values + _PER_OBJECT * objects


def _after_fork_in_child() -> None:
    # Another thread may have held the lock, in the middle of a change, when the process forked.
    for cache in tuple(_caches):
        cache._start_empty()  # noqa: SLF001  # this module's own hook


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)

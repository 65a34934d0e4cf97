"""What verified tokens, bad tokens and unknown key ids leave behind."""

import gc
import resource
import secrets
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Final

from benchmarks.material import Material, pair, with_unknown_kid
from benchmarks.measuring import MIB, Effort, Figure, below, skipped
from fastapi_stepup import TokenVerifier
from fastapi_stepup.errors import InvalidToken

_LIMIT: Final = 16.0
_FLAT: Final = 4.0
# One byte more, and the token would not be kept.
_LONG: Final = 8 * 1024
_PEAK_UNIT: Final = 1 if sys.platform == "darwin" else 1024


def _filled(material: Material, claim: object, more: object) -> dict[str, object]:
    """Return claims that make a token just short of 8 KiB out of *more* and more of one."""
    claims: list[object] = [claim]
    length = len(material.token(roles=claims))
    step = len(material.token(roles=[claim, more])) - length
    claims += [more] * ((_LONG - length) // step - 1)
    return {"roles": claims}


async def figures(effort: Effort) -> list[Figure]:
    """Return the size of a token cache that more tokens came to than it takes."""
    # Ed25519 signs twenty times as fast as RSA; what is remembered is no different.
    material = Material(pair("EdDSA"))
    many, few = effort.cached_tokens, effort.cached_tokens // 10
    shapes: list[tuple[str, int, dict[str, object]]] = [
        ("600 bytes", many, {"email": "x" * 160}),
        ("8 KiB, one string", many, {"data": "x" * 5800}),
        # Of these, a tenth fills the cache.
        ("8 KiB, many roles", few, _filled(material, "role-0001", "role-0002")),
        ("8 KiB, empty objects", few, _filled(material, {}, {})),
    ]
    return [
        Figure(
            name=f"token cache after {count} tokens of {shape}",
            value=await _grown(material, count, claims),
            unit="MiB",
            target=below(_LIMIT),
            note=f"{len(material.token(**claims))} characters",
        )
        for shape, count, claims in shapes
    ]


async def _grown(material: Material, count: int, claims: dict[str, object]) -> float:
    """Return by how many MiB Python's memory grew over *count* tokens."""
    verifier = material.verifier()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(count):
            await verifier.verify(material.token(**claims))
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / MIB
    finally:
        tracemalloc.stop()


async def floods(effort: Effort) -> list[Figure]:
    """Return by how much the process grows over the last nine tenths of a million bad tokens."""
    names = [f"growth over a million {what}" for what in ("bad tokens", "unknown kids")]
    if not effort.million:
        return [skipped(name, "takes minutes: --long") for name in names]
    material = Material()
    header, payload, _ = material.token().split(".")
    floods: list[Iterator[str]] = [
        (f"{header}.{payload}.{secrets.token_urlsafe(256)}" for _ in range(effort.million)),
        (with_unknown_kid(payload) for _ in range(effort.million)),
    ]
    return [
        Figure(
            name=name,
            value=await _peak_growth(material.guard().verifier, tokens, effort.million),
            unit="MiB",
            target=below(_FLAT),
            note=f"{effort.million} tokens, peak of the process",
        )
        for name, tokens in zip(names, floods, strict=True)
    ]


async def _peak_growth(verifier: TokenVerifier, tokens: Iterable[str], count: int) -> float:
    settled = 0.0
    for number, token in enumerate(tokens):
        if number == count // 10:
            settled = _peak()
        try:
            await verifier.verify(token)
        except InvalidToken:
            continue
        raise AssertionError
    return _peak() - settled


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT / MIB

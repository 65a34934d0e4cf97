"""One token, verified: against PyJWT and the bare signature check."""

from itertools import cycle
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from jwt.utils import base64url_decode

from benchmarks.contenders import batches, decoder, each, each_sync
from benchmarks.material import Algorithm, Material, pair
from benchmarks.measuring import Effort, Figure, at_most, below, compared, race
from fastapi_stepup.errors import InvalidToken

_REPEATS: Final = 10


def _signature_parts(token: str) -> tuple[bytes, bytes]:
    signed, _, signature = token.rpartition(".")
    return base64url_decode(signature), signed.encode()


async def figures(effort: Effort) -> list[Figure]:
    """Return what one token costs."""
    material = Material()
    tokens = material.tokens(effort.tokens)
    size = effort.batch
    known = [tokens[:size] * _REPEATS]
    large = [[material.large_token()] * size]
    decode = decoder(material.key.jwk)
    public = material.public_key
    scheme = padding.PKCS1v15(), hashes.SHA256()

    def bare(parts: tuple[bytes, bytes]) -> None:
        public.verify(*parts, *scheme)

    signatures = [[_signature_parts(token) for token in tokens[:size]]]
    emptied, busy, warm = material.verifier(), material.verifier(), material.verifier()
    # Fewer places than tokens that come round: each one is seen first, and pushes one out.
    crowded = material.verifier(verdict_cache_size=size)

    async def refused(token: str) -> None:
        try:
            await warm.verify(token)
        except InvalidToken:
            return
        raise AssertionError

    first, again, decoded, signed, evicting, big, big_decoded = await race(
        [
            each(emptied.verify, batches(tokens, size), size, prepare=emptied.clear),
            each(busy.verify, cycle(known), size * _REPEATS),
            each_sync(decode, batches(tokens, size), size),
            each_sync(bare, cycle(signatures), size),
            each(crowded.verify, batches(tokens, size), size),
            each(refused, cycle(large), size),
            each_sync(decode, cycle(large), size),
        ],
        rounds=effort.rounds,
    )
    length = f"{len(tokens[0])} characters"
    over = f"{len(large[0][0])} characters"
    return [
        compared(
            "first-time token / jwt.decode", first, decoded, target=at_most(0.50), note=length
        ),
        compared("first-time token / bare RSA verify", first, signed, target=at_most(1.65)),
        compared("repeated token / jwt.decode", again, decoded, target=at_most(0.036)),
        compared(
            "first-time token, cache full / jwt.decode", evicting, decoded, target=at_most(0.53)
        ),
        compared("too large token / jwt.decode", big, big_decoded, target=below(0.05), note=over),
    ]


async def payloads(effort: Effort) -> list[Figure]:
    """Return what a first token costs whose payload is not the plain one, next to PyJWT."""
    tenant = {"roles": ["admin", "editor"], "permissions": ["read", "write"]}
    shapes: dict[str, tuple[float | None, dict[str, Any]]] = {
        "20 roles": (0.50, {"roles": [f"role-{n:02d}" for n in range(20)]}),
        "10 tenants": (0.50, {"tenants": {f"T2tenant{n:02d}": tenant for n in range(10)}}),
        "40 tenants": (0.50, {"tenants": {f"T2tenant{n:02d}": tenant for n in range(40)}}),
        "an escape": (0.50, {"name": "Zo\u00eb Br\u00f6nte"}),
        "a name beyond the basic plane": (None, {"name": "Zo\u00eb \U0001f600"}),
    }
    material = Material()
    return [
        await _first(
            effort,
            material,
            f"first-time token with {shape} / jwt.decode",
            bound,
            claims,
        )
        for shape, (bound, claims) in shapes.items()
    ]


async def algorithms(effort: Effort) -> list[Figure]:
    """Return what a first token of another algorithm costs, next to PyJWT."""
    bounds: tuple[tuple[Algorithm, float], ...] = (("ES256", 0.78), ("EdDSA", 0.84))
    return [
        await _first(
            effort, Material(pair(alg)), f"first-time token, {alg} / jwt.decode", bound, {}
        )
        for alg, bound in bounds
    ]


async def _first(
    effort: Effort, material: Material, name: str, bound: float | None, claims: dict[str, Any]
) -> Figure:
    tokens = material.tokens(max(effort.batch, effort.tokens // 4), **claims)
    size = effort.batch
    emptied = material.verifier()
    first, decoded = await race(
        [
            each(emptied.verify, batches(tokens, size), size, prepare=emptied.clear),
            each_sync(decoder(material.key.jwk), batches(tokens, size), size),
        ],
        rounds=effort.rounds,
    )
    target = None if bound is None else at_most(bound)
    return compared(name, first, decoded, target=target, note=f"{len(tokens[0])} characters")

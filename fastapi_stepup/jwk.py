"""The key policy: which JWKs of a published set may verify a token, and which are skipped."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK

from fastapi_stepup.jws import MAX_KID, CompactJWS, decode_segment

MAX_KEYS: Final = 64
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
MAX_RSA_EXPONENT: Final = 2**32

_EC_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "ES256K": "secp256k1"}
_EC_BYTES: Final = {"P-256": 32, "P-384": 48, "P-521": 66, "secp256k1": 32}
_OKP_BYTES: Final = {"Ed25519": 32, "Ed448": 57}
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_PUBLIC_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",)}


@dataclass(frozen=True, slots=True, repr=False)
class VerificationKey:
    """A public key bound to one algorithm (RFC 8725 section 3.1) and one `kid`."""

    kid: str
    alg: str
    jwk: PyJWK
    identity: tuple[str, ...]

    def verifies(self, token: CompactJWS) -> bool:
        """Whether this key signed *token*; a token of another algorithm never passes."""
        if token.header.alg != self.alg:
            return False
        try:
            return bool(
                self.jwk.Algorithm.verify(token.signing_input, self.jwk.key, token.signature)
            )
        except (InvalidSignature, ValueError, TypeError):
            return False

    def __repr__(self) -> str:
        return f"VerificationKey(alg={self.alg})"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Why a member of a set is not used; `alarming` ones should never have been published."""

    reason: str
    alarming: bool = False


def load_keys(
    members: Iterable[Any], algorithms: frozenset[str]
) -> tuple[dict[str, VerificationKey], list[Skipped]]:
    """Return the usable keys by `kid`, and what was skipped; one bad member harms no other.

    Two members of one `kid` with different key material make that `kid` unusable: nobody can say
    which one is meant.

    Args:
        members: The elements of a JWK set's `keys`.
        algorithms: Algorithms that tokens may use; keys for others are skipped.
    """
    keys: dict[str, VerificationKey] = {}
    ambiguous: set[str] = set()
    skipped: list[Skipped] = []
    for member in members:
        loaded = load_key(member, algorithms)
        if isinstance(loaded, Skipped):
            skipped.append(loaded)
        elif loaded.kid in keys and keys[loaded.kid].identity != loaded.identity:
            ambiguous.add(loaded.kid)
        else:
            keys[loaded.kid] = loaded
    for kid in ambiguous:
        del keys[kid]
        skipped.append(Skipped("duplicate_kid", alarming=True))
    return keys, skipped


def load_key(jwk: Any, algorithms: frozenset[str]) -> VerificationKey | Skipped:
    """Return the key in *jwk*, or the reason why it may not be used."""
    if not isinstance(jwk, Mapping):
        return Skipped("not_an_object")
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        return Skipped("private_members", alarming=True)
    kid, use, operations = jwk.get("kid"), jwk.get("use", "sig"), jwk.get("key_ops", ["verify"])
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        return Skipped("kid")
    if use != "sig" or type(operations) is not list or operations.count("verify") != 1:
        return Skipped("use")
    alg = _algorithm_of(jwk, algorithms)
    return Skipped("algorithm") if alg is None else _built(kid, alg, jwk)


def _built(kid: str, alg: str, jwk: Mapping[str, Any]) -> VerificationKey | Skipped:
    public = _PUBLIC_MEMBERS[jwk["kty"]]
    material = [jwk.get(name) for name in public]
    if not _is_canonical(jwk, material):
        return Skipped("material")
    members = {name: jwk[name] for name in (*public, "kty", "crv") if name in jwk}
    try:
        key = PyJWK(members, algorithm=alg)
    except Exception:  # noqa: BLE001  # PyJWT and cryptography raise many kinds on bad material
        return Skipped("material")
    if isinstance(key.key, RSAPublicKey):
        weakness = rsa_weakness(key.key)
        if weakness is not None:
            return Skipped(weakness, alarming=True)
    return VerificationKey(kid, alg, key, (alg, *map(str, material)))


def _algorithm_of(jwk: Mapping[str, Any], algorithms: frozenset[str]) -> str | None:
    """Return the one algorithm that kty, crv, alg and configuration agree on."""
    kty, crv, alg = jwk.get("kty"), jwk.get("crv"), jwk.get("alg")
    if kty == "RSA":
        fitting = {a for a in algorithms if a[:2] in {"RS", "PS"}}
    elif kty == "EC":
        fitting = {a for a in algorithms if _EC_CURVES.get(a) == crv}
    elif kty == "OKP":
        fitting = {a for a in algorithms if a == "EdDSA" and crv in _OKP_BYTES}
    else:
        return None
    if alg is None:
        return fitting.pop() if len(fitting) == 1 else None
    return alg if isinstance(alg, str) and alg in fitting else None


def _is_canonical(jwk: Mapping[str, Any], material: list[Any]) -> bool:
    """Whether the members are canonical base64url of the length that RFC 7518 section 6 asks."""
    decoded = [decode_segment(part) if isinstance(part, str) else None for part in material]
    if jwk["kty"] == "RSA":
        return all(part is not None and part[0] != 0 for part in decoded)
    expected = (_EC_BYTES | _OKP_BYTES)[jwk["crv"]]
    return all(part is not None and len(part) == expected for part in decoded)


def rsa_weakness(key: RSAPublicKey) -> str | None:
    """Return why an RSA key is refused, or `None`: size, exponent, or a ROCA modulus."""
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return "rsa_size"
    numbers = key.public_numbers()
    if numbers.e % 2 == 0 or not 3 <= numbers.e < MAX_RSA_EXPONENT:  # noqa: PLR2004
        return "rsa_exponent"
    return "roca" if has_roca_fingerprint(numbers.n) else None


def has_roca_fingerprint(modulus: int) -> bool:
    """Whether *modulus* has the form that CVE-2017-15361 makes factorable.

    Such primes are `k * M + (65537^a mod M)`, so modulo each small prime the modulus lies in the
    subgroup that 65537 generates. A sound modulus passes all of these tests by chance about once
    in 2^27.
    """
    return all(modulus % prime in powers for prime, powers in _roca_subgroups())


@lru_cache(maxsize=1)
def _roca_subgroups() -> tuple[tuple[int, frozenset[int]], ...]:
    primes = [p for p in range(3, 168) if all(p % q for q in range(2, p))]
    return tuple((p, frozenset(pow(65537, a, p) for a in range(p))) for p in primes)

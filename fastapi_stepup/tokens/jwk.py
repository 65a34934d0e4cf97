"""The key policy: which JWKs of a published set may verify a token, and which are skipped."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from jwt import PyJWK

from fastapi_stepup.tokens.jws import CompactJWS, decode_segment, is_key_id
from fastapi_stepup.tokens.weak_keys import ec_weakness, edwards_weakness, rsa_weakness

MAX_KEYS: Final = 64

_EC_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "ES256K": "secp256k1"}
_EDWARDS_CURVES: Final = ("Ed25519", "Ed448")
_EC_BYTES: Final = {"P-256": 32, "P-384": 48, "P-521": 66, "secp256k1": 32}
_COORDINATE_BYTES: Final = _EC_BYTES | {"Ed25519": 32, "Ed448": 57}
_HASHES: Final = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_PUBLIC_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",)}


@dataclass(frozen=True, slots=True, repr=False)
class VerificationKey:
    """A public key bound to one algorithm (RFC 8725 section 3.1) and one `kid`.

    Two with the same `identity` accept the same signatures. `scheme` is what the library's check
    takes besides signature and message: made once, since it takes as long as the rest around the
    check. `half` is the length of each of the two numbers of an ECDSA signature, else 0.
    """

    kid: str
    alg: str
    jwk: PyJWK
    identity: tuple[str, ...]
    scheme: tuple[Any, ...] = ()
    half: int = 0

    def verifies(self, token: CompactJWS) -> bool:
        """Return whether this key signed *token*; a token of another algorithm never passes.

        Never raises: an error of the cryptography library is no proof.
        """
        if token.header.alg != self.alg:
            return False
        signature, half = token.signature, self.half
        try:
            if half:
                if len(signature) != 2 * half:
                    return False
                numbers = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
                signature = encode_dss_signature(*numbers)
            self.jwk.key.verify(signature, token.signing_input, *self.scheme)
        except Exception:  # noqa: BLE001  # PyJWT and cryptography promise no closed set
            return False
        return True

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

    Two members of one `kid` with different key material make that `kid` unusable: it is unclear
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
    """Return the key in *jwk*, or the reason why it may not be used; never raises.

    Skipped are:

    - keys under which anyone can sign (`tokens.weak_keys`), and private members;
    - a `kid` that no token could have, and another use than verifying signatures;
    - an algorithm that does not fit key type, curve or configuration;
    - non-canonical material, leading zero bytes of an RSA number included (RFC 7518 section
      6.3.1).

    A key without `alg` is used only where the configuration leaves one algorithm for its type.
    Does not read certificates (`x5c`, `x5t`, `x5u`): the set is trusted for where it comes from.
    """
    if not isinstance(jwk, Mapping):
        return Skipped("not_an_object")
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        return Skipped("private_members", alarming=True)
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not is_key_id(kid):
        return Skipped("kid")
    if jwk.get("use", "sig") != "sig" or not _may_verify(jwk.get("key_ops", ["verify"])):
        return Skipped("use")
    alg = _algorithm_of(jwk, algorithms)
    return Skipped("algorithm") if alg is None else _built(kid, alg, jwk)


def _may_verify(operations: Any) -> bool:
    """Return whether `key_ops` lists different names, `verify` included (RFC 7517 section 4.3)."""
    if type(operations) is not list or not all(isinstance(name, str) for name in operations):
        return False
    return "verify" in operations and len(set(operations)) == len(operations)


def _built(kid: str, alg: str, jwk: Mapping[str, Any]) -> VerificationKey | Skipped:
    names = _PUBLIC_MEMBERS[jwk["kty"]]
    weakness = _weakness(jwk, [_decoded(jwk.get(name)) for name in names])
    if weakness is not None:
        return Skipped(weakness, alarming=weakness != "material")
    members = {name: jwk[name] for name in (*names, "kty", "crv") if name in jwk}
    try:
        key = PyJWK(members, algorithm=alg)
    except Exception:  # noqa: BLE001  # PyJWT and cryptography raise many kinds on bad material
        return Skipped("material")
    identity = (alg, *(jwk[name] for name in names))
    half = _EC_BYTES[jwk["crv"]] if jwk["kty"] == "EC" else 0
    return VerificationKey(kid, alg, key, identity, _scheme(alg), half)


def _weakness(jwk: Mapping[str, Any], material: list[bytes]) -> str | None:
    """Return why the numbers of a key must not be used: `material` is their form."""
    if jwk["kty"] == "RSA":
        if any(part[:1] in {b"", b"\0"} for part in material):
            return "material"
        modulus, exponent = map(int.from_bytes, material)
        return rsa_weakness(modulus, exponent)
    if any(len(part) != _COORDINATE_BYTES[jwk["crv"]] for part in material):
        return "material"
    if jwk["kty"] == "EC":
        return ec_weakness(jwk["crv"], int.from_bytes(material[0]))
    return edwards_weakness(jwk["crv"], material[0])


def _scheme(alg: str) -> tuple[Any, ...]:
    """Return padding and hash of an algorithm (RFC 7518 sections 3.3 to 3.5, RFC 8037)."""
    if alg == "EdDSA":
        return ()
    digest = _HASHES[alg[2:5]]
    if alg.startswith("RS"):
        return padding.PKCS1v15(), digest
    if alg.startswith("PS"):
        return padding.PSS(padding.MGF1(digest), digest.digest_size), digest
    return (ec.ECDSA(digest),)


def _decoded(part: Any) -> bytes:
    """Return the bytes of a member in canonical base64url; none at all for anything else."""
    if not isinstance(part, str) or not part.isascii():
        return b""
    return decode_segment(part.encode("ascii")) or b""


def _algorithm_of(jwk: Mapping[str, Any], algorithms: frozenset[str]) -> str | None:
    """Return the one algorithm that kty, crv, alg and configuration agree on."""
    kty, crv, alg = jwk.get("kty"), jwk.get("crv"), jwk.get("alg")
    if kty == "RSA":
        fitting = {a for a in algorithms if a[:2] in {"RS", "PS"}}
    elif kty == "EC":
        fitting = {a for a in algorithms if a in _EC_CURVES and _EC_CURVES[a] == crv}
    elif kty == "OKP":
        fitting = {a for a in algorithms if a == "EdDSA" and crv in _EDWARDS_CURVES}
    else:
        return None
    if "alg" not in jwk:
        return fitting.pop() if len(fitting) == 1 else None
    return alg if isinstance(alg, str) and alg in fitting else None

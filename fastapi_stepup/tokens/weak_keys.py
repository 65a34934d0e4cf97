"""Public keys under which anyone can sign, because no secret is needed or it is easy to find.

RSA: sizes and exponents out of bounds, moduli that are no product of two large primes far apart,
and those of CVE-2017-15361 (ROCA). Elliptic curves: small multiples of the base point, since
their private key is that small number. Edwards curves have a cofactor: these multiples, and points
of small order in any encoding.

Does not look for primes that two keys share, nor for prime moduli of more than 3072 bits.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, isqrt, prod
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
MIN_RSA_EXPONENT: Final = 3
MAX_RSA_EXPONENT: Final = 2**32

_SMALL: Final = 4096  # factors below it are found by division
_GUESSES: Final = 16  # private keys from 1 to here count as known
_DEGREES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61)
_FERMAT_STEPS: Final = 100
_MAX_EXPONENT_BITS: Final = 3072  # OpenSSL takes long exponents for moduli up to here
_SHA256_PREFIX: Final = bytes.fromhex("3031300d060960864801650304020105000420")

_EC_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}


@dataclass(frozen=True, slots=True)
class _EdwardsCurve:
    """The curve `a x² + y² = 1 + d x² y²` modulo `prime` (RFC 8032 section 5)."""

    prime: int
    a: int
    d: int
    cofactor: int
    base: tuple[int, int]


_P25519: Final = 2**255 - 19
_P448: Final = 2**448 - 2**224 - 1
_EDWARDS_CURVES: Final = {
    "Ed25519": _EdwardsCurve(
        prime=_P25519,
        a=-1,
        d=-121665 * pow(121666, -1, _P25519) % _P25519,
        cofactor=8,
        base=(
            0x216936D3CD6E53FEC0A4E231FDD6DC5C692CC7609525A7B2C9562D608F25D51A,
            4 * pow(5, -1, _P25519) % _P25519,
        ),
    ),
    "Ed448": _EdwardsCurve(
        prime=_P448,
        a=1,
        d=-39081,
        cofactor=4,
        base=(
            0x4F1970C66BED0DED221D15A622BF36DA9E146570470F1767EA6DE324A3D3A46412AE1AF72AB66511433B80E18B00938E2626A82BC70CC05E,
            0x693F46716EB6BC248876203756C9C7624BEA73736CA3984087789C1E05A0C2D73AD3FF1CE67C39C4FDBD132C4ED7C8AD9808795BF230FA14,
        ),
    ),
}


def rsa_weakness(modulus: int, exponent: int) -> str | None:
    """Return why an RSA key must not be used, or `None`.

    `rsa_size`, `rsa_exponent` (1 leaves the message as it is), `roca` or `no_secret`.
    """
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        return "rsa_size"
    if exponent % 2 == 0 or not MIN_RSA_EXPONENT <= exponent < MAX_RSA_EXPONENT:
        return "rsa_exponent"
    return _modulus_weakness(modulus)


# A set is fetched again and again, and mostly with the same keys.
@lru_cache(maxsize=256)
def _modulus_weakness(modulus: int) -> str | None:
    if (
        gcd(modulus, _product_of_small_primes()) > 1
        or _is_power(modulus)
        or _has_close_factors(modulus)
        or _is_prime(modulus)
    ):
        return "no_secret"
    return "roca" if has_roca_fingerprint(modulus) else None


def ec_weakness(curve: str, x: int) -> str | None:
    """Return `no_secret` if the private key is a small number or the negative of one."""
    return "no_secret" if x in _known_ec_points(curve) else None


def edwards_weakness(curve: str, encoded: bytes) -> str | None:
    """Return `no_secret` if the point has small order or its private key is a small number.

    Return `material` if it is no point, or not in its one canonical encoding (RFC 8032 section
    5.1.3).
    A point of small order verifies about one in eight messages under a signature of zeros.

    Args:
        curve: `Ed25519` or `Ed448`.
        encoded: The public key, as long as keys of that curve are.
    """
    parameters = _EDWARDS_CURVES[curve]
    y = int.from_bytes(encoded, "little") % (1 << (8 * len(encoded) - 1))  # less the sign of x
    if y >= parameters.prime:
        return "material"
    squares = pow(_x_squared(parameters, y), (parameters.prime - 1) // 2, parameters.prime)
    if squares not in {0, 1}:
        return "material"
    # Times the cofactor, so that a part of small order does not hide anything.
    doubled = y
    for _ in range(parameters.cofactor.bit_length() - 1):
        doubled = _doubled(parameters, doubled)
    return "no_secret" if doubled in _known_edwards_points(curve) else None


def has_roca_fingerprint(modulus: int) -> bool:
    """Return whether *modulus* has the form that CVE-2017-15361 makes factorable.

    Such primes are `k * M + (65537^a mod M)`, so modulo each small prime the modulus lies in the
    subgroup that 65537 generates. A sound modulus passes all of these tests by chance about once
    in 2^27.
    """
    return all(modulus % prime in powers for prime, powers in _roca_subgroups())


@lru_cache(maxsize=1)
def _roca_subgroups() -> tuple[tuple[int, frozenset[int]], ...]:
    primes = [p for p in range(3, 168) if all(p % q for q in range(2, p))]
    return tuple((p, frozenset(pow(65537, a, p) for a in range(p))) for p in primes)


@lru_cache(maxsize=1)
def _product_of_small_primes() -> int:
    return prod(p for p in range(2, _SMALL) if all(p % q for q in range(2, isqrt(p) + 1)))


def _is_power(number: int) -> bool:
    """Return whether *number* is a whole number to a power of at least 2.

    Roots of a higher degree are so small that they are found in other ways.
    """
    return any(_root(number, degree) ** degree == number for degree in _DEGREES)


def _root(number: int, degree: int) -> int:
    """Return the whole part of a root, by Newton's method from above."""
    root = 1 << (number.bit_length() // degree + 1)
    while True:
        closer = ((degree - 1) * root + number // root ** (degree - 1)) // degree
        if closer >= root:
            return root
        root = closer


def _has_close_factors(number: int) -> bool:
    """Return whether Fermat's method finds two factors of *number* at once (CVE-2022-26320)."""
    start = isqrt(number) + 1
    return any(
        isqrt(rest) ** 2 == rest
        for rest in (a * a - number for a in range(start, start + _FERMAT_STEPS))
    )


def _is_prime(modulus: int) -> bool:
    """Return whether *modulus* is a prime: then its private exponent follows from the public one.

    Fermat's test, `m^(n-1) = 1`, as a check of the signature `1/m` under the exponent `n-2`:
    OpenSSL takes 2 ms for that, and `pow` ten times as long.
    """
    if modulus.bit_length() > _MAX_EXPONENT_BITS:
        return False
    size = (modulus.bit_length() + 7) // 8
    ending = b"\0" + _SHA256_PREFIX + hashlib.sha256(b"").digest()
    padded = int.from_bytes(b"\0\1".ljust(size - len(ending), b"\xff") + ending)
    key = rsa.RSAPublicNumbers(modulus - 2, modulus).public_key()
    try:
        signature = pow(padded, -1, modulus).to_bytes(size)
        key.verify(signature, b"", padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):  # ValueError: there is no inverse
        return False
    return True


@lru_cache(maxsize=len(_EC_CURVES))
def _known_ec_points(curve: str) -> frozenset[int]:
    """Return the x coordinates of the first multiples of the base point."""
    keys = (ec.derive_private_key(n, _EC_CURVES[curve]) for n in range(1, _GUESSES + 1))
    return frozenset(key.public_key().public_numbers().x for key in keys)


@lru_cache(maxsize=len(_EDWARDS_CURVES))
def _known_edwards_points(curve: str) -> frozenset[int]:
    """Return the y coordinates of the first multiples of cofactor times base, 0 included."""
    parameters = _EDWARDS_CURVES[curve]
    step = (0, 1)
    for _ in range(parameters.cofactor):
        step = _sum(parameters, step, parameters.base)
    known, point = {1}, step
    for _ in range(_GUESSES):
        known.add(point[1])
        point = _sum(parameters, point, step)
    return frozenset(known)


def _sum(curve: _EdwardsCurve, one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = one, other
    product = curve.d * x1 * x2 * y1 * y2
    x = (x1 * y2 + y1 * x2) * pow(1 + product, -1, curve.prime)
    y = (y1 * y2 - curve.a * x1 * x2) * pow(1 - product, -1, curve.prime)
    return x % curve.prime, y % curve.prime


def _x_squared(curve: _EdwardsCurve, y: int) -> int:
    # Never a division by 0: a is a square modulo the prime, and d is none.
    return (1 - y * y) * pow(curve.a - curve.d * y * y, -1, curve.prime) % curve.prime


def _doubled(curve: _EdwardsCurve, y: int) -> int:
    """Return the y coordinate of twice a point, which its own y is enough for."""
    squared = _x_squared(curve, y)
    inverse = pow(1 - curve.d * squared * y * y, -1, curve.prime)
    return (y * y - curve.a * squared) * inverse % curve.prime

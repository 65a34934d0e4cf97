"""Keys under which anyone can sign are skipped, whatever their type, and honest ones are not."""

from math import gcd, prod

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from fastapi_stepup.tokens.jwk import Skipped, VerificationKey, load_key
from fastapi_stepup.tokens.jws import ASYMMETRIC_ALGORITHMS
from fastapi_stepup.tokens.weak_keys import (
    ec_weakness,
    edwards_weakness,
    has_roca_fingerprint,
    rsa_weakness,
)
from tests.support.token_factory import b64, jwk, private_key

P25519 = 2**255 - 19
P448 = 2**448 - 2**224 - 1
ORDERS = {
    "P-256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp256k1": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
}
CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}
SMALL_FACTORS = prod(range(2, 5000))
ROCA_PRIMORIAL = prod(p for p in range(2, 168) if all(p % q for q in range(2, p)))
PRIME_2048 = 2**2048 - 1942289
PRIME_3072 = 2**3072 - 1103717


def large(bits: int, *, less: int = 0) -> int:
    """Return an odd number just below `2^bits - 2 * less`, without small factors."""
    number = (1 << bits) - 1 - 2 * less
    while gcd(number, SMALL_FACTORS) > 1:
        number -= 2
    return number


def test_rsa_bounds(subtests: pytest.Subtests) -> None:
    """Sizes from 2048 to 8192 bits and odd exponents from 3 to below 2^32 are fine."""
    keys = [
        (0, 65537, "rsa_size"),
        (1, 65537, "rsa_size"),
        (large(2047), 65537, "rsa_size"),
        (large(2048), 65537, None),
        (large(8192), 65537, None),
        (large(8193), 65537, "rsa_size"),
        (large(2048), 0, "rsa_exponent"),
        (large(2048), 1, "rsa_exponent"),
        (large(2048), 2, "rsa_exponent"),
        (large(2048), 3, None),
        (large(2048), 4, "rsa_exponent"),
        (large(2048), 2**32 - 1, None),
        (large(2048), 2**32 + 1, "rsa_exponent"),
    ]
    for modulus, exponent, expected in keys:
        with subtests.test(bits=modulus.bit_length(), exponent=exponent):
            assert rsa_weakness(modulus, exponent) == expected


@pytest.mark.parametrize(
    "modulus",
    [
        pytest.param(PRIME_2048, id="prime"),
        pytest.param(PRIME_3072, id="prime-of-3072-bits"),
        pytest.param(large(2048) - 1, id="even"),
        pytest.param(3 * (PRIME_2048 >> 1 | 1), id="times-3"),
        pytest.param(4093 * large(2040), id="times-4093"),
        pytest.param(2**2047, id="power-of-2"),
        pytest.param(large(1024) * large(1024, less=2**400), id="close-factors"),
        pytest.param(large(1024) * large(1024, less=2**515), id="close-enough"),
    ],
)
def test_an_rsa_modulus_that_is_no_product_of_two_large_primes_hides_nothing(modulus: int) -> None:
    """A prime, a power, a small factor, factors close together: the private key is for anyone."""
    assert rsa_weakness(modulus, 65537) == "no_secret"


def test_no_power_is_a_modulus(subtests: pytest.Subtests) -> None:
    """Of any prime degree, as long as no factor is small enough to be found by division."""
    for degree in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61):
        with subtests.test(degree=degree):
            root = large(2048 // degree + 2)
            assert rsa_weakness(root**degree, 65537) == "no_secret"


def test_factors_that_are_far_enough_apart_pass() -> None:
    """Fermat's method would take more steps than anyone's guess."""
    assert rsa_weakness(large(1024) * large(1024, less=2**517), 65537) is None


def test_a_real_rsa_modulus_passes() -> None:
    """Also one that was looked at before."""
    numbers = private_key().private_numbers()
    for _ in range(2):
        assert rsa_weakness(numbers.p * numbers.q, 65537) is None
    assert rsa_weakness(numbers.p**2, 65537) == "no_secret"


def test_a_signature_under_a_prime_modulus_needs_no_secret() -> None:
    """The private exponent is the inverse of the public one modulo `n - 1`."""
    exponent = pow(65537, -1, PRIME_2048 - 1)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"text")
    info = bytes.fromhex("3031300d060960864801650304020105000420") + digest.finalize()
    padded = b"\0\1" + b"\xff" * (256 - 3 - len(info)) + b"\0" + info
    forged = pow(int.from_bytes(padded), exponent, PRIME_2048).to_bytes(256)
    public = rsa.RSAPublicNumbers(65537, PRIME_2048).public_key()
    public.verify(forged, b"text", padding.PKCS1v15(), hashes.SHA256())
    member = jwk(n=b64(PRIME_2048.to_bytes(256)))
    assert load_key(member, frozenset({"RS256"})) == Skipped("no_secret", alarming=True)


def test_a_roca_modulus_is_found() -> None:
    """CVE-2017-15361 moduli are found; a sound one is not taken for one."""

    def weak_factor(k: int) -> int:
        return k * ROCA_PRIMORIAL + pow(65537, 7 * k, ROCA_PRIMORIAL)

    size = 2**1024 // ROCA_PRIMORIAL
    modulus = weak_factor(size - size // 5) * weak_factor(size - size // 7)
    assert modulus.bit_length() == 2048
    assert has_roca_fingerprint(modulus)
    assert rsa_weakness(modulus, 65537) == "roca"
    sound: rsa.RSAPrivateKey = private_key()
    assert not has_roca_fingerprint(sound.public_key().public_numbers().n)


@pytest.mark.parametrize(
    ("modulus", "exponent", "expected"),
    [
        pytest.param(large(1025), 65537, "rsa_size", id="size"),
        pytest.param(large(2048), 1, "rsa_exponent", id="exponent"),
    ],
)
def test_weak_keys_are_alarming(modulus: int, exponent: int, expected: str) -> None:
    """They are logged as warnings: nobody should publish one."""
    size = (modulus.bit_length() + 7) // 8
    member = jwk(n=b64(modulus.to_bytes(size)), e=b64(exponent.to_bytes(3).lstrip(b"\0")))
    assert load_key(member, frozenset({"RS256"})) == Skipped(expected, alarming=True)


@pytest.mark.parametrize("curve", CURVES)
def test_a_small_multiple_of_the_base_point_is_no_public_key(curve: str) -> None:
    """Its private key is that number, which anyone can try."""
    for secret in (1, 2, 3, 16):
        public = ec.derive_private_key(secret, CURVES[curve]).public_key().public_numbers()
        assert ec_weakness(curve, public.x) == "no_secret", secret


@pytest.mark.parametrize("curve", ORDERS)
def test_the_negative_of_a_small_multiple_is_none_either(curve: str) -> None:
    """The group order less one has the base point's own x."""
    secret = ORDERS[curve] - 1
    public = ec.derive_private_key(secret, CURVES[curve]).public_key().public_numbers()
    assert ec_weakness(curve, public.x) == "no_secret"
    other = ec.derive_private_key(secret - 16, CURVES[curve]).public_key().public_numbers()
    assert ec_weakness(curve, other.x) is None


def test_a_base_point_as_a_key_is_skipped() -> None:
    """`load_key` asks about curves too."""
    numbers = ec.derive_private_key(1, ec.SECP256R1()).public_key().public_numbers()
    member = jwk("ES256", x=b64(numbers.x.to_bytes(32)), y=b64(numbers.y.to_bytes(32)))
    assert load_key(member, ASYMMETRIC_ALGORITHMS) == Skipped("no_secret", alarming=True)


def ed25519_point(y: int, sign: int) -> bytes:
    """Return an encoding, canonical or not (RFC 8032 section 5.1.2)."""
    return (y | sign << 255).to_bytes(32, "little")


def ed448_point(y: int, sign: int) -> bytes:
    """Return an encoding, canonical or not (RFC 8032 section 5.2.2)."""
    return (y | sign << 455).to_bytes(57, "little")


ORDER_8 = [
    int.from_bytes(bytes.fromhex(text), "little")
    for text in (
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
]
SMALL_ORDER = {
    "Ed25519": [ed25519_point(y, s) for y in (0, 1, P25519 - 1, *ORDER_8) for s in (0, 1)],
    "Ed448": [ed448_point(y, s) for y in (0, 1, P448 - 1) for s in (0, 1)],
}
NOT_CANONICAL = {
    "Ed25519": [ed25519_point(P25519 + y, s) for y in range(19) for s in (0, 1)],
    "Ed448": [
        *(ed448_point(P448 + y, s) for y in (0, 1, 2, 2**224) for s in (0, 1)),
        *(bytes(56) + bytes([byte]) for byte in (1, 0x7F, 0xFF)),
    ],
}


@pytest.mark.parametrize("curve", SMALL_ORDER)
def test_a_point_of_small_order_is_no_public_key(curve: str, subtests: pytest.Subtests) -> None:
    """Some messages verify under a signature of zeros, and anyone can look for one."""
    for point in SMALL_ORDER[curve]:
        with subtests.test(point=point.hex()):
            assert edwards_weakness(curve, point) == "no_secret"
            member = jwk("Ed448" if curve == "Ed448" else "EdDSA", x=b64(point))
            assert load_key(member, frozenset({"EdDSA"})) == Skipped("no_secret", alarming=True)


def test_a_signature_under_the_neutral_point_needs_no_secret() -> None:
    """The library alone takes zeros for a signature of any text."""
    public = ed25519.Ed25519PublicKey.from_public_bytes(ed25519_point(1, 0))
    for text in (b"one", b"two", b"three"):
        public.verify(ed25519_point(1, 0) + bytes(32), text)


@pytest.mark.parametrize("curve", NOT_CANONICAL)
def test_an_encoding_that_is_not_canonical_is_no_public_key(
    curve: str, subtests: pytest.Subtests
) -> None:
    """Each point has one encoding, so that no small one hides behind another."""
    for point in NOT_CANONICAL[curve]:
        with subtests.test(point=point.hex()):
            assert edwards_weakness(curve, point) == "material"


@pytest.mark.parametrize("torsion", [False, True])
def test_a_small_multiple_of_an_edwards_base_point_is_no_public_key(*, torsion: bool) -> None:
    """Also with a point of order 2 added, which turns both coordinates around."""
    d = -121665 * pow(121666, -1, P25519)
    base = (
        15112221349535400772501151409588531511454012693041857206046113283949847762202,
        46316835694926478169428394003475163141307993866256225615783033603165251855960,
    )
    x, y = 0, 1
    for multiple in range(1, 17):
        product = d * x * y * base[0] * base[1]
        x, y = (
            (x * base[1] + y * base[0]) * pow(1 + product, -1, P25519) % P25519,
            (y * base[1] + x * base[0]) * pow(1 - product, -1, P25519) % P25519,
        )
        point = (-x % P25519, -y % P25519) if torsion else (x, y)
        weakness = edwards_weakness("Ed25519", ed25519_point(point[1], point[0] & 1))
        assert weakness == "no_secret", multiple


def test_the_base_point_of_ed448_is_no_public_key() -> None:
    """Its private key is 1 (RFC 8032 section 5.2)."""
    y = int(
        "298819210078481492676017930443930673437544040154080242095928241372331506189835876003536"
        "878655418784733982303233503462500531545062832660"
    )
    assert edwards_weakness("Ed448", ed448_point(y, 0)) == "no_secret"


@pytest.mark.parametrize("curve", ["Ed25519", "Ed448"])
def test_what_is_not_on_the_curve_is_no_public_key(curve: str) -> None:
    """About half of all numbers are no y coordinate."""
    point = ed25519_point if curve == "Ed25519" else ed448_point
    found = [edwards_weakness(curve, point(y, 0)) for y in range(2, 40)]
    assert set(found) == {"material", None}
    assert 10 <= found.count("material") <= 30


@pytest.mark.parametrize("family", ["EdDSA", "Ed448", "ES256", "ES384", "ES512", "ES256K"])
def test_honest_keys_pass(family: str) -> None:
    """Whatever the curve."""
    for number in range(8):
        loaded = load_key(jwk(family, number=number), ASYMMETRIC_ALGORITHMS)
        assert isinstance(loaded, VerificationKey)

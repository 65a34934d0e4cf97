"""The key policy: what a published key must be like, and that one bad key harms no other."""

from dataclasses import FrozenInstanceError, replace
from math import gcd, prod
from typing import Any

import pytest

from fastapi_stepup.testing import REMOVE
from fastapi_stepup.tokens.jwk import (
    MAX_KEYS,
    Skipped,
    VerificationKey,
    load_key,
    load_keys,
)
from fastapi_stepup.tokens.jws import ASYMMETRIC_ALGORITHMS, CompactJWS, JWSParser
from tests.support.token_factory import CURVES, b64, header, jwk, make_token, private_key

RS256 = frozenset({"RS256"})
SMALL_FACTORS = prod(range(2, 5000))
FAMILIES = (*sorted(ASYMMETRIC_ALGORITHMS), "Ed448")


def skipped(member: Any, algorithms: frozenset[str] = RS256) -> str | None:
    """Return why *member* is skipped, or `None` if it is used."""
    loaded = load_key(member, algorithms)
    return loaded.reason if isinstance(loaded, Skipped) else None


def rsa_jwk(modulus: int) -> dict[str, Any]:
    """Return an RSA JWK with this modulus, whatever it is."""
    return jwk(n=b64(as_bytes(modulus)))


def as_bytes(number: int) -> bytes:
    """Return *number* in as few bytes as it takes, one at least."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8))


def of_bits(bits: int) -> int:
    """Return a number of that many bits without small factors, as if it were of two large ones."""
    number = (1 << (bits - 1)) + 1
    while gcd(number, SMALL_FACTORS) > 1:
        number += 2
    return number


def parsed(token: str, *algorithms: str) -> CompactJWS:
    """Return *token* taken apart."""
    return JWSParser(algorithms or ("RS256",)).parse(token)


@pytest.mark.parametrize("alg", FAMILIES)
def test_every_algorithm_verifies_with_its_own_key(alg: str) -> None:
    """A real signature passes, and no other one does: other text, other key, cut or extended."""
    name = "EdDSA" if alg == "Ed448" else alg
    key = load_key(jwk(alg), frozenset({name}))
    assert isinstance(key, VerificationKey)
    token = make_token(alg=name, key=private_key(alg))
    jws = parsed(token, name)
    assert key.verifies(jws)

    good = jws.signature
    for bad in (
        good[:-1],
        good + b"\0",
        b"\0" + good,
        bytes(len(good)),
        b"",
        good[::-1],
        b"x" * 9000,
    ):
        assert not key.verifies(replace(jws, signature=bad))
    assert not key.verifies(replace(jws, signing_input=jws.signing_input + b"x"))


@pytest.mark.parametrize("alg", [pytest.param(a, id=f"psychic-{a}") for a in CURVES])
def test_ecdsa_refuses_degenerate_signatures(alg: str) -> None:
    """CVE-2022-21449: zero, the group order and all ones are no signature, nor is DER one."""
    key = load_key(jwk(alg), frozenset({alg}))
    assert isinstance(key, VerificationKey)
    jws = parsed(make_token(alg=alg), alg)
    size = len(jws.signature) // 2
    order = CURVES[alg].group_order.to_bytes(size)

    for r in (bytes(size), order, b"\xff" * size, (1).to_bytes(size)):
        for s in (bytes(size), order, b"\xff" * size):
            assert not key.verifies(replace(jws, signature=r + s))
    assert not key.verifies(replace(jws, signature=bytes.fromhex("3006020101020101")))


def test_a_key_verifies_its_own_algorithm_only() -> None:
    """RFC 8725 section 3.1: a PS256 signature by the same pair does not pass an RS256 key."""
    both = frozenset({"RS256", "PS256"})
    keys, _ = load_keys([jwk("RS256"), jwk("PS256", kid="k2")], both)

    rs256, ps256 = (parsed(make_token(alg=alg), *both) for alg in ("RS256", "PS256"))
    assert keys["k1"].verifies(rs256)
    assert not keys["k1"].verifies(ps256)
    assert keys["k2"].verifies(ps256)
    assert not keys["k2"].verifies(rs256)


def test_whatever_a_signature_does_to_the_library_is_no_proof() -> None:
    """A key object that blows up in any way verifies nothing."""
    key = load_key(jwk(), RS256)
    assert isinstance(key, VerificationKey)
    jws = parsed(make_token())
    nothing = replace(jws, signature=None)  # type: ignore[arg-type]

    assert not key.verifies(nothing)


@pytest.mark.parametrize("member", [jwk(), jwk(use="enc")])
def test_what_is_loaded_cannot_be_changed(member: dict[str, Any]) -> None:
    """A key and a reason are values: many requests share one."""
    loaded = load_key(member, RS256)
    name = "alg" if isinstance(loaded, VerificationKey) else "reason"
    with pytest.raises(FrozenInstanceError):
        setattr(loaded, name, "other")


def test_a_form_that_is_wrong_is_no_alarm_and_checks_go_to_the_library_directly() -> None:
    """Only keys that should never be published are; PyJWT's own way costs more for each token."""
    assert MAX_KEYS == 64
    assert load_key(jwk(n="="), RS256) == Skipped("material")
    for alg, length in (("RS256", 2), ("PS256", 2), ("ES256", 1), ("EdDSA", 0)):
        key = load_key(jwk(alg), frozenset({alg}))
        assert isinstance(key, VerificationKey)
        assert len(key.scheme) == length


def test_representations_hold_no_key_material() -> None:
    """OB-005: neither the key nor a skipped one shows more than its kind."""
    key = load_key(jwk(), RS256)

    assert repr(key) == "VerificationKey(alg=RS256)"
    assert jwk()["n"] not in repr(load_key(jwk(use="enc"), RS256))


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        pytest.param("use", [REMOVE, "sig"], None, id="JW-046-passes"),
        pytest.param("use", ["enc", "", "SIG", 1, None, ["sig"]], "use", id="JW-046"),
        pytest.param("key_ops", [["verify"], ["sign", "verify"]], None, id="JW-047-passes"),
        pytest.param(
            "key_ops",
            [["encrypt"], ["sign"], [], ["verify", "verify"], ["verify", "sign", "sign"]],
            "use",
            id="JW-047-operations",
        ),
        pytest.param(
            "key_ops",
            ["verify", None, ["verify", 1], [["verify"], "verify"], {"verify": 1}],
            "use",
            id="JW-047-other-types",
        ),
        pytest.param("kid", ["k" * 256], None, id="JW-059-longest"),
        pytest.param("kid", [REMOVE, None, 1, "", ["k1"]], "kid", id="JW-059-no-text"),
        pytest.param(
            "kid",
            ["k" * 257, "k1\n", "k 1", "k\u00e9", "ke\u0301", "\uff4b1"],
            "kid",
            id="JW-059-characters",
        ),
        pytest.param(
            "kty",
            ["AKP", "foo", "rsa", "EC", "OKP", REMOVE, None, ["RSA"], {}, 1],
            "algorithm",
            id="JW-057",
        ),
        pytest.param("alg", [REMOVE], None, id="one-algorithm-fits"),
        pytest.param(
            "alg",
            ["none", "RS384", "ES256", "HS256", "RSA-OAEP", "rs256", ""],
            "algorithm",
            id="JW-054-others",
        ),
        pytest.param("alg", [["RS256"], None, 256, {}], "algorithm", id="JW-054-other-types"),
        pytest.param("x5c", [["!not a certificate"]], None, id="JW-062"),
        pytest.param("unknown", [{"a": [1]}], None, id="unknown-member"),
        pytest.param(
            "n",
            [
                jwk()["n"] + "==",
                "+" + jwk()["n"][1:],
                jwk()["n"] + "\n",
                " " + jwk()["n"],
                "\uff21" + jwk()["n"],
                "\ud800" + jwk()["n"],
                b64(b"\0" + as_bytes(of_bits(2048))),
            ],
            "material",
            id="JW-061-spelling",
        ),
        pytest.param("n", ["", 5, None, REMOVE, [jwk()["n"]]], "material", id="JW-061-no-text"),
        pytest.param(
            "e",
            ["AQAB==", b64(b"\0\1\0\1"), "AA", "", 65537, REMOVE],
            "material",
            id="JW-061-exponent",
        ),
    ],
)
def test_rsa_keys(
    name: str, values: list[Any], expected: str | None, subtests: pytest.Subtests
) -> None:
    """Each rule for RS256, its neighbours included."""
    for value in values:
        with subtests.test(value=value):
            assert skipped(jwk(**{name: value})) == expected


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([8, 512, 1024, 2047], "rsa_size", id="JW-050"),
        pytest.param([8193, 16_384, 20_000, 400_000], "rsa_size", id="JW-051"),
        pytest.param([2048, 3072, 8192], None, id="fits"),
    ],
)
def test_sizes_of_rsa_keys(
    sizes: list[int], expected: str | None, subtests: pytest.Subtests
) -> None:
    """From 2048 to 8192 bits; `test_weak_keys.py` has the rest."""
    for bits in sizes:
        with subtests.test(bits=bits):
            assert skipped(rsa_jwk(of_bits(bits))) == expected


def test_private_members_are_never_used(subtests: pytest.Subtests) -> None:
    """JW-049: whatever is in them."""
    for name in ("d", "p", "q", "dp", "dq", "qi", "oth", "k"):
        for value in ("AQAB", None):
            with subtests.test(name, value=value):
                assert skipped(jwk(**dict[str, Any]({name: value}))) == "private_members"


def test_an_octet_key_is_none() -> None:
    """JW-045, JW-062: neither a symmetric key is used, nor one in a certificate alone."""
    octets = {"kty": "oct", "k": "AAAA", "kid": "k1", "alg": "HS256"}
    assert skipped(octets) == "private_members"
    assert skipped({"kty": "oct", "kid": "k1", "alg": "HS256"}) == "algorithm"
    assert skipped(jwk(n=REMOVE, e=REMOVE, x5c=["MIIB"])) == "material"


def test_a_key_without_algorithm_needs_one_that_fits() -> None:
    """Where two would do, it is unclear which one the key is for."""
    assert skipped(jwk(alg=REMOVE), frozenset({"RS256", "ES256", "EdDSA"})) is None
    assert skipped(jwk(alg=REMOVE), frozenset({"RS256", "PS256"})) == "algorithm"
    assert skipped(jwk(alg=None), RS256) == "algorithm"
    assert skipped(jwk("EdDSA", alg=REMOVE), RS256) == "algorithm"


@pytest.mark.parametrize(
    "alg", [pytest.param(a, id=f"without-alg-{a}") for a in (*CURVES, "EdDSA", "Ed448")]
)
def test_curve_names_the_algorithm(alg: str) -> None:
    """An EC or OKP key without `alg` is for the algorithm of its curve, and for no other."""
    every = ASYMMETRIC_ALGORITHMS
    loaded = load_key(jwk(alg, alg=REMOVE), every)

    assert isinstance(loaded, VerificationKey)
    assert loaded.alg == ("EdDSA" if alg == "Ed448" else alg)
    assert skipped(jwk(alg, alg="RS256"), every) == "algorithm"


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
def test_curves_that_no_algorithm_has(alg: str, subtests: pytest.Subtests) -> None:
    """Other names, other spellings and what is no name."""
    names: tuple[Any, ...] = ("P-256K", "", None, REMOVE, 5, ["P-256"], {}, "X25519", "p-256")
    for crv in names:
        with subtests.test(crv=crv):
            assert skipped(jwk(alg, crv=crv), ASYMMETRIC_ALGORITHMS) == "algorithm"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param(
            {
                "P-384 with ES256": jwk("ES384", alg="ES256"),
                "OKP curve as EC": jwk("EdDSA", kty="EC"),
            },
            "algorithm",
            id="JW-054",
        ),
        pytest.param(
            {
                "wrong curve": jwk("ES256", crv="P-384", alg="ES384"),
                "twin curve": jwk("ES256", crv="secp256k1", alg="ES256K"),
                "as RSA": jwk("ES256", kty="RSA", alg="RS256"),
                "x too long": jwk("ES256", x=b64(b"\1" * 33)),
                "x too short": jwk("ES256", x=b64(b"\1" * 31)),
                "x with a zero in front": jwk("ES256", x=b64(b"\0" + b"\1" * 32)),
                "x padded": jwk("ES256", x=jwk("ES256")["x"] + "="),
                "off the curve": jwk("ES256", x=b64(b"\1" * 32)),
                "infinity": jwk("ES256", x=b64(bytes(32)), y=b64(bytes(32))),
                "beyond the field": jwk("ES256", x=b64(b"\xff" * 32)),
                "no y": jwk("ES256", y=REMOVE),
                "number": jwk("ES256", y=5),
            },
            "material",
            id="JW-055",
        ),
        pytest.param(
            {
                "short": jwk("EdDSA", x=b64(b"\1" * 31)),
                "Ed25519 as Ed448": jwk("EdDSA", crv="Ed448"),
                "Ed448 as Ed25519": jwk("Ed448", crv="Ed25519"),
                "null": jwk("EdDSA", x=None),
            },
            "material",
            id="edwards",
        ),
        pytest.param({"private": jwk("ES256", d="AQAB")}, "private_members", id="private"),
    ],
)
def test_curve_keys(
    members: dict[str, dict[str, Any]], expected: str, subtests: pytest.Subtests
) -> None:
    """Coordinates have exactly the size of the curve, and the point is on it."""
    for name, member in members.items():
        with subtests.test(name):
            assert skipped(member, ASYMMETRIC_ALGORITHMS) == expected


def test_members_that_are_no_objects(subtests: pytest.Subtests) -> None:
    """JW-057, JW-058: skipped, and the others survive."""
    no_objects: list[Any] = [None, "RSA", 7, [], [["kty", "RSA"]], True, 1.5]
    for member in no_objects:
        with subtests.test(member=member):
            keys, reasons = load_keys([member, {}, jwk(), {"kty": "foo", "kid": "k9"}], RS256)
            assert list(keys) == ["k1"]
            assert [skip.reason for skip in reasons] == ["not_an_object", "kid", "algorithm"]


def test_one_name_for_two_keys_names_none() -> None:
    """JW-042: it is unclear which is meant; others are fine, however often it is repeated."""
    twice = [jwk(), jwk(number=1), jwk(kid="k2")]
    keys, reasons = load_keys([*twice, jwk(), jwk(number=1)], RS256)

    assert list(keys) == ["k2"]
    assert reasons == [Skipped("duplicate_kid", alarming=True)]


def test_the_same_key_twice_is_one() -> None:
    """JW-043: also when the copies differ in what does not matter."""
    keys, reasons = load_keys([jwk(), jwk(), jwk(alg=REMOVE, x5t="x")], RS256)

    assert list(keys) == ["k1"]
    assert not reasons


def test_a_name_shared_with_an_unusable_key_is_no_conflict() -> None:
    """An encryption key under the same `kid` is not a candidate (RFC 7517 section 4.5)."""
    keys, reasons = load_keys([jwk(number=1, use="enc"), jwk()], RS256)

    assert keys["k1"].verifies(parsed(make_token()))
    assert [skip.reason for skip in reasons] == ["use"]


def test_similar_names_are_different() -> None:
    """JW-059: names are compared character by character."""
    keys, _ = load_keys([jwk(kid="K1"), jwk(kid="k1", number=1)], RS256)

    assert set(keys) == {"K1", "k1"}


def test_the_header_algorithm_does_not_choose_the_key() -> None:
    """TV-013: an ES256 signature under a kid that names an RSA key does not pass."""
    keys, _ = load_keys([jwk()], ASYMMETRIC_ALGORITHMS)
    token = make_token(head=header("ES256"), alg="ES256")

    assert not keys["k1"].verifies(parsed(token, "RS256", "ES256"))

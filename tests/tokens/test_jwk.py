"""The key policy: what a published key must be like, and that one bad key harms no other."""

import json
from dataclasses import FrozenInstanceError, replace
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
FAMILIES = (*sorted(ASYMMETRIC_ALGORITHMS), "Ed448")


def skipped(member: Any, algorithms: frozenset[str] = RS256) -> str | None:
    """Return why *member* is skipped, or `None` if it is used."""
    loaded = load_key(member, algorithms)
    return loaded.reason if isinstance(loaded, Skipped) else None


def rsa_jwk(modulus: int, exponent: int = 65537) -> dict[str, Any]:
    """Return an RSA JWK with these numbers, whatever they are."""
    return jwk(n=b64(as_bytes(modulus)), e=b64(as_bytes(exponent)))


def as_bytes(number: int) -> bytes:
    """Return *number* in as few bytes as it takes, one at least."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8))


def of_bits(bits: int) -> int:
    """Return a number of that many bits without small factors, as if it were of two large ones."""
    number = (1 << (bits - 1)) + 1
    while any(number % divisor == 0 for divisor in range(2, 5000)):
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
    ("member", "expected"),
    [
        pytest.param(jwk(), None, id="good"),
        pytest.param(jwk(use=REMOVE), None, id="JW-046-absent-use"),
        pytest.param(jwk(use="enc"), "use", id="JW-046-enc"),
        pytest.param(jwk(use=1), "use", id="JW-046-number"),
        pytest.param(jwk(use=""), "use", id="JW-046-empty"),
        pytest.param(jwk(use=None), "use", id="JW-046-null"),
        pytest.param(jwk(use=["sig"]), "use", id="JW-046-list"),
        pytest.param(jwk(use="SIG"), "use", id="JW-046-case"),
        pytest.param(jwk(key_ops=["verify"]), None, id="JW-047-verify"),
        pytest.param(jwk(key_ops=["sign", "verify"]), None, id="JW-047-sign-and-verify"),
        pytest.param(jwk(key_ops=["encrypt"]), "use", id="JW-047-encrypt"),
        pytest.param(jwk(key_ops=["sign"]), "use", id="JW-047-sign"),
        pytest.param(jwk(key_ops=["verify", "verify"]), "use", id="JW-047-twice"),
        pytest.param(jwk(key_ops=["verify", "sign", "sign"]), "use", id="JW-047-other-twice"),
        pytest.param(jwk(key_ops="verify"), "use", id="JW-047-text"),
        pytest.param(jwk(key_ops=[]), "use", id="JW-047-empty"),
        pytest.param(jwk(key_ops=None), "use", id="JW-047-null"),
        pytest.param(jwk(key_ops=["verify", 1]), "use", id="JW-047-number"),
        pytest.param(jwk(key_ops=[["verify"], "verify"]), "use", id="JW-047-nested"),
        pytest.param(jwk(key_ops={"verify": 1}), "use", id="JW-047-dict"),
        *(
            pytest.param(
                jwk(**dict[str, Any]({name: "AQAB"})), "private_members", id=f"JW-049-{name}"
            )
            for name in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
        ),
        pytest.param(jwk(d=None), "private_members", id="JW-049-null"),
        pytest.param(
            {"kty": "oct", "k": "AAAA", "kid": "k1", "alg": "HS256"},
            "private_members",
            id="JW-045-oct",
        ),
        pytest.param(
            {"kty": "oct", "kid": "k1", "alg": "HS256"}, "algorithm", id="JW-045-empty-oct"
        ),
        *(
            pytest.param(jwk(kid=kid), "kid", id=f"JW-059-{name}")
            for name, kid in (
                ("missing", REMOVE),
                ("null", None),
                ("number", 1),
                ("empty", ""),
                ("list", ["k1"]),
                ("10-kb", "k" * 10_240),
                ("257", "k" * 257),
                ("newline", "k1\n"),
                ("space", "k 1"),
                ("composed", "k\u00e9"),
                ("decomposed", "ke\u0301"),
                ("full-width", "\uff4b1"),
            )
        ),
        pytest.param(jwk(kid="k" * 256), None, id="JW-059-256"),
        *(
            pytest.param(jwk(kty=kty), "algorithm", id=f"JW-057-{name}")
            for name, kty in (
                ("missing", REMOVE),
                ("null", None),
                ("list", ["RSA"]),
                ("dict", {}),
                ("akp", "AKP"),
                ("foo", "foo"),
                ("case", "rsa"),
                ("number", 1),
                ("ec", "EC"),
                ("okp", "OKP"),
            )
        ),
        *(
            pytest.param(jwk(alg=alg), "algorithm", id=f"JW-054-{name}")
            for name, alg in (
                ("none", "none"),
                ("list", ["RS256"]),
                ("null-is-absent", "RS384"),
                ("es256", "ES256"),
                ("hs256", "HS256"),
                ("rsa-oaep", "RSA-OAEP"),
                ("case", "rs256"),
                ("empty", ""),
                ("number", 256),
                ("dict", {}),
            )
        ),
        pytest.param(jwk(alg=REMOVE), None, id="one-algorithm-fits"),
        pytest.param(jwk(x5c=["!not a certificate"], x5t="x", x5u="file:///x"), None, id="JW-062"),
        pytest.param(jwk(n=REMOVE, e=REMOVE, x5c=["MIIB"]), "material", id="JW-062-x5c-alone"),
        pytest.param(jwk(unknown={"a": [1]}), None, id="unknown-member"),
        *(
            pytest.param(jwk(n=n), "material", id=f"JW-061-{name}")
            for name, n in (
                ("padding", jwk()["n"] + "=="),
                ("plus", "+" + jwk()["n"][1:]),
                ("newline", jwk()["n"] + "\n"),
                ("space", " " + jwk()["n"]),
                ("zero-bytes", b64(b"\0" + as_bytes(of_bits(2048)))),
                ("empty", ""),
                ("number", 5),
                ("null", None),
                ("missing", REMOVE),
                ("list", [jwk()["n"]]),
                ("non-ascii", "\uff21" + jwk()["n"]),
                ("lone-surrogate", "\ud800" + jwk()["n"]),
            )
        ),
        *(
            pytest.param(jwk(e=e), "material", id=f"JW-061-e-{name}")
            for name, e in (
                ("padding", "AQAB=="),
                ("zero-bytes", b64(b"\0\1\0\1")),
                ("zero", "AA"),
                ("empty", ""),
                ("number", 65537),
                ("missing", REMOVE),
            )
        ),
        *(
            pytest.param(rsa_jwk(of_bits(bits)), "rsa_size", id=f"JW-050-{bits}")
            for bits in (8, 512, 1024, 2047)
        ),
        *(
            pytest.param(rsa_jwk(of_bits(bits)), "rsa_size", id=f"JW-051-{bits}")
            for bits in (8193, 16_384, 20_000, 400_000)
        ),
        *(
            pytest.param(rsa_jwk(of_bits(bits)), None, id=f"JW-050-{bits}-fits")
            for bits in (2048, 3072, 8192)
        ),
        *(
            pytest.param(rsa_jwk(of_bits(2048), e), None, id=f"exponent-{e}-fits")
            for e in (3, 17, 2**32 - 1)
        ),
        pytest.param(rsa_jwk(of_bits(2048) + 1), "no_secret", id="even-modulus"),
    ],
)
def test_rsa_keys(member: dict[str, Any], expected: str | None) -> None:
    """Each rule for RS256, its neighbours included."""
    assert skipped(member) == expected


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
    names: tuple[Any, ...] = ("P-256K", "", None, REMOVE, 5, ["P-256"], {}, "X25519", "p-256")
    for crv in names:
        assert skipped(jwk(alg, crv=crv), every) == "algorithm"


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        pytest.param(jwk("ES384", alg="ES256"), "algorithm", id="JW-054-p384-with-es256"),
        pytest.param(jwk("ES256", crv="P-384", alg="ES384"), "material", id="JW-055-wrong-curve"),
        pytest.param(
            jwk("ES256", crv="secp256k1", alg="ES256K"), "material", id="JW-055-twin-curve"
        ),
        pytest.param(jwk("ES256", x=b64(b"\1" * 33)), "material", id="JW-055-x-too-long"),
        pytest.param(jwk("ES256", x=b64(b"\1" * 31)), "material", id="JW-055-x-too-short"),
        pytest.param(jwk("ES256", x=b64(b"\1" * 32)), "material", id="JW-055-off-curve"),
        pytest.param(
            jwk("ES256", x=b64(bytes(32)), y=b64(bytes(32))), "material", id="JW-055-infinity"
        ),
        pytest.param(jwk("ES256", x=b64(b"\xff" * 32)), "material", id="JW-055-beyond-field"),
        pytest.param(jwk("ES256", x=b64(b"\0" + b"\1" * 32)), "material", id="JW-055-leading-zero"),
        pytest.param(jwk("ES256", y=REMOVE), "material", id="no-y"),
        pytest.param(jwk("ES256", y=5), "material", id="number-y"),
        pytest.param(jwk("ES256", x=jwk("ES256")["x"] + "="), "material", id="padded-x"),
        pytest.param(jwk("EdDSA", x=b64(b"\1" * 31)), "material", id="ed25519-short"),
        pytest.param(jwk("EdDSA", crv="Ed448"), "material", id="ed25519-as-ed448"),
        pytest.param(jwk("Ed448", crv="Ed25519"), "material", id="ed448-as-ed25519"),
        pytest.param(jwk("EdDSA", x=None), "material", id="ed25519-null"),
        pytest.param(jwk("EdDSA", kty="EC"), "algorithm", id="okp-as-ec"),
        pytest.param(jwk("ES256", kty="RSA", alg="RS256"), "material", id="ec-as-rsa"),
        pytest.param(jwk("ES256", d="AQAB"), "private_members", id="ec-private"),
    ],
)
def test_curve_keys(member: dict[str, Any], expected: str) -> None:
    """Coordinates have exactly the size of the curve, and the point is on it."""
    assert skipped(member, ASYMMETRIC_ALGORITHMS) == expected


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(member, id=f"JW-058-{json.dumps(member)}")
        for member in (None, "RSA", 7, [], [["kty", "RSA"]], True, 1.5)
    ],
)
def test_members_that_are_no_objects(member: Any) -> None:
    """JW-057, JW-058: skipped, and the others survive."""
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

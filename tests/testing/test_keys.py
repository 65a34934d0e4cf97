"""Signing keys, the key ring and hostile signing."""

import gc

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fastapi_stepup.testing import REMOVE, DescopeEmulator, SigningKey
from fastapi_stepup.testing.keys import KeyRing, compact_jws


def test_living_keys_share_nothing() -> None:
    """Two signing keys that live at once have different pairs and ids."""
    first, second = SigningKey(), SigningKey()
    assert first.jwk["n"] != second.jwk["n"]
    assert first.kid != second.kid
    assert len(first.kid) == 29


def test_pair_of_a_dead_key_is_used_again_under_another_id() -> None:
    """A test run does not pay for a new pair per test, and old tokens still name an unknown key."""
    gc.collect()
    key = SigningKey()
    modulus, kid = key.jwk["n"], key.kid
    del key
    later = SigningKey()
    assert modulus == later.jwk["n"]
    assert kid != later.kid


def test_emulators_do_not_trust_each_other() -> None:
    """A token of one emulator names a key that the other does not have, dead or alive."""
    first, second = DescopeEmulator(), DescopeEmulator()
    kid = jwt.get_unverified_header(first.token())["kid"]
    del first
    gc.collect()
    assert kid != second.signing_key.kid


def test_signing_key_shows_only_its_id() -> None:
    """The `repr` of a key is its id."""
    key = SigningKey()
    assert repr(key) == f"SigningKey(kid={key.kid!r})"


def test_rotation_keeps_twelve_earlier_keys() -> None:
    """The thirteenth rotation drops the first key."""
    ring = KeyRing()
    first = ring.current
    for _ in range(12):
        ring.rotate()
    assert ring.holds(first)
    assert len(ring.jwks()) == 13
    ring.rotate()
    assert not ring.holds(first)
    assert len(ring.jwks()) == 13


def test_revocation_leaves_the_new_key_only() -> None:
    """Every earlier key is gone."""
    ring = KeyRing()
    first = ring.current
    latest = ring.revoke()
    assert not ring.holds(first)
    assert [latest.jwk] == ring.jwks()
    with pytest.raises(LookupError):
        ring.find(first.kid)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        pytest.param("RS512", SigningKey(), id="RS512"),
        pytest.param("PS256", rsa.generate_private_key(65537, 2048), id="PS256"),
        pytest.param("ES256", ec.generate_private_key(ec.SECP256R1()), id="ES256"),
        pytest.param("EdDSA", ed25519.Ed25519PrivateKey.generate(), id="EdDSA"),
        pytest.param("HS256", b"a secret of thirty-two characters", id="HS256"),
    ],
)
def test_token_is_signed_by_the_algorithm_it_names(
    algorithm: str, key: SigningKey | rsa.RSAPrivateKey | bytes
) -> None:
    """A hostile token is a correct token of another algorithm."""
    token = compact_jws({"alg": algorithm}, {"sub": "ann"}, key)
    if isinstance(key, SigningKey):
        verifier: object = key.public_pem
    else:
        verifier = key if isinstance(key, bytes) else key.public_key()
    assert jwt.decode(token, verifier, algorithms=[algorithm]) == {"sub": "ann"}  # type: ignore[arg-type]


def test_unsigned_token_has_an_empty_signature() -> None:
    """`none` is what RFC 7518 section 3.6 says: no signature."""
    emulator = DescopeEmulator()
    token = emulator.token(header={"alg": "none"})
    assert token.endswith(".")
    assert jwt.get_unverified_header(token)["alg"] == "none"


def test_public_key_poses_as_a_secret() -> None:
    """HS256 without a key is the algorithm confusion attack."""
    emulator = DescopeEmulator()
    token = emulator.token(header={"alg": "HS256"})
    secret = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    message, _, signature = token.rpartition(".")
    decoded = jwt.utils.base64url_decode(signature)
    assert secret.verify(message.encode(), emulator.signing_key.public_pem, decoded)


@pytest.mark.parametrize("header", [{"alg": "RS999"}, {"alg": 256}, {"alg": REMOVE}])
def test_unknown_algorithm_is_signed_as_rs256(header: dict[str, object]) -> None:
    """A header that names no known algorithm says so over a signature that would verify."""
    emulator = DescopeEmulator()
    message, _, signature = emulator.token(header=header).rpartition(".")
    key = jwt.PyJWK(emulator.signing_key.jwk).key
    algorithm = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256)
    assert algorithm.verify(message.encode(), key, jwt.utils.base64url_decode(signature))


def test_key_must_fit_the_algorithm() -> None:
    """An RSA key cannot sign ES256."""
    emulator = DescopeEmulator()
    with pytest.raises(TypeError):
        emulator.token(header={"alg": "ES256"})

"""Signing keys, their key set with rotation, and compact JWS signing, valid or hostile."""

import base64
import json
import secrets
import string
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, Literal, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key as generate_curve_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from jwt.algorithms import get_default_algorithms

# Descope refuses a key that is more than twelve rotations old.
_KEPT_ROTATIONS: Final = 12
_ALGORITHMS: Final = get_default_algorithms()
# Key pairs of collected signing keys, for reuse: making one takes 50 ms and a test run makes
# hundreds of emulators.
_idle: Final[deque[RSAPrivateKey]] = deque()

_CURVES: Final = {"ES256": SECP256R1, "ES384": SECP384R1}

SigningAlgorithm: TypeAlias = Literal["RS256", "ES256", "ES384", "EdDSA"]
"""The algorithms that a `SigningKey` can be made for."""


class Removal(Enum):
    """The type of `REMOVE`."""

    REMOVE = "REMOVE"


REMOVE: Final = Removal.REMOVE
"""As the value of a claim or header parameter: leave it out. `None` is JSON `null`."""


def random_id(prefix: str) -> str:
    """Return *prefix* and 27 random characters, the form of every Descope id."""
    alphabet = string.ascii_letters + string.digits
    return prefix + "".join(secrets.choice(alphabet) for _ in range(27))


class SigningKey:
    """A key pair under a key id: RSA-2048, P-256, P-384 or Ed25519, as *algorithm* asks.

    No two living signing keys share a pair. A later key may reuse the RSA pair of a collected one
    under another `kid`; tokens of the first then name a `kid` that the later key set lacks.

    Args:
        algorithm: `RS256`, `ES256`, `ES384` or `EdDSA`.
        kid: The key id; by default a fresh one.
        private_pem: An RSA key pair, as `private_pem` gives it; by default a new pair.

    Raises:
        ValueError: *algorithm* is none of these, or *private_pem* is no RSA private key.
    """

    def __init__(
        self, algorithm: SigningAlgorithm = "RS256", *, kid: str = "", private_pem: str = ""
    ) -> None:
        self.kid: str = kid or random_id("SK")
        self.algorithm: SigningAlgorithm = algorithm
        self._pair: RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
        if private_pem:
            self._pair = _loaded(private_pem)
        elif algorithm == "RS256":
            try:
                self._pair = _idle.pop()
            except IndexError:
                self._pair = generate_private_key(public_exponent=65537, key_size=2048)
            weakref.finalize(self, _idle.append, self._pair).atexit = False
        elif algorithm in _CURVES:
            self._pair = generate_curve_key(_CURVES[algorithm]())
        elif algorithm == "EdDSA":
            self._pair = Ed25519PrivateKey.generate()
        else:
            raise ValueError("A signing key is for RS256, ES256, ES384 or EdDSA.")

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"

    @property
    def private_pem(self) -> str:
        """The private half, unencrypted, as PEM."""
        form = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        return self._pair.private_bytes(*form).decode()

    @property
    def jwk(self) -> dict[str, str]:
        """The public half as a member of a JWK set (RFC 7517 section 4)."""
        public = _ALGORITHMS[self.algorithm].to_jwk(self._pair.public_key(), as_dict=True)
        public.pop("key_ops", None)
        return {**public, "alg": self.algorithm, "kid": self.kid, "use": "sig"}

    @property
    def public_pem(self) -> bytes:
        """The public half as PEM, the classical "secret" of an algorithm confusion attack."""
        return self._pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _loaded(pem: str) -> RSAPrivateKey:
    pair = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(pair, RSAPrivateKey):
        raise ValueError("The key is no RSA private key.")  # noqa: TRY004 - a wrong value
    return pair


HostileKey: TypeAlias = (
    SigningKey | RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey | bytes
)
"""The keys that can sign a token; bytes are an HMAC secret."""


class KeyRing:
    """The signing keys of one issuer, newest first.

    The first key is generated when it is first needed.

    Attributes:
        algorithm: The algorithm of the keys that are generated from now on.
    """

    def __init__(self, algorithm: SigningAlgorithm = "RS256") -> None:
        self.algorithm: SigningAlgorithm = algorithm
        self._keys: list[SigningKey] = []

    @property
    def current(self) -> SigningKey:
        """The key that signs new tokens."""
        if not self._keys:
            self._keys.append(SigningKey(self.algorithm))
        return self._keys[0]

    def rotate(self) -> SigningKey:
        """Sign with a new key from now on; keep the last twelve valid."""
        self._keys = [SigningKey(self.algorithm), self.current, *self._keys[1:]][
            : _KEPT_ROTATIONS + 1
        ]
        return self.current

    def revoke(self) -> SigningKey:
        """Sign with a new key from now on; drop all others."""
        self._keys = [SigningKey(self.algorithm)]
        return self.current

    def every(self) -> list[SigningKey]:
        """Return the valid keys, the current one first."""
        return [self.current, *self._keys[1:]]

    def replace(self, keys: Sequence[SigningKey]) -> None:
        """Take other keys, the current one first."""
        self._keys = list(keys)

    def find(self, kid: object) -> SigningKey:
        """Return the key *kid*.

        Raises:
            LookupError: It is unknown, or no longer valid.
        """
        for key in self._keys:
            if key.kid == kid:
                return key
        raise LookupError("no such key")

    def holds(self, key: SigningKey) -> bool:
        """Return whether tokens signed by *key* are still valid."""
        return key in self._keys

    def jwks(self) -> list[dict[str, str]]:
        """Return the public keys, the current one first."""
        return [key.jwk for key in self.every()]


def replaced(values: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Return *values* with *changes* made; `REMOVE` removes a member."""
    return {name: value for name, value in {**values, **changes}.items() if value is not REMOVE}


def compact_jws(header: Mapping[str, object], claims: Mapping[str, object], key: HostileKey) -> str:
    """Return *claims* as a compact JWS, for any header (RFC 7515 section 7.1).

    The signature is made by the algorithm that *header* names: empty for `none`, an HMAC for
    `HS256` and its like. Without a known algorithm in the header, RS256 is used.

    Raises:
        TypeError: *key* does not fit the algorithm.
    """
    signing_input = f"{_base64url(_json(header))}.{_base64url(_json(claims))}"
    named = header.get("alg")
    algorithm = named if isinstance(named, str) and named in _ALGORITHMS else "RS256"
    message = signing_input.encode()
    if isinstance(key, SigningKey):
        key = key.public_pem if algorithm.startswith("HS") else key._pair  # noqa: SLF001  # of this module
    signature: bytes = _ALGORITHMS[algorithm].sign(message, key)
    return f"{signing_input}.{_base64url(signature)}"


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

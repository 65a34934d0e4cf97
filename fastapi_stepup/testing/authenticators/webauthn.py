"""Verification of a passkey's answers (WebAuthn section 7), for ES256 and attestation "none".

Checks:
- the type, challenge and origin in the client data;
- the hash of the relying party's id, and user presence;
- the form of the public key;
- for an assertion, the signature and the sign count.

Does not check user verification, token binding, extensions or attestation.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.hashes import SHA256

from fastapi_stepup.testing.authenticators import cbor

ES256: Final = -7
USER_PRESENT: Final = 0x01
ATTESTED: Final = 0x40
_RP_ID_HASH = slice(0, 32)
_FLAGS = 32
_SIGN_COUNT = slice(33, 37)
_ID_LENGTH = slice(53, 55)
_ID_START = 55


@dataclass
class Passkey:
    """A passkey as the service knows it.

    Attributes:
        credential_id: The credential id, in base64url.
        public_key: The key that verifies its signatures.
        rp_id: The id of the relying party.
        sign_count: The last sign count that it sent.
    """

    credential_id: str
    public_key: EllipticCurvePublicKey = field(repr=False)
    rp_id: str
    sign_count: int


@dataclass(frozen=True, slots=True)
class Ceremony:
    """A registration or authentication ceremony: the values that an answer must name.

    Attributes:
        challenge: The challenge, in base64url.
        origin: The origin of the page.
        rp_id: The id of the relying party.
    """

    challenge: str = field(repr=False)
    origin: str
    rp_id: str

    def registered(self, answer: Mapping[str, Any]) -> Passkey:
        """Return the passkey that *answer* registers.

        Raises:
            ValueError: It is not an answer to this ceremony.
        """
        response = _response(answer)
        self._check_client_data(_bytes(response, "clientDataJSON"), "webauthn.create")
        attestation, _ = cbor.decoded(_bytes(response, "attestationObject"))
        data = attestation.get("authData") if isinstance(attestation, Mapping) else None
        if not isinstance(data, bytes) or not self._flags(data) & ATTESTED:
            raise ValueError("the answer brings no credential")
        length = int.from_bytes(data[_ID_LENGTH], "big")
        credential_id = data[_ID_START : _ID_START + length]
        key, _ = cbor.decoded(data[_ID_START + length :])
        return Passkey(base64url(credential_id), _public_key(key), self.rp_id, _sign_count(data))

    def verify(self, answer: Mapping[str, Any], passkey: Passkey) -> None:
        """Check that *answer* was made by *passkey*, and store its sign count.

        Raises:
            ValueError: It is not an answer to this ceremony by this passkey, or the passkey was
                cloned.
        """
        response = _response(answer)
        client_data = _bytes(response, "clientDataJSON")
        self._check_client_data(client_data, "webauthn.get")
        data = _bytes(response, "authenticatorData")
        self._flags(data)
        signed = data + hashlib.sha256(client_data).digest()
        try:
            passkey.public_key.verify(_bytes(response, "signature"), signed, ECDSA(SHA256()))
        except InvalidSignature:
            raise ValueError("the signature is not the passkey's") from None
        count = _sign_count(data)
        if (count or passkey.sign_count) and count <= passkey.sign_count:
            raise ValueError("the sign count went back: the passkey was cloned")
        passkey.sign_count = count

    def _check_client_data(self, data: bytes, kind: str) -> None:
        client_data = json.loads(data)
        expected = {"type": kind, "challenge": self.challenge, "origin": self.origin}
        if not isinstance(client_data, dict) or expected.items() - client_data.items():
            raise ValueError("the client data is for something else")

    def _flags(self, data: bytes) -> int:
        if data[_RP_ID_HASH] != hashlib.sha256(self.rp_id.encode()).digest():
            raise ValueError("the answer is for another relying party")
        if len(data) < _SIGN_COUNT.stop or not data[_FLAGS] & USER_PRESENT:
            raise ValueError("the user was not present")
        return data[_FLAGS]


def base64url(value: bytes) -> str:
    """Return *value* in base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Return the bytes of *text*, padded or not.

    Raises:
        ValueError: It is not base64url.
    """
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _response(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    response = answer.get("response")
    if not isinstance(response, Mapping):
        raise ValueError("the answer has no response")  # noqa: TRY004 - one kind of failure
    return response


def _bytes(response: Mapping[str, Any], name: str) -> bytes:
    value = response.get(name)
    if not isinstance(value, str):
        raise ValueError(f"the answer has no {name}")  # noqa: TRY004 - one kind of failure
    return from_base64url(value)


def _sign_count(data: bytes) -> int:
    return int.from_bytes(data[_SIGN_COUNT], "big")


def cose_key(key: EllipticCurvePublicKey) -> bytes:
    """Return an ES256 key in COSE form (RFC 9053 section 7.1.1)."""
    numbers = key.public_numbers()
    x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
    return cbor.encoded({1: 2, 3: ES256, -1: 1, -2: x, -3: y})


def _public_key(key: object) -> EllipticCurvePublicKey:
    if not isinstance(key, Mapping) or (key.get(1), key.get(3), key.get(-1)) != (2, ES256, 1):
        raise ValueError("the credential is not an ES256 key")
    x, y = key.get(-2), key.get(-3)
    if not isinstance(x, bytes) or not isinstance(y, bytes):
        raise ValueError("the credential has no point")  # noqa: TRY004 - one kind of failure
    point = EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), SECP256R1()
    )
    return point.public_key()

"""SoftwarePasskey: an authenticator for tests, without a browser."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256

from fastapi_stepup.testing.authenticators import cbor
from fastapi_stepup.testing.authenticators.webauthn import (
    ATTESTED,
    USER_PRESENT,
    base64url,
    cose_key,
    from_base64url,
)

_USER_VERIFIED: Final = 0x04
_ID_BYTES: Final = 32


@dataclass
class _Credential:
    rp_id: str
    user_handle: str
    credential_id: str = field(default_factory=lambda: base64url(secrets.token_bytes(_ID_BYTES)))
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))


class SoftwarePasskey:
    """A software authenticator together with its browser, for tests.

    It makes real ES256 keys and signatures with attestation "none". Its answers are those of
    `navigator.credentials`, as the JSON text that a server receives:

    ```python
    passkey = SoftwarePasskey("https://shop.example")
    answer = passkey.create(options)  # or passkey.get(options)
    ```

    *options* are those of Descope's `start` calls: a JSON text or decoded, with or without the
    member `publicKey` around them. One authenticator holds any number of credentials.

    Args:
        origin: The origin of the page that asks, such as `https://shop.example`.
        sign_count: The next answer has this count plus one. Lower it to simulate a clone.
        user_verified: Whether answers have the flag "user verified" (biometrics or PIN).
    """

    def __init__(self, origin: str, *, sign_count: int = 0, user_verified: bool = True) -> None:
        self.origin = origin
        self.sign_count: int = sign_count
        self.user_verified = user_verified
        self._credentials: list[_Credential] = []

    def __repr__(self) -> str:
        return f"SoftwarePasskey({self.origin!r})"

    def create(self, options: str | Mapping[str, Any], *, origin: str | None = None) -> str:
        """Return the answer of `navigator.credentials.create()`: a new credential.

        Args:
            options: The options of the service.
            origin: The origin that the answer names in place of the authenticator's, unchecked:
                simulates a browser that answers a phishing page.

        Raises:
            ValueError: The options are for another site than the origin, or exclude a credential
                that is held here.
        """
        asked = _public_key_options(options)
        rp_id = asked["rp"].get("id", self._host)
        self._check_site(rp_id)
        if self._held(rp_id, asked.get("excludeCredentials")):
            raise ValueError("The authenticator holds a credential that the options exclude.")
        credential = _Credential(rp_id, asked["user"]["id"])
        self._credentials.append(credential)
        client_data = self._client_data("webauthn.create", asked["challenge"], origin)
        identifier = credential.credential_id
        raw_id = from_base64url(identifier)
        attested = bytes(16) + len(raw_id).to_bytes(2, "big") + raw_id
        data = self._data(rp_id, ATTESTED) + attested + cose_key(credential.key.public_key())
        attestation = cbor.encoded({"fmt": "none", "attStmt": {}, "authData": data})
        return _answer(
            identifier,
            clientDataJSON=base64url(client_data),
            attestationObject=base64url(attestation),
        )

    def get(self, options: str | Mapping[str, Any], *, origin: str | None = None) -> str:
        """Return the answer of `navigator.credentials.get()`: an assertion.

        Args:
            options: The options of the service. Without `allowCredentials` the latest credential
                of the site answers.
            origin: As for `create`.

        Raises:
            ValueError: The options are for another site than the origin.
            LookupError: The authenticator holds no credential that the options allow.
        """
        asked = _public_key_options(options)
        rp_id = asked.get("rpId", self._host)
        self._check_site(rp_id)
        allowed = asked.get("allowCredentials")
        held = self._held(rp_id, allowed) if allowed else self._of_site(rp_id)
        if not held:
            raise LookupError("The authenticator holds no credential that the options allow.")
        credential = held[-1]
        client_data = self._client_data("webauthn.get", asked["challenge"], origin)
        data = self._data(rp_id, 0)
        signed = data + hashlib.sha256(client_data).digest()
        return _answer(
            credential.credential_id,
            clientDataJSON=base64url(client_data),
            authenticatorData=base64url(data),
            signature=base64url(credential.key.sign(signed, ECDSA(SHA256()))),
            userHandle=credential.user_handle,
        )

    @property
    def _host(self) -> str:
        return urlsplit(self.origin).hostname or ""

    def _check_site(self, rp_id: str) -> None:
        if not f".{self._host}".endswith(f".{rp_id}"):
            raise ValueError(f"The options are for {rp_id!r} and the origin is {self.origin!r}.")

    def _of_site(self, rp_id: str) -> list[_Credential]:
        return [held for held in self._credentials if held.rp_id == rp_id]

    def _held(self, rp_id: str, descriptors: object) -> list[_Credential]:
        named = {one["id"] for one in descriptors} if isinstance(descriptors, list) else set()
        return [held for held in self._of_site(rp_id) if held.credential_id in named]

    def _client_data(self, kind: str, challenge: str, origin: str | None) -> bytes:
        data = {
            "type": kind,
            "challenge": challenge,
            "origin": origin or self.origin,
            "crossOrigin": False,
        }
        return json.dumps(data, separators=(",", ":")).encode()

    def _data(self, rp_id: str, flags: int) -> bytes:
        self.sign_count += 1
        flags |= USER_PRESENT | (_USER_VERIFIED if self.user_verified else 0)
        rp_id_hash = hashlib.sha256(rp_id.encode()).digest()
        return rp_id_hash + bytes([flags]) + self.sign_count.to_bytes(4, "big")


def _public_key_options(options: str | Mapping[str, Any]) -> Mapping[str, Any]:
    decoded = json.loads(options) if isinstance(options, str) else options
    asked: Mapping[str, Any] = decoded.get("publicKey", decoded)
    return asked


def _answer(identifier: str, **response: str) -> str:
    return json.dumps(
        {
            "id": identifier,
            "rawId": identifier,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "response": response,
            "clientExtensionResults": {},
        }
    )

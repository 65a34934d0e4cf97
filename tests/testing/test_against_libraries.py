"""The emulator's own CBOR, WebAuthn and TOTP, held against fido2 and pyotp."""

import base64
import json
import secrets
from typing import Any

import pyotp
import pytest
from fido2 import cbor as fido2_cbor
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestationObject,
    AuthenticatorAttestationResponse,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    UserVerificationRequirement,
)
from hypothesis import given, strategies as st

from fastapi_stepup.testing import DescopeEmulator, SoftwarePasskey, Tokens
from fastapi_stepup.testing.authenticators import cbor
from fastapi_stepup.testing.authenticators.totp import TOTPAuthenticator, hotp
from fastapi_stepup.testing.authenticators.webauthn import Ceremony, base64url, from_base64url
from tests.testing.conftest import Caller

ORIGIN = "https://shop.example"
NOW = 1_800_000_000

integers = st.integers(-(2**64), 2**64 - 1)
scalars = integers | st.binary(max_size=40) | st.text(max_size=40)
names = st.integers(-(2**32), 2**32) | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=12
)


def depth(value: object) -> int:
    """Return how deep maps are nested in *value*."""
    if not isinstance(value, dict):
        return 0
    return 1 + max(map(depth, value.values()), default=0)


@given(values.filter(lambda value: depth(value) <= 4))
def test_cbor_is_fido2s(value: Any) -> None:
    """Each side decodes the items of the other, with nothing left over."""
    assert cbor.decoded(fido2_cbor.encode(value)) == (value, b"")
    assert fido2_cbor.decode_from(cbor.encoded(value)) == (value, b"")


@given(integers | st.binary(max_size=300) | st.text(max_size=300))
def test_scalars_are_encoded_to_the_same_bytes(value: Any) -> None:
    """Integers and strings have one shortest form."""
    assert cbor.encoded(value) == fido2_cbor.encode(value)


def fido2_server() -> Fido2Server:
    """Return fido2's relying party for the shop."""
    return Fido2Server(PublicKeyCredentialRpEntity(id="shop.example", name="Shop"))


def test_software_passkey_satisfies_fido2() -> None:
    """fido2's server registers the passkey and accepts its assertion."""
    server, passkey = fido2_server(), SoftwarePasskey(ORIGIN)
    user = PublicKeyCredentialUserEntity(id=b"ann", name="ann", display_name="Ann")
    verified = UserVerificationRequirement.REQUIRED
    options, state = server.register_begin(user, user_verification=verified)
    created = json.loads(passkey.create(_json(options)))
    registered = server.register_complete(state, created)
    assert registered.credential_data is not None
    request, state = server.authenticate_begin(
        [registered.credential_data], user_verification=verified
    )
    asserted = json.loads(passkey.get(_json(request)))
    used = server.authenticate_complete(state, [registered.credential_data], asserted)
    assert base64url(used.credential_id) == created["id"]


def test_fido2_rejects_what_the_emulator_rejects() -> None:
    """Another origin, another challenge and a changed signature pass on neither side."""
    server, passkey = fido2_server(), SoftwarePasskey(ORIGIN)
    user = PublicKeyCredentialUserEntity(id=b"ann", name="ann")
    options, state = server.register_begin(user)
    created = json.loads(passkey.create(_json(options)))
    challenge = _json(options)["publicKey"]["challenge"]
    credential = server.register_complete(state, created).credential_data
    assert credential is not None
    ours = Ceremony(challenge, ORIGIN, "shop.example").registered(created)
    request, state = server.authenticate_begin([credential])
    asked = _json(request)
    ceremony = Ceremony(asked["publicKey"]["challenge"], ORIGIN, "shop.example")
    elsewhere = json.loads(passkey.get(asked, origin="https://evil.example"))
    stale = json.loads(passkey.get(_json(server.authenticate_begin([credential])[0])))
    forged = json.loads(passkey.get(asked))
    signature = bytearray(from_base64url(forged["response"]["signature"]))
    signature[-1] ^= 1
    forged["response"]["signature"] = base64url(bytes(signature))
    for answer, reason, fido2_reason in (
        (elsewhere, "client data", "origin"),
        (stale, "client data", "challenge"),
        (forged, "signature", "signature"),
    ):
        with pytest.raises(ValueError, match=reason):
            ceremony.verify(answer, ours)
        with pytest.raises(ValueError, match=f"Invalid {fido2_reason}|Wrong {fido2_reason}"):
            server.authenticate_complete(state, [credential], answer)


def test_fido2_reads_the_attestation_of_a_registration(caller: Caller, ann: Tokens) -> None:
    """A registration with the emulator is one that fido2 parses: ES256, format `none`."""
    body = {"loginId": "ann@example.com", "origin": ORIGIN}
    start = caller.post("webauthn/update/start", body, token=ann.refresh_token).json()
    answer = json.loads(SoftwarePasskey(ORIGIN).create(start["options"]))
    response = AuthenticatorAttestationResponse.from_dict(answer["response"])
    attestation: AttestationObject = response.attestation_object
    assert attestation.fmt == "none"
    data = attestation.auth_data
    assert data.credential_data is not None
    assert (data.is_user_present(), data.credential_data.public_key.ALGORITHM) == (True, -7)
    finish = {"transactionId": start["transactionId"], "response": json.dumps(answer)}
    assert caller.post("webauthn/update/finish", finish).status_code == 200


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512"])
def test_one_time_passwords_are_pyotps(digest: str) -> None:
    """Secrets of all lengths give the same passwords on both sides."""
    for length in (16, 20, 32, 64):
        key = secrets.token_bytes(length)
        secret = base64.b32encode(key).decode()
        for digits in (6, 8):
            theirs = pyotp.HOTP(secret, digits=digits, digest=digest)
            for counter in (0, 1, 2**31, 2**40):
                assert hotp(key, counter, digits=digits, digest=digest) == theirs.at(counter)


def test_authenticator_app_accepts_pyotps_code() -> None:
    """An app that was given the secret shows a code that is accepted once."""
    authenticator = TOTPAuthenticator()
    code = pyotp.TOTP(authenticator.secret).at(NOW)
    assert authenticator.accepts(code, NOW)
    assert not authenticator.accepts(code, NOW)


def test_provisioning_url_is_read_by_pyotp(caller: Caller, emulator: DescopeEmulator) -> None:
    """An app takes secret, name and issuer from the URL of an enrolment."""
    enrolled = caller.post("totp/signup", {"loginId": "bob@example.com"}).json()
    app = pyotp.parse_uri(enrolled["provisioningURL"])
    assert isinstance(app, pyotp.TOTP)
    assert app.secret == emulator.totp_secret("bob@example.com") == enrolled["key"]
    assert (app.name, app.issuer) == ("bob@example.com", emulator.project_id)


def _json(options: Any) -> Any:
    """Return the options of fido2's server as a browser's page gets them."""
    return json.loads(json.dumps(dict(options)))

"""Tokens in any form, good or hostile, made segment by segment; what token and key tests share."""

import base64
import json
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from fastapi_stepup import errors
from fastapi_stepup.testing import REMOVE
from fastapi_stepup.tokens.jwks.cache import JWKSCache
from fastapi_stepup.tokens.verifier import TokenVerifier

PROJECT_ID = "P2aAc4T2V93bddihGEx2Ryhc8e5Z"
KID = "k1"
HOST = "https://api.descope.com"
NOW = int(time.time())
"""When the tests' tokens are made and verified: however long a run takes, none of them ages."""
ALGORITHMS = get_default_algorithms()
CURVES = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
    "ES256K": ec.SECP256K1(),
}


def private_key(family: str = "RS256", number: int = 0) -> Any:
    """Return the private key for that algorithm with that *number*, always the same one."""
    return _generated(family if family in {*CURVES, "EdDSA", "Ed448"} else "RSA", number)


@cache
def _generated(family: str, number: int) -> Any:
    if family in CURVES:
        return ec.generate_private_key(CURVES[family])
    if family == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if family == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ed448.Ed448PrivateKey.generate()


def jwk(family: str = "RS256", /, *, number: int = 0, **changes: object) -> dict[str, Any]:
    """Return the public JWK of `private_key(family, number)`, with members changed."""
    name = "EdDSA" if family == "Ed448" else family
    public: dict[str, Any] = ALGORITHMS[name].to_jwk(
        private_key(family, number).public_key(), as_dict=True
    )
    public.pop("key_ops", None)
    return replaced({**public, "alg": name, "use": "sig", "kid": KID}, changes)


def claims(**changes: object) -> dict[str, Any]:
    """Return the claims of a good session without step-up, with some changed."""
    good = {"amr": ["email"], "drn": "DS", "iss": PROJECT_ID, "sub": "U2x", "iat": NOW}
    # Good for a whole run of the tests, which may be slow: some verifiers read the real clock.
    return replaced({**good, "exp": NOW + 6 * 3600}, changes)


def replaced(members: dict[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
    """Return *members* with *changes* made; `REMOVE` takes one out."""
    return {n: v for n, v in {**members, **changes}.items() if v is not REMOVE}


def b64(data: bytes) -> str:
    """Return *data* in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def segment(value: str | bytes | Mapping[str, Any]) -> str:
    """Return one segment: text as it is, bytes encoded, a mapping as JSON."""
    if isinstance(value, str):
        return value
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def header(name: str = "RS256", /, **changes: object) -> dict[str, Any]:
    """Return a good header for that algorithm, with some parameters changed."""
    return replaced({"alg": name, "kid": KID, "typ": "JWT"}, changes)


def forge(
    payload: str | bytes | Mapping[str, Any] | None = None,
    head: str | bytes | Mapping[str, Any] | None = None,
    *,
    alg: str = "RS256",
    key: Any = None,
) -> str:
    """Return a token with exactly these parts, signed by *key* under *alg* whatever they say."""
    parts = header(alg) if head is None else head, claims() if payload is None else payload
    signing_input = ".".join(map(segment, parts))
    return f"{signing_input}.{b64(sign(signing_input.encode(), alg=alg, key=key))}"


def sign(message: bytes, *, alg: str = "RS256", key: Any = None) -> bytes:
    """Return the signature of *message*."""
    signature: bytes = ALGORITHMS[alg].sign(message, private_key(alg) if key is None else key)
    return signature


def key_set(*keys: Mapping[str, Any], algorithms: tuple[str, ...] = ("RS256",)) -> JWKSCache:
    """Return a cache that holds *keys*, by default the RS256 one."""
    return JWKSCache.static({"keys": list(keys or (jwk(),))}, algorithms=algorithms)


def verifier(keys: JWKSCache | None = None, **options: Any) -> TokenVerifier:
    """Return a verifier for `PROJECT_ID` that stands at `NOW`, with a static key set by default."""
    settings = {
        "project_id": PROJECT_ID,
        "issuer_hosts": [HOST],
        "clock": lambda: float(NOW),
        **options,
    }
    return TokenVerifier(key_set() if keys is None else keys, **settings)


async def reason(checked: TokenVerifier, token: Any, *, refresh: bool = False) -> str | None:
    """Return why *token* is refused, or `None` if it passes."""
    try:
        await (checked.verify_refresh if refresh else checked.verify)(token)
    except errors.InvalidToken as error:
        return error.reason.value
    return None

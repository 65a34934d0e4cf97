"""Tokens in any form, good or hostile, made segment by segment; what token and key tests share."""

import base64
import json
import time
import traceback
from collections.abc import Mapping
from cProfile import Profile
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from fastapi_stepup import errors
from fastapi_stepup.testing import REMOVE
from fastapi_stepup.tokens.jwk import VerificationKey
from fastapi_stepup.tokens.jwks.cache import JWKSCache
from fastapi_stepup.tokens.verifier import TokenVerifier

PROJECT_ID = "P2aAc4T2V93bddihGEx2Ryhc8e5Z"
KID = "k1"
HOST = "https://api.descope.com"
NOW = int(time.time())
"""The moment at which tokens are made and verified: none ages, however long a run takes."""
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


def make_token(
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
    """Return why *token* is rejected, or `None` if it passes."""
    try:
        await (checked.verify_refresh if refresh else checked.verify)(token)
    except errors.InvalidToken as error:
        return error.reason.value
    return None


def flipped(token: str, place: int, bit: int = 0x10) -> str:
    """Return *token* with one bit of one segment's bytes changed."""
    segments = token.split(".")
    middle = len(segments[place]) // 2
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    changed = alphabet[alphabet.index(segments[place][middle]) ^ bit]
    segments[place] = segments[place][:middle] + changed + segments[place][middle + 1 :]
    return ".".join(segments)


def assert_without(token: str, error: BaseException) -> None:
    """Check that neither the error, nor its chain, nor our frames' variables hold the token."""
    parts = [p for p in token.split(".") if len(p) > 8]
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None:
        seen.append(link)
        link = link.__cause__ or link.__context__
    shown = [repr(e) + str(e) + repr(e.args) + repr(vars(e)) for e in seen]
    frames = [
        frame
        for e in seen
        for frame, _ in traceback.walk_tb(e.__traceback__)
        if "/fastapi_stepup/" in frame.f_code.co_filename
    ]
    shown += [repr(frame.f_locals) for frame in frames]
    assert frames
    assert not [part for part in parts for text in shown if part in text]


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class SignatureChecks:
    """Counts signature checks while it is open, without touching the code that makes them."""

    made = 0

    def __enter__(self) -> "SignatureChecks":
        self.profile = Profile()
        self.profile.enable()
        return self

    def __exit__(self, *_: object) -> None:
        self.profile.disable()
        code = VerificationKey.verifies.__code__
        self.made = sum(e.callcount for e in self.profile.getstats() if e.code is code)

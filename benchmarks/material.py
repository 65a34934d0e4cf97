"""Keys, tokens and guards: what every subject measures with."""

import json
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, Literal
from warnings import catch_warnings, simplefilter

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt import PyJWK
from jwt.algorithms import get_default_algorithms
from jwt.utils import base64url_encode

from fastapi_stepup import JWKSCache, StepUpGuard, TokenVerifier
from fastapi_stepup.testing import SigningKey
from fastapi_stepup.testing.keys import HostileKey, compact_jws, random_id

LIFETIME: Final = 3600
PROJECT: Final = "P2abcdefghijklmnopqrstuvwxyz"
MAX_TOKEN: Final = 16 * 1024

Algorithm = Literal["ES256", "EdDSA"]
Answer = (
    Callable[[httpx.Request], httpx.Response]
    | Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]
)


@dataclass(frozen=True)
class Pair:
    """A key pair of another algorithm than Descope's, and its public half as a JWK."""

    private: HostileKey
    jwk: dict[str, Any]


def pair(alg: Algorithm) -> Pair:
    """Return a fresh key pair on P-256 or Ed25519."""
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey = (
        ec.generate_private_key(ec.SECP256R1())
        if alg == "ES256"
        else ed25519.Ed25519PrivateKey.generate()
    )
    public: dict[str, Any] = get_default_algorithms()[alg].to_jwk(
        private.public_key(), as_dict=True
    )
    public.pop("key_ops", None)
    return Pair(private, {**public, "kid": "k1", "alg": alg, "use": "sig"})


@dataclass(frozen=True)
class Material:
    """One key pair (RSA, 2048 bits, unless another is given) and what it signs.

    The tokens are Descope's: a session of a user without roles is about 650 characters.
    """

    key: SigningKey | Pair = field(default_factory=SigningKey)

    @property
    def alg(self) -> str:
        """The algorithm of the key."""
        return str(self.key.jwk["alg"])

    @property
    def jwks(self) -> dict[str, Any]:
        """The key set."""
        return {"keys": [self.key.jwk]}

    @property
    def public_key(self) -> Any:
        """The public half, as `cryptography` has it."""
        return PyJWK(self.key.jwk).key

    def token(self, **claims: Any) -> str:
        """Return a fresh session token of a fresh user, with *claims* on top."""
        private = self.key.private if isinstance(self.key, Pair) else self.key
        return mint(private, self.key.jwk["kid"], alg=self.alg, **claims)

    def tokens(self, count: int, **claims: Any) -> list[str]:
        """Return *count* tokens, no two of the same user."""
        return [self.token(**claims) for _ in range(count)]

    def large_token(self) -> str:
        """Return a good token that is longer than a verifier takes by default."""
        roles = [f"role-{number:05d}" for number in range(MAX_TOKEN // 17)]
        return self.token(roles=roles)

    def verifier(self, **options: Any) -> TokenVerifier:
        """Return a verifier with the keys in hand."""
        keys = JWKSCache.static(self.jwks, algorithms=(self.alg,))
        return TokenVerifier(keys, project_id=PROJECT, **options)

    def guard(self, **options: Any) -> StepUpGuard:
        """Return a guard whose key endpoint is one function call away."""
        return guard_on(lambda _: httpx.Response(200, json=self.jwks), **options)


def mint(key: HostileKey, kid: str, *, alg: str = "RS256", **claims: Any) -> str:
    """Return a token as Descope issues it, signed with *key*."""
    return compact_jws({"alg": alg, "kid": kid, "typ": "JWT"}, session_claims(**claims), key)


def with_unknown_kid(payload: str) -> str:
    """Return a token that is good in every other respect but names a key that never was."""
    header = {"alg": "RS256", "kid": secrets.token_hex(16), "typ": "JWT"}
    segment = base64url_encode(json.dumps(header).encode()).decode()
    return f"{segment}.{payload}.{'A' * 342}"


def session_claims(**claims: object) -> dict[str, object]:
    """Return the claims of a session, with *claims* on top."""
    now = int(time.time())
    return {
        "amr": ["email"],
        "drn": "DS",
        "exp": now + LIFETIME,
        "iat": now,
        "iss": PROJECT,
        "rexp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 28 * 86400)),
        "sub": random_id("U2"),
        **claims,
    }


def guard_on(answer: Answer, **options: Any) -> StepUpGuard:
    """Return a guard whose outbound requests *answer* answers."""
    return StepUpGuard.for_descope(PROJECT, transport=httpx.MockTransport(answer), **options)


class Missing(Exception):
    """Something to compare with is not installed, or does not work as it used to."""


def peer(name: str) -> Any:
    """Return the module *name* of another package.

    Raises:
        Missing: It is not installed.
    """
    try:
        with catch_warnings(record=True):
            simplefilter("ignore")
            return import_module(name)
    except ImportError as error:
        why = f"{name} is not installed ({error.name or error}); the extra bench brings it"
        raise Missing(why) from None

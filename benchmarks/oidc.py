"""An access token of any issuer, verified and asked about: against a session of Descope."""

import time
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Any, Final

from benchmarks.contenders import batches, each
from benchmarks.material import LIFETIME, Material
from benchmarks.measuring import Effort, Figure, at_most, compared, race
from fastapi_stepup import JWKSCache, StepUpPolicy, TokenVerifier
from fastapi_stepup.testing.keys import SigningKey, compact_jws, random_id
from fastapi_stepup.tokens.oidc import AccessTokenVerifier

ISSUER: Final = "https://login.example"
API: Final = "https://api.example"
_REPEATS: Final = 10


def access_token_claims(**claims: object) -> dict[str, object]:
    """Return the claims of an access token (RFC 9068 section 2.2), with *claims* on top."""
    now = int(time.time())
    return {
        "acr": "mfa",
        "amr": ["email"],
        "aud": API,
        "auth_time": now,
        "client_id": "web",
        "exp": now + LIFETIME,
        "iat": now,
        "iss": ISSUER,
        "jti": random_id("J2"),
        "sub": random_id("U2"),
        **claims,
    }


def asking(verifier: TokenVerifier) -> Callable[[str], Awaitable[Any]]:
    """Return what a guard does with a token: verify it, then ask a policy."""
    policy = StepUpPolicy(max_age="1h", amr=["email"])

    async def asked(token: str) -> None:
        policy.enforce(await verifier.verify(token), now=time.time())

    return asked


async def figures(effort: Effort) -> list[Figure]:
    """Return what a token of another issuer costs, first and again."""
    key = SigningKey()
    material = Material(key)
    size, kid = effort.batch, key.kid

    def access_token() -> str:
        header = {"alg": "RS256", "kid": kid, "typ": "at+jwt"}
        return compact_jws(header, access_token_claims(), key)

    def foreign() -> AccessTokenVerifier:
        return AccessTokenVerifier(JWKSCache.static(material.jwks), issuer=ISSUER, audience=API)

    # Of a user in a tenant: as many claims as the access token has.
    sessions = material.tokens(effort.tokens, su=True, dct="T2acme", permissions=["pay"])
    access = [access_token() for _ in range(effort.tokens)]
    emptied, own = foreign(), material.verifier()
    known_access, known_sessions = access[:size] * _REPEATS, sessions[:size] * _REPEATS
    first, session, again, session_again = await race(
        [
            each(asking(emptied), batches(access, size), size, prepare=emptied.clear),
            each(asking(own), batches(sessions, size), size, prepare=own.clear),
            each(asking(foreign()), cycle([known_access]), size * _REPEATS),
            each(asking(material.verifier()), cycle([known_sessions]), size * _REPEATS),
        ],
        rounds=effort.rounds,
    )
    return [
        compared(
            "first-time access token / session",
            first,
            session,
            target=at_most(1.05),
            note=f"{len(access[0])} / {len(sessions[0])} characters",
        ),
        compared("repeated access token / session", again, session_again, target=at_most(1.05)),
    ]

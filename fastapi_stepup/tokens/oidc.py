"""AccessTokenVerifier: an access token of any OpenID issuer in, its verified claims out."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from fastapi_stepup import _clock
from fastapi_stepup._emitter import Emitter
from fastapi_stepup._options import Duration
from fastapi_stepup.claims import EvidenceReader
from fastapi_stepup.events import EventHooks
from fastapi_stepup.tokens.access_token import ACCESS_TOKEN_TYPE, access_token_rules
from fastapi_stepup.tokens.cache import CACHED_TOKENS
from fastapi_stepup.tokens.claims_set import LEEWAY
from fastapi_stepup.tokens.jwks.cache import JWKSCache
from fastapi_stepup.tokens.jws import MAX_TOKEN
from fastapi_stepup.tokens.verifier import REVOCATION_TIMEOUT, RevocationHook, TokenVerifier

ACCESS_TOKEN_TYPES: Final = (ACCESS_TOKEN_TYPE,)


class AccessTokenVerifier(TokenVerifier):
    """Verifies access tokens of one issuer (RFC 9068) against cached keys.

    The same engine as `TokenVerifier`, with other rules for the claims:

    - `typ` of the header is `at+jwt`, and `iss` is the issuer, character by character.
    - `aud` holds one of *audience*.
    - `sub` is a user and not the client: a client-credentials token never passes.
    - An ID token never passes, nor a refresh token: neither by its type nor by its claims.
    - A token that is bound to a key (`cnf`) is rejected, since no proof is checked.
    - Does not read `scope`, and does not ask the issuer (RFC 7662): tokens are valid until `exp`.

    Args:
        keys: Where verification keys come from.
        issuer: The issuer.
        audience: Accepted `aud` values, any one of which must be in the token.
        client_id: Accepted clients: the token's `client_id`, else its `azp`, else its `cid`. Where
            *audience* is not given they stand for it, and an `aud` must hold one of them.
        types: Accepted `typ` values of the header. An absent one counts as `JWT`, as that of most
            ID tokens: other types than `at+jwt` need *require_claims*.
        require_claims: Claims that a token must have: the accepted values, or `None` for any. With
            them a token may lack the client; name one that a machine's token lacks.
        evidence: Reads what a token proves, from its `Claims`, where that is in other claims than
            `auth_time`, `acr` and `amr`. What it raises is an error of the app (500).
        leeway: Seconds of clock difference to allow for, 0 to 60.
        max_lifetime: Longest time from `iat` to `exp`.
        max_token_size: Longest token in characters, 1024 to 65536.
        verdict_cache_size: Most tokens in the cache, 0 to a million; 0 turns it off.
        is_revoked: See `TokenVerifier`.
        revocation_timeout: See `TokenVerifier`.
        on_event: Called with each event.
        clock: Gives epoch seconds.

    Raises:
        ConfigurationError: An argument cannot be used; the message says what can.

    References:
        RFC 9068 section 4, RFC 8725 section 3, RFC 9470 section 6.1.
    """

    def __init__(
        self,
        keys: JWKSCache,
        *,
        issuer: str,
        audience: str | Iterable[str] | None = None,
        client_id: str | Iterable[str] | None = None,
        types: Iterable[str] = ACCESS_TOKEN_TYPES,
        require_claims: Mapping[str, str | Iterable[str] | None] | None = None,
        evidence: EvidenceReader | None = None,
        leeway: float = LEEWAY,
        max_lifetime: Duration | None = None,
        max_token_size: int = MAX_TOKEN,
        verdict_cache_size: int = CACHED_TOKENS,
        is_revoked: RevocationHook | None = None,
        revocation_timeout: float = REVOCATION_TIMEOUT,
        on_event: EventHooks | Emitter | None = None,
        clock: Callable[[], float] = _clock.wall,
    ) -> None:
        types = () if isinstance(types, str) else tuple(types)
        rules = access_token_rules(
            issuer=issuer,
            audience=audience,
            client_id=client_id,
            types=types,
            require_claims=require_claims,
            evidence=evidence,
            leeway=leeway,
            max_lifetime=max_lifetime,
        )
        self.issuer: str = issuer
        self.client_id: frozenset[str] | None = rules.clients
        self.marks_step_up: bool = evidence is not None
        self._set_up(
            keys,
            rules,
            types=types,
            max_token_size=max_token_size,
            verdict_cache_size=verdict_cache_size,
            is_revoked=is_revoked,
            revocation_timeout=revocation_timeout,
            on_event=on_event,
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(issuer={self.issuer!r})"

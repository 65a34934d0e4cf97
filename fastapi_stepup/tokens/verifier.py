"""TokenVerifier: a session token in, its verified claims out."""

from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Final

import anyio

from fastapi_stepup import _clock, _options
from fastapi_stepup._emitter import Emitter
from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._json import parse_object
from fastapi_stepup._log import logger
from fastapi_stepup._options import Duration
from fastapi_stepup.claims import Claims, claims_of
from fastapi_stepup.errors import (
    ConfigurationError,
    InvalidToken,
    RejectReason,
    RevocationUnavailable,
    StepUpError,
)
from fastapi_stepup.events import EventHooks, TokenCache, TokenRejected
from fastapi_stepup.tokens.cache import CACHED_TOKENS, CachedToken, VerifiedTokenCache
from fastapi_stepup.tokens.claims_set import LEEWAY, Rules, Validity, claims_rules
from fastapi_stepup.tokens.jwks.cache import JWKSCache
from fastapi_stepup.tokens.jwks.event_loops import Slices
from fastapi_stepup.tokens.jws import MAX_TOKEN, TYPES, CompactJWS, JWSParser
from fastapi_stepup.tokens.rejected import Rejected

RevocationHook = Callable[[Claims], bool | Awaitable[bool]]

REVOCATION_TIMEOUT: Final = 5.0


class TokenVerifier(SetOnce):
    """Verifies Descope session tokens against cached keys.

    Checks, in order: size and form, header, key and algorithm, signature, then the claims `exp`,
    `iat`, `nbf`, `iss`, `sub`, `aud`, `jti`, `drn` and `cnf`. A refresh token never passes as a
    session. One parse of the header, one of the payload, one signature check.

    A token that passed is cached for up to a minute (`tokens.cache`): then only times, key and
    revocation are checked. Settings cannot be changed afterwards.

    - Does not check how strong or recent the login is (`StepUpPolicy` does), nor which resource a
      request is for.
    - Does not know what Descope has revoked since the token was issued, unless *is_revoked* does:
      tokens are valid until `exp`.
    - Does not make a token's text an identity: an ECDSA signature has a twin that is as good. A
      deny list goes by `jti`, or by `sub` and `iat`.
    - Does not take the same time for each rejection; nothing in it depends on a secret.

    Args:
        keys: Where verification keys come from.
        project_id: The Descope project; `iss` is this id, or a URL that Descope writes for it on
            one of *issuer_hosts*: `…/<project>`, `…/v1/apps/<project>`, with a tenant behind that,
            or `…/v1/apps/agentic/<project>/<server>`.
        issuer_hosts: Hosts that URL issuers may be on, such as `https://api.descope.com`.
        issuers: Further issuers, accepted as exact strings.
        audience: Accepted `aud` values, any one of which must be in the token. Without it a token
            that has an `aud` passes only if the project id is in it: one that was made for another
            API is not for this one (RFC 8725 section 3.9).
        any_audience: Let tokens for any audience pass; only without *audience*.
        types: Accepted `typ` values of the header. The default rejects OAuth access tokens
            (`at+jwt`): their rules are not those of a session (RFC 8725 section 3.12); with
            `("JWT", "at+jwt")` both pass.
        leeway: Seconds of clock difference to allow for, 0 to 60.
        max_lifetime: Longest time from `iat` to `exp` of a session token. By default whatever the
            issuer signed counts, up to the year 3000.
        require_session_name: Reject tokens without `drn`; where it is there, it is `DS`.
        max_token_size: Longest token in characters, 1024 to 65536.
        verdict_cache_size: Most tokens in the cache, 0 to a million; 0 turns it off.
        is_revoked: Called with the claims of each token that passed, cached or not, at every call;
            the token is rejected unless it answers `False`. A plain function is called in line, so
            it should only look into memory; one that asks a database is `async`. What it raises
            becomes `RevocationUnavailable`, unless it is a `StepUpError` itself.
        revocation_timeout: Seconds for an `async` *is_revoked* to answer, 0.001 to 60. After that
            it is cancelled, and the request is answered with `RevocationUnavailable`.
        on_event: Called with each event.
        clock: Gives epoch seconds.

    Raises:
        ConfigurationError: An argument cannot be used; the message says what can.

    References:
        RFC 7519 section 7.2, RFC 8725 section 3.
    """

    def __init__(
        self,
        keys: JWKSCache,
        *,
        project_id: str,
        issuer_hosts: Iterable[str] = (),
        issuers: Iterable[str] = (),
        audience: str | Iterable[str] | None = None,
        any_audience: bool = False,
        types: Iterable[str] = TYPES,
        leeway: float = LEEWAY,
        max_lifetime: Duration | None = None,
        require_session_name: bool = False,
        max_token_size: int = MAX_TOKEN,
        verdict_cache_size: int = CACHED_TOKENS,
        is_revoked: RevocationHook | None = None,
        revocation_timeout: float = REVOCATION_TIMEOUT,
        on_event: EventHooks | Emitter | None = None,
        clock: Callable[[], float] = _clock.wall,
    ) -> None:
        rules = claims_rules(
            project_id=project_id,
            issuers=issuers,
            issuer_hosts=issuer_hosts,
            audience=audience,
            any_audience=any_audience,
            leeway=leeway,
            max_lifetime=max_lifetime,
            require_session_name=require_session_name,
        )
        self.marks_step_up: bool = True
        self.project_id: str = rules.project_id
        self.issuer_hosts: frozenset[str] = rules.issuer_hosts
        self.any_audience: bool = rules.any_audience
        self.require_session_name: bool = rules.require_session_name
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

    def _set_up(
        self,
        keys: JWKSCache,
        rules: Rules,
        *,
        types: Iterable[str],
        max_token_size: int,
        verdict_cache_size: int,
        is_revoked: RevocationHook | None,
        revocation_timeout: float,
        on_event: EventHooks | Emitter | None,
        clock: Callable[[], float],
    ) -> None:
        """Set what does not depend on the issuer's kind.

        Raises:
            ConfigurationError: An argument cannot be used.
        """
        if is_revoked is not None and not callable(is_revoked):
            msg = "is_revoked is a function of claims, or None."
            raise ConfigurationError(msg)
        self.keys = keys
        self.issuers: frozenset[str] = rules.issuers
        self.audience: frozenset[str] | None = rules.audience
        self.leeway: float = rules.leeway
        self.max_lifetime: int | None = rules.max_lifetime
        self.is_revoked = is_revoked
        self.revocation_timeout: float = _options.seconds(
            "revocation_timeout", revocation_timeout, 0.001, 60
        )
        self.clock = clock
        self._rules = rules
        self._parser = JWSParser(tuple(keys.algorithms), types=types, max_size=max_token_size)
        self._emit = on_event if isinstance(on_event, Emitter) else Emitter(on_event)
        self._slices = Slices()
        self._cache = VerifiedTokenCache(
            verdict_cache_size,
            settings=f"{rules.fingerprint()} {self._parser.fingerprint()}",
            emit=self._emit,
        )

    async def verify(self, token: str) -> Claims:
        """Return the claims of a session token once everything about it holds.

        Args:
            token: A compact JWS, without the `Bearer` prefix. What is no string is no token.

        Raises:
            InvalidToken: Any check failed; `reason` says which, for operators only.
            KeysUnavailable: No key set can be had, so nothing can be said about the token.
            RevocationUnavailable: *is_revoked* failed.
        """
        try:
            # Before any key is read: a change in between can only make a token look older.
            generation = self.keys.generation
            digest, cached = self._cache.find(token, generation)
            claims = None if cached is None else self._still_good(cached)
            if digest is not None and self._emit.hooks:
                self._emit(TokenCache("miss" if claims is None else "hit"))
            if claims is None:
                claims = await self._verify(token, digest, generation)
        finally:
            del token  # Error reports show the variables of each frame.
        if self.is_revoked is not None:
            await self._check_not_revoked(self.is_revoked, claims)
        return claims

    async def verify_refresh(self, token: str) -> Claims:
        """Return the claims of a refresh token (`drn` is `DSR`), checked like a session token.

        It is not cached, and *max_lifetime* is not asked of it. Does not tell whether Descope still
        honours it: only Descope knows.

        Raises:
            InvalidToken: Any check failed, or it is not a refresh token.
            KeysUnavailable: No key set can be had.
            RevocationUnavailable: *is_revoked* failed.
        """
        try:
            claims = await self._verify(token, None, self.keys.generation, refresh=True)
        finally:
            del token
        if self.is_revoked is not None:
            await self._check_not_revoked(self.is_revoked, claims)
        return claims

    def accepts_issuer(self, issuer: str) -> bool:
        """Return whether tokens of *issuer* may pass, as far as `iss` decides."""
        return self._rules.accepts_issuer(issuer)

    def clear(self) -> None:
        """Empty the cache: each token is verified in full when it comes next."""
        self._cache.clear()

    def forget(self, subject: str) -> None:
        """Drop the cached tokens of *subject*; they are verified in full the next time.

        That alone revokes nothing: to reject them from now on is up to *is_revoked*.
        """
        self._cache.forget(subject)

    async def _verify(
        self, token: str, digest: bytes | None, generation: int, *, refresh: bool = False
    ) -> Claims:
        """Return the claims of a token that is not cached; put it into the cache under *digest*."""
        try:
            if not generation:  # no keys yet: thousands may wait for the first ones
                await self._slices.enter()
            jws = self._parser.parse(token)
            key = self.keys.cached(jws.header.kid)
            if key is None:
                self._check_claims(jws, refresh=refresh)  # A hopeless token must not cost a fetch.
                key = await self.keys.key(jws.header.kid)
                generation = self.keys.generation
                # Of many requests that waited with one token, the first one verifies for all.
                cached = None if digest is None else self._cache.get(digest, generation)
                claims = None if cached is None else self._still_good(cached)
                if claims is not None:
                    return claims
            if not key.verifies(jws):
                raise Rejected(RejectReason.SIGNATURE)  # noqa: TRY301  # one way for all reasons
            claims, validity = self._check_claims(jws, refresh=refresh)
        except (Rejected, InvalidToken) as rejected:
            reason = rejected.reason
        except StepUpError:
            raise
        except Exception:  # noqa: BLE001  # whatever cannot be read is no token; nothing escapes
            reason = RejectReason.MALFORMED
        else:
            self._parser.remember(jws)
            if digest is not None:
                lifetime = validity.expires - self.leeway - self.clock()
                self._cache.put(
                    digest,
                    generation,
                    claims,
                    key,
                    validity,
                    lifetime=lifetime,
                    payload=jws.payload,
                )
            return claims
        finally:
            del token
        # Not in a handler: what it caught holds the frames of the steps, and so the token.
        raise self._rejection(reason)

    def _check_claims(self, jws: CompactJWS, *, refresh: bool) -> tuple[Claims, Validity]:
        """Return the claims of a parsed token, and when it passes, if they hold now."""
        members = parse_object(jws.payload)
        if members is None:
            raise Rejected(RejectReason.MALFORMED)
        validity = self._rules.check(members, now=self.clock(), refresh=refresh)
        return claims_of(members, self._rules.reader), validity

    def _still_good(self, cached: CachedToken) -> Claims | None:
        """Return the claims of a cached token if its times and its key still hold."""
        if not cached.not_before <= self.clock() < cached.expires:
            return None
        key = self.keys.cached(cached.key.kid)
        if key is not cached.key and (key is None or key.identity != cached.key.identity):
            return None
        return cached.claims

    async def _check_not_revoked(self, hook: RevocationHook, claims: Claims) -> None:
        """Ask *hook*; only `False` is a no, so that a forgotten `return` lets nothing pass.

        Raises:
            InvalidToken: It says that the session is revoked, or nothing.
            RevocationUnavailable: It failed, or did not answer in time.
        """
        try:
            answer = hook(claims)
            if isawaitable(answer):
                with anyio.fail_after(self.revocation_timeout):
                    answer = await answer
        except StepUpError:
            raise
        except Exception as error:  # noqa: BLE001  # an outage says nothing about the session
            failure = type(error).__name__
        else:
            if answer is not False:
                raise self._rejection(RejectReason.REVOKED)
            return
        logger.warning("The is_revoked hook failed (%s); the request is answered 503.", failure)
        raise RevocationUnavailable

    def _rejection(self, reason: RejectReason) -> InvalidToken:
        """Report a rejected token, and return the error to raise."""
        self._emit(TokenRejected(reason))
        return InvalidToken(reason)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(project_id={self.project_id!r})"

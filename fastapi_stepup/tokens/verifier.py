"""TokenVerifier: a session token in, its verified claims out."""

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any, Final, NoReturn

from fastapi_stepup import _options
from fastapi_stepup._emitter import Emitter
from fastapi_stepup._json import parse_object
from fastapi_stepup._log import logger
from fastapi_stepup._options import Duration
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import (
    ConfigurationError,
    InvalidToken,
    RejectReason,
    RevocationUnavailable,
    StepUpError,
)
from fastapi_stepup.events import EventHook, TokenCache, TokenRejected
from fastapi_stepup.tokens.cache import VERDICTS, VerdictCache
from fastapi_stepup.tokens.jwk import VerificationKey
from fastapi_stepup.tokens.jwks.cache import JWKSCache
from fastapi_stepup.tokens.jws import MAX_TOKEN, TYPES, CompactJWS, JWSParser, Rejected

RevocationHook = Callable[[Claims], bool | Awaitable[bool]]

LEEWAY: Final = 5
SESSION_NAME: Final = "DS"
REFRESH_NAME: Final = "DSR"

_MAX_LEEWAY: Final = 60
_MAX_SUBJECT: Final = 256
_LATEST: Final = 32_503_680_000  # the year 3000: what datetime and people can still handle


class TokenVerifier:
    """Verifies Descope session tokens against cached keys.

    Checks, in order: size and form, header, key and algorithm, signature, then the claims `exp`,
    `iat`, `nbf`, `iss`, `sub`, `aud`, `jti`, `drn` and `cnf`. A refresh token never passes as a
    session. One parse of the header, one of the payload, one signature check.

    A token that passed is remembered for up to a minute (`fastapi_stepup.tokens.cache`): then only
    times, key and revocation are checked. Changing a setting afterwards is refused.

    Does not check how strong or recent the login is (`StepUpPolicy` does), nor whose resource a
    request is for. Does not know what Descope has revoked since the token was issued, unless
    *is_revoked* does: tokens are valid until `exp`. Nor is a token's text an identity: an ECDSA
    signature has a twin that is as good, so a deny list goes by `jti` or by `sub` and `iat`.
    A refusal takes as long as it takes; nothing in it depends on a secret.

    Args:
        keys: Where verification keys come from.
        project_id: The Descope project; `iss` is this id, or a URL on one of *issuer_hosts* whose
            last path segment is this id.
        issuer_hosts: Hosts that URL issuers may be on.
        issuers: Further issuers, accepted as exact strings.
        audience: Accepted `aud` values, any one of which must be in the token. Without it a token
            that has an `aud` passes only if the project id is in it: one that was made for another
            API is not for this one (RFC 8725 section 3.9).
        any_audience: Let tokens for any audience pass; only without *audience*.
        types: Accepted `typ` values of the header. The default refuses OAuth access tokens
            (`at+jwt`), whose rules are not those of a session (RFC 8725 section 3.12); with
            `("JWT", "at+jwt")` both pass.
        leeway: Seconds of clock difference to allow for, 0 to 60.
        max_lifetime: Longest time from `iat` to `exp` of a session token. By default whatever the
            issuer signed counts, up to the year 3000.
        require_session_name: Whether `drn` must be there; if so it must be `DS`.
        max_token_size: Longest token in characters, 1024 to 65536.
        verdict_cache_size: Number of tokens to remember; 0 turns that off.
        is_revoked: Called with the claims of each token that passed, remembered or not, at every
            call; the token is refused unless it answers `False`. A plain function is called in
            line, so it should only look into memory; one that asks a database is `async`. What it
            raises becomes `RevocationUnavailable`, unless it is a `StepUpError` itself.
        on_event: Called with each event.
        clock: Gives epoch seconds.

    Raises:
        ConfigurationError: An argument cannot be used; the message says what can.

    References:
        RFC 7519 section 7.2, RFC 8725 section 3.
    """

    keys: JWKSCache
    project_id: str
    issuer_hosts: frozenset[str]
    issuers: frozenset[str]
    audience: frozenset[str] | None
    any_audience: bool
    leeway: float
    max_lifetime: int | None
    require_session_name: bool
    is_revoked: RevocationHook | None
    clock: Callable[[], float]
    _parser: JWSParser
    _verdicts: VerdictCache
    _emit: Emitter

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
        verdict_cache_size: int = VERDICTS,
        is_revoked: RevocationHook | None = None,
        on_event: EventHook | Emitter | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        project = _options.project_id(project_id)
        parser = JWSParser(tuple(keys.algorithms), types=types, max_size=max_token_size)
        emit = on_event if isinstance(on_event, Emitter) else Emitter(on_event)
        rules = {
            "project_id": project,
            "issuer_hosts": frozenset(issuer_hosts),
            "issuers": _strings("issuers", issuers) | {project},
            "audience": _audience(audience, any_audience=any_audience),
            "any_audience": _flag("any_audience", any_audience),
            "leeway": _leeway(leeway),
            "max_lifetime": None if max_lifetime is None else _lifetime(max_lifetime),
            "require_session_name": _flag("require_session_name", require_session_name),
        }
        if is_revoked is not None and not callable(is_revoked):
            msg = "is_revoked is a function of claims, or None."
            raise ConfigurationError(msg)
        settings = f"{_in_order(rules)} {sorted(parser.algorithms)} {sorted(parser.types)}"
        verdicts = VerdictCache(
            verdict_cache_size, settings=f"{settings} {parser.max_size}", emit=emit
        )
        vars(self).update(
            rules,
            keys=keys,
            is_revoked=is_revoked,
            clock=clock,
            _parser=parser,
            _verdicts=verdicts,
            _emit=emit,
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
        verdict = self._judge(token, refresh=False)
        # Reports of uncaught errors show the local variables of each frame.
        del token
        if self.is_revoked is None and isinstance(verdict, Claims):
            return verdict
        return await self._conclude(verdict, refresh=False)

    async def verify_refresh(self, token: str) -> Claims:
        """Return the claims of a refresh token (`drn` is `DSR`), checked like a session token.

        Its verdict is not remembered, and *max_lifetime* is not asked of it. Does not tell whether
        Descope still honours it: only Descope knows.

        Raises:
            InvalidToken: Any check failed, or it is not a refresh token.
            KeysUnavailable: No key set can be had.
            RevocationUnavailable: *is_revoked* failed.
        """
        verdict = self._judge(token, refresh=True)
        del token
        return await self._conclude(verdict, refresh=True)

    def recall(self, token: str) -> Claims | None:
        """Return the claims of a session token whose verdict is remembered and still holds.

        The way without waiting, for a token that was verified a moment ago: the same checks as a
        remembered verdict gets in `verify`. `None` says nothing about the token, only that `verify`
        has to be asked; so it always is where a hook wants to know of each token.
        """
        if self.is_revoked is not None or self._emit.hook is not None:
            return None
        slot = self._verdicts.slot(token)
        return None if slot is None else self._recalled(slot, self.keys.generation)

    def clear(self) -> None:
        """Forget every verdict: each token is verified in full when it comes next."""
        self._verdicts.clear()

    def forget(self, subject: str) -> None:
        """Forget the verdicts on tokens of *subject*; they are verified in full the next time.

        That alone revokes nothing: to refuse them from now on is up to *is_revoked*.
        """
        self._verdicts.forget(subject)

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Work without the remembered verdicts until the block ends, then have them back."""
        with self._verdicts.set_aside():
            yield

    def _judge(self, token: str, *, refresh: bool) -> Claims | RejectReason | CompactJWS:
        """Return the verdict, or the token taken apart when its key is not at hand."""
        slot = None if refresh else self._verdicts.slot(token)
        generation = self.keys.generation
        if slot is not None:
            claims = self._recalled(slot, generation)
            if self._emit.hook is not None:
                self._emit(TokenCache("miss" if claims is None else "hit"))
            if claims is not None:
                return claims
        jws = self._taken_apart(token)
        if isinstance(jws, RejectReason):
            return jws
        jws.slot, jws.generation = slot, generation
        key = self.keys.cached(jws.header.kid)
        return jws if key is None else self._judge_with(key, jws, refresh=refresh)

    def _recalled(self, slot: bytes, generation: int) -> Claims | None:
        verdict = self._verdicts.get(slot, generation)
        if verdict is None or not verdict.not_before <= self.clock() < verdict.expires:
            return None
        key = self.keys.cached(verdict.key.kid)
        if key is not verdict.key and (key is None or key.identity != verdict.key.identity):
            return None
        return verdict.claims

    def _taken_apart(self, token: str) -> CompactJWS | RejectReason:
        try:
            return self._parser.parse(token)
        except Rejected as rejected:
            return rejected.reason
        except Exception:  # noqa: BLE001  # whatever cannot be read is no token; nothing escapes
            return RejectReason.MALFORMED

    def _judge_with(
        self, key: VerificationKey | None, jws: CompactJWS, *, refresh: bool
    ) -> Claims | RejectReason:
        """Return the verdict on *jws* under *key*; without one, on all but its signature."""
        now = self.clock()
        try:
            if key is not None and not key.verifies(jws):
                return RejectReason.SIGNATURE
            members = jws.members or _payload(jws)
            jws.members = members
            not_before, expires = self._check_claims(members, now, refresh=refresh)
            claims = Claims(members)
        except Rejected as rejected:
            return rejected.reason
        except Exception:  # noqa: BLE001  # as above
            return RejectReason.MALFORMED
        if key is not None:
            self._parser.remember(jws)
            if jws.slot is not None:
                self._verdicts.put(
                    jws.slot,
                    jws.generation,
                    claims,
                    key,
                    payload=jws.payload,
                    lifetime=members["exp"] - now,
                    not_before=not_before,
                    expires=expires,
                )
        return claims

    async def _conclude(
        self, verdict: Claims | RejectReason | CompactJWS, *, refresh: bool
    ) -> Claims:
        """Fetch the key that was not at hand, ask about revocation, and return or raise."""
        if isinstance(verdict, CompactJWS):
            verdict = await self._judge_unknown(verdict, refresh=refresh)
        if isinstance(verdict, Claims) and await self._is_revoked(verdict):
            verdict = RejectReason.REVOKED
        if isinstance(verdict, Claims):
            return verdict
        self._emit(TokenRejected(verdict))
        raise InvalidToken(verdict)

    async def _judge_unknown(self, jws: CompactJWS, *, refresh: bool) -> Claims | RejectReason:
        # Only what could be genuine in every other respect may cost a fetch.
        verdict = self._judge_with(None, jws, refresh=refresh)
        if isinstance(verdict, RejectReason):
            return verdict
        try:
            key = await self.keys.key(jws.header.kid)
        except InvalidToken as error:
            return error.reason
        jws.generation = self.keys.generation
        # Of many requests that waited for the key with one token, the first one judges for all.
        claims = None if jws.slot is None else self._recalled(jws.slot, jws.generation)
        return claims or self._judge_with(key, jws, refresh=refresh)

    async def _is_revoked(self, claims: Claims) -> bool:
        """Ask the hook; only `False` is a no, so that a forgotten `return` cannot open a door."""
        if self.is_revoked is None:
            return False
        try:
            answer = self.is_revoked(claims)
            revoked = await answer if isawaitable(answer) else answer
        except StepUpError:
            raise
        except Exception as error:  # noqa: BLE001  # an outage is no verdict on the session
            failure = type(error).__name__
        else:
            return revoked is not False
        logger.warning("The is_revoked hook failed (%s); the request is answered 503.", failure)
        raise RevocationUnavailable

    def _check_claims(
        self, members: dict[str, Any], now: float, *, refresh: bool
    ) -> tuple[float, float]:
        """Return from when until when the token passes, leeway included, if its claims hold."""
        issued, expires = _moment(members, "iat"), _moment(members, "exp")
        not_before = max(issued, _moment(members, "nbf")) if "nbf" in members else issued
        not_before, end = not_before - self.leeway, expires + self.leeway
        if end <= now:
            raise Rejected(RejectReason.EXPIRED)
        if not_before > now:
            raise Rejected(RejectReason.NOT_YET_VALID)
        if issued > expires or (
            self.max_lifetime is not None and not refresh and expires - issued > self.max_lifetime
        ):
            raise Rejected(RejectReason.LIFETIME)
        if not self._is_our_issuer(members.get("iss")):
            raise Rejected(RejectReason.ISSUER)
        subject = members.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT:
            raise Rejected(RejectReason.SUBJECT)
        if not subject.isprintable():
            raise Rejected(RejectReason.SUBJECT)
        if "aud" in members or self.audience is not None:
            self._check_audience(members.get("aud"))
        self._check_kind(members, refresh=refresh)
        return not_before, end

    def _is_our_issuer(self, issuer: Any) -> bool:
        if not isinstance(issuer, str):
            return False
        if issuer in self.issuers:
            return True
        # Descope's URL forms end in the project id: https://<host>/<id>, …/v1/apps/<id>.
        if not issuer.startswith("https://") and not issuer.startswith("http://"):
            return False
        scheme, _, rest = issuer.partition("://")
        host, _, path = rest.partition("/")
        segments = path.split("/")
        return (
            f"{scheme}://{host}" in self.issuer_hosts
            and segments[-1] == self.project_id
            and segments[:-1] in ([], ["v1", "apps"])
        )

    def _check_audience(self, audience: Any) -> None:
        listed = [audience] if isinstance(audience, str) else audience
        if not isinstance(listed, list) or not all(isinstance(a, str) for a in listed):
            raise Rejected(RejectReason.AUDIENCE)
        accepted = frozenset({self.project_id}) if self.audience is None else self.audience
        if not self.any_audience and accepted.isdisjoint(listed):
            raise Rejected(RejectReason.AUDIENCE)

    def _check_kind(self, members: dict[str, Any], *, refresh: bool) -> None:
        name = members.get("drn")
        if refresh:
            accepted = name == REFRESH_NAME
        else:
            absent_is_fine = "drn" not in members and not self.require_session_name
            accepted = name == SESSION_NAME or absent_is_fine
        if not accepted or "nonce" in members:
            # A nonce makes it an OpenID Connect id token: for the client, not for an API.
            raise Rejected(RejectReason.NOT_A_SESSION)
        if "cnf" in members:
            # RFC 9449 section 7.2: a bound token sent as a bearer token must be refused.
            raise Rejected(RejectReason.SENDER_CONSTRAINED)
        if "jti" in members and not isinstance(members["jti"], str):
            raise Rejected(RejectReason.CLAIM_INVALID)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"{type(self).__name__} is immutable."
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        msg = f"{type(self).__name__} is immutable."
        raise AttributeError(msg)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(project_id={self.project_id!r})"


def _payload(jws: CompactJWS) -> dict[str, Any]:
    members = parse_object(jws.payload)
    if members is None:
        raise Rejected(RejectReason.MALFORMED)
    return members


def _moment(members: dict[str, Any], name: str) -> float:
    """Return a NumericDate (RFC 7519 section 2): a finite number, not text and not a boolean."""
    value = members.get(name)
    if value is None:
        raise Rejected(RejectReason.CLAIM_MISSING)
    if type(value) not in (int, float) or not 0 < value < _LATEST:
        raise Rejected(RejectReason.CLAIM_INVALID)
    return float(value)


def _strings(name: str, values: Iterable[str]) -> frozenset[str]:
    listed = None if isinstance(values, str) else list(values)
    if listed is None or not all(isinstance(v, str) and v.strip() and "*" not in v for v in listed):
        msg = f"{name} takes exact strings: no empty ones, no wildcards, no patterns."
        raise ConfigurationError(msg)
    return frozenset(listed)


def _audience(audience: str | Iterable[str] | None, *, any_audience: bool) -> frozenset[str] | None:
    if audience is None:
        return None
    values = _strings("audience", (audience,) if isinstance(audience, str) else audience)
    if not values:
        msg = "audience is None or at least one value."
        raise ConfigurationError(msg)
    if any_audience:
        msg = "Give either audience or any_audience=True."
        raise ConfigurationError(msg)
    return values


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        msg = f"{name} is True or False, not {value!r}."
        raise ConfigurationError(msg)
    return value


def _leeway(seconds: Any) -> float:
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not 0 <= seconds <= _MAX_LEEWAY:
        msg = f"leeway is a number of seconds from 0 to {_MAX_LEEWAY}, not {seconds!r}."
        raise ConfigurationError(msg)
    return float(seconds)


def _lifetime(duration: Duration) -> int:
    seconds = _options.duration("max_lifetime", duration)
    if seconds == 0:
        msg = "max_lifetime is None or at least one second."
        raise ConfigurationError(msg)
    return seconds


def _in_order(rules: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return *rules* in a form that is the same for the same rules."""
    return [(n, sorted(v) if isinstance(v, frozenset) else v) for n, v in sorted(rules.items())]

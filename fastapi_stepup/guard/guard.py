"""StepUpGuard: how a guard is made, started and stopped; `authorization` has what it decides.

Longer than other modules: half of it are the options of `for_descope` and `for_oidc`.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, get_args

import httpx

from fastapi_stepup._emitter import AuditTrail, Emitter
from fastapi_stepup._log import logger
from fastapi_stepup._options import Duration, one_of
from fastapi_stepup._urls import checked_base_url
from fastapi_stepup.claims import Claims, EvidenceReader
from fastapi_stepup.errors import ConfigurationError, KeysUnavailable, StepUpError
from fastapi_stepup.events import AuditHooks, EventHooks
from fastapi_stepup.guard.authorization import Authorization
from fastapi_stepup.guard.credentials import CredentialReader, reader_from
from fastapi_stepup.guard.decisions import AuditSubjects, Decisions
from fastapi_stepup.guard.factory import (
    AccessTokenPartsFactory,
    GuardParts,
    PartsFactory,
    PartsMaker,
    base_url_from,
    issuer_from,
    project_id_from,
    reusable,
)
from fastapi_stepup.guard.one_time import LEASE, OneTimeUses
from fastapi_stepup.guard.one_time_store import OneTimeStore
from fastapi_stepup.guard.policy_lints import MaxAgeLint
from fastapi_stepup.guard.refusals import Refusals
from fastapi_stepup.providers.descope.client import DescopeClient
from fastapi_stepup.tokens.cache import CACHED_TOKENS
from fastapi_stepup.tokens.claims_set import LEEWAY
from fastapi_stepup.tokens.jwks.cache import MAX_STALE, TTL, JWKSCache
from fastapi_stepup.tokens.jwks.state import KeysHealth
from fastapi_stepup.tokens.jws import MAX_TOKEN, TYPES
from fastapi_stepup.tokens.oidc import ACCESS_TOKEN_TYPES, AccessTokenVerifier
from fastapi_stepup.tokens.verifier import RevocationHook, TokenVerifier

Warmup = Literal["require", "best-effort", "lazy"]


@dataclass(frozen=True, slots=True)
class GuardHealth:
    """The guard's state. It is safe to show: no token, key, URL or project id.

    Args:
        ok: False only when nothing can be verified at the moment.
        keys: The state of the key set.
        report_only: True while refusals are only reported: not a state to stay in.
    """

    ok: bool
    keys: KeysHealth
    report_only: bool


class StepUpGuard(Authorization):
    """Authorizes connections: the one decision behind every entry point.

    - Claims come only from a verified token of the configured project, or issuer.
    - A policy is met at the moment of the call.
    - Each refusal is one of `fastapi_stepup.errors`.
    - Serves any number of event loops, threads and apps.
    - Does not check whether a user may touch a given object: that is the app's business.

    Usually made by `StepUpGuard.for_descope`, or by `StepUpGuard.for_oidc` for any other issuer;
    the constructor takes ready parts.

    Args:
        verifier: Verifies tokens.
        descope: Talks to Descope for the helper routes; `None` for another issuer.
        credentials: Finds the token of a connection.
        parts_on: Makes the same parts again on another transport, for `on_transport`; without it
            that method is refused.
        realm: The protection space named in challenges; the project id, or the issuer, by default.
        resource_metadata: URL of this API's metadata, which each challenge then names (RFC 9728
            section 5.1): there a client finds out where to get a token.
        warmup: What entering the guard (or its lifespan) does about keys: `"require"` fails the
            start without them, `"best-effort"` tries and goes on, `"lazy"` waits for a request.
        report_only: Let requests pass that would be refused, and say so in the log and as
            `ReportOnly` events: for rolling a policy out. The middleware then refuses nothing; a
            dependency still asks for a valid session, since it owes the handler its claims.
        one_time: Remembers which one-time step-ups (`once=`) are used; this process by default.
        redis_url: A Redis that remembers it instead, for several processes: `redis://…`, with the
            extra `redis`.
        one_time_lease: Longest time for which a request holds a one-time step-up; one that dies
            gives it back by then.
        on_event: Called with each event; a list of hooks is taken too.
        on_audit: Called with a record of each decision (`AuditRecord`); or a list of hooks.
        audit_subjects: `"digest"` names users in records by a keyed digest, `"plain"` by `sub`.
        audit_key: A secret of at least 16 bytes for these digests, so that those of several
            processes and of later runs can be compared. By default a new one in each process.
        clock: Gives epoch seconds; `time.time` by default.

    Raises:
        ConfigurationError: *realm* or *resource_metadata* cannot be put into a header, or *warmup*
            is unknown.
    """

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        descope: DescopeClient | None,
        credentials: CredentialReader,
        parts_on: PartsMaker | None = None,
        realm: str | None = None,
        resource_metadata: str | None = None,
        warmup: Warmup = "best-effort",
        report_only: bool = False,
        one_time: OneTimeStore | None = None,
        redis_url: str | None = None,
        one_time_lease: Duration = LEASE,
        on_event: EventHooks | Emitter | None = None,
        on_audit: AuditHooks | None = None,
        audit_subjects: AuditSubjects = "digest",
        audit_key: str | bytes | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._bundles = [GuardParts(verifier, descope)]
        self._parts_on = parts_on
        self.credentials = credentials
        self.issuer: str | None = (
            verifier.issuer if isinstance(verifier, AccessTokenVerifier) else None
        )
        self.marks_step_up: bool = verifier.marks_step_up
        self.warmup: Warmup = one_of("warmup", warmup, get_args(Warmup))
        self.clock: Callable[[], float] = clock or _epoch_seconds
        emit = on_event if isinstance(on_event, Emitter) else Emitter(on_event)
        self.refusals: Refusals = self._make_refusals(
            realm=(self.issuer or self.project_id) if realm is None else realm,
            report_only=report_only,
            emit=emit,
            resource_metadata=resource_metadata,
        )
        self.decisions: Decisions = Decisions(
            self,
            emit=emit,
            audit=AuditTrail(on_audit),
            subjects=audit_subjects,
            key=audit_key,
            clock=self.clock,
        )
        self.one_time: OneTimeUses = OneTimeUses(
            store=one_time, redis_url=redis_url, lease=one_time_lease
        )
        self._lint = MaxAgeLint()
        self.realm: str = self.refusals.realm
        self.report_only: bool = self.refusals.report_only

    @classmethod
    def for_descope(
        cls,
        project_id: str | None = None,
        *,
        base_url: str | None = None,
        audience: str | Iterable[str] | None = None,
        any_audience: bool = False,
        issuers: Iterable[str] = (),
        types: Iterable[str] = TYPES,
        algorithms: tuple[str, ...] = ("RS256",),
        leeway: float = LEEWAY,
        max_lifetime: Duration | None = None,
        realm: str | None = None,
        resource_metadata: str | None = None,
        session_cookie: str | None = "DS",
        refresh_cookie: str | None = "DSR",
        allowed_origins: Iterable[str] = (),
        credentials: CredentialReader | None = None,
        require_session_name: bool = False,
        max_token_size: int = MAX_TOKEN,
        verdict_cache_size: int = CACHED_TOKENS,
        is_revoked: RevocationHook | None = None,
        static_keys: Mapping[str, Any] | None = None,
        keys_ttl: float = TTL,
        keys_max_stale: float = MAX_STALE,
        warmup: Warmup = "best-effort",
        report_only: bool = False,
        one_time: OneTimeStore | None = None,
        redis_url: str | None = None,
        one_time_lease: Duration = LEASE,
        on_event: EventHooks | None = None,
        on_audit: AuditHooks | None = None,
        audit_subjects: AuditSubjects = "digest",
        audit_key: str | bytes | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] | None = None,
    ) -> Self:
        """Return a guard for the sessions of one Descope project.

        Args:
            project_id: The project, `P2…`; else the variable `DESCOPE_PROJECT_ID`.
            base_url: Descope's API; else the variable `DESCOPE_BASE_URI`, else Descope's own host
                for the project's region. https, or http on a loopback host.
            audience: Accepted `aud` values; see `TokenVerifier`.
            any_audience: Let tokens for any audience pass.
            issuers: Further accepted `iss` values, as exact strings.
            types: Accepted `typ` values of token headers.
            algorithms: Accepted signature algorithms; Descope signs with RS256.
            leeway: Seconds of clock difference to allow for, 0 to 60.
            max_lifetime: Longest time from `iat` to `exp` of a session token.
            realm: The protection space named in challenges.
            resource_metadata: URL of this API's metadata for each challenge; see the class.
            session_cookie: Cookie with the session token; `None` reads the header only.
            refresh_cookie: Cookie with the refresh token, for the helper routes.
            allowed_origins: Other origins whose pages may send the cookies.
            credentials: Finds the token of a connection, instead of the three options above: a
                `CredentialReader(…)` with more options, or of a class of yours.
            require_session_name: Refuse session tokens without `drn`.
            max_token_size: Longest token in characters.
            verdict_cache_size: Number of verified tokens to remember; 0 turns that off.
            is_revoked: Asked about the claims of every token that passed; see `TokenVerifier`.
            static_keys: A JWK set to verify with for good, so that no key is ever fetched: for use
                offline. A rotation of the project's keys then needs a new set and a restart.
            keys_ttl: Seconds until the key set is refreshed in the background.
            keys_max_stale: Seconds for which an unreachable key set is served on.
            warmup: What start-up does about keys.
            report_only: Report refusals instead of making them; see the class.
            one_time: Remembers which one-time step-ups are used; see the class.
            redis_url: A Redis that remembers it instead; see the class.
            one_time_lease: Longest time for which a request holds one; see the class.
            on_event: Called with each event (`fastapi_stepup.events`), or a list of hooks.
            on_audit: Called with a record of each decision, or a list of hooks; see the class.
            audit_subjects: How records name users; see the class.
            audit_key: Keys the digests of users; see the class.
            transport: Where outbound HTTP goes instead of the network; the seam for tests.
            clock: Gives epoch seconds; `time.time` by default.

        Raises:
            ConfigurationError: Something cannot be used; the message says what to change.
        """
        project = project_id_from(project_id)
        emit = Emitter(on_event)
        factory = PartsFactory(
            project,
            base_url_from(base_url, project),
            keys=reusable(algorithms=algorithms, ttl=keys_ttl, max_stale=keys_max_stale),
            verifier=reusable(
                issuers=issuers,
                audience=audience,
                any_audience=any_audience,
                types=types,
                leeway=leeway,
                max_lifetime=max_lifetime,
                require_session_name=require_session_name,
                max_token_size=max_token_size,
                verdict_cache_size=verdict_cache_size,
                is_revoked=is_revoked,
            ),
            emit=emit,
            clock=clock or _epoch_seconds,
        )
        parts = factory.make(transport, static_keys)
        return cls(
            verifier=parts.verifier,
            descope=parts.descope,
            credentials=reader_from(
                credentials,
                session_cookie=session_cookie,
                refresh_cookie=refresh_cookie,
                allowed_origins=allowed_origins,
            ),
            parts_on=factory.make,
            realm=realm,
            resource_metadata=resource_metadata,
            warmup=warmup,
            report_only=report_only,
            one_time=one_time,
            redis_url=redis_url,
            one_time_lease=one_time_lease,
            on_event=emit,
            on_audit=on_audit,
            audit_subjects=audit_subjects,
            audit_key=audit_key,
            clock=clock,
        )

    @classmethod
    def for_oidc(
        cls,
        issuer: str,
        *,
        audience: str | Iterable[str] | None = None,
        client_id: str | Iterable[str] | None = None,
        jwks_uri: str | None = None,
        types: Iterable[str] = ACCESS_TOKEN_TYPES,
        require_claims: Mapping[str, str | Iterable[str] | None] | None = None,
        evidence: EvidenceReader | None = None,
        algorithms: tuple[str, ...] = ("RS256", "ES256", "ES384", "EdDSA"),
        leeway: float = LEEWAY,
        max_lifetime: Duration | None = None,
        realm: str | None = None,
        resource_metadata: str | None = None,
        session_cookie: str | None = None,
        allowed_origins: Iterable[str] = (),
        credentials: CredentialReader | None = None,
        max_token_size: int = MAX_TOKEN,
        verdict_cache_size: int = CACHED_TOKENS,
        is_revoked: RevocationHook | None = None,
        static_keys: Mapping[str, Any] | None = None,
        keys_ttl: float = TTL,
        keys_max_stale: float = MAX_STALE,
        warmup: Warmup = "best-effort",
        report_only: bool = False,
        one_time: OneTimeStore | None = None,
        redis_url: str | None = None,
        one_time_lease: Duration = LEASE,
        on_event: EventHooks | None = None,
        on_audit: AuditHooks | None = None,
        audit_subjects: AuditSubjects = "digest",
        audit_key: str | bytes | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] | None = None,
    ) -> Self:
        """Return a guard for the access tokens (RFC 9068) of any OAuth or OpenID issuer.

        - A policy asks for `max_age`, `acr` or `amr`: these tokens have no mark of a step-up. The
          age counts from `auth_time`. What the token does not say is missing.
        - The challenge is the way to step up: the client asks the issuer again, with `acr_values`
          and `max_age`. There are no helper routes.
        - ID tokens, refresh tokens and tokens of machines are rejected.

        Args:
            issuer: The `iss` of the tokens, exactly. Its metadata says where the keys are.
            audience: Accepted `aud` values. Needed, unless *client_id* stands for them.
            client_id: Accepted clients; see `AccessTokenVerifier`.
            jwks_uri: Where the keys are, so that no metadata is asked for.
            types: Accepted `typ` values of token headers.
            require_claims: Claims that tokens must have, by name, with their accepted values or
                `None` for any; see `AccessTokenVerifier`. For `types` other than `at+jwt`.
            evidence: A function of `Claims` that returns `Evidence`, for issuers that put strength
                and time of the login into other claims.
            algorithms: Accepted signature algorithms, one for each type of key by default. A key
                without `alg`, such as Entra's, needs a list that has one for its type.
            leeway: Seconds of clock difference to allow for, 0 to 60.
            max_lifetime: Longest time from `iat` to `exp` of a token.
            realm: The protection space named in challenges; the issuer by default.
            resource_metadata: URL of this API's metadata for each challenge; see the class.
            session_cookie: Cookie with the token; by default the header only.
            allowed_origins: Other origins whose pages may send the cookie.
            credentials: Finds the token of a connection, instead of the two options above.
            max_token_size: Longest token in characters.
            verdict_cache_size: Number of verified tokens to remember; 0 turns that off.
            is_revoked: Asked about the claims of every token that passed; see `TokenVerifier`.
            static_keys: A JWK set to verify with for good: nothing is ever fetched.
            keys_ttl: Seconds until keys and metadata are refreshed in the background.
            keys_max_stale: Seconds for which they are used on while they cannot be had.
            warmup: What start-up does about keys.
            report_only: Report refusals instead of making them; see the class.
            one_time: Remembers which one-time step-ups are used; see the class.
            redis_url: A Redis that remembers it instead; see the class.
            one_time_lease: Longest time for which a request holds one; see the class.
            on_event: Called with each event (`fastapi_stepup.events`), or a list of hooks.
            on_audit: Called with a record of each decision, or a list of hooks; see the class.
            audit_subjects: How records name users; see the class.
            audit_key: Keys the digests of users; see the class.
            transport: Where outbound HTTP goes instead of the network; the seam for tests.
            clock: Gives epoch seconds; `time.time` by default.

        Raises:
            ConfigurationError: Something cannot be used; the message says what to change.

        References:
            RFC 9068, RFC 9470, RFC 8414, OpenID Connect Discovery 1.0.
        """
        is_looked_up = jwks_uri is None and static_keys is None
        emit = Emitter(on_event)
        factory = AccessTokenPartsFactory(
            issuer_from(issuer, is_looked_up=is_looked_up),
            None if jwks_uri is None else checked_base_url("jwks_uri", jwks_uri),
            keys=reusable(algorithms=algorithms, ttl=keys_ttl, max_stale=keys_max_stale),
            verifier=reusable(
                audience=audience,
                client_id=client_id,
                types=types,
                require_claims=require_claims,
                evidence=evidence,
                leeway=leeway,
                max_lifetime=max_lifetime,
                max_token_size=max_token_size,
                verdict_cache_size=verdict_cache_size,
                is_revoked=is_revoked,
            ),
            emit=emit,
            clock=clock or _epoch_seconds,
        )
        return cls(
            verifier=factory.make(transport, static_keys).verifier,
            descope=None,
            credentials=reader_from(
                credentials,
                session_cookie=session_cookie,
                refresh_cookie=None,
                allowed_origins=allowed_origins,
                defaults=(None, None),
            ),
            parts_on=factory.make,
            realm=realm,
            resource_metadata=resource_metadata,
            warmup=warmup,
            report_only=report_only,
            one_time=one_time,
            redis_url=redis_url,
            one_time_lease=one_time_lease,
            on_event=emit,
            on_audit=on_audit,
            audit_subjects=audit_subjects,
            audit_key=audit_key,
            clock=clock,
        )

    def _make_refusals(self, **options: Any) -> Refusals:
        return Refusals(**options)

    @property
    def keys(self) -> JWKSCache:
        """Holds the verification keys."""
        return self._parts.keys

    @property
    def descope(self) -> DescopeClient:
        """Talks to Descope for the helper routes.

        Raises:
            AttributeError: The guard is for another issuer.
        """
        descope = self._parts.descope
        if descope is None:
            msg = f"{self!r} is for no Descope project alone, so it has none."
            raise AttributeError(msg)
        return descope

    @property
    def project_id(self) -> str:
        """The Descope project; raises as `descope`."""
        return self.descope.project_id

    @property
    def base_url(self) -> str:
        """Descope's API; raises as `descope`."""
        return self.descope.base_url

    async def verify(self, token: str) -> Claims:
        """Return the claims of a session token; see `TokenVerifier.verify`.

        For a token that belongs to a connection, `authorize(connection, policy, token=…)` is
        better: it refuses in the way that the connection can take.

        Raises:
            InvalidToken: A check failed.
            KeysUnavailable: No key set can be had.
            RevocationUnavailable: `is_revoked` failed.
        """
        pending = self._parts.verifier.verify(token)
        # Reports of uncaught errors show the local variables of each frame.
        del token
        try:
            return await pending
        except StepUpError as error:
            logger.debug("Refused: %s.", error.log_line)
            error.bind(realm=self.realm, resource_metadata=self.refusals.resource_metadata)
            raise

    def health(self) -> GuardHealth:
        """Return the guard's state without touching the network."""
        keys = self.keys.health()
        return GuardHealth(
            ok=keys.state in {"fresh", "stale"}, keys=keys, report_only=self.report_only
        )

    async def __aenter__(self) -> Self:
        if self.warmup != "lazy":
            try:
                await self.keys.warm_up()
            except KeysUnavailable:
                if self.warmup == "require":
                    raise
                logger.warning("Starting without verification keys; requests will fetch them.")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for parts in tuple(self._bundles):
            await parts.keys.aclose()
        await self.one_time.store.aclose()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:  # noqa: ARG002  # ASGI's shape
        """Warm the keys up when the app starts, tidy up when it stops: `FastAPI(lifespan=…)`.

        Optional: without it everything opens on first use. In a lifespan of your own, write
        `async with guard:`.
        """
        async with self:
            yield

    @contextmanager
    def on_transport(self, transport: httpx.AsyncBaseTransport) -> Iterator[None]:
        """Send all outbound HTTP to *transport* until the block ends; the seam of the emulator.

        The guard works with a second set of parts meanwhile: same settings, empty caches, and
        fetched keys even where it has `static_keys`. The parts from before are used again at the
        end, as they were. Blocks may nest and overlap; the latest one that is open counts. A call
        that is under way keeps the parts that it began with.

        Args:
            transport: Where requests go instead of the network.

        Raises:
            ConfigurationError: *transport* is something else, or the guard was constructed without
                `parts_on`, so nothing says how to make its parts again.
        """
        if self._parts_on is None:
            msg = (
                "This guard was constructed from ready parts, which cannot be made again on "
                "another transport: pass parts_on=…, or make the guard with for_descope."
            )
            raise ConfigurationError(msg)
        parts = self._parts_on(transport)
        self._bundles.append(parts)
        try:
            yield
        finally:
            self._bundles.remove(parts)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> NoReturn:
        """Refuse to be filled from a request: `Depends(RequireStepUp)` would ask FastAPI for it.

        Raises:
            ConfigurationError: Always; the message says what to write.
        """
        msg = (
            "A guard comes from no request: give Depends an instance, "
            "Depends(RequireStepUp(guard)) or Depends(RequireSession(guard)), not the class."
        )
        raise ConfigurationError(msg)

    def __repr__(self) -> str:
        if self.issuer is not None:
            return f"StepUpGuard(issuer={self.issuer!r})"
        return f"StepUpGuard(project_id={self.project_id!r})"


def _epoch_seconds() -> float:
    """Return the time. Looked up at each call, so that tests may freeze it."""
    return time.time()

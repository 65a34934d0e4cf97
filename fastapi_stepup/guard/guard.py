"""StepUpGuard: a connection and a policy in, verified claims or the right refusal out."""

import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import quote

import httpx
from starlette.exceptions import WebSocketException
from starlette.requests import HTTPConnection
from starlette.routing import NoMatchFound
from starlette.websockets import WebSocket, WebSocketState

from fastapi_stepup._emitter import Emitter
from fastapi_stepup._http import HTTPClient
from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._log import logger
from fastapi_stepup._options import Duration, project_id as checked_project_id
from fastapi_stepup._urls import checked_base_url, origin_of
from fastapi_stepup.challenge import Challenge
from fastapi_stepup.claims import CLAIMS_SCOPE_KEY, Claims
from fastapi_stepup.errors import ConfigurationError, KeysUnavailable, StepUpError, StepUpRequired
from fastapi_stepup.events import EventHook, ReportOnly
from fastapi_stepup.guard.credentials import CredentialReader, header_fields
from fastapi_stepup.policy.policy import StepUpPolicy
from fastapi_stepup.providers.descope.client import DEADLINE, DescopeClient, base_url_for
from fastapi_stepup.tokens.cache import CACHED_TOKENS
from fastapi_stepup.tokens.jwks.cache import MAX_STALE, TTL, JWKSCache
from fastapi_stepup.tokens.jwks.state import KeysHealth
from fastapi_stepup.tokens.jws import MAX_TOKEN, TYPES
from fastapi_stepup.tokens.verifier import (
    LEEWAY,
    RevocationHook,
    TokenVerifier,
)

Warmup = Literal["require", "best-effort", "lazy"]

PROJECT_ID_VARIABLE: Final = "DESCOPE_PROJECT_ID"
BASE_URL_VARIABLE: Final = "DESCOPE_BASE_URI"

PRESENTED_SCOPE_KEY: Final = "fastapi_stepup.presented"
POLICIES_SCOPE_KEY: Final = "fastapi_stepup.policies"

_POLICY_VIOLATION: Final = 1008
_DENIAL: Final = "websocket.http.response"


@dataclass(frozen=True, slots=True)
class HelperRoutes:
    """Where a mounted helper router can be found: the names of its routes, and what it offers.

    Args:
        methods: What challenges list, in order.
        uris: For each kind of method the names of its routes, by what a challenge calls them.
        status_name: The name of the status route, if challenges shall name it.
        flow_id: The Descope flow that front ends may run instead, if any.
    """

    methods: tuple[str, ...]
    uris: Mapping[str, Mapping[str, str]]
    status_name: str | None
    flow_id: str | None

    def described(self, path_for: Callable[[str], str]) -> dict[str, Any]:
        """Return the problem's `step_up` member.

        Args:
            path_for: Gives the path of a route by its name.
        """
        paths = {
            method: {uri: path_for(name) for uri, name in names.items()}
            for method, names in self.uris.items()
        }
        # The contract's two members are those of OTP; every other method is under its own name.
        member: dict[str, Any] = {**paths.pop("otp", {}), "methods": list(self.methods)}
        if self.status_name is not None:
            member["status_uri"] = path_for(self.status_name)
        if self.flow_id is not None:
            member["flow_id"] = self.flow_id
        if paths:
            member["uris"] = paths
        return member


@dataclass(frozen=True, slots=True)
class GuardHealth:
    """The guard's state, safe to show: no token, key, URL or project id.

    `ok` is false only when nothing can be verified at the moment. `report_only` is true while
    refusals are only reported: not a state to stay in.
    """

    ok: bool
    keys: KeysHealth
    report_only: bool


@dataclass(frozen=True, slots=True, eq=False)
class GuardParts:
    """The parts of a guard that depend on where its outbound HTTP goes.

    They belong together: what one of them learnt is never used with another set.

    Args:
        verifier: Verifies tokens with keys from there.
        descope: Talks to Descope there.
    """

    verifier: TokenVerifier
    descope: DescopeClient

    @property
    def keys(self) -> JWKSCache:
        """Where the verifier finds keys."""
        return self.verifier.keys


class StepUpGuard(SetOnce):
    """Authorizes connections: the one decision behind every door.

    Guarantees that claims come only from a verified token of the configured project, that a
    policy is met at the moment of the call, and that each refusal is one of
    `fastapi_stepup.errors`. Serves any number of event loops, threads and apps. Does not check
    whether a user may touch a given object: that is the app's business.

    Usually made by `StepUpGuard.for_descope`; the constructor takes ready parts.

    Args:
        verifier: Verifies tokens.
        descope: Talks to Descope for the helper routes.
        credentials: Finds the token of a connection.
        parts_on: Makes the same parts again on another transport, for `on_transport`; without it
            that method is refused.
        realm: The protection space named in challenges; the project id by default.
        warmup: What entering the guard (or its lifespan) does about keys: `"require"` fails the
            start without them, `"best-effort"` tries and goes on, `"lazy"` waits for a request.
        report_only: Let requests pass that would be refused, and say so in the log and as
            `ReportOnly` events: for rolling a policy out. The middleware then refuses nothing; a
            dependency still asks for a valid session, since it owes the handler its claims.
        on_event: Called with each event.
        clock: Gives epoch seconds.

    Raises:
        ConfigurationError: *realm* cannot be put into a header, or *warmup* is unknown.
    """

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        descope: DescopeClient,
        credentials: CredentialReader,
        parts_on: Callable[[httpx.AsyncBaseTransport], GuardParts] | None = None,
        realm: str | None = None,
        warmup: Warmup = "best-effort",
        report_only: bool = False,
        on_event: EventHook | Emitter | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # The last one counts. The tuple is replaced, never changed: readers need no lock.
        self._bundles: tuple[GuardParts, ...] = (GuardParts(verifier, descope),)
        self._bundles_lock = threading.Lock()
        self._parts_on = parts_on
        self.credentials = credentials
        self.project_id: str = verifier.project_id
        self.base_url: str = descope.base_url
        self.realm: str = _checked_realm(self.project_id if realm is None else realm)
        if warmup not in ("require", "best-effort", "lazy"):
            msg = f'warmup is "require", "best-effort" or "lazy", not {warmup!r}.'
            raise ConfigurationError(msg)
        if not isinstance(report_only, bool):
            msg = f"report_only is True or False, not {report_only!r}."
            raise ConfigurationError(msg)
        self.warmup = warmup
        self.report_only = report_only
        self.clock = clock
        self._emit = on_event if isinstance(on_event, Emitter) else Emitter(on_event)
        if report_only:
            logger.warning("Report-only mode: step-up is not enforced, refusals are reported.")
        self._helper_routes: list[HelperRoutes] = []

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
        session_cookie: str | None = "DS",
        refresh_cookie: str | None = "DSR",
        allowed_origins: Iterable[str] = (),
        require_session_name: bool = False,
        max_token_size: int = MAX_TOKEN,
        verdict_cache_size: int = CACHED_TOKENS,
        is_revoked: RevocationHook | None = None,
        static_keys: Mapping[str, Any] | None = None,
        keys_ttl: float = TTL,
        keys_max_stale: float = MAX_STALE,
        warmup: Warmup = "best-effort",
        report_only: bool = False,
        on_event: EventHook | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
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
            session_cookie: Cookie with the session token; `None` reads the header only.
            refresh_cookie: Cookie with the refresh token, for the helper routes.
            allowed_origins: Other origins whose pages may send the cookies.
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
            on_event: Called with each event (`fastapi_stepup.events`).
            transport: Where outbound HTTP goes instead of the network; the seam for tests.
            clock: Gives epoch seconds.

        Raises:
            ConfigurationError: Something cannot be used; the message says what to change.
        """
        project = checked_project_id(
            os.environ.get(PROJECT_ID_VARIABLE, "").strip() if project_id is None else project_id
        )
        name, chosen = "base_url", base_url
        if chosen is None:
            name, chosen = BASE_URL_VARIABLE, os.environ.get(BASE_URL_VARIABLE) or None
        url = checked_base_url(name, base_url_for(project) if chosen is None else chosen)
        emitter = Emitter(on_event)

        def parts_on(
            transport: httpx.AsyncBaseTransport | None, static: Mapping[str, Any] | None = None
        ) -> GuardParts:
            # Descope answers a sign-in when the message is sent, later than it answers for keys.
            http = HTTPClient(transport, read_timeout=DEADLINE, total_timeout=DEADLINE)
            descope = DescopeClient(project, base_url=url, http=http, clock=clock)
            if static is None:
                keys = JWKSCache(
                    descope.keys_url,
                    algorithms=algorithms,
                    ttl=keys_ttl,
                    max_stale=keys_max_stale,
                    http=HTTPClient(transport),
                    on_event=emitter,
                    wall=clock,
                )
            else:
                keys = JWKSCache.static(
                    static, algorithms=algorithms, url=descope.keys_url, on_event=emitter
                )
            verifier = TokenVerifier(
                keys,
                project_id=project,
                issuer_hosts={origin_of(url), origin_of(base_url_for(project))},
                issuers=kept_issuers,
                audience=kept_audience,
                any_audience=any_audience,
                types=kept_types,
                leeway=leeway,
                max_lifetime=max_lifetime,
                require_session_name=require_session_name,
                max_token_size=max_token_size,
                verdict_cache_size=verdict_cache_size,
                is_revoked=is_revoked,
                on_event=emitter,
                clock=clock,
            )
            return GuardParts(verifier, descope)

        # Iterators are good for one use; these are used again for each transport.
        kept_issuers, kept_types, kept_audience = map(_kept, (issuers, types, audience))
        parts = parts_on(transport, static_keys)
        return cls(
            verifier=parts.verifier,
            descope=parts.descope,
            credentials=CredentialReader(
                session_cookie=session_cookie,
                refresh_cookie=refresh_cookie,
                allowed_origins=allowed_origins,
            ),
            parts_on=parts_on,
            realm=realm,
            warmup=warmup,
            report_only=report_only,
            on_event=emitter,
            clock=clock,
        )

    @property
    def _parts(self) -> GuardParts:
        """The parts in use. Take them once a call, which then stays on one side of a swap."""
        return self._bundles[-1]

    @property
    def verifier(self) -> TokenVerifier:
        """Verifies tokens."""
        return self._parts.verifier

    @property
    def keys(self) -> JWKSCache:
        """Holds the verification keys."""
        return self._parts.keys

    @property
    def descope(self) -> DescopeClient:
        """Talks to Descope for the helper routes."""
        return self._parts.descope

    async def verify(self, token: str) -> Claims:
        """Return the claims of a session token; see `TokenVerifier.verify`.

        Raises:
            InvalidToken: A check failed.
            KeysUnavailable: No key set can be had.
            RevocationUnavailable: `is_revoked` failed.
        """
        verdict = self._parts.verifier.verify(token)
        # Reports of uncaught errors show the local variables of each frame.
        del token
        try:
            return await verdict
        except StepUpError as error:
            error.bind(realm=self.realm)
            raise

    async def authorize(
        self, connection: HTTPConnection, policy: StepUpPolicy | None = None
    ) -> Claims:
        """Return the claims of the session that *connection* presents, if it meets *policy*.

        The claims are kept in the scope: `claims_from` reads them, and a second call for the same
        request verifies nothing again while the token lives, but always asks the policy.

        Args:
            connection: A request or a WebSocket.
            policy: What the session must meet; `None` asks for a session only.

        Raises:
            StepUpError: The refusal to answer with, complete with challenge and helper routes.
            WebSocketException: Instead, with code 1008, for a WebSocket that cannot be answered
                over HTTP: it is accepted already, or the server lacks the denial extension.
        """
        try:
            claims = await self._claims(connection)
        except StepUpError as error:
            raise self._refusal(connection, error) from None
        if policy is not None:
            try:
                policy.enforce(claims, now=self.clock())
            except StepUpError as error:
                if not self.reports(error.code):
                    raise self._refusal(connection, error) from None
        if connection.scope["type"] == "websocket":
            self._remember(connection, policy)
        return claims

    async def admit(
        self, connection: HTTPConnection, policy: StepUpPolicy | None = None
    ) -> Claims | None:
        """Do what `authorize` does, for a door that owes nobody claims.

        In report-only mode it never refuses: it returns `None` where there is no valid session.

        Raises:
            StepUpError: As `authorize`.
            WebSocketException: As `authorize`.
        """
        claims = None
        try:
            claims = await self._claims(connection)
            if policy is not None:
                policy.enforce(claims, now=self.clock())
        except StepUpError as error:
            if not self.reports(error.code):
                raise self._refusal(connection, error) from None
        if connection.scope["type"] == "websocket":
            self._remember(connection, policy)
        return claims

    def reports(self, code: str) -> bool:
        """Whether a refusal is only reported; says so to the operator if it is.

        Args:
            code: The problem code of the refusal.
        """
        if self.report_only:
            logger.warning("Report only: a request passed that enforcement answers %s.", code)
            self._emit(ReportOnly(code))
        return self.report_only

    async def recheck(self, websocket: WebSocket) -> Claims:
        """Return the claims of a long-lived WebSocket if it would still be let in now.

        Verifies the token of the handshake again (it may have expired, its key may be revoked) and
        asks every policy again that let this connection in (a step-up may have become too old).
        Call it before each sensitive message, or now and then.

        Raises:
            WebSocketException: It would not; code 1008, with the problem code as its reason.
            StepUpError: Instead, before the WebSocket is accepted, as `authorize`.
            LookupError: This guard never let the connection in.
        """
        policies = websocket.scope.get(POLICIES_SCOPE_KEY, {}).get(self)
        if policies is None:
            msg = "recheck asks again what authorize asked before: authorize the WebSocket first."
            raise LookupError(msg)
        try:
            claims = await self._verified(websocket, self._parts)
        except StepUpError as error:
            known = websocket.scope.get(CLAIMS_SCOPE_KEY, {})
            websocket.scope[CLAIMS_SCOPE_KEY] = {g: c for g, c in known.items() if g is not self}
            raise self._refusal(websocket, error) from None
        for policy in policies:
            await self.authorize(websocket, policy)
        return claims

    async def _claims(self, connection: HTTPConnection) -> Claims:
        parts = self._parts
        return self._known(connection, parts) or await self._verified(connection, parts)

    def _known(self, connection: HTTPConnection, parts: GuardParts) -> Claims | None:
        """Return the claims that are kept in the scope, if they still hold."""
        scope = connection.scope
        kept = scope.get(CLAIMS_SCOPE_KEY)
        if kept is None:
            return None
        claims: Claims | None = kept.get(self)
        # Somebody may have copied the scope for another request, with another token; and a
        # WebSocket may live longer than its token, or than the parts that verified it.
        if (
            claims is not None
            and scope.get(PRESENTED_SCOPE_KEY, {}).get(self) == _presented(connection, parts)
            and claims.expires_at + parts.verifier.leeway > self.clock()
        ):
            return claims
        return None

    async def _verified(self, connection: HTTPConnection, parts: GuardParts) -> Claims:
        claims = await parts.verifier.verify(self.credentials.token(connection))
        scope = connection.scope
        scope[CLAIMS_SCOPE_KEY] = {**scope.get(CLAIMS_SCOPE_KEY, {}), self: claims}
        presented = {**scope.get(PRESENTED_SCOPE_KEY, {}), self: _presented(connection, parts)}
        scope[PRESENTED_SCOPE_KEY] = presented
        return claims

    def _remember(self, connection: HTTPConnection, policy: StepUpPolicy | None) -> None:
        """Keep what let a WebSocket in, for `recheck`."""
        known = connection.scope.get(POLICIES_SCOPE_KEY, {})
        asked = known.get(self, frozenset()) | ({policy} if policy else set())
        connection.scope[POLICIES_SCOPE_KEY] = {**known, self: asked}

    def _refusal(
        self, connection: HTTPConnection, error: StepUpError
    ) -> StepUpError | WebSocketException:
        step_up = self._step_up_member(connection) if isinstance(error, StepUpRequired) else None
        error.bind(realm=self.realm, **({} if step_up is None else {"step_up": step_up}))
        if connection.scope["type"] == "websocket":
            state = getattr(connection, "application_state", WebSocketState.CONNECTING)
            deniable = _DENIAL in (connection.scope.get("extensions") or {})
            if state is not WebSocketState.CONNECTING or not deniable:
                return WebSocketException(_POLICY_VIOLATION, reason=error.code)
        # The frames it went through hold the token, which error reporters collect.
        return error.with_traceback(None)

    def mount_helper_routes(self, routes: HelperRoutes) -> None:
        """Tell the guard that a helper router exists, so that challenges can point to it."""
        self._helper_routes.append(routes)

    def _step_up_member(self, connection: HTTPConnection) -> dict[str, Any] | None:
        """Return where to step up, as paths of this app; never built from the `Host` field."""
        scope = connection.scope
        outer_root = scope.get("app_root_path", scope.get("root_path", ""))
        # The innermost app too: an outer one cannot name the routes of a named mount.
        places: list[tuple[Any, str]] = [
            (scope.get("router"), outer_root),
            (scope.get("app"), scope.get("root_path", "")),
        ]
        for provider, root in places:
            for routes in self._helper_routes:
                try:
                    return routes.described(partial(_path_of_route, provider, root))
                except (NoMatchFound, AttributeError):
                    continue  # Not mounted there, or not in an app that routes by name.
        return None

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
        for parts in self._bundles:
            await parts.keys.aclose()

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
        with self._bundles_lock:
            self._bundles = (*self._bundles, parts)
        try:
            yield
        finally:
            with self._bundles_lock:
                self._bundles = tuple(each for each in self._bundles if each is not parts)

    def __repr__(self) -> str:
        return f"StepUpGuard(project_id={self.project_id!r})"


def _path_of_this_host(root: str, path: str) -> str:
    """Return *root* and *path* as a path of the same host, whatever a path parameter put in."""
    joined = f"{root.rstrip('/')}{path}".lstrip("/")
    return quote(f"/{joined}", safe="/:@!$&'()*+,;=", errors="replace")


def _path_of_route(provider: Any, root: str, name: str) -> str:
    return _path_of_this_host(root, provider.url_path_for(name))


def _kept(values: Any) -> Any:
    """Return *values* as something that can be read again, and all else as it is."""
    return tuple(values) if isinstance(values, Iterator) else values


def _presented(connection: HTTPConnection, parts: GuardParts) -> object:
    """Return all that decides which token a connection presents, and whether it may."""
    scope = connection.scope
    return parts, scope.get("method"), scope.get("scheme"), tuple(header_fields(connection))


def _checked_realm(realm: str) -> str:
    try:
        Challenge.bearer(realm=realm)
    except (ValueError, TypeError):
        msg = f"realm must be printable ASCII text, not {realm!r}."
        raise ConfigurationError(msg) from None
    return realm

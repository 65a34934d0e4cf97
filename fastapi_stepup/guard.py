"""StepUpGuard: a connection and a policy in, verified claims or the right refusal out."""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

import httpx
from starlette.exceptions import WebSocketException
from starlette.requests import HTTPConnection
from starlette.routing import NoMatchFound
from starlette.websockets import WebSocket, WebSocketState

from fastapi_stepup.challenge import Challenge
from fastapi_stepup.claims import CLAIMS_SCOPE_KEY, Claims
from fastapi_stepup.credentials import CredentialReader
from fastapi_stepup.descope import DescopeClient, base_url_for
from fastapi_stepup.errors import ConfigurationError, KeysUnavailable, StepUpError, StepUpRequired
from fastapi_stepup.events import Emitter, EventHook, logger
from fastapi_stepup.jwks import MAX_STALE, TTL, JWKSCache, KeysHealth
from fastapi_stepup.jws import MAX_TOKEN
from fastapi_stepup.policy import StepUpPolicy
from fastapi_stepup.upstream import Upstream, base_url as checked_base_url
from fastapi_stepup.verifier import LEEWAY, TokenVerifier, checked_project_id, origin_of

Warmup = Literal["require", "best-effort", "lazy"]

PROJECT_ID_VARIABLE: Final = "DESCOPE_PROJECT_ID"
BASE_URL_VARIABLE: Final = "DESCOPE_BASE_URI"

_POLICY_VIOLATION: Final = 1008
_DENIAL: Final = "websocket.http.response"


@dataclass(frozen=True, slots=True)
class HelperRoutes:
    """Where a mounted helper router can be found: the names of its routes, and what it offers."""

    start_name: str
    verify_name: str
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GuardHealth:
    """The guard's state, safe to show: no token, key, URL or project id.

    `ok` is false only when nothing can be verified at the moment.
    """

    ok: bool
    keys: KeysHealth


class StepUpGuard:
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
        upstream: Sends the outbound requests of *verifier*'s keys and of *descope*.
        realm: The protection space named in challenges; the project id by default.
        warmup: What entering the guard (or its lifespan) does about keys: `"require"` fails the
            start without them, `"best-effort"` tries and goes on, `"lazy"` waits for a request.
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
        upstream: Upstream,
        realm: str | None = None,
        warmup: Warmup = "best-effort",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.verifier = verifier
        self.keys = verifier.keys
        self.descope = descope
        self.credentials = credentials
        self.project_id = verifier.project_id
        self.base_url = descope.base_url
        self.realm = _checked_realm(self.project_id if realm is None else realm)
        if warmup not in {"require", "best-effort", "lazy"}:
            msg = f'warmup is "require", "best-effort" or "lazy", not {warmup!r}.'
            raise ConfigurationError(msg)
        self.warmup = warmup
        self.clock = clock
        self._upstream = upstream
        self._helper_routes: list[HelperRoutes] = []

    @classmethod
    def for_descope(
        cls,
        project_id: str | None = None,
        *,
        base_url: str | None = None,
        audience: str | Iterable[str] | None = None,
        issuers: Iterable[str] = (),
        algorithms: tuple[str, ...] = ("RS256",),
        leeway: float = LEEWAY,
        realm: str | None = None,
        session_cookie: str | None = "DS",
        refresh_cookie: str | None = "DSR",
        allowed_origins: Iterable[str] = (),
        require_session_name: bool = False,
        max_token_size: int = MAX_TOKEN,
        keys_ttl: float = TTL,
        keys_max_stale: float = MAX_STALE,
        warmup: Warmup = "best-effort",
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
            issuers: Further accepted `iss` values, as exact strings.
            algorithms: Accepted signature algorithms; Descope signs with RS256.
            leeway: Seconds of clock difference to allow for, 0 to 60.
            realm: The protection space named in challenges.
            session_cookie: Cookie with the session token; `None` reads the header only.
            refresh_cookie: Cookie with the refresh token, for the helper routes.
            allowed_origins: Other origins whose pages may send the cookies.
            require_session_name: Refuse session tokens without `drn`.
            max_token_size: Longest token in characters.
            keys_ttl: Seconds until the key set is refreshed in the background.
            keys_max_stale: Seconds for which an unreachable key set is served on.
            warmup: What start-up does about keys.
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
        upstream = Upstream(transport)
        emitter = Emitter(on_event)
        descope = DescopeClient(project, base_url=url, upstream=upstream, clock=clock)
        keys = JWKSCache(
            descope.keys_url,
            algorithms=algorithms,
            ttl=keys_ttl,
            max_stale=keys_max_stale,
            upstream=upstream,
            on_event=emitter,
            wall=clock,
        )
        verifier = TokenVerifier(
            keys,
            project_id=project,
            issuer_hosts={origin_of(url), origin_of(base_url_for(project))},
            issuers=issuers,
            audience=audience,
            leeway=leeway,
            require_session_name=require_session_name,
            max_token_size=max_token_size,
            on_event=emitter,
            clock=clock,
        )
        return cls(
            verifier=verifier,
            descope=descope,
            credentials=CredentialReader(
                session_cookie=session_cookie,
                refresh_cookie=refresh_cookie,
                allowed_origins=allowed_origins,
            ),
            upstream=upstream,
            realm=realm,
            warmup=warmup,
            clock=clock,
        )

    async def verify(self, token: str) -> Claims:
        """Return the claims of a session token; see `TokenVerifier.verify`.

        Raises:
            InvalidToken: A check failed.
            KeysUnavailable: No key set can be had.
        """
        try:
            return await self.verifier.verify(token)
        except StepUpError as error:
            error.bind(realm=self.realm)
            raise

    async def authorize(
        self, connection: HTTPConnection, policy: StepUpPolicy | None = None
    ) -> Claims:
        """Return the claims of the session that *connection* presents, if it meets *policy*.

        The claims are kept in the scope: `claims_from` reads them, and a second call for the same
        request verifies nothing again but always asks the policy.

        Args:
            connection: A request or a WebSocket.
            policy: What the session must meet; `None` asks for a session only.

        Raises:
            StepUpError: The refusal to answer with, complete with challenge and helper routes.
            WebSocketException: Instead, with code 1008, for a WebSocket that cannot be answered
                over HTTP: it is accepted already, or the server lacks the denial extension.
        """
        try:
            claims = self._known_claims(connection)
            if claims is None:
                claims = await self.verifier.verify(self.credentials.read(connection).token)
                known = connection.scope.get(CLAIMS_SCOPE_KEY, {})
                connection.scope[CLAIMS_SCOPE_KEY] = {**known, self: claims}
            if policy is not None:
                policy.enforce(claims, now=self.clock())
        except StepUpError as error:
            raise self._refusal(connection, error) from None
        return claims

    def _known_claims(self, connection: HTTPConnection) -> Claims | None:
        claims: Claims | None = connection.scope.get(CLAIMS_SCOPE_KEY, {}).get(self)
        return claims

    def _refusal(
        self, connection: HTTPConnection, error: StepUpError
    ) -> StepUpError | WebSocketException:
        step_up = self._step_up_member(connection) if isinstance(error, StepUpRequired) else None
        error.bind(realm=self.realm, **({} if step_up is None else {"step_up": step_up}))
        if isinstance(connection, WebSocket):
            accepted = connection.application_state is not WebSocketState.CONNECTING
            if accepted or _DENIAL not in (connection.scope.get("extensions") or {}):
                return WebSocketException(_POLICY_VIOLATION, reason=error.code)
        return error

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
                    start = provider.url_path_for(routes.start_name)
                    verify = provider.url_path_for(routes.verify_name)
                except (NoMatchFound, AttributeError):
                    continue  # Not mounted there, or not in an app that routes by name.
                return {
                    "start_uri": f"{root.rstrip('/')}{start}",
                    "verify_uri": f"{root.rstrip('/')}{verify}",
                    "methods": list(routes.methods),
                }
        return None

    def health(self) -> GuardHealth:
        """Return the guard's state without touching the network."""
        keys = self.keys.health()
        return GuardHealth(ok=keys.state in {"fresh", "stale"}, keys=keys)

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
        await self.keys.aclose()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:  # noqa: ARG002  # ASGI's shape
        """Warm the keys up when the app starts, tidy up when it stops: `FastAPI(lifespan=…)`.

        Optional: without it everything opens on first use. In a lifespan of your own, write
        `async with guard:`.
        """
        async with self:
            yield

    @contextmanager
    def rerouted(self, transport: httpx.AsyncBaseTransport) -> Iterator[None]:
        """Send all outbound HTTP to *transport* until the block ends; the seam of the emulator.

        What was cached before is set aside and comes back at the end, so nothing learnt from one
        side is ever used for the other.
        """
        with self._upstream.rerouted(transport), self.keys.set_aside():
            yield

    def __repr__(self) -> str:
        return f"StepUpGuard(project_id={self.project_id!r})"


def _checked_realm(realm: str) -> str:
    try:
        Challenge.bearer(realm=realm)
    except (ValueError, TypeError):
        msg = f"realm must be printable ASCII text, not {realm!r}."
        raise ConfigurationError(msg) from None
    return realm

"""OIDCIssuer: the local stand-in for an OpenID issuer such as Auth0, Okta or Keycloak.

Longer than other modules: a good part of it says which token a call returns.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self, get_args
from urllib.parse import urlsplit

from starlette.types import Receive, Scope, Send

from fastapi_stepup.testing.emulator.models import ReceivedRequest
from fastapi_stepup.testing.emulator.transport import EmulatorTransport
from fastapi_stepup.testing.keys import (
    HostileKey,
    KeyRing,
    SigningAlgorithm,
    SigningKey,
    compact_jws,
    replaced,
)
from fastapi_stepup.testing.oidc.endpoints import Endpoints, Fault

if TYPE_CHECKING:
    from fastapi_stepup.guard.guard import StepUpGuard

DEFAULT_ISSUER: Final = "https://login.example"
DEFAULT_AUDIENCE: Final = "https://api.example"
CLIENT_ID: Final = "test-client"
_OPENID: Final = "/.well-known/openid-configuration"
_OAUTH: Final = "/.well-known/oauth-authorization-server"


def _now() -> float:
    # Looked up at each call: a test that freezes time replaces `time.time`.
    return time.time()


class OIDCIssuer:
    """An OpenID issuer in this process: it signs access tokens and serves metadata and keys.

    A test attaches it to a guard; the guard's HTTP then reaches it without a network:

    ```python
    with OIDCIssuer(audience="https://api.example").attach(guard) as issuer:
        weak = issuer.headers("ann", acr="pwd", age=3600)
        assert_step_up_challenge(client.post("/pay", headers=weak))
        strong = issuer.headers("ann", acr="mfa", age=0)
        assert client.post("/pay", headers=strong).status_code == 200
    ```

    Guarantees:
    - Tokens are real: the guard fetches metadata and keys, and verifies each token.
    - Any number of event loops and threads may use one issuer. It holds no sockets.
    - Its keys are its own: tokens of no other issuer verify against them.
    - Metadata is served where OpenID Connect Discovery and RFC 8414 say; keys at its `jwks_uri`. A
      request for any other URL, or to another host, is answered 404.

    Does not sign users in: it has no authorization, token or introspection endpoint.

    Args:
        issuer: The `iss` of every token, as the guard is configured with. One that is no URL is
            served below `https://`.
        audience: The `aud` of access tokens: a text, or several.
        algorithm: How tokens are signed: `RS256`, `ES256`, `ES384` or `EdDSA`.
        token_type: The header's `typ` of access tokens; `None` leaves it out.
        claims: Further claims of every token, such as `{"azp": "web", "typ": "Bearer"}`; the value
            `REMOVE` leaves one of the usual claims out.
        lifetime: Seconds that a token is good for.
        clock: The time in seconds since the epoch; by default `time.time()`. The guard reads its
            own clock: to test age, pass `age=` instead of moving this.

    Attributes:
        issuer: The `iss` of every token.
        audience: The `aud` of access tokens.
        metadata: The metadata document as it is served now. A test may change it:
            `issuer.metadata["issuer"] = "https://evil.example"`.

    Raises:
        ValueError: *algorithm* is another one.

    References:
        RFC 8414, RFC 9068, OpenID Connect Discovery 1.0.
    """

    def __init__(
        self,
        issuer: str = DEFAULT_ISSUER,
        *,
        audience: str | Sequence[str] = DEFAULT_AUDIENCE,
        algorithm: SigningAlgorithm = "RS256",
        token_type: str | None = "at+jwt",  # noqa: S107 - a media type, no password
        claims: Mapping[str, object] | None = None,
        lifetime: float = 600,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.issuer = issuer
        self.audience = audience
        self._token_type = token_type
        self._claims = dict(claims or {})
        self._lifetime = lifetime
        self._clock = clock or _now
        self._keys = KeyRing(algorithm)
        self._lock = threading.Lock()
        self._base = (issuer if "://" in issuer else f"https://{issuer}").rstrip("/")
        self._well_known = _well_known_urls(self._base)
        self.metadata: dict[str, object] = {
            "issuer": issuer,
            "authorization_endpoint": f"{self._base}/authorize",
            "token_endpoint": f"{self._base}/token",
            "jwks_uri": f"{self._base}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [algorithm],
            "code_challenge_methods_supported": ["S256"],
        }
        self._endpoints = Endpoints(self._documents)
        _ = self._keys.current  # Refuses an unknown algorithm here, and not at the first token.

    @classmethod
    def for_guard(cls, guard: "StepUpGuard", **options: Any) -> Self:
        """Return the issuer whose tokens *guard* accepts: by `iss`, `aud` and algorithm.

        Args:
            guard: Made by `StepUpGuard.for_oidc`.
            options: Those of the class, which go before the guard's.

        Raises:
            ValueError: The guard is for Descope, or accepts no algorithm that can be signed here.
        """
        issuer = getattr(guard.verifier, "issuer", None)
        if issuer is None:
            raise ValueError("The guard is for Descope: use DescopeEmulator.")
        known = [name for name in get_args(SigningAlgorithm) if name in guard.keys.algorithms]
        if not known and "algorithm" not in options:
            raise ValueError("The guard accepts none of RS256, ES256, ES384 and EdDSA.")
        fitting = {"algorithm": known[0] if known else None}
        if guard.verifier.audience:
            fitting["audience"] = min(guard.verifier.audience)
        return cls(issuer, **{**fitting, **options})

    def __repr__(self) -> str:
        return f"OIDCIssuer({self.issuer!r})"

    def token(
        self,
        subject: str = "ann",
        *,
        acr: str | Sequence[str] | None = None,
        amr: Sequence[str] | None = None,
        auth_time: float | None = None,
        age: float | None = None,
        header: Mapping[str, object] | None = None,
        key: HostileKey | None = None,
        **claims: object,
    ) -> str:
        """Return an access token as RFC 9068 section 2.2 has it, with parts replaced.

        Without further arguments it says nothing about the login: `acr`, `amr` and `auth_time` are
        optional there, and most issuers leave them out.

        ```python
        issuer.token(acr="mfa", amr=["pwd", "otp"], age=60)
        issuer.token(aud="https://other.example")
        issuer.token(exp=REMOVE)
        issuer.token(header={"typ": "JWT"})
        ```

        Args:
            subject: The `sub`.
            acr: Authentication context class, or several.
            amr: Authentication methods; a single text is a claim of one.
            auth_time: The login, in epoch seconds.
            age: Seconds since the login, in place of *auth_time*.
            header: Changes to `{"alg": ..., "kid": ..., "typ": "at+jwt"}`.
            key: The signing key; by default the current one.
            **claims: Changes to the claims; `REMOVE` leaves one out.

        Raises:
            TypeError: *key* does not fit the algorithm, or both *auth_time* and *age* are given.
        """
        login = self._login(acr, amr, auth_time, age)
        registered = {**self._registered(subject), "aud": _listed(self.audience)}
        good = replaced(replaced(registered, self._claims), login)
        kind = {} if self._token_type is None else {"typ": self._token_type}
        return self._signed(kind, replaced(good, claims), header, key)

    def headers(self, subject: str = "ann", **options: Any) -> dict[str, str]:
        """Return `token(subject, **options)` in an `Authorization` header."""
        return {"Authorization": f"Bearer {self.token(subject, **options)}"}

    def id_token(
        self,
        subject: str = "ann",
        *,
        acr: str | Sequence[str] | None = None,
        amr: Sequence[str] | None = None,
        auth_time: float | None = None,
        age: float | None = None,
        **claims: object,
    ) -> str:
        """Return an ID token: its header has no `typ`, its audience is the client.

        With `aud=` of the API it is the token that an API must not take for an access token.
        Arguments are those of `token`.
        """
        login = self._login(acr, amr, auth_time, age)
        registered = self._registered(subject)
        del registered["client_id"], registered["jti"]
        good = {**registered, "aud": CLIENT_ID, **login}
        return self._signed({}, replaced(good, claims), None, None)

    def machine_token(self, **options: Any) -> str:
        """Return an access token of the client credentials grant: `sub` is the client itself.

        Arguments are those of `token`.
        """
        return self.token(CLIENT_ID, **options)

    def _registered(self, subject: str) -> dict[str, object]:
        now = self._clock()
        return {
            "iss": self.issuer,
            "sub": subject,
            "iat": int(now),
            "exp": int(now + self._lifetime),
            "jti": secrets.token_urlsafe(12),
            "client_id": CLIENT_ID,
        }

    def _login(
        self,
        acr: str | Sequence[str] | None,
        amr: Sequence[str] | None,
        auth_time: float | None,
        age: float | None,
    ) -> dict[str, object]:
        if age is not None:
            if auth_time is not None:
                raise TypeError("Give either auth_time or age.")
            auth_time = self._clock() - age
        methods = [amr] if isinstance(amr, str) else amr
        given = {
            "acr": acr if acr is None else _listed(acr),
            "amr": methods if methods is None else list(methods),
            "auth_time": auth_time if auth_time is None else int(auth_time),
        }
        return {name: value for name, value in given.items() if value is not None}

    def _signed(
        self,
        kind: Mapping[str, object],
        claims: Mapping[str, object],
        header: Mapping[str, object] | None,
        key: HostileKey | None,
    ) -> str:
        current = self.signing_key
        good = {"alg": current.algorithm, "kid": current.kid, **kind}
        return compact_jws(replaced(good, header or {}), claims, current if key is None else key)

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs at present."""
        with self._lock:
            return self._keys.current

    def rotate_keys(self) -> SigningKey:
        """Sign with a new key from now on and return it; the twelve before it stay valid."""
        with self._lock:
            return self._keys.rotate()

    def revoke_keys(self) -> SigningKey:
        """Sign with a new key from now on and return it; every token signed before is void."""
        with self._lock:
            return self._keys.revoke()

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests that arrived, oldest first."""
        return self._endpoints.requests

    def fail(self, fault: Fault | int, times: int | None = None, *, path: str = "/") -> None:
        """Answer requests with a fault in place of the document, until `recover`.

        Args:
            fault: An HTTP status; or `"unreachable"` (no connection), `"slow"` (an answer after a
                minute), `"redirect"` (302), `"big"` (1 MiB of JSON) or `"not_json"` (a page).
            times: How many requests fail; `None` is all until `recover`.
            path: Only requests whose path begins with this, such as `/.well-known` or `/jwks`.

        Raises:
            ValueError: *fault* is another one.
        """
        self._endpoints.fail(fault, times, path)

    def recover(self) -> None:
        """End all faults."""
        self._endpoints.recover()

    def _documents(self) -> dict[str, object]:
        documents: dict[str, object] = dict.fromkeys(self._well_known, self.metadata)
        with self._lock:
            keys = self._keys.jwks()
        return {**documents, str(self.metadata.get("jwks_uri")): {"keys": keys}}

    @property
    def transport(self) -> Any:
        """A transport for `AsyncClient` of `httpx` and of `httpx2`: reaches this issuer only."""
        return EmulatorTransport(self._endpoints)

    @contextmanager
    def attach(self, guard: "StepUpGuard") -> "Iterator[OIDCIssuer]":
        """Send all of *guard*'s HTTP here until the context ends.

        The guard works on a second set of parts meanwhile, made from the same settings: its caches
        are empty at the start, and the first set is as it was at the end.

        Raises:
            TypeError: *guard* is no guard.
            ConfigurationError: The guard was constructed from ready parts, without `parts_on`.
            ValueError: The guard is for another issuer, so it would accept none of the tokens.
        """
        if not hasattr(guard, "on_transport"):
            raise TypeError(f"attach takes a StepUpGuard, not {type(guard).__name__}.")
        if self.issuer not in guard.verifier.issuers:
            raise ValueError(
                f"The guard does not accept the issuer {self.issuer!r}; pass OIDCIssuer(…) the one "
                "that it was made for."
            )
        with guard.on_transport(self.transport):
            yield self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        await self._endpoints(scope, receive, send)


def _listed(value: str | Sequence[str]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)


def _well_known_urls(base: str) -> tuple[str, ...]:
    """Return where the metadata of the issuer *base* is found.

    OpenID Connect Discovery section 4 puts the name behind the path, RFC 8414 section 3 before it.
    """
    parts = urlsplit(base)
    host = f"{parts.scheme}://{parts.netloc}"
    return tuple(
        dict.fromkeys(
            (f"{base}{_OPENID}", f"{host}{_OAUTH}{parts.path}", f"{host}{_OPENID}{parts.path}")
        )
    )

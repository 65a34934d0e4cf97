"""Options of a guard, and the parts that are made from them."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from fastapi_stepup import _options
from fastapi_stepup._emitter import Emitter
from fastapi_stepup._http import HTTPClient
from fastapi_stepup._urls import checked_base_url, origin_of
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.providers.descope.client import DEADLINE, DescopeClient, base_url_for
from fastapi_stepup.tokens.jwks.cache import JWKSCache
from fastapi_stepup.tokens.jwks.discovery import metadata_urls
from fastapi_stepup.tokens.oidc import AccessTokenVerifier
from fastapi_stepup.tokens.verifier import TokenVerifier

PROJECT_ID_VARIABLE: Final = "DESCOPE_PROJECT_ID"
BASE_URL_VARIABLE: Final = "DESCOPE_BASE_URI"


@dataclass(frozen=True, slots=True, eq=False)
class GuardParts:
    """The parts of a guard that depend on where its outbound HTTP goes.

    They belong together: what one of them learnt is never used with another set.

    Args:
        verifier: Verifies tokens with keys from there.
        descope: Talks to Descope there; `None` for another issuer.
    """

    verifier: TokenVerifier
    descope: DescopeClient | None

    @property
    def keys(self) -> JWKSCache:
        """Where the verifier finds keys."""
        return self.verifier.keys


PartsMaker = Callable[[httpx.AsyncBaseTransport], GuardParts]


@dataclass(frozen=True, slots=True, eq=False)
class PartsFactory:
    """Makes the parts for one Descope project, as often as needed and always alike.

    Args:
        project_id: The project.
        base_url: Descope's API.
        keys: Options of `JWKSCache`; what concerns static keys is left out for those.
        verifier: Options of `TokenVerifier`.
        emit: Called with each event.
        clock: Gives epoch seconds.
    """

    project_id: str
    base_url: str
    keys: Mapping[str, Any]
    verifier: Mapping[str, Any]
    emit: Emitter
    clock: Callable[[], float]

    def make(
        self,
        transport: httpx.AsyncBaseTransport | None,
        static_keys: Mapping[str, Any] | None = None,
    ) -> GuardParts:
        """Return new parts, with empty caches.

        Args:
            transport: Where outbound HTTP goes instead of the network.
            static_keys: A JWK set to verify with, instead of fetched keys.

        Raises:
            ConfigurationError: An option cannot be used.
        """
        # Descope answers a sign-in when the message is sent, which takes longer than a key set.
        http = HTTPClient(transport, read_timeout=DEADLINE, total_timeout=DEADLINE)
        descope = DescopeClient(
            self.project_id, base_url=self.base_url, http=http, clock=self.clock
        )
        verifier = TokenVerifier(
            self._keys(descope.keys_url, transport, static_keys),
            project_id=self.project_id,
            issuer_hosts={origin_of(self.base_url), origin_of(base_url_for(self.project_id))},
            on_event=self.emit,
            clock=self.clock,
            **self.verifier,
        )
        return GuardParts(verifier, descope)

    def _keys(
        self,
        url: str,
        transport: httpx.AsyncBaseTransport | None,
        static_keys: Mapping[str, Any] | None,
    ) -> JWKSCache:
        if static_keys is not None:
            return JWKSCache.static(
                static_keys, algorithms=self.keys["algorithms"], url=url, on_event=self.emit
            )
        http = HTTPClient(transport)
        return JWKSCache(url, http=http, on_event=self.emit, wall=self.clock, **self.keys)


@dataclass(frozen=True, slots=True, eq=False)
class AccessTokenPartsFactory:
    """Makes the parts for one OpenID issuer, as often as needed and always alike.

    Args:
        issuer: The issuer.
        jwks_uri: Where its keys are; `None` finds them by the issuer's metadata.
        keys: Options of `JWKSCache`.
        verifier: Options of `AccessTokenVerifier`.
        emit: Called with each event.
        clock: Gives epoch seconds.
    """

    issuer: str
    jwks_uri: str | None
    keys: Mapping[str, Any]
    verifier: Mapping[str, Any]
    emit: Emitter
    clock: Callable[[], float]

    def make(
        self,
        transport: httpx.AsyncBaseTransport | None,
        static_keys: Mapping[str, Any] | None = None,
    ) -> GuardParts:
        """Return new parts, with empty caches; see `PartsFactory.make`.

        Raises:
            ConfigurationError: An option cannot be used.
        """
        verifier = AccessTokenVerifier(
            self._keys(transport, static_keys),
            issuer=self.issuer,
            on_event=self.emit,
            clock=self.clock,
            **self.verifier,
        )
        return GuardParts(verifier, None)

    def _keys(
        self, transport: httpx.AsyncBaseTransport | None, static_keys: Mapping[str, Any] | None
    ) -> JWKSCache:
        if static_keys is not None:
            algorithms = self.keys["algorithms"]
            return JWKSCache.static(static_keys, algorithms=algorithms, on_event=self.emit)
        http = HTTPClient(transport)
        options = {"http": http, "on_event": self.emit, "wall": self.clock, **self.keys}
        if self.jwks_uri is not None:
            return JWKSCache(self.jwks_uri, **options)
        return JWKSCache.discovered(self.issuer, **options)


def issuer_from(issuer: Any, *, is_looked_up: bool) -> str:
    """Return *issuer*, unchanged, when it can be one.

    Args:
        issuer: An exact string. It is a URL if its metadata has to be found.
        is_looked_up: True if it has to.

    Raises:
        ConfigurationError: It cannot; the message says what can.
    """
    value = _options.plain(issuer)
    if not isinstance(value, str) or not value or not value.isprintable() or " " in value:
        msg = (
            'issuer is the iss of the tokens, exactly as they have it: "https://login.example", '
            f"not {issuer!r}."
        )
        raise ConfigurationError(msg)
    if is_looked_up:
        metadata_urls(value)
    return value


def project_id_from(given: str | None) -> str:
    """Return the project id that is given, else that of `DESCOPE_PROJECT_ID`.

    Raises:
        ConfigurationError: Neither is one.
    """
    variable = os.environ.get(PROJECT_ID_VARIABLE, "").strip()
    return _options.project_id(variable if given is None else given)


def base_url_from(given: str | None, project_id: str) -> str:
    """Return the base URL that is given, else that of `DESCOPE_BASE_URI`, else the project's own.

    Raises:
        ConfigurationError: It cannot be used; the message names the argument or the variable.
    """
    if given is not None:
        return checked_base_url("base_url", given)
    variable = os.environ.get(BASE_URL_VARIABLE) or base_url_for(project_id)
    return checked_base_url(BASE_URL_VARIABLE, variable)


def reusable(**options: Any) -> dict[str, Any]:
    """Return *options* fit to be used once a transport: iterators as tuples, mappings as copies."""
    return {name: _kept(value) for name, value in options.items()}


def _kept(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _kept(each) for name, each in value.items()}
    return tuple(value) if isinstance(value, Iterator) else value

"""TokenVerifier: a session token in, its verified claims out."""

import math
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ConfigurationError, InvalidToken, RejectReason
from fastapi_stepup.events import Emitter, EventHook, TokenRejected
from fastapi_stepup.jwks import JWKSCache
from fastapi_stepup.jws import MAX_TOKEN, CompactJWS, JWSParser
from fastapi_stepup.strict_json import parse_object

LEEWAY: Final = 5
SESSION_NAME: Final = "DS"
REFRESH_NAME: Final = "DSR"

_MAX_LEEWAY: Final = 60
_MAX_SUBJECT: Final = 256
_LATEST: Final = 32_503_680_000  # the year 3000: what datetime and people can still handle
_PROJECT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class TokenVerifier:
    """Verifies Descope session tokens against cached keys.

    Checks, in order: size and form, header, key and algorithm, signature, then the claims `exp`,
    `iat`, `nbf`, `iss`, `sub`, `aud`, `drn` and `cnf`. A refresh token never passes as a session.
    One parse of the header, one of the payload, one signature check.

    Does not check how strong or recent the login is (`StepUpPolicy` does), nor whether Descope has
    revoked the session since the token was issued: tokens are valid until `exp`.

    Args:
        keys: Where verification keys come from.
        project_id: The Descope project; `iss` is this id, or a URL on one of *issuer_hosts* whose
            last path segment is this id.
        issuer_hosts: Hosts that URL issuers may be on.
        issuers: Further issuers, accepted as exact strings.
        audience: Accepted `aud` values, any one of which must be in the token. Without it a token
            that has an `aud` passes only if the project id is in it.
        leeway: Seconds of clock difference to allow for, 0 to 60.
        require_session_name: Whether `drn` must be there; if so it must be `DS`.
        max_token_size: Longest token in characters, 1024 to 65536.
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
        leeway: float = LEEWAY,
        require_session_name: bool = False,
        max_token_size: int = MAX_TOKEN,
        on_event: EventHook | Emitter | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.keys = keys
        self.project_id = checked_project_id(project_id)
        self.issuer_hosts = frozenset(issuer_hosts)
        self.issuers = _strings("issuers", issuers) | {self.project_id}
        self.audience = (
            None
            if audience is None
            else _strings("audience", (audience,) if isinstance(audience, str) else audience)
        )
        if self.audience == frozenset():
            msg = "audience is None or at least one value."
            raise ConfigurationError(msg)
        number = isinstance(leeway, (int, float)) and not isinstance(leeway, bool)
        if not number or not 0 <= leeway <= _MAX_LEEWAY:
            msg = f"leeway is a number of seconds from 0 to {_MAX_LEEWAY}, not {leeway!r}."
            raise ConfigurationError(msg)
        self.leeway = leeway
        self.require_session_name = require_session_name
        self.clock = clock
        self._parser = JWSParser(tuple(keys.algorithms), max_size=max_token_size)
        self._emit = on_event if isinstance(on_event, Emitter) else Emitter(on_event)

    async def verify(self, token: str) -> Claims:
        """Return the claims of a session token once everything about it holds.

        Args:
            token: A compact JWS, without the `Bearer` prefix.

        Raises:
            InvalidToken: Any check failed; `reason` says which, for operators only.
            KeysUnavailable: No key set can be had, so nothing can be said about the token.
        """
        return await self._verify(token, refresh=False)

    async def verify_refresh(self, token: str) -> Claims:
        """Return the claims of a refresh token (`drn` is `DSR`), checked like a session token.

        Does not tell whether Descope still honours it: only Descope knows.

        Raises:
            InvalidToken: Any check failed, or it is not a refresh token.
            KeysUnavailable: No key set can be had.
        """
        return await self._verify(token, refresh=True)

    async def _verify(self, token: str, *, refresh: bool) -> Claims:
        try:
            jws = self._parser.parse(token)
            key, members = self.keys.cached(jws.header.kid), None
            if key is None:
                # Only what could be genuine in every other respect may cost a fetch.
                members = _payload(jws)
                self._check_claims(members, refresh=refresh)
                key = await self.keys.key(jws.header.kid)
            if not key.verifies(jws):
                raise InvalidToken(RejectReason.SIGNATURE)  # noqa: TRY301
            members = members or _payload(jws)
            self._check_claims(members, refresh=refresh)
        except InvalidToken as error:
            if self._emit:
                self._emit(TokenRejected(error.reason))
            raise
        return Claims(members)

    def _check_claims(self, members: dict[str, Any], *, refresh: bool) -> None:
        now = self.clock()
        issued, expires = _moment(members, "iat"), _moment(members, "exp")
        if expires + self.leeway <= now:
            raise InvalidToken(RejectReason.EXPIRED)
        if issued - self.leeway > now:
            raise InvalidToken(RejectReason.NOT_YET_VALID)
        if issued > expires:
            raise InvalidToken(RejectReason.LIFETIME)
        if "nbf" in members and _moment(members, "nbf") - self.leeway > now:
            raise InvalidToken(RejectReason.NOT_YET_VALID)
        if not self._is_our_issuer(members.get("iss")):
            raise InvalidToken(RejectReason.ISSUER)
        subject = members.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT:
            raise InvalidToken(RejectReason.SUBJECT)
        if "aud" in members or self.audience is not None:
            self._check_audience(members.get("aud"))
        self._check_kind(members, refresh=refresh)

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
        accepted = frozenset({self.project_id}) if self.audience is None else self.audience
        if not isinstance(listed, list) or not all(isinstance(a, str) for a in listed):
            raise InvalidToken(RejectReason.AUDIENCE)
        if accepted.isdisjoint(listed):
            raise InvalidToken(RejectReason.AUDIENCE)

    def _check_kind(self, members: dict[str, Any], *, refresh: bool) -> None:
        name = members.get("drn")
        if refresh:
            accepted = name == REFRESH_NAME
        else:
            absent_is_fine = "drn" not in members and not self.require_session_name
            accepted = name == SESSION_NAME or absent_is_fine
        if not accepted or "nonce" in members:
            # A nonce makes it an OpenID Connect id token: for the client, not for an API.
            raise InvalidToken(RejectReason.NOT_A_SESSION)
        if "cnf" in members:
            # RFC 9449 section 7.2: a bound token sent as a bearer token must be refused.
            raise InvalidToken(RejectReason.SENDER_CONSTRAINED)


def _payload(jws: CompactJWS) -> dict[str, Any]:
    members = parse_object(jws.payload)
    if members is None:
        raise InvalidToken(RejectReason.MALFORMED)
    return members


def _moment(members: dict[str, Any], name: str) -> float:
    """Return a NumericDate (RFC 7519 section 2): a finite number, not text and not a boolean."""
    value = members.get(name)
    if value is None:
        raise InvalidToken(RejectReason.CLAIM_MISSING)
    if type(value) not in (int, float) or not 0 < value < _LATEST or math.isnan(value):
        raise InvalidToken(RejectReason.CLAIM_INVALID)
    return float(value)


def checked_project_id(project_id: Any) -> str:
    """Return *project_id* when it may go into a path and a host name.

    Raises:
        ConfigurationError: It is missing, or not 1 to 64 letters, digits, `_` and `-`.
    """
    if not isinstance(project_id, str) or not _PROJECT_ID.fullmatch(project_id):
        msg = (
            'The Descope project id is missing or malformed: pass project_id="P…" or set '
            "DESCOPE_PROJECT_ID. You find it in the Descope console under Project Settings."
        )
        raise ConfigurationError(msg)
    return project_id


def _strings(name: str, values: Iterable[str]) -> frozenset[str]:
    listed = None if isinstance(values, str) else list(values)
    if listed is None or not all(isinstance(v, str) and v.strip() and "*" not in v for v in listed):
        msg = f"{name} takes exact strings: no empty ones, no wildcards, no patterns."
        raise ConfigurationError(msg)
    return frozenset(listed)


def origin_of(url: str) -> str:
    """Return scheme, host and port of *url*, as an issuer on that host would start."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"

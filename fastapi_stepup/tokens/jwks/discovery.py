"""Discovery: where an issuer's key set is, as its metadata says (RFC 8414, OpenID Connect)."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import urlsplit

import anyio

from fastapi_stepup._http import HTTPClient, HTTPFailure, HTTPRequest, status_reason
from fastapi_stepup._log import logger
from fastapi_stepup._urls import checked_base_url, checked_redirect_uri, is_loopback
from fastapi_stepup.errors import ConfigurationError, FailureReason
from fastapi_stepup.tokens.jwks.state import KeySetState, Sent

_OPENID: Final = "/.well-known/openid-configuration"
_OAUTH: Final = "/.well-known/oauth-authorization-server"
_RECENT: Final = 60.0
_LONGEST_URL: Final = 2048


class KeySetLocation(Protocol):
    """Knows where a key set is."""

    async def url(self, deadline: float) -> str:
        """Return the URL of the key set.

        Args:
            deadline: Until when to know it, on the event loop's clock.

        Raises:
            HTTPFailure: It cannot be known now.
        """


class FixedLocation:
    """A key set at one URL for good."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def url(self, deadline: float) -> str:  # noqa: ARG002  # nothing is waited for
        """Return the URL."""
        return self._url


@dataclass(frozen=True, slots=True)
class _Known:
    """What the metadata said, and when it was asked for."""

    url: str
    sent: Sent


class Discovery:
    """Finds an issuer's key set by its metadata.

    The metadata is asked for with each refresh of the keys, unless that was within the last minute.
    So it is fetched as rarely as keys are, one request at a time, and never for a request.

    - Metadata counts if its `issuer` is the configured one, character by character, and its
      `jwks_uri` is https. Plain http is for an issuer on a loopback host whose keys are there too.
    - Keys may be on another host: the issuer's own document says so, over TLS.
    - Where the metadata cannot be had, or does not count, the last `jwks_uri` that did is used
      until it is as old as a key set may be.
    - It is looked for where OpenID Connect Discovery puts it, then where RFC 8414 does.
    - Redirects are not followed.

    Args:
        issuer: The issuer.
        http: Sends the requests.
        state: Tells the time, and how old a key set may be.
    """

    def __init__(self, issuer: str, *, http: HTTPClient, state: KeySetState) -> None:
        self._issuer = issuer
        self._addresses = metadata_urls(issuer)
        self._http, self._state = http, state
        self._known: _Known | None = None
        self._failing = False

    async def url(self, deadline: float) -> str:
        """Return the URL of the key set; see `KeySetLocation`."""
        known = self._known
        if known is not None and self._state.seconds_since(known.sent) <= _RECENT:
            return known.url
        sent = self._state.moment()
        try:
            # Half of the time is kept for the keys, which may be served although this is not.
            share = 1.0 if known is None else 0.5
            found = await self._fetched(anyio.current_time(), deadline, share)
        except HTTPFailure as failure:
            if known is None or self._state.seconds_since(known.sent) > self._state.hard_limit:
                raise
            self._report(failure)
            return known.url
        if known is not None and known.url != found:
            logger.info("The issuer's metadata names another jwks_uri than before.")
        self._known, self._failing = _Known(found, sent), False
        return found

    def _report(self, failure: HTTPFailure) -> None:
        # Log once per outage.
        log = logger.debug if self._failing else logger.warning
        self._failing = True
        log("The issuer's metadata is not usable (%s); its keys are.", failure.reason.value)

    async def _fetched(self, now: float, deadline: float, share: float) -> str:
        """Return the `jwks_uri` of the metadata, from the first address that has any."""
        deadline = now + (deadline - now) * share
        failure = HTTPFailure(FailureReason.TIMEOUT)
        for address in self._addresses:
            reply = await self._http.send(
                HTTPRequest("GET", address), deadline=deadline - anyio.current_time()
            )
            if reply.status == HTTPStatus.OK:
                return self._jwks_uri(reply.json_object())
            failure = HTTPFailure(status_reason(reply.status))
            if failure.reason is not FailureReason.CLIENT_ERROR:
                break
        raise failure

    def _jwks_uri(self, metadata: dict[str, object]) -> str:
        if metadata.get("issuer") != self._issuer:
            logger.warning(
                "The metadata at %s is of another issuer than the configured one. Compare them "
                "character by character: a slash at the end counts.",
                self._addresses[0],
            )
            raise HTTPFailure(FailureReason.ISSUER)
        url = metadata.get("jwks_uri")
        if not isinstance(url, str) or not _is_usable(url, self._issuer):
            raise HTTPFailure(FailureReason.METADATA)
        return url


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return where the metadata of *issuer* may be.

    OpenID Connect Discovery section 4 puts the name behind the path, RFC 8414 section 3.1 before
    it. Both drop a slash at the end of the issuer.

    Raises:
        ConfigurationError: *issuer* is no https URL.
    """
    base = checked_base_url("issuer", issuer)
    parts = urlsplit(base)
    return f"{base}{_OPENID}", f"{parts.scheme}://{parts.netloc}{_OAUTH}{parts.path}"


def _is_usable(url: str, issuer: str) -> bool:
    """Return whether keys may be fetched from *url*, which the metadata of *issuer* names."""
    if len(url) > _LONGEST_URL:
        return False
    try:
        checked_redirect_uri("jwks_uri", url)  # a URL that may have a query
    except ConfigurationError:
        return False
    both = urlsplit(url), urlsplit(issuer)
    return url.lower().startswith("https:") or all(is_loopback(p.hostname or "") for p in both)

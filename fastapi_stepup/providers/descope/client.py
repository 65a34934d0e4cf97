"""DescopeClient: sends what `requests` builds and reads it with `responses`."""

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from fastapi_stepup._clock import wall
from fastapi_stepup._http import HTTPClient, HTTPFailure, HTTPRequest, HTTPResponse
from fastapi_stepup._secret import without_frames
from fastapi_stepup.errors import (
    ConfigurationError,
    DeliveryUnavailable,
    DescopeError,
    DescopeUnavailable,
    LinkRejected,
    OTPExhausted,
    OTPRejected,
    PasskeyRejected,
    ProviderRejected,
    StepUpError,
)
from fastapi_stepup.providers.descope.error_codes import PENDING, error_for, session_over
from fastapi_stepup.providers.descope.requests import (
    DEFAULT_BASE_URL,
    NOTHING_KEPT,
    Delivery,
    DescopeRequests,
    KeptClaims,
    LinkDelivery,
)
from fastapi_stepup.providers.descope.responses import (
    DescopeTokens,
    DescopeUser,
    PasskeyChallenge,
    PendingLink,
    PendingMessage,
    error_code,
    read_authorization_uri,
    read_destination,
    read_done,
    read_passkey_challenge,
    read_pending_link,
    read_pending_message,
    read_tokens,
    read_user,
)

DEADLINE: Final = 10.0
MAX_REPLY: Final = 256 * 1024

_OK: Final = 200
_REGIONAL_LENGTH: Final = 32

_exchanging: Final = ContextVar("fastapi_stepup.exchanging", default=False)


class _WithoutReplyFields(logging.Filter):
    """Drops httpcore's log records of Descope's headers: in cookie mode they hold tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        is_reply = record.getMessage().startswith("receive_response_headers.complete")
        return not (is_reply and _exchanging.get())


for _protocol in ("http11", "http2"):
    logging.getLogger(f"httpcore.{_protocol}").addFilter(_WithoutReplyFields())


class DescopeClient(DescopeRequests):
    """Talks to Descope's authentication API for one project.

    - Sends each request once: a repeated POST could send a second code.
    - Keeps no cookies.
    - No traceback that leaves a call holds its arguments: error reports collect local variables.
    - Does not verify tokens, nor to which user they belong: give them to a `TokenVerifier`, and
      compare.

    Calls that begin a step-up take `kept`: what the new session should keep of the old one.

    Each call may raise these errors, and beyond them only those that it names:

    - `InvalidToken`: Descope no longer honours the refresh token.
    - `TooManyAttempts`: Descope throttles; `retry_after` is its waiting time, up to an hour.
    - `DescopeUnavailable`: Descope cannot be reached or answers 5xx.
    - `DescopeError`: The response cannot be used.

    Args:
        project_id: The Descope project.
        base_url: Where the API is; see `base_url_for`.
        http: Sends the requests.
        deadline: Seconds for each request, connect to last byte.
        clock: Gives epoch seconds.
    """

    http: HTTPClient

    def __init__(
        self,
        project_id: str,
        *,
        base_url: str = DEFAULT_BASE_URL,
        http: HTTPClient | None = None,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = wall,
    ) -> None:
        super().__init__(project_id, base_url=base_url)
        self.http = http or HTTPClient()
        self._deadline = deadline
        self._clock = clock

    @without_frames
    async def me(self, refresh_token: str) -> DescopeUser:
        """Return the user that *refresh_token* belongs to."""
        return read_user(await self._for_user(self.me_request(refresh_token)))

    @without_frames
    async def refresh(self, refresh_token: str) -> DescopeTokens:
        """Return a fresh session for *refresh_token*; it is never a stepped-up one."""
        return read_tokens(await self._for_user(self.refresh_request(refresh_token)))

    @without_frames
    async def start_otp(
        self,
        delivery: Delivery,
        login_id: str,
        refresh_token: str,
        *,
        kept: KeptClaims = NOTHING_KEPT,
    ) -> str:
        """Send a step-up code and return the masked address it went to.

        Args:
            delivery: How to send it.
            login_id: One of the user's login ids; the code goes to the address on file.
            refresh_token: The user's refresh token, without which nothing is stepped up.
            kept: What the new session should keep of the old one.

        Raises:
            DeliveryUnavailable: Descope cannot send a code that way.
        """
        reply = await self._start(
            self.start_otp_request(delivery, login_id, refresh_token, kept=kept)
        )
        return read_destination(reply, delivery)

    @without_frames
    async def verify_otp(self, delivery: Delivery, login_id: str, code: str) -> DescopeTokens:
        """Exchange a code for tokens.

        Raises:
            OTPRejected: The code is wrong, or none is waiting.
            OTPExpired: The code is too old.
            OTPExhausted: Too many wrong codes were tried; only a new code helps.
        """
        request = self.verify_otp_request(delivery, login_id, code)
        return read_tokens(await self._prove(request))

    @without_frames
    async def verify_totp(
        self, login_id: str, code: str, refresh_token: str, *, kept: KeptClaims = NOTHING_KEPT
    ) -> DescopeTokens:
        """Exchange an authenticator app's code for tokens.

        Raises:
            OTPRejected: The code is wrong or used, or no app is enrolled.
            OTPExhausted: Too many wrong codes were tried; only a new code helps.
        """
        request = self.verify_totp_request(login_id, code, refresh_token, kept=kept)
        return read_tokens(await self._prove(request))

    @without_frames
    async def start_magic_link(
        self,
        delivery: LinkDelivery,
        login_id: str,
        uri: str,
        refresh_token: str,
        *,
        kept: KeptClaims = NOTHING_KEPT,
    ) -> str:
        """Send a magic link to *uri* and return the masked address it went to.

        Raises:
            DeliveryUnavailable: Descope cannot send a link that way.
        """
        request = self.start_magic_link_request(delivery, login_id, uri, refresh_token, kept=kept)
        return read_destination(await self._start(request), delivery)

    @without_frames
    async def verify_magic_link(self, token: str) -> DescopeTokens:
        """Exchange a magic link's token for tokens.

        Raises:
            LinkRejected: It is wrong, used or expired.
        """
        request = self.verify_magic_link_request(token)
        return read_tokens(await self._redeem(request, LinkRejected()))

    @without_frames
    async def start_enchanted_link(
        self, login_id: str, uri: str, refresh_token: str, *, kept: KeptClaims = NOTHING_KEPT
    ) -> PendingLink:
        """Send an enchanted link to *uri*; poll until it is opened, on whatever device.

        Raises:
            DeliveryUnavailable: Descope cannot send a link to this user.
        """
        request = self.start_enchanted_link_request(login_id, uri, refresh_token, kept=kept)
        return read_pending_link(await self._start(request))

    @without_frames
    async def verify_enchanted_link(self, token: str) -> None:
        """Confirm an enchanted link's token, for the page that the link opens.

        Raises:
            LinkRejected: It is wrong, used or expired.
        """
        read_done(await self._redeem(self.verify_enchanted_link_request(token), LinkRejected()))

    @without_frames
    async def poll_enchanted_link(self, pending_ref: str) -> DescopeTokens | None:
        """Return the tokens once the link has been opened, `None` until then.

        Raises:
            LinkRejected: Nothing is pending under that reference.
        """
        return await self._poll(self.poll_enchanted_link_request(pending_ref))

    @without_frames
    async def start_notp(
        self, login_id: str, refresh_token: str, *, kept: KeptClaims = NOTHING_KEPT
    ) -> PendingMessage:
        """Begin a WhatsApp step-up in which the user sends the message.

        Raises:
            DeliveryUnavailable: Descope cannot do that for this user.
        """
        request = self.start_notp_request(login_id, refresh_token, kept=kept)
        return read_pending_message(await self._start(request))

    @without_frames
    async def poll_notp(self, pending_ref: str) -> DescopeTokens | None:
        """Return the tokens once the message has come, `None` until then.

        Raises:
            LinkRejected: Nothing is pending under that reference.
        """
        return await self._poll(self.poll_notp_request(pending_ref))

    @without_frames
    async def start_passkey(
        self, login_id: str, origin: str, refresh_token: str, *, kept: KeptClaims = NOTHING_KEPT
    ) -> PasskeyChallenge:
        """Begin a passkey step-up on the pages of *origin*.

        Raises:
            DeliveryUnavailable: The user has no passkey for it.
        """
        request = self.start_passkey_request(login_id, origin, refresh_token, kept=kept)
        return read_passkey_challenge(await self._start(request))

    @without_frames
    async def finish_passkey(
        self, transaction_id: str, credential: Mapping[str, Any]
    ) -> DescopeTokens:
        """Exchange the browser's answer to a passkey challenge for tokens.

        Raises:
            PasskeyRejected: It does not answer that challenge.
        """
        request = self.finish_passkey_request(transaction_id, credential)
        return read_tokens(await self._redeem(request, PasskeyRejected()))

    @without_frames
    async def start_oauth(
        self,
        provider: str,
        redirect_uri: str,
        refresh_token: str,
        *,
        kept: KeptClaims = NOTHING_KEPT,
    ) -> str:
        """Return where to send the user for a social login.

        Raises:
            DeliveryUnavailable: The project has no such provider.
        """
        request = self.start_oauth_request(provider, redirect_uri, refresh_token, kept=kept)
        return read_authorization_uri(await self._start(request))

    @without_frames
    async def exchange_oauth(self, code: str) -> DescopeTokens:
        """Exchange the code of a social login for tokens.

        Raises:
            ProviderRejected: It is wrong, used or expired.
        """
        request = self.exchange_oauth_request(code)
        return read_tokens(await self._redeem(request, ProviderRejected()))

    @without_frames
    async def start_sso(
        self, tenant: str, redirect_uri: str, refresh_token: str, *, kept: KeptClaims = NOTHING_KEPT
    ) -> str:
        """Return where to send the user for their tenant's own login.

        Raises:
            DeliveryUnavailable: The tenant has none.
        """
        request = self.start_sso_request(tenant, redirect_uri, refresh_token, kept=kept)
        return read_authorization_uri(await self._start(request))

    @without_frames
    async def exchange_sso(self, code: str) -> DescopeTokens:
        """Exchange the code of a tenant's login for tokens.

        Raises:
            ProviderRejected: It is wrong, used or expired.
        """
        request = self.exchange_sso_request(code)
        return read_tokens(await self._redeem(request, ProviderRejected()))

    async def _for_user(self, request: HTTPRequest) -> HTTPResponse:
        return await self._expect(request, {400: session_over(), 401: session_over()})

    async def _start(self, request: HTTPRequest) -> HTTPResponse:
        return await self._expect(request, {400: DeliveryUnavailable(), 401: session_over()})

    async def _prove(self, request: HTTPRequest) -> HTTPResponse:
        """Send a code of the user."""
        by_status: dict[int, StepUpError] = {400: OTPRejected(), 401: OTPRejected()}
        return await self._expect(request, by_status, exhausted=OTPExhausted())

    async def _redeem(self, request: HTTPRequest, rejected: StepUpError) -> HTTPResponse:
        """Send a proof that names no user: a bad token can only be the proof itself."""
        return await self._expect(request, {400: rejected, 401: rejected}, bad_token=rejected)

    async def _poll(self, request: HTTPRequest) -> DescopeTokens | None:
        reply = await self._send(request)
        if reply.status == _OK:
            return read_tokens(reply)
        if error_code(reply) in PENDING:
            return None
        rejected = LinkRejected()
        raise self._error(reply, {400: rejected, 401: rejected}, bad_token=rejected)

    async def _expect(
        self,
        request: HTTPRequest,
        by_status: dict[int, StepUpError],
        *,
        bad_token: StepUpError | None = None,
        exhausted: StepUpError | None = None,
    ) -> HTTPResponse:
        reply = await self._send(request)
        if reply.status != _OK:
            raise self._error(reply, by_status, bad_token=bad_token, exhausted=exhausted)
        return reply

    def _error(
        self,
        reply: HTTPResponse,
        by_status: dict[int, StepUpError],
        *,
        bad_token: StepUpError | None = None,
        exhausted: StepUpError | None = None,
    ) -> StepUpError:
        return error_for(
            reply,
            by_status,
            bad_token=bad_token or session_over(),
            exhausted=exhausted,
            now=self._clock(),
        )

    async def _send(self, request: HTTPRequest) -> HTTPResponse:
        exchanging = _exchanging.set(True)
        try:
            return await self.http.send(request, deadline=self._deadline, max_body=MAX_REPLY)
        except HTTPFailure as failure:
            nonsense = failure.reason in {"encoding", "too_large"}
        finally:
            _exchanging.reset(exchanging)
        raise DescopeError if nonsense else DescopeUnavailable()


def base_url_for(project_id: str) -> str:
    """Return the API's base URL for a project; longer ids name their region (`P` + region + 27).

    Raises:
        ConfigurationError: The region cannot be part of a host name.
    """
    if len(project_id) < _REGIONAL_LENGTH:
        return DEFAULT_BASE_URL
    region = project_id[1:5].lower()
    if not region.isalnum():
        msg = (
            f"project_id={project_id!r} names the region {region!r}, which is no host name: copy "
            "the id from the Descope console, or pass base_url."
        )
        raise ConfigurationError(msg)
    return f"https://api.{region}.descope.com"

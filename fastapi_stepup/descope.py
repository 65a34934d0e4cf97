"""DescopeClient: Descope's wire protocol as pure builders and parsers around thin I/O.

Paths, bearer form and bodies are those that the official SDKs send. Their JSON is written down
once, here: a reply to `verify` and `refresh` holds `sessionJwt`, `refreshJwt` (or a `DSR` cookie),
`sessionExpiration` (epoch seconds), `cookieMaxAge` (seconds, of the refresh cookie) and `user`; an
error holds `errorCode`, which alone is looked at.
"""

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from fastapi_stepup.errors import (
    DeliveryUnavailable,
    DescopeError,
    DescopeUnavailable,
    InvalidToken,
    OTPExpired,
    OTPRejected,
    RejectReason,
    StepUpError,
    TooManyAttempts,
)
from fastapi_stepup.upstream import Reply, Request, Upstream, UpstreamFailure, retry_after

DEFAULT_BASE_URL: Final = "https://api.descope.com"
DEADLINE: Final = 10.0
MAX_REPLY: Final = 256 * 1024

Delivery = Literal["email", "sms", "voice", "whatsapp"]
DELIVERIES: Final[tuple[Delivery, ...]] = get_args(Delivery)

_REGIONAL_LENGTH: Final = 32
_RETRY_AFTER: Final = 60
_MAX_TEXT: Final = 256
_HIDDEN: Final = "***"

_WRONG_CODE: Final = "E061102"
_TOO_MANY_TRIES: Final = "E061103"
_CODE_EXPIRED: Final = "E061104"
_TOO_MANY_SENDS: Final = frozenset({"E032101", "E033005", "E130429"})
_BAD_TOKEN: Final = frozenset({"E061005", "E064001"})

_exchanging: Final = ContextVar("fastapi_stepup.exchanging", default=False)


class _WithoutReplyFields(logging.Filter):
    """Drops what httpcore logs of Descope's reply headers: in cookie mode they hold tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        is_reply = record.getMessage().startswith("receive_response_headers.complete")
        return not (is_reply and _exchanging.get())


for _protocol in ("http11", "http2"):
    logging.getLogger(f"httpcore.{_protocol}").addFilter(_WithoutReplyFields())


class Secret(str):
    """Text that no `repr` shows: not that of a container, nor that of a frame's variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret()"


@dataclass(frozen=True, slots=True, repr=False)
class DescopeTokens:
    """Tokens as Descope handed them out; nothing about them is verified yet.

    Args:
        session_token: The session JWT.
        refresh_token: The refresh JWT; `None` when Descope kept the old one in force.
        session_expiration: When the session token ends, in epoch seconds, if told.
        refresh_max_age: Lifetime of the refresh cookie in seconds, if told.
    """

    session_token: str
    refresh_token: str | None
    session_expiration: int | None
    refresh_max_age: int | None


@dataclass(frozen=True, slots=True, repr=False)
class DescopeUser:
    """The user that a refresh token belongs to: id, login ids and addresses on file."""

    user_id: str
    login_ids: tuple[str, ...]
    email: str | None
    phone: str | None

    def can_receive(self, delivery: Delivery) -> bool:
        """Whether there is an address on file for *delivery*."""
        return self._address(delivery) is not None

    def login_id(self, delivery: Delivery) -> str:
        """Return the login id to ask for a code with: the address itself where it is one."""
        address = self._address(delivery)
        return address if address in self.login_ids else self.login_ids[0]

    def _address(self, delivery: Delivery) -> str | None:
        return self.email if delivery == "email" else self.phone


class DescopeClient:
    """Talks to Descope's authentication API for one project.

    Sends each request once: a repeated POST could send a second code. Keeps no cookies. Does not
    verify tokens; give what it returns to a `TokenVerifier`.

    Args:
        project_id: The Descope project.
        base_url: Where the API is; see `base_url_for`.
        upstream: Sends the requests.
        deadline: Seconds for each request, connect to last byte.
        clock: Gives epoch seconds.
    """

    def __init__(
        self,
        project_id: str,
        *,
        base_url: str = DEFAULT_BASE_URL,
        upstream: Upstream | None = None,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.project_id = project_id
        self.base_url = base_url
        self.upstream: Upstream = upstream or Upstream()
        self._deadline = deadline
        self._clock = clock

    @property
    def keys_url(self) -> str:
        """Where the project's public keys are."""
        return f"{self.base_url}/v2/keys/{self.project_id}"

    async def start_otp(self, delivery: Delivery, login_id: str, refresh_token: str) -> str:
        """Send a step-up code and return the masked address it went to.

        Args:
            delivery: How to send it.
            login_id: One of the user's login ids; the code goes to the address on file.
            refresh_token: The user's refresh token, without which nothing is stepped up.

        Raises:
            DeliveryUnavailable: Descope cannot send a code that way.
            InvalidToken: Descope no longer honours the refresh token.
            TooManyAttempts: Too many codes were sent.
            DescopeUnavailable: Descope cannot be reached or is out of order.
            DescopeError: The answer makes no sense.
        """
        reply = await self._send(self.start_otp_request(delivery, login_id, refresh_token))
        if reply.status != 200:  # noqa: PLR2004
            raise self._refusal(reply, {400: DeliveryUnavailable(), 401: _revoked()})
        masked = _object(reply).get("maskedEmail" if delivery == "email" else "maskedPhone")
        if not isinstance(masked, str) or len(masked) > _MAX_TEXT or not masked.isprintable():
            raise DescopeError
        # An address too short to mask would come back whole.
        return masked if "*" in masked else _HIDDEN

    async def verify_otp(self, delivery: Delivery, login_id: str, code: str) -> DescopeTokens:
        """Exchange a code for tokens. Does not check whose tokens they are: the caller must.

        Raises:
            OTPRejected: The code is wrong, or none is waiting.
            OTPExpired: The code is too old.
            TooManyAttempts: Too many codes were tried.
            DescopeUnavailable: Descope cannot be reached or is out of order.
            DescopeError: The answer makes no sense.
        """
        reply = await self._send(self.verify_otp_request(delivery, login_id, code))
        if reply.status != 200:  # noqa: PLR2004
            raise self._refusal(reply, {400: OTPRejected(), 401: OTPRejected()})
        return read_tokens(reply)

    async def me(self, refresh_token: str) -> DescopeUser:
        """Return the user that *refresh_token* belongs to.

        Raises:
            InvalidToken: Descope no longer honours the refresh token.
            TooManyAttempts: Descope is throttling.
            DescopeUnavailable: Descope cannot be reached or is out of order.
            DescopeError: The answer makes no sense.
        """
        reply = await self._send(self.me_request(refresh_token))
        if reply.status != 200:  # noqa: PLR2004
            raise self._refusal(reply, {400: _revoked(), 401: _revoked()})
        return read_user(reply)

    async def refresh(self, refresh_token: str) -> DescopeTokens:
        """Return a fresh session for *refresh_token*; it is never a stepped-up one.

        Raises:
            InvalidToken: Descope no longer honours the refresh token.
            TooManyAttempts: Descope is throttling.
            DescopeUnavailable: Descope cannot be reached or is out of order.
            DescopeError: The answer makes no sense.
        """
        reply = await self._send(self.refresh_request(refresh_token))
        if reply.status != 200:  # noqa: PLR2004
            raise self._refusal(reply, {400: _revoked(), 401: _revoked()})
        return read_tokens(reply)

    def start_otp_request(self, delivery: Delivery, login_id: str, refresh_token: str) -> Request:
        """Build the OTP sign-in that steps up."""
        options = {"stepup": True, "customClaims": None, "mfa": False}
        body = {"loginId": login_id, "loginOptions": options}
        return self._request("POST", f"/v1/auth/otp/signin/{delivery}", refresh_token, body)

    def verify_otp_request(self, delivery: Delivery, login_id: str, code: str) -> Request:
        """Build the OTP verification; Descope links it to the sign-in by the login id alone."""
        body = {"loginId": login_id, "code": code}
        return self._request("POST", f"/v1/auth/otp/verify/{delivery}", None, body)

    def me_request(self, refresh_token: str) -> Request:
        """Build the request for the user behind a refresh token."""
        return self._request("GET", "/v1/auth/me", refresh_token, None)

    def refresh_request(self, refresh_token: str) -> Request:
        """Build the request for a fresh session."""
        return self._request("POST", "/v1/auth/refresh", refresh_token, {})

    def _request(
        self, method: str, path: str, secret: str | None, body: dict[str, Any] | None
    ) -> Request:
        bearer = self.project_id if secret is None else f"{self.project_id}:{secret}"
        headers = {"x-descope-project-id": self.project_id}
        return Request(method, self.base_url + path, bearer=bearer, json=body, headers=headers)

    async def _send(self, request: Request) -> Reply:
        exchanging = _exchanging.set(True)
        try:
            return await self.upstream.send(request, deadline=self._deadline, max_body=MAX_REPLY)
        except UpstreamFailure as failure:
            nonsense = failure.reason in {"encoding", "too_large"}
        finally:
            _exchanging.reset(exchanging)
        raise DescopeError if nonsense else DescopeUnavailable()

    def _refusal(self, reply: Reply, by_status: dict[int, StepUpError]) -> StepUpError:
        """Map an error reply by Descope's code where it is known, else by status, never by text.

        An error without a code is not Descope's, but that of something on the way.
        """
        asked = min(retry_after(reply, now=self._clock()) or 0, _RETRY_AFTER)
        if reply.status >= 500:  # noqa: PLR2004
            return DescopeUnavailable(retry_after=asked or 5)
        code = _error_code(reply)
        if reply.status == 429 or code in _TOO_MANY_SENDS or code == _TOO_MANY_TRIES:  # noqa: PLR2004
            return TooManyAttempts(retry_after=asked or _RETRY_AFTER)
        if code in _BAD_TOKEN:
            return _revoked()
        known = {_WRONG_CODE: OTPRejected(), _CODE_EXPIRED: OTPExpired()}
        by_code = by_status.get(reply.status) if code else None
        return known.get(code) or by_code or DescopeError()


def read_tokens(reply: Reply) -> DescopeTokens:
    """Parse the tokens of a reply, in the body or (cookie mode) in its own `Set-Cookie` fields.

    Raises:
        DescopeError: There is no session token.
    """
    body = _object(reply)
    session = _text(body, "sessionJwt") or reply.cookie("DS")
    if session is None:
        raise DescopeError
    refresh = _text(body, "refreshJwt") or reply.cookie("DSR")
    return DescopeTokens(
        session_token=Secret(session),
        refresh_token=None if refresh is None else Secret(refresh),
        session_expiration=_number(body, "sessionExpiration"),
        refresh_max_age=_number(body, "cookieMaxAge"),
    )


def read_user(reply: Reply) -> DescopeUser:
    """Parse the user of a `me` reply.

    Raises:
        DescopeError: It names no user id or no login id.
    """
    body = _object(reply)
    user_id, login_ids = _text(body, "userId"), body.get("loginIds")
    if user_id is None or not isinstance(login_ids, list) or not login_ids:
        raise DescopeError
    if not all(isinstance(login_id, str) and login_id for login_id in login_ids):
        raise DescopeError
    email, phone = _text(body, "email"), _text(body, "phone")
    return DescopeUser(user_id, tuple(map(Secret, login_ids)), email, phone)


def base_url_for(project_id: str) -> str:
    """Return the API's base URL for a project; longer ids name their region (`P` + region + 27)."""
    if len(project_id) < _REGIONAL_LENGTH:
        return DEFAULT_BASE_URL
    return f"https://api.{project_id[1:5].lower()}.descope.com"


def _object(reply: Reply) -> dict[str, Any]:
    try:
        return reply.json_object()
    except UpstreamFailure:
        pass
    raise DescopeError


def _error_code(reply: Reply) -> str:
    try:
        code = reply.json_object().get("errorCode")
    except UpstreamFailure:
        return ""
    return code if isinstance(code, str) else ""


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def _number(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    return value if type(value) is int and value > 0 else None


def _revoked() -> InvalidToken:
    return InvalidToken(RejectReason.REVOKED)

"""Outbound HTTP with limits: one request, one bounded response, no state between calls."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx

from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._json import parse_object
from fastapi_stepup._log import logger
from fastapi_stepup._options import is_number
from fastapi_stepup._secret import without_frames
from fastapi_stepup._urls import is_loopback
from fastapi_stepup.errors import ConfigurationError, FailureReason

USER_AGENT: Final = f"fastapi-stepup/{version('fastapi-stepup')}"
CONNECT_TIMEOUT: Final = 2.0
READ_TIMEOUT: Final = 3.0
TOTAL_TIMEOUT: Final = 5.0
MAX_BODY: Final = 64 * 1024

_MAX_TIMEOUT: Final = 300
_OVERRUN: Final = 256 * 1024  # more than a connection can have read ahead


class HTTPFailure(Exception):
    """A request got no usable response.

    Args:
        reason: Why, safe to log.
        retry_after: Seconds that the server asked to wait, if it did.
    """

    def __init__(self, reason: FailureReason, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """An outbound request to an absolute URL that was built from configuration."""

    method: str
    url: str
    bearer: str | None = None
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return f"HTTPRequest({self.method} {urlsplit(self.url).path})"


@dataclass(frozen=True, slots=True, repr=False)
class HTTPResponse:
    """A response: status, headers and the raw body, which may hold tokens."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json_object(self) -> dict[str, Any]:
        """Return the body as one JSON object.

        Raises:
            HTTPFailure: It is not UTF-8, not JSON, nested too deep, has a duplicate member or
                is something other than an object.
        """
        parsed = parse_object(self.body)
        if parsed is None:
            raise HTTPFailure(FailureReason.NOT_JSON)
        return parsed

    def cookie(self, name: str) -> str | None:
        """Return the value of the cookie *name* that this response sets, if it does."""
        prefix = name + "="
        for field in self.headers.get_list("set-cookie"):
            pair = field.split(";", 1)[0].strip()
            if pair.startswith(prefix):
                return pair.removeprefix(prefix) or None
        return None

    def __repr__(self) -> str:
        return f"HTTPResponse({self.status})"


class HTTPClient(SetOnce):
    """Sends requests, each on an `httpx` client of its own.

    - No cookie, connection or redirect outlives a call, so one user's response cannot affect
      another user's request. Any event loop, thread or process may call.
    - Bodies are read raw, up to a limit. Compressed ones count as failed.
    - Each call has a connect, a read and a total deadline.
    - The proxy variables of the environment (`HTTPS_PROXY`, `NO_PROXY` …) are used; TLS goes end to
      end through the proxy. A loopback host is always asked directly: plain http is allowed for it
      only because it never leaves the machine.
    - No frame of a traceback that leaves `send` holds the request.

    Does not retry.

    Args:
        transport: Where requests go instead of the network, for tests and proxies. It is never
            closed here. Its owner decides on TLS verification and on event loops: a transport that
            pools connections works in one loop only.
        connect_timeout: Seconds to connect, TLS included.
        read_timeout: Seconds between two pieces of a reply.
        total_timeout: Seconds for everything, unless a call says otherwise.

    Raises:
        ConfigurationError: *transport* is something else, such as a client, or a time is no
            positive number.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        total_timeout: float = TOTAL_TIMEOUT,
    ) -> None:
        for timeout in (connect_timeout, read_timeout, total_timeout):
            if not is_number(timeout) or not 0 < timeout <= _MAX_TIMEOUT:
                msg = f"Timeouts are seconds, more than 0 and up to {_MAX_TIMEOUT}."
                raise ConfigurationError(msg)
        self._transport = _checked_transport(transport)
        self._timeout = httpx.Timeout(read_timeout, connect=connect_timeout)
        self.total_timeout: float = total_timeout

    @property
    def is_emulated(self) -> bool:
        """Return whether requests go to the emulator of `fastapi_stepup.testing`."""
        return getattr(self._transport, "is_descope_emulator", False) is True

    @without_frames
    async def send(
        self, request: HTTPRequest, *, deadline: float | None = None, max_body: int = MAX_BODY
    ) -> HTTPResponse:
        """Return the response to *request*, whatever its status.

        Args:
            request: What to send.
            deadline: Seconds for everything, connect to last byte; else `total_timeout`.
            max_body: Largest accepted body in bytes.

        Raises:
            HTTPFailure: `CONNECT`, `TIMEOUT`, `TRANSPORT`, `ENCODING` or `TOO_LARGE`; no other
                exception, whatever the transport raises.
        """
        try:
            with anyio.fail_after(self.total_timeout if deadline is None else deadline):
                return await self._send(request, max_body)
        except (TimeoutError, httpx.TimeoutException):
            reason = FailureReason.TIMEOUT
        except httpx.ConnectError:
            reason = FailureReason.CONNECT
        except HTTPFailure as failure:
            reason = failure.reason
        except Exception as error:  # noqa: BLE001  # a transport may raise anything
            logger.debug("Outbound HTTP failed with %s.", type(error).__name__)
            reason = FailureReason.TRANSPORT
        # Raised outside the except block: a chained httpx error would carry the request.
        raise HTTPFailure(reason)

    async def _send(self, request: HTTPRequest, max_body: int) -> HTTPResponse:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
            **(request.headers or {}),
        }
        if request.bearer is not None:
            headers["Authorization"] = f"Bearer {request.bearer}"
        client = httpx.AsyncClient(
            transport=self._transport,
            verify=_tls_context() if self._transport is None else True,
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=self._timeout,
            trust_env=not is_loopback(urlsplit(request.url).hostname or ""),
            follow_redirects=False,
        )
        try:
            async with client.stream(
                request.method, request.url, json=request.json, headers=headers
            ) as reply:
                return await _checked(reply, max_body)
        finally:
            # A client closes its transport, and the caller's is not ours to close.
            if self._transport is None:
                await client.aclose()


async def _checked(reply: httpx.Response, max_body: int) -> HTTPResponse:
    """Return *reply* with its body, unless it is encoded or too large."""
    if reply.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPFailure(FailureReason.ENCODING)
    announced = reply.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > max_body:
        raise HTTPFailure(FailureReason.TOO_LARGE)
    return HTTPResponse(reply.status_code, reply.headers, await _read(reply, max_body))


async def _read(reply: httpx.Response, max_body: int) -> bytes:
    if reply.is_stream_consumed:
        body = bytearray(reply.content)  # A test's transport may give what has been read already.
    else:
        body = bytearray()
        try:
            async for chunk in reply.aiter_raw():
                body += chunk
                if len(body) > max_body + _OVERRUN:
                    break
                if len(body) > max_body and not reply.is_closed:
                    # Reading on until that fails ends the transport's own generators properly.
                    await reply.aclose()
        except httpx.HTTPError:
            if len(body) <= max_body:
                raise
    if len(body) > max_body:
        raise HTTPFailure(FailureReason.TOO_LARGE)
    return bytes(body)


def status_reason(status: int) -> FailureReason:
    """Return the reason of a failure by an HTTP status other than 200."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return FailureReason.THROTTLED
    by_class = {
        3: FailureReason.REDIRECT,
        4: FailureReason.CLIENT_ERROR,
        5: FailureReason.SERVER_ERROR,
    }
    return by_class.get(status // 100, FailureReason.STATUS)


def retry_after(reply: HTTPResponse, *, now: float) -> float | None:
    """Return the seconds that a `Retry-After` field asks for, or `None` when it is unreadable.

    Args:
        reply: Its field is a number of seconds or an HTTP date (RFC 9110 section 10.2.3).
        now: Epoch seconds.
    """
    value = reply.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:10])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    # The date comes without a zone when it says -0000, which is still UTC (RFC 5322 section 3.3).
    return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now)


def _checked_transport(transport: object) -> httpx.AsyncBaseTransport | None:
    if transport is None or isinstance(transport, httpx.AsyncBaseTransport):
        return transport
    kind = type(transport).__name__
    msg = (
        "transport is an httpx.AsyncBaseTransport, such as httpx.AsyncHTTPTransport(…): "
        f"an asynchronous one, and httpx's own, not {kind}."
    )
    raise ConfigurationError(msg)


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()

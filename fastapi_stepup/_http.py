"""Outbound HTTP with limits: one request, one bounded reply, nothing kept between calls."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx

from fastapi_stepup._json import parse_object
from fastapi_stepup._log import logger
from fastapi_stepup._options import is_number
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
    """A request got no usable reply.

    Args:
        reason: What went wrong, safe to log.
        retry_after: Seconds that the other side asked to wait, if it did.
    """

    def __init__(self, reason: FailureReason, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """One outbound request: an absolute URL built from configuration, and what goes with it."""

    method: str
    url: str
    bearer: str | None = None
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return f"HTTPRequest({self.method} {urlsplit(self.url).path})"


@dataclass(frozen=True, slots=True, repr=False)
class HTTPResponse:
    """What came back: status, headers and the raw body, which may hold tokens."""

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
        """Return the value of the cookie *name* that this very reply sets, if there is one."""
        prefix = name + "="
        for field in self.headers.get_list("set-cookie"):
            pair = field.split(";", 1)[0].strip()
            if pair.startswith(prefix):
                return pair.removeprefix(prefix) or None
        return None

    def __repr__(self) -> str:
        return f"HTTPResponse({self.status})"


class HTTPClient:
    """Sends requests, each on a client of its own.

    No cookie, connection or redirect outlives or crosses a call, so that one user's reply can
    never colour another user's request and any event loop or process may call. Bodies are read
    raw up to a cap and refused when compressed; every call has connect, read and total deadlines.
    Does not retry.

    The proxy variables of the environment (`HTTPS_PROXY`, `NO_PROXY` and so on) are honoured, since
    many servers have no other way out, and TLS is end to end through them. A loopback host is
    always asked directly: plain http is allowed for it only because it never leaves the machine.

    Args:
        transport: Where requests go instead of the network: the seam for tests and proxies. It is
            never closed here. TLS verification is then its owner's, and so are its event loops: a
            transport that pools connections works in one loop only.
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
        self._transports = [None if transport is None else _Borrowed(transport)]
        self._timeout = httpx.Timeout(read_timeout, connect=connect_timeout)
        self.total_timeout = total_timeout

    def pinned(self) -> "HTTPClient":
        """Return a copy that `rerouted` does not reach: it goes where this one goes at present."""
        pinned = copy(self)
        pinned._transports = self._transports[-1:]  # noqa: SLF001  # its own copy
        return pinned

    @contextmanager
    def rerouted(self, transport: httpx.AsyncBaseTransport) -> Iterator[None]:
        """Send everything to *transport* until the block ends; blocks may nest and overlap."""
        borrowed = _Borrowed(transport)
        self._transports.append(borrowed)
        try:
            yield
        finally:
            self._transports.remove(borrowed)

    async def send(
        self, request: HTTPRequest, *, deadline: float | None = None, max_body: int = MAX_BODY
    ) -> HTTPResponse:
        """Return the reply to *request*, whatever its status.

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
        transport = self._transports[-1]
        async with (
            httpx.AsyncClient(
                transport=transport,
                verify=_tls_context() if transport is None else True,
                limits=httpx.Limits(max_keepalive_connections=0),
                timeout=self._timeout,
                trust_env=not is_loopback(urlsplit(request.url).hostname or ""),
                follow_redirects=False,
            ) as client,
            client.stream(request.method, request.url, json=request.json, headers=headers) as reply,
        ):
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


class _Borrowed(httpx.AsyncBaseTransport):
    """Lends a transport to a throw-away client without letting the client close it."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        if not isinstance(transport, httpx.AsyncBaseTransport):
            kind = type(transport).__name__
            msg = (
                "transport is an httpx.AsyncBaseTransport, such as httpx.AsyncHTTPTransport(…): "
                f"an asynchronous one, and httpx's own, not {kind}."
            )
            raise ConfigurationError(msg)
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._transport.handle_async_request(request)


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()

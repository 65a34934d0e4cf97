"""Outbound HTTP with limits: one request, one bounded reply, nothing kept between calls."""

import logging
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx

from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.strict_json import parse_object

logger: Final = logging.getLogger("fastapi_stepup")

USER_AGENT: Final = f"fastapi-stepup/{version('fastapi-stepup')}"
CONNECT_TIMEOUT: Final = 2.0
READ_TIMEOUT: Final = 3.0
TOTAL_TIMEOUT: Final = 5.0
MAX_BODY: Final = 64 * 1024

_MAX_PRINTABLE: Final = 0x7E
_warned_about: Final[set[str]] = set()


class UpstreamFailure(Exception):
    """A request got no usable reply.

    Args:
        reason: One of a few fixed words, safe to log.
        retry_after: Seconds that the other side asked to wait, if it did.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Request:
    """One outbound request: an absolute URL built from configuration, and what goes with it."""

    method: str
    url: str
    bearer: str | None = None
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return f"Request({self.method} {urlsplit(self.url).path})"


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """What came back: status, headers and the raw body, which may hold tokens."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json_object(self) -> dict[str, Any]:
        """Return the body as one JSON object.

        Raises:
            UpstreamFailure: It is not UTF-8, not JSON, nested too deep, has a duplicate member or
                is something other than an object.
        """
        parsed = parse_object(self.body)
        if parsed is None:
            reason = "not_json"
            raise UpstreamFailure(reason)
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
        return f"Reply({self.status})"


class Upstream:
    """Sends requests, each on a client of its own.

    No cookie, connection or redirect outlives or crosses a call, so that one user's reply can
    never colour another user's request and any event loop or process may call. Bodies are read
    raw up to a cap and refused when compressed; every call has connect, read and total deadlines.
    Does not retry.

    Args:
        transport: Where requests go instead of the network: the seam for tests and proxies. It is
            never closed here.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._transport = transport

    @contextmanager
    def rerouted(self, transport: httpx.AsyncBaseTransport) -> Iterator[None]:
        """Send everything to *transport* until the block ends."""
        previous, self._transport = self._transport, transport
        try:
            yield
        finally:
            self._transport = previous

    async def send(
        self, request: Request, *, deadline: float = TOTAL_TIMEOUT, max_body: int = MAX_BODY
    ) -> Reply:
        """Return the reply to *request*, whatever its status.

        Args:
            request: What to send.
            deadline: Seconds for everything, connect to last byte.
            max_body: Largest accepted body in bytes.

        Raises:
            UpstreamFailure: `connect`, `timeout`, `transport`, `encoding` or `too_large`.
        """
        try:
            with anyio.fail_after(deadline):
                return await self._send(request, max_body)
        except (TimeoutError, httpx.TimeoutException):
            reason = "timeout"
        except httpx.ConnectError:
            reason = "connect"
        except UpstreamFailure as failure:
            reason = failure.reason
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, RuntimeError):
            # RuntimeError: a transport that its owner has closed, or that another loop owns.
            reason = "transport"
        # Raised outside the except block: a chained httpx error would carry the request.
        raise UpstreamFailure(reason)

    async def _send(self, request: Request, max_body: int) -> Reply:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
            **(request.headers or {}),
        }
        if request.bearer is not None:
            headers["Authorization"] = f"Bearer {request.bearer}"
        transport = None if self._transport is None else _Borrowed(self._transport)
        async with (
            httpx.AsyncClient(
                transport=transport,
                verify=_tls_context() if transport is None else True,
                limits=httpx.Limits(max_keepalive_connections=0),
                timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
                follow_redirects=False,
                event_hooks=None,
            ) as client,
            client.stream(request.method, request.url, json=request.json, headers=headers) as reply,
        ):
            if reply.headers.get("content-encoding", "identity").lower() != "identity":
                reason = "encoding"
                raise UpstreamFailure(reason)
            body = bytearray()
            announced = reply.headers.get("content-length", "")
            too_large = announced.isdigit() and int(announced[:20]) > max_body
            if not too_large:
                async for chunk in reply.aiter_raw():
                    body += chunk
                    too_large = len(body) > max_body
                    if too_large:
                        break
            if too_large:
                reason = "too_large"
                raise UpstreamFailure(reason)
            return Reply(reply.status_code, reply.headers, bytes(body))


def retry_after(reply: Reply, *, now: float) -> float | None:
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
    except ValueError:
        return None
    return max(0.0, moment.astimezone(UTC).timestamp() - now)


class _Borrowed(httpx.AsyncBaseTransport):
    """Lends a transport to a throw-away client without letting the client close it."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._transport.handle_async_request(request)


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def base_url(name: str, value: str) -> str:
    """Return *value* as a base URL without trailing slash.

    Args:
        name: The option's name, for the message.
        value: An https URL; plain http only for a loopback host, which logs one warning.

    Raises:
        ConfigurationError: Another scheme, plain http to another host, no host, user info, a
            query, a fragment, or a character that does not belong into a URL.
    """
    msg = (
        f"{name} must be an https URL such as https://api.descope.com (plain http only for a "
        "loopback host), without user info, query and fragment."
    )
    if not isinstance(value, str) or not all(" " < c <= chr(_MAX_PRINTABLE) for c in value):
        raise ConfigurationError(msg)
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigurationError(msg) from None
    unwanted = any(c in value for c in "@?#\\%")
    if parts.scheme not in {"http", "https"} or not host or unwanted or port == 0:
        raise ConfigurationError(msg)
    if parts.scheme == "http":
        if not is_loopback(host):
            raise ConfigurationError(msg)
        if value not in _warned_about:
            _warned_about.add(value)
            logger.warning("%s is plain http on a loopback host: for development only.", name)
    return value.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether *host* can only be this machine: `localhost`, `127.0.0.0/8` or `::1`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

"""EmulatorTransport: the emulator as a transport of asynchronous HTTP clients."""

import sys
from typing import Any, NoReturn

import httpx
from starlette.types import ASGIApp


class EmulatorTransport(httpx.ASGITransport):
    """Sends every request to the emulator, under every host name and without a network.

    `httpx.AsyncClient` and `httpx2.AsyncClient` take it; each gets responses of its own library.

    Does not serve synchronous clients: those raise a `TypeError` that names what does.

    Args:
        app: The emulator.
    """

    is_descope_emulator = True  # Swagger UI offers to sign its users in.

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app=app)
        self._app = app

    async def handle_async_request(self, request: Any) -> Any:
        """Answer one request of `httpx` or `httpx2`.

        Raises:
            TypeError: The request is another library's.
        """
        if isinstance(request, httpx.Request):
            return await super().handle_async_request(request)
        httpx2 = sys.modules.get("httpx2")  # Imported, where a request of it is here.
        if httpx2 is not None and isinstance(request, httpx2.Request):
            return await httpx2.ASGITransport(app=self._app).handle_async_request(request)
        kind = f"{type(request).__module__}.{type(request).__qualname__}"
        raise TypeError(f"emulator.transport answers requests of httpx and httpx2, not {kind}.")

    def handle_request(self, _: object) -> NoReturn:
        """Refuse a synchronous client.

        Raises:
            TypeError: Always; the message names what to use instead.
        """
        raise TypeError(_ASYNCHRONOUS)

    def __enter__(self) -> NoReturn:
        raise TypeError(_ASYNCHRONOUS)

    def __exit__(self, *_: object) -> None:
        """Never called; a synchronous client needs it before it calls `__enter__`."""


_ASYNCHRONOUS = (
    "emulator.transport is for AsyncClient of httpx or httpx2. A synchronous client takes "
    "starlette.testclient.TestClient(emulator), or the URL of emulator.serve()."
)

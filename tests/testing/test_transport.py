"""The emulator as a transport of HTTP clients."""

import asyncio
import sys
from typing import Any

import httpx
import httpx2
import pytest
from starlette.testclient import TestClient

from fastapi_stepup.testing import DescopeEmulator

KEYS = "https://api.descope.com/v2/keys/P2LocalEmulatorProject000001"
LIBRARIES = [httpx, httpx2]


@pytest.mark.anyio
@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
async def test_asynchronous_clients_reach_the_emulator(
    emulator: DescopeEmulator, library: Any
) -> None:
    """Every host name leads to it, on either event loop, with the library's own response."""
    async with library.AsyncClient(transport=emulator.transport) as client:
        reply = await client.get(KEYS)
    assert (reply.status_code, type(reply)) == (200, library.Response)


def test_httpx_alone_is_enough(emulator: DescopeEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport does not import httpx2."""
    monkeypatch.delitem(sys.modules, "httpx2")

    async def keys() -> int:
        async with httpx.AsyncClient(transport=emulator.transport) as client:
            return (await client.get(KEYS)).status_code

    assert asyncio.run(keys()) == 200
    assert "httpx2" not in sys.modules


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_synchronous_client_is_sent_elsewhere(emulator: DescopeEmulator, library: Any) -> None:
    """A `Client` raises a sentence that names what it takes, with and without a context."""
    client = library.Client(transport=emulator.transport)
    with pytest.raises(TypeError, match=r"AsyncClient.*TestClient\(emulator\).*serve\(\)"):
        client.get(KEYS)
    unopened = library.Client(transport=emulator.transport)
    with pytest.raises(TypeError, match="AsyncClient"):
        unopened.__enter__()


def test_request_of_another_library_is_named(emulator: DescopeEmulator) -> None:
    """Anything but a request of the two libraries is a sentence, not an `AssertionError`."""
    for request, name in (("GET /", "builtins.str"), (TestClient(emulator), "TestClient")):
        with pytest.raises(TypeError, match=rf"httpx and httpx2, not .*{name}"):
            asyncio.run(emulator.transport.handle_async_request(request))


@pytest.mark.parametrize("guard", [None, "shop.main:guard"])
def test_attach_takes_a_guard(emulator: DescopeEmulator, guard: Any) -> None:
    """Another object is named in a sentence."""
    with pytest.raises(TypeError, match="attach takes a StepUpGuard, not"):
        emulator.attach(guard).__enter__()

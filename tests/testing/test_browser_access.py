"""Web pages that may not use the admin API, whatever their user's browser is asked to send."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.emulator.browser_access import is_foreign
from fastapi_stepup.web.host_names import is_local_name
from tests.testing.conftest import Caller


def foreign(server: str | None, **headers: str) -> bool:
    """Return whether a request with these headers is one of a foreign page."""
    sent = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    scope = {"type": "http", "scheme": "http", "headers": sent, "path": "/"}
    return is_foreign(scope | {"server": (server, 8085) if server else None})


def test_host_must_be_of_this_machine(subtests: pytest.Subtests) -> None:
    """On a loopback socket a name that leads elsewhere, or did, is that of a foreign page."""
    rows: dict[str, tuple[str | None, dict[str, str], object]] = {
        "program": ("127.0.0.1", {"host": "127.0.0.1:8085"}, False),
        "by-name": ("127.0.0.1", {"host": "localhost:8085"}, False),
        "below-localhost": ("127.0.0.1", {"host": "app.localhost:8085"}, False),
        "ipv6": ("::1", {"host": "[::1]:8085"}, False),
        "both-families": ("::ffff:127.0.0.1", {"host": "evil.example"}, True),
        "rebinding": ("127.0.0.1", {"host": "evil.example:8085"}, True),
        "rebinding-name": ("127.0.0.1", {"host": "localhost.evil.example"}, True),
        "malformed": ("127.0.0.1", {"host": "[::1"}, True),
        "no-host": ("127.0.0.1", {}, True),
        "container": ("172.17.0.2", {"host": "emulator:8085"}, False),
        "in-process": ("api.descope.com", {"host": "api.descope.com"}, False),
        "no-server": (None, {"host": "testserver"}, False),
    }
    for name, (server, headers, expected) in rows.items():
        with subtests.test(name):
            assert foreign(server, **headers) is expected


def test_origin_must_be_of_this_machine(subtests: pytest.Subtests) -> None:
    """A page of another site may link here, and do nothing else."""
    rows: dict[str, tuple[dict[str, str], object]] = {
        "own": ({"origin": "http://127.0.0.1:8085"}, False),
        "loopback": ({"origin": "http://localhost:3000"}, False),
        "foreign": ({"origin": "https://evil.example"}, True),
        "looks-like-loopback": ({"origin": "http://localhost.evil.example"}, True),
        "sandbox": ({"origin": "null"}, True),
        "img": ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, True),
        "followed": ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, False),
        "the-page": ({"sec_fetch_site": "same-origin"}, False),
    }
    for name, (headers, expected) in rows.items():
        with subtests.test(name):
            assert foreign("127.0.0.1", host="127.0.0.1:8085", **headers) is expected


def test_exposed_emulator_takes_its_own_page() -> None:
    """Its origin is the host that it was asked by, and no other name."""
    assert not foreign("172.17.0.2", host="emulator:8085", origin="http://emulator:8085")
    assert foreign("172.17.0.2", host="emulator:8085", origin="http://other:8085")


def test_loopback_is_known(subtests: pytest.Subtests) -> None:
    """Addresses and names of this machine."""
    rows: list[str] = ["127.0.0.1", "127.9.9.9", "::1", "localhost", "a.localhost"]
    for host in rows:
        with subtests.test(host=host):
            assert is_local_name(host)


def test_other_hosts_are_no_loopback(subtests: pytest.Subtests) -> None:
    """Addresses and names that may be another machine's."""
    rows: list[str] = ["", "0.0.0.0", "192.168.0.1", "example.com", "localhost.com"]
    for host in rows:
        with subtests.test(host=host):
            assert not is_local_name(host)


@pytest.fixture
def served(emulator: DescopeEmulator) -> Iterator[str]:
    """The emulator on a socket."""
    with emulator.serve() as url:
        yield url


def test_foreign_page_is_refused(served: str, subtests: pytest.Subtests) -> None:
    """It gets 403 under a name of its own, and for any request with its origin."""
    rows: list[str] = ["/", "/_emulator/outbox", "/_emulator/page.js"]
    for path in rows:
        with subtests.test(path=path):
            for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
                refused = httpx.get(served + path, headers=headers)
                assert (refused.status_code, "Only pages of this machine" in refused.text) == (
                    403,
                    True,
                )
            assert httpx.get(served + path).status_code == 200


def test_foreign_page_changes_nothing(served: str, emulator: DescopeEmulator) -> None:
    """A form, which a browser sends without a preflight, is refused before it is read."""
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    assert httpx.post(f"{served}/_emulator/reset", headers=headers).status_code == 403
    assert [user.login_ids for user in emulator.users] == [("ann@example.com",)]


def test_endpoints_of_descope_are_open(served: str, caller: Caller) -> None:
    """A page of a made-up name may be an app on this machine; those calls return no code."""
    headers = {"Host": "app.test", "Origin": "https://app.test"}
    path = f"/v2/keys/{caller.emulator.project_id}"
    assert httpx.get(served + path, headers=headers).status_code == 200


def test_raw_host_header_is_read(served: str) -> None:
    """A request without any host header is refused."""
    port = int(served.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /_emulator/outbox HTTP/1.0\r\n\r\n")
        assert b" 403 " in connection.recv(100)

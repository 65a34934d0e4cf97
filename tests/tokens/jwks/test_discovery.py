"""Discovery: where the keys of an issuer are, found rarely and through outages."""

from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from fastapi_stepup._http import HTTPClient
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.tokens.jwks.cache import JWKSCache
from fastapi_stepup.tokens.jwks.discovery import metadata_urls
from tests.support.jwks_server import CacheHarness, Clock, jwk

pytestmark = pytest.mark.anyio

ISSUER = "https://login.example"
OPENID = f"{ISSUER}/.well-known/openid-configuration"
OAUTH = f"{ISSUER}/.well-known/oauth-authorization-server"
KEYS = f"{ISSUER}/jwks"


class Site(CacheHarness):
    """Everything that is served, by URL: JSON, or a function of the request."""

    def __init__(self, issuer: str = ISSUER, **options: Any) -> None:
        self.metadata: dict[str, Any] = {"issuer": issuer, "jwks_uri": KEYS}
        self.pages: dict[str, Any] = {
            metadata_urls(issuer)[0]: self.metadata,
            KEYS: {"keys": [jwk("k1")]},
        }
        self.requests: list[httpx.Request] = []
        self.clock = Clock()
        self.keys = JWKSCache.discovered(
            issuer,
            http=HTTPClient(httpx.MockTransport(self._answer), total_timeout=0.4),
            monotonic=self.clock,
            wall=self.clock,
            **options,
        )

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await anyio.lowlevel.checkpoint()  # as a network would, so that deadlines count
        page = self.pages.get(str(request.url))
        if page is None:
            return httpx.Response(404)
        if callable(page):
            page = await page(request) if page is hang else page(request)
        return page if isinstance(page, httpx.Response) else httpx.Response(200, json=page)

    @property
    def asked(self) -> list[str]:
        """The URLs that were asked for since the last look."""
        urls = [str(request.url) for request in self.requests]
        self.requests.clear()
        return urls

    @property
    def failure(self) -> str | None:
        """Why the last fetch failed, if it did."""
        reason = self.keys.health().last_error
        return None if reason is None else reason.value

    async def refreshed(self, after: float = 301) -> str:
        """Return what asking for the key comes to once a refresh that was due is over."""
        self.clock.now += after
        found = await self.outcome("k1")
        await self.finish_refreshes()
        return found


async def hang(request: httpx.Request) -> httpx.Response:
    """Never answer."""
    await anyio.sleep_forever()
    return httpx.Response(200)


async def test_metadata_is_asked_with_the_keys_and_never_for_a_request() -> None:
    """One request for it, one for the keys, at the start and at each refresh."""
    site = Site()

    for _ in range(5):
        assert await site.outcome("k1") == "found"
    assert site.asked == [OPENID, KEYS]
    assert await site.refreshed() == "found"
    assert site.asked == [OPENID, KEYS]
    assert site.keys.url == OPENID


async def test_many_callers_share_one_look() -> None:
    """Also the very first ones."""
    site = Site()

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(site.outcome, "k1")

    assert site.asked == [OPENID, KEYS]


async def test_unknown_kids_do_not_ask_for_metadata_each() -> None:
    """Their forced fetches of keys are few already, and metadata is good for a minute."""
    site = Site()
    await site.outcome("k1")

    for number in range(20):
        assert await site.outcome(f"x{number}") == "unknown"

    assert site.asked.count(OPENID) == 1


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        (ISSUER, (OPENID, OAUTH)),
        (f"{ISSUER}/", (OPENID, OAUTH)),
        (
            f"{ISSUER}/realms/r",
            (
                f"{ISSUER}/realms/r/.well-known/openid-configuration",
                f"{OAUTH}/realms/r",
            ),
        ),
        (
            "http://localhost:8080",
            (
                "http://localhost:8080/.well-known/openid-configuration",
                "http://localhost:8080/.well-known/oauth-authorization-server",
            ),
        ),
    ],
)
def test_where_metadata_may_be(issuer: str, expected: tuple[str, str]) -> None:
    """OpenID Connect Discovery section 4, RFC 8414 section 3.1."""
    assert metadata_urls(issuer) == expected


def test_issuers_that_have_no_address(subtests: pytest.Subtests) -> None:
    """Refused at construction."""
    for issuer in ("http://login.example", "login.example", f"{ISSUER}?a=b"):
        with (
            subtests.test(issuer=issuer),
            pytest.raises(ConfigurationError, match="issuer must be an https URL"),
        ):
            JWKSCache.discovered(issuer)


async def test_the_second_address_is_tried_where_the_first_has_nothing() -> None:
    """An OAuth server that is no OpenID provider has only that one."""
    site = Site()
    site.pages[OAUTH] = site.pages.pop(OPENID)

    assert await site.outcome("k1") == "found"
    assert site.asked == [OPENID, OAUTH, KEYS]


async def test_a_slash_at_the_end_of_the_issuer_counts() -> None:
    """Auth0 writes one; the metadata says which it is."""
    site = Site(f"{ISSUER}/")
    assert await site.outcome("k1") == "found"

    other = Site()
    other.metadata["issuer"] = f"{ISSUER}/"
    assert await other.outcome("k1") == "unavailable"
    assert other.failure == "issuer"


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        (
            "issuer",
            ["https://evil.example", "https://LOGIN.example", None, [ISSUER]],
            "issuer",
        ),
        (
            "jwks_uri",
            [
                None,
                5,
                "http://login.example/jwks",
                "http://127.0.0.1/jwks",
                "file:///etc/passwd",
                "/jwks",
                f"{KEYS}#x",
                "https://a@login.example/jwks",
                f"{KEYS}?{'x' * 2100}",
            ],
            "metadata",
        ),
    ],
)
async def test_metadata_that_does_not_count(
    name: str, values: list[Any], reason: str, subtests: pytest.Subtests
) -> None:
    """Nothing is fetched from where it leads, and no session ends by it: callers get 503."""
    for value in values:
        site = Site()
        site.metadata[name] = value
        with subtests.test(value=value):
            assert await site.outcome("k1") == "unavailable"
            assert site.asked == [OPENID]
            assert site.failure == reason


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        pytest.param(
            lambda _: httpx.Response(302, headers={"Location": OAUTH}), "redirect", id="redirect"
        ),
        pytest.param(lambda _: httpx.Response(200, content=b"x" * 10**6), "too_large", id="1-mb"),
        pytest.param(lambda _: httpx.Response(200, content=b"<html>"), "not_json", id="a-page"),
        pytest.param(lambda _: httpx.Response(200, json=[]), "not_json", id="a-list"),
        pytest.param(lambda _: httpx.Response(429), "throttled", id="throttled"),
        pytest.param(lambda _: httpx.Response(503), "server_error", id="down"),
        pytest.param(lambda _: httpx.Response(404), "client_error", id="not-there"),
        pytest.param(hang, "timeout", id="slow"),
    ],
)
async def test_metadata_that_cannot_be_had(page: Any, reason: str) -> None:
    """At the start it is an outage, within the deadline; later keys are refreshed all the same."""
    site = Site()
    site.pages[OPENID] = page
    with anyio.fail_after(5):
        assert await site.outcome("k1") == "unavailable"
    assert site.failure == reason
    assert KEYS not in site.asked

    site = Site()
    await site.outcome("k1")
    _ = site.asked
    site.pages[OPENID] = page
    with anyio.fail_after(5):
        assert await site.refreshed() == "found"
    assert site.asked[-1] == KEYS
    assert site.keys.health().state == "fresh"


async def test_an_outage_of_the_metadata_is_told_once_and_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The last `jwks_uri` is used for as long as a key set may be, an hour by default."""
    site = Site()
    await site.outcome("k1")
    site.metadata["issuer"] = "https://evil.example"

    for _ in range(5):
        assert await site.refreshed(600) == "found"
    told = [r for r in caplog.records if "its keys are" in r.message]
    assert [r.levelname for r in told][:1] == ["WARNING"]
    assert len([r for r in told if r.levelname == "WARNING"]) == 1
    await site.refreshed(700)  # An hour and 100 s after the last metadata that counted.
    assert site.failure == "issuer"

    site.metadata["issuer"] = ISSUER
    assert await site.refreshed(120) == "found"
    assert site.failure is None


async def test_keys_that_move_are_followed(caplog: pytest.LogCaptureFixture) -> None:
    """To another host too: the issuer's own document says so. Entity tags stay with their URL."""
    moved = "https://keys.example/set?tenant=a"
    site = Site()
    site.pages[KEYS] = lambda _: httpx.Response(
        200, json={"keys": [jwk("k1")]}, headers={"ETag": '"1"'}
    )
    caplog.set_level("INFO")
    await site.outcome("k1")
    await site.refreshed()
    assert not [r for r in caplog.records if r.name == "fastapi_stepup"]
    site.metadata["jwks_uri"] = moved
    site.pages[moved] = {"keys": [jwk("k1", 1), jwk("k2", 1)]}

    assert await site.refreshed() == "found"
    assert [r.message for r in caplog.records if r.name == "fastapi_stepup"] == [
        "The issuer's metadata names another jwks_uri than before."
    ]

    assert [str(request.url) for request in site.requests][-1] == moved
    assert "If-None-Match" not in site.requests[-1].headers
    assert await site.outcome("k2") == "found"


async def test_metadata_is_good_for_a_minute() -> None:
    """Keys that are refreshed sooner, as they may be for an unknown kid, leave it alone."""
    site = Site()
    await site.outcome("k1")
    for later, asked in ((60, [KEYS]), (0.5, [OPENID, KEYS])):
        _ = site.asked
        site.clock.now += later
        assert await site.outcome(f"x{later}") == "unknown"
        assert site.asked == asked


async def test_an_entity_tag_is_used_where_it_came_from() -> None:
    """A key set that has not changed is not sent again."""
    site = Site()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers.get("If-None-Match") == '"1"':
            return httpx.Response(304)
        return httpx.Response(200, json={"keys": [jwk("k1")]}, headers={"ETag": '"1"'})

    site.pages[KEYS] = answer
    await site.outcome("k1")
    assert await site.refreshed() == "found"
    assert site.requests[-1].headers["If-None-Match"] == '"1"'
    assert site.keys.health().state == "fresh"


async def test_an_unasked_304_is_a_failed_fetch() -> None:
    """The set that moved cannot be the one that is known."""
    moved = "https://keys.example/set"
    site = Site()
    site.pages[KEYS] = lambda _: httpx.Response(
        200, json={"keys": [jwk("k1")]}, headers={"ETag": '"1"'}
    )
    await site.outcome("k1")
    site.metadata["jwks_uri"] = moved
    site.pages[moved] = lambda _: httpx.Response(304)

    await site.refreshed()

    assert site.failure == "redirect"


async def test_an_issuer_on_this_machine_may_be_plain_http() -> None:
    """For development; its keys are then there too."""
    local = "http://localhost:8080"
    site = Site(local)
    site.metadata["jwks_uri"] = f"{local}/jwks"
    site.pages[f"{local}/jwks"] = site.pages.pop(KEYS)

    assert await site.outcome("k1") == "found"


async def test_failed_metadata_backs_off_as_failed_keys_do() -> None:
    """Requests that come meanwhile ask for nothing."""
    site = Site()
    await site.outcome("k1")
    site.clock.now += 4000
    site.pages[OPENID] = lambda _: httpx.Response(404)
    assert await site.outcome("k1") == "unavailable"
    _ = site.asked

    assert await site.outcome("k1") == "unavailable"
    assert site.asked == []

"""Social login, SSO and SAML, and the page that plays the provider."""

from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.testing.conftest import Caller, Clock, error_of

ANN = "ann@example.com"
PAGE = "https://shop.example/callback?next=cart"
KINDS = [
    pytest.param("oauth", "provider=google", "oauth", id="oauth"),
    pytest.param("sso", "tenant=T1&prompt=login", "fed", id="sso"),
    pytest.param("saml", "tenant=T1", "fed", id="saml"),
]


def authorize(
    caller: Caller, kind: str, query: str, *, token: str = "", page: str = PAGE, **options: object
) -> httpx2.Response:
    """Ask for the provider's address; the options are the body."""
    body = dict(options)
    return caller.post(f"{kind}/authorize?{query}&redirectURL={page}", body, token=token)


def exchange(caller: Caller, kind: str, location: str) -> httpx2.Response:
    """Exchange the code in the address that the provider led back to."""
    return caller.post(f"{kind}/exchange", {"code": location.rpartition("=")[2]})


@pytest.mark.parametrize(("kind", "query", "amr"), KINDS)
def test_user_steps_up_at_the_provider(
    caller: Caller, ann: Tokens, kind: str, query: str, amr: str
) -> None:
    """The start brings the refresh token; the code gives the session, once."""
    started = authorize(caller, kind, query, token=ann.refresh_token, stepup=True)
    location = caller.emulator.social_login(started.json()["url"], ANN)
    assert location.startswith(f"{PAGE}&code=")
    reply = exchange(caller, kind, location).json()
    claims = caller.claims(reply["sessionJwt"])
    assert (True, ["email", amr, "mfa"]) == (claims["su"], claims["amr"])
    assert reply["user"]["OAuth"] == ({"google": True} if kind == "oauth" else {})
    assert reply["user"]["SAML"] is (kind != "oauth")
    assert error_of(exchange(caller, kind, location)) == (401, "E061301")


def test_other_account_at_the_provider_gets_the_session(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """The worst case: Bob's session is stepped up, by Ann's start; clients must compare."""
    started = authorize(caller, "oauth", "provider=google", token=ann.refresh_token, stepup=True)
    location = emulator.social_login(started.json()["url"], "bob@example.com")
    claims = caller.claims(exchange(caller, "oauth", location).json()["sessionJwt"])
    bob = emulator.user("bob@example.com").user_id
    assert (bob, True, ["oauth"]) == (claims["sub"], claims["su"], claims["amr"])


@pytest.mark.parametrize(("kind", "query", "amr"), KINDS)
def test_new_user_comes_by_the_provider(
    caller: Caller, emulator: DescopeEmulator, kind: str, query: str, amr: str
) -> None:
    """An unknown login id becomes a user; by SSO one of the tenant."""
    location = emulator.social_login(authorize(caller, kind, query).json()["url"], "bob")
    claims = caller.claims(exchange(caller, kind, location).json()["sessionJwt"])
    member: dict[str, Any] = {"T1": {"roles": [], "permissions": []}}
    tenants = None if kind == "oauth" else member
    assert ([amr], tenants) == (claims["amr"], claims.get("tenants"))


@pytest.mark.parametrize("kind", ["oauth", "sso"])
def test_start_needs_a_provider_and_a_refresh_token(caller: Caller, kind: str) -> None:
    """No provider, and no refresh token for a step-up, are refused."""
    assert error_of(authorize(caller, kind, "x=1")) == (400, "E011002")
    refused = authorize(caller, kind, "provider=google&tenant=T1", stepup=True)
    assert error_of(refused) == (400, "E011002")


def test_code_is_of_its_kind_and_expires(
    caller: Caller, emulator: DescopeEmulator, clock: Clock
) -> None:
    """A social code is none of SSO, a late one is none at all, and so is one made up."""
    for wait, kind in ((0.0, "sso"), (emulator.code_lifetime, "oauth")):
        url = authorize(caller, "oauth", "provider=google").json()["url"]
        location = emulator.social_login(url, ANN)
        clock.now += wait
        assert error_of(exchange(caller, kind, location)) == (401, "E061301")
    assert error_of(exchange(caller, "oauth", "code=0")) == (401, "E061301")


def test_user_declines(caller: Caller, emulator: DescopeEmulator) -> None:
    """The redirect then names an error, and the page is gone."""
    url = authorize(caller, "oauth", "provider=google").json()["url"]
    assert emulator.social_login(url, ANN, deny=True) == f"{PAGE}&err=access_denied"
    with pytest.raises(LookupError, match="No sign-in is pending"):
        emulator.social_login(url, ANN)


def test_person_signs_in_on_the_page(caller: Caller) -> None:
    """A browser gets a form, with the hint filled in and nothing taken for markup."""
    started = authorize(caller, "oauth", "provider=<b>&loginHint=ann%22@example.com")
    url = started.json()["url"]
    page = caller.client.get(url)
    assert page.headers["content-type"].startswith("text/html")
    assert "<h1>&lt;b&gt;</h1>" in page.text
    assert 'value="ann&quot;@example.com"' in page.text
    assert error_of(caller.client.post(url)) == (400, "E011002")
    led = caller.client.post(url, data={"login_id": ANN}, follow_redirects=False)
    assert led.status_code == 303
    assert exchange(caller, "oauth", led.headers["location"]).is_success
    assert caller.client.get(url).status_code == 404


def test_person_declines_on_the_page(caller: Caller) -> None:
    """The other button leads back with an error, to the project's page when none was named."""
    url = authorize(caller, "oauth", "provider=google", page="").json()["url"]
    led = caller.client.post(url, data={"deny": "yes"}, follow_redirects=False)
    assert led.headers["location"] == "http://localhost:3000/verify?err=access_denied"


def test_mounted_emulator_names_its_own_page(emulator: DescopeEmulator) -> None:
    """The page is below the path that the emulator is mounted at."""
    client = TestClient(Starlette(routes=[Mount("/descope", emulator)]))
    started = client.post(
        "/descope/v1/auth/oauth/authorize?provider=google&x=1",
        headers={"Authorization": f"Bearer {emulator.project_id}"},
    )
    url = started.json()["url"]
    assert url.startswith("http://testserver/descope/_provider/")
    assert "?" not in url
    assert "<h1>google" in client.get(url).text

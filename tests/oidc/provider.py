"""Runs npm `oidc-provider`, and signs a user in there as a browser would."""

import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import pytest

NODE: Final = shutil.which("node")
HERE: Final = Path(__file__).parent / "node"
API: Final = "https://api.example"
# A server that asks for ever is not followed for ever.
_MOST_LOGINS: Final = 4

needs_oidc_provider = pytest.mark.skipif(
    NODE is None or not (HERE / "node_modules" / "oidc-provider").is_dir(),
    reason="needs node and oidc-provider: cd tests/oidc/node && npm ci",
)


class AskedTooOften(Exception):
    """The issuer asked for one login after another."""


class Denied(Exception):
    """The issuer answered the authorization request with an error; the text is its code."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A running issuer."""

    issuer: str

    def rotate_keys(self) -> str:
        """Sign with a new key from now on and return its id; the old one stays published."""
        return self._control("_rotate")

    def wait(self, seconds: int) -> None:
        """Move the issuer's clock forward."""
        self._control(f"_wait?{seconds}")

    def allow(self, redirect_uri: str) -> None:
        """Add a redirect URI to the client `web`."""
        self._control(f"_allow?{quote(redirect_uri)}")

    def _control(self, request: str) -> str:
        return httpx.post(f"{self.issuer}/{request}", timeout=30).raise_for_status().text

    def machine_token(self) -> str:
        """Return an access token of the client credentials grant."""
        form = {"grant_type": "client_credentials", "resource": API, "scope": "pay"}
        secret = ("machine", "a secret of the tests")
        reply = httpx.post(f"{self.issuer}/token", data=form, auth=secret, timeout=30)
        token: str = reply.raise_for_status().json()["access_token"]
        return token


@contextmanager
def running(**settings: str) -> Iterator[Provider]:
    """Run the issuer on a free port; *settings* are those of `node/provider.mjs`."""
    process = subprocess.Popen(
        ["node", str(HERE / "provider.mjs")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **settings},
        text=True,
    )
    assert process.stdout is not None
    try:
        # Notices about the set-up may come first.
        line = next(line for line in process.stdout if line.startswith("{"))
        yield Provider(json.loads(line)["issuer"])
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


@dataclass(frozen=True, slots=True)
class Tokens:
    """The answer of the token endpoint."""

    access: str
    id: str
    refresh: str

    @property
    def claims(self) -> dict[str, Any]:
        """The claims of the access token, read without a check."""
        payload = self.access.split(".")[1]
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(f"{payload}=="))
        return claims


@dataclass(slots=True)
class User:
    """A user with a browser, which keeps the session at the issuer.

    Attributes:
        login: How they sign in when asked: `pwd`, or `mfa` with a second factor; `cancel` refuses.
        logins: The number of times that they were asked.
    """

    provider: Provider
    browser: httpx.Client
    login: str = "pwd"
    name: str = "ann"
    logins: int = 0

    def visit(self, url: str, redirect_uri: str) -> str:
        """Open an authorization request, sign in if asked, and return the URL that it leads to.

        Raises:
            AskedTooOften: The issuer asks for one login after another.
        """
        here = httpx.URL(url)
        asked = 0
        reply = self.browser.get(here)
        while reply.is_redirect:
            here = here.join(reply.headers["location"])
            if str(here).startswith(redirect_uri):
                return str(here)
            if "/interaction/" not in here.path:
                reply = self.browser.get(here)
                continue
            asked += 1
            self.logins += 1
            if asked > _MOST_LOGINS:
                raise AskedTooOften
            reply = self.browser.post(here, data={"login": self.login, "user": self.name})
        raise AssertionError(f"The issuer answered {reply.status_code}: {reply.text}")

    def authorize(
        self, parameters: Mapping[str, str] | None = None, *, resource: str = API
    ) -> Tokens:
        """Return tokens of an authorization code with PKCE (RFC 7636).

        Raises:
            AskedTooOften: The issuer asks for one login after another.
            Denied: It answered with an error.
        """
        issuer = self.provider.issuer
        redirect_uri = f"{issuer}/callback"
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "client_id": "web",
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "scope": "openid pay",
            "resource": resource,
            "state": secrets.token_urlsafe(8),
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
            **(parameters or {}),
        }
        back = self.visit(str(httpx.URL(f"{issuer}/auth", params=query)), redirect_uri)
        answer = dict(parse_qsl(urlsplit(back).query))
        assert answer["state"] == query["state"]
        if "code" not in answer:
            raise Denied(answer["error"])
        return self._tokens(
            grant_type="authorization_code",
            code=answer["code"],
            redirect_uri=redirect_uri,
            code_verifier=verifier,
        )

    def refresh(self, tokens: Tokens) -> Tokens:
        """Return new tokens for a refresh token."""
        return self._tokens(grant_type="refresh_token", refresh_token=tokens.refresh)

    def _tokens(self, **form: str) -> Tokens:
        reply = self.browser.post(
            f"{self.provider.issuer}/token", data={"client_id": "web", **form}
        )
        assert reply.is_success, reply.text
        body = reply.json()
        return Tokens(body["access_token"], body.get("id_token", ""), body["refresh_token"])

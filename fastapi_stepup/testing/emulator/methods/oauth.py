"""Social login, SSO and SAML (`/v1/auth/oauth/`, `/v1/auth/sso/`, `/v1/auth/saml/`).

`authorize` answers with the URL of a page of the emulator, which plays the provider. The page asks
for a login id and redirects to `redirectURL` with `code`, or with `err` when the user declines.
`exchange` returns the session for the code. The login options are the body itself.

Known of the real service: the calls, their parameters, and that the options are not wrapped.

Guesses:
- A code works once, as long as a one-time code, and only at its own kind of exchange.
- `err` reports that the user declined.
- An unknown login id becomes a user.
- Any provider and any tenant are configured.
- `fed` is the `amr` of both SSO and SAML.
- Worst case: when a step-up ends at the provider with another user's account, that user gets the
  session, with `su`. Clients must compare.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Final
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from fastapi_stepup.testing.emulator.errors import EXCHANGE_FAILED, MISSING_ARGUMENT, Refusal
from fastapi_stepup.testing.emulator.links import DEFAULT_URI, with_query
from fastapi_stepup.testing.emulator.models import Call, Login, Purpose
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import Handler, post
from fastapi_stepup.testing.emulator.users import new_user

_PAGE_PATH: Final = "/_provider/"
_STYLE: Final = """
body { margin: 0 auto; padding: 1.5rem 1.25rem; max-width: 26rem; font: 1rem/1.5 system-ui; }
label { display: grid; gap: 0.25rem; }
input, button { min-height: 44px; padding: 0.3rem 1rem; font: inherit; }
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}: sign in</title>
<style>{style}</style>
<main>
<h1>{name}</h1>
<p>The Descope emulator plays this provider. Sign in with any login id.</p>
<form method="post">
<p><label>Login id <input name="login_id" value="{hint}" required autofocus></label></p>
<p><button>Sign in</button> <button name="deny" value="yes" formnovalidate>Decline</button></p>
</form>
</main>
</html>
"""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Social login or SSO: the parameter that names the provider, and the `amr` value."""

    parameter: str
    amr: str


_SOCIAL: Final = _Kind("provider", "oauth")
_SSO: Final = _Kind("tenant", "fed")
_KINDS: Final = {"oauth": _SOCIAL, "sso": _SSO, "saml": _SSO}


@dataclass(frozen=True, slots=True)
class _Authorization:
    """A sign-in that is pending at the provider."""

    kind: _Kind
    name: str
    redirect_url: str = field(repr=False)
    hint: str = field(repr=False)
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class _Grant:
    """The sign-in that a code completes."""

    kind: _Kind
    login: Login
    expires_at: float


class OAuth:
    """Sign-in at a provider, and the page that plays the provider.

    Args:
        project: The emulated project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._authorizations: dict[str, _Authorization] = {}
        self._grants: dict[str, _Grant] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints of this method and the provider's page."""
        calls = [
            post(self._project, f"/v1/auth/{path}/{action}", handler)
            for path, kind in _KINDS.items()
            for action, handler in self._handlers(kind).items()
        ]
        return [*calls, Route(f"{_PAGE_PATH}{{state}}", self._page, methods=["GET", "POST"])]

    def answer(self, url: str, login_id: str, *, deny: bool = False) -> str:
        """Sign in at the provider, or decline, and return the redirect URL.

        Args:
            url: The URL that `authorize` answered.
            login_id: The login id of the account; an unknown one becomes a new user.
            deny: Decline.

        Raises:
            LookupError: No sign-in is pending at this URL.
        """
        try:
            authorization = self._authorizations.pop(url.rpartition("/")[2])
        except KeyError:
            raise LookupError("No sign-in is pending at this URL.") from None
        if deny:
            return with_query(authorization.redirect_url, err="access_denied")
        users = self._project.users
        is_sso = authorization.kind is _SSO
        user = users.find(login_id) or users.add(
            new_user(
                login_id,
                created_at=int(self._project.clock()),
                tenants={authorization.name: {"roles": [], "permissions": []}} if is_sso else {},
            )
        )
        if is_sso:
            user.sso = True
        else:
            user.providers[authorization.name] = True
        code = secrets.token_hex(32)
        expires_at = self._project.clock() + self._project.limits.code_lifetime
        self._grants[code] = _Grant(
            authorization.kind, Login(user, authorization.purpose), expires_at
        )
        return with_query(authorization.redirect_url, code=code)

    def authorize_social(self, call: Call) -> Mapping[str, object]:
        """Start a social login and return the URL of the provider's page."""
        return self._authorize(call, _SOCIAL)

    def exchange_social(self, call: Call) -> Mapping[str, object]:
        """Return the JWT response for the code of a social login."""
        return self._exchange(call, _SOCIAL)

    def _handlers(self, kind: _Kind) -> dict[str, Handler]:
        return {
            "authorize": lambda call: self._authorize(call, kind),
            "exchange": lambda call: self._exchange(call, kind),
        }

    def _authorize(self, call: Call, kind: _Kind) -> dict[str, object]:
        name = call.query.get(kind.parameter)
        if not name:
            raise Refusal(MISSING_ARGUMENT, f"{kind.parameter} is missing")
        state = secrets.token_hex(16)
        self._authorizations[state] = _Authorization(
            kind,
            name,
            redirect_url=call.query.get("redirectURL") or DEFAULT_URI,
            hint=call.query.get("loginHint", ""),
            purpose=self._project.purpose(call, call.body),
        )
        return {"url": f"{call.base_url}{_PAGE_PATH}{state}"}

    def _exchange(self, call: Call, kind: _Kind) -> Mapping[str, object]:
        grant = self._grants.pop(call.text("code"), None)
        if grant is None or grant.kind is not kind or grant.expires_at <= self._project.clock():
            raise Refusal(EXCHANGE_FAILED)
        return self._project.finish(grant.login, kind.amr)

    async def _page(self, request: Request) -> Response:
        state = request.path_params["state"]
        form = parse_qs((await request.body()).decode(errors="replace"))
        with self._project.lock:
            authorization = self._authorizations.get(state)
            if authorization is None:
                raise HTTPException(404)
            if request.method == "GET":
                page = _PAGE.format(
                    name=escape(authorization.name),
                    hint=escape(authorization.hint),
                    style=_STYLE,
                )
                return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})
            login_id, deny = form.get("login_id", [""])[0], "deny" in form
            if not login_id and not deny:
                raise Refusal(MISSING_ARGUMENT, "login_id is missing")
            return RedirectResponse(self.answer(state, login_id, deny=deny), 303)

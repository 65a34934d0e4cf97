"""Every step-up method of the helper routes as a case: what is sent, and what a person does."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.cookies import SimpleCookie
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, install, stepup_router
from fastapi_stepup.router.rate_limits import StepUpLimits
from fastapi_stepup.testing import DescopeEmulator, Tokens

ANN, BOB = "ann@example.com", "bob@example.com"
PHONE = "+15550100012"
ORIGIN = "https://testserver"
PAGES = ("https://shop.example/step-up", "https://shop.example/other?x=1")
METHODS: Any = ("otp", "totp", "magiclink", "enchantedlink", "passkey", "oauth", "sso", "notp")
SAFE_HEADERS = {
    "cache-control": "no-store",
    "pragma": "no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def app_for(guard: StepUpGuard, **options: Any) -> FastAPI:
    """Return an app with every helper route and a checkout."""
    app = FastAPI()
    install(app, guard)
    given = {"methods": METHODS, "redirect_uris": PAGES} | options
    app.include_router(stepup_router(guard, **given))

    @app.post("/checkout")
    def checkout(claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]) -> str:
        return claims.subject

    return app


@cache
def shared_guard() -> StepUpGuard:
    """Return one guard for many tests; each attaches an emulator of its own to it."""
    return StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")


@cache
def shared_app() -> FastAPI:
    """Return the app of `shared_guard`; building one takes a while. All tests have one address."""
    limits = StepUpLimits(starts_per_address=None, tries_per_address=None)
    return app_for(shared_guard(), limits=limits)


@dataclass
class Person:
    """A signed-in user, and the client they use: with a header, or with cookies."""

    guard: StepUpGuard
    descope: DescopeEmulator
    login_id: str = ANN
    by_cookie: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    app: FastAPI | None = None

    def __post_init__(self) -> None:
        shared = shared_app() if self.guard is shared_guard() and not self.options else None
        app = self.app or shared or app_for(self.guard, **self.options)
        self.client = TestClient(app, base_url=ORIGIN)
        self.tokens: Tokens = self.descope.sign_in(self.login_id)

    @property
    def headers(self) -> dict[str, str]:
        """What a browser on a page of the app sends, and the session."""
        if self.by_cookie:
            return self.tokens.cookie_headers | {"Origin": ORIGIN}
        return self.tokens.headers | {"Origin": ORIGIN}

    def post(self, path: str, **members: Any) -> httpx2.Response:
        """Post to a helper route, with the refresh token where this client keeps it."""
        body = members if self.by_cookie else {"refresh_token": self.tokens.refresh_token} | members
        self.client.cookies.clear()
        return self.client.post(f"/step-up{path}", headers=self.headers, json=body)

    def asked_of_descope(self, path: str = "/v1/") -> list[str]:
        """Return the paths below *path* that Descope was asked for."""
        return [r.path for r in self.descope.requests if r.path.startswith(path)]

    def enrol_passkey(self) -> None:
        """Give the person a passkey for the app's own origin, unless they have one."""
        if self.descope.user(self.login_id).passkeys:
            return
        bearer = {"Authorization": f"Bearer {self.guard.project_id}:{self.tokens.refresh_token}"}
        client = TestClient(self.descope)
        body = {"loginId": self.login_id, "origin": ORIGIN}
        started = client.post("/v1/auth/webauthn/update/start", headers=bearer, json=body).json()
        created = self.descope.passkey(ORIGIN).create(started["options"])
        done = {"transactionId": started["transactionId"], "response": created}
        client.post("/v1/auth/webauthn/update/finish", headers=bearer, json=done)


@dataclass(frozen=True, kw_only=True)
class MethodCase:
    """One method, or one delivery of it.

    Args:
        start: The route that begins it, if there is one.
        members: The members that *start* takes.
        finish: The route that answers the session.
        prove: Does what a person does, and returns the members that *finish* takes.
        asks: The path of Descope's that gives the tokens.
        amr: The value that it adds to `amr`.
        replay: The code of the refusal when a proof is used again.
        secret: The member of *finish* that is secret.
    """

    name: str
    start: str | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    finish: str
    prove: Callable[[Person, dict[str, Any]], dict[str, Any]]
    asks: str
    amr: str
    replay: str
    secret: str

    def prepare(self, person: Person) -> None:
        """Enrol what the method needs."""
        if self.name == "passkey":
            person.enrol_passkey()
        elif self.name == "totp":
            person.descope.totp_secret(person.login_id)

    def begin(self, person: Person) -> httpx2.Response | None:
        """Start, where there is a start."""
        return person.post(self.start, **self.members) if self.start else None

    def proof(self, person: Person) -> dict[str, Any]:
        """Start, do what a person does, and return the members that *finish* takes."""
        self.prepare(person)
        started = self.begin(person)
        return self.prove(person, {} if started is None else started.json())

    def complete(self, person: Person) -> httpx2.Response:
        """Step up and return the last reply."""
        return person.post(self.finish, **self.proof(person))


def _otp(delivery: str, amr: str) -> MethodCase:
    return MethodCase(
        name=f"otp-{delivery}",
        start="/otp/start",
        members={"delivery": delivery},
        finish="/otp/verify",
        prove=lambda person, _: {"delivery": delivery, "code": person.descope.outbox[-1].code},
        asks="/v1/auth/otp/verify",
        amr=amr,
        replay="otp_rejected",
        secret="code",
    )


def _magic_link(delivery: str) -> MethodCase:
    return MethodCase(
        name=f"magiclink-{delivery}",
        start="/magiclink/start",
        members={"delivery": delivery},
        finish="/magiclink/verify",
        prove=lambda person, _: {"token": person.descope.outbox[-1].token},
        asks="/v1/auth/magiclink/verify",
        amr=delivery,
        replay="link_rejected",
        secret="token",
    )


def _opened_link(person: Person, started: dict[str, Any]) -> dict[str, Any]:
    # From any device: no session, no cookie.
    token = {"token": person.descope.outbox[-1].token}
    person.client.cookies.clear()
    person.client.post("/step-up/enchantedlink/verify", json=token)
    return {"pending_ref": started["pending_ref"]}


def _answered_passkey(person: Person, started: dict[str, Any]) -> dict[str, Any]:
    answer = json.loads(person.descope.passkey(ORIGIN).get(started["options"]))
    return {"transaction_id": started["transaction_id"], "response": answer}


def _came_back(person: Person, started: dict[str, Any]) -> dict[str, Any]:
    back = person.descope.social_login(started["authorization_uri"], person.login_id)
    assert back.startswith(PAGES[0])
    return {"code": parse_qs(urlsplit(back).query)["code"][0]}


def _sent_message(person: Person, started: dict[str, Any]) -> dict[str, Any]:
    person.descope.send_whatsapp(started["authorization_uri"])
    return {"pending_ref": started["pending_ref"]}


METHOD_CASES = [
    _otp("email", "email"),
    _otp("sms", "sms"),
    _otp("voice", "sms"),
    _otp("whatsapp", "whatsapp"),
    MethodCase(
        name="totp",
        finish="/totp/verify",
        prove=lambda person, _: {"code": person.descope.totp_code(person.login_id)},
        asks="/v1/auth/totp/verify",
        amr="totp",
        replay="otp_rejected",
        secret="code",
    ),
    _magic_link("email"),
    _magic_link("sms"),
    _magic_link("whatsapp"),
    MethodCase(
        name="enchantedlink",
        start="/enchantedlink/start",
        finish="/enchantedlink/poll",
        prove=_opened_link,
        asks="/v1/auth/enchantedlink/pending-session",
        amr="email",
        replay="link_rejected",
        secret="pending_ref",
    ),
    MethodCase(
        name="passkey",
        start="/passkey/start",
        finish="/passkey/finish",
        prove=_answered_passkey,
        asks="/v1/auth/webauthn/signin/finish",
        amr="webauthn",
        replay="passkey_rejected",
        secret="transaction_id",
    ),
    MethodCase(
        name="oauth",
        start="/oauth/start",
        members={"provider": "google"},
        finish="/oauth/callback",
        prove=_came_back,
        asks="/v1/auth/oauth/exchange",
        amr="oauth",
        replay="provider_rejected",
        secret="code",
    ),
    MethodCase(
        name="sso",
        start="/sso/start",
        members={"tenant": "acme"},
        finish="/sso/callback",
        prove=_came_back,
        asks="/v1/auth/sso/exchange",
        amr="fed",
        replay="provider_rejected",
        secret="code",
    ),
    MethodCase(
        name="notp",
        start="/notp/start",
        finish="/notp/poll",
        prove=_sent_message,
        asks="/v1/auth/notp/pending-session",
        amr="whatsapp",
        replay="link_rejected",
        secret="pending_ref",
    ),
]
BY_NAME = {case.name: case for case in METHOD_CASES}

each_case = pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name) for case in METHOD_CASES]
)
_REPEATED = {"otp-sms", "otp-voice", "otp-whatsapp", "magiclink-sms", "magiclink-whatsapp"}
ONE_CASE_EACH = [case for case in METHOD_CASES if case.name not in _REPEATED]
each_method = pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name.partition("-")[0]) for case in ONE_CASE_EACH]
)

# Each POST route with a body that it takes.
BODIES: dict[str, dict[str, Any]] = {
    "/otp/start": {"delivery": "email"},
    "/otp/verify": {"delivery": "email", "code": "123456"},
    "/totp/verify": {"code": "123456"},
    "/magiclink/start": {"delivery": "email"},
    "/magiclink/verify": {"token": "t0k3n"},
    "/enchantedlink/start": {},
    "/enchantedlink/poll": {"pending_ref": "ref"},
    "/enchantedlink/verify": {"token": "t0k3n"},
    "/passkey/start": {},
    "/passkey/finish": {"transaction_id": "t", "response": {"id": "x"}},
    "/oauth/start": {"provider": "google"},
    "/oauth/callback": {"code": "c0de"},
    "/sso/start": {"tenant": "acme"},
    "/sso/callback": {"code": "c0de"},
    "/notp/start": {},
    "/notp/poll": {"pending_ref": "ref"},
}
PUBLIC = "/enchantedlink/verify"
WITH_SESSION = [path for path in BODIES if path != PUBLIC]
# Routes that end a step-up: they go by the refresh token where the session ran out.
FINISHING = [path for path in WITH_SESSION if not path.endswith("/start")]
# Routes that work with the caller's refresh token; the others work with a proof alone.
WITH_REFRESH_TOKEN = [path for path in BODIES if path.endswith("/start")] + [
    "/otp/verify",
    "/totp/verify",
]

each_route = pytest.mark.parametrize("path", list(BODIES))


@contextmanager
def signed_in(guard: StepUpGuard, *, by_cookie: bool = False, **options: Any) -> Iterator[Person]:
    """Sign Ann in, who has everything but a passkey and an app, at a Descope of these options."""
    emulator = DescopeEmulator(guard.project_id, max_sends=1000, **options)
    with emulator.attach(guard) as descope:
        add_user(descope, ANN)
        yield Person(guard, descope, by_cookie=by_cookie)


def add_user(descope: DescopeEmulator, login_id: str, phone: str = PHONE) -> None:
    """Add a user who can step up by anything that needs no enrolment."""
    user = descope.create_user(
        login_id, email=f"at-{login_id}"[-60:], phone=phone, tenants={"acme": {}}
    )
    user.providers["google"] = True
    if "@" in login_id:
        user.email = login_id


class Rewriting(httpx.AsyncBaseTransport):
    """Leads to the emulator and rewrites what it answers below one path."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        path: str,
        rewrite: Callable[[dict[str, Any]], object],
    ) -> None:
        self.inner, self.path, self.rewrite = inner, path, rewrite
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass on, and rewrite the reply when it is the one."""
        self.requests.append(request)
        reply = await self.inner.handle_async_request(request)
        if not request.url.path.startswith(self.path):
            return reply
        rewritten = self.rewrite(json.loads(await reply.aread()))
        if isinstance(rewritten, httpx.Response):
            return rewritten
        # ASCII, so that a lone surrogate arrives as the escape that it is.
        return httpx.Response(reply.status_code, content=json.dumps(rewritten).encode())


def refusal_of(response: httpx2.Response) -> tuple[int, str]:
    """Return status and code of a refusal, which is kept out of caches and hands out nothing."""
    assert dict(response.headers).items() >= SAFE_HEADERS.items()
    assert response.headers["content-type"] == "application/problem+json"
    assert response.is_error
    assert "eyJ" not in response.text
    assert "set-cookie" not in response.headers
    return response.status_code, response.json()["code"]


def cookies_of(response: httpx2.Response) -> dict[str, dict[str, str]]:
    """Return the attributes of each cookie that a reply sets, and its value."""
    cookies: dict[str, dict[str, str]] = {}
    for line in response.headers.get_list("set-cookie"):
        ((name, morsel),) = SimpleCookie(line).items()
        given = {key: str(value) for key, value in morsel.items() if value}
        cookies[name] = given | {"value": morsel.value}
    return cookies

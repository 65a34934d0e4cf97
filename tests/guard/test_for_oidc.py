"""StepUpGuard.for_oidc: an app in front of any OpenID issuer, with tokens of an emulated one."""

from collections.abc import Callable, Iterator
from inspect import signature
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from fastapi_stepup import (
    Challenge,
    Claims,
    Evidence,
    Method,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    install,
    requires_step_up,
    stepup_router,
)
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.testing import REMOVE, DescopeEmulator, OIDCIssuer
from fastapi_stepup.tokens.jwk import VerificationKey, load_key
from tests.support.token_factory import jwk

ISSUER = "https://login.example"
API = "https://api.example"


@pytest.fixture
def guard() -> StepUpGuard:
    """A guard for the emulated issuer."""
    return StepUpGuard.for_oidc(ISSUER, audience=API)


@pytest.fixture
def issuer(guard: StepUpGuard) -> Iterator[OIDCIssuer]:
    """The issuer of `guard`, for the time of the test."""
    with OIDCIssuer(ISSUER, audience=API).attach(guard) as issuer:
        yield issuer


def app_of(guard: StepUpGuard, **asked: Any) -> TestClient:
    """Return a client of an app with a guarded route, and one that a session is enough for."""
    app = FastAPI()
    install(app, guard)

    @app.get("/pay")
    async def pay(claims: Annotated[Claims, Depends(RequireStepUp(guard, **asked))]) -> str:
        return claims.subject

    @app.get("/me")
    async def me(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> str:
        return claims.subject

    return TestClient(app)


def test_a_weak_token_is_asked_for_both_and_a_strong_one_passes(
    guard: StepUpGuard, issuer: OIDCIssuer
) -> None:
    """The challenge names class and age, which is all that the client needs."""
    client = app_of(guard, max_age="5m", acr=["mfa", "phr"])

    refused = client.get("/pay", headers=issuer.headers("ann", acr="pwd", age=3600))
    challenge = Challenge.parse(refused.headers["WWW-Authenticate"])[0]
    assert refused.status_code == 401
    assert challenge.params == {
        "realm": ISSUER,
        "error": "insufficient_user_authentication",
        "error_description": challenge.error_description,
        "acr_values": "mfa phr",
        "max_age": "300",
    }
    assert refused.json()["unmet"] == [
        {"requirement": "step_up", "reason": "expired"},
        {"requirement": "acr", "reason": "missing"},
    ]
    assert "step_up" not in refused.json()

    assert client.get("/pay", headers=issuer.headers("ann", acr="mfa", age=10)).json() == "ann"
    assert client.get("/me", headers=issuer.headers("ann")).json() == "ann"


def test_what_a_token_does_not_say_is_missing(
    guard: StepUpGuard, issuer: OIDCIssuer, subtests: pytest.Subtests
) -> None:
    """However new it is: each refresh renews `iat`. And `su` of another issuer says nothing."""
    rows: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"max_age": 300}, {}, "step_up missing"),
        ({"max_age": 300}, {"age": 301}, "step_up expired"),
        ({"max_age": 300}, {"auth_time": str(2_000_000_000)}, "step_up missing"),
        ({"max_age": 300}, {"auth_time": True}, "step_up missing"),
        ({"max_age": 300}, {"age": -60}, "step_up missing"),
        ({"acr": "2fa"}, {"acr": "2fa:ifpossible"}, "acr missing"),
        ({"acr": "2fa"}, {"acr": ["1fa"]}, "acr missing"),
        ({"amr": "otp"}, {"amr": ["pwd"]}, "amr missing"),
        ({"amr": "otp"}, {}, "amr missing"),
    ]
    for asked, said, reason in rows:
        with subtests.test(asked=asked, said=said):
            rest = {name: value for name, value in said.items() if name != "auth_time"}
            changes = {"auth_time": said["auth_time"]} if "auth_time" in said else {}
            token = issuer.token(**rest, su=True)
            if changes:
                token = _with_claims(issuer, changes)

            answer = app_of(guard, **asked).get(
                "/pay", headers={"Authorization": f"Bearer {token}"}
            )

            unmet = answer.json()["unmet"]
            assert [f"{each['requirement']} {each['reason']}" for each in unmet] == [reason]
            assert "unmet_after_step_up" not in answer.json()


def _with_claims(issuer: OIDCIssuer, changes: dict[str, Any]) -> str:
    """Return a token with claims of a type that no issuer should write."""
    issuer._claims = {**issuer._claims, **changes}
    return issuer.token()


@pytest.mark.parametrize("acr", ["mfa", ["other", "mfa"]])
def test_a_class_alone_can_be_asked_for(guard: StepUpGuard, issuer: OIDCIssuer, acr: Any) -> None:
    """`acr` is one class or several."""
    assert app_of(guard, acr="mfa").get("/pay", headers=issuer.headers(acr=acr)).status_code == 200


def test_a_delegate_is_refused_where_step_up_is_asked(
    guard: StepUpGuard, issuer: OIDCIssuer
) -> None:
    """No new login of the user could cure that."""
    client = app_of(guard, acr="mfa")
    headers = issuer.headers(acr="mfa", age=0, act={"sub": "support"})

    assert client.get("/pay", headers=headers).json()["code"] == "impersonation_refused"
    assert client.get("/me", headers=headers).status_code == 200


def test_other_tokens_are_invalid(
    guard: StepUpGuard, issuer: OIDCIssuer, subtests: pytest.Subtests
) -> None:
    """A client learns that the token is not for this API, and no more."""
    rows: dict[str, Any] = {
        "id-token": lambda i: i.id_token(aud=API, acr="mfa", age=0),
        "plain-type": lambda i: i.token(header={"typ": "JWT"}),
        "machine": lambda i: i.machine_token(),
        "refresh": lambda i: i.token(token_use="refresh"),
        "bound": lambda i: i.token(cnf={"jkt": "x"}),
        "audience": lambda i: i.token(aud="https://other.example"),
        "issuer": lambda i: i.token(iss="https://evil.example"),
        "opaque": lambda i: "SlAV32hkKG",
    }
    for name, make in rows.items():
        with subtests.test(name):
            answer = app_of(guard, acr="mfa").get(
                "/me", headers={"Authorization": f"Bearer {make(issuer)}"}
            )

            assert answer.status_code == 401
            assert answer.json()["code"] == "invalid_token"


def test_policies_that_no_token_could_meet_are_refused(guard: StepUpGuard) -> None:
    """At each entry point, with what to write instead."""
    nothing = StepUpPolicy()
    attempts: list[Callable[[], object]] = [
        lambda: RequireStepUp(guard),
        lambda: RequireStepUp(guard, policy=nothing | StepUpPolicy(acr="mfa")),
        lambda: requires_step_up(guard),
        lambda: StepUpMiddleware(FastAPI(), guard=guard),
        lambda: StepUpMiddleware(
            FastAPI(), guard=guard, default="session", rules=[StepUpRule("/pay", nothing)]
        ),
    ]
    for attempt in attempts:
        with pytest.raises(ConfigurationError, match="ask for max_age, acr or amr"):
            attempt()


def test_a_call_with_such_a_policy_is_an_error_of_the_app(
    guard: StepUpGuard, issuer: OIDCIssuer
) -> None:
    """And never lets a request in."""
    app = FastAPI()

    @app.get("/")
    async def pay(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> None:
        """Ask in vain."""

    @app.middleware("http")
    async def ask(request: Any, call_next: Any) -> Any:
        await guard.authorize(request, StepUpPolicy())

    with pytest.raises(ConfigurationError, match="ask for max_age, acr or amr"):
        TestClient(app).get("/", headers=issuer.headers(acr="mfa", age=0))


def test_helper_routes_are_of_descope(guard: StepUpGuard) -> None:
    """The message says how a client steps up instead."""
    with pytest.raises(ConfigurationError, match="sends the user to it again"):
        stepup_router(guard)


def test_the_guard_knows_its_issuer_and_no_project(guard: StepUpGuard) -> None:
    """What is Descope's is not there, and says why."""
    assert guard.issuer == ISSUER
    assert repr(guard) == f"StepUpGuard(issuer='{ISSUER}')"
    assert repr(guard.verifier) == f"AccessTokenVerifier(issuer='{ISSUER}')"
    for name in ("project_id", "base_url", "descope"):
        with pytest.raises(AttributeError, match="for no Descope project alone"):
            getattr(guard, name)
    with pytest.raises(AttributeError), DescopeEmulator().attach(guard):
        raise AssertionError
    assert StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz").issuer is None


def test_each_challenge_names_the_metadata_of_the_api(issuer: OIDCIssuer) -> None:
    """RFC 9728 section 5.1."""
    url = f"{API}/.well-known/oauth-protected-resource"
    guard = StepUpGuard.for_oidc(ISSUER, audience=API, resource_metadata=url)
    client = app_of(guard, acr="mfa")
    with issuer.attach(guard):
        answers = [
            client.get("/pay"),
            client.get("/pay", headers={"Authorization": "Bearer x"}),
            client.get("/pay", headers={"Authorization": "Bearer x, Bearer y"}),
            client.get("/pay", headers=issuer.headers()),
        ]

    for answer in answers:
        challenge = Challenge.parse(answer.headers["WWW-Authenticate"])[0]
        assert challenge.params["resource_metadata"] == url
    with pytest.raises(ConfigurationError, match="resource_metadata must be an https URL"):
        StepUpGuard.for_oidc(ISSUER, audience=API, resource_metadata="http://api.example/x")


def test_evidence_can_be_in_other_claims(issuer: OIDCIssuer) -> None:
    """A function of the claims reads them; what it cannot use counts as unsaid."""

    def read(claims: Claims) -> Evidence:
        return Evidence(
            proved_at=claims.get("last_login"),
            stepped_up=claims.get("elevated"),
            methods=tuple(map(Method, claims.amr)),
            classes=claims.get("acrs", ()),
        )

    guard = StepUpGuard.for_oidc(ISSUER, audience=API, evidence=read)
    client = app_of(guard)
    with issuer.attach(guard):
        now = int(guard.clock())
        assert client.get("/pay", headers=issuer.headers(elevated=True)).status_code == 200
        for elevated in (None, False, "true", 1):
            headers = issuer.headers(elevated=elevated)
            assert client.get("/pay", headers=headers).status_code == 401
        timed = app_of(guard, max_age=60, acr="c1")
        assert timed.get("/pay", headers=issuer.headers(last_login=now, acrs=["c1"])).is_success
        for said in ({"last_login": str(now)}, {"last_login": now + 600}, {"last_login": now - 90}):
            headers = issuer.headers(acrs=["c1"], **said)
            assert timed.get("/pay", headers=headers).status_code == 401


@pytest.mark.parametrize("found", [None, {"proved_at": 1}])
def test_evidence_of_another_type_is_an_error_of_the_app(issuer: OIDCIssuer, found: Any) -> None:
    """It is never taken for a yes."""
    guard = StepUpGuard.for_oidc(ISSUER, audience=API, evidence=lambda _: found)

    with issuer.attach(guard), pytest.raises(TypeError, match="returns Evidence"):
        app_of(guard, acr="mfa").get("/pay", headers=issuer.headers(acr="mfa"))


def test_keys_come_from_where_the_guard_is_told(issuer: OIDCIssuer) -> None:
    """`jwks_uri=` skips the metadata, `static_keys=` all requests."""
    by_uri = StepUpGuard.for_oidc(ISSUER, audience=API, jwks_uri=f"{ISSUER}/jwks")
    with issuer.attach(by_uri):
        assert app_of(by_uri, acr="a").get("/me", headers=issuer.headers()).is_success
    assert [request.path for request in issuer.requests] == ["/jwks"]

    keys = {"keys": [issuer.signing_key.jwk]}
    offline = StepUpGuard.for_oidc("any:issuer", audience=API, static_keys=keys)
    answer = app_of(offline, acr="a").get("/me", headers=issuer.headers(iss="any:issuer"))
    assert answer.json() == "ann"


def test_options_are_kept_as_they_were(issuer: OIDCIssuer) -> None:
    """An iterator is good for several uses; a mapping that changes later changes nothing."""
    required: dict[str, Any] = {"client_id": iter(["test-client"])}
    guard = StepUpGuard.for_oidc(ISSUER, audience=iter([API]), require_claims=required)
    required["client_id"] = "other"

    for _ in range(2):
        with issuer.attach(guard):
            assert app_of(guard, acr="a").get("/me", headers=issuer.headers()).is_success


def test_a_cookie_is_read_where_it_is_asked_for(guard: StepUpGuard, issuer: OIDCIssuer) -> None:
    """Access tokens travel in the header, unless the app says otherwise."""
    by_cookie = StepUpGuard.for_oidc(ISSUER, audience=API, session_cookie="at")
    cookies = {"at": issuer.token(), "DS": issuer.token()}

    assert guard.credentials.session_cookie is None
    with issuer.attach(by_cookie):
        client = app_of(by_cookie, acr="a")
        client.cookies.update(cookies)
        assert client.get("/me").json() == "ann"
    client = app_of(guard, acr="a")
    client.cookies.update(cookies)
    assert client.get("/me").json()["code"] == "unauthenticated"


async def reading_later(_: Claims) -> Evidence:
    """Would have to be awaited."""
    raise AssertionError


class ReadingLater:
    """The same, as an object."""

    async def __call__(self, _: Claims) -> Evidence:
        """Would have to be awaited."""
        raise AssertionError


def test_options_that_cannot_be_used(subtests: pytest.Subtests) -> None:
    """Each is refused at construction, with what to change."""
    rows: list[tuple[dict[str, Any], str]] = [
        ({}, "Say whose tokens pass"),
        ({"audience": ()}, "at least one value"),
        ({"audience": "*"}, "no wildcards"),
        ({"client_id": ()}, "at least one value"),
        ({"audience": API, "types": ("JWT",)}, "Other types"),
        ({"audience": API, "types": ("JWT", "at+jwt")}, "Other types"),
        ({"audience": API, "types": "JWT"}, "Other types"),
        ({"audience": API, "require_claims": "scope"}, "require_claims maps"),
        ({"audience": API, "require_claims": {"": "x"}}, "require_claims maps"),
        ({"audience": API, "require_claims": {"a": []}}, "at least one value"),
        ({"audience": API, "evidence": "acr"}, "evidence is a plain function"),
        ({"audience": API, "evidence": reading_later}, "evidence is a plain function"),
        ({"audience": API, "evidence": ReadingLater()}, "evidence is a plain function"),
        ({"audience": API, "jwks_uri": "http://login.example/jwks"}, "jwks_uri must be"),
        ({"audience": API, "algorithms": ("HS256",)}, "algorithms is a tuple"),
        ({"audience": API, "leeway": 61}, "leeway"),
        ({"audience": API, "max_lifetime": 0}, "max_lifetime"),
    ]
    for options, message in rows:
        with subtests.test(options=options), pytest.raises(ConfigurationError, match=message):
            StepUpGuard.for_oidc(ISSUER, **options)


def test_issuers_that_cannot_be_looked_up(subtests: pytest.Subtests) -> None:
    """Metadata is asked for over https only."""
    rows: list[Any] = [
        "",
        "login.example",
        "http://login.example",
        "https://login.example?x",
        None,
        "a b",
    ]
    for name in rows:
        with subtests.test(name=name), pytest.raises(ConfigurationError, match="issuer"):
            StepUpGuard.for_oidc(name, audience=API)


def test_issuers_that_no_token_names(subtests: pytest.Subtests) -> None:
    """Nothing is looked up where the keys have an address; a name is still a text without gaps."""
    rows: list[Any] = ["", None, 5, "a b", "a\n"]
    for name in rows:
        with (
            subtests.test(name=name),
            pytest.raises(ConfigurationError, match="exactly as they have it"),
        ):
            StepUpGuard.for_oidc(name, audience=API, jwks_uri="https://login.example/keys")
    StepUpGuard.for_oidc("any:issuer", audience=API, jwks_uri="https://login.example/keys")


@pytest.mark.parametrize("alg", ["RS256", "ES256", "ES384", "EdDSA"])
def test_keys_need_no_algorithm(alg: str) -> None:
    """Some issuers publish them without: the default has one algorithm for each type of key."""
    default = signature(StepUpGuard.for_oidc).parameters["algorithms"].default

    loaded = load_key(jwk(alg, alg=REMOVE), frozenset(default))

    assert isinstance(loaded, VerificationKey)
    assert loaded.alg == alg

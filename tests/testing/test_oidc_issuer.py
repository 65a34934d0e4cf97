"""The emulated OpenID issuer: its tokens, its documents and its faults."""

import json
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import jwt
import pytest
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard
from fastapi_stepup.errors import InvalidToken
from fastapi_stepup.testing import REMOVE, OIDCIssuer, SigningKey
from tests.testing.conftest import Clock

ISSUER = "https://login.example"
API = "https://api.example"
METADATA = f"{ISSUER}/.well-known/openid-configuration"


@pytest.fixture
def issuer() -> OIDCIssuer:
    """An issuer with a clock that stands still."""
    return OIDCIssuer(clock=Clock())


def read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims, without a check."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.get_unverified_header(token), claims


def get(issuer: OIDCIssuer, url: str, method: str = "GET") -> httpx.Response:
    """Return the answer to one request over the issuer's transport."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=issuer.transport) as client:
            return await client.request(method, url)

    return anyio.run(ask)


def keys(issuer: OIDCIssuer) -> list[str]:
    """Return the ids of the served keys."""
    return [key["kid"] for key in get(issuer, f"{ISSUER}/jwks").json()["keys"]]


def test_token_says_nothing_about_the_login_by_default(issuer: OIDCIssuer) -> None:
    """It has the claims that RFC 9068 asks for, under its header, and no others."""
    header, claims = read(issuer.token("bob"))
    kid = issuer.signing_key.kid
    assert header == {"alg": "RS256", "kid": kid, "typ": "at+jwt"}
    assert claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "sub": "bob",
        "aud": API,
        "client_id": "test-client",
        "iat": 1_800_000_000,
        "exp": 1_800_000_600,
    }


def test_login_that_was_asked_for(issuer: OIDCIssuer) -> None:
    """The time of the login is given as it is, or as an age."""
    _, claims = read(issuer.token(acr="mfa", amr=["pwd", "otp"], age=60))
    assert (claims["acr"], claims["amr"], claims["auth_time"]) == (
        "mfa",
        ["pwd", "otp"],
        1_799_999_940,
    )
    _, claims = read(issuer.token(acr=("c1", "c2"), amr="pwd", auth_time=1_700_000_000))
    assert (claims["acr"], claims["amr"], claims["auth_time"]) == (
        ["c1", "c2"],
        ["pwd"],
        1_700_000_000,
    )
    with pytest.raises(TypeError, match="either auth_time or age"):
        issuer.token(auth_time=1, age=1)


def test_parts_of_a_token_are_replaced(issuer: OIDCIssuer) -> None:
    """A test makes a token that must be refused by naming the part that is wrong."""
    other = SigningKey()
    token = issuer.token(aud=REMOVE, exp=None, header={"typ": REMOVE}, key=other)
    header, claims = read(token)
    assert "typ" not in header
    assert "aud" not in claims
    assert claims["exp"] is None
    options: Any = {"verify_exp": False, "verify_aud": False}
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, issuer.signing_key.public_pem, ["RS256"], options=options)


def test_claims_of_a_vendor() -> None:
    """Claims and header type of each token are settings; a usual claim can be left out."""
    cognito = OIDCIssuer(
        audience=("a", "b"), token_type=None, claims={"token_use": "access", "aud": REMOVE}
    )
    header, claims = read(cognito.token(client_id="web"))
    assert "typ" not in header
    assert "aud" not in claims
    assert (claims["token_use"], claims["client_id"]) == ("access", "web")
    assert read(OIDCIssuer(audience=("a", "b")).token())[1]["aud"] == ["a", "b"]


def test_id_token_is_for_the_client(issuer: OIDCIssuer) -> None:
    """It has no header type and none of the claims of an access token."""
    header, claims = read(issuer.id_token("bob", acr="mfa", age=0, nonce="n"))
    assert "typ" not in header
    assert (claims["sub"], claims["aud"], claims["nonce"]) == ("bob", "test-client", "n")
    assert (claims["acr"], claims["auth_time"]) == ("mfa", 1_800_000_000)
    assert not {"client_id", "jti"} & claims.keys()


def test_machine_token_has_no_user(issuer: OIDCIssuer) -> None:
    """Its subject is the client."""
    _, claims = read(issuer.machine_token(scope="pay"))
    assert (claims["sub"], claims["client_id"], claims["scope"]) == (
        "test-client",
        "test-client",
        "pay",
    )


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "EdDSA"])
def test_token_verifies_against_the_served_keys(algorithm: Any) -> None:
    """Each algorithm signs what its served key verifies."""
    issuer = OIDCIssuer(algorithm=algorithm)
    served = get(issuer, get(issuer, METADATA).json()["jwks_uri"]).json()
    token = issuer.headers("ann")["Authorization"].removeprefix("Bearer ")
    key = jwt.PyJWKSet.from_dict(served)[issuer.signing_key.kid]
    assert jwt.decode(token, key, [algorithm], audience=API)["sub"] == "ann"


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        (
            "https://login.example/",
            ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"],
        ),
        (
            "https://login.example/realms/shop",
            [
                "/realms/shop/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server/realms/shop",
                "/.well-known/openid-configuration/realms/shop",
            ],
        ),
    ],
    ids=["host", "path"],
)
def test_metadata_is_where_the_standards_say(issuer: str, urls: list[str]) -> None:
    """All spellings lead to one document, whose issuer is the configured text."""
    emulated = OIDCIssuer(issuer)
    for url in urls:
        assert get(emulated, ISSUER + url).json() == emulated.metadata
    assert emulated.metadata["issuer"] == issuer
    assert [received.path for received in emulated.requests] == urls


def test_issuer_need_not_be_a_url() -> None:
    """Stytch's has no scheme; its keys are where those of a URL would be."""
    emulated = OIDCIssuer("stytch.example/project-1")
    assert read(emulated.token())[1]["iss"] == "stytch.example/project-1"
    assert get(emulated, "https://stytch.example/project-1/jwks").json()["keys"]


def test_metadata_is_what_a_test_makes_of_it(issuer: OIDCIssuer) -> None:
    """Changes are served at once, and keys where it says they are."""
    issuer.metadata["jwks_uri"] = "https://keys.example/set"
    assert get(issuer, METADATA).json()["jwks_uri"] == "https://keys.example/set"
    assert get(issuer, "https://keys.example/set").json()["keys"]
    assert get(issuer, f"{ISSUER}/jwks").status_code == 404


def test_other_requests_are_refused(issuer: OIDCIssuer) -> None:
    """Neither another host nor another method gets a document."""
    assert get(issuer, METADATA.replace("login", "other")).status_code == 404
    assert get(issuer, METADATA, "POST").status_code == 405
    assert TestClient(issuer, base_url=ISSUER).get("/jwks").status_code == 200


def test_keys_rotate(issuer: OIDCIssuer) -> None:
    """A rotation keeps the keys before it; a revocation does not."""
    first = issuer.signing_key.kid
    second = issuer.rotate_keys().kid
    assert keys(issuer) == [second, first]
    third = issuer.revoke_keys().kid
    assert keys(issuer) == [third]
    assert read(issuer.token())[0]["kid"] == third


@pytest.fixture
def metadata_only(issuer: OIDCIssuer) -> Iterator[None]:
    """Keys are served, whatever happens to the metadata."""
    yield
    assert keys(issuer)


@pytest.mark.usefixtures("metadata_only")
@pytest.mark.parametrize(
    ("fault", "status", "form"),
    [
        (503, 503, "application/json"),
        ("redirect", 302, None),
        ("big", 200, "application/json"),
        ("not_json", 200, "text/html; charset=utf-8"),
    ],
)
def test_answer_of_a_fault(issuer: OIDCIssuer, fault: Any, status: int, form: str | None) -> None:
    """A fault is answered at the paths that it is for, and as often as it is ordered."""
    issuer.fail(fault, 1, path="/.well-known")
    reply = get(issuer, METADATA)
    assert (reply.status_code, reply.headers.get("content-type")) == (status, form)
    assert len(reply.content) > 1024 * 1024 or fault != "big"
    assert get(issuer, METADATA).json()["issuer"] == ISSUER


def test_issuer_that_is_down_recovers(issuer: OIDCIssuer) -> None:
    """Without a number, every request fails until the end of the fault."""
    issuer.fail("unreachable")
    for _ in range(2):
        with pytest.raises(httpx.ConnectError):
            get(issuer, METADATA)
    issuer.recover()
    assert get(issuer, METADATA).status_code == 200
    assert len(issuer.requests) == 3


def test_slow_answer_outlasts_a_deadline(issuer: OIDCIssuer, monkeypatch: Any) -> None:
    """It comes after a minute, and is none of the issuer."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    issuer.fail("slow")
    assert get(issuer, METADATA).status_code == 504
    assert slept == [60]


def test_unknown_settings_are_explained(issuer: OIDCIssuer) -> None:
    """A typing mistake is an error at once."""
    with pytest.raises(ValueError, match="HTTP status or one of unreachable"):
        issuer.fail("donw")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="RS256, ES256, ES384 or EdDSA"):
        OIDCIssuer(algorithm="RS512")  # type: ignore[arg-type]
    assert json.dumps(issuer.metadata)
    assert repr(issuer) == "OIDCIssuer('https://login.example')"


@pytest.fixture
def oidc_guard() -> StepUpGuard:
    """A guard for the issuer."""
    return StepUpGuard.for_oidc(ISSUER, audience=["https://b.example", "https://a.example"])


def test_guard_reaches_the_issuer(oidc_guard: StepUpGuard) -> None:
    """Attached, the guard finds metadata and keys there, and is as it was at the end."""
    issuer = OIDCIssuer.for_guard(oidc_guard, lifetime=60)
    with issuer.attach(oidc_guard) as attached:
        claims = anyio.run(oidc_guard.verify, issuer.token("bob"))
        assert (attached, claims.subject, claims.get("aud")) == (
            issuer,
            "bob",
            "https://a.example",
        )
        assert claims.expires_at - claims.issued_at == 60
        assert [received.path for received in issuer.requests] == [
            "/.well-known/openid-configuration",
            "/jwks",
        ]
    with pytest.raises(InvalidToken), OIDCIssuer().attach(oidc_guard):
        anyio.run(oidc_guard.verify, issuer.token("bob"))


def test_issuer_is_the_one_of_the_guard(oidc_guard: StepUpGuard, guard: StepUpGuard) -> None:
    """A guard of another issuer, of Descope or with other algorithms is named in a sentence."""
    other = OIDCIssuer("https://other.example")
    with pytest.raises(ValueError, match=r"not accept the issuer 'https://other\.example'"):
        other.attach(oidc_guard).__enter__()
    with pytest.raises(ValueError, match="The guard is for Descope"):
        OIDCIssuer.for_guard(guard)
    unusual = StepUpGuard.for_oidc(ISSUER, client_id="web", algorithms=("ES512",))
    with pytest.raises(ValueError, match="accepts none of RS256, ES256, ES384 and EdDSA"):
        OIDCIssuer.for_guard(unusual)
    assert OIDCIssuer.for_guard(unusual, algorithm="ES256").audience == API


def test_attach_takes_a_guard(issuer: OIDCIssuer) -> None:
    """Another object is named in a sentence."""
    with pytest.raises(TypeError, match="attach takes a StepUpGuard, not str"):
        issuer.attach("shop.main:guard").__enter__()  # type: ignore[arg-type]

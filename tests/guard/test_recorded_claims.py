"""Access tokens of issuers as their vendors document them: accepted or refused, and why.

The recipes of `docs/how-to/issuers.md` have further ones. None was tried on a vendor's server.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import Claims, Evidence, Method, RequireStepUp, StepUpGuard, install
from fastapi_stepup.testing import REMOVE, OIDCIssuer

NOW = int(time.time())
RECENT, OLD = NOW - 60, NOW - 3600
API = "https://api.shop.example"
SECOND_FACTOR = {"max_age": "5m", "amr": ["otp"]}
RECENT_LOGIN = {"max_age": "5m"}


@dataclass(frozen=True, slots=True)
class Row:
    """What an issuer writes, and what becomes of it.

    Attributes:
        issuer: The `iss`.
        claims: Those of each token of a user; `REMOVE` leaves out one of RFC 9068.
        guard: Options of `for_oidc`.
        needed: Options of `RequireStepUp`.
        outcomes: Changes to the claims, and the outcome.
        token_type: The header's `typ`.
    """

    issuer: str
    claims: Mapping[str, Any]
    guard: Mapping[str, Any]
    needed: Mapping[str, Any]
    outcomes: list[tuple[dict[str, Any], str]]
    token_type: str | None = "JWT"
    algorithm: str = "RS256"


def _proof_of(methods: list[Method]) -> float | None:
    """Return when the second factor was used last: a new password does not renew an old one."""
    first = {"pwd", "password"}
    second = [method.at for method in methods if method.name not in first]
    times = second or [method.at for method in methods]
    return max((at for at in times if at), default=None)


def clerk(claims: Claims) -> Evidence:
    """Read `fva`: minutes since each factor at the time of issue; -1 is none."""
    first, second = claims.get("fva", (-1, -1))
    factors = [("pwd", first), ("otp", second)]
    done = [Method(name, claims.issued_at - age * 60) for name, age in factors if age >= 0]
    return Evidence(proved_at=_proof_of(done), methods=tuple(done))


def stytch(claims: Claims) -> Evidence:
    """Read the factors of the session, each with the time of its last use."""
    session = claims.get("https://stytch.com/session", {})
    factors = [
        Method(one["type"], datetime.fromisoformat(one["last_authenticated_at"]).timestamp())
        for one in session.get("authentication_factors", ())
    ]
    return Evidence(proved_at=_proof_of(factors), methods=tuple(factors))


def supabase(claims: Claims) -> Evidence:
    """Read `aal`, and `amr` with a time for each method; a hook may write plain strings."""
    methods = [
        Method(one["method"], one["timestamp"]) if isinstance(one, Mapping) else Method(one)
        for one in claims.get("amr", ())
    ]
    proved_at = max((method.at for method in methods if method.at), default=None)
    return Evidence(
        proved_at=proved_at,
        methods=tuple(methods),
        classes=tuple(filter(None, [claims.get("aal")])),
    )


def firebase(claims: Claims) -> Evidence:
    """Read the second factor; `auth_time` is that of the whole session."""
    second = claims.get("firebase", {}).get("sign_in_second_factor")
    methods = (Method("otp"),) if second else ()
    return Evidence(proved_at=claims.get("auth_time"), methods=methods)


def hydra(claims: Claims) -> Evidence:
    """Read what the consent app put into the session."""
    session = claims.get("ext", {})
    return Evidence(
        proved_at=session.get("auth_time"), methods=tuple(map(Method, session.get("amr", ())))
    )


def kratos(claims: Claims) -> Evidence:
    """Read a tokenized session whose template copies its level and time."""
    at = datetime.fromisoformat(claims.get("authenticated_at"))
    return Evidence(proved_at=at.timestamp(), classes=(claims.get("aal"),))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _factors(*factors: tuple[str, float]) -> dict[str, Any]:
    listed = [{"type": kind, "last_authenticated_at": _iso(at)} for kind, at in factors]
    return {"https://stytch.com/session": {"authentication_factors": listed}}


ROWS = {
    "oidc-provider": Row(
        "https://op.shop.example",
        {},
        {"audience": API},
        RECENT_LOGIN,
        [
            ({}, "step_up missing"),
            ({"auth_time": RECENT}, "paid"),
            ({"auth_time": OLD}, "step_up expired"),
            ({"auth_time": RECENT, "sub": "test-client"}, "invalid_token"),
        ],
        token_type="at+jwt",
    ),
    "pingone": Row(
        "https://auth.pingone.com/11111111-2222-3333-4444-555555555555/as",
        {"env": "11111111", "scope": "pay", "aud": [API]},
        {"audience": API},
        {"acr": ["Multi_Factor"]},
        [
            ({}, "acr missing"),
            ({"acr": "Multi_Factor"}, "paid"),
            ({"sub": REMOVE}, "invalid_token"),
        ],
        token_type="at+jwt",
    ),
    "workos": Row(
        "https://api.workos.com/user_management/client_01",
        {"sid": "session_01", "client_id": REMOVE},
        {"audience": API, "types": ("JWT",), "require_claims": {"sid": None}},
        RECENT_LOGIN,
        [
            ({"aud": REMOVE}, "invalid_token"),
            ({"auth_time": RECENT}, "paid"),
            ({"auth_time": RECENT, "act": {"sub": "admin@shop.example"}}, "impersonation_refused"),
        ],
    ),
    "clerk": Row(
        "https://clerk.shop.example",
        {"azp": "https://shop.example", "sid": "sess_1", "aud": REMOVE, "client_id": REMOVE},
        {
            "client_id": "https://shop.example",
            "types": ("JWT",),
            "require_claims": {"sid": None},
            "evidence": clerk,
        },
        SECOND_FACTOR,
        [
            ({"fva": [30, 1]}, "paid"),
            ({"fva": [1, 20]}, "step_up expired"),
            ({"fva": [1, -1]}, "amr missing"),
            ({"fva": [1, 1], "azp": "https://evil.example"}, "invalid_token"),
        ],
    ),
    "stytch": Row(
        "stytch.com/project-live-1",
        {"aud": ["project-live-1"], "client_id": REMOVE},
        {
            "audience": "project-live-1",
            "types": ("JWT",),
            "require_claims": {"https://stytch.com/session": None},
            "evidence": stytch,
            "jwks_uri": "https://stytch.com/project-live-1/jwks",
        },
        SECOND_FACTOR,
        [
            (_factors(("password", OLD), ("otp", RECENT)), "paid"),
            (_factors(("password", RECENT), ("otp", OLD)), "step_up expired"),
            (_factors(("password", RECENT)), "amr missing"),
            ({}, "invalid_token"),
        ],
    ),
    "supabase": Row(
        "https://abc.supabase.co/auth/v1",
        {"aud": "authenticated", "session_id": "s1", "role": "authenticated", "client_id": REMOVE},
        {
            "audience": "authenticated",
            "types": ("JWT",),
            "require_claims": {"session_id": None},
            "evidence": supabase,
        },
        {"max_age": "5m", "acr": ["aal2"]},
        [
            ({"aal": "aal2", "amr": [{"method": "totp", "timestamp": RECENT}]}, "paid"),
            ({"aal": "aal2", "amr": [{"method": "totp", "timestamp": OLD}]}, "step_up expired"),
            ({"aal": "aal2", "amr": ["totp"]}, "step_up missing"),
            ({"aal": "aal1", "amr": [{"method": "password", "timestamp": RECENT}]}, "acr missing"),
            ({"role": "anon", "session_id": REMOVE}, "invalid_token"),
        ],
        algorithm="ES256",
    ),
    "firebase": Row(
        "https://securetoken.google.com/shop",
        {"aud": "shop", "user_id": "ann", "client_id": REMOVE},
        {
            "audience": "shop",
            "types": ("JWT",),
            "require_claims": {"firebase": None},
            "evidence": firebase,
        },
        SECOND_FACTOR,
        [
            (
                {"auth_time": RECENT, "firebase": {"sign_in_second_factor": "phone"}},
                "paid",
            ),
            (
                {"auth_time": OLD, "firebase": {"sign_in_second_factor": "phone"}},
                "step_up expired",
            ),
            ({"auth_time": RECENT, "firebase": {"sign_in_provider": "password"}}, "amr missing"),
            ({"auth_time": RECENT}, "invalid_token"),
        ],
    ),
    "zitadel": Row(
        "https://shop.zitadel.cloud",
        {"aud": ["242", API], "client_id": "242"},
        {"audience": API},
        RECENT_LOGIN,
        [({}, "step_up missing")],
        token_type="at+jwt",
    ),
    "authentik": Row(
        "https://auth.shop.example/application/o/shop/",
        {
            "aud": "shop",
            "azp": "shop",
            "uid": "u1",
            "acr": "goauthentik.io/providers/oauth2/default",
            "client_id": REMOVE,
        },
        {"audience": "shop", "types": ("JWT",), "require_claims": {"uid": None}},
        SECOND_FACTOR,
        [
            ({"auth_time": RECENT, "amr": ["pwd", "otp", "mfa"]}, "paid"),
            ({"auth_time": RECENT, "amr": ["pwd"]}, "amr missing"),
            ({"auth_time": RECENT, "amr": ["otp"], "uid": REMOVE}, "invalid_token"),
        ],
    ),
    "hydra": Row(
        "https://hydra.shop.example/",
        {"aud": [API], "scp": ["pay"], "client_id": "web"},
        {
            "audience": API,
            "types": ("JWT",),
            "require_claims": {"scp": None},
            "evidence": hydra,
        },
        SECOND_FACTOR,
        [
            ({"ext": {"auth_time": RECENT, "amr": ["pwd", "otp"]}}, "paid"),
            ({"auth_time": RECENT, "amr": ["otp"], "ext": {}}, "amr missing, step_up missing"),
            ({"sub": "web"}, "invalid_token"),
        ],
    ),
    "kratos": Row(
        "https://kratos.shop.example",
        {"aud": API, "sid": "s1", "client_id": REMOVE},
        {
            "audience": API,
            "types": ("JWT",),
            "require_claims": {"sid": None},
            "evidence": kratos,
        },
        {"max_age": "5m", "acr": ["aal2"]},
        [
            ({"aal": "aal2", "authenticated_at": _iso(RECENT)}, "paid"),
            ({"aal": "aal1", "authenticated_at": _iso(RECENT)}, "acr missing"),
        ],
    ),
}


def outcome(guard: StepUpGuard, token: str, needed: Mapping[str, Any]) -> str:
    """Return what an app answers: that it was paid, what is unmet, or the problem's code."""
    app = FastAPI()
    install(app, guard)

    @app.post("/pay", dependencies=[Depends(RequireStepUp(guard, **needed))])
    def pay() -> str:
        return "paid"

    answer = TestClient(app).post("/pay", headers={"Authorization": f"Bearer {token}"})
    if answer.status_code == 200:
        return "paid"
    unmet = answer.json().get("unmet", [])
    said = sorted(f"{one['requirement']} {one['reason']}" for one in unmet)
    return ", ".join(said) or str(answer.json()["code"])


@pytest.mark.parametrize("name", ROWS)
def test_tokens_are_read_as_the_vendor_documents_them(name: str) -> None:
    """Each variant of the token has its outcome."""
    row = ROWS[name]
    # They stand at the moment at which the rows were written, however long a run takes.
    guard = StepUpGuard.for_oidc(row.issuer, **row.guard, clock=lambda: float(NOW))
    issuer = OIDCIssuer.for_guard(
        guard,
        token_type=row.token_type,
        claims=row.claims,
        algorithm=row.algorithm,
        clock=lambda: float(NOW),
    )

    with issuer.attach(guard):
        found = [
            (changes, outcome(guard, issuer.token(**changes), row.needed))
            for changes, _ in row.outcomes
        ]

    assert found == row.outcomes


def test_shared_secret_of_a_project_cannot_verify() -> None:
    """A Supabase project with its old secret signs by HS256, which no guard takes."""
    row = ROWS["supabase"]
    guard = StepUpGuard.for_oidc(row.issuer, **row.guard)
    issuer = OIDCIssuer.for_guard(guard, token_type="JWT", claims=row.claims)

    with issuer.attach(guard):
        token = issuer.token(header={"alg": "HS256"}, key=b"the project's secret of 32 letters")
        assert outcome(guard, token, row.needed) == "invalid_token"


_READERS: list[Callable[[Claims], Evidence]] = [clerk, stytch, supabase, firebase, hydra]


@pytest.mark.parametrize("reader", _READERS, ids=lambda reader: reader.__name__)
def test_reader_proves_nothing_by_a_token_that_says_nothing(reader: Any) -> None:
    """What a token leaves out is unproved."""
    evidence = reader(Claims({"sub": "ann", "iat": NOW, "exp": NOW + 60}))
    assert (evidence.proved_at, evidence.methods, evidence.classes) == (None, (), ())

"""The rules for registered claims: what passes, what is rejected, and for which reason."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from fastapi_stepup.testing import REMOVE
from fastapi_stepup.tokens.claims_set import ClaimsRules, Validity
from fastapi_stepup.tokens.rejected import Rejected
from tests.support.token_factory import HOST, NOW, PROJECT_ID, claims


def rules(**changes: Any) -> ClaimsRules:
    """Return the rules of a project with the usual settings, some changed."""
    usual: dict[str, Any] = {
        "project_id": PROJECT_ID,
        "issuers": frozenset({PROJECT_ID}),
        "issuer_hosts": frozenset({HOST}),
        "leeway": 5.0,
    }
    return ClaimsRules(**usual | changes)


def rejection(
    changes: dict[str, Any], *, now: float = NOW, refresh: bool = False, **options: Any
) -> str | None:
    """Return why claims with *changes* are rejected, or `None` if they pass."""
    try:
        rules(**options).check(claims(**changes), now=now, refresh=refresh)
    except Rejected as rejected:
        return rejected.reason.value
    return None


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        pytest.param({}, {}, id="TV-001"),
        pytest.param({"exp": NOW + 10.5}, {}, id="TV-057-float"),
        pytest.param({"exp": NOW - 4, "iat": NOW - 60}, {}, id="TV-051-within-leeway"),
        pytest.param({"iat": NOW + 3}, {}, id="OT-042-within-leeway"),
        pytest.param({"exp": NOW + 50 * 365 * 86400}, {}, id="TV-059-no-limit-set"),
        pytest.param({"exp": NOW + 600, "iat": NOW}, {"max_lifetime": 600}, id="TV-059-at-limit"),
        pytest.param({"nbf": NOW - 1}, {}, id="TV-061-nbf"),
        pytest.param({"iss": PROJECT_ID}, {}, id="TV-069-bare"),
        pytest.param({"iss": f"{HOST}/{PROJECT_ID}"}, {}, id="TV-069-oidc"),
        pytest.param({"iss": f"{HOST}/v1/apps/{PROJECT_ID}"}, {}, id="TV-069-apps"),
        pytest.param({"iss": f"{HOST}/v1/apps/{PROJECT_ID}/T2acme"}, {}, id="issuer-of-a-tenant"),
        pytest.param({"iss": f"{HOST}/v1/apps/{PROJECT_ID}/a.b~c_d"}, {}, id="issuer-of-own-id"),
        pytest.param({"iss": f"{HOST}/v1/apps/agentic/{PROJECT_ID}/MS1"}, {}, id="issuer-agentic"),
        pytest.param(
            {"iss": f"https://auth.example.com/{PROJECT_ID}"},
            {"issuer_hosts": frozenset({"https://auth.example.com"})},
            id="TV-069-custom-domain",
        ),
        pytest.param(
            {"iss": "https://elsewhere.example/x"},
            {"issuers": frozenset({"https://elsewhere.example/x"})},
            id="TV-069-listed",
        ),
        pytest.param({"aud": "api"}, {"audience": frozenset({"api"})}, id="TV-071-string"),
        pytest.param({"aud": ["x", "api"]}, {"audience": frozenset({"api"})}, id="TV-071-list"),
        pytest.param({"aud": "b"}, {"audience": frozenset({"a", "b"})}, id="TV-071-any-of"),
        pytest.param({"aud": PROJECT_ID}, {}, id="TV-074-project-id"),
        pytest.param({"aud": [PROJECT_ID, "x"]}, {}, id="TV-074-project-id-in-list"),
        pytest.param({"aud": "x"}, {"any_audience": True}, id="TV-074-opted-out"),
        pytest.param({"sub": "x" * 256}, {}, id="TV-075-longest"),
        pytest.param({"sub": "x"}, {}, id="subject-of-one-character"),
        pytest.param({"iat": 1}, {}, id="iat-of-1970"),
        pytest.param({"exp": 32_503_679_999}, {}, id="exp-before-the-year-3000"),
        pytest.param({"drn": REMOVE}, {}, id="TV-079-off"),
        pytest.param({"su": True}, {}, id="TV-093"),
        pytest.param({"jti": "x"}, {}, id="jti"),
        pytest.param(
            {"rexp": "2026-12-22T02:37:57Z", "dct": "T1", "tenants": {"T1": {}}},
            {},
            id="descope-claims",
        ),
        pytest.param({"sub": "Zoë Müller"}, {}, id="sub-printable"),
    ],
)
def test_claims_that_pass(changes: dict[str, Any], options: dict[str, Any]) -> None:
    """A good session in each form that Descope or a configuration gives it."""
    assert rejection(changes, **options) is None


REJECTED = [
    pytest.param({"exp": NOW - 100, "iat": NOW - 200}, "expired", id="TV-051"),
    pytest.param({"exp": NOW - 6, "iat": NOW - 200}, "expired", id="TV-051-past-leeway"),
    pytest.param({"exp": REMOVE}, "claim_missing", id="TV-053-missing"),
    pytest.param({"exp": None}, "claim_missing", id="TV-053-null"),
    *(
        pytest.param({"exp": exp}, "claim_invalid", id=f"TV-054-{name}")
        for name, exp in (
            ("text", str(NOW + 99)),
            ("spaced", f" {NOW + 99}"),
            ("underscores", "9_999_999_999"),
            ("full-width", "\uff19" * 10),
            ("empty", ""),
            ("iso", "2030-01-01T00:00:00Z"),
        )
    ),
    *(
        pytest.param({"exp": exp}, "claim_invalid", id=f"TV-055-{name}")
        for name, exp in (
            ("true", True),
            ("false", False),
            ("list", [NOW + 99]),
            ("object", {"exp": NOW}),
        )
    ),
    pytest.param({"exp": 0}, "claim_invalid", id="TV-058-0"),
    pytest.param({"iat": 0}, "claim_invalid", id="iat-0"),
    pytest.param({"exp": 32_503_680_000}, "claim_invalid", id="exp-in-the-year-3000"),
    pytest.param({"exp": -1}, "claim_invalid", id="TV-058-minus-1"),
    pytest.param({"exp": 1e308}, "claim_invalid", id="exp-1e308"),
    pytest.param({"exp": 10**400}, "claim_invalid", id="exp-401-digits"),
    pytest.param({"exp": NOW * 1000}, "claim_invalid", id="exp-in-milliseconds"),
    *(
        pytest.param({"nbf": nbf}, expected, id=f"TV-061-{name}")
        for name, nbf, expected in (
            ("text", str(NOW), "claim_invalid"),
            ("null", None, "claim_missing"),
            ("list", [NOW], "claim_invalid"),
            ("future", NOW + 60, "not_yet_valid"),
            ("bool", True, "claim_invalid"),
        )
    ),
    pytest.param({"iat": REMOVE}, "claim_missing", id="TV-062-missing"),
    pytest.param({"iat": NOW + 60}, "not_yet_valid", id="TV-062-future"),
    pytest.param({"iat": str(NOW)}, "claim_invalid", id="TV-062-text"),
    pytest.param({"iat": True}, "claim_invalid", id="TV-062-bool"),
    pytest.param({"iat": NOW + 4, "exp": NOW + 3}, "lifetime", id="TV-063"),
    pytest.param({"iss": "P2zzzzzzzzzzzzzzzzzzzzzzzzzz"}, "issuer", id="TV-065"),
    *(
        pytest.param({"iss": iss}, "issuer", id=f"TV-066-{name}")
        for name, iss in (
            ("list", [PROJECT_ID]),
            ("dict", {PROJECT_ID: 1}),
            ("null", None),
            ("missing", REMOVE),
            ("empty", ""),
            ("number", 1),
            ("true", True),
        )
    ),
    *(
        pytest.param({"iss": iss}, "issuer", id=f"TV-067-{name}")
        for name, iss in (
            ("prefix", PROJECT_ID[:-1]),
            ("suffix", PROJECT_ID[1:]),
            ("super", PROJECT_ID + "x"),
            ("case", PROJECT_ID.lower()),
            ("slash", f"{HOST}/{PROJECT_ID}/"),
            ("bare-slash", f"{PROJECT_ID}/"),
            ("one-more", f"{HOST}/{PROJECT_ID}/MS1"),
            ("two-more", f"{HOST}/{PROJECT_ID}/a/b"),
            ("tenant-of-another", f"{HOST}/v1/apps/P2other/{PROJECT_ID}"),
            ("below-a-tenant", f"{HOST}/v1/apps/{PROJECT_ID}/T2acme/more"),
            ("empty-tenant", f"{HOST}/v1/apps/{PROJECT_ID}/"),
            ("tenant-on-foreign-host", f"https://evil.example/v1/apps/{PROJECT_ID}/T2acme"),
            ("tenant-dots", f"{HOST}/v1/apps/{PROJECT_ID}/.."),
            ("tenant-dot", f"{HOST}/v1/apps/{PROJECT_ID}/."),
            ("tenant-escaped", f"{HOST}/v1/apps/{PROJECT_ID}/%2e%2e"),
            ("tenant-query", f"{HOST}/v1/apps/{PROJECT_ID}/T2?x"),
            ("tenant-newline", f"{HOST}/v1/apps/{PROJECT_ID}/T2acme\n"),
            ("agentic-of-another", f"{HOST}/v1/apps/agentic/P2other/{PROJECT_ID}"),
            ("agentic-without-server", f"{HOST}/v1/apps/agentic/{PROJECT_ID}"),
            ("agentic-deeper", f"{HOST}/v1/apps/agentic/{PROJECT_ID}/MS1/x"),
            ("agentic-elsewhere", f"{HOST}/v1/apps/other/{PROJECT_ID}/MS1"),
            ("host-only", HOST),
            ("foreign-host", f"https://evil.example/{PROJECT_ID}"),
            ("http", f"http://api.descope.com/{PROJECT_ID}"),
            ("userinfo", f"https://api.descope.com@evil.example/{PROJECT_ID}"),
            ("port", f"https://api.descope.com:444/{PROJECT_ID}"),
            ("host-suffix", f"https://api.descope.com.evil.example/{PROJECT_ID}"),
            ("double-slash", f"{HOST}//{PROJECT_ID}"),
            ("dots", f"{HOST}/x/../{PROJECT_ID}"),
            ("query", f"{HOST}/?{PROJECT_ID}"),
            ("fragment", f"{HOST}/#/{PROJECT_ID}"),
            ("backslash", f"{HOST}\\{PROJECT_ID}"),
            ("newline", f"{PROJECT_ID}\n"),
            ("space", f" {PROJECT_ID}"),
            ("scheme-case", f"HTTPS://api.descope.com/{PROJECT_ID}"),
            ("no-scheme", f"api.descope.com/{PROJECT_ID}"),
            ("file", f"file:///{PROJECT_ID}"),
            ("other-path", f"{HOST}/v2/apps/{PROJECT_ID}"),
        )
    ),
    *(
        pytest.param({"aud": aud}, "audience", id=f"TV-074-{name}")
        for name, aud in (
            ("foreign", "api"),
            ("list", ["api"]),
            ("empty-list", []),
            ("empty", ""),
            ("null", None),
            ("dict", {PROJECT_ID: 1}),
            ("number", 1),
            ("mixed", [PROJECT_ID, 1]),
            ("nested", [[PROJECT_ID]]),
            ("case", PROJECT_ID.lower()),
        )
    ),
    *(
        pytest.param({"sub": sub}, "subject", id=f"TV-075-{name}")
        for name, sub in (
            ("missing", REMOVE),
            ("empty", ""),
            ("number", 5),
            ("null", None),
            ("list", ["U2x"]),
            ("10-kb", "x" * 10_240),
            ("257", "x" * 257),
            ("newline", "U2x\nroot"),
            ("nul", "U2x\0"),
            ("ansi", "\x1b[2J"),
            ("zero-width", "U2\u200bx"),
            ("bidi", "U2\u202ex"),
        )
    ),
    pytest.param({"drn": "DSR"}, "not_a_session", id="TV-077"),
    pytest.param({"drn": "DSR", "su": True}, "not_a_session", id="TV-078"),
    *(
        pytest.param({"drn": drn}, "not_a_session", id=f"TV-077-{name}")
        for name, drn in (
            ("null", None),
            ("empty", ""),
            ("case", "ds"),
            ("list", ["DS"]),
            ("other", "DSX"),
            ("true", True),
        )
    ),
    pytest.param({"nonce": "n", "aud": PROJECT_ID, "drn": REMOVE}, "not_a_session", id="TV-081"),
    pytest.param({"nonce": None}, "not_a_session", id="TV-081-null-nonce"),
    pytest.param({"cnf": {"jkt": "x"}}, "sender_constrained", id="TV-083"),
    pytest.param({"cnf": None}, "sender_constrained", id="TV-083-null"),
    pytest.param({"jti": 5}, "claim_invalid", id="jti-number"),
    pytest.param({"jti": None}, "claim_invalid", id="jti-null"),
]


@pytest.mark.parametrize(("changes", "expected"), REJECTED)
def test_claims_that_are_rejected(changes: dict[str, Any], expected: str) -> None:
    """Each bad claim has its reason."""
    assert rejection(changes) == expected


@pytest.mark.parametrize(
    ("changes", "options", "expected"),
    [
        pytest.param({}, {"audience": frozenset({"api"})}, "audience", id="TV-070"),
        *(
            pytest.param(
                {"aud": aud}, {"audience": frozenset({"api"})}, "audience", id=f"TV-071-{name}"
            )
            for name, aud in (("without", ["x", "y"]), ("empty-list", []), ("empty", ""))
        ),
        *(
            pytest.param(
                {"aud": aud}, {"audience": frozenset({"api"})}, "audience", id=f"TV-073-{name}"
            )
            for name, aud in (
                ("sub", "ap"),
                ("super", "api2"),
                ("case", "API"),
                ("in-list", ["ap"]),
            )
        ),
        pytest.param(
            {"aud": PROJECT_ID},
            {"audience": frozenset({"api"})},
            "audience",
            id="TV-071-project-id",
        ),
        pytest.param({"aud": [1]}, {"any_audience": True}, "audience", id="TV-074-opted-out-shape"),
        pytest.param(
            {"drn": REMOVE}, {"require_session_name": True}, "not_a_session", id="TV-079-on"
        ),
        pytest.param(
            {"exp": NOW + 50 * 365 * 86400}, {"max_lifetime": 86400}, "lifetime", id="TV-059"
        ),
        pytest.param(
            {"exp": NOW + 601, "iat": NOW},
            {"max_lifetime": 600},
            "lifetime",
            id="TV-059-one-second",
        ),
        pytest.param({"exp": NOW - 1, "iat": NOW - 60}, {"leeway": 0}, "expired", id="leeway-0"),
        pytest.param(
            {"iss": f"{HOST}/{PROJECT_ID}"}, {"issuer_hosts": frozenset()}, "issuer", id="no-hosts"
        ),
    ],
)
def test_claims_that_settings_reject(
    changes: dict[str, Any], options: dict[str, Any], expected: str
) -> None:
    """Each setting has an effect."""
    assert rejection(changes, **options) == expected


@pytest.mark.parametrize("leeway", [pytest.param(0.0, id="no-leeway"), pytest.param(5.0, id="5 s")])
def test_times_hold_to_the_second(leeway: float) -> None:
    """The first moment is included, the last one is not; the answer says both."""
    given = claims(iat=NOW, nbf=NOW + 10, exp=NOW + 60)

    validity = rules(leeway=leeway).check(given, now=NOW + 30)

    assert validity == Validity(NOW + 10 - leeway, NOW + 60 + leeway)
    for now, expected in (
        (validity.not_before - 0.001, "not_yet_valid"),
        (validity.not_before, None),
        (validity.expires - 0.001, None),
        (validity.expires, "expired"),
    ):
        assert rejection(
            {"iat": NOW, "nbf": NOW + 10, "exp": NOW + 60}, now=now, leeway=leeway
        ) == (expected)


def test_a_token_is_not_valid_before_it_was_issued() -> None:
    """`nbf` can only make it later."""
    assert rules().check(claims(nbf=NOW - 99), now=NOW).not_before == NOW - 5


def test_refresh_tokens_have_rules_of_their_own() -> None:
    """`drn` must be `DSR`, and the longest lifetime is that of sessions."""
    refresh = {"drn": "DSR", "exp": NOW + 2_000_000}

    assert rejection(refresh, refresh=True, max_lifetime=600) is None
    assert rejection(refresh, max_lifetime=600) == "lifetime"
    assert rejection(refresh) == "not_a_session"
    for name in ("DS", REMOVE, None, "dsr"):
        assert rejection({"drn": name}, refresh=True) == "not_a_session"


def test_a_lifetime_of_nothing_is_one() -> None:
    """A token that expires when it is issued passes within the leeway only."""
    assert rejection({"iat": NOW, "exp": NOW}) is None
    assert rejection({"iat": NOW, "exp": NOW}, leeway=0.0) == "expired"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({name: value}, id=name)
        for name, value in (
            ("project_id", "P2other"),
            ("issuers", frozenset({"x"})),
            ("issuer_hosts", frozenset()),
            ("audience", frozenset({"a"})),
            ("any_audience", True),
            ("leeway", 6.0),
            ("max_lifetime", 5),
            ("require_session_name", True),
        )
    ],
)
def test_every_rule_is_in_the_fingerprint(changes: dict[str, Any]) -> None:
    """Rules that may judge differently never look the same, equal ones always do."""
    assert rules(**changes).fingerprint() != rules().fingerprint()
    assert rules(**changes).fingerprint() == rules(**changes).fingerprint()


def test_the_order_of_a_set_is_not_in_the_fingerprint() -> None:
    """Two sets may be equal and come in another order."""
    names = [f"a{n}" for n in range(100)]

    one, other = (rules(audience=frozenset(n)) for n in (names, reversed(names)))
    assert one.fingerprint() == other.fingerprint()


def test_rules_are_strict_unless_set_otherwise() -> None:
    """No leeway, no hosts, no foreign audience, any lifetime."""
    usual = ClaimsRules(project_id=PROJECT_ID, issuers=frozenset({PROJECT_ID}))

    assert usual == ClaimsRules(
        project_id=PROJECT_ID,
        issuers=frozenset({PROJECT_ID}),
        issuer_hosts=frozenset(),
        audience=None,
        any_audience=False,
        leeway=0.0,
        max_lifetime=None,
        require_session_name=False,
    )


def test_rules_cannot_change() -> None:
    """They stay as they were configured."""
    with pytest.raises(FrozenInstanceError):
        rules().leeway = 60.0  # type: ignore[misc]

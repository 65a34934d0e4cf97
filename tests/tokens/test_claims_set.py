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
    ("name", "values"),
    [
        pytest.param("exp", [NOW + 10.5], id="TV-057-float"),
        pytest.param("exp", [NOW + 50 * 365 * 86400, 32_503_679_999], id="exp-far-ahead"),
        pytest.param("iat", [1, NOW + 3], id="OT-042-iat-of-1970-and-within-leeway"),
        pytest.param("nbf", [NOW - 1], id="TV-061-nbf"),
        pytest.param(
            "iss",
            [
                PROJECT_ID,
                f"{HOST}/{PROJECT_ID}",
                f"{HOST}/v1/apps/{PROJECT_ID}",
                f"{HOST}/v1/apps/{PROJECT_ID}/T2acme",
                f"{HOST}/v1/apps/{PROJECT_ID}/a.b~c_d",
                f"{HOST}/v1/apps/agentic/{PROJECT_ID}/MS1",
            ],
            id="TV-069",
        ),
        pytest.param("aud", [PROJECT_ID, [PROJECT_ID, "x"]], id="TV-074-project-id"),
        pytest.param("sub", ["x", "x" * 256, "Zoë Müller"], id="TV-075-printable"),
        pytest.param("drn", [REMOVE], id="TV-079-off"),
        pytest.param("su", [True], id="TV-093"),
        pytest.param("jti", ["x"], id="jti"),
    ],
)
def test_claims_that_pass(name: str, values: list[Any], subtests: pytest.Subtests) -> None:
    """TV-001: a good session in each form that Descope gives it."""
    assert rejection({}) is None
    for value in values:
        with subtests.test(value=value):
            assert rejection({name: value}) is None


FAR = NOW + 50 * 365 * 86400
APIS = frozenset({"api", "b"})


@pytest.mark.parametrize(
    ("options", "passes", "fails", "expected"),
    [
        pytest.param(
            {"issuer_hosts": frozenset({"https://auth.example.com"})},
            [{"iss": f"https://auth.example.com/{PROJECT_ID}"}],
            [{"iss": f"{HOST}/{PROJECT_ID}"}],
            "issuer",
            id="TV-069-custom-domain",
        ),
        pytest.param(
            {"issuers": frozenset({"https://elsewhere.example/x"})},
            [{"iss": "https://elsewhere.example/x"}],
            [{"iss": "https://elsewhere.example/"}],
            "issuer",
            id="TV-069-listed",
        ),
        pytest.param(
            {"audience": APIS},
            [{"aud": "api"}, {"aud": "b"}, {"aud": ["x", "api"]}],
            [
                {},
                *(
                    {"aud": aud}
                    for aud in ("ap", "api2", "API", ["ap"], ["x", "y"], [], "", PROJECT_ID)
                ),
            ],
            "audience",
            id="TV-070-TV-071-TV-073",
        ),
        pytest.param(
            {"any_audience": True},
            [{"aud": "x"}],
            [{"aud": [1]}],
            "audience",
            id="TV-074-opted-out",
        ),
        pytest.param(
            {"require_session_name": True}, [{}], [{"drn": REMOVE}], "not_a_session", id="TV-079-on"
        ),
        pytest.param(
            {"max_lifetime": 600},
            [{"exp": NOW + 600, "iat": NOW}],
            [{"exp": NOW + 601, "iat": NOW}, {"exp": FAR}],
            "lifetime",
            id="TV-059",
        ),
        pytest.param(
            {"leeway": 0},
            [{"exp": NOW + 1, "iat": NOW - 60}],
            [{"exp": NOW - 1, "iat": NOW - 60}],
            "expired",
            id="no-leeway",
        ),
    ],
)
def test_settings_decide(
    options: dict[str, Any],
    passes: list[dict[str, Any]],
    fails: list[dict[str, Any]],
    expected: str,
    subtests: pytest.Subtests,
) -> None:
    """Each setting has an effect: on tokens that differ in that point alone."""
    for changes in passes:
        with subtests.test(changes=changes):
            assert rejection(changes, **options) is None
    for changes in fails:
        with subtests.test(changes=changes):
            assert rejection(changes, **options) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"exp": NOW - 4, "iat": NOW - 60}, None, id="TV-051-within-leeway"),
        pytest.param({"exp": NOW - 6, "iat": NOW - 60}, "expired", id="TV-051"),
        pytest.param({"iat": NOW + 4, "exp": NOW + 3}, "lifetime", id="TV-063"),
    ],
)
def test_times_that_only_both_of_them_tell(changes: dict[str, Any], expected: str | None) -> None:
    """When a token was issued and when it expires, one beside the other."""
    assert rejection(changes) == expected


REJECTED = [
    pytest.param("exp", "claim_missing", [REMOVE, None], id="TV-053"),
    pytest.param(
        "exp",
        "claim_invalid",
        [
            str(NOW + 99),
            f" {NOW + 99}",
            "9_999_999_999",
            "\uff19" * 10,
            "",
            "2030-01-01T00:00:00Z",
        ],
        id="TV-054-text",
    ),
    pytest.param(
        "exp",
        "claim_invalid",
        [True, False, [NOW + 99], {"exp": NOW}],
        id="TV-055-other-types",
    ),
    pytest.param(
        "exp",
        "claim_invalid",
        [0, -1, 32_503_680_000, NOW * 1000, 1e308, 10**400],
        id="TV-058-out-of-range",
    ),
    pytest.param("nbf", "claim_missing", [None], id="TV-061-null"),
    pytest.param("nbf", "claim_invalid", [str(NOW), [NOW], True], id="TV-061-other-types"),
    pytest.param("nbf", "not_yet_valid", [NOW + 60], id="TV-061-future"),
    pytest.param("iat", "claim_missing", [REMOVE], id="TV-062-missing"),
    pytest.param("iat", "claim_invalid", [0, str(NOW), True], id="TV-062-no-time"),
    pytest.param("iat", "not_yet_valid", [NOW + 60], id="TV-062-future"),
    pytest.param(
        "iss",
        "issuer",
        [[PROJECT_ID], {PROJECT_ID: 1}, None, REMOVE, "", 1, True],
        id="TV-066",
    ),
    pytest.param(
        "iss",
        "issuer",
        [
            "P2zzzzzzzzzzzzzzzzzzzzzzzzzz",
            PROJECT_ID[:-1],
            PROJECT_ID[1:],
            PROJECT_ID + "x",
            PROJECT_ID.lower(),
            f"{PROJECT_ID}/",
            f"{PROJECT_ID}\n",
            f" {PROJECT_ID}",
        ],
        id="TV-065-TV-067-other-ids",
    ),
    pytest.param(
        "iss",
        "issuer",
        [
            f"https://evil.example/{PROJECT_ID}",
            f"http://api.descope.com/{PROJECT_ID}",
            f"https://api.descope.com@evil.example/{PROJECT_ID}",
            f"https://api.descope.com:444/{PROJECT_ID}",
            f"https://api.descope.com.evil.example/{PROJECT_ID}",
            f"{HOST}\\{PROJECT_ID}",
            f"HTTPS://api.descope.com/{PROJECT_ID}",
            f"api.descope.com/{PROJECT_ID}",
            f"file:///{PROJECT_ID}",
            f"https://evil.example/v1/apps/{PROJECT_ID}/T2acme",
        ],
        id="TV-067-other-hosts",
    ),
    pytest.param(
        "iss",
        "issuer",
        [
            HOST,
            f"{HOST}/{PROJECT_ID}/",
            f"{HOST}//{PROJECT_ID}",
            f"{HOST}/x/../{PROJECT_ID}",
            f"{HOST}/?{PROJECT_ID}",
            f"{HOST}/#/{PROJECT_ID}",
            f"{HOST}/{PROJECT_ID}/MS1",
            f"{HOST}/{PROJECT_ID}/a/b",
            f"{HOST}/v2/apps/{PROJECT_ID}",
        ],
        id="TV-067-other-paths",
    ),
    pytest.param(
        "iss",
        "issuer",
        [
            f"{HOST}/v1/apps/P2other/{PROJECT_ID}",
            f"{HOST}/v1/apps/{PROJECT_ID}/T2acme/more",
            f"{HOST}/v1/apps/{PROJECT_ID}/",
            f"{HOST}/v1/apps/{PROJECT_ID}/..",
            f"{HOST}/v1/apps/{PROJECT_ID}/.",
            f"{HOST}/v1/apps/{PROJECT_ID}/%2e%2e",
            f"{HOST}/v1/apps/{PROJECT_ID}/T2?x",
            f"{HOST}/v1/apps/{PROJECT_ID}/T2acme\n",
        ],
        id="TV-067-tenants",
    ),
    pytest.param(
        "iss",
        "issuer",
        [
            f"{HOST}/v1/apps/agentic/P2other/{PROJECT_ID}",
            f"{HOST}/v1/apps/agentic/{PROJECT_ID}",
            f"{HOST}/v1/apps/agentic/{PROJECT_ID}/MS1/x",
            f"{HOST}/v1/apps/other/{PROJECT_ID}/MS1",
        ],
        id="TV-067-agentic",
    ),
    pytest.param(
        "aud", "audience", ["api", ["api"], [], "", PROJECT_ID.lower()], id="TV-074-foreign"
    ),
    pytest.param(
        "aud",
        "audience",
        [None, {PROJECT_ID: 1}, 1, [PROJECT_ID, 1], [[PROJECT_ID]]],
        id="TV-074-other-types",
    ),
    pytest.param("sub", "subject", [REMOVE, None, 5, ["U2x"]], id="TV-075-no-text"),
    pytest.param("sub", "subject", ["", "x" * 257, "x" * 10_240], id="TV-075-length"),
    pytest.param(
        "sub",
        "subject",
        ["U2x\nroot", "U2x\0", "\x1b[2J", "U2\u200bx", "U2\u202ex"],
        id="TV-075-not-printable",
    ),
    pytest.param("drn", "not_a_session", ["DSR", "ds", "DSX", "", None, ["DS"], True], id="TV-077"),
    pytest.param("nonce", "not_a_session", ["n", None], id="TV-081"),
    pytest.param("cnf", "sender_constrained", [{"jkt": "x"}, None], id="TV-083"),
    pytest.param("jti", "claim_invalid", [5, None], id="jti"),
]


@pytest.mark.parametrize(("name", "expected", "values"), REJECTED)
def test_claims_that_are_rejected(
    name: str, expected: str, values: list[Any], subtests: pytest.Subtests
) -> None:
    """Each bad value of a claim, with the reason."""
    for value in values:
        with subtests.test(value=value):
            assert rejection({name: value}) == expected


def test_refresh_tokens_and_id_tokens_are_no_sessions() -> None:
    """TV-078, TV-081: whatever else they say."""
    assert rejection({"drn": "DSR", "su": True}) == "not_a_session"
    id_token = {"nonce": "n", "aud": PROJECT_ID, "drn": REMOVE}
    assert rejection(id_token) == "not_a_session"


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


def test_every_rule_is_in_the_fingerprint(subtests: pytest.Subtests) -> None:
    """Rules that may judge differently never look the same, equal ones always do."""
    changes: dict[str, Any] = {
        "project_id": "P2other",
        "issuers": frozenset({"x"}),
        "issuer_hosts": frozenset(),
        "audience": frozenset({"a"}),
        "any_audience": True,
        "leeway": 6.0,
        "max_lifetime": 5,
        "require_session_name": True,
    }
    for name, value in changes.items():
        with subtests.test(name):
            assert rules(**{name: value}).fingerprint() != rules().fingerprint()
            assert rules(**{name: value}).fingerprint() == rules(**{name: value}).fingerprint()


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

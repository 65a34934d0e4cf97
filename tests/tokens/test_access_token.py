"""The rules for the claims of access tokens, and the verifier that has them."""

from dataclasses import FrozenInstanceError
from typing import Any, cast

import pytest

from fastapi_stepup import Claims, Evidence
from fastapi_stepup.evidence import Method
from fastapi_stepup.testing import REMOVE
from fastapi_stepup.tokens.access_token import (
    AccessTokenRules,
    access_token_rules,
    read_access_token,
)
from fastapi_stepup.tokens.claims_set import Validity
from fastapi_stepup.tokens.oidc import AccessTokenVerifier
from fastapi_stepup.tokens.rejected import Rejected
from tests.support.token_factory import (
    NOW,
    flipped,
    header,
    jwk,
    key_set,
    make_token,
    private_key,
    reason,
    replaced,
)
from tests.tokens.test_claims_set import REJECTED

pytestmark = pytest.mark.anyio

ISSUER = "https://login.example"
API = "https://api.example"
CLIENT = "web"


def claims(**changes: object) -> dict[str, Any]:
    """Return the claims of a good access token (RFC 9068 section 2.2), some changed."""
    good = {"iss": ISSUER, "aud": [API], "sub": "ann", "client_id": CLIENT, "jti": "1"}
    return replaced({**good, "iat": NOW, "exp": NOW + 6 * 3600}, changes)


def rules(**options: Any) -> AccessTokenRules:
    """Return the rules for the usual options, some changed."""
    usual: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": API,
        "client_id": None,
        "types": ("at+jwt",),
        "require_claims": None,
        "evidence": None,
        "leeway": 5,
        "max_lifetime": None,
    }
    return access_token_rules(**usual | options)


def rejection(changes: dict[str, Any], **options: Any) -> str | None:
    """Return why claims with *changes* are rejected, or `None` if they pass."""
    try:
        rules(**options).check(claims(**changes), now=NOW)
    except Rejected as rejected:
        return rejected.reason.value
    return None


def test_what_makes_a_session_invalid_makes_an_access_token_so(
    subtests: pytest.Subtests,
) -> None:
    """Every hostile row of the session's table that is not about a claim of Descope alone."""
    tried = 0
    for row in REJECTED:
        name, expected, values = cast("tuple[str, str, list[Any]]", row.values)
        if name in {"iss", "drn"}:
            continue
        for value in values:
            with subtests.test(name, value=value):
                assert rejection({name: value}) == expected
            tried += 1
    assert tried > 50


@pytest.mark.parametrize(
    ("member", "values", "expected"),
    [
        (
            "iss",
            [
                f"{ISSUER}/",
                ISSUER.upper(),
                f"{ISSUER}.evil.example",
                f" {ISSUER}",
                "",
                None,
                1,
                True,
                [ISSUER],
                {ISSUER: 1},
                REMOVE,
                "http://login.example",
                "login.example",
            ],
            "issuer",
        ),
        (
            "aud",
            [
                REMOVE,
                None,
                "",
                [],
                "https://api.example/",
                [CLIENT],
                CLIENT,
                {API: 1},
                [API, 1],
                "https://api.example.evil.example",
                API.upper(),
                f"{API} {API}",
            ],
            "audience",
        ),
        ("client_id", [REMOVE], "claim_missing"),
        ("client_id", [None, "", 5, True, ["web"], {"a": 1}], "claim_invalid"),
        ("azp", [None, "", 5, ["web"]], "claim_invalid"),
        ("cid", [None, "", 5, ["web"]], "claim_invalid"),
        ("nonce", ["n", None], "not_a_session"),
        ("at_hash", ["x", None], "not_a_session"),
        ("c_hash", ["x"], "not_a_session"),
        ("s_hash", ["x"], "not_a_session"),
        ("events", [{"http://schemas.openid.net/event/backchannel-logout": {}}], "not_a_session"),
        (
            "typ",
            ["ID", "Refresh", "Offline", "Logout", "id_token", "", None, 1, ["Bearer"], "JWT"],
            "not_a_session",
        ),
        (
            "token_use",
            ["id", "refresh", "", None, True, ["access"], "access "],
            "not_a_session",
        ),
        ("sub", [CLIENT, f"{CLIENT}@clients"], "not_a_session"),
        ("azp", ["ann"], "not_a_session"),
        ("cid", ["ann"], "not_a_session"),
        ("gty", ["client-credentials", ["password", "client-credentials"]], "not_a_session"),
        ("idtyp", ["app"], "not_a_session"),
    ],
)
def test_tokens_of_another_kind(member: str, values: list[Any], expected: str) -> None:
    """Each value of a member, with the reason; the twin without it passes."""
    for value in values:
        assert rejection({member: value}) == expected, value
    assert rejection({}) is None


def test_access_tokens_that_pass(subtests: pytest.Subtests) -> None:
    """In each form that an issuer gives them."""
    forms: dict[str, dict[str, Any]] = {
        "audience as text": {"aud": API},
        "several audiences": {"aud": [API, "https://login.example/userinfo"]},
        "azp": {"client_id": REMOVE, "azp": "web"},
        "cid": {"client_id": REMOVE, "cid": "0oa"},
        "typ of Keycloak": {"typ": "Bearer"},
        "typ of the header": {"typ": "at+jwt"},
        "token_use": {"token_use": "access"},
        "grant with a user": {"gty": "password"},
        "idtyp of a user": {"idtyp": "user"},
        "no jti": {"jti": REMOVE},
        "another client as subject": {"sub": "other@clients"},
        "an address": {"sub": "web@clients.example"},
    }
    for name, changes in forms.items():
        with subtests.test(name):
            assert rejection(changes) is None


@pytest.mark.parametrize(
    ("options", "passes", "fails", "expected"),
    [
        pytest.param(
            {"audience": None, "client_id": "web"},
            [{"aud": REMOVE}, {"aud": "web"}],
            [{}],
            "audience",
            id="client-for-audience",
        ),
        pytest.param(
            {"client_id": ["mobile", "web"]},
            [{}],
            [{"client_id": "other"}, {"client_id": "other", "azp": "web"}],
            "audience",
            id="clients",
        ),
        pytest.param(
            {"require_claims": {"token_use": "access"}},
            [{"client_id": REMOVE, "token_use": "access"}],
            [{"client_id": REMOVE}],
            "not_a_session",
            id="mark-for-client",
        ),
        pytest.param(
            {"client_id": "web", "require_claims": {"jti": None}},
            [{}],
            [{"client_id": REMOVE}],
            "claim_missing",
            id="mark-beside-client",
        ),
        pytest.param(
            {"require_claims": {"sid": None}},
            [{"sid": "s"}],
            [{"sid": REMOVE}, {"sid": None}, {"sid": ""}, {"sid": []}, {"sid": False}],
            "not_a_session",
            id="claim-of-any-value",
        ),
        pytest.param(
            {"require_claims": {"use": ["a", "b"]}},
            [{"use": "a"}, {"use": ["x", "b"]}],
            [{"use": use} for use in (REMOVE, None, "c", "A", ["c"], [["a"]], {"a": 1}, True)],
            "not_a_session",
            id="claim-of-some-values",
        ),
        pytest.param(
            {"max_lifetime": 600},
            [{"exp": NOW + 600}],
            [{"exp": NOW + 601}],
            "lifetime",
            id="max_lifetime",
        ),
    ],
)
def test_options_decide(
    options: dict[str, Any],
    passes: list[dict[str, Any]],
    fails: list[dict[str, Any]],
    expected: str,
    subtests: pytest.Subtests,
) -> None:
    """Each option has an effect: on tokens that differ in that point alone."""
    for changes in passes:
        with subtests.test(changes=changes):
            assert rejection(changes, **options) is None
    for changes in fails:
        with subtests.test(changes=changes):
            assert rejection(changes, **options) == expected


def test_times_are_those_of_a_session() -> None:
    """With the leeway in them."""
    given = claims(iat=NOW, nbf=NOW + 10, exp=NOW + 60)
    assert rules().check(given, now=NOW + 30) == Validity(NOW + 5, NOW + 65)


def test_no_refresh_token_passes() -> None:
    """There is no kind of claims that would make one."""
    with pytest.raises(Rejected, match="not_a_session"):
        rules().check(claims(), now=NOW, refresh=True)


def test_rules_differ_in_their_fingerprint() -> None:
    """Each setting is in it; equal ones give equal text, whatever the order of sets."""
    changes: list[dict[str, Any]] = [
        {"issuer": "x"},
        {"audience": ["x", API]},
        {"client_id": "x"},
        {"require_claims": {"a": None}},
        {"leeway": 6},
        {"max_lifetime": 60},
    ]
    prints = {rules(**change).fingerprint() for change in [{}, *changes]}
    assert len(prints) == 7
    names = [f"a{n}" for n in range(50)]
    one, other = (rules(audience=given).fingerprint() for given in (names, names[::-1]))
    assert one == other
    with pytest.raises(FrozenInstanceError):
        rules().leeway = 60.0  # type: ignore[misc]
    assert rules().issuers == {ISSUER}
    assert [rules().accepts_issuer(name) for name in (ISSUER, f"{ISSUER}/")] == [True, False]


def test_evidence_is_what_the_token_says(subtests: pytest.Subtests) -> None:
    """And nothing else: `iat` is no login, `su` no step-up."""
    sayings: list[tuple[dict[str, Any], Evidence]] = [
        ({}, Evidence()),
        (
            {"auth_time": NOW - 9, "acr": "a", "amr": ["pwd", 1]},
            Evidence(proved_at=NOW - 9, methods=(Method("pwd"),), classes=("a",)),
        ),
        ({"acr": ["a", "b"]}, Evidence(classes=("a", "b"))),
        ({"auth_time": NOW + 5}, Evidence(proved_at=NOW + 5)),
        ({"auth_time": NOW + 6}, Evidence()),
        *(({"auth_time": told}, Evidence()) for told in (None, str(NOW), True, -1)),
        ({"amr": "pwd"}, Evidence()),
        ({"su": True}, Evidence()),
        ({"act": {"sub": "x"}}, Evidence(acting=True)),
    ]
    for said, expected in sayings:
        with subtests.test(said=said):
            evidence = read_access_token(Claims(claims(**said)))
            assert evidence == expected
            assert evidence.stepped_up is None


def verifier(**options: Any) -> AccessTokenVerifier:
    """Return a verifier that stands at `NOW`, with a static key set by default."""
    keys = options.pop("keys", None) or key_set()
    usual: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": API,
        "clock": lambda: float(NOW),
    }
    return AccessTokenVerifier(keys, **usual | options)


HEAD = {"typ": "at+jwt"}


async def test_algorithms_are_those_of_the_key_set() -> None:
    """The engine is that of sessions, and `test_verifier.py` tries each algorithm."""
    keys = key_set(jwk("ES256"), algorithms=("RS256", "ES256"))
    token = make_token(claims(), header("ES256", **HEAD), alg="ES256")

    verified = await verifier(keys=keys).verify(token)

    assert verified == Claims(claims())
    assert not verified.stepped_up
    assert await reason(verifier(keys=keys), flipped(token, 2)) == "signature"


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (
            [
                make_token(claims(), header(typ=typ))
                for typ in (REMOVE, "JWT", "id_token+jwt", "dpop+jwt", "logout+jwt")
            ],
            "type",
        ),
        ([make_token(claims(), header("none", **HEAD), alg="none")], "algorithm"),
        ([make_token(claims(), header(**HEAD), key=private_key(number=1))], "signature"),
        ([make_token(claims(), header(jwk=jwk(), **HEAD))], "header"),
        ([make_token(claims(), header(kid="k9", **HEAD))], "unknown_key"),
        (["SlAV32hkKG", "a.b.c.d.e"], "malformed"),
    ],
)
async def test_forms_that_are_no_access_token(tokens: list[str], expected: str) -> None:
    """The engine is that of sessions: forgeries, other types, opaque and encrypted tokens."""
    for token in tokens:
        assert await reason(verifier(), token) == expected, token


async def test_a_media_type_is_compared_as_such() -> None:
    """RFC 9068 section 4: `application/at+jwt` is the same."""
    for typ in ("application/at+jwt", "AT+JWT"):
        assert await reason(verifier(), make_token(claims(), header(typ=typ))) is None


async def test_function_for_evidence_need_not_read_act() -> None:
    """A token that says that another party acts always counts so."""
    checked = verifier(evidence=lambda _: Evidence(classes=("x",)))

    claimed = await checked.verify(make_token(claims(act={"sub": "admin"}), header(**HEAD)))

    assert claimed.evidence == Evidence(classes=("x",), acting=True)


async def test_a_verified_token_is_cached_and_its_evidence_read_once() -> None:
    """The second request costs a hash, and reads nothing again."""
    read: list[Claims] = []

    def evidence(claims: Claims) -> Evidence:
        read.append(claims)
        return Evidence(classes=("x",))

    checked = verifier(evidence=evidence)
    token = make_token(claims(), header(**HEAD))

    first, second = await checked.verify(token), await checked.verify(token)
    assert first is second
    assert first.evidence is second.evidence == Evidence(classes=("x",))
    assert len(read) == 1
    assert await reason(checked, token, refresh=True) == "not_a_session"

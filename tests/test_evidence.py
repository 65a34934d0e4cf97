"""Evidence of a Descope session: what a policy reads of its claims."""

import copy
import pickle
from typing import Any

import pytest

from fastapi_stepup import Claims
from fastapi_stepup.claims import claims_of
from fastapi_stepup.evidence import (
    Evidence,
    Method,
    access_token_evidence,
    descope_evidence,
)

IAT = 1_700_000_000


def test_evidence_holds_nothing_that_was_not_said() -> None:
    """A token without claims proves nothing."""
    assert descope_evidence({}) == Evidence(stepped_up=False)
    assert Evidence() == Evidence(None, None, (), (), acting=False)


def test_a_session_is_read_in_full() -> None:
    """Step-up, its time, methods, classes and impersonation."""
    said = {"su": True, "iat": IAT, "amr": ["pwd", "mfa", 1], "acr": "a", "act": {"sub": "K1"}}

    assert descope_evidence(said) == Evidence(
        proved_at=IAT,
        stepped_up=True,
        methods=(Method("pwd"), Method("mfa")),
        classes=("a",),
        acting=True,
    )
    assert descope_evidence(said).method_names == ("pwd", "mfa")


def test_a_session_without_step_up_has_no_proof() -> None:
    """Its `iat` is that of the latest refresh."""
    assert descope_evidence({"iat": IAT, "auth_time": IAT}).proved_at is None


def test_a_login_of_a_token_without_a_time_is_of_no_time() -> None:
    """A login cannot be later than its token, so without `iat` nothing bounds it."""
    assert access_token_evidence({"iat": IAT, "auth_time": IAT}).proved_at == IAT
    for unreadable in ("now", 10**400, float("nan")):
        assert access_token_evidence({"iat": unreadable, "auth_time": IAT}).proved_at is None


def test_a_step_up_is_as_old_as_its_token(subtests: pytest.Subtests) -> None:
    """Or as `auth_time`, where that is earlier; a time that cannot be is none."""
    rows: list[tuple[dict[str, Any], float | None]] = [
        ({"iat": IAT}, IAT),
        ({"iat": IAT, "auth_time": IAT - 60}, IAT - 60),
        ({"iat": IAT, "auth_time": IAT + 5}, IAT),
        ({"iat": IAT, "auth_time": IAT + 6}, None),
        ({"iat": IAT, "auth_time": 0}, None),
        ({"iat": IAT, "auth_time": None}, None),
        ({"iat": IAT, "auth_time": str(IAT)}, None),
        ({"iat": IAT, "auth_time": True}, None),
        ({"iat": IAT, "auth_time": float("nan")}, None),
        ({}, None),
        ({"iat": "now"}, None),
        ({"iat": 10**400}, None),
        ({"iat": float("nan")}, None),
    ]
    for times, expected in rows:
        with subtests.test(repr(times)[:60]):
            assert descope_evidence({"su": True, **times}).proved_at == expected


def test_acr_is_one_class_or_several() -> None:
    """What is neither text nor a list says nothing."""
    assert descope_evidence({"acr": "a"}).classes == ("a",)
    assert descope_evidence({"acr": ["a", 1, "b"]}).classes == ("a", "b")
    for other in (5, {"a": 1}):
        assert descope_evidence({"acr": other}).classes == ()


def test_copies_of_another_issuers_claims_read_the_same() -> None:
    """Also where the function that read them cannot be pickled."""
    claims = claims_of({"su": True, "iat": IAT, "acr": "a"}, lambda _: Evidence(classes=("b",)))

    for twin in (copy.copy(claims), copy.deepcopy(claims), pickle.loads(pickle.dumps(claims))):
        assert twin == claims
        assert twin.evidence == Evidence(classes=("b",))
        assert not twin.stepped_up


def test_evidence_that_was_made_from_odd_claims_is_put_right() -> None:
    """For functions that take claims as they are."""
    odd: Any = {
        "proved_at": "now",
        "stepped_up": "true",
        "methods": ["pwd", Method("otp", IAT + 60), Method("sms", IAT - 60), 5],
        "classes": "c1",
        "acting": None,
    }

    assert Evidence(**odd).normalized(IAT) == Evidence(
        stepped_up=False,
        methods=(Method("pwd"), Method("otp"), Method("sms", IAT - 60)),
        classes=("c1",),
        acting=True,
    )
    assert Evidence(proved_at=IAT + 5, stepped_up=None).normalized(IAT) == Evidence(
        proved_at=IAT + 5
    )
    nothing: Any = {"methods": "pwd", "classes": None}
    assert Evidence(**nothing).normalized(IAT) == Evidence()


def test_claims_read_their_evidence_once() -> None:
    """Copies and pickles read the same."""
    claims = Claims({"su": True, "iat": IAT, "amr": ["sms"]})

    assert claims.evidence is claims.evidence
    for twin in (copy.copy(claims), copy.deepcopy(claims), pickle.loads(pickle.dumps(claims))):
        assert twin.evidence == claims.evidence

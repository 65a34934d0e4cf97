"""What a step-up keeps of a session, and what a client is made with."""

import json
from typing import Any

import pytest

from fastapi_stepup import Claims, DescopeClient
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.providers.descope.requests import NOTHING_KEPT, DescopeRequests, KeptClaims

REQUESTS = DescopeRequests("P1", base_url="https://d.example/")


def options_of(kept: KeptClaims) -> Any:
    """Return the login options of a step-up, as they are sent."""
    request = REQUESTS.start_otp_request("email", "ann@example.com", "token", kept=kept)
    return json.loads(json.dumps(request.json))["loginOptions"]


def test_tenant_and_custom_claims_are_kept(subtests: pytest.Subtests) -> None:
    """They go along as login options, as JSON; what is empty or of another shape does not."""
    nothing = {"stepup": True, "customClaims": None, "mfa": False}
    rows: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, nothing),
        (
            {"dct": "T1", "nsec": {"a": [1, {"b": None}]}},
            nothing | {"customClaims": {"a": [1, {"b": None}]}, "tenantId": "T1"},
        ),
        ({"dct": "", "nsec": {}}, nothing),
        ({"dct": 7, "nsec": ["a"]}, nothing),
    ]
    for claims, kept in rows:
        with subtests.test(repr(claims)):
            assert options_of(KeptClaims.of(Claims(claims))) == kept


def test_nothing_is_kept_by_default() -> None:
    """And the text of what is kept shows none of it."""
    assert KeptClaims.of(Claims({})) == NOTHING_KEPT
    assert "T1" not in repr(KeptClaims("T1", {"a": "T1"}))


def test_keys_are_below_the_base_url() -> None:
    """The slash at the end of an option does not double."""
    assert REQUESTS.keys_url == "https://d.example/v2/keys/P1"


def test_a_client_of_an_impossible_host_is_refused() -> None:
    """At construction, not at the first request."""
    for project_id, base_url in (
        ("../x", "https://d.example"),
        ("", "https://d.example"),
        ("P1", "http://d.example"),
        ("P1", "d.example"),
    ):
        with pytest.raises(ConfigurationError):
            DescopeClient(project_id, base_url=base_url)

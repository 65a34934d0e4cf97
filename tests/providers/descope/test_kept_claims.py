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


@pytest.mark.parametrize(
    ("claims", "kept"),
    [
        pytest.param({}, {"stepup": True, "customClaims": None, "mfa": False}, id="nothing"),
        pytest.param(
            {"dct": "T1", "nsec": {"a": [1, {"b": None}]}},
            {
                "stepup": True,
                "customClaims": {"a": [1, {"b": None}]},
                "mfa": False,
                "tenantId": "T1",
            },
            id="both",
        ),
        pytest.param(
            {"dct": "", "nsec": {}},
            {"stepup": True, "customClaims": None, "mfa": False},
            id="empty",
        ),
        pytest.param(
            {"dct": 7, "nsec": ["a"]},
            {"stepup": True, "customClaims": None, "mfa": False},
            id="odd",
        ),
    ],
)
def test_tenant_and_custom_claims_are_kept(claims: dict[str, Any], kept: object) -> None:
    """They go along as login options, as JSON."""
    assert options_of(KeptClaims.of(Claims(claims))) == kept


def test_nothing_is_kept_by_default() -> None:
    """And the text of what is kept shows none of it."""
    assert KeptClaims.of(Claims({})) == NOTHING_KEPT
    assert "T1" not in repr(KeptClaims("T1", {"a": "T1"}))


def test_keys_are_below_the_base_url() -> None:
    """The slash at the end of an option does not double."""
    assert REQUESTS.keys_url == "https://d.example/v2/keys/P1"


@pytest.mark.parametrize(
    "options",
    [
        {"project_id": "../x"},
        {"project_id": ""},
        {"project_id": "P1", "base_url": "http://d.example"},
        {"project_id": "P1", "base_url": "d.example"},
    ],
)
def test_a_client_of_an_impossible_host_is_refused(options: dict[str, str]) -> None:
    """At construction, not at the first request."""
    with pytest.raises(ConfigurationError):
        DescopeClient(**options)  # type: ignore[arg-type]  # each is text

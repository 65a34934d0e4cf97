"""Tenants, and access keys."""

from typing import Any

import pytest

from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.testing.conftest import Caller, Clock, error_of

TENANTS: dict[str, dict[str, object]] = {"T1": {"roles": ["admin"]}, "T2": {}}


def member_of(emulator: DescopeEmulator, *, stepped_up: bool = True) -> Tokens:
    """Return a session of a user in two tenants."""
    emulator.create_user("bob@example.com", tenants=TENANTS)
    begin = emulator.step_up if stepped_up else emulator.sign_in
    return begin("bob@example.com")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["T1", "T2"]),
        ({"dct": False}, ["T1", "T2"]),
        ({"ids": ["T2", "T3"]}, ["T2"]),
        ({"dct": True}, []),
    ],
)
def test_tenants_are_listed(
    caller: Caller, emulator: DescopeEmulator, asked: dict[str, Any], expected: list[str]
) -> None:
    """All of the user's, some, or the selected one, of which there is none yet."""
    bob = member_of(emulator)
    reply = caller.post("me/tenants", asked, token=bob.refresh_token).json()
    assert [tenant["id"] for tenant in reply["tenants"]] == expected


def test_selecting_a_tenant_loses_the_step_up(caller: Caller, emulator: DescopeEmulator) -> None:
    """The session names the tenant from then on, after a refresh too."""
    bob = member_of(emulator)
    reply = caller.post("tenant/select", {"tenant": "T1"}, token=bob.refresh_token).json()
    claims = caller.claims(reply["sessionJwt"])
    assert (claims["dct"], "su" in claims) == ("T1", False)
    refreshed = caller.post("refresh", token=reply["refreshJwt"]).json()
    assert caller.claims(refreshed["sessionJwt"])["dct"] == "T1"
    reply = caller.post("me/tenants", {"dct": True}, token=reply["refreshJwt"]).json()
    assert [tenant["id"] for tenant in reply["tenants"]] == ["T1"]


def test_step_up_may_outlive_the_selection(clock: Clock) -> None:
    """With the option, until it would have ended; a plain session gets none."""
    emulator = DescopeEmulator(clock=clock, select_keeps_step_up=True)
    caller, bob = Caller(emulator), member_of(emulator)
    clock.now += 100
    reply = caller.post("tenant/select", {"tenant": "T1"}, token=bob.refresh_token).json()
    claims = caller.claims(reply["sessionJwt"])
    assert (True, bob.claims["exp"]) == (claims["su"], claims["exp"])
    clock.now += 500
    reply = caller.post("tenant/select", {"tenant": "T2"}, token=bob.refresh_token).json()
    assert "su" not in caller.claims(reply["sessionJwt"])
    plain = emulator.sign_in("bob@example.com")
    reply = caller.post("tenant/select", {"tenant": "T2"}, token=plain.refresh_token).json()
    assert "su" not in caller.claims(reply["sessionJwt"])


def test_tenant_must_be_the_users(caller: Caller, ann: Tokens) -> None:
    """Nobody selects a tenant of others, or without a refresh token."""
    refused = caller.post("tenant/select", {"tenant": "T1"}, token=ann.refresh_token)
    assert error_of(refused) == (400, "E011004")
    assert error_of(caller.post("tenant/select", {"tenant": "T1"})) == (401, "E061005")


def test_access_key_is_exchanged(caller: Caller, emulator: DescopeEmulator, clock: Clock) -> None:
    """A machine gets a session of its own, with what it asks for nested."""
    key = emulator.create_access_key(roles=["job"], permissions=["pay"])
    options = {"customClaims": {"su": True}, "selectedTenant": "T1"}
    reply = caller.post("accesskey/exchange", {"loginOptions": options}, token=key.secret).json()
    assert (key.key_id, clock.now + 600) == (reply["keyId"], reply["expiration"])
    claims = caller.claims(reply["sessionJwt"])
    assert claims == {
        "dct": "T1",
        "drn": "DS",
        "exp": clock.now + 600,
        "iat": clock.now,
        "iss": emulator.project_id,
        "nsec": {"su": True},
        "permissions": ["pay"],
        "roles": ["job"],
        "sub": key.key_id,
    }
    assert key.secret not in repr(key)


def test_access_key_without_roles_has_none(caller: Caller, emulator: DescopeEmulator) -> None:
    """Empty claims are left out."""
    key = emulator.create_access_key()
    claims = caller.claims(caller.post("accesskey/exchange", token=key.secret).json()["sessionJwt"])
    assert claims.keys() == {"drn", "exp", "iat", "iss", "sub"}


@pytest.mark.parametrize("secret", ["", "K2unknown"])
def test_unknown_access_key_is_refused(caller: Caller, secret: str) -> None:
    """No key and another one are the same."""
    assert error_of(caller.post("accesskey/exchange", token=secret)) == (401, "E062803")

"""JWKSCache.static: keys that are given once and never fetched."""

import json
from typing import Any

import pytest

from fastapi_stepup import JWKSCache, StepUpGuard
from fastapi_stepup.errors import ConfigurationError, InvalidToken
from fastapi_stepup.events import (
    KeySkipped,
)
from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.tokens.jwks.state import KeysHealth
from tests.support.jwks_server import (
    PROJECT,
    jwk,
)

pytestmark = pytest.mark.anyio

STATIC = {"keys": [jwk("k1"), jwk("private", 1, d="AQAB"), jwk("enc", 1, use="enc")]}


async def test_static_keys_pass_the_same_policy_and_never_expire(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Usable members serve for good, others are skipped and reported, and nothing is fetched."""
    events: list[object] = []
    keys = JWKSCache.static(STATIC, on_event=events.append)
    await keys.warm_up()
    assert keys.cached("k1") is await keys.key("k1")
    for skipped in ("private", "enc", "unknown"):
        assert keys.cached(skipped) is None
        with pytest.raises(InvalidToken):
            await keys.key(skipped)
    assert keys.health() == KeysHealth("fresh", None, 1, 0, 0.0, None)
    assert events == [KeySkipped("private_members", alarming=True), KeySkipped("use")]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert keys.generation > 0
    snapshot = keys._state.snapshot
    assert snapshot is not None
    with pytest.raises(TypeError):
        snapshot.keys["k2"] = snapshot.keys["k1"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("jwks", "word"),
    [
        pytest.param({}, "not_a_key_set", id="no-keys"),
        pytest.param({"keys": {}}, "not_a_key_set", id="object"),
        pytest.param(json.dumps(STATIC), "not_a_key_set", id="text"),
        pytest.param([jwk("k1")], "not_a_key_set", id="list"),
        pytest.param(None, "not_a_key_set", id="none"),
        pytest.param({"keys": []}, "no_usable_key", id="empty"),
        pytest.param({"keys": STATIC["keys"][1:]}, "no_usable_key", id="none-usable"),
        pytest.param({"keys": [jwk("k1")] * 65}, "too_many_keys", id="many"),
    ],
)
def test_a_static_set_without_a_usable_key_is_refused(jwks: Any, word: str) -> None:
    """A guard that could verify nothing fails at construction, and says why."""
    with pytest.raises(ConfigurationError, match=word):
        JWKSCache.static(jwks)


async def test_static_keys_work_offline_and_the_emulator_may_stand_in() -> None:
    """Nothing is ever fetched, except while an emulator is attached to the guard."""
    own, emulated = DescopeEmulator(PROJECT), DescopeEmulator(PROJECT)
    keys = {"keys": [own.signing_key.jwk]}
    guard = StepUpGuard.for_descope(PROJECT, static_keys=keys, transport=own.transport)
    async with guard:
        await guard.verify(own.sign_in("ann@example.com").session_token)
        with pytest.raises(InvalidToken):
            await guard.verify(emulated.sign_in("ann@example.com").session_token)
        with emulated.attach(guard):
            await guard.verify(emulated.sign_in("ann@example.com").session_token)
        assert guard.health().ok
    assert (len(own.requests), len(emulated.requests)) == (0, 1)

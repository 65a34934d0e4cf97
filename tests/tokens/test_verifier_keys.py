"""TokenVerifier and its keys: what costs a fetch, what does not, and what no keys mean."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from fastapi_stepup import StepUpGuard
from fastapi_stepup.errors import KeysUnavailable, RejectReason
from fastapi_stepup.events import Event, TokenRejected
from fastapi_stepup.testing import REMOVE, DescopeEmulator
from tests.support.token_factory import NOW, PROJECT_ID, assert_without, reason


@pytest.fixture
def descope() -> Iterator[tuple[DescopeEmulator, StepUpGuard, list[Event]]]:
    """Return a fresh emulator and a guard attached to it, with the guard's events."""
    events: list[Event] = []
    guard = StepUpGuard.for_descope(PROJECT_ID, on_event=events.append)
    with DescopeEmulator(project_id=PROJECT_ID).attach(guard) as emulator:
        yield emulator, guard, events


@pytest.mark.parametrize(
    "parts",
    [
        *(
            pytest.param({"header": {"kid": kid}}, id=f"TV-017-{name}")
            for name, kid in (
                ("missing", REMOVE),
                ("null", None),
                ("empty", ""),
                ("number", 1),
                ("list", ["k"]),
                ("dict", {"k": 1}),
            )
        ),
        *(
            pytest.param({"header": {"kid": kid}}, id=f"TV-018-{name}")
            for name, kid in (
                ("257", "k" * 257),
                ("control", "k\n"),
                ("surrogate", "\ud800"),
                ("non-ascii", "ké"),
            )
        ),
        pytest.param({"header": {"kid": "new", "jku": "https://evil.example/jwks"}}, id="TV-022"),
        pytest.param({"header": {"kid": "new", "x5u": "https://evil.example/crt"}}, id="TV-023"),
        pytest.param({"header": {"kid": "new", "alg": "none"}}, id="JW-035-alg"),
        pytest.param({"header": {"kid": "new"}, "iss": "P2other"}, id="JW-035-iss"),
        pytest.param({"header": {"kid": "new"}, "exp": NOW - 60, "iat": NOW - 99}, id="JW-035-exp"),
        pytest.param({"header": {"kid": "new"}, "drn": "DSR"}, id="JW-035-drn"),
    ],
)
def test_what_cannot_be_genuine_costs_no_fetch(
    descope: tuple[DescopeEmulator, StepUpGuard, list[Event]], parts: dict[str, Any]
) -> None:
    """Not even the first one, on a cold start."""
    emulator, guard, _ = descope

    assert asyncio.run(reason(guard.verifier, emulator.token(**parts))) is not None
    assert emulator.requests == []


def test_an_unknown_key_is_looked_for_once(
    descope: tuple[DescopeEmulator, StepUpGuard, list[Event]],
) -> None:
    """A key published since is found, one that never was is rejected as such."""
    emulator, guard, events = descope

    async def story() -> None:
        assert await reason(guard.verifier, emulator.token()) is None
        emulator.rotate_keys()
        assert await reason(guard.verifier, emulator.token()) is None
        for kid in ("../../dev/null", "x|sleep", "${jndi:ldap://x}"):
            assert (
                await reason(guard.verifier, emulator.token(header={"kid": kid})) == "unknown_key"
            )

    asyncio.run(story())
    assert {r.path for r in emulator.requests} == {f"/v2/keys/{PROJECT_ID}"}
    assert [e for e in events if isinstance(e, TokenRejected)] == [
        TokenRejected(RejectReason.UNKNOWN_KEY)
    ] * 3


def test_without_keys_nothing_is_said_about_a_token(
    descope: tuple[DescopeEmulator, StepUpGuard, list[Event]],
) -> None:
    """503, without a rejection and without the token in any frame of the error."""
    emulator, guard, events = descope
    emulator.fail(404, times=99)
    token = emulator.token()

    with pytest.raises(KeysUnavailable) as caught:
        asyncio.run(guard.verify(token))

    assert not [e for e in events if isinstance(e, TokenRejected)]
    assert_without(token, caught.value)

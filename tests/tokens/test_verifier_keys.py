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


HOPELESS: dict[str, dict[str, Any]] = {
    **{
        f"TV-017 {kid!r}": {"header": {"kid": kid}}
        for kid in (REMOVE, None, "", 1, ["k"], {"k": 1})
    },
    **{
        f"TV-018 {kid[:3]!r}": {"header": {"kid": kid}}
        for kid in ("k" * 257, "k\n", "\ud800", "ké")
    },
    "TV-022": {"header": {"kid": "new", "jku": "https://evil.example/jwks"}},
    "TV-023": {"header": {"kid": "new", "x5u": "https://evil.example/crt"}},
    "crit": {"header": {"kid": "new", "crit": ["exp"]}},
    "JW-035 none": {"header": {"kid": "new", "alg": "none"}},
    "JW-035 alg": {"header": {"kid": "new", "alg": "HS256"}},
    "JW-035 iss": {"header": {"kid": "new"}, "iss": "P2other"},
    "JW-035 exp": {"header": {"kid": "new"}, "exp": NOW - 60, "iat": NOW - 99},
    "JW-035 sub": {"header": {"kid": "new"}, "sub": ""},
    "JW-035 drn": {"header": {"kid": "new"}, "drn": "DSR"},
}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_what_cannot_be_genuine_costs_no_fetch(
    descope: tuple[DescopeEmulator, StepUpGuard, list[Event]],
    subtests: pytest.Subtests,
    *,
    warm: bool,
) -> None:
    """Not even the first one, on a cold start; nor one for a key that is not known."""
    emulator, guard, _ = descope
    if warm:
        assert asyncio.run(reason(guard.verifier, emulator.token())) is None

    for name, parts in HOPELESS.items():
        with subtests.test(name):
            assert asyncio.run(reason(guard.verifier, emulator.token(**parts))) is not None
            assert len(emulator.requests) == warm


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

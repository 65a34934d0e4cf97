"""The guard's parts: which set is in use, and what a swap leaves alone."""

from collections.abc import Callable

import anyio
import httpx
import pytest
from starlette.requests import Request

from fastapi_stepup import StepUpGuard
from fastapi_stepup.errors import ConfigurationError, InvalidToken, KeysUnavailable
from fastapi_stepup.testing import DescopeEmulator

ANN = "ann@example.com"
PROJECT = "P2abcdefghijklmnopqrstuvwxyz"


async def accepts(guard: StepUpGuard, token: str) -> bool:
    """Return whether *guard* accepts *token* now."""
    try:
        await guard.verify(token)
    except (InvalidToken, KeysUnavailable):
        return False
    return True


@pytest.mark.anyio
async def test_nested_swaps_end_one_by_one(descope: DescopeEmulator) -> None:
    """The innermost counts; no side knows a key or a token of another, before or after."""
    unreachable = httpx.MockTransport(lambda _: httpx.Response(500))
    guard = StepUpGuard.for_descope(PROJECT, transport=unreachable)
    other = DescopeEmulator(PROJECT)
    token, other_token = descope.step_up(ANN).session_token, other.step_up(ANN).session_token

    async def accepted() -> tuple[bool, bool]:
        return await accepts(guard, token), await accepts(guard, other_token)

    with descope.attach(guard):
        assert await accepted() == (True, False)
        with other.attach(guard):
            assert await accepted() == (False, True)
        assert await accepted() == (True, False)
    assert await accepted() == (False, False)


@pytest.mark.anyio
@pytest.mark.parametrize("first_ends_first", [True, False])
async def test_overlapping_swaps_end_in_any_order(
    descope: DescopeEmulator, *, first_ends_first: bool
) -> None:
    """The latest one that is open counts."""
    guard = StepUpGuard.for_descope(PROJECT)
    before = guard.verifier
    other = DescopeEmulator(PROJECT)
    token = descope.step_up(ANN).session_token
    first, second = descope.attach(guard), other.attach(guard)

    first.__enter__()
    second.__enter__()
    assert not await accepts(guard, token)
    (first if first_ends_first else second).__exit__(None, None, None)
    assert await accepts(guard, token) is not first_ends_first
    (second if first_ends_first else first).__exit__(None, None, None)

    assert guard.verifier is before


def test_the_same_emulator_may_be_attached_twice(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Each block ends its own swap, and no other one."""
    outer = guard.verifier
    with descope.attach(guard):
        inner = guard.verifier
        with descope.attach(guard):
            assert guard.verifier not in {outer, inner}
        assert guard.verifier is inner
    assert guard.verifier is outer


@pytest.mark.anyio
async def test_swap_ends_when_the_block_fails(guard: StepUpGuard) -> None:
    """An exception inside leaves the guard as it was before."""
    before = guard.verifier, guard.keys, guard.descope

    with pytest.raises(ZeroDivisionError), DescopeEmulator(PROJECT).attach(guard):
        raise ZeroDivisionError

    assert (guard.verifier, guard.keys, guard.descope) == before


@pytest.mark.anyio
async def test_call_under_way_keeps_its_parts(descope: DescopeEmulator) -> None:
    """A request that waits for keys from one side is not judged by those of another."""
    asked, answer = anyio.Event(), anyio.Event()
    accepted: list[bool] = []

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.set()
            await answer.wait()
            response: httpx.Response = await descope.transport.handle_async_request(request)
            return response

    guard = StepUpGuard.for_descope(PROJECT, transport=Slow())
    token = descope.step_up(ANN).session_token

    async def verify() -> None:
        accepted.append(await accepts(guard, token))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(verify)
        await asked.wait()
        with DescopeEmulator(PROJECT).attach(guard):
            answer.set()
            await anyio.sleep(0.05)
            assert not await accepts(guard, token)

    assert accepted == [True]


@pytest.mark.anyio
async def test_claims_of_a_request_are_not_taken_over_a_swap(descope: DescopeEmulator) -> None:
    """A request that one side let in is verified again by the other."""
    guard = StepUpGuard.for_descope(PROJECT)
    fields = [(b"authorization", f"Bearer {descope.sign_in(ANN).session_token}".encode())]
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": fields})
    with descope.attach(guard):
        await guard.authorize(request)

    with DescopeEmulator(PROJECT).attach(guard), pytest.raises(InvalidToken):
        await guard.authorize(request)


@pytest.mark.anyio
async def test_static_keys_come_back_after_a_swap(descope: DescopeEmulator) -> None:
    """An emulator's tokens pass while it is attached, although the guard never fetches keys."""
    own = DescopeEmulator(PROJECT)
    async with httpx.AsyncClient(transport=own.transport) as client:
        reply = await client.get(f"https://api.descope.com/v2/keys/{PROJECT}")
    guard = StepUpGuard.for_descope(PROJECT, static_keys=reply.json())
    token, own_token = descope.sign_in(ANN).session_token, own.sign_in(ANN).session_token

    assert not await accepts(guard, token)
    with descope.attach(guard):
        assert (await accepts(guard, token), await accepts(guard, own_token)) == (True, False)
    assert (await accepts(guard, token), await accepts(guard, own_token)) == (False, True)


@pytest.mark.parametrize("many", [iter, list], ids=["iterator", "list"])
def test_swapped_parts_have_the_same_settings(
    many: Callable[[list[str]], list[str]], descope: DescopeEmulator
) -> None:
    """Options that were given as iterators hold for the second set too."""
    guard = StepUpGuard.for_descope(
        PROJECT, issuers=many(["https://id.example"]), audience=many(["shop"]), leeway=7
    )
    before = guard.verifier
    with descope.attach(guard):
        assert guard.verifier is not before
        assert guard.verifier.leeway == 7
        assert guard.verifier.issuers == {PROJECT, "https://id.example"}
        assert guard.verifier.audience == frozenset({"shop"})


def test_guard_from_ready_parts_says_what_a_swap_needs(descope: DescopeEmulator) -> None:
    """Parts cannot be made again unless something says how."""
    made = StepUpGuard.for_descope(PROJECT)
    guard = StepUpGuard(verifier=made.verifier, descope=made.descope, credentials=made.credentials)

    with pytest.raises(ConfigurationError, match="parts_on"), descope.attach(guard):
        raise AssertionError
    assert guard.verifier is made.verifier

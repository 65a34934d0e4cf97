"""The emulator: what one more sign-in of a user costs within one second."""

from itertools import count

from benchmarks.measuring import Contender, Effort, Figure, at_most, compared, race
from fastapi_stepup.testing import DescopeEmulator

_SIGN_INS = 100


async def figures(effort: Effort) -> list[Figure]:
    """Return what a user's hundredth sign-in of one second takes, next to a new user's first."""
    numbers = count()
    emulator = DescopeEmulator(clock=lambda: 1_900_000_000)
    often = "often@example.com"
    known: list[str] = []

    def started() -> None:
        emulator.reset()
        emulator.sign_in("warm-up@example.com")

    def with_earlier_ones() -> None:
        started()
        for _ in range(_SIGN_INS - 1):
            emulator.sign_in(often)

    def with_new_users() -> None:
        started()
        known[:] = [f"user{next(numbers)}@example.com" for _ in range(4)]
        for login_id in known:
            emulator.create_user(login_id)

    async def hundredth() -> None:
        for _ in range(4):
            emulator.sign_in(often)

    async def first() -> None:
        for login_id in known:
            emulator.sign_in(login_id)

    many, one = await race(
        [
            Contender(turn=hundredth, calls=4, prepare=with_earlier_ones),
            Contender(turn=first, calls=4, prepare=with_new_users),
        ],
        rounds=min(effort.rounds, 16),
    )
    name = "emulator: a user's 100th sign-in of one second / a new user's first"
    return [compared(name, many, one, target=at_most(1.5))]

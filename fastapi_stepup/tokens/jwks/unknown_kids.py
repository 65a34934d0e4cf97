"""UnknownKids: what tokens that name no known key may cost."""

from typing import Final

from cachetools import TTLCache

from fastapi_stepup.tokens.jwks.state import KeySetState

BURST: Final = 2
COOLDOWN: Final = 30.0
MAX_REMEMBERED: Final = 256
REMEMBERED_FOR: Final = 60.0


class UnknownKids:
    """A budget of forced fetches, and a memory of kids that a fetch has not found.

    - Two forced fetches at once, then one per *cooldown*.
    - A kid is remembered for a minute, or until the keys change; 256 kids at most.

    Args:
        state: The key set that lacks them; its lock guards the budget and the memory.
        cooldown: Seconds until one more fetch may be forced.
    """

    def __init__(self, state: KeySetState, cooldown: float) -> None:
        self._state = state
        self._cooldown = cooldown
        self._tokens = float(BURST)
        self._counted_at = state.monotonic()
        self._missing = self._empty()

    def _empty(self) -> TTLCache[str, int]:
        """Return a memory of kid -> the generation that lacks it: a later one may hold it."""
        return TTLCache(MAX_REMEMBERED, REMEMBERED_FOR, timer=self._state.monotonic)

    def restart_in_child(self) -> None:
        """Forget the kids: a thread may have been at the memory when the process forked."""
        self._missing = self._empty()

    def __len__(self) -> int:
        return len(self._missing)

    def is_remembered(self, kid: str) -> bool:
        """Return whether the set in force is known to lack *kid*."""
        with self._state.lock:
            return self._missing.get(kid) == self._state.generation

    def remember(self, kid: str) -> None:
        """Note that the set in force lacks *kid*."""
        with self._state.lock:
            self._missing[kid] = self._state.generation

    def take_fetch(self) -> bool:
        """Take one forced fetch from the budget, and return whether there was one."""
        with self._state.lock:
            now = self._state.monotonic()
            refilled = self._tokens + (now - self._counted_at) / self._cooldown
            self._tokens, self._counted_at = min(float(BURST), refilled), now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

"""KeyAge: how old the key set is and what state it is in, from the events about it."""

import math
from collections.abc import Callable
from typing import Final

from fastapi_stepup.events import FetchSucceeded, HardExpired, StaleServed

FRESH: Final = 1
STALE: Final = 2
EXPIRED: Final = 3

KeyEvent = FetchSucceeded | StaleServed | HardExpired


class KeyAge:
    """Remembers the last event about the age of a key set, and lets the age grow from there.

    A hook that serves several guards has the values of the guard that reported last.

    Args:
        monotonic: Gives seconds that never go back.

    Attributes:
        state: 0 before the first fetch, then 1 fresh, 2 stale, 3 expired.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.state: int = 0
        self._monotonic = monotonic
        self._fetched: float | None = None

    def note(self, event: KeyEvent) -> float:
        """Take in an event, and return the age that it tells of, in seconds."""
        age = 0.0 if isinstance(event, FetchSucceeded) else event.age
        self._fetched = self._monotonic() - age
        if isinstance(event, FetchSucceeded):
            self.state = FRESH
        else:
            self.state = STALE if isinstance(event, StaleServed) else EXPIRED
        return age

    def age(self) -> float:
        """Return the age in seconds; NaN before the first fetch."""
        return math.nan if self._fetched is None else self._monotonic() - self._fetched

"""PurposeLabels: the purposes of one-time step-ups as labels of bounded number."""

from typing import Final

MOST: Final = 100
OTHER: Final = "other"


class PurposeLabels:
    """Gives the label of each purpose: its name, for the first hundred.

    Purposes of routes are declared, so they are few. `guard.once` takes any name, and one that is
    made of a request would be a series each.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()

    def of(self, purpose: str) -> str:
        """Return *purpose*, or `other` where there are too many."""
        if purpose not in self._known:
            if len(self._known) >= MOST:
                return OTHER
            self._known.add(purpose)
        return purpose

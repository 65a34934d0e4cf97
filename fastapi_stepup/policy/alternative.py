"""Alternative: one way to meet a policy, as requirements that must all hold."""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

from fastapi_stepup.evidence import Evidence

Requirement = Literal["step_up", "amr", "acr"]
Reason = Literal["missing", "expired", "used"]
Clause = tuple[str, ...]

_SKEW: Final = 65  # Seconds: the largest leeway, and what an issuer's own clocks may differ by.


@dataclass(frozen=True, slots=True)
class Unmet:
    """One requirement that the claims do not meet.

    Args:
        requirement: `"step_up"`, `"amr"` or `"acr"`.
        reason: `"missing"`; `"expired"` when a step-up is there but too old; `"used"` when it was
            good for one use and had that.
    """

    requirement: Requirement
    reason: Reason


@dataclass(frozen=True, slots=True)
class Alternative:
    """Requirements that must all hold: a step-up, its age, and one value of each clause.

    Attributes:
        max_age: Longest age of the step-up in seconds, or `None`.
        amr: Clauses of authentication methods; one value of each must have been used.
        acr: Clauses of authentication context classes; one value of each must be reached.
    """

    max_age: int | None
    amr: tuple[Clause, ...]
    acr: tuple[Clause, ...]

    def assess(self, facts: "Facts") -> tuple[Unmet, ...]:
        """Return everything that *facts* leave unmet."""
        marked, age, methods, classes = facts
        unmet = _MET
        if marked is None:  # This issuer marks no step-up: something else is asked instead.
            marked = self.max_age is not None or bool(self.amr) or bool(self.acr)
        if not marked:
            unmet = _NO_STEP_UP
        elif self.max_age is not None:
            if age is None:
                unmet = _NO_STEP_UP
            elif age > self.max_age:
                unmet = _TOO_OLD
        for clause in self.amr:
            if methods.isdisjoint(clause):
                unmet += _NO_METHOD
                break
        for clause in self.acr:
            if classes.isdisjoint(clause):
                unmet += _NO_CLASS
                break
        return unmet

    @property
    def asks_nothing(self) -> bool:
        """True if any step-up meets it: it names no age, no method and no class."""
        return self.max_age is None and not self.amr and not self.acr

    def met_until(self, evidence: Evidence) -> float:
        """Return when *evidence* that meets it now is too old for it, in epoch seconds."""
        proved = evidence.proved_at
        return math.inf if self.max_age is None or proved is None else proved + self.max_age

    def within(self, max_age: int | None) -> "Alternative":
        """Return the same, but for a step-up that is no older than *max_age*."""
        return self if max_age is None else self & Alternative(max_age, (), ())

    def __and__(self, other: "Alternative") -> "Alternative":
        """Return the alternative that asks for all of both."""
        ages = [age for age in (self.max_age, other.max_age) if age is not None]
        return Alternative(
            min(ages, default=None),
            _simplified(self.amr + other.amr),
            _simplified(self.acr + other.acr),
        )

    def implies(self, other: "Alternative") -> bool:
        """Return whether evidence that meets this one always meets *other*."""
        recent = other.max_age is None or (
            self.max_age is not None and self.max_age <= other.max_age
        )
        return (
            recent and _clauses_imply(self.amr, other.amr) and _clauses_imply(self.acr, other.acr)
        )

    @property
    def meaning(self) -> object:
        """The same for alternatives that ask for the same, in whatever order."""
        amr, acr = (frozenset(map(frozenset, clauses)) for clauses in (self.amr, self.acr))
        return self.max_age, amr, acr

    def __str__(self) -> str:
        several = len(self.amr) + len(self.acr) > 1
        parts = [
            f"({' or '.join(clause)})" if several and len(clause) > 1 else " or ".join(clause)
            for clause in self.amr + self.acr
        ]
        age = "" if self.max_age is None else f" ≤{_in_short(self.max_age)}"
        return (" + ".join(parts) or "step-up") + age

    def members(self) -> dict[str, Any]:
        """Return what it asks for as JSON; clauses are nested where there are several."""
        members: dict[str, Any] = {}
        if self.max_age is not None:
            members["max_age"] = self.max_age
        for name, clauses in (("amr", self.amr), ("acr_values", self.acr)):
            if clauses:
                listed = [list(clause) for clause in clauses]
                members[name] = listed if len(listed) > 1 else listed[0]
        return members


_MET: Final[tuple[Unmet, ...]] = ()
_NO_STEP_UP: Final = (Unmet("step_up", "missing"),)
_TOO_OLD: Final = (Unmet("step_up", "expired"),)
_NO_METHOD: Final = (Unmet("amr", "missing"),)
_NO_CLASS: Final = (Unmet("acr", "missing"),)

# What alternatives read of evidence: whether it is marked as stepped up, the age of the proof, the
# methods and the classes. A tuple, since most requests make one.
Facts = tuple[bool | None, float | None, frozenset[str], frozenset[str]]


def facts_of(evidence: Evidence, now: float) -> Facts:
    """Return what alternatives read of *evidence* at *now* (epoch seconds).

    The age is `None` where it is unknown, and where the proof lies in the future.
    """
    proved = evidence.proved_at
    age = None if proved is None else math.floor(now) - proved
    if age is not None and age < -_SKEW:
        age = None
    marked = False if evidence.acting else evidence.stepped_up
    return marked, age, frozenset(evidence.method_names), frozenset(evidence.classes)


def unmet_clauses(clauses: tuple[Clause, ...], values: tuple[str, ...]) -> list[Clause]:
    """Return the clauses of which *values* have nothing."""
    return [clause for clause in clauses if set(clause).isdisjoint(values)]


def _simplified(clauses: tuple[Clause, ...]) -> tuple[Clause, ...]:
    """Return the clauses without those that another one implies, each once."""
    kept: list[Clause] = []
    for clause in clauses:
        if any(set(other) <= set(clause) for other in kept):
            continue
        kept = [other for other in kept if not set(clause) <= set(other)]
        kept.append(clause)
    return tuple(kept)


def _clauses_imply(clauses: tuple[Clause, ...], others: tuple[Clause, ...]) -> bool:
    return all(any(set(clause) <= set(other) for clause in clauses) for other in others)


def _in_short(seconds: int) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"

"""Ratios on machines that cannot sit still.

Absolute times say more about the machine and its other tenants than about code: on a shared machine
with two cores the same loop takes half as long again a minute later. So each figure is a ratio of
contenders that take turns in one process, some milliseconds each, each round starting with another
one. The ratio is taken within each round, where both sides met the same weather, and the figure is
the median over the rounds; the quartiles are printed next to it. Turns are no shorter because each
one starts with the processor's caches full of what the others did.

What only computes is measured in the CPU time of its thread, which stops while another process has
the core; what involves a server or a disk, in real time.

Plain clocks do that. `pyperf` and `pytest-benchmark` run one benchmark to its end and then the
next, in worker processes or one after the other, so that their ratios compare two moments. The
garbage collector stays on, since it runs in production too.
"""

import math
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import thread_time_ns
from typing import Any, Final, Literal

MILLISECOND: Final = 1e-3
MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much of everything is done.

    Args:
        name: What the report calls it.
        rounds: Turns that each contender of a race in process gets.
        tokens: Distinct tokens made for the races.
        batch: Tokens, or requests, in one turn.
        load_rounds: Turns that each route gets over loopback, each of *load_seconds*.
        load_seconds: Seconds of load in one turn.
        flood_seconds: Seconds of flood in all, at 1,000 tokens each.
        outage_seconds: Seconds for which the key endpoint is down.
        cached_tokens: Tokens that the token cache is filled with.
        imports: Processes started to time the import.
        million: What stands for a million bad tokens; 0 skips that.
    """

    name: str
    rounds: int
    tokens: int
    batch: int
    load_rounds: int
    load_seconds: float
    flood_seconds: float
    outage_seconds: float
    cached_tokens: int
    imports: int
    million: int = 0


FULL: Final = Effort(
    name="full",
    rounds=60,
    tokens=2000,
    batch=100,
    load_rounds=36,
    load_seconds=0.2,
    flood_seconds=8,
    outage_seconds=3,
    cached_tokens=10_000,
    imports=12,
)
QUICK: Final = Effort(
    name="quick",
    rounds=16,
    tokens=400,
    batch=50,
    load_rounds=5,
    load_seconds=0.2,
    flood_seconds=1,
    outage_seconds=0.5,
    cached_tokens=4500,
    imports=3,
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a figure has to be: `relation` to `bound`."""

    relation: Literal["<=", "<", ">="]
    bound: float

    def is_met_by(self, value: float) -> bool:
        """Whether *value* is good enough."""
        if self.relation == ">=":
            return value >= self.bound
        return value < self.bound or (self.relation == "<=" and value == self.bound)

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:g}"


def at_most(bound: float) -> Target:
    """Return the target of what must not be larger than *bound*."""
    return Target(relation="<=", bound=bound)


def below(bound: float) -> Target:
    """Return the target of what must be smaller than *bound*."""
    return Target(relation="<", bound=bound)


def at_least(bound: float) -> Target:
    """Return the target of what must not be smaller than *bound*."""
    return Target(relation=">=", bound=bound)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the report.

    Args:
        name: What was measured, as `this / that` where it is a ratio.
        value: The median, or `None` when it could not be measured.
        low: The lower quartile.
        high: The upper quartile.
        unit: What *value* counts; `x` for a ratio.
        target: What it must be; `None` when it is only told.
        note: The circumstances, or why it was skipped.
    """

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = "x"
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> Literal["met", "missed", "told", "skipped"]:
        """Whether the target is met."""
        if self.value is None:
            return "skipped"
        if self.target is None:
            return "told"
        return "met" if self.target.is_met_by(self.value) else "missed"

    def as_json(self) -> dict[str, Any]:
        """Return this figure as it is in the JSON file."""
        return {
            "name": self.name,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "target": None if self.target is None else str(self.target),
            "verdict": self.verdict,
            "note": self.note,
        }


def skipped(name: str, why: str) -> Figure:
    """Return the figure of what cannot be measured here."""
    return Figure(name=name, note=why)


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One side of a race.

    Args:
        turn: Does the work of one turn.
        calls: How many calls that are; times are for one of them.
        prepare: Called before each turn, not timed.
    """

    turn: Callable[[], Awaitable[None]]
    calls: int
    prepare: Callable[[], None] = lambda: None


async def race(contenders: Sequence[Contender], *, rounds: int) -> list[list[float]]:
    """Return seconds of CPU time for one call, by contender and round.

    Each round begins with the next contender. Round 0 is a warm-up and not told.
    """
    times: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        for offset in range(len(contenders)):
            place = (number + offset) % len(contenders)
            contender = contenders[place]
            contender.prepare()
            started = thread_time_ns()
            await contender.turn()
            elapsed = thread_time_ns() - started
            if number:
                times[place].append(elapsed / 1e9 / contender.calls)
    return times


def compared(
    name: str,
    these: Sequence[float],
    those: Sequence[float],
    *,
    target: Target | None = None,
    note: str = "",
) -> Figure:
    """Return the ratio of two contenders' times, round by round."""
    ratios = [this / that for this, that in zip(these, those, strict=True)]
    low, median, high = quartiles(ratios)
    times = f"{_time(statistics.median(these))} / {_time(statistics.median(those))}"
    return Figure(
        name=name,
        value=median,
        low=low,
        high=high,
        target=target,
        note=f"{times}{', ' if note else ''}{note}",
    )


def compared_additions(
    name: str,
    these: tuple[Sequence[float], Sequence[float]],
    those: tuple[Sequence[float], Sequence[float]],
    *,
    target: Target | None = None,
    note: str = "",
) -> Figure:
    """Return the ratio of what two contenders take more than their bases, round by round.

    Args:
        name: What is compared.
        these: The times of one, and of what it is based on.
        those: The times of the other, and of what that is based on.
        target: What the ratio must be.
        note: The circumstances.
    """
    one, other = ([a - b for a, b in zip(*side, strict=True)] for side in (these, those))
    return compared(name, one, other, target=target, note=note)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return lower quartile, median and upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that *share* (0 to 1) of *values* do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs" if seconds < MILLISECOND else f"{seconds * 1e3:.2f} ms"

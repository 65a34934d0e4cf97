"""Rules of the middleware: what many of them cost a request, and what long paths do."""

from collections.abc import Iterator
from itertools import count

from benchmarks.measuring import Contender, Effort, Figure, at_most, compared, quartiles, race
from fastapi_stepup import StepUpPolicy, StepUpRule
from fastapi_stepup.web.rule_table import RuleTable

_MICROSECOND = 1e-6
_numbers = count()


def _table(size: int) -> RuleTable:
    """Return *size* rules as an API has them: templates, exact paths and prefixes."""
    paths = (
        f"/api/v1/things{n}/{{id}}" if n % 3 == 0 else f"/area{n}/*" if n % 3 == 1 else f"/page{n}"
        for n in range(size)
    )
    return RuleTable(tuple(StepUpRule(path, StepUpPolicy()) for path in paths), "public")


def _decides(table: RuleTable, paths: Iterator[str], size: int) -> Contender:
    async def turn() -> None:
        for _ in range(size):
            table.decide(next(paths), "GET")

    return Contender(turn=turn, calls=size)


def _new_paths(template: str) -> Iterator[str]:
    """Yield paths that no memory of decisions knows."""
    return (template.format(n) for n in _numbers)


def _one_path(path: str) -> Iterator[str]:
    while True:
        yield path


def _in_turn(number: int) -> Iterator[str]:
    while True:
        for n in range(number):
            yield f"/shop/shirts/{n}"


async def figures(effort: Effort) -> list[Figure]:
    """Return how a decision grows with the rules, with the path and with the paths in use."""
    few, many, most, one = (_table(size) for size in (10, 100, 1000, 1))
    paths = ("/shop/shirts/{0}", "/api/v1/things3/{0}", "/api/v1/nothing/{0}")
    size = 4 * effort.batch
    sides = await race(
        [_decides(table, _new_paths(path), size) for path in paths for table in (few, many, most)],
        rounds=effort.rounds,
    )
    figures = []
    for number, path in enumerate(paths):
        at_10, at_100, at_1000 = sides[3 * number : 3 * number + 3]
        figures += [
            compared(f"new path {path}: 100 rules / 10 rules", at_100, at_10),
            compared(f"new path {path}: 1,000 rules / 10 rules", at_1000, at_10, target=at_most(3)),
        ]
    long, longest = "/" + 20_000 * "%2e", "/" + 682 * "%2e"
    with_1, with_100, allowed_1, allowed_100 = await race(
        [
            _decides(table, _one_path(path), effort.batch)
            for path in (long, longest)
            for table in (one, many)
        ],
        rounds=effort.rounds,
    )
    low, median, high = (value / _MICROSECOND for value in quartiles(with_100))
    figures += [
        compared("path of 60 kB: 100 rules / 1 rule", with_100, with_1, target=at_most(1.2)),
        Figure(
            name="path of 60 kB, 100 rules",
            value=median,
            low=low,
            high=high,
            unit="µs",
            target=at_most(100),
        ),
        compared("worst path of 2 kB: 100 rules / 1 rule", allowed_100, allowed_1),
    ]
    new, *turns = await race(
        [
            _decides(many, _new_paths("/shop/shirts/x{0}"), size),
            *(_decides(many, _in_turn(number), size) for number in (100, 1000, 5000)),
        ],
        rounds=effort.rounds,
    )
    for used, times in zip(("100", "1,000", "5,000"), turns, strict=True):
        figures.append(compared(f"{used} paths in turn / new paths", times, new))
    return figures

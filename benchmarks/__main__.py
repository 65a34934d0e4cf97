"""`python -m benchmarks`: measure, print a table, and keep it as JSON if asked to."""

import argparse
import asyncio
import inspect
import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks import (
    cold_start,
    forgetting,
    imports,
    limits,
    loopback,
    memory,
    observability,
    oidc,
    outage,
    peers,
    policies,
    routes,
    rules,
    sign_ins,
    validation,
)
from benchmarks.measuring import FULL, QUICK, Effort, Figure

Subject = Callable[[Effort], list[Figure] | Awaitable[list[Figure]]]

SUBJECTS: Final[dict[str, tuple[Subject, ...]]] = {
    "imports": (imports.figures,),
    "validation": (validation.figures,),
    "payloads": (validation.payloads,),
    "algorithms": (validation.algorithms,),
    "issuers": (oidc.figures,),
    "libraries": (peers.against_libraries,),
    "sdk": (peers.against_descope,),
    "neighbours": (peers.against_neighbours,),
    "routes": (routes.figures,),
    "first tokens": (routes.first_tokens, loopback.first_tokens),
    "middleware": (routes.middleware,),
    "rules": (rules.figures,),
    "loopback": (loopback.throughput,),
    "flood": (loopback.flood,),
    "long paths": (loopback.long_paths,),
    "cold start": (cold_start.figures,),
    "outage": (outage.figures,),
    "forget": (forgetting.figures,),
    "memory": (memory.figures, memory.floods),
    "policies": (policies.alternatives, policies.guarded),
    "limits": (limits.figures, limits.growth),
    "observability": (observability.figures,),
    "emulator": (sign_ins.figures,),
}
_MILLION: Final = 1_000_000
_BEGIN: Final = "<!-- figures -->"
_END: Final = "<!-- end of figures -->"
_MEASURED: Final = (
    "fastapi-stepup",
    "pyjwt",
    "cryptography",
    "fastapi",
    "starlette",
    "uvicorn",
    "httptools",
    "uvloop",
    "descope",
    "authlib",
    "joserfc",
    "python-jose",
    "auth0-api-python",
    "fastapi-azure-auth",
)


def main(
    arguments: Sequence[str],
    *,
    effort: Effort | None = None,
    subjects: Mapping[str, Sequence[Subject]] = SUBJECTS,
) -> int:
    """Measure the subjects named in *arguments*, or all of them.

    Args:
        arguments: The command line.
        effort: How much of everything is done, instead of what the command line says.
        subjects: What can be measured, by name.

    Returns:
        0, or 1 where `--check` is asked for and a target is missed.
    """
    parser = _parser(subjects)
    options = parser.parse_args(arguments)
    if not set(options.subjects) <= set(subjects):
        parser.error(f"each subject is one of {', '.join(subjects)}")
    chosen = effort or (QUICK if options.quick else FULL)
    if options.long:
        chosen = replace(chosen, million=_MILLION)
    started = time.monotonic()
    figures: list[Figure] = []
    for subject in options.subjects or subjects:
        print(f"\n{subject}", flush=True)
        for measure in subjects[subject]:
            found = asyncio.run(_measured(measure, chosen))
            figures += found
            for figure in found:
                print(line(figure), flush=True)
    for figure in figures:
        if figure.verdict == "missed":
            print(f"\nMissed: {figure.name}, {figure.value:.3g} against {figure.target}")
    took = time.monotonic() - started
    print(f"\n{_summary(figures)} in {took:.0f} s.")
    if options.markdown is not None:
        _tell(markdown(figures, chosen, took), options.markdown)
    if options.json is not None:
        report = {**circumstances(), "effort": asdict(chosen)}
        report["figures"] = [figure.as_json() for figure in figures]
        options.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    missed = any(figure.verdict == "missed" for figure in figures)
    return 1 if options.check and missed else 0


def _parser(subjects: Iterable[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what the guard costs, as ratios taken in one run.",
    )
    parser.add_argument(
        "subjects",
        nargs="*",
        metavar="subject",
        help=f"one of {', '.join(subjects)}; all by default",
    )
    parser.add_argument("--quick", action="store_true", help="about a minute, wider spread")
    parser.add_argument("--long", action="store_true", help="a million bad tokens as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--markdown",
        nargs="?",
        const="",
        metavar="FILE",
        help="print a table for the docs too, or put it into FILE between its two markers",
    )
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    return parser


async def _measured(measure: Subject, effort: Effort) -> list[Figure]:
    found = measure(effort)
    return await found if inspect.isawaitable(found) else found


def line(figure: Figure) -> str:
    """Return one line of the table: verdict, value, spread, target, name, circumstances."""
    if figure.value is None:
        return f"  {'skipped':8}{'':36}  {figure.name}: {figure.note}"
    unit = "" if figure.unit == "x" else f" {figure.unit}"
    spread = "" if figure.low is None else f"{figure.low:.3g} to {figure.high:.3g}"
    target = "" if figure.target is None else str(figure.target)
    note = f" ({figure.note})" if figure.note else ""
    value = f"{figure.value:.3g}{unit}"
    return f"  {figure.verdict:8}{value:>12}  {spread:14}{target:>8}  {figure.name}{note}"


def markdown(figures: Iterable[Figure], effort: Effort, took: float) -> str:
    """Return the figures as a Markdown table, with what they were measured with above it."""
    where = circumstances()
    packages = ", ".join(f"{name} {number}" for name, number in where["versions"].items() if number)
    lines = [
        f"Python {where['python']} on {where['machine']}, {effort.rounds} rounds, {took:.0f} s in "
        f"all; {packages}.",
        "",
        "| figure | value | quartiles | target | | circumstances |",
        "|---|---|---|---|---|---|",
    ]
    for figure in figures:
        unit = "" if figure.unit == "x" else f" {figure.unit}"
        value = "" if figure.value is None else f"{figure.value:.3g}{unit}"
        spread = "" if figure.low is None else f"{figure.low:.3g}-{figure.high:.3g}"
        target = "" if figure.target is None else str(figure.target)
        verdict = "" if figure.verdict == "told" else figure.verdict
        cells = (figure.name, value, spread, target, verdict, figure.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _tell(table: str, file: str) -> None:
    """Print *table*, or put it into *file* instead of the one between the two markers there."""
    if not file:
        print(f"\n{table}")
        return
    path = Path(file)
    before, rest = path.read_text("utf-8").split(_BEGIN)
    after = rest.split(_END)[1]
    path.write_text(f"{before}{_BEGIN}\n\n{table}\n\n{_END}{after}", "utf-8")


def _summary(figures: Sequence[Figure]) -> str:
    verdicts = [figure.verdict for figure in figures]
    return ", ".join(
        f"{verdicts.count(verdict)} {verdict}" for verdict in ("met", "missed", "told", "skipped")
    )


def circumstances() -> dict[str, Any]:
    """Return where it was measured: Python, machine, and versions."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: _version(name) for name in _MEASURED},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

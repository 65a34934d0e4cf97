"""What `import fastapi_stepup` adds to `import fastapi`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.measuring import Effort, Figure, at_most, quartiles

_ROOT: Final = Path(__file__).resolve().parent.parent
_PROGRAM: Final = """
import json, sys
from time import perf_counter
started = perf_counter()
import fastapi
between = perf_counter()
import fastapi_stepup
for name in fastapi_stepup.__all__ if "all" in sys.argv else ():
    getattr(fastapi_stepup, name)
print(json.dumps([between - started, perf_counter() - between]))
"""


def figures(effort: Effort) -> list[Figure]:
    """Return the time for the import of the package, with every public name used once.

    In fresh processes, whose bytecode is compiled before; the first one is not counted.
    """
    return [
        *_timed(effort, "none", "alone", limit=60),
        *_timed(effort, "all", "every name used", limit=None),
    ]


def _timed(effort: Effort, argument: str, what: str, *, limit: float | None) -> list[Figure]:
    runs = [_run(argument) for _ in range(effort.imports + 1)][1:]
    low, median, high = quartiles([ours * 1e3 for _, ours in runs])
    shares = quartiles([ours / fastapi for fastapi, ours in runs])
    theirs = quartiles([fastapi * 1e3 for fastapi, _ in runs])[1]
    return [
        Figure(
            name=f"import fastapi_stepup after fastapi, {what}",
            value=median,
            low=low,
            high=high,
            unit="ms",
            target=None if limit is None else at_most(limit),
            note=f"import fastapi: {theirs:.0f} ms",
        ),
        Figure(
            name=f"import fastapi_stepup, {what} / import fastapi",
            value=shares[1],
            low=shares[0],
            high=shares[2],
        ),
    ]


def _run(argument: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, argument],
        cwd=_ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    times: list[float] = json.loads(done.stdout)
    return times

"""start: the console script, which says what to install where Typer is missing."""

import sys
from typing import Final

WRONG_USAGE: Final = 2

_MUTATING: Final = "--fail-on-open"
_ALL: Final = "--fail-on-open-all"
_MISSING: Final = "The command line needs an extra: pip install 'fastapi-stepup[cli]'\n"


def start() -> int:
    """Run the command line; Typer ends the process with the exit status.

    Exit status: 0 good, 1 something was found, 2 wrong usage or the extra is missing.
    """
    try:
        from fastapi_stepup.cli.main import app  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        sys.stderr.write(_MISSING)
        return WRONG_USAGE
    # An option with an optional value, which Typer does not have.
    given = [_ALL if argument == f"{_MUTATING}=all" else argument for argument in sys.argv[1:]]
    return int(app(given) or 0)

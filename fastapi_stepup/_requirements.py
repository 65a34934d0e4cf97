"""Checks at import that the packages below are new enough to work."""

import re
from importlib.metadata import PackageNotFoundError, version
from typing import Final

MINIMUM: Final = {
    "cachetools": "5.5",
    "fastapi": "0.121",
    "httpx": "0.28",
    "pyjwt": "2.15",
    "starlette": "0.49.1",
}


def check_requirements() -> None:
    """Check the installed versions: an installer can be made to ignore what the package declares.

    Does not check that a package is there: importing it says so.

    Raises:
        ImportError: A package is too old; the message names it, its version and the command.
    """
    for name, minimum in MINIMUM.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if _release(installed) < _release(minimum):
            msg = (
                f"fastapi-stepup needs {name} {minimum} or later, and {installed} is installed: "
                f"pip install '{name}>={minimum}'."
            )
            raise ImportError(msg)


def _release(text: str) -> tuple[int, ...]:
    """Return the numbers that a version starts with, without zeros at the end."""
    numbers = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)

"""Checks of constructor arguments.

Each returns the checked value or raises `ConfigurationError`.
"""

import re
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, TypeVar

from starlette._utils import is_async_callable

from fastapi_stepup._log import logger
from fastapi_stepup.errors import ConfigurationError

Choice = TypeVar("Choice", bound=str)
Duration = int | float | timedelta | str

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])")
_LONGEST: Final = 10 * 365 * 86400
_PROJECT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ISSUED_ID: Final = re.compile(r"P(?:[A-Za-z0-9]{4})?[A-Za-z0-9]{27}")


def plain(value: Any) -> Any:
    """Return the text inside an object of a settings library; anything else as it is.

    Those are secrets with `get_secret_value()` (pydantic's `SecretStr`) and URLs, by the name of
    their class: pydantic's `HttpUrl` and `RedisDsn`, yarl's, httpx's and Starlette's `URL`.
    """
    if hasattr(value, "get_secret_value"):
        return value.get_secret_value()
    is_url = type(value).__name__.lower().endswith(("url", "dsn"))
    return str(value) if is_url else value


def is_number(value: object) -> bool:
    """Return whether *value* is an int or a float. `True` and `False` are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def seconds(name: str, value: Any, low: float, high: float) -> float:
    """Return *value* as seconds from *low* to *high*, both included."""
    if not is_number(value) or not low <= value <= high:
        msg = f"{name} is a number of seconds from {low:g} to {high:g}, not {value!r}."
        raise ConfigurationError(msg)
    return float(value)


def duration(name: str, value: Any) -> int:
    """Return a duration as whole seconds.

    Args:
        name: The option's name, for the message.
        value: Seconds, a `timedelta`, or digits and one of `s`, `m`, `h`, `d`.

    Raises:
        ConfigurationError: Negative, fractional, endless, of another type or not readable.
    """
    length: float | None = None
    if isinstance(value, timedelta):
        length = value.total_seconds()
    elif isinstance(value, str):
        found = _DURATION.fullmatch(value)
        length = None if found is None else int(found[1]) * _UNITS[found[2]]
    elif is_number(value):
        length = value
    if length is None or not 0 <= length <= _LONGEST or length != int(length):
        msg = (
            f"{name}={value!r} is not a duration: give whole seconds (300), a timedelta, or a "
            'string such as "90s", "5m", "2h" or "1d", from 0 to ten years.'
        )
        raise ConfigurationError(msg)
    return int(length)


def integer(name: str, value: Any, low: int, high: int) -> int:
    """Return *value* as a whole number from *low* to *high*, both included."""
    if type(value) is not int or not low <= value <= high:
        msg = f"{name} is a whole number from {low} to {high}, not {value!r}."
        raise ConfigurationError(msg)
    return value


def is_plain_function(value: object) -> bool:
    """Return whether *value* can be called, and answers at once: a coroutine is not awaited."""
    return callable(value) and not is_async_callable(value)


def flag(name: str, value: Any) -> bool:
    """Return *value* when it is `True` or `False`."""
    if not isinstance(value, bool):
        msg = f"{name} is True or False, not {value!r}."
        raise ConfigurationError(msg)
    return value


def strings(name: str, values: Any) -> frozenset[str]:
    """Return *values* as exact strings: neither empty ones nor wildcards.

    An object that stands for text is not taken: a URL object may write its URL another way.
    """
    msg = f"{name} takes exact strings: no empty ones, no wildcards, no patterns."
    if isinstance(values, str):
        raise ConfigurationError(msg)
    listed = tuple(values) if isinstance(values, Iterable) else (values,)
    for value in listed:
        if not isinstance(value, str):
            msg = f"{msg.removesuffix('.')}; {type(value).__name__} is no text."
            raise ConfigurationError(msg)
        if not value.strip() or "*" in value:
            raise ConfigurationError(msg)
    return frozenset(listed)


def one_of(name: str, value: Any, allowed: Iterable[Choice]) -> Choice:
    """Return *value* when it is one of *allowed*."""
    choices = tuple(allowed)
    if isinstance(value, str):
        for choice in choices:
            if choice == value:
                return choice
    *others, last = (f'"{choice}"' for choice in choices)
    msg = f"{name} is {', '.join(others)} or {last}, not {value!r}."
    raise ConfigurationError(msg)


def some_of(name: str, values: Any, allowed: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Return *values* without duplicates, in their order; at least one, each one of *allowed*."""
    listed: tuple[Any, ...] = ()
    if isinstance(values, Iterable) and not isinstance(values, str):
        listed = tuple(dict.fromkeys(values))
    if not listed or not set(listed) <= set(allowed):
        msg = f"{name} is a tuple of: {', '.join(allowed)}."
        raise ConfigurationError(msg)
    return listed


def project_id(value: Any) -> str:
    """Return *value* when it may go into a path: 1 to 64 letters, digits, `_` and `-`.

    One of another form than Descope's logs a warning.
    """
    value = plain(value)
    if not isinstance(value, str) or not _PROJECT_ID.fullmatch(value):
        msg = (
            'The Descope project id is missing or malformed: pass project_id="P…" or set '
            "DESCOPE_PROJECT_ID. You find it in the Descope console under Project Settings."
        )
        raise ConfigurationError(msg)
    if not _ISSUED_ID.fullmatch(value):
        _warn_of_odd_id(value)
    return value


@lru_cache(maxsize=64)
def _warn_of_odd_id(value: str) -> None:
    """Log once for each id, since several parts of a guard check it."""
    logger.warning(
        "The project id %s is none that Descope gives out: P and 27 or 31 letters and digits. "
        "Where it is cut off, no token will pass.",
        value,
    )

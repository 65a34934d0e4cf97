"""JSON as RFC 8259 and RFC 8725 want it: UTF-8, no duplicate members, no surprises."""

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 32

_ESCAPE: Final = "\\u"
# May find too many, an escaped backslash before it or a proper pair, but never too few.
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_WHITESPACE: Final = " \t\n\r"
_CONTAINERS: Final = frozenset({dict, list})


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        msg = "duplicate member"
        raise ValueError(msg)
    return members


def _reject_constant(_: str) -> NoReturn:
    msg = "NaN and Infinity are not JSON"
    raise ValueError(msg)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        msg = "a number beyond what a double holds"
        raise ValueError(msg)
    return number


# The scanner of a decoder in C; `raw_decode` around it takes longer than a small object.
_scan: Final[Callable[[str, int], tuple[Any, int]]] = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_constant=_reject_constant, parse_float=_finite
).scan_once  # type: ignore[attr-defined]  # typeshed leaves it out


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object in *data*, or `None` for anything else.

    Rejected: other encodings than UTF-8, a byte order mark, duplicate members on any level, `NaN`
    and `Infinity`, numbers that Python will not read or that overflow to infinity, lone
    surrogates, nesting deeper than `MAX_DEPTH`. Gives no reason and keeps no exception, since
    either would quote the input.
    """
    try:
        text = data.decode("utf-8").strip(_WHITESPACE)
        parsed, end = _scan(text, 0)
        if _ESCAPE in text and _SURROGATE.search(text):
            # A lone surrogate passes the parser and fails later, in a log or a header.
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError, StopIteration):
        return None
    if not isinstance(parsed, dict) or end != len(text):
        return None
    # What the C parser can nest, recursive Python code that reads the result cannot.
    brackets = text.count("{") + text.count("[")
    return None if brackets > MAX_DEPTH and _is_deep(parsed) else parsed


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) in _CONTAINERS
        ]
        if not level:
            return False
    return True

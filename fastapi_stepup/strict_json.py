"""JSON as RFC 8259 and RFC 8725 want it: UTF-8, no duplicate members, no surprises."""

import json
from typing import Any, Final, NoReturn

_ESCAPE: Final = "\\u"


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        msg = "duplicate member"
        raise ValueError(msg)
    return members


def _refuse_constant(_: str) -> NoReturn:
    msg = "NaN and Infinity are not JSON"
    raise ValueError(msg)


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
)


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object in *data*, or `None` for anything else.

    Refused: other encodings than UTF-8, a byte order mark, duplicate members on any level, `NaN`
    and `Infinity`, lone surrogates, numbers that Python will not read, nesting that exhausts the
    stack. Gives no reason and keeps no exception, since either would quote the input.
    """
    try:
        text = data.decode("utf-8")
        parsed = _decoder.decode(text)
        if _ESCAPE in text:
            # A lone surrogate passes the parser and fails later, in a log or a header.
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None

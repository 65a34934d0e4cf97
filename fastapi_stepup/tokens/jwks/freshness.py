"""How long a fetched key set is fresh, and its entity tag: RFC 9111 for the one kind of reply."""

import re
from typing import Final

from fastapi_stepup._http import HTTPResponse

MIN_TTL: Final = 60.0
MAX_TTL: Final = 3600.0

_ENTITY_TAG: Final = re.compile(r'(?:W/)?"[!#-~]{0,250}"')


def lifetime(reply: HTTPResponse, *, default: float, longest: float) -> float:
    """Return for how many seconds *reply* is fresh.

    - `max-age` less `Age`, from 60 to 3600 and at most *longest*.
    - 60 for `no-store`, `no-cache`, and a `max-age` that is unreadable or contradicts itself
      (RFC 9111 section 4.2.1).
    - *default* without `max-age`. Does not look at `Expires`, `Date` and `s-maxage`, which is for
      shared caches.
    """
    field: str = reply.headers.get("cache-control", "")
    directives = [
        (name.strip().lower(), value.strip().strip('"'))
        for name, _, value in (part.partition("=") for part in field.split(","))
    ]
    names = {name for name, _ in directives}
    ages = {value for name, value in directives if name == "max-age"}
    if not names.isdisjoint({"no-store", "no-cache"}):
        return MIN_TTL
    if not ages:
        return default
    if len(ages) > 1 or not all(_is_number(value) for value in ages):
        return MIN_TTL
    age = reply.headers.get("age", "")
    # Ten digits are 300 years, and int() of a long text takes long.
    elapsed = float(age[:10]) if _is_number(age) else 0.0
    return min(max(float(ages.pop()[:10]) - elapsed, MIN_TTL), MAX_TTL, longest)


def entity_tag(reply: HTTPResponse) -> str | None:
    """Return the `ETag` of *reply* if it is fit to be sent back (RFC 9110 section 8.8.3)."""
    value: str = reply.headers.get("etag", "")
    return value if _ENTITY_TAG.fullmatch(value) else None


def is_same_entity_tag(one: str, other: str) -> bool:
    """Return whether two tags match weakly, as `If-None-Match` does (RFC 9110 section 13.1.2)."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()

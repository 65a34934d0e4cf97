"""What rules ask of every path of a route, for the route inventory.

It errs to "open": a route counts as guarded only where that is proven for all values of its
parameters.
"""

import re
from functools import lru_cache
from typing import Any, Final

from starlette.convertors import Convertor

from fastapi_stepup.web.paths import folded, pieces, stays_in_segment
from fastapi_stepup.web.rule_table import Protection, RuleTable
from fastapi_stepup.web.rules import HTTP_METHODS, Asked, StepUpRule

# Private-use characters stand for "any value of this convertor" in a template. Values that may
# have slashes are in a range of their own, which one segment of a rule does not match.
_IN_SEGMENT: Final = 0xF0000
_ACROSS_SEGMENTS: Final = 0x100000
_SEGMENT: Final = "[^/\U00100000-\U0010fffd]+"
_PREFIX: Final = "/*"

_marks: Final[dict[str, str]] = {}


def required_everywhere(
    table: RuleTable, template: str, method: str | None
) -> tuple[Protection, ...]:
    """Return all that requests for the paths of *template* must present; nothing if one is open.

    Args:
        table: The rules.
        template: A path template, as the router below the middleware sees it.
        method: The HTTP method, or `None` for a WebSocket.
    """
    if "{" not in template:
        return table.required(template, method)
    found: list[Protection] = []
    decided: Asked = table.default
    some_are_open = False
    for rule in table.rules:
        if not _may_match(rule, template):
            continue
        is_for_method = rule.is_for(method)
        if is_for_method and _matches_all(rule, template):
            decided = rule.asks
            break
        # From here on the rule is about some of the paths, or about odd spellings of them.
        if rule.require == "public":
            some_are_open |= is_for_method
        elif is_for_method or method not in HTTP_METHODS:
            found.append(rule.asks)  # type: ignore[arg-type]  # no public one gets here
    if decided == "public" or some_are_open:
        return ()
    return (*found, decided)


def _matches_all(rule: StepUpRule, template: str) -> bool:
    """Return whether the rule matches every path of *template* exactly, as far as that shows."""
    if type(rule) is not StepUpRule:
        return False
    return _pattern(rule.path).fullmatch(_marked(template)) is not None


def _may_match(rule: StepUpRule, template: str) -> bool:
    """Return whether the rule could match a path of *template*, exactly or but for its case."""
    if type(rule) is not StepUpRule:
        return True
    ours, is_prefix = _segments(rule.path)
    theirs, _ = _segments(template)
    for one, other in zip(ours, theirs, strict=False):
        if not _may_meet(one, other):
            return False
        if one.goes_on or other.goes_on:
            return True
    return len(ours) == len(theirs) or (is_prefix and len(ours) < len(theirs))


class _Segment:
    """One segment of a template: its text, or the pattern of its texts."""

    def __init__(self, text: str) -> None:
        found = list(pieces(text))
        convertors = [piece for piece in found if isinstance(piece, Convertor)]
        self.text = None if convertors else folded(text)
        self.pattern = re.compile(
            "".join(re.escape(piece) if isinstance(piece, str) else piece.regex for piece in found),
            re.IGNORECASE,
        )
        self.goes_on = not all(map(stays_in_segment, convertors))


def _may_meet(one: _Segment, other: _Segment) -> bool:
    if one.goes_on or other.goes_on or (one.text is None and other.text is None):
        return True
    if one.text is None:
        return one.pattern.fullmatch(other.text or "") is not None
    if other.text is None:
        return other.pattern.fullmatch(one.text) is not None
    return one.text == other.text


@lru_cache(maxsize=4096)
def _segments(template: str) -> tuple[list[_Segment], bool]:
    is_prefix = template.endswith(_PREFIX)
    return [_Segment(s) for s in template.removesuffix(_PREFIX).split("/")], is_prefix


@lru_cache(maxsize=4096)
def _pattern(path: str) -> re.Pattern[str]:
    """Return a pattern for marked templates whose paths all match the rule's *path*."""
    source = "".join(
        re.escape(piece) if isinstance(piece, str) else _values(piece)
        for piece in pieces(path.removesuffix(_PREFIX))
    )
    return re.compile(source + ("(?:/.*)?" if path.endswith(_PREFIX) else ""), re.DOTALL)


def _values(convertor: Convertor[Any]) -> str:
    """Return a pattern of texts and marks that stand for nothing but values of *convertor*."""
    if convertor.regex == ".*":
        return ".*"
    if convertor.regex == "[^/]+":
        return _SEGMENT
    mark = _mark(convertor)
    # Any other pattern may match a mark by accident: `[^x]+`.
    return f"(?:{mark}|{convertor.regex})" if stays_in_segment(convertor) else mark


def _marked(template: str) -> str:
    return "".join(p if isinstance(p, str) else _mark(p) for p in pieces(template))


def _mark(convertor: Convertor[Any]) -> str:
    first = _IN_SEGMENT if stays_in_segment(convertor) else _ACROSS_SEGMENTS
    return _marks.setdefault(convertor.regex, chr(first + len(_marks)))

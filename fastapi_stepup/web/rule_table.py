"""RuleTable: what a request must present, by a look-up that does not grow with the rules."""

from collections.abc import Iterable
from typing import Final, Literal

from starlette.convertors import Convertor

from fastapi_stepup.guard.conditions import Conditional, Once
from fastapi_stepup.policy.policy import StepUpPolicy
from fastapi_stepup.web.paths import folded, is_unroutable, normalized, pieces, stays_in_segment
from fastapi_stepup.web.rules import Access, Asked, StepUpRule

Protection = StepUpPolicy | Conditional | Once | Literal["session"]
# Whether the path is unroutable, and what a request for it must present.
Decision = tuple[bool, tuple[Protection, ...]]
Request = tuple[str, str | None]

SLOTS: Final = 4096
MAX_REMEMBERED: Final = 256  # characters of the longest path and method that are remembered

_UNROUTABLE: Final[Decision] = (True, ("session",))


class RuleTable:
    """Rules in order of precedence, and what everything else must present.

    - The first rule that matches exactly decides. Each earlier rule that matches loosely adds its
      own protection.
    - Asks only the rules whose path has the segments of the request's path.
    - Remembers decisions in a fixed number of slots, so that more paths in use than slots make it
      slower and not useless.
    """

    def __init__(self, rules: tuple[StepUpRule, ...], default: Access) -> None:
        self.rules = rules
        self.default = default
        self._root = _Node()
        self._depth = 0
        self._slots: list[tuple[Request, Decision] | None] = [None] * SLOTS
        for position, rule in enumerate(rules):
            self._add(rule, position)

    def decide(self, path: str, method: str | None) -> Decision:
        """Return whether *path* is unroutable, and all that the request must present.

        Args:
            path: The path as the router sees it.
            method: The HTTP method, or `None` for a WebSocket.
        """
        if len(path) + len(method or "") > MAX_REMEMBERED:
            return self._decided(path, method)
        request = (path, method)
        slot = hash(request) % SLOTS
        # One read and one write of one item: threads cannot see half a decision.
        known = self._slots[slot]
        if known is not None and known[0] == request:
            return known[1]
        decision = self._decided(path, method)
        self._slots[slot] = (request, decision)
        return decision

    def required(self, path: str, method: str | None) -> tuple[Protection, ...]:
        """Return all that a request for a routable path must present; nothing when it is public."""
        plain = normalized(path)
        positions = self._candidates(path)
        if plain != path:
            positions |= self._candidates(plain)
        found: list[Protection] = []
        decided: Asked = self.default
        for position in sorted(positions):
            rule = self.rules[position]
            if rule.matches(path, method):
                decided = rule.asks
                break
            if rule.protects(plain, method):
                found.append(rule.asks)  # type: ignore[arg-type]  # no public rule does
        if decided != "public":
            found.append(decided)
        return tuple(found)

    def _decided(self, path: str, method: str | None) -> Decision:
        return _UNROUTABLE if is_unroutable(path) else (False, self.required(path, method))

    def _add(self, rule: StepUpRule, position: int) -> None:
        node = self._root
        segments: Iterable[str] = _segments(rule.path.removesuffix("/*"))
        is_prefix = rule.path.endswith("/*")
        if type(rule) is not StepUpRule:
            segments, is_prefix = (), True  # A subclass may match what its path does not say.
        for depth, segment in enumerate(segments, 1):
            self._depth = max(self._depth, depth)
            convertors = [p for p in pieces(segment) if isinstance(p, Convertor)]
            if not all(map(stays_in_segment, convertors)):
                is_prefix = True
                break
            key = None if convertors else folded(segment)
            node = node.children.setdefault(key, _Node())
        (node.below if is_prefix else node.here).append(position)

    def _candidates(self, path: str) -> set[int]:
        """Return the positions of all rules that may match *path*, exactly or loosely."""
        nodes = [self._root]
        found = set(self._root.below)
        # What is deeper than any rule stays in one piece, which no segment of a rule equals.
        for segment in _segments(folded(path), self._depth):
            nodes = [
                child
                for node in nodes
                for key in (segment, None)
                if (child := node.children.get(key)) is not None
            ]
            if not nodes:
                return found
            for node in nodes:
                found.update(node.below)
        for node in nodes:
            found.update(node.here)
        return found


class _Node:
    """Rules that share their first segments.

    Attributes:
        children: By the next segment, folded; `None` is a segment with parameters.
        here: Positions of the rules that end here.
        below: Positions of the rules that go on with anything.
    """

    __slots__ = ("below", "children", "here")

    def __init__(self) -> None:
        self.children: dict[str | None, _Node] = {}
        self.here: list[int] = []
        self.below: list[int] = []


def _segments(path: str, depth: int = -1) -> list[str]:
    inner = path.strip("/")
    return inner.split("/", depth) if inner else []

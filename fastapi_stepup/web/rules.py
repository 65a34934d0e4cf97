"""StepUpRule: what requests to some paths must present."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.guard.conditions import (
    Condition,
    Conditional,
    Once,
    asked_by,
    checked_condition,
    checked_purpose,
)
from fastapi_stepup.policy.policy import StepUpPolicy
from fastapi_stepup.web.paths import compiled, normalized

Access = StepUpPolicy | Literal["session", "public"]
# What an entry point asks: of every request or of those that a condition picks, and for one use.
Asked = Access | Conditional | Once

HTTP_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "TRACE", "CONNECT"}
)


@dataclass(frozen=True, slots=True)
class StepUpRule:
    """Maps paths to what a request must present.

    Matching:
    - `"public"` rules match exactly.
    - Protecting rules also match *loosely*: other letter case, doubled or trailing slashes,
      leftover percent-encoding, unknown HTTP methods, and WebSockets. A lenient router or file
      system behind the app may treat such a path as the protected one. A request that only matches
      loosely must meet this rule and the one that matches exactly.

    Args:
        path: An exact path (`/checkout`), a template in Starlette's notation (`/pay/{id}`), or a
            prefix (`/admin/*`, which is `/admin` and everything below it); not a regular
            expression. As the router sees it: decoded, without `root_path`, on any host.
        require: A `StepUpPolicy`, `"session"` (signed in is enough) or `"public"`.
        methods: HTTP methods the rule is for; `GET` includes `HEAD`. `None` is for all, and for
            WebSockets.
        when: Says whether this request must meet the policy of *require*; `False` asks for a
            session only. Gets the `HTTPConnection` of a session, never the body; may be async. It
            answers `True` or `False`: anything else is a `TypeError`, so 500.
        once: What one step-up is good for once. It is spent on a 2xx or 3xx answer or when a
            WebSocket is accepted, and given back otherwise; see `RequireStepUp`.

    Raises:
        ConfigurationError: The path could never match or is ambiguous, or an argument is none of
            the above.
    """

    path: str
    require: Access
    methods: frozenset[str] | None
    when: Condition | None
    once: str | None
    _exact: re.Pattern[str] = field(repr=False, compare=False)
    _loose: re.Pattern[str] = field(repr=False, compare=False)

    def __init__(
        self,
        path: str,
        require: Access,
        *,
        methods: Iterable[str] | None = None,
        when: Condition | None = None,
        once: str | None = None,
    ) -> None:
        exact, loose = compiled(path)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "require", checked_access("require", require))
        object.__setattr__(self, "methods", _checked_methods(methods))
        object.__setattr__(self, "when", checked_condition(when))
        purpose = None if once is None else checked_purpose(once)
        object.__setattr__(self, "once", purpose)
        for name, given in {"when": when, "once": once}.items():
            if given is not None and not isinstance(require, StepUpPolicy):
                msg = f"{name} is about a step-up: give a StepUpPolicy beside it, not {require!r}."
                raise ConfigurationError(msg)
        object.__setattr__(self, "_exact", exact)
        object.__setattr__(self, "_loose", loose)

    @property
    def asks(self) -> Asked:
        """What the rule asks: *require*, with its condition and its purpose if it has them."""
        if not isinstance(self.require, StepUpPolicy):
            return self.require
        return asked_by(self.require, self.when, self.once)

    def matches(self, path: str, method: str | None) -> bool:
        """Return whether the rule is for this request exactly.

        Args:
            path: The path as the router sees it.
            method: The HTTP method, or `None` for a WebSocket.
        """
        return self.is_for(method) and self._exact.fullmatch(path) is not None

    def matches_loosely(self, path: str, method: str | None) -> bool:
        """Return whether the request could reach a path that the rule protects.

        Args:
            path: The path as the router sees it.
            method: The HTTP method, or `None` for a WebSocket.
        """
        return self.protects(normalized(path), method)

    def protects(self, plain: str, method: str | None) -> bool:
        """Return what `matches_loosely` does, for a path that is normalized already."""
        return (
            self.require != "public"
            and (self.is_for(method) or method not in HTTP_METHODS)
            and self._loose.fullmatch(plain) is not None
        )

    def is_for(self, method: str | None) -> bool:
        """Return whether the rule is for *method*, `None` for a WebSocket, on any path."""
        # Routers serve HEAD wherever they serve GET.
        return (
            self.methods is None
            or method in self.methods
            or (method == "HEAD" and "GET" in self.methods)
        )


def checked_access(name: str, value: Any) -> Access:
    """Return *value* if it says what a request must present.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(value, StepUpPolicy) or value in ("session", "public"):
        access: Access = value
        return access
    msg = f'{name} is a StepUpPolicy, "session" or "public", not {value!r}.'
    raise ConfigurationError(msg)


def checked_rules(rules: Any) -> tuple[StepUpRule, ...]:
    """Return *rules* as a tuple.

    Raises:
        ConfigurationError: They are not a sequence of rules.
    """
    # Frameworks construct a middleware from one argument more than once, so reading must not use
    # it up; and the order counts, which sets do not have.
    is_ordered = isinstance(rules, Collection) and not isinstance(rules, (set, frozenset))
    listed = tuple(rules) if is_ordered else (None,)
    if not all(isinstance(rule, StepUpRule) for rule in listed):
        msg = 'rules is a sequence of StepUpRule("/path", …), such as a list: no generator, no set.'
        raise ConfigurationError(msg)
    return listed


def _checked_methods(methods: Any) -> frozenset[str] | None:
    if methods is None:
        return None
    several = isinstance(methods, Iterable) and not isinstance(methods, str)
    listed = frozenset(methods if several else ())
    if not listed or not listed <= HTTP_METHODS:
        msg = f"methods is None or a set of: {', '.join(sorted(HTTP_METHODS))}."
        raise ConfigurationError(msg)
    return listed

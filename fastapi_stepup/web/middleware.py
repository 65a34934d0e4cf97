"""StepUpMiddleware: the guard in front of a whole app, as pure ASGI, closed by default."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from posixpath import normpath
from typing import Any, Final, Literal
from urllib.parse import unquote

from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.routing import PARAM_REGEX, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from fastapi_stepup._immutable import SetOnce
from fastapi_stepup.errors import ConfigurationError, StepUpError
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.policy.policy import StepUpPolicy
from fastapi_stepup.web.responses import problem_response

Demand = StepUpPolicy | Literal["session"]
Requirement = Demand | Literal["public"]

METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "TRACE", "CONNECT"}
)

# What no honest client sends: a router may read such a path differently than a rule does
# (`/pay\n` is routed to `/pay`), or somebody behind the app may.
_HOSTILE: Final = re.compile(r"\A(?!/)|[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]|(?:^|/)\.\.?(?:/|$)")
_UNUSABLE: Final = re.compile(r"[\x00-\x20\x7f?#%\\*]|//|(?:^|/)\.\.?(?:/|$)")
_UNTIDY: Final = re.compile(r"//|/\.\.?(?:/|$)")
_LAST_RESORT: Final = (500, Exception)
_REMEMBERED: Final = 256  # characters of the longest path and method that are kept
_NOT_FOUND: Final = "not_found"


@dataclass(frozen=True, slots=True)
class StepUpRule:
    """What requests to some paths must bring.

    A rule that opens (`"public"`) is read to the letter. A rule that protects is also read widely:
    it joins in, together with the rule that matches to the letter, where the path differs from its
    own only by upper and lower case, slashes that are doubled or at the end, or percent-encoding
    that is left after decoding, and for methods that nobody knows and for WebSockets whatever its
    own methods. A file system, or an app behind the app, may take such a request for the one that
    the rule is about.

    Args:
        path: An exact path (`/checkout`), a template in Starlette's notation (`/pay/{id}`), or a
            prefix (`/admin/*`, which is `/admin` and everything below it); not a regular
            expression. As the router sees it: decoded, without `root_path`, whatever the host.
        require: A `StepUpPolicy`, `"session"` (signed in is enough) or `"public"`.
        methods: HTTP methods the rule is for; `GET` includes `HEAD`. `None` is for all, and for
            WebSockets.

    Raises:
        ConfigurationError: The path could never match or is ambiguous, or an argument is none of
            the above.
    """

    path: str
    require: Requirement
    methods: frozenset[str] | None
    _exact: re.Pattern[str] = field(repr=False, compare=False)
    _wide: re.Pattern[str] = field(repr=False, compare=False)

    def __init__(
        self, path: str, require: Requirement, *, methods: Iterable[str] | None = None
    ) -> None:
        exact, wide = _compiled(path)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "require", checked_requirement("require", require))
        object.__setattr__(self, "methods", _checked_methods(methods))
        object.__setattr__(self, "_exact", exact)
        object.__setattr__(self, "_wide", wide)

    def matches(self, path: str, method: str | None) -> bool:
        """Whether the rule is for this request, to the letter.

        Args:
            path: The path as the router sees it.
            method: The HTTP method, or `None` for a WebSocket.
        """
        return (
            self.methods is None
            or method in self.methods
            or (method == "HEAD" and "GET" in self.methods)
        ) and self._exact.fullmatch(path) is not None

    def resembles(self, path: str, method: str | None) -> bool:
        """Whether somebody might take this request for one that the rule protects.

        Args:
            path: The path as the router sees it.
            method: The HTTP method, or `None` for a WebSocket.
        """
        return (
            self.require != "public"
            and (self.methods is None or method in self.methods or method not in METHODS)
            and self._wide.fullmatch(_plain(path)) is not None
        )


class StepUpMiddleware(SetOnce):
    """Asks the guard before anything of the wrapped app runs.

    The first rule that matches decides; what no rule matches meets *default*, which asks for
    step-up: a forgotten route is closed, not open. A request that only resembles what an earlier
    rule protects must bring what that rule asks for too.

    Works in front of FastAPI, Starlette and any other ASGI app, on HTTP and WebSocket, touches
    neither the body nor the reply of what it lets pass, and leaves the claims in the scope, where
    dependencies and `claims_from` find them without a second verification. The path is taken as
    the app's router takes it; one that does not start with a slash or has control characters,
    backslashes or dot segments is never passed on: 401 without a session, else 404.

    A refusal is answered the way the app answers exceptions, so it looks as if a dependency had
    refused. A CORS preflight has no token: put `CORSMiddleware` outside of this one. Without
    *rules* nothing is public, the documentation and the helper routes included: step-up itself
    needs `StepUpRule("/step-up/*", "session")`.

    Args:
        app: The app to protect.
        guard: The guard that decides.
        rules: Rules in order of precedence.
        default: What everything else must bring; `"public"` opens it on purpose.

    Raises:
        ConfigurationError: An argument cannot be used; the message says what can.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        guard: StepUpGuard,
        rules: Sequence[StepUpRule] = (),
        default: Requirement | None = None,
    ) -> None:
        if not isinstance(guard, StepUpGuard):
            msg = "StepUpMiddleware takes guard=StepUpGuard.for_descope(…)."
            raise ConfigurationError(msg)
        self.app = app
        self.guard = guard
        self.rules: tuple[StepUpRule, ...] = _checked_rules(rules)
        self.default = (
            StepUpPolicy() if default is None else checked_requirement("default", default)
        )
        self._guarded = _application(app)
        self._judged = lru_cache(maxsize=1024)(self._judge)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection.

        Raises:
            RuntimeError: The scope is of a type that cannot be judged, so it is not let through.
        """
        kind = scope["type"]
        if kind == "lifespan":
            await self.app(scope, receive, send)
            return
        if kind not in {"http", "websocket"}:
            msg = f"StepUpMiddleware cannot guard connections of type {kind!r}."
            raise RuntimeError(msg)
        if self._guarded is not None:
            # What that app is about to put there itself: it decides paths and names routes.
            scope["app"] = self._guarded
            if getattr(self._guarded, "root_path", ""):
                scope["root_path"] = self._guarded.root_path
        path = get_route_path(scope) or "/"
        method = scope.get("method")
        remembered = len(path) + len(method or "") <= _REMEMBERED
        hostile, demands = (self._judged if remembered else self._judge)(path, method)
        if demands:
            connection: Request | WebSocket = (
                Request(scope) if kind == "http" else WebSocket(scope, receive, send)
            )
            try:
                for demand in demands:
                    policy = demand if isinstance(demand, StepUpPolicy) else None
                    await self.guard.admit(connection, policy)
            except (StepUpError, WebSocketException) as error:
                await self._answer(error, scope, receive, send)
                return
            if hostile and not self.guard.reports(_NOT_FOUND):
                await self._answer(_no_such_path(scope), scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _judge(self, path: str, method: str | None) -> tuple[bool, tuple[Demand, ...]]:
        """Return whether a path is hostile, and what the request must bring."""
        if _HOSTILE.search(path) is not None:
            return True, ("session",)
        return False, self.demands(path, method)

    def demands(self, path: str, method: str | None) -> tuple[Demand, ...]:
        """Return all that a request must bring; nothing when it is public.

        Args:
            path: The path as the router sees it.
            method: The HTTP method, or `None` for a WebSocket.
        """
        found: list[Demand] = []
        decided = self.default
        for rule in self.rules:
            if rule.matches(path, method):
                decided = rule.require
                break
            if rule.resembles(path, method):
                found.append(rule.require)  # type: ignore[arg-type]  # no public rule does
        if decided != "public":
            found.append(decided)
        return tuple(found)

    async def _answer(
        self,
        error: HTTPException | WebSocketException,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer *error* as the guarded app answers what is raised in it."""
        app = scope.get("app")
        if not isinstance(app, Starlette) and isinstance(error, StepUpError):
            await problem_response(error)(scope, receive, send)
            return
        handlers = app.exception_handlers if isinstance(app, Starlette) else {}
        others = {key: handlers[key] for key in handlers if key not in _LAST_RESORT}

        async def refusing(*_: object) -> None:
            raise error

        await ExceptionMiddleware(refusing, handlers=others)(scope, receive, send)


def _no_such_path(scope: Scope) -> HTTPException | WebSocketException:
    if scope["type"] == "http" or "websocket.http.response" in (scope.get("extensions") or {}):
        return HTTPException(404)
    return WebSocketException(1008, _NOT_FOUND)


def _application(app: Any) -> Any:
    """Return the app inside of *app* that has exception handlers, or `None`.

    None for a middleware within an app's own stack: that app is in the scope.
    """
    while app is not None and not isinstance(app, Starlette):
        app = getattr(app, "app", None)
    return app


def _plain(path: str) -> str:
    """Return *path* as its most careless reader would take it."""
    decoded = unquote(path) if "%" in path else path
    return f"/{normpath(decoded).lstrip('/')}" if _UNTIDY.search(decoded) else decoded


def _checked_rules(rules: Any) -> tuple[StepUpRule, ...]:
    listed = tuple(rules) if isinstance(rules, Iterable) else (None,)
    if not all(isinstance(rule, StepUpRule) for rule in listed):
        msg = 'rules is a sequence of StepUpRule("/path", …).'
        raise ConfigurationError(msg)
    return listed


def checked_requirement(name: str, value: Any) -> Requirement:
    """Return *value* if it is a requirement.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(value, StepUpPolicy) or value in ("session", "public"):
        requirement: Requirement = value
        return requirement
    msg = f'{name} is a StepUpPolicy, "session" or "public", not {value!r}.'
    raise ConfigurationError(msg)


def _checked_methods(methods: Any) -> frozenset[str] | None:
    if methods is None:
        return None
    several = isinstance(methods, Iterable) and not isinstance(methods, str)
    listed = frozenset(methods if several else ())
    if not listed or not listed <= METHODS:
        msg = f"methods is None or a set of: {', '.join(sorted(METHODS))}."
        raise ConfigurationError(msg)
    return listed


def _compiled(path: Any) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what matches a rule's path to the letter, and what matches it widely."""
    is_prefix = isinstance(path, str) and path.endswith("/*")
    exact = path.removesuffix("/*") if is_prefix else path
    if not isinstance(path, str) or not path.startswith("/") or _UNUSABLE.search(exact):
        msg = (
            f'The path {path!r} of a rule must be exact ("/checkout"), a template ("/pay/{{id}}") '
            'or a prefix ("/admin/*"), starting with "/": decoded, without dot segments.'
        )
        raise ConfigurationError(msg)
    rest = PARAM_REGEX.sub("", exact)
    try:
        # The slash keeps Starlette from taking an empty path for a host name.
        source = compile_path(f"/{exact}")[0].pattern.removeprefix("^/").removesuffix("$")
    except (AssertionError, KeyError, ValueError):
        source = None
    if source is None or "{" in rest or "}" in rest:
        msg = f"The path {path!r} of a rule has a malformed, unknown or repeated parameter."
        raise ConfigurationError(msg)
    if is_prefix:
        below = source + "(?:/.*)?"
        return re.compile(below, re.DOTALL), re.compile(below, re.DOTALL | re.IGNORECASE)
    # "/" alone and "/pay/" keep the slash of their own.
    bare = source.removesuffix("/") if exact != "/" else ""
    return re.compile(source), re.compile(f"{bare}/?", re.IGNORECASE)

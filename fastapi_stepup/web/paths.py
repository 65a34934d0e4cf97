"""Paths of rules: patterns, the normalized form of a request's path, unroutable paths."""

import re
from posixpath import normpath
from typing import Any, Final
from urllib.parse import unquote

from starlette.routing import PARAM_REGEX, compile_path

from fastapi_stepup.errors import ConfigurationError

# No honest client sends these. A router may read such a path differently than a rule does
# (`/pay\n` is routed to `/pay`), and so may a server behind the app.
UNROUTABLE: Final = re.compile(r"\A(?!/)|[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]|(?:^|/)\.\.?(?:/|$)")

_UNUSABLE: Final = re.compile(r"[\x00-\x20\x7f?#%\\*]|//|(?:^|/)\.\.?(?:/|$)")
_UNTIDY: Final = re.compile(r"//|/\.\.?(?:/|$)")


def normalized(path: str) -> str:
    """Return *path* as the most lenient server behind the app would read it.

    Decodes leftover percent-encoding once, then resolves dot segments and doubled slashes. Keeps
    the case and a slash at the end.
    """
    decoded = unquote(path) if "%" in path else path
    return f"/{normpath(decoded).lstrip('/')}" if _UNTIDY.search(decoded) else decoded


def compiled(path: Any) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return a rule's path as two patterns: the exact one and the loose one.

    The loose one is for normalized paths. It ignores the case and one slash at the end.

    Raises:
        ConfigurationError: The path could never match, or is ambiguous.
    """
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

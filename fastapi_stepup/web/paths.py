"""Paths of rules: patterns, the normalized form of a request's path, unroutable paths."""

import re
from collections.abc import Iterator
from posixpath import normpath
from typing import Any, Final
from urllib.parse import unquote

from starlette.convertors import CONVERTOR_TYPES, Convertor
from starlette.routing import PARAM_REGEX, compile_path

from fastapi_stepup.errors import ConfigurationError

MAX_PATH: Final = 2048  # characters; servers accept request lines of 64 KiB

# No honest client sends these. A router may read such a path differently than a rule does
# (`/pay\n` is routed to `/pay`), and so may a server behind the app.
UNROUTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_DOT_SEGMENT: Final = re.compile(r"/\.\.?(?:/|\Z)")
_UNUSABLE: Final = re.compile(r"[\x00-\x20\x7f?#%\\*]|//|(?:^|/)\.\.?(?:/|$)")
# Patterns of this form match neither an empty text nor a slash: alphanumerics, classes of them,
# and groups. Others may.
_SLASHLESS: Final = re.compile(
    r"(?:[A-Za-z0-9_{},()|?:*+-]|\\[dw.-]|\[-?(?:[A-Za-z0-9_]-[A-Za-z0-9_]|[A-Za-z0-9_]|\\[dw])*-?\])*"
)


def is_unroutable(path: str) -> bool:
    """Return whether *path* is one that no honest client sends.

    It does not start with a slash, is longer than 2,048 characters, or has control characters,
    backslashes, lone surrogates or dot segments.
    """
    return (
        len(path) > MAX_PATH
        or not path.startswith("/")
        or "\\" in path
        or ("/." in path and _DOT_SEGMENT.search(path) is not None)
        # The pattern takes ten times as long as `isprintable`, which sees some characters more.
        or (not path.isprintable() and UNROUTABLE.search(path) is not None)
    )


def normalized(path: str) -> str:
    """Return *path* as the most lenient server behind the app would read it.

    Decodes leftover percent-encoding once, then resolves dot segments and doubled slashes. Keeps
    the case and a slash at the end. Linear in the length of the path.
    """
    decoded = unquote(path) if "%" in path else path
    if "//" in decoded or ("/." in decoded and _DOT_SEGMENT.search(decoded) is not None):
        return f"/{normpath(decoded).lstrip('/')}"
    return decoded


def folded(text: str) -> str:
    """Return *text* so that texts which loose patterns cannot tell apart are equal."""
    if text.isascii():
        return text.lower()
    # IGNORECASE takes these two for an "i" and `casefold` does not.
    return text.replace("\u0130", "i").replace("\u0131", "i").casefold()


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
    if len(path) > MAX_PATH:
        msg = f"The path of a rule has more than {MAX_PATH} characters, so it never matches."
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


def pieces(template: str) -> Iterator[str | Convertor[Any]]:
    """Yield a path template as literal texts and the convertors of its parameters."""
    at = 0
    for found in PARAM_REGEX.finditer(template):
        yield template[at : found.start()]
        yield CONVERTOR_TYPES[(found[2] or ":str")[1:]]
        at = found.end()
    yield template[at:]


def stays_in_segment(convertor: Convertor[Any]) -> bool:
    """Return whether each value of *convertor* is one segment or a part of one, and not empty."""
    regex = convertor.regex
    if regex == "[^/]+":
        return True
    # An app's own convertor may match anything: its pattern has to show that it does not.
    return _SLASHLESS.fullmatch(regex) is not None and re.fullmatch(regex, "") is None

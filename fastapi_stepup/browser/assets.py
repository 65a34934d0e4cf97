"""Serves the browser's side: `stepup.js`, its React hook `use-stepup.js`, and their types.

Both are ES modules. Their documentation is in the files of types beside them. `stepup.js` loads its
parts when it needs them, by its own path and `?part=…`: whatever lets a page load the script, such
as a rule of the middleware, lets it load these too.
"""

import base64
import gzip
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Final, NamedTuple

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from fastapi_stepup.guard.paths import paths_of

_SCRIPT: Final = "stepup.js"
_NAME: Final = "stepup_js"
_PARTS: Final = ("authorize", "flow", "passkey")
_YEAR: Final = 365 * 24 * 3600


class StepUpScript(NamedTuple):
    """URL and hash of `stepup.js`, for the tag of a page that loads it.

    Attributes:
        url: The script's path, with the version as its cache key: it may be kept forever.
        integrity: The `integrity` attribute (sha384).
    """

    url: str
    integrity: str


class _Asset:
    """A file of the package, ready to be sent."""

    def __init__(
        self, name: str, media_type: str, parts: "Mapping[str, _Asset] | None" = None
    ) -> None:
        self.name = name
        self.parts = parts or {}
        self.media_type = media_type
        self.content = files("fastapi_stepup.browser").joinpath(name).read_bytes()
        self.zipped = gzip.compress(self.content, mtime=0)
        digest = hashlib.sha384(self.content).digest()
        self.integrity = f"sha384-{base64.b64encode(digest).decode()}"
        self.version = digest.hex()[:16]

    async def respond(self, request: Request) -> Response:
        part = request.query_params.get("part")
        asset = self if part is None else self.parts.get(part)
        return Response(status_code=404) if asset is None else asset.answer(request)

    def answer(self, request: Request) -> Response:
        zipped = _accepts_gzip(request)
        etag = f'"{self.version}{"-gzip" if zipped else ""}"'
        pinned = request.query_params.get("v") == self.version
        headers = {
            "Access-Control-Allow-Origin": "*",
            "Cache-Control": f"public, max-age={_YEAR}, immutable" if pinned else "no-cache",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "ETag": etag,
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        known = [tag.strip().removeprefix("W/") for tag in _field(request, "if-none-match")]
        if etag in known or known == ["*"]:
            return Response(status_code=304, headers=headers)
        if zipped:
            headers["Content-Encoding"] = "gzip"
        content = self.zipped if zipped else self.content
        return Response(content, headers=headers, media_type=self.media_type)


_JAVASCRIPT: Final = "text/javascript"
# By the names of their routes.
_ASSETS: Final = {
    _NAME: _Asset(
        _SCRIPT,
        _JAVASCRIPT,
        {part: _Asset(f"stepup-{part}.js", _JAVASCRIPT) for part in _PARTS},
    ),
    "stepup_js_types": _Asset("stepup.d.ts", "text/plain"),
    "use_stepup_js": _Asset("use-stepup.js", _JAVASCRIPT),
    "use_stepup_js_types": _Asset("use-stepup.d.ts", "text/plain"),
}
_DOCS: Final = {
    _SCRIPT: _ASSETS[_NAME],
    "swagger-ui-stepup.js": _Asset("swagger-ui-stepup.js", _JAVASCRIPT),
}


def stepup_script_routes(prefix: str = "") -> list[Route]:
    """Return the routes that serve `stepup.js`, `use-stepup.js` and their types below *prefix*.

    For an app without a helper router, which has them: `app.router.routes.extend(…)`.

    Under the URL of `stepup_script` the script may be cached for a year; under any other a cache
    has to ask whether it is still the same. Pages of every origin may load the files: they are
    public, and hold nothing of the app's.

    Args:
        prefix: Path prefix of the routes, without a slash at its end.
    """
    return [
        Route(f"{prefix}/{asset.name}", asset.respond, name=name, include_in_schema=False)
        for name, asset in _ASSETS.items()
    ]


async def respond_docs_script(name: str, request: Request) -> Response | None:
    """Return the file *name* of those that Swagger UI loads; `None` if it is no such file."""
    return await _DOCS[name].respond(request) if name in _DOCS else None


def stepup_script(where: HTTPConnection | str = "/step-up") -> StepUpScript:
    """Return the URL and the integrity of `stepup.js`, for a page's tag.

    ```html
    <script type="module" src="{{ script.url }}" integrity="{{ script.integrity }}"></script>
    ```

    Args:
        where: The page's request, in whose app the script is served; or the prefix under
            which the script is served, an outer `root_path` or a whole origin included.

    Raises:
        LookupError: No route serves it in the app of this request.
    """
    script = _ASSETS[_NAME]
    url = f"{where}/{_SCRIPT}" if isinstance(where, str) else _mounted(where)
    return StepUpScript(f"{url}?v={script.version}", script.integrity)


def _mounted(connection: HTTPConnection) -> str:
    """Return the script's path in the app of *connection*, as a page of this host names it."""
    paths = paths_of(connection, _NAME)
    if paths is None:
        msg = (
            'Nothing serves "stepup.js" in this app: '
            "app.include_router(stepup_router(guard)), or stepup_script_routes without one."
        )
        raise LookupError(msg)
    return paths[0]


def _field(request: Request, name: str) -> list[str]:
    """Return the members of a list field, which may come in several lines (RFC 9110 5.3)."""
    return ",".join(request.headers.getlist(name)).split(",")


def _accepts_gzip(request: Request) -> bool:
    """Return whether the client accepts gzip; a weight of zero says that it does not."""
    for coding in _field(request, "accept-encoding"):
        name, _, weight = coding.lower().partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False

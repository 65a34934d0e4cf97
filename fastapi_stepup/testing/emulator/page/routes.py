"""Routes of the emulator's page at `/`: one HTML file, its script and its style sheet.

The page shows and does what the admin API gives; nothing is rendered here. Its policy allows its
own files only, and no frame.
"""

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_HERE: Final = Path(__file__).parent
_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/_emulator/page.css": ("page.css", "text/css"),
    "/_emulator/page.js": ("page.js", "text/javascript"),
    "/_emulator/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> list[Route]:
    """Return the routes of the page's files."""
    return [_route(path, name, media_type) for path, (name, media_type) in _FILES.items()]


def _route(path: str, name: str, media_type: str) -> Route:
    async def answer(_: Request) -> Response:
        return Response((_HERE / name).read_bytes(), headers=_HEADERS, media_type=media_type)

    return Route(path, answer, methods=["GET"])

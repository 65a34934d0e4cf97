"""The HTTP libraries that StepUpAuth serves: httpx, and httpx2 where it is installed.

Both have the same classes under the same names, and neither accepts those of the other.
"""

from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import httpx

from fastapi_stepup.client.errors import StepUpFailed

_LIBRARIES: Final[list[Any]] = [httpx]
with suppress(ModuleNotFoundError):
    _LIBRARIES.append(import_module("httpx2"))

if TYPE_CHECKING:
    import httpx2

    class AuthBase(httpx.Auth, httpx2.Auth):  # type: ignore[misc]  # equal but for their types
        """An `Auth` of both libraries."""

    Request: TypeAlias = httpx.Request | httpx2.Request
    Response: TypeAlias = httpx.Response | httpx2.Response
    URL: TypeAlias = httpx.URL | httpx2.URL
else:
    AuthBase = type("AuthBase", tuple(library.Auth for library in _LIBRARIES), {})
    Request = Response = URL = Any

UNREADABLE: Final = tuple(library.DecodingError for library in _LIBRARIES)
INVALID_URL: Final = (TypeError, ValueError, *(library.InvalidURL for library in _LIBRARIES))


def post(model: Any, url: Any, **options: Any) -> Any:
    """Return a POST request of the library of the request *model*, which follows no redirect.

    Args:
        model: The request whose library is used.
        url: An absolute URL of the same library.
        options: Other arguments of the library's `Request`.
    """
    library = next(one for one in _LIBRARIES if isinstance(model, one.Request))
    request = library.Request("POST", url, **options)
    request.url = _pinned(library.URL)(url)
    return request


@cache
def _pinned(kind: Any) -> Any:
    """Return a subclass of the URL class *kind* that a redirect cannot be built from.

    A client decides by its own settings whether it follows a redirect, and an `Auth` has no say
    in it. A client asks a URL for its fragment only in order to build the next request.
    """

    def fragment(_: Any) -> str:
        raise StepUpFailed("redirected")

    return type("PinnedURL", (kind,), {"fragment": property(fragment)})

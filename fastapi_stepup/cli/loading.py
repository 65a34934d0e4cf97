"""load: find an app by `module:app` or by a file, and the guards that live in its process."""

import gc
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

from starlette.applications import Starlette

from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.paths import has_routes
from fastapi_stepup.web.route_inventory import GuardedRoute, guarded_routes

_NAMES: Final = ("app", "api", "application")


class LoadingFailed(Exception):
    """There is no such app; the message says what to write instead."""


def load(target: str) -> Starlette:
    """Return the app that *target* names.

    Imports it, so the module's code runs. A file in a package is imported as a module of that
    package.

    Args:
        target: `module:app`, `module`, or the path of a file, with `:app` or without.

    Raises:
        LoadingFailed: There is no such module or app.
    """
    place, _, name = target.partition(":")
    module_name = _module_of(Path(place)) if place.endswith(".py") else place
    if not place.endswith(".py"):
        _on_path(Path.cwd())
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        msg = f"There is no module {module_name!r}. Name it as `package.module:app`, or a file."
        raise LoadingFailed(msg) from None
    names = (name,) if name else _NAMES
    found = [getattr(module, each) for each in names if hasattr(module, each)]
    if not name and not found:
        found = [value for value in vars(module).values() if isinstance(value, Starlette)]
    if not found:
        msg = f"{module_name!r} has no {name or 'app'!r}. Name it as `{module_name}:NAME`."
        raise LoadingFailed(msg)
    app: Starlette = found[0]
    if not has_routes(app):
        msg = f"{module_name}:{name or 'app'} is a {type(app).__name__}, not a FastAPI app."
        raise LoadingFailed(msg)
    return app


def guards() -> list[StepUpGuard]:
    """Return every guard of this process.

    A guard may live in the closure of a factory only, where no name leads to it; so the garbage
    collector is asked.
    """
    return [item for item in gc.get_objects() if issubclass(type(item), StepUpGuard)]


def guards_of(app: Starlette) -> list[StepUpGuard]:
    """Return the guards that stand in front of a route of *app*.

    One that `any_of` made counts where a route asks it, and not only one of its members.
    """
    found = []
    for guard in guards():
        others = [member for member in guard.members if member is not guard]
        if _guarded(app, guard).difference(*(_guarded(app, other) for other in others)):
            found.append(guard)
    return found


def _guarded(app: Starlette, guard: StepUpGuard) -> set[GuardedRoute]:
    """Return the routes that *guard* is in front of."""
    return {route for route in guarded_routes(app, guard) if not route.is_open}


def _module_of(file: Path) -> str:
    if not file.is_file():
        msg = f"There is no file {str(file)!r}."
        raise LoadingFailed(msg)
    file = file.resolve()
    parts, folder = [file.stem], file.parent
    if file.stem == "__init__":
        parts = []
    while folder.joinpath("__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    _on_path(folder)
    return ".".join(parts)


def _on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

"""Secrets that must not be shown, neither by `repr` nor by an error report."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Secret(str):
    """Text that no `repr` shows: neither that of a container nor that of a frame's variables.

    Does not hide itself from `str`, `format` or `print`, and slices of it are plain text.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret()"


def without_frames(
    method: Callable[Arguments, Coroutine[Any, Any, Result]],
) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
    """Decorate a coroutine function whose arguments are secrets.

    Whatever leaves it, a cancellation too, has a traceback that starts here: error reports collect
    the local variables of each frame of it. Chained errors have none.
    """

    @wraps(method)
    async def calling(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        call = method(*args, **kwargs)
        # The arguments are variables of this frame too.
        del args, kwargs
        try:
            return await call
        except BaseException as error:  # noqa: BLE001  # raised again
            error.__context__ = error.__cause__ = None
            raise error.with_traceback(None)  # noqa: B904  # it is the same error

    return calling

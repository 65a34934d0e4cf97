"""Immutability: settings that hold from construction on, and read-only JSON objects."""

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Self


class SetOnce:
    """Base of objects whose public attributes can be set once, by the constructor.

    An attempt to change one raises `AttributeError`, so that a guarded route cannot be loosened
    while it runs. Does not cover private attributes.
    """

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and hasattr(self, name):
            msg = f"{type(self).__name__}.{name} is immutable: make a new one with other settings."
            raise AttributeError(msg)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> NoReturn:
        msg = f"{type(self).__name__} is immutable."
        raise AttributeError(msg)


class FrozenDict(dict[str, Any]):
    """A `dict` that refuses changes.

    A subclass of `dict`, because `json`, `copy`, pydantic and FastAPI write one out as it is.
    Copies by `dict(…)`, `copy()` and `|` are plain dicts. Does not freeze its values.
    """

    __slots__ = ()

    def __new__(cls, source: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> Self:
        frozen = super().__new__(cls)
        dict.update(frozen, source)
        return frozen

    def __init__(self, source: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        """Do nothing: `dict.__init__` would change what `__new__` has filled."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        msg = "This mapping is read-only: change a copy, dict(…)."
        raise TypeError(msg)

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)

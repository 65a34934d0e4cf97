"""Objects that refuse changes: `SetOnce` and `FrozenDict`."""

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_stepup._immutable import FrozenDict, SetOnce


class Settings(SetOnce):
    """An object with one public and one private attribute."""

    def __init__(self) -> None:
        self.limit = 1
        self._used = 0


class Slotted(SetOnce):
    """The same without a `__dict__`."""

    __slots__ = ("limit",)

    def __init__(self) -> None:
        self.limit = 1


def test_a_public_attribute_is_set_once() -> None:
    """The constructor sets it; the message names class and attribute, and the way out."""
    for settings in (Settings(), Slotted()):
        name = type(settings).__name__

        with pytest.raises(AttributeError, match=rf"^{name}\.limit is immutable: make a new one"):
            settings.limit = 2
        with pytest.raises(AttributeError, match=rf"^{name} is immutable"):
            del settings.limit
        assert settings.limit == 1


def test_private_state_can_change() -> None:
    """Counters and locks are no settings."""
    settings = Settings()
    settings._used += 1

    assert settings._used == 1


def test_a_frozen_dict_refuses_each_change(subtests: pytest.Subtests) -> None:
    """By whichever method of a dict."""
    changes: dict[str, Callable[[Any], object]] = {
        "set": lambda d: d.__setitem__("a", 2),
        "delete": lambda d: d.__delitem__("a"),
        "or": lambda d: d.__ior__({"a": 2}),
        "update": lambda d: d.update(a=2),
        "pop": lambda d: d.pop("a"),
        "popitem": lambda d: d.popitem(),
        "setdefault": lambda d: d.setdefault("b", 2),
        "clear": lambda d: d.clear(),
    }
    for name, change in changes.items():
        frozen = FrozenDict({"a": 1})

        with subtests.test(name):
            with pytest.raises(TypeError, match=r"read-only: change a copy"):
                change(frozen)
            assert frozen == {"a": 1}


def test_initialising_a_frozen_dict_again_changes_nothing() -> None:
    """`dict.__init__` adds to what is there."""
    frozen = FrozenDict({"a": 1})
    frozen.__init__({"b": 2})  # type: ignore[misc]  # the call under test

    assert frozen == {"a": 1}
    with pytest.raises(TypeError):
        vars(frozen)


def test_copies_of_a_frozen_dict_are_frozen() -> None:
    """Except those that ask for a plain one."""
    frozen = FrozenDict({"a": FrozenDict({"b": (1,)})})

    for twin in (copy.copy(frozen), copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert twin == frozen
        assert type(twin) is type(twin["a"]) is FrozenDict
    assert type(dict(frozen)) is type(frozen | {}) is type(frozen.copy()) is dict


def test_a_frozen_dict_is_json_as_it_is() -> None:
    """For the standard library too."""
    frozen = FrozenDict([("a", FrozenDict({"b": (1, None)}))])

    assert json.dumps(frozen) == '{"a": {"b": [1, null]}}'

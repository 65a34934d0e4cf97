"""SetOnce: settings that hold from construction on."""

from typing import NoReturn


class SetOnce:
    """Public attributes can be set once, which the constructor does, and never again.

    What guards a route cannot be loosened while it runs, neither on purpose nor by a slip: an
    attempt is an error, not a silent change. Private state is not covered.
    """

    def __setattr__(self, name: str, value: object) -> None:
        is_property = isinstance(getattr(type(self), name, None), property)
        if not name.startswith("_") and (is_property or name in vars(self)):
            msg = f"{type(self).__name__}.{name} is immutable: make a new one with other settings."
            raise AttributeError(msg)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> NoReturn:
        msg = f"{type(self).__name__} is immutable."
        raise AttributeError(msg)

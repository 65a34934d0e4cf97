"""Text that must not be shown."""


class Secret(str):
    """Text that no `repr` shows: neither that of a container nor that of a frame's variables.

    Does not hide itself from `str`, `format` or `print`, and slices of it are plain text.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret()"

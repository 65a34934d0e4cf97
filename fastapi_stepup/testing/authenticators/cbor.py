"""CBOR for WebAuthn (RFC 8949): integers, strings and maps of definite length only."""

from collections.abc import Mapping
from typing import Final, TypeAlias

Value: TypeAlias = "int | bytes | str | Mapping[int | str, Value]"

_MAX_DEPTH: Final = 4
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _MAP = 0, 1, 2, 3, 5
_DIRECT: Final = 24
_WIDTHS: Final = {24: 1, 25: 2, 26: 4, 27: 8}


def encoded(value: Value) -> bytes:
    """Return *value* in CBOR; members of maps keep their order."""
    if isinstance(value, int):
        return _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    if isinstance(value, bytes):
        return _head(_BYTES, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return _head(_TEXT, len(text)) + text
    members = (encoded(name) + encoded(member) for name, member in value.items())
    return _head(_MAP, len(value)) + b"".join(members)


def _head(major: int, argument: int) -> bytes:
    if argument < _DIRECT:
        return bytes([major << 5 | argument])
    info, width = next(
        (info, width) for info, width in _WIDTHS.items() if argument < 1 << 8 * width
    )
    return bytes([major << 5 | info]) + argument.to_bytes(width, "big")


def decoded(data: bytes, *, depth: int = _MAX_DEPTH) -> tuple[Value, bytes]:
    """Return the first item of *data* and the bytes after it.

    Args:
        data: CBOR that begins with one item.
        depth: The number of nested maps that are accepted.

    Raises:
        ValueError: It is not CBOR, or of another kind than this module knows.
    """
    major, argument, rest = _read_head(data)
    if major == _UNSIGNED:
        return argument, rest
    if major == _NEGATIVE:
        return -1 - argument, rest
    if major in (_BYTES, _TEXT):
        if len(rest) < argument:
            raise ValueError("CBOR ends too early")
        content, rest = rest[:argument], rest[argument:]
        return content if major == _BYTES else content.decode(), rest
    if major != _MAP or not depth:
        raise ValueError("CBOR of an unknown kind, or nested too deep")
    members: dict[int | str, Value] = {}
    for _ in range(argument):
        name, rest = decoded(rest, depth=0)
        if isinstance(name, (bytes, Mapping)):
            raise ValueError("a CBOR map with an unknown kind of name")  # noqa: TRY004 - one kind
        members[name], rest = decoded(rest, depth=depth - 1)
    return members, rest


def _read_head(data: bytes) -> tuple[int, int, bytes]:
    if not data:
        raise ValueError("CBOR ends too early")
    major, info = data[0] >> 5, data[0] & 0x1F
    if info < _DIRECT:
        return major, info, data[1:]
    width = _WIDTHS.get(info, 0)
    if not width or len(data) <= width:
        raise ValueError("CBOR of an indefinite length, or one that ends too early")
    return major, int.from_bytes(data[1 : width + 1], "big"), data[width + 1 :]

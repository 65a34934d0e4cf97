"""The CBOR that WebAuthn needs, against the examples of RFC 8949."""

import pytest

from fastapi_stepup.testing.authenticators.cbor import Value, decoded, encoded

EXAMPLES: list[tuple[str, Value]] = [  # appendix A, and a few of our own beside them
    ("00", 0),
    ("17", 23),
    ("1818", 24),
    ("190100", 256),
    ("1a000f4240", 1000000),
    ("1b000000e8d4a51000", 1000000000000),
    ("20", -1),
    ("26", -7),
    ("3903e7", -1000),
    ("40", b""),
    ("4401020304", b"\1\2\3\4"),
    ("60", ""),
    ("62c3bc", "\u00fc"),
    ("a0", {}),
    ("a201020304", {1: 2, 3: 4}),
    ("a16161a126617a", {"a": {-7: "z"}}),
]


def test_value_is_encoded_and_decoded(subtests: pytest.Subtests) -> None:
    """Both directions agree with the RFC, and what follows the item is returned."""
    for data, value in EXAMPLES:
        with subtests.test(data=data):
            assert encoded(value).hex() == data
            assert decoded(bytes.fromhex(data) + b"rest") == (value, b"rest")


def test_long_string_is_encoded() -> None:
    """The length takes as many bytes as it needs."""
    value = b"x" * 70_000
    assert encoded(value)[:5].hex() == "5a00011170"
    assert decoded(encoded(value)) == (value, b"")


def test_all_else_is_refused(subtests: pytest.Subtests) -> None:
    """Unknown kinds and malformed data are a ValueError and no other error."""
    rows: dict[str, str] = {
        "nothing": "",
        "no-argument": "18",
        "half-argument": "1901",
        "half-string": "4401",
        "not-utf-8": "61ff",
        "half-map": "a101",
        "indefinite": "5f",
        "reserved": "1c00",
        "list": "80",
        "boolean": "f5",
        "bytes-as-name": "a14000",
        "map-as-name": "a1a000",
        "deep": "a100" * 5,
    }
    for name, data in rows.items():
        with subtests.test(name), pytest.raises(ValueError, match=r"CBOR|utf-8"):
            decoded(bytes.fromhex(data))

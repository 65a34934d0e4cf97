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


@pytest.mark.parametrize(("data", "value"), EXAMPLES)
def test_value_is_encoded_and_decoded(data: str, value: Value) -> None:
    """Both directions agree with the RFC, and what follows the item is returned."""
    assert encoded(value).hex() == data
    assert decoded(bytes.fromhex(data) + b"rest") == (value, b"rest")


def test_long_string_is_encoded() -> None:
    """The length takes as many bytes as it needs."""
    value = b"x" * 70_000
    assert encoded(value)[:5].hex() == "5a00011170"
    assert decoded(encoded(value)) == (value, b"")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="nothing"),
        pytest.param("18", id="no-argument"),
        pytest.param("1901", id="half-argument"),
        pytest.param("4401", id="half-string"),
        pytest.param("61ff", id="not-utf-8"),
        pytest.param("a101", id="half-map"),
        pytest.param("5f", id="indefinite"),
        pytest.param("1c00", id="reserved"),
        pytest.param("80", id="list"),
        pytest.param("f5", id="boolean"),
        pytest.param("a14000", id="bytes-as-name"),
        pytest.param("a1a000", id="map-as-name"),
        pytest.param("a100" * 5, id="deep"),
    ],
)
def test_all_else_is_refused(data: str) -> None:
    """Unknown kinds and malformed data are a ValueError and no other error."""
    with pytest.raises(ValueError, match=r"CBOR|utf-8"):
        decoded(bytes.fromhex(data))

"""Segments of a token: one spelling of base64url for each value."""

import base64

import pytest

from fastapi_stepup.tokens.jws import decode_segment
from tests.support.token_factory import b64

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("size", [pytest.param(1, id="4-bits"), pytest.param(2, id="2-bits")])
def test_unused_bits_are_zero(size: int) -> None:
    """Of all last characters that decode to the same bytes, one is accepted."""
    data = b"x" * 30 + b"y" * size
    accepted = [
        last for last in ALPHABET if decode_segment((b64(data)[:-1] + last).encode()) == data
    ]

    assert accepted == [b64(data)[-1]]


def test_segments_decode_as_the_standard_library_does() -> None:
    """Every length, every byte; lengths that no encoder makes are rejected."""
    everything = bytes(range(256))
    for length in range(1, 257):
        data = everything[-length:]
        assert decode_segment(base64.urlsafe_b64encode(data).rstrip(b"=")) == data
    assert decode_segment(b"") is None
    # Several foreign characters may leave a length that fits.
    for foreign in (b"****", b"====", b"\n\n\n\n", b"++++", b"\0\0\0\0"):
        assert decode_segment(b"QU" + foreign + b"JD") is None
    assert decode_segment(b"QUJD") == b"ABC"
    assert [decode_segment(b"A" * n) for n in (1, 5, 9)] == [None, None, None]

"""Pictures in replies: QR codes, as base64 of a PNG."""

import base64
import io
from typing import Final

EMPTY_PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJg"
    "gg=="
)
"""A picture of one pixel, in place of a QR code that cannot be drawn."""
_SCALE: Final = 4


def qr_code(text: str) -> str:
    """Return the QR code of *text* as base64 of a PNG; without `segno` an empty picture.

    `segno` is part of the `demo` extra: the emulator itself needs no further package.
    """
    try:
        import segno  # noqa: PLC0415 - an extra
    except ImportError:
        return EMPTY_PNG
    png = io.BytesIO()
    segno.make(text, micro=False).save(png, kind="png", scale=_SCALE)
    return base64.b64encode(png.getvalue()).decode()

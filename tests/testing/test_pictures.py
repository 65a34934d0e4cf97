"""QR codes in replies, read by a library that scans them."""

import base64
import io
import sys

import pytest
import zxingcpp
from PIL import Image

from fastapi_stepup.testing import Tokens
from tests.testing.conftest import Caller


def scanned(picture: str) -> str:
    """Return the text of a QR code that is given as base64 of a PNG."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("L")
    return zxingcpp.read_barcodes(image)[0].text


def test_enrolment_can_be_scanned(caller: Caller, ann: Tokens) -> None:
    """A phone reads the provisioning URL."""
    enrolled = caller.post(
        "totp/update", {"loginId": "ann@example.com"}, token=ann.refresh_token
    ).json()
    assert scanned(enrolled["image"]) == enrolled["provisioningURL"]


def test_notp_message_can_be_scanned(caller: Caller) -> None:
    """A phone reads the address of the page that sends the message."""
    started = caller.post("notp/whatsapp/signin", {"loginId": "ann@example.com"}).json()
    assert scanned(started["image"]) == started["redirectUrl"]


def test_picture_is_empty_without_segno(
    caller: Caller, ann: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator works without the extra: the picture has one pixel."""
    monkeypatch.setitem(sys.modules, "segno", None)
    enrolled = caller.post(
        "totp/update", {"loginId": "ann@example.com"}, token=ann.refresh_token
    ).json()
    assert Image.open(io.BytesIO(base64.b64decode(enrolled["image"]))).size == (1, 1)

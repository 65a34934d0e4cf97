"""The events: what their fields may hold."""

import dataclasses
import logging
from typing import get_args

import pytest

from fastapi_stepup.errors import FailureReason, RejectReason
from fastapi_stepup.events import (
    Event,
    UnknownKid,
    printable_kid,
)


def test_a_kid_is_made_fit_for_a_log_line(subtests: pytest.Subtests) -> None:
    """Escaped and cut: one line, ASCII, at most 64 characters (OB-002)."""
    kids = {
        "SK2abc": "SK2abc",
        "a\nb\r\x1b[31m": "a\\nb\\r\\x1b[31m",
        "x" * 300: "x" * 64,
        "\n" * 64: "\\n" * 32,
        "\u202egpj": "\\u202egpj",
        "\ud800": "\\ud800",
        "it's": "it's",
        "both ' and \"": "both \\' and \"",
    }
    for kid, printed in kids.items():
        with subtests.test(ascii(kid)):
            assert printable_kid(kid) == printed
            assert len(printable_kid(kid)) <= 64


BOUNDED = {int, float, bool, FailureReason, RejectReason}


def test_every_field_of_an_event_is_bounded(subtests: pytest.Subtests) -> None:
    """Numbers, enums, words from a fixed list; `kid` is the one exception, for logs (OB-003)."""
    fields = [(kind, field) for kind in get_args(Event) for field in dataclasses.fields(kind)]
    for kind, field in fields:
        words = get_args(field.type)
        closed = field.type in BOUNDED or (words and all(isinstance(word, str) for word in words))
        named_by_us = (kind.__name__, field.name) in {
            ("UnknownKid", "kid"),
            ("KeySkipped", "reason"),
            ("ReportOnly", "code"),
            ("OneTimeUse", "purpose"),
        }
        with subtests.test(f"{kind.__name__}.{field.name}"):
            assert closed or named_by_us


def test_an_event_cannot_be_changed() -> None:
    """A hook cannot change what the next reader of the event sees."""
    event = UnknownKid("negative", "k")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.kid = "x"  # type: ignore[misc]


def test_the_package_logs_under_one_name() -> None:
    """Applications can tune or silence it as a whole."""
    assert logging.getLogger("fastapi_stepup").handlers == []

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


@pytest.mark.parametrize(
    ("kid", "printed"),
    [
        pytest.param("SK2abc", "SK2abc", id="plain"),
        pytest.param("a\nb\r\x1b[31m", "a\\nb\\r\\x1b[31m", id="OB-002"),
        pytest.param("x" * 300, "x" * 64, id="OB-002-long"),
        pytest.param("\n" * 64, "\\n" * 32, id="OB-002-long-when-escaped"),
        pytest.param("\u202egpj", "\\u202egpj", id="OB-002-bidi"),
        pytest.param("\ud800", "\\ud800", id="OB-002-surrogate"),
        pytest.param("it's", "it's", id="quote"),
        pytest.param("both ' and \"", "both \\' and \"", id="quotes"),
    ],
)
def test_a_kid_is_made_fit_for_a_log_line(kid: str, printed: str) -> None:
    """Escaped and cut: one line, ASCII, at most 64 characters."""
    assert printable_kid(kid) == printed
    assert len(printable_kid(kid)) <= 64


BOUNDED = {int, float, bool, FailureReason, RejectReason}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=f"OB-003-{kind.__name__}") for kind in get_args(Event)]
)
def test_every_field_of_an_event_is_bounded(kind: type[Event]) -> None:
    """Numbers, enums, and words from a fixed list; `kid` is the one exception, for logs."""
    for field in dataclasses.fields(kind):
        words = get_args(field.type)
        closed = field.type in BOUNDED or (words and all(isinstance(word, str) for word in words))
        named_by_us = (kind.__name__, field.name) in {
            ("UnknownKid", "kid"),
            ("KeySkipped", "reason"),
            ("ReportOnly", "code"),
            ("OneTimeUse", "purpose"),
        }
        assert closed or named_by_us


def test_an_event_cannot_be_changed() -> None:
    """A hook cannot change what the next reader of the event sees."""
    event = UnknownKid("negative", "k")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.kid = "x"  # type: ignore[misc]


def test_the_package_logs_under_one_name() -> None:
    """Applications can tune or silence it as a whole."""
    assert logging.getLogger("fastapi_stepup").handlers == []

"""Clocks as defaults: they look `time` up when called, so that a frozen time in a test counts."""

import time


def wall() -> float:
    """Return epoch seconds."""
    return time.time()


def monotonic() -> float:
    """Return seconds that never go back."""
    return time.monotonic()

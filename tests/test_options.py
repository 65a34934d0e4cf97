"""Checks of constructor arguments: what passes, and the message of what does not."""

from datetime import timedelta
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import pytest
from pydantic import HttpUrl, SecretStr

from fastapi_stepup import _options
from fastapi_stepup.errors import ConfigurationError


class Minutes(IntEnum):
    """Durations that a program may name."""

    FIVE = 300


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        pytest.param(0, 0, id="zero"),
        pytest.param(300, 300, id="int"),
        pytest.param(300.0, 300, id="whole-float"),
        pytest.param(-0.0, 0, id="minus-zero"),
        pytest.param(Minutes.FIVE, 300, id="enum"),
        pytest.param(timedelta(minutes=5), 300, id="timedelta"),
        pytest.param(timedelta(0), 0, id="timedelta-zero"),
        pytest.param(timedelta(days=3650), 315_360_000, id="ten-years"),
        pytest.param("90s", 90, id="seconds"),
        pytest.param("5m", 300, id="minutes"),
        pytest.param("2h", 7200, id="hours"),
        pytest.param("1d", 86_400, id="days"),
        pytest.param("0s", 0, id="zero-seconds"),
        pytest.param("005m", 300, id="leading-zeros"),
        pytest.param("3650d", 315_360_000, id="ten-years-in-days"),
    ],
)
def test_durations_are_whole_seconds(given: Any, seconds: int) -> None:
    """In each allowed form."""
    read = _options.duration("window", given)

    assert read == seconds
    assert type(read) is int


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(None, id="none"),
        pytest.param(-1, id="negative"),
        pytest.param(-0.5, id="negative-fraction"),
        pytest.param(0.5, id="fraction"),
        pytest.param(300.000001, id="little-fraction"),
        pytest.param(float("nan"), id="nan"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param(float("-inf"), id="minus-infinity"),
        pytest.param(True, id="true"),
        pytest.param(False, id="false"),
        pytest.param(315_360_001, id="over-ten-years"),
        pytest.param(10**400, id="beyond-float"),
        pytest.param(1e300, id="huge-float"),
        pytest.param(timedelta(seconds=-1), id="negative-timedelta"),
        pytest.param(timedelta(milliseconds=1500), id="fractional-timedelta"),
        pytest.param(timedelta.max, id="longest-timedelta"),
        pytest.param(timedelta.min, id="shortest-timedelta"),
        pytest.param("", id="empty"),
        pytest.param("5", id="no-unit"),
        pytest.param("m", id="no-number"),
        pytest.param("-5m", id="negative-text"),
        pytest.param("+5m", id="plus"),
        pytest.param("5.5m", id="fraction-text"),
        pytest.param("5M", id="upper-case"),
        pytest.param("5 m", id="space-inside"),
        pytest.param(" 5m", id="space-before"),
        pytest.param("5m ", id="space-after"),
        pytest.param("5m\n", id="newline-at-end"),
        pytest.param("5m\x00", id="nul"),
        pytest.param("5min", id="word"),
        pytest.param("1w", id="week"),
        pytest.param("1h30m", id="two-units"),
        pytest.param("1e3s", id="exponent"),
        pytest.param("1_0s", id="underscore"),
        pytest.param("0x5s", id="hex"),
        pytest.param("nan", id="nan-text"),
        pytest.param("inf", id="inf-text"),
        pytest.param("PT5M", id="iso-8601"),
        pytest.param("\uff15m", id="full-width-digit"),
        pytest.param("\u0665m", id="arabic-digit"),
        pytest.param("5\uff4d", id="full-width-unit"),
        pytest.param("9999999999s", id="ten-digits"),
        pytest.param("9" * 10_000 + "s", id="more-digits-than-python-reads"),
        pytest.param("3651d", id="over-ten-years-in-days"),
        pytest.param(b"5m", id="bytes"),
        pytest.param(Decimal(300), id="decimal"),
        pytest.param(Fraction(300), id="fraction-object"),
        pytest.param([300], id="list"),
        pytest.param(5j, id="complex"),
        pytest.param(object(), id="object"),
    ],
)
def test_other_durations_are_refused(given: Any) -> None:
    """At construction, with a message that shows the allowed forms."""
    with pytest.raises(ConfigurationError, match=r"^window=.* is not a duration.*\"5m\""):
        _options.duration("window", given)


@pytest.mark.parametrize("value", [0, 60, 60.0, 0.5, -0.0])
def test_seconds_are_numbers_in_bounds(value: float) -> None:
    """Both bounds are allowed."""
    assert _options.seconds("wait", value, 0, 60) == value
    assert type(_options.seconds("wait", value, 0, 60)) is float


@pytest.mark.parametrize(
    "value",
    [-0.001, 60.001, float("nan"), float("inf"), True, "5", "5m", None, [5], timedelta(1), 10**400],
)
def test_other_seconds_are_refused(value: Any) -> None:
    """With the name, the bounds and the value."""
    with pytest.raises(
        ConfigurationError, match=r"^wait is a number of seconds from 0 to 60, not .+\.$"
    ):
        _options.seconds("wait", value, 0, 60)


def test_integers_are_in_bounds_and_no_booleans() -> None:
    """Nor floats, however whole."""
    assert [_options.integer("size", value, 0, 9) for value in (0, 9)] == [0, 9]
    for value in (-1, 10, True, 1.0, "1", None):
        with pytest.raises(
            ConfigurationError, match=rf"^size is a whole number from 0 to 9, not {value!r}\.$"
        ):
            _options.integer("size", value, 0, 9)


def test_flags_are_true_or_false() -> None:
    """What is merely truthy is a slip: `"false"`, say, from an environment variable."""
    assert [_options.flag("strict", value) for value in (True, False)] == [True, False]
    for value in (1, 0, "false", "", None):
        with pytest.raises(
            ConfigurationError, match=rf"^strict is True or False, not {value!r}\.$"
        ):
            _options.flag("strict", value)


def test_strings_are_exact() -> None:
    """Any iterable of them but one string, which would be taken apart letter by letter."""
    assert _options.strings("issuers", iter(["a", "b", "a"])) == {"a", "b"}
    assert _options.strings("issuers", ()) == frozenset()
    for values in ("abc", [""], [" "], ["a*"], [7], [None]):
        with pytest.raises(
            ConfigurationError, match=r"^issuers takes exact strings: no empty ones"
        ):
            _options.strings("issuers", values)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        pytest.param([HttpUrl("https://api.example")], "HttpUrl", id="url-object"),
        pytest.param(HttpUrl("https://api.example"), "HttpUrl", id="url-object-alone"),
        pytest.param(["a", SecretStr("b")], "SecretStr", id="secret-object"),
        pytest.param([7], "int", id="number"),
        pytest.param(None, "NoneType", id="none"),
    ],
)
def test_strings_name_what_is_no_text(values: Any, kind: str) -> None:
    """A URL object writes its URL with a slash at the end, which an exact string must not have."""
    with pytest.raises(ConfigurationError, match=f"^issuers takes exact .*; {kind} is no text.$"):
        _options.strings("issuers", values)


def test_one_of_names_the_choices() -> None:
    """In their order."""
    assert _options.one_of("mode", "b", ("a", "b", "c")) == "b"
    for value in ("d", "", "A", None, ["a"]):
        with pytest.raises(ConfigurationError, match=r'^mode is "a", "b" or "c", not '):
            _options.one_of("mode", value, ("a", "b", "c"))


def test_some_of_keeps_order_and_drops_repeats() -> None:
    """At least one of the choices, as any iterable but one string."""
    assert _options.some_of("methods", iter(["b", "a", "b"]), ("a", "b", "c")) == ("b", "a")
    for values in ((), ["d"], ["a", "d"], "a", None, 7):
        with pytest.raises(ConfigurationError, match=r"^methods is a tuple of: a, b, c\.$"):
            _options.some_of("methods", values, ("a", "b", "c"))


@pytest.mark.parametrize("value", ["P2abc", "x", "_-", "A" * 64])
def test_a_project_id_fits_a_path_and_a_host(value: str) -> None:
    """1 to 64 letters, digits, `_` and `-`."""
    assert _options.project_id(value) == value


@pytest.mark.parametrize(
    "value", ["", "A" * 65, "a/b", "a.b", "a b", "a\n", "\u00e9", "\uff21", None, 7, b"P2abc"]
)
def test_other_project_ids_are_refused(value: Any) -> None:
    """The message says where one is found."""
    with pytest.raises(ConfigurationError, match=r"DESCOPE_PROJECT_ID.*Project Settings"):
        _options.project_id(value)

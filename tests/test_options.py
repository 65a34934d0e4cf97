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


def test_durations_are_whole_seconds(subtests: pytest.Subtests) -> None:
    """In each allowed form."""
    allowed: list[tuple[Any, int]] = [
        (0, 0),
        (300, 300),
        (300.0, 300),
        (-0.0, 0),
        (Minutes.FIVE, 300),
        (timedelta(minutes=5), 300),
        (timedelta(0), 0),
        (timedelta(days=3650), 315_360_000),
        ("90s", 90),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86_400),
        ("0s", 0),
        ("005m", 300),
        ("3650d", 315_360_000),
    ]
    for given, seconds in allowed:
        with subtests.test(repr(given)):
            read = _options.duration("window", given)

            assert read == seconds
            assert type(read) is int


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([-1, -0.5, float("-inf"), timedelta(seconds=-1), timedelta.min],
                     id="negative"),
        pytest.param([0.5, 300.000001, timedelta(milliseconds=1500)], id="fractions"),
        pytest.param([315_360_001, 10**400, 1e300, float("inf"), timedelta.max, "3651d",
                      "9999999999s", "9" * 10_000 + "s"], id="over-ten-years"),
        pytest.param(["", "5", "m", "5M", "5min", "1w", "PT5M", "1h30m", "nan", "inf"],
                     id="other-units"),
        pytest.param(["-5m", "+5m", "5.5m", "1e3s", "1_0s", "0x5s", "\uff15m", "\u0665m",
                      "5\uff4d"], id="other-digits"),
        pytest.param([" 5m", "5 m", "5m ", "5m\n", "5m\x00"], id="other-characters"),
        pytest.param([None, True, False, float("nan"), b"5m", Decimal(300), Fraction(300), [300],
                      5j, object()], id="other-types"),
    ],
)  # fmt: skip
def test_other_durations_are_refused(values: list[Any], subtests: pytest.Subtests) -> None:
    """At construction, with a message that shows the allowed forms."""
    for given in values:
        with (
            subtests.test(ascii(given)[:40]),
            pytest.raises(ConfigurationError, match=r"^window=.* is not a duration.*\"5m\""),
        ):
            _options.duration("window", given)


def test_seconds_are_numbers_in_bounds(subtests: pytest.Subtests) -> None:
    """Both bounds are allowed; the message has the name, the bounds and the value."""
    for value in (0, 60, 60.0, 0.5, -0.0):
        assert _options.seconds("wait", value, 0, 60) == value
        assert type(_options.seconds("wait", value, 0, 60)) is float
    others: list[Any] = [-0.001, 60.001, float("nan"), float("inf"), 10**400, True, "5", "5m"]
    for other in [*others, None, [5], timedelta(1)]:
        with (
            subtests.test(repr(other)[:40]),
            pytest.raises(
                ConfigurationError, match=r"^wait is a number of seconds from 0 to 60, not .+\.$"
            ),
        ):
            _options.seconds("wait", other, 0, 60)


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


def test_strings_name_what_is_no_text(subtests: pytest.Subtests) -> None:
    """A URL object writes its URL with a slash at the end, which an exact string must not have."""
    url = HttpUrl("https://api.example")
    others: list[tuple[Any, str]] = [
        ([url], "HttpUrl"),
        (url, "HttpUrl"),
        (["a", SecretStr("b")], "SecretStr"),
        ([7], "int"),
        (None, "NoneType"),
    ]
    for values, kind in others:
        with (
            subtests.test(repr(values)),
            pytest.raises(ConfigurationError, match=f"^issuers takes .*; {kind} is no text.$"),
        ):
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
    assert _options.some_of("methods", ["b", "a"], ("a", "b")) == ("b", "a")
    for values in ((), ["d"], ["a", "d"], "a", None, 7):
        with pytest.raises(ConfigurationError, match=r"^methods is a tuple of: a, b, c\.$"):
            _options.some_of("methods", values, ("a", "b", "c"))


def test_a_project_id_fits_a_path_and_a_host(subtests: pytest.Subtests) -> None:
    """1 to 64 letters, digits, `_` and `-`; the message says where one is found."""
    for value in ("P2abc", "x", "_-", "A" * 64):
        assert _options.project_id(SecretStr(value)) == _options.project_id(value) == value
    others = ["", "A" * 65, "a/b", "a.b", "a b", "a\n", "\u00e9", "\uff21", None, 7, b"P2abc"]
    for other in others:
        with (
            subtests.test(ascii(other)),
            pytest.raises(ConfigurationError, match=r"DESCOPE_PROJECT_ID.*Project Settings"),
        ):
            _options.project_id(other)

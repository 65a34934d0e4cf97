"""The challenge with generated text: what is written is read, what is read costs linear time."""

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from fastapi_stepup import Challenge

TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
QUOTABLE = "".join(map(chr, range(0x20, 0x7F)))
PLAIN = QUOTABLE.replace('"', "").replace("\\", "")
RESTRICTED = ["error", "error_description", "error_uri", "scope"]

names = st.text(TCHAR, min_size=1, max_size=8)
challenges = st.one_of(
    st.builds(
        Challenge,
        names,
        st.dictionaries(
            names.map(str.lower).filter(lambda name: name not in RESTRICTED),
            st.text(QUOTABLE, max_size=12),
            max_size=4,
        ),
    ),
    st.builds(
        Challenge,
        names,
        st.dictionaries(st.sampled_from(RESTRICTED), st.text(PLAIN, max_size=12), max_size=4),
    ),
    st.builds(
        lambda scheme, token, pad: Challenge(scheme, token68=token + "=" * pad),
        names,
        st.text("abcXYZ019-._~+/", min_size=1, max_size=12),
        st.integers(0, 3),
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(challenges, max_size=4))
def test_whatever_is_built_comes_back(listed: list[Challenge]) -> None:
    """One challenge or several on one line: text and objects round-trip."""
    assert Challenge.parse(", ".join(map(str, listed))) == listed


@settings(max_examples=60, deadline=None)
@given(st.text('Bearer =,"\\\t\n\x00a68\u00e9', max_size=24))
def test_anything_is_read_or_refused_with_value_error(value: str) -> None:
    """No other exception escapes, and what is read round-trips."""
    with suppress(ValueError):
        read = Challenge.parse(value)
        assert Challenge.parse(", ".join(map(str, read))) == read


LONG = 60_000
MANY = LONG // 2  # challenges: each makes an object


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("a ," * MANY, id="schemes-and-spaces"),
        pytest.param("a," * MANY, id="schemes"),
        pytest.param("," * LONG, id="commas"),
        pytest.param(" ," * LONG, id="spaces-and-commas"),
        pytest.param("Bearer " + " " * LONG, id="spaces"),
        pytest.param("Bearer " + " " * LONG + "\n", id="spaces-and-newline"),
        pytest.param("Bearer a" + " " * LONG + "b", id="spaces-inside"),
        pytest.param("Bearer " + "a" * LONG, id="one-token"),
        pytest.param("Bearer " + "a" * LONG + '"', id="one-token-and-quote"),
        pytest.param("Bearer " + "a" * LONG + "=" * LONG + "?", id="padding"),
        pytest.param('Bearer a="' + "b" * LONG, id="unterminated"),
        pytest.param('Bearer a="' + "\\b" * LONG, id="unterminated-escapes"),
        pytest.param('Bearer a="' + "\\b" * LONG + '"', id="escapes"),
        pytest.param('Bearer a="' + 'b, c="' * LONG, id="quotes-everywhere"),
        pytest.param("Bearer " + ",".join(f"p{i}=1" for i in range(LONG)), id="parameters"),
        pytest.param("Bearer" + " a=" * LONG, id="equals-everywhere"),
        pytest.param("Bearer a=b" + "\t" * LONG + "?", id="tabs-after-token"),
        pytest.param("Bearer a=" + "b" * LONG + "\t" * LONG + "?", id="token-and-tabs"),
        pytest.param("Bearer a" + "\t" * LONG + "=" + "\t" * LONG + "?", id="tabs-around-equals"),
        pytest.param("a b, " * MANY, id="token68-list"),
    ],
)
def test_long_fields_take_linear_time(value: str) -> None:
    """Hundreds of kilobytes are read or refused in a second or less, not in hours."""
    started = time.process_time()

    with suppress(ValueError):
        Challenge.parse(value)

    assert time.process_time() - started < 5

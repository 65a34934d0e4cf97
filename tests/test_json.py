"""Strict JSON: one object in UTF-8 comes through, anything doubtful does not."""

import json
import sys
import time

import pytest
from hypothesis import given, settings, strategies as st

from fastapi_stepup._json import MAX_DEPTH, parse_object


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"{}", {}, id="empty"),
        pytest.param(b' \t\r\n{"a" : 1 }\n', {"a": 1}, id="whitespace"),
        pytest.param(b'{"a":[1,-2.5,1e3,true,false,null,"x"]}',
                     {"a": [1, -2.5, 1000.0, True, False, None, "x"]}, id="all-kinds"),
        pytest.param('{"é":"€😀"}'.encode(), {"é": "€😀"}, id="utf-8"),
        pytest.param(b'{"a":"\\u00e9\\ud83d\\ude00"}', {"a": "é😀"}, id="escapes"),
        pytest.param(b'{"a":"\\\\u00e9"}', {"a": "\\u00e9"}, id="escaped-backslash"),
        pytest.param(b'{"a":{"a":1},"b":{"a":2}}', {"a": {"a": 1}, "b": {"a": 2}},
                     id="same-name-on-other-levels"),
        pytest.param(b'{"a":1e-999}', {"a": 0.0}, id="underflow"),
        pytest.param(b'{"A":1,"a":2}', {"A": 1, "a": 2}, id="names-differ-in-case"),
    ],
)  # fmt: skip
def test_one_object_is_read(data: bytes, expected: dict[str, object]) -> None:
    """RFC 8259, with names compared character by character."""
    assert parse_object(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'"a"', id="string"),
        pytest.param(b"1", id="number"),
        pytest.param(b"{} {}", id="two"),
        pytest.param(b"{}x", id="text-after"),
        pytest.param(b"{}\x00", id="nul-after"),
        pytest.param(b"{a:1}", id="unquoted-name"),
        pytest.param(b"{'a':1}", id="single-quotes"),
        pytest.param(b'{"a":1,}', id="trailing-comma"),
        pytest.param(b'{"a":01}', id="leading-zero"),
        pytest.param(b'{"a":+1}', id="plus"),
        pytest.param(b'{"a":.5}', id="no-digit-before-point"),
        pytest.param(b'{"a":0x1}', id="hex"),
        pytest.param('{"a":\uff11}'.encode(), id="full-width-digit"),
        pytest.param(b'{"a":1}//c', id="comment"),
        pytest.param(b'{"a":"\n"}', id="control-character"),
        pytest.param(b'{"a":"\\x41"}', id="unknown-escape"),
        pytest.param(b'{"a":"\\u12"}', id="short-escape"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte-order-mark"),
        pytest.param("{}".encode("utf-16"), id="utf-16"),
        pytest.param("{}".encode("utf-16-le"), id="utf-16-le"),
        pytest.param("{}".encode("utf-32"), id="utf-32"),
        pytest.param('{"a":"é"}'.encode("latin-1"), id="latin-1"),
        pytest.param(b'{"a":"\xc0\xaf"}', id="overlong-utf-8"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', id="raw-surrogate"),
        pytest.param(b'{"a":"\\ud800"}', id="lone-surrogate"),
        pytest.param(b'{"\\udfff":1}', id="lone-surrogate-in-name"),
        pytest.param(b'{"a":["\\ude00\\ud83d"]}', id="surrogates-the-wrong-way-round"),
        pytest.param(b'{"a":1,"a":1}', id="duplicate"),
        pytest.param(b'{"a":1,"\\u0061":2}', id="duplicate-by-escape"),
        pytest.param(b'{"b":[{"a":1,"a":2}]}', id="duplicate-inside"),
        pytest.param(b'{"a":NaN}', id="nan"),
        pytest.param(b'{"a":Infinity}', id="infinity"),
        pytest.param(b'{"a":-Infinity}', id="minus-infinity"),
        pytest.param(b'{"a":1e999}', id="overflow"),
        pytest.param(b'{"a":-1e999}', id="minus-overflow"),
        pytest.param(b'{"a":%s}' % (b"9" * 5000), id="more-digits-than-python-reads"),
        pytest.param(b'{"a":%s}' % (b"[" * 100_000), id="bottomless"),
        pytest.param(b'{"a":' * 100_000, id="bottomless-objects"),
    ],
)
def test_anything_else_is_none(data: bytes) -> None:
    """Without an exception, whose text would quote the input."""
    assert parse_object(data) is None


def nested(depth: int) -> bytes:
    """Return an object with *depth* containers one in the other, itself included."""
    return b'{"a":%s1%s}' % (b"[" * (depth - 1), b"]" * (depth - 1))


def test_depth_has_a_fixed_limit() -> None:
    """The limit does not hang on how deep the caller's own stack is."""
    assert parse_object(nested(MAX_DEPTH)) is not None
    assert parse_object(nested(MAX_DEPTH + 1)) is None
    assert parse_object(nested(sys.getrecursionlimit() // 2)) is None
    assert parse_object(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH) is not None
    assert parse_object(b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1)) is None


def test_breadth_has_none() -> None:
    """Many containers side by side, or brackets in text, are no depth."""
    wide = {"a": [[{}]] * 100, "b": "[{" * 100}

    assert parse_object(json.dumps(wide).encode()) == wide


def test_long_inputs_take_linear_time() -> None:
    """A megabyte of whatever kind is done with in a moment."""
    started = time.process_time()

    for part in (b'"\\u0061",', b"[],", b"1e5,", b'{"a":1},'):
        parse_object(b'{"a":[' + part * (1_000_000 // len(part)) + b"0]}")

    assert time.process_time() - started < 10


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text("abc", max_size=2), values, max_size=4), st.booleans())
def test_what_python_writes_is_read(members: dict[str, object], ascii_only: bool) -> None:  # noqa: FBT001
    """Any object of ordinary values comes back the same."""
    assert parse_object(json.dumps(members, ensure_ascii=ascii_only).encode()) == members


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=20))
def test_no_input_raises(data: bytes) -> None:
    """Arbitrary bytes give an object or nothing."""
    assert parse_object(data) in (None, {})

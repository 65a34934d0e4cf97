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
        pytest.param(b'{"a":"\\\\ud800"}', {"a": "\\ud800"}, id="no-surrogate-but-a-backslash"),
        pytest.param(b'{"a":"\\ud7ff\\ue000"}', {"a": "\ud7ff\ue000"}, id="beside-the-surrogates"),
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
        *(
            pytest.param(b'{"a":"\\u%s"}' % code, id=f"lone-surrogate-{code.decode()}")
            for code in (b"d800", b"dbff", b"dc00", b"dfff", b"D800", b"DFFF", b"dE00", b"D9ab")
        ),
        pytest.param(b'{"a":"\\ud83d\\ude00\\ud83d"}', id="lone-surrogate-after-a-pair"),
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
    """It is 32, and does not depend on how deep the caller's own stack is."""
    assert MAX_DEPTH == 32
    assert parse_object(nested(32)) is not None
    assert parse_object(nested(33)) is None
    assert parse_object(nested(sys.getrecursionlimit() // 2)) is None
    assert parse_object(b'{"a":' * 32 + b"1" + b"}" * 32) is not None
    assert parse_object(b'{"a":' * 33 + b"1" + b"}" * 33) is None


def test_breadth_has_none() -> None:
    """Many containers side by side, or brackets in text, are no depth."""
    wide = {"a": [[{}]] * 100, "b": "[{" * 100}

    assert parse_object(json.dumps(wide).encode()) == wide


@given(st.text(st.sampled_from("\ud7ff\ud800\udbff\udc00\udfff\ue000a😀"), max_size=5))
def test_text_is_read_if_it_can_be_written(text: str) -> None:
    """Escaped text passes exactly when it has a form in UTF-8; a shortcut must find no fewer."""
    escaped = "".join(f"\\u{unit.hex()}" for unit in units(text))

    try:
        expected = {"a": json.loads(f'"{escaped}"').encode().decode()}
    except UnicodeEncodeError:
        assert parse_object(f'{{"a":"{escaped}"}}'.encode()) is None
    else:
        assert parse_object(f'{{"a":"{escaped}"}}'.encode()) == expected


def units(text: str) -> list[bytes]:
    """Return the UTF-16 code units of *text*, two bytes each."""
    data = text.encode("utf-16-be", "surrogatepass")
    return [data[place : place + 2] for place in range(0, len(data), 2)]


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

"""Strict JSON: one object in UTF-8 comes through, anything doubtful does not."""

import json
import sys
import time

import pytest
from hypothesis import given, settings, strategies as st

from fastapi_stepup._json import MAX_DEPTH, parse_object


def test_one_object_is_read(subtests: pytest.Subtests) -> None:
    """RFC 8259, with names compared character by character."""
    objects: list[tuple[bytes, dict[str, object]]] = [
        (b"{}", {}),
        (b' \t\r\n{"a" : 1 }\n', {"a": 1}),
        (b'{"a":[1,-2.5,1e3,true,false,null,"x"]}',
         {"a": [1, -2.5, 1000.0, True, False, None, "x"]}),
        ('{"é":"€😀"}'.encode(), {"é": "€😀"}),
        (b'{"a":"\\u00e9\\ud83d\\ude00"}', {"a": "é😀"}),
        (b'{"a":"\\\\ud800"}', {"a": "\\ud800"}),  # no surrogate but a backslash
        (b'{"a":"\\ud7ff\\ue000"}', {"a": "\ud7ff\ue000"}),  # beside the surrogates
        (b'{"a":"\\\\u00e9"}', {"a": "\\u00e9"}),
        (b'{"a":{"a":1},"b":{"a":2}}', {"a": {"a": 1}, "b": {"a": 2}}),
        (b'{"a":1e-999}', {"a": 0.0}),
        (b'{"A":1,"a":2}', {"A": 1, "a": 2}),
    ]  # fmt: skip
    for data, expected in objects:
        with subtests.test(ascii(data)):
            assert parse_object(data) == expected


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param([b"", b"null", b"[]", b'"a"', b"1"], id="no-object"),
        pytest.param([b"{} {}", b"{}x", b"{}\x00", b'{"a":1}//c'], id="more-than-an-object"),
        pytest.param([b"{a:1}", b"{'a':1}", b'{"a":1,}'], id="other-syntax"),
        pytest.param([b'{"a":01}', b'{"a":+1}', b'{"a":.5}', b'{"a":0x1}',
                      '{"a":\uff11}'.encode(), b'{"a":NaN}', b'{"a":Infinity}',
                      b'{"a":-Infinity}'], id="other-numbers"),
        pytest.param([b'{"a":1e999}', b'{"a":-1e999}', b'{"a":%s}' % (b"9" * 5000)],
                     id="numbers-that-python-cannot-hold"),
        pytest.param([b'{"a":"\n"}', b'{"a":"\\x41"}', b'{"a":"\\u12"}'], id="other-strings"),
        pytest.param([b"\xef\xbb\xbf{}", "{}".encode("utf-16"), "{}".encode("utf-16-le"),
                      "{}".encode("utf-32"), '{"a":"é"}'.encode("latin-1"),
                      b'{"a":"\xc0\xaf"}',  # overlong
                      b'{"a":"\xed\xa0\x80"}'],  # a surrogate
                     id="other-encodings"),
        pytest.param([*(b'{"a":"\\u%s"}' % code for code in (b"d800", b"dbff", b"dc00", b"dfff",
                                                             b"D800", b"DFFF", b"dE00", b"D9ab")),
                      b'{"a":"\\ud83d\\ude00\\ud83d"}', b'{"\\udfff":1}',
                      b'{"a":["\\ude00\\ud83d"]}'], id="lone-surrogates"),
        pytest.param([b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}', b'{"b":[{"a":1,"a":2}]}'],
                     id="duplicates"),
        pytest.param([b'{"a":%s}' % (b"[" * 100_000), b'{"a":' * 100_000], id="bottomless"),
    ],
)  # fmt: skip
def test_anything_else_is_none(inputs: list[bytes], subtests: pytest.Subtests) -> None:
    """Without an exception, whose text would quote the input."""
    for data in inputs:
        with subtests.test(ascii(data[:40])):
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
    """Half a megabyte of whatever kind is done with in a moment."""
    started = time.process_time()

    for part in (b'"\\u0061",', b"[],", b"1e5,", b'{"a":1},'):
        parse_object(b'{"a":[' + part * (500_000 // len(part)) + b"0]}")

    assert time.process_time() - started < 5


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

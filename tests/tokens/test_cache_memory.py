"""Memory of the token cache: a bound for every shape of claims, and no token."""

import gc
import json
import os
import random
import sys
import time
import tracemalloc
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from fastapi_stepup._emitter import Emitter
from fastapi_stepup.claims import claims_of
from fastapi_stepup.tokens.cache import CachedToken, VerifiedTokenCache, weigh
from fastapi_stepup.tokens.claims_set import Validity
from fastapi_stepup.tokens.jwk import VerificationKey, load_keys
from tests.support.token_factory import claims, jwk, make_token, verifier

KEY = load_keys([jwk()], frozenset({"RS256"}))[0]["k1"]


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "typical": lambda n: claims(sub=f"U2{n}", rexp="2026-12-22T02:37:57Z", amr=["email", "mfa"]),
    "objects": lambda n: {"sub": f"U2{n}", "a": [{} for _ in range(300)]},
    "members": lambda n: {"sub": f"U2{n}", **{f"n{i}": f"v{i}{n}" for i in range(100)}},
    "tenants": lambda n: {"sub": f"U2{n}", "t": {f"T{i}{n}": {"roles": ["a1"]} for i in range(60)}},
    "floats": lambda n: {"sub": f"U2{n}", "a": [random.random() for _ in range(80)]},
    "long-text": lambda n: {"sub": f"U2{n}", "a": f"{n}" + "a" * 5000},
    "wide-text": lambda n: {"sub": f"U2{n}", "a": f"{n}" + "a" * 1200 + "😀"},
    "short-text": lambda n: {"sub": f"U2{n}", "a": [f"{n:x}{i:x}" for i in range(200)]},
    "arrays": lambda n: {"sub": f"U2{n}", "a": [[] for _ in range(300)]},
    "deep": lambda n: {"sub": f"U2{n}", "a": json.loads('[{"a":' * 15 + "1" + "}]" * 15)},
    "integers": lambda n: {"sub": f"U2{n}", "a": [2**60 + i for i in range(300)]},
    "escapes": lambda n: {"sub": f"U2{n}", "a": "\\u00e9" * 800 + f"{n}"},
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_a_full_cache_stays_under_16_mib(shape: str) -> None:
    """As the interpreter itself counts, scaled to the default size; the weight is no less.

    Claims that were read, which freezes them, take no more.
    """
    size = 200 if shape == "typical" else 60
    for read in (False, True):
        cache = VerifiedTokenCache(size, settings="", emit=Emitter())
        cache.get(b"", 1)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(size + 20):
            put_parsed(cache, json.dumps(SHAPES[shape](number)).encode(), read=read)
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()

        assert len(cache) > 0
        assert used * 4096 / size < 16 * 2**20, read
        assert used < cache.weight + 4096, read


def put_parsed(cache: VerifiedTokenCache, payload: bytes, *, read: bool) -> None:
    """Put a token in with claims that nothing else refers to."""
    validity = Validity(float(len(payload)), time.time())
    given = claims_of(json.loads(payload))
    if read:
        assert given.raw
    cache.put(os.urandom(32), 1, given, KEY, validity, lifetime=60, payload=payload)


@pytest.mark.parametrize(
    ("text", "width"),
    [
        pytest.param(b"a", 1, id="ascii"),
        pytest.param("é".encode(), 4, id="latin-1"),
        pytest.param("€".encode(), 4, id="wide"),
        pytest.param(b"\\u00e9", 4, id="escaped"),
    ],
)
def test_text_weighs_what_its_widest_character_takes(text: bytes, width: int) -> None:
    """One character of another alphabet makes each character of a string wider."""
    shorter, longer = (b'{"a":"' + text + b"b" * n + b'"}' for n in (0, 1000))
    assert weigh(longer) - weigh(shorter) == 1000 * width


def test_weights_are_what_they_are() -> None:
    """An entry, a byte, a value and an object; written out, so that none changes by a slip."""
    assert weigh(b"") == 1792
    assert weigh(b"x") - weigh(b"") == 1
    assert [weigh(mark) - weigh(b"x") for mark in (b"[", b":", b",", b"{")] == [96, 96, 96, 320]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=40,
)


def deep_size(value: Any) -> int:
    """Return what *value* takes with all that it holds, counting nothing twice."""
    seen: dict[int, Any] = {}
    left = [value]
    while left:
        item = left.pop()
        if id(item) not in seen and not isinstance(item, (type, VerificationKey)):
            seen[id(item)] = item
            left += gc.get_referents(item)
    return sum(sys.getsizeof(item) for item in seen.values())


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(max_size=4), json_values, max_size=8), st.booleans())
def test_the_weight_is_an_upper_bound(members: dict[str, Any], ascii_only: bool) -> None:  # noqa: FBT001
    """No entry takes more memory than it is weighed, its claims and its place included."""
    payload = json.dumps(members, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    claims = claims_of(json.loads(payload))
    entry = CachedToken(claims, KEY, time.time(), time.time(), 1, time.monotonic(), len(payload))
    # A key of 32 bytes, its place in the two dictionaries, the link of the order, a set.
    place = sys.getsizeof(bytes(32)) + 2 * 104 + 56 + 8 + sys.getsizeof({1})

    assert deep_size(entry) + place <= weigh(payload)
    # From here on its containers are frozen.
    assert claims.raw.keys() == members.keys()
    assert deep_size(entry) + place <= weigh(payload)


@pytest.mark.anyio
async def test_memory_holds_no_token() -> None:
    """No object that the verifier reaches contains a token, its payload or signature."""
    checked = verifier()
    tokens = [make_token(claims(sub=f"U2{n}")) for n in range(20)]
    for token in tokens:
        await checked.verify(token)
    assert len(checked._cache) == 20

    seen: dict[int, Any] = {}
    left: list[Any] = [checked]
    while left:
        item = left.pop()
        if id(item) not in seen and not isinstance(item, (type, ModuleType, FunctionType)):
            seen[id(item)] = item
            left += gc.get_referents(item)
    texts = [item.encode() if isinstance(item, str) else item for item in seen.values()
             if isinstance(item, (str, bytes))]  # fmt: skip
    assert any(text == b"U219" for text in texts)
    for token in tokens:
        _, payload, signature = token.encode().split(b".")
        assert not [t for t in texts if payload in t or signature in t]

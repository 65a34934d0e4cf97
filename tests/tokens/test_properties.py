"""Properties: whatever comes in, the verifier answers one way; what it accepts, PyJWT accepts."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import InvalidToken, RejectReason
from fastapi_stepup.tokens.jws import decode_segment
from tests.support.token_factory import (
    PROJECT_ID,
    b64,
    claims,
    header,
    jwk,
    key_set,
    make_token,
    private_key,
    verifier,
)

pytestmark = pytest.mark.slow

# Ed25519 signs ten times faster than RSA; what is checked is the same.
ALGORITHMS = ("RS256", "EdDSA")
KEYS = {"k1": jwk(), "k2": jwk("EdDSA", kid="k2")}
PYJWKS = {kid: jwt.PyJWK(member) for kid, member in KEYS.items()}
VERIFIER = verifier(key_set(*KEYS.values(), algorithms=ALGORITHMS), clock=time.time)
GOOD = tuple(make_token(claims(n=n, su=n % 2 == 0)) for n in range(16))
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def many(count: int) -> Callable[[Any], Any]:
    """Return settings for *count* examples; together the tests of this file make 20,000."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=count, deadline=None, database=None, suppress_health_check=slow)


def outcome_of(token: Any) -> Any:
    """Return the claims of *token*, or the error.

    With static keys nothing is ever waited for, so that no event loop is needed.
    """
    outcome: Any = None
    try:
        VERIFIER.verify(token).send(None)
    except StopIteration as done:
        outcome = done.value
    except InvalidToken as error:
        outcome = error
    return outcome


def rejection_of(token: Any) -> RejectReason | None:
    """Return why *token* is rejected; what passes must pass with PyJWT under the same key too."""
    outcome = outcome_of(token)
    if isinstance(outcome, InvalidToken):
        assert (outcome.__cause__, outcome.__context__) == (None, None)
        assert type(outcome.reason) is RejectReason
        return outcome.reason
    assert accepted_by_pyjwt(token) == outcome.raw
    return None


def accepted_by_pyjwt(token: str) -> dict[str, Any]:
    """Return the claims by PyJWT, arrays as tuples."""
    key = PYJWKS[jwt.get_unverified_header(token)["kid"]]
    unverified = jwt.decode(token, options={"verify_signature": False})
    decoded = jwt.decode(
        token,
        key,
        algorithms=list(ALGORITHMS),
        leeway=5,
        audience=PROJECT_ID if "aud" in unverified else None,
        options={"require": ["exp", "iat", "iss", "sub"]},
    )
    return {name: tupled(value) for name, value in decoded.items()}


def tupled(value: Any) -> Any:
    """Return *value* with arrays as tuples, as `Claims` has them."""
    if isinstance(value, dict):
        return {name: tupled(member) for name, member in value.items()}
    return tuple(map(tupled, value)) if isinstance(value, list) else value


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([PROJECT_ID, "DS", "DSR", "true", "RS256", "EdDSA", "k1", "k2", "JWT", ""])
)
values = scalars | st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=3,
)


@many(4000)
@given(st.text(max_size=40) | st.text("eyJ.=_-+/\n \0", max_size=80))
@example("..")
@example("\ud800..")
def test_arbitrary_text_is_rejected(text: str) -> None:
    """No unsigned text passes, and none raises anything else."""
    assert rejection_of(text) is not None


@many(1000)
@given(st.binary(max_size=60) | values)
def test_anything_at_all_is_rejected(value: object) -> None:
    """Bytes, numbers, lists, None; by its form, not by a crash."""
    assert rejection_of(value) is not None


@many(4500)
@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=70))
def test_arbitrary_segments_are_rejected(head: bytes, payload: bytes, signature: bytes) -> None:
    """Three well-formed segments of anything."""
    assert rejection_of(f"{b64(head)}.{b64(payload)}.{b64(signature)}") is not None


header_names = st.sampled_from(
    [
        "alg",
        "kid",
        "typ",
        "crit",
        "b64",
        "zip",
        "cty",
        "jwk",
        "jku",
        "x5u",
        "x5c",
        "enc",
        "x5t",
        "n",
    ]
)


@many(2000)
@given(st.dictionaries(header_names, values, max_size=3), st.booleans())
def test_arbitrary_headers_pass_only_where_pyjwt_lets_them(
    changes: dict[str, Any],
    signed: bool,  # noqa: FBT001
) -> None:
    """Signed properly over a hostile header, or signed with another key."""
    head = {**header("EdDSA", kid="k2"), **changes}
    key = private_key("EdDSA") if signed else private_key("EdDSA", 1)

    outcome = rejection_of(make_token(claims(), head, alg="EdDSA", key=key))
    assert signed or outcome is not None


claim_names = st.sampled_from(
    [
        "exp",
        "iat",
        "nbf",
        "iss",
        "sub",
        "aud",
        "jti",
        "drn",
        "su",
        "amr",
        "cnf",
        "nonce",
        "act",
        "n",
    ]
)
NOW = int(time.time())
times = st.sampled_from([NOW - 99, NOW - 9.5, NOW + 600, NOW + 600.5, 0, -1, 1e308, str(NOW), True])


@many(2000)
@given(st.dictionaries(claim_names, values | times, max_size=3))
def test_arbitrary_claims_pass_only_where_pyjwt_lets_them(changes: dict[str, Any]) -> None:
    """Properly signed, whatever it says: accepted only where PyJWT accepts it too."""
    rejection_of(make_token(claims(**changes), header("EdDSA", kid="k2"), alg="EdDSA"))


@many(1500)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-16")))
def test_arbitrary_signed_payloads_are_rejected(payload: bytes) -> None:
    """A genuine signature over anything but the claims of a session."""
    assert (
        rejection_of(make_token(payload or b"{}", header("EdDSA", kid="k2"), alg="EdDSA"))
        is not None
    )


MUTATIONS: tuple[Callable[[str, str, int, int, str], str], ...] = (
    lambda token, other, start, end, piece: token[:start] + piece + token[end:],
    lambda token, other, start, end, piece: token[:start] + other[start:],
    lambda token, other, start, end, piece: (
        token[:start] + token[start:end].swapcase() + token[end:]
    ),
    lambda token, other, start, end, piece: token[:start],
    lambda token, other, start, end, piece: token[start:],
    lambda token, other, start, end, piece: token + piece,
    lambda token, other, start, end, piece: piece + token,
    lambda token, other, start, end, piece: ".".join(reversed(token.split("."))),
    lambda token, other, start, end, piece: other.rpartition(".")[0] + token[token.rindex(".") :],
    lambda token, other, start, end, piece: token.replace(".", piece),
)


@many(5000)
@given(
    st.tuples(
        st.sampled_from(GOOD),
        st.sampled_from(GOOD),
        st.integers(0, len(GOOD[0]) + 4),
        st.integers(0, 4),
        st.sampled_from(["", *"AB_.=+/ \n\0é", "..", "AA", "eyJ"]),
        st.sampled_from(MUTATIONS),
    )
)
def test_mutated_tokens_are_rejected(parts: tuple[Any, ...]) -> None:
    """One token that was signed passes, and no other spelling of it, cached or not."""
    token, other, start, length, piece, mutate = parts
    mutated = mutate(token, other, start, start + length, piece)

    assert isinstance(outcome_of(token), Claims)
    assert (rejection_of(mutated) is None) == (mutated in GOOD)


@pytest.mark.parametrize("place", range(3))
def test_every_single_bit_counts(place: int) -> None:
    """Each bit of each segment of one token."""
    token = make_token(claims(), header("EdDSA", kid="k2"), alg="EdDSA")
    segments = token.split(".")
    data = base64.urlsafe_b64decode(segments[place] + "==")
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert rejection_of(
            ".".join([*segments[:place], b64(bytes(changed)), *segments[place + 1 :]])
        )


@many(1000)
@given(st.binary(min_size=1, max_size=40), st.text(ALPHABET + "=+/", max_size=3))
def test_one_spelling_for_each_value(data: bytes, extra: str) -> None:
    """base64url is read as the standard library writes it, and in no other form."""
    text = b64(data)

    assert decode_segment(text.encode()) == data
    other = decode_segment((text[: -len(extra) or None] + extra).encode())
    assert other is None or b64(other) == text[: -len(extra) or None] + extra


def test_duplicate_members_never_reach_the_claims() -> None:
    """PyJWT would take the last one; where it differs from us, we reject."""
    payload = json.dumps(claims())[:-1] + ',"su":true,"su":1}'
    token = make_token(payload.encode(), header("EdDSA", kid="k2"), alg="EdDSA")

    assert accepted_by_pyjwt(token)["su"] == 1
    assert rejection_of(token) is RejectReason.MALFORMED

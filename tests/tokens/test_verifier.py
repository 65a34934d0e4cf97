"""TokenVerifier: each step in its order, and what a token that fails one is rejected for."""

import json
import sys
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastapi_stepup import Claims
from fastapi_stepup.errors import InvalidToken
from fastapi_stepup.testing import REMOVE
from fastapi_stepup.tokens.jws import MAX_TOKEN
from tests.support.token_factory import (
    CURVES,
    HOST,
    NOW,
    PROJECT_ID,
    b64,
    claims,
    flipped,
    header,
    jwk,
    key_set,
    make_token,
    private_key,
    reason,
    segment,
    sign,
    verifier,
)

pytestmark = pytest.mark.anyio

GOOD = json.dumps(claims())


def public_secrets() -> dict[str, bytes]:
    """Return what an attacker can know of the public key, to use as an HMAC secret."""
    public = private_key().public_key()
    spki, pkcs1 = (
        public.public_bytes(Encoding.DER, form)
        for form in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1)
    )
    modulus = public.public_numbers().n.to_bytes(256)
    return {
        "spki": spki,
        "pkcs1": pkcs1,
        "jwk": json.dumps(jwk()).encode(),
        "n": modulus,
        "kid": b"k1",
    }


def hmac_token(secret: bytes, alg: str = "HS256") -> str:
    """Return a token with a right HMAC under *secret*."""
    return make_token(head=header(alg), alg=alg, key=secret)


async def test_a_good_token_gives_its_claims() -> None:
    """As they are, whatever else Descope put in."""
    members = claims(
        su=True, rexp="2026-12-22T02:37:57Z", dct="T1", tenants={"T1": {"roles": ["a"]}}
    )

    verified = await verifier().verify(make_token(members))

    assert verified == Claims(members)
    assert verified.stepped_up


async def test_headers_of_tokens_that_passed_are_remembered() -> None:
    """And no others: a forger can neither fill nor empty that memory."""
    checked = verifier()

    assert await reason(checked, make_token(key=private_key(number=1))) == "signature"
    assert await reason(checked, make_token(claims(sub=""))) == "subject"
    assert checked._parser._headers == {}
    assert await reason(checked, make_token()) is None
    assert len(checked._parser._headers) == 1


async def test_every_published_key_verifies() -> None:
    """A token says which one it was signed by."""
    checked = verifier(key_set(jwk(), jwk(kid="k2", number=1)))
    second = make_token(head=header(kid="k2"), key=private_key(number=1))

    assert await reason(checked, second) is None
    assert await reason(checked, make_token()) is None
    assert await reason(checked, make_token(key=private_key(number=1))) == "signature"


FOREIGN: dict[str, Any] = {"key": private_key(number=1)}


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        pytest.param([flipped(make_token(), 0)], {"malformed", "key_id", "algorithm"}, id="TV-003"),
        pytest.param(
            [flipped(make_token(), 1), flipped(make_token(), 2)],
            {"malformed", "signature"},
            id="TV-003-signed-part-or-signature",
        ),
        pytest.param(
            [
                f"{segment(header(alg))}.{segment(claims())}.{make_token().rpartition('.')[2]}"
                for alg in ("none", "None", "NONE", "nOnE")
            ],
            {"algorithm"},
            id="TV-007-none",
        ),
        pytest.param(
            [hmac_token(secret) for secret in public_secrets().values()],
            {"algorithm"},
            id="TV-009-public-key-as-secret",
        ),
        pytest.param(
            [
                make_token(head=header("HS256"), key=None, alg="none"),
                hmac_token(b"secret" * 6),
            ],
            {"algorithm"},
            id="TV-010-easy-secret",
        ),
        pytest.param(
            [make_token(alg=alg) for alg in ("RS384", "RS512", "PS256", "ES256")],
            {"algorithm"},
            id="TV-011-TV-013-not-asked-for",
        ),
        pytest.param(
            [
                make_token(head=header(jwk=jwk(number=1)), **FOREIGN),
                make_token(head=header(jwk=jwk(number=1), kid=REMOVE), **FOREIGN),
                make_token(head=header(x5c=["MIIB"]), **FOREIGN),
            ],
            {"header"},
            id="TV-021-TV-023-own-key",
        ),
        pytest.param([make_token(**FOREIGN)], {"signature"}, id="foreign-key"),
        pytest.param(
            [make_token(head=header(kid=kid)) for kid in ("k2", "K1", "__class__")],
            {"unknown_key"},
            id="unknown-kid",
        ),
        pytest.param(["x" * (MAX_TOKEN + 1)], {"too_large"}, id="TV-045"),
        pytest.param(["garbage"], {"malformed"}, id="garbage"),
    ],
)
async def test_tokens_that_nobody_signed(
    tokens: list[str], expected: set[str], subtests: pytest.Subtests
) -> None:
    """Forgeries of every kind; whichever check comes first says why."""
    for number, token in enumerate(tokens):
        with subtests.test(number=number):
            assert await reason(verifier(), token) in expected


async def test_rsa_signatures_have_exactly_the_size_of_the_modulus() -> None:
    """A zero byte in front neither may be dropped nor added."""
    checked = verifier()
    inputs = (f"{segment(header())}.{segment(claims(n=n))}" for n in range(100_000))
    pairs = ((text, sign(text.encode())) for text in inputs)
    signing_input, signature = next(pair for pair in pairs if pair[1][0] == 0)

    assert await reason(checked, f"{signing_input}.{b64(signature)}") is None
    assert await reason(checked, f"{signing_input}.{b64(signature[1:])}") == "signature"
    assert await reason(checked, f"{signing_input}.{b64(bytes(1) + signature)}") == "signature"


async def test_claims_are_checked_by_the_rules() -> None:
    """A genuine signature over bad claims does not pass; `test_claims_set.py` has the details."""
    checked = verifier()
    assert await reason(checked, make_token(claims(iss=f"{HOST}/{PROJECT_ID}"))) is None
    assert await reason(checked, make_token(claims(exp=NOW - 100, iat=NOW - 200))) == "expired"
    assert await reason(checked, make_token(claims(drn="DSR"))) == "not_a_session"


def more(members: str) -> bytes:
    """Return good claims with *members* behind them."""
    return f"{GOOD[:-1]},{members}}}".encode()


@pytest.mark.parametrize(
    "payloads",
    [
        pytest.param(
            [
                GOOD.encode("utf-16"),
                b"\xef\xbb\xbf" + GOOD.encode(),
                GOOD.replace("U2x", "\xff").encode("latin-1"),
                more('"a":"\\ud800"'),
            ],
            id="TV-049-no-utf-8",
        ),
        pytest.param(
            [
                b"[" * 11_000,
                more('"a":' + "[" * 500 + "]" * 500),
                more('"a":' + "[" * 40 + "]" * 40),
            ],
            id="TV-047-nested",
        ),
        pytest.param(
            [
                more(f'"exp":{NOW + 9999}'),
                more('"su":false,"su":true'),
                more('"sub":"U2y"'),
                more('"t":{"a":1,"a":2}'),
            ],
            id="TV-050-twice",
        ),
        pytest.param([more('"a":1e999'), more('"a":NaN')], id="no-number"),
        pytest.param(
            [
                f"[{GOOD}]".encode(),
                b"null",
                b'"' + b"x" * 100 + b'"',
                GOOD.encode() + b"\0",
                segment(make_token()).encode(),
            ],
            id="TV-031-not-one-object",
        ),
    ],
)
async def test_payloads_that_are_no_strict_json(
    payloads: list[bytes], subtests: pytest.Subtests
) -> None:
    """Properly signed, and rejected before any claim is read."""
    for payload in payloads:
        with subtests.test(payload=payload[-60:]):
            assert await reason(verifier(), make_token(payload)) == "malformed"


async def test_nesting_that_python_can_read_passes() -> None:
    """A claim may be nested as deeply as JSON may be here, and comes out frozen all the way."""
    nested: Any = 1
    for _ in range(30):
        nested = [nested]

    verified = await verifier().verify(make_token(claims(deep=nested)))
    assert hash(verified)


async def test_a_deep_stack_gives_the_right_error_all_the_same() -> None:
    """A token is rejected if the interpreter runs out of stack while it is read."""
    checked = verifier(verdict_cache_size=0)
    token = make_token(claims(deep=json.loads("[" * 28 + "]" * 28)))
    outcomes: set[str | None] = set()

    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
            return
        try:
            checked.verify(token).send(None)
        except StopIteration:
            outcomes.add(None)
        except InvalidToken as error:
            outcomes.add(error.reason.value)

    def descend_until_it_breaks() -> None:
        levels = sys.getrecursionlimit() - 250
        while True:
            checked._parser._headers.clear()
            descend(levels)
            levels += 1

    with pytest.raises(RecursionError):
        descend_until_it_breaks()
    assert outcomes == {None, "malformed"}


async def test_whatever_else_goes_wrong_while_a_token_is_read_rejects_it() -> None:
    """Nothing but the documented errors comes out, whatever a step makes of the input."""

    class Odd(str):
        __slots__ = ()

        def encode(self, *_: object) -> bytes:
            raise LookupError(self)

    assert await reason(verifier(verdict_cache_size=0), Odd(make_token())) == "malformed"


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_other_asymmetric_algorithms_by_configuration(alg: str) -> None:
    """Each works when asked for, alone or with RS256; `test_jwk.py` tries them all."""
    token = make_token(alg=alg)
    alone = verifier(key_set(jwk(alg), algorithms=(alg,)))
    both = verifier(key_set(jwk(alg, kid="k2"), jwk("RS256"), algorithms=tuple({alg, "RS256"})))
    other = "RS256" if alg != "RS256" else "ES256"

    assert await reason(alone, token) is None
    assert await reason(both, make_token(head=header(alg, kid="k2"), alg=alg)) is None
    assert await reason(alone, flipped(token, 2)) == "signature"
    assert await reason(alone, make_token(alg=other)) == "algorithm"


async def test_a_kid_does_not_lend_its_key_to_another_algorithm() -> None:
    """Both algorithms are allowed, and still each key verifies its own only."""
    checked = verifier(key_set(jwk(), algorithms=("RS256", "ES256")))

    assert await reason(checked, make_token(alg="ES256")) == "signature"


async def test_the_ecdsa_twin_is_the_same_session() -> None:
    """It passes, with equal claims; a deny list by jti stops both, one by text neither."""

    def by_jti(checked: Claims) -> bool:
        return bool(checked.get("jti") == "bad")

    keys = key_set(jwk("ES256"), algorithms=("ES256",))
    twins = []
    for jti in ("good", "bad"):
        token = make_token(claims(jti=jti), alg="ES256")
        signing_input, _, text = token.rpartition(".")
        raw = urlsafe_b64decode(text + "==")
        r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
        twin = r.to_bytes(32) + (CURVES["ES256"].group_order - s).to_bytes(32)
        assert decode_dss_signature(encode_dss_signature(r, s)) == (r, s)
        twins.append((token, f"{signing_input}.{b64(twin)}"))
    checked = verifier(keys, is_revoked=by_jti)

    good, bad = twins
    assert await checked.verify(good[0]) == await checked.verify(good[1])
    assert [await reason(checked, token) for token in bad] == ["revoked", "revoked"]


async def test_types_can_be_chosen() -> None:
    """An access token passes where it is asked for, and only there."""
    token = make_token(head=header(typ="at+jwt"))

    assert await reason(verifier(), token) == "type"
    assert await reason(verifier(types=("JWT", "at+jwt")), token) is None
    assert await reason(verifier(types=("at+jwt",)), make_token()) == "type"


async def test_refresh_tokens_are_verified_apart() -> None:
    """A session token is no refresh token, and neither counts for the other once it has passed."""
    checked = verifier(max_lifetime=6 * 3600)
    session, refresh = make_token(), make_token(claims(drn="DSR", exp=NOW + 2_000_000))

    for _ in range(2):
        assert await reason(checked, refresh, refresh=True) is None
        assert await reason(checked, refresh) in {"lifetime", "not_a_session"}
        assert await reason(checked, session) is None
        assert await reason(checked, session, refresh=True) == "not_a_session"
    nameless = make_token(claims(drn=REMOVE))
    assert await reason(checked, nameless, refresh=True) == "not_a_session"

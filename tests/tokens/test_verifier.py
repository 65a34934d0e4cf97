"""TokenVerifier: a table of hostile tokens, and what each is refused for."""

import asyncio
import gc
import json
import logging
import pickle
import re
import subprocess
import sys
import time
import traceback
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireSession, RequireStepUp, StepUpGuard, StepUpPolicy
from fastapi_stepup.errors import (
    ConfigurationError,
    InvalidToken,
    KeysUnavailable,
    OTPRejected,
    RejectReason,
    RevocationUnavailable,
)
from fastapi_stepup.events import Event, TokenCache, TokenRejected
from fastapi_stepup.testing import REMOVE, DescopeEmulator, SigningKey
from fastapi_stepup.tokens.jws import ASYMMETRIC_ALGORITHMS, MAX_TOKEN
from fastapi_stepup.tokens.verifier import TokenVerifier
from tests.support.token_factory import (
    CURVES,
    HOST,
    NOW,
    PROJECT_ID,
    b64,
    claims,
    forge,
    header,
    jwk,
    key_set,
    private_key,
    reason,
    segment,
    sign,
    verifier,
)

pytestmark = pytest.mark.anyio

ONCE = forge()
BLOCKED = "U2blocked"


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
    return forge(head=header(alg), alg=alg, key=secret)


def flipped(token: str, place: int, bit: int = 0x10) -> str:
    """Return *token* with one bit of one segment's bytes changed."""
    segments = token.split(".")
    middle = len(segments[place]) // 2
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    changed = alphabet[alphabet.index(segments[place][middle]) ^ bit]
    segments[place] = segments[place][:middle] + changed + segments[place][middle + 1 :]
    return ".".join(segments)


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        pytest.param({}, {}, id="TV-001"),
        pytest.param({"exp": NOW + 10.5}, {}, id="TV-057-float"),
        pytest.param({"exp": NOW - 4, "iat": NOW - 60}, {}, id="TV-051-within-leeway"),
        pytest.param({"iat": NOW + 3}, {}, id="OT-042-within-leeway"),
        pytest.param({"exp": NOW + 50 * 365 * 86400}, {}, id="TV-059-no-limit-set"),
        pytest.param({"exp": NOW + 600, "iat": NOW}, {"max_lifetime": "10m"}, id="TV-059-at-limit"),
        pytest.param({"nbf": NOW - 1}, {}, id="TV-061-nbf"),
        pytest.param({"iss": PROJECT_ID}, {}, id="TV-069-bare"),
        pytest.param({"iss": f"{HOST}/{PROJECT_ID}"}, {}, id="TV-069-oidc"),
        pytest.param({"iss": f"{HOST}/v1/apps/{PROJECT_ID}"}, {}, id="TV-069-apps"),
        pytest.param(
            {"iss": f"https://auth.example.com/{PROJECT_ID}"},
            {"issuer_hosts": ["https://auth.example.com"]},
            id="TV-069-custom-domain",
        ),
        pytest.param(
            {"iss": f"{HOST}/v1/apps/agentic/{PROJECT_ID}/MS1"},
            {"issuers": [f"{HOST}/v1/apps/agentic/{PROJECT_ID}/MS1"]},
            id="TV-069-mcp-listed",
        ),
        pytest.param({"aud": "api"}, {"audience": "api"}, id="TV-071-string"),
        pytest.param({"aud": ["x", "api"]}, {"audience": "api"}, id="TV-071-list"),
        pytest.param({"aud": "b"}, {"audience": ["a", "b"]}, id="TV-071-any-of"),
        pytest.param({"aud": PROJECT_ID}, {}, id="TV-074-project-id"),
        pytest.param({"aud": [PROJECT_ID, "x"]}, {}, id="TV-074-project-id-in-list"),
        pytest.param({"aud": "x"}, {"any_audience": True}, id="TV-074-opted-out"),
        pytest.param({"sub": "x" * 256}, {}, id="TV-075-longest"),
        pytest.param({"drn": REMOVE}, {}, id="TV-079-off"),
        pytest.param({"su": True}, {}, id="TV-093"),
        pytest.param({"jti": "x"}, {}, id="jti"),
        pytest.param(
            {"rexp": "2026-12-22T02:37:57Z", "dct": "T1", "tenants": {"T1": {}}},
            {},
            id="descope-claims",
        ),
        pytest.param({"sub": "Zoë Müller"}, {}, id="sub-printable"),
    ],
)
async def test_tokens_that_pass(changes: dict[str, Any], options: dict[str, Any]) -> None:
    """What should pass does, and gives the claims as they are."""
    members = claims(**changes)

    verified = await verifier(**options).verify(forge(members))

    assert verified.subject == members["sub"]
    assert verified.expires_at == members["exp"]
    assert set(verified.raw) == set(members)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(header(typ="JWT"), id="TV-029-JWT"),
        pytest.param(header(typ="jwt"), id="TV-029-jwt"),
        pytest.param(header(typ="application/jwt"), id="TV-029-application"),
        pytest.param(header(typ=REMOVE), id="TV-029-absent"),
    ],
)
async def test_types_that_pass(head: dict[str, Any]) -> None:
    """RFC 8725 section 3.11."""
    assert await reason(verifier(), forge(head=head)) is None


async def test_every_published_key_verifies() -> None:
    """TV-002: a token says which one it was signed by."""
    checked = verifier(key_set(jwk(), jwk(kid="k2", number=1)))
    second = forge(head=header(kid="k2"), key=private_key(number=1))

    assert await reason(checked, second) is None
    assert await reason(checked, forge()) is None
    assert await reason(checked, forge(key=private_key(number=1))) == "signature"


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        *(
            pytest.param(
                flipped(forge(), place),
                {"malformed", "signature", "key_id", "algorithm"},
                id=f"TV-003-{name}",
            )
            for place, name in enumerate(("header", "payload", "signature"))
        ),
        *(
            pytest.param(
                f"{segment(header(alg))}.{segment(claims())}.{tail}",
                {"malformed", "algorithm"},
                id=f"{row}-{alg}",
            )
            for row, tail in (("TV-006", ""), ("TV-007", forge().rpartition(".")[2]))
            for alg in ("none", "None", "NONE", "nOnE")
        ),
        *(
            pytest.param(hmac_token(secret), {"algorithm"}, id=f"TV-009-{name}")
            for name, secret in public_secrets().items()
        ),
        pytest.param(
            forge(head=header("HS256"), key=None, alg="none"), {"algorithm"}, id="TV-010-empty"
        ),
        pytest.param(hmac_token(b"secret" * 6), {"algorithm"}, id="TV-010-secret"),
        *(
            pytest.param(forge(alg=alg), {"algorithm"}, id=f"TV-011-{alg}")
            for alg in ("RS384", "RS512", "PS256")
        ),
        pytest.param(forge(alg="ES256"), {"algorithm"}, id="TV-013"),
        pytest.param(
            forge(head=header(jwk=jwk(number=1)), key=private_key(number=1)),
            {"header"},
            id="TV-021",
        ),
        pytest.param(
            forge(head=header(jwk=jwk(number=1), kid=REMOVE), key=private_key(number=1)),
            {"header"},
            id="TV-021-no-kid",
        ),
        pytest.param(
            forge(head=header(x5c=["MIIB"]), key=private_key(number=1)), {"header"}, id="TV-023"
        ),
        pytest.param(forge(key=private_key(number=1)), {"signature"}, id="foreign-key"),
        pytest.param(forge(head=header(kid="k2")), {"unknown_key"}, id="unknown-kid"),
        pytest.param(forge(head=header(kid="K1")), {"unknown_key"}, id="kid-case"),
        pytest.param(forge(head=header(kid="__class__")), {"unknown_key"}, id="kid-dunder"),
        pytest.param("x" * (MAX_TOKEN + 1), {"too_large"}, id="TV-045"),
        pytest.param("garbage", {"malformed"}, id="garbage"),
    ],
)
async def test_tokens_that_nobody_signed(token: str, expected: set[str]) -> None:
    """Forgeries of every kind; whichever check comes first says why."""
    assert await reason(verifier(), token) in expected


async def test_rsa_signatures_have_exactly_the_size_of_the_modulus() -> None:
    """TV-097: a zero byte in front neither may be dropped nor added."""
    checked = verifier()
    inputs = (f"{segment(header())}.{segment(claims(n=n))}" for n in range(100_000))
    pairs = ((text, sign(text.encode())) for text in inputs)
    signing_input, signature = next(pair for pair in pairs if pair[1][0] == 0)

    assert await reason(checked, f"{signing_input}.{b64(signature)}") is None
    assert await reason(checked, f"{signing_input}.{b64(signature[1:])}") == "signature"
    assert await reason(checked, f"{signing_input}.{b64(bytes(1) + signature)}") == "signature"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"exp": NOW - 100, "iat": NOW - 200}, "expired", id="TV-051"),
        pytest.param({"exp": NOW - 6, "iat": NOW - 200}, "expired", id="TV-051-past-leeway"),
        pytest.param({"exp": REMOVE}, "claim_missing", id="TV-053-missing"),
        pytest.param({"exp": None}, "claim_missing", id="TV-053-null"),
        *(
            pytest.param({"exp": exp}, "claim_invalid", id=f"TV-054-{name}")
            for name, exp in (
                ("text", str(NOW + 99)),
                ("spaced", f" {NOW + 99}"),
                ("underscores", "9_999_999_999"),
                ("full-width", "\uff19" * 10),
                ("empty", ""),
                ("iso", "2030-01-01T00:00:00Z"),
            )
        ),
        *(
            pytest.param({"exp": exp}, "claim_invalid", id=f"TV-055-{exp!r}")
            for exp in (True, False, [NOW + 99], {"exp": NOW})
        ),
        pytest.param({"exp": 0}, "claim_invalid", id="TV-058-0"),
        pytest.param({"exp": -1}, "claim_invalid", id="TV-058-minus-1"),
        pytest.param({"exp": 1e308}, "claim_invalid", id="exp-1e308"),
        pytest.param({"exp": 10**400}, "claim_invalid", id="exp-401-digits"),
        pytest.param({"exp": NOW * 1000}, "claim_invalid", id="exp-in-milliseconds"),
        *(
            pytest.param({"nbf": nbf}, expected, id=f"TV-061-{name}")
            for name, nbf, expected in (
                ("text", str(NOW), "claim_invalid"),
                ("null", None, "claim_missing"),
                ("list", [NOW], "claim_invalid"),
                ("future", NOW + 60, "not_yet_valid"),
                ("bool", True, "claim_invalid"),
            )
        ),
        pytest.param({"iat": REMOVE}, "claim_missing", id="TV-062-missing"),
        pytest.param({"iat": NOW + 60}, "not_yet_valid", id="TV-062-future"),
        pytest.param({"iat": str(NOW)}, "claim_invalid", id="TV-062-text"),
        pytest.param({"iat": True}, "claim_invalid", id="TV-062-bool"),
        pytest.param({"iat": NOW + 4, "exp": NOW + 3}, "lifetime", id="TV-063"),
        pytest.param({"iss": "P2zzzzzzzzzzzzzzzzzzzzzzzzzz"}, "issuer", id="TV-065"),
        *(
            pytest.param({"iss": iss}, "issuer", id=f"TV-066-{name}")
            for name, iss in (
                ("list", [PROJECT_ID]),
                ("dict", {PROJECT_ID: 1}),
                ("null", None),
                ("missing", REMOVE),
                ("empty", ""),
                ("number", 1),
                ("true", True),
            )
        ),
        *(
            pytest.param({"iss": iss}, "issuer", id=f"TV-067-{name}")
            for name, iss in (
                ("prefix", PROJECT_ID[:-1]),
                ("suffix", PROJECT_ID[1:]),
                ("super", PROJECT_ID + "x"),
                ("case", PROJECT_ID.lower()),
                ("slash", f"{HOST}/{PROJECT_ID}/"),
                ("bare-slash", f"{PROJECT_ID}/"),
                ("one-more", f"{HOST}/{PROJECT_ID}/MS1"),
                ("two-more", f"{HOST}/{PROJECT_ID}/a/b"),
                ("agentic", f"{HOST}/v1/apps/agentic/{PROJECT_ID}/MS1"),
                ("host-only", HOST),
                ("foreign-host", f"https://evil.example/{PROJECT_ID}"),
                ("http", f"http://api.descope.com/{PROJECT_ID}"),
                ("userinfo", f"https://api.descope.com@evil.example/{PROJECT_ID}"),
                ("port", f"https://api.descope.com:444/{PROJECT_ID}"),
                ("host-suffix", f"https://api.descope.com.evil.example/{PROJECT_ID}"),
                ("double-slash", f"{HOST}//{PROJECT_ID}"),
                ("dots", f"{HOST}/x/../{PROJECT_ID}"),
                ("query", f"{HOST}/?{PROJECT_ID}"),
                ("fragment", f"{HOST}/#/{PROJECT_ID}"),
                ("backslash", f"{HOST}\\{PROJECT_ID}"),
                ("newline", f"{PROJECT_ID}\n"),
                ("space", f" {PROJECT_ID}"),
                ("scheme-case", f"HTTPS://api.descope.com/{PROJECT_ID}"),
                ("no-scheme", f"api.descope.com/{PROJECT_ID}"),
                ("file", f"file:///{PROJECT_ID}"),
                ("other-path", f"{HOST}/v2/apps/{PROJECT_ID}"),
            )
        ),
        *(
            pytest.param({"aud": aud}, "audience", id=f"TV-074-{name}")
            for name, aud in (
                ("foreign", "api"),
                ("list", ["api"]),
                ("empty-list", []),
                ("empty", ""),
                ("null", None),
                ("dict", {PROJECT_ID: 1}),
                ("number", 1),
                ("mixed", [PROJECT_ID, 1]),
                ("nested", [[PROJECT_ID]]),
                ("case", PROJECT_ID.lower()),
            )
        ),
        *(
            pytest.param({"sub": sub}, "subject", id=f"TV-075-{name}")
            for name, sub in (
                ("missing", REMOVE),
                ("empty", ""),
                ("number", 5),
                ("null", None),
                ("list", ["U2x"]),
                ("10-kb", "x" * 10_240),
                ("257", "x" * 257),
                ("newline", "U2x\nroot"),
                ("nul", "U2x\0"),
                ("ansi", "\x1b[2J"),
                ("zero-width", "U2\u200bx"),
                ("bidi", "U2\u202ex"),
            )
        ),
        pytest.param({"drn": "DSR"}, "not_a_session", id="TV-077"),
        pytest.param({"drn": "DSR", "su": True}, "not_a_session", id="TV-078"),
        *(
            pytest.param({"drn": drn}, "not_a_session", id=f"TV-077-{name}")
            for name, drn in (
                ("null", None),
                ("empty", ""),
                ("case", "ds"),
                ("list", ["DS"]),
                ("other", "DSX"),
                ("true", True),
            )
        ),
        pytest.param(
            {"nonce": "n", "aud": PROJECT_ID, "drn": REMOVE}, "not_a_session", id="TV-081"
        ),
        pytest.param({"nonce": None}, "not_a_session", id="TV-081-null-nonce"),
        pytest.param({"cnf": {"jkt": "x"}}, "sender_constrained", id="TV-083"),
        pytest.param({"cnf": None}, "sender_constrained", id="TV-083-null"),
        pytest.param({"jti": 5}, "claim_invalid", id="jti-number"),
        pytest.param({"jti": None}, "claim_invalid", id="jti-null"),
    ],
)
async def test_claims_that_are_refused(changes: dict[str, Any], expected: str) -> None:
    """Properly signed, and refused for what it says."""
    assert await reason(verifier(), forge(claims(**changes))) == expected


@pytest.mark.parametrize(
    ("changes", "options", "expected"),
    [
        pytest.param({}, {"audience": "api"}, "audience", id="TV-070"),
        *(
            pytest.param({"aud": aud}, {"audience": "api"}, "audience", id=f"TV-071-{name}")
            for name, aud in (("without", ["x", "y"]), ("empty-list", []), ("empty", ""))
        ),
        *(
            pytest.param({"aud": aud}, {"audience": "api"}, "audience", id=f"TV-073-{name}")
            for name, aud in (
                ("sub", "ap"),
                ("super", "api2"),
                ("case", "API"),
                ("in-list", ["ap"]),
            )
        ),
        pytest.param({"aud": PROJECT_ID}, {"audience": "api"}, "audience", id="TV-071-project-id"),
        pytest.param({"aud": [1]}, {"any_audience": True}, "audience", id="TV-074-opted-out-shape"),
        pytest.param(
            {"drn": REMOVE}, {"require_session_name": True}, "not_a_session", id="TV-079-on"
        ),
        pytest.param(
            {"exp": NOW + 50 * 365 * 86400}, {"max_lifetime": "1d"}, "lifetime", id="TV-059"
        ),
        pytest.param(
            {"exp": NOW + 601, "iat": NOW},
            {"max_lifetime": 600},
            "lifetime",
            id="TV-059-one-second",
        ),
        pytest.param({"exp": NOW - 1, "iat": NOW - 60}, {"leeway": 0}, "expired", id="leeway-0"),
        pytest.param(
            {"iss": f"{HOST}/{PROJECT_ID}"}, {"issuer_hosts": []}, "issuer", id="no-hosts"
        ),
    ],
)
async def test_claims_that_options_refuse(
    changes: dict[str, Any], options: dict[str, Any], expected: str
) -> None:
    """Each option bites."""
    assert await reason(verifier(**options), forge(claims(**changes))) == expected


GOOD = json.dumps(claims())


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(GOOD.encode("utf-16"), id="TV-049-utf-16"),
        pytest.param(b"\xef\xbb\xbf" + GOOD.encode(), id="TV-049-bom"),
        pytest.param(GOOD.replace("U2x", "\xff").encode("latin-1"), id="TV-049-latin-1"),
        pytest.param(b"[" * 11_000, id="TV-047-nested"),
        pytest.param(
            GOOD[:-1].encode() + b',"a":' + b"[" * 500 + b"]" * 500 + b"}", id="TV-047-500"
        ),
        pytest.param(GOOD[:-1].encode() + b',"a":' + b"[" * 40 + b"]" * 40 + b"}", id="TV-047-40"),
        pytest.param(f'{GOOD[:-1]},"exp":{NOW + 9999}}}'.encode(), id="TV-050-exp"),
        pytest.param(f'{GOOD[:-1]},"su":false,"su":true}}'.encode(), id="TV-050-su"),
        pytest.param(f'{GOOD[:-1]},"sub":"U2y"}}'.encode(), id="TV-050-sub"),
        pytest.param(f'{GOOD[:-1]},"t":{{"a":1,"a":2}}}}'.encode(), id="TV-050-nested"),
        pytest.param(f'{GOOD[:-1]},"a":1e999}}'.encode(), id="number-overflow"),
        pytest.param(f'{GOOD[:-1]},"a":NaN}}'.encode(), id="nan"),
        pytest.param(f'{GOOD[:-1]},"a":"\\ud800"}}'.encode(), id="lone-surrogate"),
        pytest.param(f"[{GOOD}]".encode(), id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"' + b"x" * 100 + b'"', id="string"),
        pytest.param(GOOD.encode() + b"\0", id="trailing-nul"),
        pytest.param(segment(forge()).encode(), id="TV-031-nested-token"),
    ],
)
async def test_payloads_that_are_no_strict_json(payload: bytes) -> None:
    """Properly signed, and refused before any claim is looked at; TV-050 is pinned to refusal."""
    assert await reason(verifier(), forge(payload)) == "malformed"


async def test_nesting_that_python_can_read_passes() -> None:
    """A claim may be nested as deeply as JSON may be here, and comes out frozen all the way."""
    nested: Any = 1
    for _ in range(30):
        nested = [nested]

    verified = await verifier().verify(forge(claims(deep=nested)))
    assert hash(verified)


async def test_a_deep_stack_gives_the_right_error_all_the_same() -> None:
    """Where the interpreter runs out of stack while a token is read, the token is refused."""
    checked = verifier()
    token = forge(claims(deep=json.loads("[" * 28 + "]" * 28)))
    outcomes: set[str | None] = set()

    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
            return
        verdict = checked._judge(token, refresh=False)
        outcomes.add(verdict.value if isinstance(verdict, RejectReason) else None)

    def descend_until_it_breaks() -> None:
        levels = sys.getrecursionlimit() - 250
        while True:
            checked.clear()
            checked._parser._headers.clear()
            descend(levels)
            levels += 1

    with pytest.raises(RecursionError):
        descend_until_it_breaks()
    assert outcomes == {None, "malformed"}


@pytest.mark.parametrize("alg", sorted(ASYMMETRIC_ALGORITHMS))
async def test_other_asymmetric_algorithms_by_configuration(alg: str) -> None:
    """Each works when asked for, alone or with RS256, and is refused when it is not."""
    token = forge(alg=alg)
    alone = verifier(key_set(jwk(alg), algorithms=(alg,)))
    both = verifier(key_set(jwk(alg, kid="k2"), jwk("RS256"), algorithms=tuple({alg, "RS256"})))
    other = "RS256" if alg != "RS256" else "ES256"

    assert await reason(alone, token) is None
    assert await reason(both, forge(head=header(alg, kid="k2"), alg=alg)) is None
    assert await reason(alone, flipped(token, 2)) == "signature"
    assert await reason(alone, forge(alg=other)) == "algorithm"


async def test_a_kid_does_not_lend_its_key_to_another_algorithm() -> None:
    """TV-013: both algorithms are allowed, and still each key verifies its own only."""
    checked = verifier(key_set(jwk(), algorithms=("RS256", "ES256")))

    assert await reason(checked, forge(alg="ES256")) == "signature"


async def test_the_ecdsa_twin_is_the_same_session() -> None:
    """TV-095: it passes, with equal claims; a deny list by jti stops both, one by text neither."""

    def by_jti(checked: Claims) -> bool:
        return bool(checked.get("jti") == "bad")

    keys = key_set(jwk("ES256"), algorithms=("ES256",))
    twins = []
    for jti in ("good", "bad"):
        token = forge(claims(jti=jti), alg="ES256")
        signing_input, _, text = token.rpartition(".")
        raw = sign_bytes(text)
        r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
        twin = r.to_bytes(32) + (CURVES["ES256"].group_order - s).to_bytes(32)
        assert decode_dss_signature(encode_dss_signature(r, s)) == (r, s)
        twins.append((token, f"{signing_input}.{b64(twin)}"))
    checked = verifier(keys, is_revoked=by_jti)

    good, bad = twins
    assert await checked.verify(good[0]) == await checked.verify(good[1])
    assert [await reason(checked, token) for token in bad] == ["revoked", "revoked"]


def sign_bytes(text: str) -> bytes:
    """Return the bytes of a 64 byte signature's segment."""
    return urlsafe_b64decode(text + "==")


async def test_types_can_be_chosen() -> None:
    """TV-030: an access token passes where it is asked for, and only there."""
    token = forge(head=header(typ="at+jwt"))

    assert await reason(verifier(), token) == "type"
    assert await reason(verifier(types=("JWT", "at+jwt")), token) is None
    assert await reason(verifier(types=("at+jwt",)), forge()) == "type"


async def test_refresh_tokens_have_a_door_of_their_own() -> None:
    """A session token is no refresh token, and neither counts for the other once it has passed."""
    checked = verifier(max_lifetime=6 * 3600)
    session, refresh = forge(), forge(claims(drn="DSR", exp=NOW + 2_000_000))

    for _ in range(2):
        assert await reason(checked, refresh, refresh=True) is None
        assert await reason(checked, refresh) in {"lifetime", "not_a_session"}
        assert await reason(checked, session) is None
        assert await reason(checked, session, refresh=True) == "not_a_session"
    nameless = forge(claims(drn=REMOVE))
    assert await reason(checked, nameless, refresh=True) == "not_a_session"


# Through the whole guard: keys by HTTP, doors, wire.


@pytest.fixture
def descope() -> Iterator[tuple[DescopeEmulator, StepUpGuard, list[Event]]]:
    """Return a fresh emulator and a guard attached to it, with what the guard tells."""
    events: list[Event] = []
    guard = StepUpGuard.for_descope(
        PROJECT_ID, on_event=events.append, is_revoked=lambda c: c.subject == BLOCKED
    )
    with DescopeEmulator(project_id=PROJECT_ID).attach(guard) as emulator:
        yield emulator, guard, events


def app_for(guard: StepUpGuard) -> FastAPI:
    """Return an app with a session route and a step-up route."""
    app = FastAPI()

    @app.get("/session")
    async def session(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> str:
        return claims.subject

    @app.get("/step-up")
    async def step_up(claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age=300))]) -> str:
        return claims.subject

    return app


@pytest.mark.parametrize(
    ("parts", "path", "expected"),
    [
        pytest.param({}, "/session", None, id="TV-001"),
        pytest.param({"su": True}, "/session", None, id="TV-093"),
        pytest.param({"su": True}, "/step-up", None, id="stepped-up"),
        *(
            pytest.param(
                {"su": su}, "/step-up", "insufficient_user_authentication", id=f"{row}-{su!r}"
            )
            for row, values in (
                ("TV-085", (REMOVE, False, None)),
                ("TV-086", ("true", "false", 1, 0, 1.0, [True], {"a": 1}, "1")),
            )
            for su in values
        ),
        *(
            pytest.param(
                {name: True}, "/step-up", "insufficient_user_authentication", id=f"TV-087-{name}"
            )
            for name in ("SU", "su ", "Su")
        ),
        pytest.param(
            {"amr": ["otp", "mfa"]}, "/step-up", "insufficient_user_authentication", id="TV-089"
        ),
        pytest.param(
            {"su": True, "exp": NOW - 60, "iat": NOW - 99}, "/step-up", "invalid_token", id="TV-090"
        ),
        pytest.param(
            {"su": True, "iat": NOW - 301},
            "/step-up",
            "insufficient_user_authentication",
            id="TV-091",
        ),
        pytest.param(
            {"nsec": {"su": True}}, "/step-up", "insufficient_user_authentication", id="nsec-su"
        ),
        pytest.param({"drn": "DSR"}, "/session", "invalid_token", id="TV-077"),
        pytest.param({"drn": "DSR", "su": True}, "/step-up", "invalid_token", id="TV-078"),
        pytest.param({"cnf": {"jkt": "x"}}, "/session", "invalid_token", id="TV-083"),
        pytest.param({"iss": "P2other"}, "/session", "invalid_token", id="TV-065"),
        pytest.param({"sub": BLOCKED}, "/session", "invalid_token", id="VC-014"),
        pytest.param({"header": {"alg": "none"}}, "/session", "invalid_token", id="TV-006"),
        pytest.param({"header": {"alg": "HS256"}}, "/session", "invalid_token", id="TV-009-pem"),
        pytest.param({"key": SigningKey()}, "/session", "invalid_token", id="forged"),
        pytest.param(
            {"sub": "K2accesskey", "amr": REMOVE},
            "/step-up",
            "insufficient_user_authentication",
            id="TV-082",
        ),
    ],
)
def test_the_same_through_an_app(
    descope: tuple[DescopeEmulator, StepUpGuard, list[Event]],
    parts: dict[str, Any],
    path: str,
    expected: str | None,
) -> None:
    """TV-101, OB-009: a client learns one of the fixed codes and fixed text, never the reason."""
    emulator, guard, events = descope
    token = emulator.token(**parts)

    with TestClient(app_for(guard)) as client:
        reply = client.get(path, headers={"Authorization": f"Bearer {token}"})

    if expected is None:
        assert reply.status_code == 200
        return
    problem = reply.json()["detail"]
    assert (reply.status_code, problem["code"]) == (401, expected)
    challenge = reply.headers["www-authenticate"]
    assert f'error="{expected}"' in challenge
    for secret in (*token.split("."), parts.get("sub", "U2none"), "signature", "issuer"):
        assert secret not in reply.text + challenge or not secret
    rejected = [e for e in events if isinstance(e, TokenRejected)]
    assert len(rejected) == (expected == "invalid_token")


@pytest.mark.parametrize(
    "parts",
    [
        *(
            pytest.param({"header": {"kid": kid}}, id=f"TV-017-{name}")
            for name, kid in (
                ("missing", REMOVE),
                ("null", None),
                ("empty", ""),
                ("number", 1),
                ("list", ["k"]),
                ("dict", {"k": 1}),
            )
        ),
        *(
            pytest.param({"header": {"kid": kid}}, id=f"TV-018-{name}")
            for name, kid in (
                ("257", "k" * 257),
                ("control", "k\n"),
                ("surrogate", "\ud800"),
                ("non-ascii", "ké"),
            )
        ),
        pytest.param({"header": {"kid": "new", "jku": "https://evil.example/jwks"}}, id="TV-022"),
        pytest.param({"header": {"kid": "new", "x5u": "https://evil.example/crt"}}, id="TV-023"),
        pytest.param({"header": {"kid": "new", "alg": "none"}}, id="JW-035-alg"),
        pytest.param({"header": {"kid": "new"}, "iss": "P2other"}, id="JW-035-iss"),
        pytest.param({"header": {"kid": "new"}, "exp": NOW - 60, "iat": NOW - 99}, id="JW-035-exp"),
        pytest.param({"header": {"kid": "new"}, "drn": "DSR"}, id="JW-035-drn"),
    ],
)
def test_what_cannot_be_genuine_costs_no_fetch(
    descope: tuple[DescopeEmulator, StepUpGuard, list[Event]], parts: dict[str, Any]
) -> None:
    """Not even the first one, on a cold start."""
    emulator, guard, _ = descope

    assert asyncio.run(reason(guard.verifier, emulator.token(**parts))) is not None
    assert emulator.requests == []


def test_an_unknown_key_is_looked_for_once(
    descope: tuple[DescopeEmulator, StepUpGuard, list[Event]],
) -> None:
    """A key published since is found, one that never was is refused as such (TV-019)."""
    emulator, guard, events = descope

    async def story() -> None:
        assert await reason(guard.verifier, emulator.token()) is None
        emulator.rotate_keys()
        assert await reason(guard.verifier, emulator.token()) is None
        for kid in ("../../dev/null", "x|sleep", "${jndi:ldap://x}"):
            assert (
                await reason(guard.verifier, emulator.token(header={"kid": kid})) == "unknown_key"
            )

    asyncio.run(story())
    assert {r.path for r in emulator.requests} == {f"/v2/keys/{PROJECT_ID}"}
    assert [e for e in events if isinstance(e, TokenRejected)] == [
        TokenRejected(RejectReason.UNKNOWN_KEY)
    ] * 3


def test_no_keys_is_no_verdict(
    descope: tuple[DescopeEmulator, StepUpGuard, list[Event]],
) -> None:
    """503, without a rejection and without the token in any frame of the error."""
    emulator, guard, events = descope
    emulator.fail(404, times=99)
    token = emulator.token()

    with pytest.raises(KeysUnavailable) as caught:
        asyncio.run(guard.verify(token))

    assert not [e for e in events if isinstance(e, TokenRejected)]
    assert_without(token, caught.value)


# What a refusal holds.


def assert_without(token: str, error: BaseException) -> None:
    """Check that neither the error, nor its chain, nor our frames' variables hold the token."""
    parts = [p for p in token.split(".") if len(p) > 8]
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None:
        seen.append(link)
        link = link.__cause__ or link.__context__
    shown = [repr(e) + str(e) + repr(e.args) + repr(vars(e)) for e in seen]
    frames = [
        frame
        for e in seen
        for frame, _ in traceback.walk_tb(e.__traceback__)
        if "/fastapi_stepup/" in frame.f_code.co_filename
    ]
    shown += [repr(frame.f_locals) for frame in frames]
    assert frames
    assert not [part for part in parts for text in shown if part in text]


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(forge(claims(exp=NOW - 60, iat=NOW - 99)), id="TV-105-expired"),
        pytest.param(forge(key=private_key(number=1)), id="TV-105-signature"),
        pytest.param(forge(head=header(kid="k2")), id="TV-105-unknown-kid"),
        pytest.param(forge(b"\xff\xfe" * 30), id="TV-105-unicode-error"),
        pytest.param(forge(b'{"a":' * 30), id="TV-105-json-error"),
        pytest.param(forge(head=b'{"alg"' * 30), id="TV-105-header-json-error"),
        pytest.param(forge() + "\ud800", id="TV-105-surrogate"),
        pytest.param(forge(claims(drn="DSX")), id="TV-105-kind"),
        pytest.param(forge() + "." + forge(), id="TV-105-segments"),
        pytest.param("x" * (MAX_TOKEN + 1), id="TV-105-too-large"),
    ],
)
@pytest.mark.parametrize(
    "refresh", [pytest.param(False, id="session"), pytest.param(True, id="refresh")]
)
async def test_refusals_hold_nothing_of_the_token(token: str, refresh: bool) -> None:  # noqa: FBT001
    """TV-105: args, repr, str, chain and the variables of our frames."""
    checked = verifier()

    with pytest.raises(InvalidToken) as caught:
        await (checked.verify_refresh if refresh else checked.verify)(token)

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert_without(token, caught.value)


async def test_the_guard_adds_no_frame_with_the_token() -> None:
    """`StepUpGuard.verify` binds the realm and lets go of the token as well."""
    guard = StepUpGuard.for_descope(PROJECT_ID)
    token = forge(claims(iss="P2other"))

    with pytest.raises(InvalidToken) as caught:
        await guard.verify(token)

    assert caught.value.realm == PROJECT_ID
    assert_without(token, caught.value)


async def test_nothing_is_logged_about_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """OB-001, OB-002: at DEBUG, for good tokens, forged ones and hostile kids."""
    caplog.set_level(logging.DEBUG)
    checked = verifier()
    tokens = [
        forge(),
        forge(head=header(kid="k\n\x1b[2J")),
        flipped(forge(), 2),
        "eyJhbGciOiJub25lIn0",
    ]

    for token in tokens:
        await reason(checked, token)

    assert "eyJ" not in caplog.text
    assert "\x1b" not in caplog.text


async def test_events_have_few_labels() -> None:
    """OB-003: a thousand different forgeries give reasons of a closed enum, and nothing else."""
    events: list[Event] = []
    checked = verifier(on_event=events.append, verdict_cache_size=0)

    for number in range(1000):
        await reason(checked, forge(head=header(kid=f"k{number}"), payload="e30", alg="none"))

    assert len(events) == 1000
    assert {type(e) for e in events} == {TokenRejected}
    assert all(isinstance(e, TokenRejected) and type(e.reason) is RejectReason for e in events)
    assert len({*events}) == 1


async def test_the_verifier_shows_no_token() -> None:
    """OB-005: repr, str, vars; and it cannot be pickled away."""
    checked = verifier()
    token = forge()
    verified = await checked.verify(token)

    shown = repr(checked) + str(checked) + repr(vars(checked)) + repr(verified)
    assert not [part for part in token.split(".") if part in shown]
    assert PROJECT_ID in repr(checked)
    with pytest.raises(TypeError):
        pickle.dumps(checked)


# Revocation.


async def test_revocation_is_asked_at_every_call() -> None:
    """VC-014: after the verdict cache, so a flip takes effect with the next request."""
    revoked: set[str] = set()
    events: list[Event] = []
    asked: list[Claims] = []

    def is_revoked(checked: Claims) -> bool:
        asked.append(checked)
        return checked.subject in revoked

    checked = verifier(is_revoked=is_revoked, on_event=events.append)
    token = forge()

    assert await reason(checked, token) is None
    assert await reason(checked, token) is None
    revoked.add("U2x")
    assert await reason(checked, token) == "revoked"
    assert await reason(checked, forge(claims(drn="DSR")), refresh=True) == "revoked"
    revoked.clear()
    assert await reason(checked, token) is None
    assert await reason(checked, flipped(token, 2)) == "signature"
    assert len(asked) == 5
    assert [e.reason for e in events if isinstance(e, TokenRejected)] == [
        RejectReason.REVOKED, RejectReason.REVOKED, RejectReason.SIGNATURE,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(False, None, id="false"),
        pytest.param(True, "revoked", id="true"),
        pytest.param(None, "revoked", id="forgotten-return"),
        pytest.param(0, "revoked", id="zero"),
        pytest.param("", "revoked", id="empty"),
    ],
)
async def test_only_false_is_a_no(answer: Any, expected: str | None) -> None:
    """Fail closed, with a plain hook and with an asynchronous one."""

    def plain(_: Claims) -> Any:
        return answer

    async def asynchronous(_: Claims) -> Any:
        return answer

    for hook in (plain, asynchronous):
        assert await reason(verifier(is_revoked=hook), forge()) == expected


async def test_a_failing_hook_is_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """503 without the hook's text, which may hold anything; a refusal of its own passes through."""

    async def broken(_: Claims) -> bool:
        raise OSError("redis://:password@host")

    async def refusing(_: Claims) -> bool:
        raise OTPRejected

    token = forge()
    with pytest.raises(RevocationUnavailable) as caught:
        await verifier(is_revoked=broken).verify(token)
    assert caught.value.status_code == 503
    assert caught.value.headers["Retry-After"] == "1"
    assert caught.value.__context__ is None
    assert_without(token, caught.value)
    assert "OSError" in caplog.text
    assert "password" not in caplog.text

    with pytest.raises(OTPRejected):
        await verifier(is_revoked=refusing).verify(token)


# Configuration.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"project_id": ""}, "project id", id="CF-002-empty"),
        pytest.param({"project_id": " "}, "project id", id="CF-002-space"),
        pytest.param({"project_id": None}, "project id", id="CF-002-none"),
        pytest.param({"project_id": "../x"}, "project id", id="CF-002-path"),
        *(
            pytest.param({"leeway": leeway}, "leeway", id=f"CF-003-{leeway!r}")
            for leeway in (-1, 61, float("nan"), float("inf"), True, "5", None)
        ),
        *(
            pytest.param({"max_lifetime": value}, "max_lifetime", id=f"CF-003-lifetime-{value!r}")
            for value in (0, -1, 1.5, float("nan"), True, "1 day", b"1d")
        ),
        *(
            pytest.param({"issuers": issuers}, "issuers", id=f"CF-005-{name}")
            for name, issuers in (
                ("empty", [""]),
                ("wildcard", ["https://*.x"]),
                ("regex", [re.compile("x")]),
                ("text", "https://x"),
                ("blank", [" "]),
            )
        ),
        *(
            pytest.param({"audience": audience}, "audience", id=f"CF-audience-{name}")
            for name, audience in (
                ("none-listed", []),
                ("empty", ""),
                ("number", [1]),
                ("wildcard", "*"),
            )
        ),
        pytest.param({"audience": "a", "any_audience": True}, "either", id="CF-audience-both"),
        pytest.param({"any_audience": "false"}, "any_audience", id="CF-any-audience-text"),
        pytest.param({"require_session_name": 1}, "require_session_name", id="CF-name-number"),
        *(
            pytest.param({"verdict_cache_size": size}, "verdict_cache_size", id=f"CF-size-{size!r}")
            for size in (-1, 1_000_001, True, 4096.0, None, "0")
        ),
        pytest.param({"is_revoked": {"U2x"}}, "is_revoked", id="CF-hook"),
        pytest.param({"types": ()}, "types", id="CF-types"),
        pytest.param({"max_token_size": 1}, "max_token_size", id="CF-token-size"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    """At construction, with a message that names the option."""
    with pytest.raises(ConfigurationError, match=message):
        verifier(**options)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(verifier, id="CF-006-verifier"),
        pytest.param(
            lambda **options: StepUpGuard.for_descope(PROJECT_ID, **options), id="CF-006-guard"
        ),
    ],
)
def test_a_misspelt_option_is_an_error(make: Callable[..., object]) -> None:
    """CF-006, CF-007: no typo goes unnoticed, and there is no switch that turns checking off."""
    for name in ("audiance", "verify", "verify_signature", "verify_exp", "options", "insecure"):
        with pytest.raises(TypeError, match=name):
            make(**{name: False})


def test_settings_cannot_change_later() -> None:
    """CF-009: the verdict cache and the checks rely on them."""
    checked = verifier(audience="api")

    for name in ("audience", "leeway", "issuers", "keys", "is_revoked", "anything"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(checked, name, None)
    with pytest.raises(AttributeError, match="immutable"):
        del checked.audience
    assert checked.audience == frozenset({"api"})


async def test_two_verifiers_share_nothing() -> None:
    """CF-014: what one accepts is no verdict for the other, on the same keys."""
    keys = key_set()
    lax, strict = verifier(keys), verifier(keys, audience="api")
    token = forge()

    assert await reason(lax, token) is None
    assert await reason(strict, token) == "audience"
    assert await reason(lax, token) is None


def test_checks_survive_python_o() -> None:
    """CF-013: no rule is an assert."""
    script = """
import asyncio
from tests.support.token_factory import claims, forge, header, private_key, reason, verifier
hostile = [
    forge(claims(exp=1)), forge(claims(drn="DSR")), forge(claims(iss="x")), forge(claims(aud="x")),
    forge(key=private_key(number=1)), forge(head=header("none"), alg="none"), "", "a.b.c",
    forge(head=header(jwk={})), forge(claims(cnf={})), forge(claims(sub="")),
]
async def main():
    checked = verifier()
    print([await reason(checked, token) for token in (forge(), *hostile)])
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-O", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    reasons = "expired not_a_session issuer audience signature algorithm malformed malformed"
    more = "header sender_constrained subject"
    assert done.stdout.strip() == str([None, *reasons.split(), *more.split()])


# Load.


def test_threads_share_one_verifier() -> None:
    """TV-103, VC-017: 64 threads with a loop each, good and bad tokens mixed, no wrong verdict."""
    checked = verifier(verdict_cache_size=16)
    good = [forge(claims(sub=f"U2{n}")) for n in range(24)]
    bad = [flipped(token, 2) for token in good[:8]]

    async def run(start: int) -> int:
        right = 0
        for turn in range(1000):
            number = (start + turn) % 32
            if number < 24:
                verified = await checked.verify(good[number])
                right += verified.subject == f"U2{number}"
            elif turn % 25:
                right += await reason(checked, "x" + bad[number - 24]) is not None
            else:
                right += await reason(checked, bad[number - 24]) == "signature"
            if turn % 250 == 0:
                checked.forget(f"U2{number}")
        return right

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(lambda n: asyncio.run(run(n)), range(64))) == [1000] * 64


async def test_bad_tokens_leave_no_trace() -> None:
    """JW-089, VC-011: fifty thousand different ones, and not one more object than before."""
    checked = verifier()
    await checked.verify(forge())
    payload = forge().split(".")[1]

    async def flood(count: int, salt: str) -> None:
        for number in range(count):
            head = segment(json.dumps(header(kid=f"{salt}{number}")).encode())
            await reason(checked, f"{head}.{payload}.{'A' * 342}")
            await reason(checked, f"{salt}{number}.{payload}.AAAA")

    await flood(500, "warm")
    gc.collect()
    before = len(gc.get_objects())
    await flood(12_000, "flood")
    gc.collect()
    assert len(gc.get_objects()) - before < 200
    assert len(checked._verdicts) == 1
    assert len(checked._parser._headers) == 1


async def test_verdicts_are_on_by_default_and_told() -> None:
    """One miss, then hits; none of either when it is turned off, and none for what is no token."""
    for size, expected in ((4096, ["miss", "hit", "hit", "miss"]), (0, [])):
        events: list[Event] = []
        checked = verifier(on_event=events.append, verdict_cache_size=size)
        for _ in range(3):
            await checked.verify(ONCE)
        await reason(checked, "garbage")
        await reason(checked, None)
        assert [e.outcome for e in events if isinstance(e, TokenCache)] == expected
    assert isinstance(verifier(), TokenVerifier)


async def test_a_policy_is_not_part_of_a_verdict() -> None:
    """VC-013: a session cached by one route is not stepped up on another."""
    verified = await verifier().verify(forge())

    assert not StepUpPolicy().is_met_by(verified, now=time.time())

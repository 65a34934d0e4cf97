"""Compact JWS: one strict form comes through, every other is rejected before any key is touched."""

import json
import time
from collections.abc import Iterable
from dataclasses import FrozenInstanceError
from itertools import product
from typing import Any

import pytest

from fastapi_stepup.errors import ConfigurationError, RejectReason
from fastapi_stepup.tokens.jws import (
    ASYMMETRIC_ALGORITHMS,
    MAX_HEADER,
    MAX_KID,
    MAX_TOKEN,
    JWSParser,
)
from fastapi_stepup.tokens.rejected import Rejected
from tests.support.token_factory import header, make_token, segment

GOOD = make_token()
HEAD, PAYLOAD, SIGNATURE = GOOD.split(".")


def rejection(token: Any, parser: JWSParser | None = None) -> RejectReason:
    """Return why *token* is rejected."""
    with pytest.raises(Rejected) as caught:
        (parser or JWSParser(("RS256",))).parse(token)
    assert caught.value.__context__ is None
    return caught.value.reason


def with_header(head: str | bytes | dict[str, Any]) -> str:
    """Return a token with this header; its signature is that of another."""
    return f"{segment(head)}.{PAYLOAD}.{SIGNATURE}"


def test_a_good_token_is_parsed() -> None:
    """The parts are the bytes that were sent."""
    jws = JWSParser(("RS256",)).parse(GOOD)

    assert (jws.header.alg, jws.header.kid) == ("RS256", "k1")
    assert jws.signing_input == f"{HEAD}.{PAYLOAD}".encode()
    assert jws.header_segment == HEAD.encode()
    assert json.loads(jws.payload)["sub"] == "U2x"
    assert len(jws.signature) == 256


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="TV-033-empty"),
        pytest.param(".", id="TV-033-one-dot"),
        pytest.param("..", id="TV-033-two-dots"),
        pytest.param("...", id="TV-033-three-dots"),
        pytest.param(HEAD, id="TV-033-1-segment"),
        pytest.param(f"{HEAD}.{PAYLOAD}", id="TV-005-no-signature-no-dot"),
        pytest.param(f"{HEAD}.{PAYLOAD}.", id="TV-006-empty-signature"),
        pytest.param(f".{PAYLOAD}.{SIGNATURE}", id="TV-033-no-header"),
        pytest.param(f"{HEAD}..{SIGNATURE}", id="TV-026-detached-payload"),
        pytest.param(f"{GOOD}.{SIGNATURE}", id="TV-033-4-segments"),
        pytest.param(f"{GOOD}.", id="TV-033-trailing-dot"),
        pytest.param(f".{GOOD}", id="TV-033-leading-dot"),
        pytest.param(f"{HEAD}.{PAYLOAD}.{PAYLOAD}.{PAYLOAD}.{SIGNATURE}", id="jwe-5-segments"),
        pytest.param(f"{GOOD}.{GOOD}", id="TV-033-6-segments"),
        pytest.param(
            json.dumps({"protected": HEAD, "payload": PAYLOAD, "signature": SIGNATURE}),
            id="TV-034-flattened",
        ),
        pytest.param(
            json.dumps({"payload": PAYLOAD, "signatures": [{"protected": HEAD}]}),
            id="TV-034-general",
        ),
        pytest.param(GOOD + '{"payload":""}', id="TV-035-json-after"),
        pytest.param('{"payload":""}' + GOOD, id="TV-035-json-before"),
        pytest.param(f"Bearer {GOOD}", id="scheme-left-on"),
        pytest.param(f'"{GOOD}"', id="quoted"),
        pytest.param(f"{GOOD},{GOOD}", id="two-in-one-field"),
        pytest.param(None, id="TV-041-none"),
        pytest.param(7, id="TV-041-int"),
        pytest.param(GOOD.encode(), id="TV-041-bytes"),
        pytest.param([GOOD], id="TV-041-list"),
        pytest.param(GOOD + "\ud800", id="TV-042-lone-surrogate"),
        pytest.param("\udcff".join(GOOD.split(".")), id="TV-042-surrogate-for-dot"),
        pytest.param(GOOD.replace(".", "\u3002", 1), id="full-width-dot"),
        pytest.param(GOOD.translate({ord("A"): "\uff21"}), id="full-width-letters"),
    ],
)
def test_only_three_segments_of_text_are_a_token(token: Any) -> None:
    """All but three dotted segments in ASCII is malformed, other types than text too."""
    assert rejection(token) is RejectReason.MALFORMED


@pytest.mark.parametrize(
    "new",
    [
        pytest.param("=", id="TV-037-padding"),
        pytest.param("==", id="TV-037-double-padding"),
        pytest.param("\n", id="TV-039-newline"),
        pytest.param(" ", id="TV-039-space"),
        pytest.param("\0", id="TV-039-nul"),
        pytest.param("%2e", id="TV-039-percent"),
        pytest.param("\u200b", id="TV-039-zero-width-space"),
        pytest.param("\t", id="tab"),
        pytest.param("\x7f", id="del"),
        pytest.param("+", id="standard-alphabet-plus"),
        pytest.param("/", id="standard-alphabet-slash"),
        pytest.param("*", id="what-others-map-to"),
    ],
)
def test_segments_are_canonical_base64url(new: str) -> None:
    """No character outside the alphabet passes, at the end of a segment or within."""
    for place, cut in product(range(3), (10, None)):
        segments = [HEAD, PAYLOAD, SIGNATURE]
        text = segments[place]
        position = len(text) if cut is None else cut
        segments[place] = text[:position] + new + text[position:]
        assert rejection(".".join(segments)) is RejectReason.MALFORMED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        *(
            pytest.param({"alg": alg}, RejectReason.ALGORITHM, id=f"TV-006-{alg}")
            for alg in ("none", "None", "NONE", "nOnE")
        ),
        *(
            pytest.param({"alg": alg}, RejectReason.ALGORITHM, id=f"TV-011-{alg}")
            for alg in ("RS384", "RS512", "PS256")
        ),
        *(
            pytest.param({"alg": alg}, RejectReason.ALGORITHM, id=f"TV-014-{type(alg).__name__}")
            for alg in ("rs256", ["RS256"], {"RS256": 1}, 256, None, True)
        ),
        pytest.param({"alg": " RS256"}, RejectReason.ALGORITHM, id="TV-014-space-before"),
        pytest.param({"alg": "RS256 "}, RejectReason.ALGORITHM, id="TV-014-space-after"),
        pytest.param({"alg": "RS256\0"}, RejectReason.ALGORITHM, id="TV-014-nul"),
        pytest.param({"alg": ""}, RejectReason.ALGORITHM, id="TV-014-empty"),
        pytest.param({"alg": "HS256"}, RejectReason.ALGORITHM, id="TV-009-hs256"),
        pytest.param({"alg": "ES256"}, RejectReason.ALGORITHM, id="TV-013-es256"),
        pytest.param({"kid": None}, RejectReason.KEY_ID, id="TV-017-null"),
        pytest.param({"kid": ""}, RejectReason.KEY_ID, id="TV-017-empty"),
        pytest.param({"kid": 1}, RejectReason.KEY_ID, id="TV-017-number"),
        pytest.param({"kid": ["k1"]}, RejectReason.KEY_ID, id="TV-017-list"),
        pytest.param({"kid": {"k1": 1}}, RejectReason.KEY_ID, id="TV-017-dict"),
        pytest.param({"kid": "k" * (MAX_KID + 1)}, RejectReason.KEY_ID, id="TV-018-257"),
        pytest.param({"kid": "k1\n"}, RejectReason.KEY_ID, id="TV-018-newline"),
        pytest.param({"kid": "k1\x1b[31m"}, RejectReason.KEY_ID, id="TV-018-ansi"),
        pytest.param({"kid": "k 1"}, RejectReason.KEY_ID, id="TV-018-space"),
        pytest.param({"kid": "k\u00e9"}, RejectReason.KEY_ID, id="TV-018-non-ascii"),
        pytest.param({"kid": "\ud800"}, RejectReason.MALFORMED, id="TV-018-lone-surrogate"),
        pytest.param({"jwk": {"kty": "RSA"}}, RejectReason.HEADER, id="TV-021-jwk"),
        pytest.param({"jku": "https://evil.example"}, RejectReason.HEADER, id="TV-022-jku"),
        pytest.param({"x5u": "https://evil.example"}, RejectReason.HEADER, id="TV-023-x5u"),
        pytest.param({"x5c": ["MII"]}, RejectReason.HEADER, id="TV-023-x5c"),
        *(
            pytest.param({"crit": crit}, RejectReason.HEADER, id=f"TV-025-{json.dumps(crit)}")
            for crit in (["exp"], ["b64"], [], "exp", [1], ["x", "x"], None)
        ),
        pytest.param({"b64": False, "crit": ["b64"]}, RejectReason.HEADER, id="TV-026-b64"),
        pytest.param({"b64": 0}, RejectReason.HEADER, id="TV-027-0"),
        pytest.param({"b64": "false"}, RejectReason.HEADER, id="TV-027-text"),
        pytest.param({"b64": True}, RejectReason.HEADER, id="TV-027-true"),
        pytest.param({"zip": "DEF"}, RejectReason.HEADER, id="rfc8725-3.6-zip"),
        pytest.param({"enc": "A256GCM"}, RejectReason.HEADER, id="jwe-enc"),
        pytest.param({"cty": "JWT"}, RejectReason.HEADER, id="TV-031-nested"),
        pytest.param({"typ": "at+jwt"}, RejectReason.TYPE, id="TV-030-at"),
        pytest.param({"typ": "dpop+jwt"}, RejectReason.TYPE, id="TV-030-dpop"),
        pytest.param({"typ": "logout+jwt"}, RejectReason.TYPE, id="TV-030-logout"),
        pytest.param({"typ": 1}, RejectReason.TYPE, id="TV-030-number"),
        pytest.param({"typ": ["JWT"]}, RejectReason.TYPE, id="TV-030-list"),
        pytest.param({"typ": None}, RejectReason.TYPE, id="TV-030-null"),
        pytest.param({"typ": ""}, RejectReason.TYPE, id="TV-030-empty"),
        pytest.param({"typ": "JWT "}, RejectReason.TYPE, id="TV-030-space"),
        pytest.param({"typ": "application/"}, RejectReason.TYPE, id="TV-030-prefix-only"),
        pytest.param({"typ": "text/jwt"}, RejectReason.TYPE, id="TV-030-other-tree"),
        pytest.param({"typ": "application/application/jwt"}, RejectReason.TYPE, id="TV-030-twice"),
    ],
)
def test_headers_that_are_rejected(changes: dict[str, Any], expected: RejectReason) -> None:
    """Each hostile header parameter has its reason."""
    assert rejection(with_header(header(**changes))) is expected


@pytest.mark.parametrize(
    "name", [pytest.param("alg", id="TV-014"), pytest.param("kid", id="TV-017")]
)
def test_headers_that_lack_something(name: str) -> None:
    """No algorithm is guessed and no key is tried out."""
    head = header()
    del head[name]

    assert rejection(with_header(head)) in {RejectReason.ALGORITHM, RejectReason.KEY_ID}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"typ": "jwt"}, id="TV-029-lower"),
        pytest.param({"typ": "application/jwt"}, id="TV-029-media-type"),
        pytest.param({"typ": "Application/JWT"}, id="TV-029-media-type-case"),
        pytest.param({"kid": "k" * MAX_KID}, id="longest-kid"),
        *(
            pytest.param({"kid": kid}, id=f"TV-019-{number}")
            for number, kid in enumerate(
                (
                    "../../dev/null",
                    "/dev/null",
                    "'OR(1=1)--",
                    "x|sleep",
                    "{{7*7}}",
                    "${jndi:ldap://x}",
                )
            )
        ),
        pytest.param({"x5t": "abc", "unknown": {"a": [1]}}, id="unknown-parameters"),
    ],
)
def test_headers_that_pass(changes: dict[str, Any]) -> None:
    """A key id is only ever a name, whatever it looks like; unknown parameters are ignored."""
    parsed = JWSParser(("RS256",)).parse(with_header(header(**changes)))

    assert parsed.header.kid == changes.get("kid", "k1")


def test_an_absent_type_counts_as_jwt() -> None:
    """Also where the configuration drops JWT."""
    token = with_header({"alg": "RS256", "kid": "k1"})

    assert JWSParser(("RS256",)).parse(token).header.kid == "k1"
    assert rejection(token, JWSParser(("RS256",), types=["at+jwt"])) is RejectReason.TYPE


def test_types_can_be_chosen() -> None:
    """At+jwt is configurable, in any case and with the prefix."""
    parser = JWSParser(("RS256",), types=["JWT", "application/AT+JWT"])

    for typ in ("at+jwt", "AT+jwt", "application/at+jwt", "JWT"):
        assert parser.parse(with_header(header(typ=typ))).header.kid == "k1"
    assert rejection(with_header(header(typ="logout+jwt")), parser) is RejectReason.TYPE
    # The Kelvin sign is a k to `str.lower`.
    parser = JWSParser(("RS256",), types=["k+jwt"])
    assert rejection(with_header(header(typ="\u212a+jwt")), parser) is RejectReason.TYPE


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b'{"alg":"none","alg":"RS256","kid":"k1"}', id="TV-015-none-first"),
        pytest.param(b'{"alg":"RS256","alg":"none","kid":"k1"}', id="TV-015-none-last"),
        pytest.param(b'{"alg":"RS256","\\u0061lg":"none","kid":"k1"}', id="TV-015-by-escape"),
        pytest.param(b'{"alg":"RS256","kid":"k1","kid":"k2"}', id="TV-015-kid"),
        pytest.param(json.dumps(header()).encode("utf-16"), id="TV-043-utf-16"),
        pytest.param(json.dumps(header()).encode("utf-32"), id="TV-043-utf-32"),
        pytest.param(b"\xef\xbb\xbf" + json.dumps(header()).encode(), id="TV-043-bom"),
        pytest.param(b"[" * 1500, id="TV-047-nested"),
        pytest.param(b'{"a":' * 300, id="TV-047-nested-objects"),
        pytest.param(b'["RS256"]', id="list"),
        pytest.param(b'"RS256"', id="string"),
        pytest.param(b"\xff\xfe", id="no-utf-8"),
        pytest.param(b"{}{}", id="two-objects"),
    ],
)
def test_headers_that_are_no_strict_json(head: bytes) -> None:
    """One UTF-8 object with distinct names, or nothing."""
    assert rejection(with_header(head)) is RejectReason.MALFORMED


def test_sizes_are_checked_first() -> None:
    """Too long a token or header costs no decoding."""
    oversized = with_header(b"x" * (MAX_HEADER * 3 // 4 + 3))
    assert rejection(oversized) is RejectReason.TOO_LARGE
    assert rejection("." * (MAX_TOKEN + 1)) is RejectReason.TOO_LARGE
    assert rejection("." * MAX_TOKEN) is RejectReason.MALFORMED

    huge = f"{HEAD}.{'A' * 2**20}.{SIGNATURE}"
    started = time.perf_counter()
    for _ in range(10):
        assert rejection(huge) is RejectReason.TOO_LARGE
    assert (time.perf_counter() - started) / 10 < 0.005


def test_longer_headers_of_good_form_pass() -> None:
    """The cap is on the segment, inclusive."""
    head = json.dumps({**header(), "pad": ""})
    left = MAX_HEADER * 3 // 4 - len(head)
    fitting = json.dumps({**header(), "pad": "x" * left}).encode()

    assert len(segment(fitting)) == MAX_HEADER
    assert JWSParser(("RS256",)).parse(with_header(fitting)).header.kid == "k1"


def test_headers_are_remembered_on_request() -> None:
    """A forger can neither fill nor empty the memory, and it is bounded."""
    parser = JWSParser(("RS256",))
    jws = parser.parse(GOOD)
    assert parser.parse(GOOD).header is not jws.header

    parser.remember(jws)
    parser.remember(jws)
    assert parser.parse(GOOD).header is jws.header


def test_sixty_four_headers_are_remembered() -> None:
    """Then the memory starts over, so that it never holds more."""
    parser = JWSParser(("RS256",))
    tokens = [with_header(header(kid=f"k{number}")) for number in range(65)]

    for number, token in enumerate(tokens[:64], start=1):
        parser.remember(parser.parse(token))
        assert len(parser._headers) == number
    assert all(parser.parse(t).header is parser.parse(t).header for t in tokens[:64])
    parser.remember(parser.parse(tokens[64]))
    assert len(parser._headers) == 1


@pytest.mark.parametrize(
    "algorithms",
    [
        pytest.param((), id="CF-001-empty"),
        pytest.param(None, id="CF-001-none"),
        pytest.param("RS256", id="CF-001-text"),
        pytest.param(["none"], id="CF-001-alg-none"),
        pytest.param(["HS256"], id="CF-001-hs256"),
        pytest.param(["RS256", "HS256"], id="CF-001-mixed"),
        pytest.param(["XS256"], id="CF-001-unknown"),
        pytest.param(["rs256"], id="CF-001-case"),
        pytest.param([256], id="CF-001-number"),
        pytest.param([["RS256"]], id="CF-001-nested"),
    ],
)
def test_algorithms_that_cannot_be_used(algorithms: Any) -> None:
    """Only a non-empty collection of asymmetric names is a configuration."""
    with pytest.raises(ConfigurationError, match="algorithms is a tuple"):
        JWSParser(algorithms)


def test_every_asymmetric_algorithm_can_be_chosen() -> None:
    """These eleven (RFC 7518 section 3.1, RFC 8037, RFC 8812), none of which is symmetric."""
    every = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    every |= {"ES256", "ES384", "ES512", "ES256K", "EdDSA"}

    assert every == ASYMMETRIC_ALGORITHMS
    assert JWSParser(tuple(every)).algorithms == every


def test_the_limits_are_those_of_the_documentation() -> None:
    """In characters; the longest token can be set from 1 to 64 KiB, both included."""
    assert (MAX_TOKEN, MAX_HEADER, MAX_KID) == (16_384, 2048, 256)
    for size in (1024, 65_536):
        assert JWSParser(("RS256",), max_size=size).max_size == size


def test_parsed_parts_cannot_change_and_show_nothing() -> None:
    """A header is shared by all tokens that have it; error reports show the variables of frames."""
    jws = JWSParser(("RS256",)).parse(GOOD)

    with pytest.raises(FrozenInstanceError):
        jws.header.alg = "none"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        jws.payload = b""  # type: ignore[misc]
    assert "eyJ" not in repr(jws) + str(jws)
    assert not isinstance(jws, Iterable)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(
            pytest.param({"types": types}, "types is a tuple", id=f"types-{types!r}")
            for types in ((), "JWT", [""], ["a b"], [1], ["application/"], ["text/x"], ["\u212a"])
        ),
        *(
            pytest.param({"max_size": size}, "max_token_size", id=f"size-{size!r}")
            for size in (0, 1023, 65537, True, 4096.0, "4096", None)
        ),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    """The message says what would do."""
    with pytest.raises(ConfigurationError, match=message):
        JWSParser(("RS256",), **options)

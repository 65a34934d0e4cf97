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
    "tokens",
    [
        pytest.param(
            {
                "empty": "",
                "only dots": "..",
                "header alone": HEAD,
                "TV-005": f"{HEAD}.{PAYLOAD}",
                "TV-006 empty signature": f"{HEAD}.{PAYLOAD}.",
                "no header": f".{PAYLOAD}.{SIGNATURE}",
                "TV-026 detached payload": f"{HEAD}..{SIGNATURE}",
                "four": f"{GOOD}.{SIGNATURE}",
                "dot at the end": f"{GOOD}.",
                "dot in front": f".{GOOD}",
                "five, as a JWE has": f"{HEAD}.{PAYLOAD}.{PAYLOAD}.{PAYLOAD}.{SIGNATURE}",
                "two tokens": f"{GOOD}.{GOOD}",
            },
            id="TV-033-other-segments",
        ),
        pytest.param(
            {
                "TV-034 flattened": json.dumps(
                    {"protected": HEAD, "payload": PAYLOAD, "signature": SIGNATURE}
                ),
                "TV-034 general": json.dumps(
                    {"payload": PAYLOAD, "signatures": [{"protected": HEAD}]}
                ),
                "JSON after": GOOD + '{"payload":""}',
                "JSON before": '{"payload":""}' + GOOD,
                "scheme left on": f"Bearer {GOOD}",
                "quoted": f'"{GOOD}"',
                "two in one field": f"{GOOD},{GOOD}",
            },
            id="TV-035-more-than-a-token",
        ),
        pytest.param(
            {"None": None, "int": 7, "bytes": GOOD.encode(), "list": [GOOD]},
            id="TV-041-other-types",
        ),
        pytest.param(
            {
                "lone surrogate": GOOD + "\ud800",
                "surrogates for dots": "\udcff".join(GOOD.split(".")),
                "full-width dot": GOOD.replace(".", "\u3002", 1),
                "full-width letters": GOOD.translate({ord("A"): "\uff21"}),
            },
            id="TV-042-not-ascii",
        ),
    ],
)
def test_only_three_segments_of_text_are_a_token(
    tokens: dict[str, Any], subtests: pytest.Subtests
) -> None:
    """All but three dotted segments in ASCII is malformed, other types than text too."""
    for name, token in tokens.items():
        with subtests.test(name):
            assert rejection(token) is RejectReason.MALFORMED


@pytest.mark.parametrize("place", range(3), ids=["header", "payload", "signature"])
def test_segments_are_canonical_base64url(place: int, subtests: pytest.Subtests) -> None:
    """TV-037, TV-039: nothing from outside the alphabet passes, at the end or within."""
    foreign = ("=", "==", "\n", " ", "\0", "%2e", "\u200b", "\x7f", "+", "/", "*")
    for new, cut in product(foreign, (10, None)):
        segments = [HEAD, PAYLOAD, SIGNATURE]
        text = segments[place]
        position = len(text) if cut is None else cut
        segments[place] = text[:position] + new + text[position:]
        with subtests.test(new=new, cut=cut):
            assert rejection(".".join(segments)) is RejectReason.MALFORMED


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        pytest.param("alg", ["none", "None", "NONE", "nOnE"], RejectReason.ALGORITHM, id="TV-006"),
        pytest.param("alg", ["HS256"], RejectReason.ALGORITHM, id="TV-009"),
        pytest.param("alg", ["RS384", "RS512", "PS256"], RejectReason.ALGORITHM, id="TV-011"),
        pytest.param("alg", ["ES256"], RejectReason.ALGORITHM, id="TV-013"),
        pytest.param(
            "alg",
            ["rs256", " RS256", "RS256 ", "RS256\0", ""],
            RejectReason.ALGORITHM,
            id="TV-014-spelling",
        ),
        pytest.param(
            "alg",
            [["RS256"], {"RS256": 1}, 256, None, True],
            RejectReason.ALGORITHM,
            id="TV-014-types",
        ),
        pytest.param(
            "kid", [None, "", 1, ["k1"], {"k1": 1}], RejectReason.KEY_ID, id="TV-017-no-text"
        ),
        pytest.param(
            "kid",
            ["k" * (MAX_KID + 1), "k1\n", "k1\x1b[31m", "k 1", "k\u00e9"],
            RejectReason.KEY_ID,
            id="TV-018",
        ),
        pytest.param("kid", ["\ud800"], RejectReason.MALFORMED, id="TV-018-lone-surrogate"),
        pytest.param("jwk", [{"kty": "RSA"}], RejectReason.HEADER, id="TV-021"),
        pytest.param("jku", ["https://evil.example"], RejectReason.HEADER, id="TV-022"),
        pytest.param("x5u", ["https://evil.example"], RejectReason.HEADER, id="TV-023-x5u"),
        pytest.param("x5c", [["MII"]], RejectReason.HEADER, id="TV-023-x5c"),
        pytest.param(
            "crit",
            [["exp"], ["b64"], [], "exp", [1], ["x", "x"], None],
            RejectReason.HEADER,
            id="TV-025",
        ),
        pytest.param("b64", [False, 0, "false", True], RejectReason.HEADER, id="TV-027"),
        pytest.param("zip", ["DEF"], RejectReason.HEADER, id="rfc8725-3.6-zip"),
        pytest.param("enc", ["A256GCM"], RejectReason.HEADER, id="jwe-enc"),
        pytest.param("cty", ["JWT"], RejectReason.HEADER, id="TV-031-nested"),
        pytest.param(
            "typ", ["at+jwt", "dpop+jwt", "logout+jwt"], RejectReason.TYPE, id="TV-030-others"
        ),
        pytest.param("typ", [1, ["JWT"], None], RejectReason.TYPE, id="TV-030-no-text"),
        pytest.param(
            "typ",
            ["", "JWT ", "application/", "text/jwt", "application/application/jwt"],
            RejectReason.TYPE,
            id="TV-030-spelling",
        ),
    ],
)
def test_headers_that_are_rejected(
    name: str, values: list[Any], expected: RejectReason, subtests: pytest.Subtests
) -> None:
    """Each hostile header parameter has its reason."""
    for value in values:
        with subtests.test(value=value):
            assert rejection(with_header(header(**{name: value}))) is expected


@pytest.mark.parametrize(
    "name", [pytest.param("alg", id="TV-014"), pytest.param("kid", id="TV-017")]
)
def test_headers_that_lack_something(name: str) -> None:
    """No algorithm is guessed and no key is tried out."""
    head = header()
    del head[name]

    assert rejection(with_header(head)) in {RejectReason.ALGORITHM, RejectReason.KEY_ID}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param("typ", ["jwt", "application/jwt", "Application/JWT"], id="TV-029"),
        pytest.param(
            "kid",
            [
                "k" * MAX_KID,
                "../../dev/null",
                "/dev/null",
                "'OR(1=1)--",
                "x|sleep",
                "{{7*7}}",
                "${jndi:ldap://x}",
            ],
            id="TV-019",
        ),
        pytest.param("unknown", [{"a": [1]}], id="unknown-parameter"),
    ],
)
def test_headers_that_pass(name: str, values: list[Any], subtests: pytest.Subtests) -> None:
    """A key id is only ever a name, whatever it looks like; unknown parameters are ignored."""
    for value in values:
        with subtests.test(value=value):
            changed = header(**{name: value})
            parsed = JWSParser(("RS256",)).parse(with_header(changed))
            assert parsed.header.kid == changed["kid"]


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
    "heads",
    [
        pytest.param(
            [
                b'{"alg":"none","alg":"RS256","kid":"k1"}',
                b'{"alg":"RS256","alg":"none","kid":"k1"}',
                b'{"alg":"RS256","\\u0061lg":"none","kid":"k1"}',
                b'{"alg":"RS256","kid":"k1","kid":"k2"}',
            ],
            id="TV-015-twice",
        ),
        pytest.param(
            [
                json.dumps(header()).encode("utf-16"),
                json.dumps(header()).encode("utf-32"),
                b"\xef\xbb\xbf" + json.dumps(header()).encode(),
                b"\xff\xfe",
            ],
            id="TV-043-no-plain-utf-8",
        ),
        pytest.param([b"[" * 1500, b'{"a":' * 300], id="TV-047-nested"),
        pytest.param([b'["RS256"]', b'"RS256"', b"{}{}"], id="not-one-object"),
    ],
)
def test_headers_that_are_no_strict_json(heads: list[bytes], subtests: pytest.Subtests) -> None:
    """One UTF-8 object with distinct names, or nothing."""
    for head in heads:
        with subtests.test(head=head):
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


def test_algorithms_that_cannot_be_used(subtests: pytest.Subtests) -> None:
    """CF-001: only a non-empty collection of asymmetric names is a configuration."""
    unusable: list[Any] = [(), None, "RS256", ["none"], ["HS256"], ["RS256", "HS256"]]
    for algorithms in [*unusable, ["XS256"], ["rs256"], [256], [["RS256"]]]:
        with (
            subtests.test(algorithms=algorithms),
            pytest.raises(ConfigurationError, match="algorithms is a tuple"),
        ):
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
    ("option", "values", "message"),
    [
        (
            "types",
            [(), "JWT", [""], ["a b"], [1], ["application/"], ["text/x"], ["\u212a"]],
            "types is a tuple",
        ),
        ("max_size", [0, 1023, 65537, True, 4096.0, "4096", None], "max_token_size"),
    ],
)
def test_options_that_cannot_be_used(
    option: str, values: list[Any], message: str, subtests: pytest.Subtests
) -> None:
    """The message says what would do."""
    for value in values:
        with (
            subtests.test(value=value),
            pytest.raises(ConfigurationError, match=message),
        ):
            JWSParser(("RS256",), **{option: value})

"""Strict parsing of compact JWS (RFC 7515 section 7.1).

PyJWT accepts forms that we must reject (UTF-16 headers, duplicate members, padded or
non-canonical base64url, unknown `crit`) and parses the header twice. So the parsing is ours; key
objects and the signature check are PyJWT's. Whatever passes here, PyJWT accepts as well.
"""

import re
from binascii import Error as Base64Error, a2b_base64
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final

from fastapi_stepup._json import parse_object
from fastapi_stepup._options import integer
from fastapi_stepup.errors import ConfigurationError, RejectReason
from fastapi_stepup.tokens.rejected import Rejected

MAX_TOKEN: Final = 16 * 1024
MAX_HEADER: Final = 2 * 1024
MAX_KID: Final = 256
TYPES: Final = ("JWT",)

ASYMMETRIC_ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    | {"ES256", "ES384", "ES512", "ES256K", "EdDSA"}
)

_SEGMENTS: Final = 3
_KID: Final = re.compile(r"[!-~]+")
_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+")
_TYPE_PREFIX: Final = "application/"
# Either changes what the signature covers or brings the sender's own key (RFC 8725 section 3.10).
_FORBIDDEN: Final = frozenset({"crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5u", "x5c"})
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# To the standard alphabet, and all else, "+", "/" and "=" included, to what no decoder takes.
_TO_BASE64: Final = bytes(
    b"*"[0] if code not in _ALPHABET else {45: 43, 95: 47}.get(code, code) for code in range(256)
)
_PADDING: Final = (b"", b"", b"==", b"=")
# The last character of a segment carries 4 or 2 bits that mean nothing and must be zero.
_CANONICAL_ENDS: Final = (_ALPHABET, b"", _ALPHABET[::16], _ALPHABET[::4])
_REMEMBERED_HEADERS: Final = 64


@dataclass(frozen=True, slots=True)
class Header:
    """The two header parameters that matter: `alg`, one of the allowed ones, and `kid`."""

    alg: str
    kid: str


@dataclass(frozen=True, slots=True, repr=False)
class CompactJWS:
    """A parsed token; nothing in it is trusted before its signature is checked.

    Its `repr` shows nothing, and it is no tuple: error reports show the items of a tuple.
    """

    header: Header
    header_segment: bytes
    signing_input: bytes
    payload: bytes
    signature: bytes


# Past the constructor of a frozen dataclass, which takes as long as the rest of the parse.
_new: Final = object.__new__
_set_header, _set_header_segment, _set_signing_input, _set_payload, _set_signature = (
    vars(CompactJWS)[field.name].__set__ for field in fields(CompactJWS)
)


class JWSParser:
    """Parses compact tokens, strictly, and remembers headers of tokens that passed.

    Rejects all but three canonical base64url segments within the size limits, with a header that is
    one JSON object: an allowed `alg`, a printable `kid`, an allowed `typ`, and no parameter that
    changes what the signature means. Parameters it does not know are ignored (RFC 7515 section 4).
    Does not look into the payload.

    Args:
        algorithms: Allowed `alg` values; asymmetric ones only.
        types: Allowed `typ` values, compared without case and without `application/` (RFC 7515
            section 4.1.9). An absent `typ` counts as `JWT`.
        max_size: Longest token in characters.

    Raises:
        ConfigurationError: No algorithm, an unknown or a symmetric one, a bad type or size.
    """

    def __init__(
        self,
        algorithms: tuple[str, ...],
        *,
        types: Iterable[str] = TYPES,
        max_size: int = MAX_TOKEN,
    ) -> None:
        self.algorithms: frozenset[str] = allowed_algorithms(algorithms)
        self.types: frozenset[str] = _allowed_types(types)
        self.max_size: int = integer("max_token_size", max_size, 1024, 64 * 1024)
        self._headers: dict[bytes, Header] = {}

    def parse(self, token: str) -> CompactJWS:
        """Return the parts of *token*.

        Raises:
            Rejected: It is not a compact JWS that could be one of ours.
        """
        if not isinstance(token, str):
            raise Rejected(RejectReason.MALFORMED)
        if len(token) > self.max_size:
            raise Rejected(RejectReason.TOO_LARGE)
        if not token.isascii():
            raise Rejected(RejectReason.MALFORMED)
        data = token.encode("ascii")
        segments = data.split(b".", _SEGMENTS)
        if len(segments) != _SEGMENTS:
            raise Rejected(RejectReason.MALFORMED)
        first, second, third = segments
        header = self._headers.get(first) or self._header(first)
        payload, signature = decode_segment(second), decode_segment(third)
        if payload is None or signature is None:
            raise Rejected(RejectReason.MALFORMED)
        jws = _new(CompactJWS)
        _set_header(jws, header)
        _set_header_segment(jws, first)
        _set_signing_input(jws, data[: -len(third) - 1])
        _set_payload(jws, payload)
        _set_signature(jws, signature)
        return jws

    def remember(self, jws: CompactJWS) -> None:
        """Spare the next token with this header the parse.

        Only for tokens whose signature holds, so that no forger can fill or empty this memory.
        """
        if jws.header_segment not in self._headers:
            if len(self._headers) >= _REMEMBERED_HEADERS:
                self._headers.clear()
            self._headers[jws.header_segment] = jws.header

    def fingerprint(self) -> str:
        """Return text that is the same for equal settings, and differs for others."""
        return repr((sorted(self.algorithms), sorted(self.types), self.max_size))

    def _header(self, segment: bytes) -> Header:
        if len(segment) > MAX_HEADER:
            raise Rejected(RejectReason.TOO_LARGE)
        decoded = decode_segment(segment)
        members = None if decoded is None else parse_object(decoded)
        if members is None:
            raise Rejected(RejectReason.MALFORMED)
        alg, kid, typ = members.get("alg"), members.get("kid"), members.get("typ", "JWT")
        if not isinstance(alg, str) or alg not in self.algorithms:
            raise Rejected(RejectReason.ALGORITHM)
        if not _FORBIDDEN.isdisjoint(members):
            raise Rejected(RejectReason.HEADER)
        if not isinstance(typ, str) or _media_type(typ) not in self.types:
            raise Rejected(RejectReason.TYPE)
        if not isinstance(kid, str) or not is_key_id(kid):
            raise Rejected(RejectReason.KEY_ID)
        return Header(alg, kid)


def decode_segment(segment: bytes) -> bytes | None:
    """Return the bytes of one canonical base64url segment (RFC 7515 section 2), else `None`.

    Rejected: an empty segment, padding, characters outside the alphabet, an impossible length,
    and unused bits that are not zero, which would give one value many spellings.
    """
    remainder = len(segment) % 4
    if not segment or segment[-1] not in _CANONICAL_ENDS[remainder]:
        return None
    try:
        return a2b_base64(segment.translate(_TO_BASE64) + _PADDING[remainder], strict_mode=True)
    except Base64Error:
        return None


def is_key_id(kid: str) -> bool:
    """Return whether *kid* can name a key: 1 to 256 characters of printable ASCII without spaces.

    Tokens and key sets meet the same rule, so no normalisation can make two names one.
    """
    return len(kid) <= MAX_KID and _KID.fullmatch(kid) is not None


def allowed_algorithms(algorithms: tuple[str, ...]) -> frozenset[str]:
    """Return *algorithms* as a set.

    Raises:
        ConfigurationError: It is empty, a plain string, or names an algorithm that is unknown,
            symmetric or `none`.
    """
    listed = () if isinstance(algorithms, str) else tuple(algorithms or ())
    if not listed or not all(isinstance(a, str) and a in ASYMMETRIC_ALGORITHMS for a in listed):
        names = ", ".join(sorted(ASYMMETRIC_ALGORITHMS))
        msg = f'algorithms is a tuple such as ("RS256",), of: {names}.'
        raise ConfigurationError(msg)
    return frozenset(listed)


def _media_type(value: str) -> str | None:
    """Return a `typ` in the form that is compared, or `None` when it is not a media type."""
    name = value.lower().removeprefix(_TYPE_PREFIX)
    return name if _TYPE.fullmatch(name) and value.isascii() else None


def _allowed_types(types: Iterable[str]) -> frozenset[str]:
    listed = () if isinstance(types, str) else tuple(types)
    names = [_media_type(name) if isinstance(name, str) else None for name in listed]
    if not names or None in names:
        msg = 'types is a tuple of media types such as ("JWT", "at+jwt").'
        raise ConfigurationError(msg)
    return frozenset(name for name in names if name is not None)

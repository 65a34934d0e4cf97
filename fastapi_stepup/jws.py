"""Strict parsing of compact JWS (RFC 7515 section 7.1) and the check of their signature.

PyJWT accepts forms that we must refuse (UTF-16 headers, duplicate members, padded or
non-canonical base64url, unknown `crit`) and parses the header twice. So the parsing is ours; key
objects and the signature check are PyJWT's. Whatever passes here, PyJWT accepts as well.
"""

import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any, Final

from fastapi_stepup.errors import ConfigurationError, InvalidToken, RejectReason
from fastapi_stepup.strict_json import parse_object

MAX_TOKEN: Final = 16 * 1024
MAX_HEADER: Final = 2 * 1024
MAX_KID: Final = 256

ASYMMETRIC_ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    | {"ES256", "ES384", "ES512", "ES256K", "EdDSA"}
)

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")
_KID: Final = re.compile(r"[!-~]+")
_TYPES: Final = frozenset({"jwt", "application/jwt"})
# Either changes what the signature covers or brings the sender's own key (RFC 8725 section 3.10).
_FORBIDDEN: Final = frozenset({"crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5u", "x5c"})
_PADDING: Final = ("", "", "==", "=")
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# The last character of a segment carries 4 or 2 bits that mean nothing and must be zero.
_CANONICAL_ENDS: Final = (_ALPHABET, "", _ALPHABET[::16], _ALPHABET[::4])
_REMEMBERED_HEADERS: Final = 64


@dataclass(frozen=True, slots=True)
class Header:
    """The two header parameters that matter: `alg`, one of the allowed ones, and `kid`."""

    alg: str
    kid: str


@dataclass(slots=True, repr=False)
class CompactJWS:
    """A token taken apart; nothing in it is trusted before its signature is checked."""

    header: Header
    signing_input: bytes
    payload: bytes
    signature: bytes


class JWSParser:
    """Takes compact tokens apart, strictly, and remembers headers it has seen.

    Refuses whatever is not exactly three canonical base64url segments within the size caps, with
    a header that is one JSON object with an allowed `alg`, a printable `kid` and no parameter that
    changes the meaning of the signature. Does not look into the payload.

    Args:
        algorithms: Allowed `alg` values; asymmetric ones only.
        max_size: Longest token in characters.

    Raises:
        ConfigurationError: No algorithm, an unknown or a symmetric one, or a bad size.
    """

    def __init__(self, algorithms: tuple[str, ...], *, max_size: int = MAX_TOKEN) -> None:
        self.algorithms = allowed_algorithms(algorithms)
        if type(max_size) is not int or not 1024 <= max_size <= 64 * 1024:  # noqa: PLR2004
            msg = "max_token_size is a number of characters from 1024 to 65536."
            raise ConfigurationError(msg)
        self.max_size = max_size
        self._headers: dict[str, Header] = {}

    def parse(self, token: str) -> CompactJWS:
        """Return the parts of *token*.

        Raises:
            InvalidToken: It is not a compact JWS that could be one of ours.
        """
        if not isinstance(token, str):
            raise InvalidToken(RejectReason.MALFORMED)
        if len(token) > self.max_size:
            raise InvalidToken(RejectReason.TOO_LARGE)
        segments = token.split(".", 3)
        if len(segments) != 3:  # noqa: PLR2004
            raise InvalidToken(RejectReason.MALFORMED)
        first, second, third = segments
        header = self._headers.get(first) or self._header(first)
        payload, signature = decode_segment(second), decode_segment(third)
        if payload is None or signature is None:
            raise InvalidToken(RejectReason.MALFORMED)
        return CompactJWS(header, token[: -len(third) - 1].encode("ascii"), payload, signature)

    def _header(self, segment: str) -> Header:
        if len(segment) > MAX_HEADER:
            raise InvalidToken(RejectReason.TOO_LARGE)
        decoded = decode_segment(segment)
        members = None if decoded is None else parse_object(decoded)
        if members is None:
            raise InvalidToken(RejectReason.MALFORMED)
        header = self._checked(members)
        # A forger can only ever replace entries, and a lost one costs a parse.
        if len(self._headers) >= _REMEMBERED_HEADERS:
            self._headers.clear()
        self._headers[segment] = header
        return header

    def _checked(self, members: dict[str, Any]) -> Header:
        alg, kid, typ = members.get("alg"), members.get("kid"), members.get("typ", "JWT")
        if not isinstance(alg, str) or alg not in self.algorithms:
            raise InvalidToken(RejectReason.ALGORITHM)
        if not _FORBIDDEN.isdisjoint(members):
            raise InvalidToken(RejectReason.HEADER)
        if not isinstance(typ, str) or typ.lower() not in _TYPES:
            raise InvalidToken(RejectReason.TYPE)
        if not isinstance(kid, str) or len(kid) > MAX_KID or not _KID.fullmatch(kid):
            raise InvalidToken(RejectReason.KEY_ID)
        return Header(alg, kid)


def decode_segment(segment: str) -> bytes | None:
    """Return the bytes of one canonical base64url segment (RFC 7515 section 2), else `None`.

    Refused: an empty segment, padding, characters outside the alphabet, an impossible length,
    and unused bits that are not zero, which would give one value many spellings.
    """
    if not _BASE64URL.fullmatch(segment):
        return None
    remainder = len(segment) % 4
    if segment[-1] not in _CANONICAL_ENDS[remainder]:
        return None
    return urlsafe_b64decode(segment + _PADDING[remainder])


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

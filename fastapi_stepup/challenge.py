"""The `WWW-Authenticate` challenge: build it safely, parse it strictly."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Self

_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TEXT: Final = r"[\t !#-\[\]-~\x80-\xff]*"
_PAIR: Final = r"\\[\t -~\x80-\xff]"
_SCHEME: Final = re.compile(_NAME)
_TOKEN68: Final = re.compile(r"[0-9A-Za-z._~+/-]+=*(?=[ \t]*(?:,|$))")
_PARAM: Final = re.compile(
    rf"({_NAME})[ \t]*=[ \t]*(?:({_NAME})|\"({_TEXT}(?:{_PAIR}{_TEXT})*)\")"
    r"[ \t]*(?=,|$)"
)
_DIGITS: Final = 10
_SPACES: Final = re.compile(r" *")
_SEPARATOR: Final = re.compile(r"[ \t]*(?:,[ \t]*)*")
_ESCAPED: Final = re.compile(r"\\(.)")
_ACR: Final = re.compile(r"[!#-\[\]-~]+")
_PLAIN_TEXT: Final = re.compile(r"[ !#-\[\]-~]*")
_QUOTABLE_TEXT: Final = re.compile(r"[ -~]*")


@dataclass(frozen=True, slots=True)
class Challenge:
    r"""One challenge of a `WWW-Authenticate` field, as RFC 9110 section 11.6.1 writes it.

    `str(challenge)` gives the field value, each parameter once and as a quoted-string;
    `Challenge.parse` gives it back: the two round-trip. A challenge only ever holds what a
    header may carry, so nothing can break out of it.

    Args:
        scheme: The authentication scheme, `"Bearer"`.
        params: Parameter names to values. Names are stored in lower case. Values are printable
            ASCII; RFC 6750 section 3 forbids `"` and `\` in `error`, `error_description`,
            `error_uri` and `scope`.
        token68: The bare credential form that schemes such as `Negotiate` use; excludes *params*.

    Raises:
        ValueError: A scheme, a name or a value has a character that the field cannot carry, a
            name comes twice, or both *params* and *token68* are given.

    References:
        RFC 9110 sections 11.2 to 11.6.1, RFC 6750 section 3, RFC 9470 section 3.
    """

    scheme: str
    params: Mapping[str, str] = field(default_factory=dict)
    token68: str | None = None

    def __post_init__(self) -> None:
        if not _SCHEME.fullmatch(self.scheme):
            msg = "An authentication scheme is one token: letters, digits and a few marks."
            raise ValueError(msg)
        if self.token68 is not None and (self.params or not _TOKEN68.fullmatch(self.token68)):
            msg = "A challenge has either one token68 value or parameters."
            raise ValueError(msg)
        params: dict[str, str] = {}
        for name, value in self.params.items():
            lowered = name.lower()
            if not _SCHEME.fullmatch(name) or lowered in params:
                msg = f"The challenge parameter {name!r} is not a token or comes twice."
                raise ValueError(msg)
            allowed = _PLAIN_TEXT if lowered in _RESTRICTED else _QUOTABLE_TEXT
            if not allowed.fullmatch(value):
                msg = f"The challenge parameter {name!r} must be printable ASCII" + (
                    " without quotes and backslashes." if allowed is _PLAIN_TEXT else "."
                )
                raise ValueError(msg)
            params[lowered] = value
        object.__setattr__(self, "params", MappingProxyType(params))

    @classmethod
    def bearer(
        cls,
        *,
        realm: str | None = None,
        error: str | None = None,
        error_description: str | None = None,
        acr_values: Iterable[str] = (),
        max_age: int | None = None,
        resource_metadata: str | None = None,
    ) -> Self:
        """Build a `Bearer` challenge; what is not asked for is left out.

        Args:
            realm: The protection space (RFC 9110 section 11.5), without quotes and backslashes.
            error: An error code; none when the request carried no credentials (RFC 6750 3.1).
            error_description: A fixed sentence for developers.
            acr_values: Authentication context classes, most preferred first; any one will do.
            max_age: Allowed age of the last active authentication, in whole seconds.
            resource_metadata: URL of the API's own metadata (RFC 9728 section 5.1).

        Raises:
            ValueError: A value cannot be carried, or *max_age* is negative.
        """
        if max_age is not None and (type(max_age) is not int or max_age < 0):
            msg = "max_age is a non-negative whole number of seconds."
            raise ValueError(msg)
        if realm is not None and not _PLAIN_TEXT.fullmatch(realm):
            # RFC 9110 allows escapes, but some clients read them wrong.
            msg = "realm must be printable ASCII without quotes and backslashes."
            raise ValueError(msg)
        classes = (acr_values,) if isinstance(acr_values, str) else tuple(acr_values)
        if not all(_ACR.fullmatch(name) for name in classes):
            msg = "acr_values are printable ASCII without spaces, quotes and backslashes."
            raise ValueError(msg)
        given = {
            "realm": realm,
            "error": error,
            "error_description": error_description,
            "acr_values": " ".join(classes) or None,
            "max_age": None if max_age is None else str(max_age),
            "resource_metadata": resource_metadata,
        }
        return cls("Bearer", {name: value for name, value in given.items() if value is not None})

    @classmethod
    def parse(cls, value: str) -> list[Self]:
        """Return the challenges of one field value, in order.

        Takes several challenges on one line, tokens and quoted-strings alike, empty list
        elements and any letter case of names. Does not judge whether a scheme is known.

        Raises:
            ValueError: The value is not a list of challenges, or repeats a parameter.
        """
        challenges: list[Self] = []
        position = _end(_SEPARATOR, value, 0)
        while position < len(value):
            challenge, position = cls._parse_one(value, position)
            challenges.append(challenge)
        return challenges

    @classmethod
    def _parse_one(cls, value: str, position: int) -> tuple[Self, int]:
        scheme = _SCHEME.match(value, position)
        if scheme is None:
            msg = f"No authentication scheme at character {position} of the challenge."
            raise ValueError(msg)
        position = scheme.end()
        params: dict[str, str] = {}
        token68: str | None = None
        if value.startswith(" ", position):
            position = _end(_SPACES, value, position)
            # The first of the parameters may be an empty list element.
            found = _PARAM.match(value, _end(_SEPARATOR, value, position))
            if found is None and (bare := _TOKEN68.match(value, position)):
                token68, position = bare[0], bare.end()
            while found is not None:
                name = found[1].lower()
                if name in params:
                    msg = f"The challenge parameter {name!r} comes twice."
                    raise ValueError(msg)
                quoted = found[3]
                params[name] = found[2] if quoted is None else _ESCAPED.sub(r"\1", quoted)
                position = found.end()
                found = _PARAM.match(value, _end(_SEPARATOR, value, position))
        end = _end(_SEPARATOR, value, position)
        if end < len(value) and "," not in value[position:end]:
            msg = f"Unreadable challenge parameter at character {position}."
            raise ValueError(msg)
        return cls._restored(scheme[0], params, token68), end

    def __str__(self) -> str:
        if self.token68 is not None:
            return f"{self.scheme} {self.token68}"
        params = ", ".join(f'{name}="{_quoted(value)}"' for name, value in self.params.items())
        return f"{self.scheme} {params}".rstrip(" ")

    def __hash__(self) -> int:
        return hash((self.scheme, frozenset(self.params.items()), self.token68))

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self._restored, (self.scheme, dict(self.params), self.token68)

    @classmethod
    def _restored(cls, scheme: str, params: dict[str, str], token68: str | None) -> Self:
        challenge = cls(scheme, token68=token68)
        # A foreign challenge may hold what we would not write, so it bypasses our own rules.
        object.__setattr__(challenge, "params", MappingProxyType(params))
        return challenge

    @property
    def realm(self) -> str | None:
        """The protection space, when one is named."""
        return self.params.get("realm")

    @property
    def error(self) -> str | None:
        """The error code, such as `insufficient_user_authentication`."""
        return self.params.get("error")

    @property
    def error_description(self) -> str | None:
        """The developer's sentence beside the error code."""
        return self.params.get("error_description")

    @property
    def acr_values(self) -> tuple[str, ...]:
        """Requested authentication context classes, most preferred first."""
        return tuple(self.params.get("acr_values", "").split())

    @property
    def max_age(self) -> int | None:
        """Allowed age of the last active authentication in seconds; `None` when unreadable."""
        value = self.params.get("max_age", "")
        return int(value) if value.isascii() and value.isdigit() and len(value) <= _DIGITS else None


_RESTRICTED: Final = frozenset({"error", "error_description", "error_uri", "scope"})


def _end(pattern: re.Pattern[str], value: str, position: int) -> int:
    """Return where *pattern*, which may match nothing, ends."""
    found = pattern.match(value, position)
    return position if found is None else found.end()


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')

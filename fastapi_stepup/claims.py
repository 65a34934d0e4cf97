"""Claims: the read-only view of a verified session token."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

from starlette.requests import HTTPConnection

from fastapi_stepup._immutable import FrozenDict, SetOnce
from fastapi_stepup._pydantic import output_only_schema, serializer
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.evidence import Evidence, acr_values, descope_evidence, texts_in

if TYPE_CHECKING:
    from pydantic_core import CoreSchema, SchemaSerializer

CLAIMS_SCOPE_KEY: Final = "fastapi_stepup.claims"

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_NOT_FROM_INPUT: Final = (
    "Claims come from a verified token, never from input: write "
    "claims: Annotated[Claims, Depends(RequireStepUp(guard))] or Depends(RequireSession(guard))."
)
# Not derived from anything: a text in a log cannot be compared with guessed claims.
_DIGEST_KEY: Final = os.urandom(32)


class _VerifiedOnly:
    """Marks a parameter that no framework may fill: `Depends(Claims)` would read it from a body."""

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> NoReturn:
        raise ConfigurationError(_NOT_FROM_INPUT)


class Claims(SetOnce):
    """What a verified session token says, deeply read-only.

    An instance means that signature and registered claims held when it was made.

    - Does not mean that the session is stepped up: read `stepped_up`, or let a policy decide.
    - Never holds the token itself.
    - `repr` shows no claim. It differs between sessions, so that a cache that goes by the text of
      its arguments tells users apart; it is another one in each process.
    - Can be copied, pickled, returned from a route and put into a response model: the JSON is the
      object of all claims, as `dict(claims)` is.
    - FastAPI and pydantic never make one from input. A parameter without `Depends` is a
      `ConfigurationError` when the route is registered. No dataclass, for the same reason: many
      libraries fill one from what was sent.

    Args:
        raw: All claims as the token has them; objects as read-only dicts, arrays as tuples.
    """

    __slots__ = ("_evidence", "_members", "_reader")

    _members: dict[str, Any]
    _evidence: Evidence | None
    _reader: "EvidenceReader | None"

    def __init__(self, raw: Annotated[Mapping[str, Any], _VerifiedOnly()]) -> None:
        self._members = freeze(raw)
        self._evidence = self._reader = None

    @property
    def raw(self) -> Mapping[str, Any]:
        """All claims as the token has them; objects as read-only dicts, arrays as tuples."""
        members = self._members
        if type(members) is not FrozenDict:
            # Two threads may both do it: either result is as good.
            self._members = members = freeze(members)
        return members

    @property
    def subject(self) -> str:
        """The user id (`sub`); unique only together with `issuer`."""
        return str(self._members["sub"])

    @property
    def issuer(self) -> str:
        """The issuer of the token (`iss`)."""
        return str(self._members["iss"])

    @property
    def issued_at(self) -> float:
        """When this token was issued (`iat`), in epoch seconds."""
        return float(self._members["iat"])

    @property
    def expires_at(self) -> float:
        """When this token expires (`exp`), in epoch seconds, leeway not included."""
        return float(self._members["exp"])

    @property
    def stepped_up(self) -> bool:
        """True if the session is stepped up: for Descope, `su` is the JSON value `true`.

        Never true for a token of an issuer that has no such mark: there a policy decides.
        """
        return self.evidence.stepped_up is True

    @property
    def evidence(self) -> Evidence:
        """What the token proves about the login: all that a policy reads of it."""
        evidence = self._evidence
        if evidence is None:
            # Read once. Two threads may both do it: either result is as good.
            reader = self._reader
            evidence = descope_evidence(self._members) if reader is None else reader(self)
            _set_evidence(self, evidence)
        return evidence

    @property
    def amr(self) -> tuple[str, ...]:
        """Authentication methods (RFC 8176), the strings among them; empty when absent."""
        return texts_in(self.get("amr"))

    @property
    def acr(self) -> tuple[str, ...]:
        """Authentication context classes: `acr` may be one string or an array of them."""
        return acr_values(self.get("acr"))

    @property
    def tenants(self) -> Mapping[str, Any]:
        """Descope tenants: tenant id to its `permissions` and `roles`; empty when absent."""
        value = self.get("tenants")
        return value if isinstance(value, Mapping) else FrozenDict()

    @property
    def permissions(self) -> tuple[str, ...]:
        """Project-level permissions; those of a tenant are in `tenants`."""
        return self._strings("permissions")

    @property
    def roles(self) -> tuple[str, ...]:
        """Project-level roles; those of a tenant are in `tenants`."""
        return self._strings("roles")

    @property
    def impersonated(self) -> bool:
        """True if another party acts for the user (`act`, RFC 8693 section 4.1)."""
        return "act" in self._members

    def get(self, name: str, default: Any = None) -> Any:
        """Return the claim *name*, or *default* when the token has none of that name."""
        value = self._members.get(name, default)
        return value if type(value) in _SCALARS else self.raw.get(name, default)

    def _strings(self, name: str) -> tuple[str, ...]:
        value = self.get(name)
        return tuple(v for v in value if isinstance(v, str)) if isinstance(value, tuple) else ()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield names and values, as `dict(claims)` and FastAPI's encoder ask for."""
        return iter(self.raw.items())

    def __repr__(self) -> str:
        text = json.dumps(self.raw, sort_keys=True, default=repr)
        digest = blake2b(text.encode(), key=_DIGEST_KEY, digest_size=16)
        return f"Claims(stepped_up={self.stepped_up}, digest={digest.hexdigest()})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Claims):
            return NotImplemented
        # To Python, 1 equals True; only one of the two is a step-up.
        return self.stepped_up == other.stepped_up and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(tuple(self.get(name) for name in ("iss", "sub", "iat", "exp")))

    def __reduce__(self) -> tuple[Any, ...]:
        if self._reader is None and self._evidence is None:
            return type(self), (self.raw,)
        # What was read and not who read it: a reader may be a function that cannot be pickled.
        return _restored, (type(self), self.raw, self.evidence)

    @property
    def __pydantic_serializer__(self) -> "SchemaSerializer":
        return serializer(dict)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> "CoreSchema":
        refusal = ConfigurationError(_NOT_FROM_INPUT)
        return output_only_schema(cls, refusal=refusal, dump=dict)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: object, handler: Callable[[Any], Any]
    ) -> dict[str, Any]:
        return {
            "type": "object",
            "title": "Claims",
            "description": "The claims of the session token.",
            "additionalProperties": True,
        }


EvidenceReader = Callable[[Claims], Evidence]


def claims_of(members: dict[str, Any], reader: EvidenceReader | None = None) -> Claims:
    """Return the claims in *members*, parsed JSON to which the caller keeps no reference.

    They are frozen when a container in them is first read: most requests never read one.

    Args:
        members: The claims.
        reader: Reads what they prove, once that is asked; `None` reads a session of Descope.
    """
    claims = Claims.__new__(Claims)
    _set_members(claims, members)
    _set_evidence(claims, None)
    _set_reader(claims, reader)
    return claims


def _restored(kind: type[Claims], raw: Mapping[str, Any], evidence: Evidence) -> Claims:
    claims = kind(raw)
    _set_evidence(claims, evidence)
    return claims


# Past the checks of `SetOnce`, which cost more than all the rest of making an instance.
_set_members: Final = Claims.__dict__["_members"].__set__
_set_evidence: Final = Claims.__dict__["_evidence"].__set__
_set_reader: Final = Claims.__dict__["_reader"].__set__


def freeze(value: Any) -> Any:
    """Return *value* with every JSON object as a read-only dict and every array as a tuple."""
    # Parsed JSON has plain types only; asking abstract classes about each member is slow.
    kind = type(value)
    if kind is list or isinstance(value, (list, tuple)):
        return tuple([m if type(m) in _SCALARS else freeze(m) for m in value])
    if kind is dict or isinstance(value, Mapping):
        return FrozenDict({n: m if type(m) in _SCALARS else freeze(m) for n, m in value.items()})
    return value


def claims_from(connection: HTTPConnection) -> Claims:
    """Return the claims that an entry point (dependency, decorator or middleware) stored.

    Works on a `Request`, a `WebSocket` or any other `HTTPConnection`. Verifies nothing itself. Does
    not say which policy the entry point asked for: one that a session is enough for stores too.

    Raises:
        LookupError: No entry point ran for this request, so nothing can be trusted. Or two guards
            stored different claims, so it is unknown which of them are meant.
    """
    stored = connection.scope.get(CLAIMS_SCOPE_KEY)
    if not isinstance(stored, Mapping) or not stored:
        msg = (
            "No verified claims here: put RequireSession, RequireStepUp or StepUpMiddleware "
            "in front of this code."
        )
        raise LookupError(msg)
    claims: Claims
    claims, *others = stored.values()
    if any(other != claims for other in others):
        msg = (
            "Two guards stored different claims: take those of one with guard.authorize(…), "
            "which verifies nothing twice, or from its dependency."
        )
        raise LookupError(msg)
    return claims

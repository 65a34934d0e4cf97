"""Claims: the frozen view of a verified session token."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self

from starlette.requests import HTTPConnection

CLAIMS_SCOPE_KEY: Final = "fastapi_stepup.claims"

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


@dataclass(frozen=True, slots=True, repr=False)
class Claims:
    """What a verified session token says, deeply read-only.

    An instance means that signature and registered claims held when it was made. It does not
    mean that the session is stepped up: read `stepped_up`, or let a policy decide. It never
    holds the token itself. Its `repr` shows no claim: a project may put an address into `sub`.
    Can be copied and pickled.

    Args:
        raw: All claims as the token has them; objects as read-only mappings, arrays as tuples.
    """

    raw: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", freeze(self.raw))

    @property
    def subject(self) -> str:
        """The user id (`sub`); unique only together with `issuer`."""
        return str(self.raw["sub"])

    @property
    def issuer(self) -> str:
        """Who issued the token (`iss`)."""
        return str(self.raw["iss"])

    @property
    def issued_at(self) -> float:
        """When this token was issued (`iat`), in epoch seconds."""
        return float(self.raw["iat"])

    @property
    def expires_at(self) -> float:
        """When this token expires (`exp`), in epoch seconds, leeway not included."""
        return float(self.raw["exp"])

    @property
    def stepped_up(self) -> bool:
        """Whether the session is stepped up: `su` is the JSON value `true`, nothing else."""
        return self.raw.get("su") is True

    @property
    def amr(self) -> tuple[str, ...]:
        """Authentication methods (RFC 8176), the strings among them; empty when absent."""
        value = self.raw.get("amr")
        return tuple(m for m in value if isinstance(m, str)) if isinstance(value, tuple) else ()

    @property
    def acr(self) -> tuple[str, ...]:
        """Authentication context classes: `acr` may be one string or an array of them."""
        value = self.raw.get("acr")
        if isinstance(value, str):
            return (value,)
        return tuple(a for a in value if isinstance(a, str)) if isinstance(value, tuple) else ()

    @property
    def tenants(self) -> Mapping[str, Any]:
        """Descope tenants: tenant id to its `permissions` and `roles`; empty when absent."""
        value = self.raw.get("tenants")
        return value if isinstance(value, Mapping) else MappingProxyType({})

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
        """Whether somebody else acts for the user (`act`, RFC 8693 section 4.1)."""
        return "act" in self.raw

    def get(self, name: str, default: Any = None) -> Any:
        """Return the claim *name*, or *default* when the token has none of that name."""
        return self.raw.get(name, default)

    def _strings(self, name: str) -> tuple[str, ...]:
        value = self.raw.get(name)
        return tuple(v for v in value if isinstance(v, str)) if isinstance(value, tuple) else ()

    def __repr__(self) -> str:
        return f"Claims(stepped_up={self.stepped_up})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Claims):
            return NotImplemented
        # To Python, 1 equals True; only one of the two is a step-up.
        return self.stepped_up == other.stepped_up and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(tuple(self.raw.get(name) for name in ("iss", "sub", "iat", "exp")))

    def __reduce__(self) -> tuple[type[Self], tuple[Any]]:
        return type(self), (_thaw(self.raw),)


def freeze(value: Any) -> Any:
    """Return *value* with every JSON object as a read-only mapping and every array as a tuple."""
    # Parsed JSON has plain types only; asking abstract classes about each member is slow.
    kind = type(value)
    if kind is list or isinstance(value, (list, tuple)):
        return tuple([m if type(m) in _SCALARS else freeze(m) for m in value])
    if kind is dict or isinstance(value, Mapping):
        return MappingProxyType(
            {n: m if type(m) in _SCALARS else freeze(m) for n, m in value.items()}
        )
    return value


def _thaw(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _thaw(member) for name, member in value.items()}
    if isinstance(value, tuple):
        return [_thaw(member) for member in value]
    return value


def claims_from(connection: HTTPConnection) -> Claims:
    """Return the claims that a door (dependency or middleware) stored for this request.

    Works on a `Request`, a `WebSocket` or any other `HTTPConnection`. Verifies nothing itself, and
    does not say which policy the door asked for: a door that a session is enough for stores too.

    Raises:
        LookupError: No door ran for this request, so there is nothing that can be trusted; or two
            guards stored different claims, so it is open whose are meant.
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

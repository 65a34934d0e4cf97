"""Rules for the claims of an OAuth access token (RFC 9068 section 4); no I/O, no clock."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from fastapi_stepup import _options
from fastapi_stepup._options import Duration
from fastapi_stepup.claims import Claims, EvidenceReader
from fastapi_stepup.errors import ConfigurationError, RejectReason
from fastapi_stepup.evidence import Evidence, access_token_evidence
from fastapi_stepup.tokens.claims_set import (
    MAX_LEEWAY,
    Validity,
    accepted_audiences,
    audiences_in,
    check_binding,
    check_subject,
    check_times,
    longest_lifetime,
)
from fastapi_stepup.tokens.rejected import Rejected

ACCESS_TOKEN_TYPE: Final = "at+jwt"  # noqa: S105  # a media type

# The client that a token was issued to: RFC 9068 section 2.2, OpenID Connect Core, Okta.
_CLIENT_CLAIMS: Final = ("client_id", "azp", "cid")
# Claims of ID tokens (OpenID Connect Core sections 2 and 3.3.2.11) and of security events.
_FOREIGN_CLAIMS: Final = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events"})
# Claims that name the kind of a token, and the values (in lower case) of an access token.
_KINDS: Final = (("typ", {"bearer", "at+jwt"}), ("token_use", {"access"}))
# Claims that name a token without a user, and their values.
_MACHINE_CLAIMS: Final = (("gty", {"client-credentials"}), ("idtyp", {"app"}))
# All of these claims: most access tokens have none, and need no further look.
_TELLING: Final = _FOREIGN_CLAIMS | {name for name, _ in (*_KINDS, *_MACHINE_CLAIMS)}
_DECORATION: Final = "@clients"

Required = tuple[tuple[str, frozenset[str] | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessTokenRules:
    """The settings that claims are checked against; `AccessTokenVerifier` says what each one means.

    `leeway` and `max_lifetime` are in seconds. `required` pairs names of claims with the values of
    which one must be there; `None` stands for any value.
    """

    issuer: str
    audience: frozenset[str] | None
    clients: frozenset[str] | None
    required: Required
    leeway: float
    max_lifetime: int | None
    reader: EvidenceReader

    @property
    def issuers(self) -> frozenset[str]:
        """The issuer, as a set."""
        return frozenset({self.issuer})

    def accepts_issuer(self, issuer: str) -> bool:
        """Return whether *issuer* is the configured one, character by character."""
        return issuer == self.issuer

    def fingerprint(self) -> str:
        """Return text that is the same for equal rules, and differs for others."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return repr([(n, sorted(v) if isinstance(v, frozenset) else v) for n, v in values])

    def check(self, members: Mapping[str, Any], *, now: float, refresh: bool = False) -> Validity:
        """Return when an access token with these claims passes, if they hold *now*.

        Checks `exp`, `iat`, `nbf`, `iss`, `sub`, `aud`, the client, `cnf` and `jti`, and that it is
        no ID token, no refresh token and no token of a machine. Does not check the signature, nor
        what the claims say about the login (`StepUpPolicy` does).

        Args:
            members: The payload of the token, parsed strictly.
            now: Epoch seconds.
            refresh: Check a refresh token; there is none that would pass.

        Raises:
            Rejected: A claim is missing, malformed, or not one that is accepted.
        """
        validity = check_times(members, leeway=self.leeway, longest=self.max_lifetime, now=now)
        if members.get("iss") != self.issuer:
            raise Rejected(RejectReason.ISSUER)
        subject: Any = members.get("sub")
        check_subject(subject)
        clients = _clients_in(members)
        self._check_audience(members, clients)
        # A client's token for itself (RFC 6749 section 4.4): RFC 9068 section 2.2 names it so.
        if refresh or subject in clients or _is_decorated_client(subject, clients):
            raise Rejected(RejectReason.NOT_A_SESSION)
        if not _TELLING.isdisjoint(members) and _is_another_kind(members):
            raise Rejected(RejectReason.NOT_A_SESSION)
        for name, accepted in self.required:
            if not _holds(members, name, accepted):
                raise Rejected(RejectReason.NOT_A_SESSION)
        check_binding(members)
        return validity

    def _check_audience(self, members: Mapping[str, Any], clients: list[str]) -> None:
        """Check for whom the token is, and the client that it was issued to."""
        audience = members.get("aud")
        accepted = self.audience or self.clients or frozenset()
        if self.clients is None and clients and type(audience) is str and audience in accepted:
            return  # the usual case, and the faster way
        if not clients and (self.clients is not None or not self.required):
            # Without a client, nothing tells a machine's token from a user's.
            raise Rejected(RejectReason.CLAIM_MISSING)
        if self.clients is not None and clients[0] not in self.clients:
            raise Rejected(RejectReason.AUDIENCE)
        if self.audience is None and "aud" not in members:
            return  # The client stands for it.
        if accepted.isdisjoint(audiences_in(audience)):
            raise Rejected(RejectReason.AUDIENCE)


def access_token_rules(
    *,
    issuer: str,
    audience: str | Iterable[str] | None,
    client_id: str | Iterable[str] | None,
    types: Iterable[str],
    require_claims: Mapping[str, str | Iterable[str] | None] | None,
    evidence: EvidenceReader | None,
    leeway: float,
    max_lifetime: Duration | None,
) -> AccessTokenRules:
    """Return the rules for these options of `AccessTokenVerifier`.

    Raises:
        ConfigurationError: An option cannot be used; the message says what can.
    """
    if audience is None and client_id is None:
        msg = (
            "Say whose tokens pass: audience= is the API as the issuer knows it. Where its tokens "
            "have no aud, client_id= names the clients instead."
        )
        raise ConfigurationError(msg)
    required = _required(require_claims)
    if not required and set(types) != {ACCESS_TOKEN_TYPE}:
        msg = (
            'Other types than "at+jwt" let ID tokens in. Name the claim that only access tokens '
            'have, such as require_claims={"token_use": "access"} or {"scope": None}.'
        )
        raise ConfigurationError(msg)
    return AccessTokenRules(
        issuer=issuer,
        audience=None if audience is None else accepted_audiences(audience),
        clients=None if client_id is None else _clients(client_id),
        required=required,
        leeway=_options.seconds("leeway", leeway, 0, MAX_LEEWAY),
        max_lifetime=None if max_lifetime is None else longest_lifetime(max_lifetime),
        reader=read_access_token if evidence is None else _checked_reader(evidence),
    )


def read_access_token(claims: Claims) -> Evidence:
    """Return what an access token proves: `auth_time`, `acr`, `amr` and `act`."""
    members = claims._members  # noqa: SLF001  # freezing them takes longer than the reading
    return access_token_evidence(members)


def _checked_reader(evidence: Any) -> EvidenceReader:
    """Return *evidence* so that a wrong answer is an error, and an odd value counts as unsaid."""
    if not _options.is_plain_function(evidence):
        msg = f"evidence is a plain function of Claims that returns Evidence, not {evidence!r}."
        raise ConfigurationError(msg)

    def read(claims: Claims) -> Evidence:
        found = evidence(claims)
        if not isinstance(found, Evidence):
            msg = f"evidence= returns Evidence(…), not {type(found).__name__}."
            raise TypeError(msg)
        read_well = found.normalized(claims.issued_at)
        # Not left to each function to remember.
        return replace(read_well, acting=True) if claims.impersonated else read_well

    return read


def _clients(client_id: str | Iterable[str]) -> frozenset[str]:
    values = _options.strings("client_id", [client_id] if isinstance(client_id, str) else client_id)
    if not values:
        msg = "client_id is None or at least one value."
        raise ConfigurationError(msg)
    return values


def _required(claims: Any) -> Required:
    if claims is None:
        return ()
    if not isinstance(claims, Mapping) or not all(isinstance(n, str) and n for n in claims):
        msg = 'require_claims maps claims to values, such as {"token_use": "access"}.'
        raise ConfigurationError(msg)
    pairs: list[tuple[str, frozenset[str] | None]] = []
    for name, accepted in sorted(claims.items()):
        listed = [accepted] if isinstance(accepted, str) else accepted
        values = None if listed is None else _options.strings("require_claims", listed)
        if values is not None and not values:
            msg = f"require_claims[{name!r}] is at least one value, or None for any."
            raise ConfigurationError(msg)
        pairs.append((name, values))
    return tuple(pairs)


def _clients_in(members: Mapping[str, Any]) -> list[str]:
    """Return the client that a token was issued to, under each name that it has.

    Raises:
        Rejected: One of them is no text.
    """
    usual = members.get("client_id")
    if type(usual) is str and usual and "azp" not in members and "cid" not in members:
        return [usual]
    found = [members[name] for name in _CLIENT_CLAIMS if name in members]
    for client in found:
        if not isinstance(client, str) or not client:
            raise Rejected(RejectReason.CLAIM_INVALID)
    return found


def _is_decorated_client(subject: str, clients: list[str]) -> bool:
    """Return whether *subject* is a client in the form that Auth0 gives it."""
    return subject.endswith(_DECORATION) and subject.removesuffix(_DECORATION) in clients


def _is_another_kind(members: Mapping[str, Any]) -> bool:
    """Return whether something in a token says that it is no access token of a user."""
    if not _FOREIGN_CLAIMS.isdisjoint(members):
        return True
    for name, accepted in _KINDS:
        if name in members:
            kind = members[name]
            if not isinstance(kind, str) or kind.lower() not in accepted:
                return True
    return any(_holds(members, name, values) for name, values in _MACHINE_CLAIMS)


def _holds(members: Mapping[str, Any], name: str, accepted: Iterable[str] | None) -> bool:
    """Return whether the claim *name* is one of *accepted*, or an array with one of them.

    Any value that is not empty will do where *accepted* is `None`.
    """
    value = members.get(name)
    if accepted is None:
        return bool(value)
    listed = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(each, str) and each in accepted for each in listed)

"""Rules for the registered claims of a session token (RFC 7519 section 4.1); no I/O, no clock.

Those of Descope's sessions, and the checks that they share with other issuers' tokens.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple, Protocol

from fastapi_stepup import _options
from fastapi_stepup._options import Duration
from fastapi_stepup.claims import EvidenceReader
from fastapi_stepup.errors import ConfigurationError, RejectReason
from fastapi_stepup.tokens.rejected import Rejected

LEEWAY: Final = 5
MAX_LEEWAY: Final = 60
SESSION_NAME: Final = "DS"
REFRESH_NAME: Final = "DSR"
MAX_SUBJECT: Final = 256

_LATEST: Final = 32_503_680_000  # the year 3000: what datetime and people can still handle
# A segment that is no path step and needs no escape, so that it can be read in one way only.
_SEGMENT: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,256}"
_ISSUER_URL: Final = re.compile(
    r"(?P<host>https?://[^/]+)/"
    rf"(?:(?P<bare>{_SEGMENT})"
    rf"|v1/apps/(?P<app>{_SEGMENT})(?:/{_SEGMENT})?"
    rf"|v1/apps/agentic/(?P<agentic>{_SEGMENT})/{_SEGMENT})"
)


class Validity(NamedTuple):
    """The time in which a token passes: from `not_before` until just before `expires`.

    Both in epoch seconds, with the leeway in them.
    """

    not_before: float
    expires: float


class Rules(Protocol):
    """What a verifier asks of claims, and how it reads what they prove."""

    @property
    def issuers(self) -> frozenset[str]:
        """Accepted issuers, as exact strings."""

    @property
    def audience(self) -> frozenset[str] | None:
        """Accepted audiences, or `None`."""

    @property
    def leeway(self) -> float:
        """Seconds of clock difference to allow for."""

    @property
    def max_lifetime(self) -> int | None:
        """Longest time from `iat` to `exp` in seconds, or `None`."""

    @property
    def reader(self) -> EvidenceReader | None:
        """Reads what a token proves; `None` reads it as Descope's sessions are read."""

    def check(self, members: Mapping[str, Any], *, now: float, refresh: bool = False) -> Validity:
        """Return when a token with these claims passes, if they hold *now*.

        Raises:
            Rejected: A claim is missing, malformed, or not one that is accepted.
        """

    def accepts_issuer(self, issuer: str) -> bool:
        """Return whether *issuer* is one whose tokens may pass."""

    def fingerprint(self) -> str:
        """Return text that is the same for equal rules, and differs for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsRules:
    """The settings that claims are checked against; `TokenVerifier` says what each one means.

    `issuers` holds the project id too. `leeway` and `max_lifetime` are in seconds.
    """

    project_id: str
    issuers: frozenset[str]
    issuer_hosts: frozenset[str] = frozenset()
    audience: frozenset[str] | None = None
    any_audience: bool = False
    leeway: float = 0.0
    max_lifetime: int | None = None
    require_session_name: bool = False
    reader: EvidenceReader | None = field(default=None, init=False)

    def check(self, members: Mapping[str, Any], *, now: float, refresh: bool = False) -> Validity:
        """Return when a session token with these claims passes, if they hold *now*.

        Checks `exp`, `iat`, `nbf`, `iss`, `sub`, `aud`, `drn`, `nonce`, `cnf` and `jti`. Does not
        check the signature, nor what they say about the login (`StepUpPolicy` does).

        Args:
            members: The payload of the token, parsed strictly.
            now: Epoch seconds.
            refresh: Check a refresh token (`drn` is `DSR`), which `max_lifetime` is not about.

        Raises:
            Rejected: A claim is missing, malformed, or not one that is accepted.
        """
        longest = None if refresh else self.max_lifetime
        validity = check_times(members, leeway=self.leeway, longest=longest, now=now)
        issuer = members.get("iss")
        if not isinstance(issuer, str) or not (
            issuer in self.issuers or self.accepts_issuer(issuer)
        ):
            raise Rejected(RejectReason.ISSUER)
        check_subject(members.get("sub"))
        if "aud" in members or self.audience is not None:
            self._check_audience(members.get("aud"))
        name = members.get("drn", None if self.require_session_name else SESSION_NAME)
        if name != (REFRESH_NAME if refresh else SESSION_NAME) or "nonce" in members:
            # A nonce makes it an OpenID Connect id token: for the client, not for an API.
            raise Rejected(RejectReason.NOT_A_SESSION)
        check_binding(members)
        return validity

    def accepts_issuer(self, issuer: str) -> bool:
        """Return whether *issuer* is a listed one, or a URL that Descope writes for the project.

        URLs are on one of the issuer hosts:
        - `https://<host>/<project>`
        - `https://<host>/v1/apps/<project>`, and `/<tenant>` behind it
        - `https://<host>/v1/apps/agentic/<project>/<server>`
        """
        if issuer in self.issuers:
            return True
        found = _ISSUER_URL.fullmatch(issuer)
        return (
            found is not None
            and found["host"] in self.issuer_hosts
            and self.project_id in (found["bare"], found["app"], found["agentic"])
        )

    def _check_audience(self, audience: Any) -> None:
        listed = audiences_in(audience)
        accepted = frozenset({self.project_id}) if self.audience is None else self.audience
        if not self.any_audience and accepted.isdisjoint(listed):
            raise Rejected(RejectReason.AUDIENCE)

    def fingerprint(self) -> str:
        """Return text that is the same for equal rules, and differs for others."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return repr([(n, sorted(v) if isinstance(v, frozenset) else v) for n, v in values])


def claims_rules(
    *,
    project_id: str,
    issuers: Iterable[str],
    issuer_hosts: Iterable[str],
    audience: str | Iterable[str] | None,
    any_audience: bool,
    leeway: float,
    max_lifetime: Duration | None,
    require_session_name: bool,
) -> ClaimsRules:
    """Return the rules for these options of `TokenVerifier`.

    Raises:
        ConfigurationError: An option cannot be used; the message says what can.
    """
    project = _options.project_id(project_id)
    return ClaimsRules(
        project_id=project,
        issuers=_options.strings("issuers", issuers) | {project},
        issuer_hosts=_options.strings("issuer_hosts", issuer_hosts),
        audience=None
        if audience is None
        else accepted_audiences(audience, any_audience=any_audience),
        any_audience=_options.flag("any_audience", any_audience),
        leeway=_options.seconds("leeway", leeway, 0, MAX_LEEWAY),
        max_lifetime=None if max_lifetime is None else longest_lifetime(max_lifetime),
        require_session_name=_options.flag("require_session_name", require_session_name),
    )


def accepted_audiences(
    audience: str | Iterable[str], *, any_audience: bool = False
) -> frozenset[str]:
    """Return the option *audience* as a set.

    Raises:
        ConfigurationError: It is empty, or *any_audience* contradicts it.
    """
    values = _options.strings("audience", (audience,) if isinstance(audience, str) else audience)
    if not values:
        msg = "audience is None or at least one value."
        raise ConfigurationError(msg)
    if any_audience:
        msg = "Give either audience or any_audience=True."
        raise ConfigurationError(msg)
    return values


def longest_lifetime(value: Duration) -> int:
    """Return the option *max_lifetime* in seconds.

    Raises:
        ConfigurationError: It is no duration, or zero.
    """
    seconds = _options.duration("max_lifetime", value)
    if seconds == 0:
        msg = "max_lifetime is None or at least one second."
        raise ConfigurationError(msg)
    return seconds


def check_times(
    members: Mapping[str, Any], *, leeway: float, longest: float | None, now: float
) -> Validity:
    """Return when a token passes by `exp`, `iat` and `nbf`, if it does *now*.

    Args:
        members: The claims.
        leeway: Seconds of clock difference to allow for.
        longest: Longest time from `iat` to `exp` in seconds, or `None`.
        now: Epoch seconds.

    Raises:
        Rejected: A time is missing or malformed, or it does not pass now.
    """
    issued, expires = _numeric_date(members, "iat"), _numeric_date(members, "exp")
    starts = max(issued, _numeric_date(members, "nbf")) if "nbf" in members else issued
    validity = Validity(starts - leeway, expires + leeway)
    if validity.expires <= now:
        raise Rejected(RejectReason.EXPIRED)
    if validity.not_before > now:
        raise Rejected(RejectReason.NOT_YET_VALID)
    if expires < issued or (longest is not None and expires - issued > longest):
        raise Rejected(RejectReason.LIFETIME)
    return validity


def _numeric_date(members: Mapping[str, Any], name: str) -> float:
    """Return a NumericDate (RFC 7519 section 2): a finite number, not text and not a boolean."""
    value = members.get(name)
    if value is None:
        raise Rejected(RejectReason.CLAIM_MISSING)
    if type(value) not in (int, float) or not 0 < value < _LATEST:
        raise Rejected(RejectReason.CLAIM_INVALID)
    return float(value)


def check_subject(subject: Any) -> None:
    """Check that *subject* can be a user id: 1 to 256 printable characters.

    Raises:
        Rejected: It cannot.
    """
    if not isinstance(subject, str) or not (
        0 < len(subject) <= MAX_SUBJECT and subject.isprintable()
    ):
        raise Rejected(RejectReason.SUBJECT)


def audiences_in(audience: Any) -> "list[str] | tuple[str, ...]":
    """Return the values of an `aud` claim, which is one string or an array of them.

    Raises:
        Rejected: It is something else.
    """
    listed = [audience] if isinstance(audience, str) else audience
    if not isinstance(listed, (list, tuple)):
        raise Rejected(RejectReason.AUDIENCE)
    for each in listed:
        if not isinstance(each, str):
            raise Rejected(RejectReason.AUDIENCE)
    return listed


def check_binding(members: Mapping[str, Any]) -> None:
    """Check that a token is a bearer token (`cnf`), and that its `jti` is text if there is one.

    Raises:
        Rejected: It is bound to a key, or its `jti` is something else.
    """
    if "cnf" in members:
        # RFC 9449 section 7.2: a bound token sent as a bearer token must be rejected.
        raise Rejected(RejectReason.SENDER_CONSTRAINED)
    if "jti" in members and not isinstance(members["jti"], str):
        raise Rejected(RejectReason.CLAIM_INVALID)

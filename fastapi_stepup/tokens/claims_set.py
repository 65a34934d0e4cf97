"""Rules for the registered claims of a session token (RFC 7519 section 4.1); no I/O, no clock."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

from fastapi_stepup import _options
from fastapi_stepup._options import Duration
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

    def fingerprint(self) -> str:
        """Return text that is the same for equal rules, and differs for others."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
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
        audience=None if audience is None else _audiences(audience, any_audience=any_audience),
        any_audience=_options.flag("any_audience", any_audience),
        leeway=_options.seconds("leeway", leeway, 0, MAX_LEEWAY),
        max_lifetime=None if max_lifetime is None else _lifetime(max_lifetime),
        require_session_name=_options.flag("require_session_name", require_session_name),
    )


def _audiences(audience: str | Iterable[str], *, any_audience: bool) -> frozenset[str]:
    values = _options.strings("audience", (audience,) if isinstance(audience, str) else audience)
    if not values:
        msg = "audience is None or at least one value."
        raise ConfigurationError(msg)
    if any_audience:
        msg = "Give either audience or any_audience=True."
        raise ConfigurationError(msg)
    return values


def _lifetime(value: Duration) -> int:
    seconds = _options.duration("max_lifetime", value)
    if seconds == 0:
        msg = "max_lifetime is None or at least one second."
        raise ConfigurationError(msg)
    return seconds


class Validity(NamedTuple):
    """The time in which a token passes: from `not_before` until just before `expires`.

    Both in epoch seconds, with the leeway in them.
    """

    not_before: float
    expires: float


def check_claims_set(
    members: Mapping[str, Any], rules: ClaimsRules, *, now: float, refresh: bool = False
) -> Validity:
    """Return when the token with these claims passes, if they hold *now*.

    Checks `exp`, `iat`, `nbf`, `iss`, `sub`, `aud`, `drn`, `nonce`, `cnf` and `jti`. Does not check
    the signature, nor what they say about the login (`StepUpPolicy` does).

    Args:
        members: The payload of the token, parsed strictly.
        rules: What is accepted.
        now: Epoch seconds.
        refresh: Check a refresh token (`drn` is `DSR`), which `max_lifetime` is not about.

    Raises:
        Rejected: A claim is missing, malformed, or not one that is accepted.
    """
    issued, expires = _numeric_date(members, "iat"), _numeric_date(members, "exp")
    starts = max(issued, _numeric_date(members, "nbf")) if "nbf" in members else issued
    validity = Validity(starts - rules.leeway, expires + rules.leeway)
    if validity.expires <= now:
        raise Rejected(RejectReason.EXPIRED)
    if validity.not_before > now:
        raise Rejected(RejectReason.NOT_YET_VALID)
    longest = None if refresh else rules.max_lifetime
    if expires < issued or (longest is not None and expires - issued > longest):
        raise Rejected(RejectReason.LIFETIME)
    issuer, subject = members.get("iss"), members.get("sub")
    if not isinstance(issuer, str) or not (issuer in rules.issuers or is_issuer_url(issuer, rules)):
        raise Rejected(RejectReason.ISSUER)
    if not isinstance(subject, str) or not (
        0 < len(subject) <= MAX_SUBJECT and subject.isprintable()
    ):
        raise Rejected(RejectReason.SUBJECT)
    if "aud" in members or rules.audience is not None:
        _check_audience(members.get("aud"), rules)
    name = members.get("drn", None if rules.require_session_name else SESSION_NAME)
    if name != (REFRESH_NAME if refresh else SESSION_NAME) or "nonce" in members:
        # A nonce makes it an OpenID Connect id token: for the client, not for an API.
        raise Rejected(RejectReason.NOT_A_SESSION)
    if "cnf" in members:
        # RFC 9449 section 7.2: a bound token sent as a bearer token must be rejected.
        raise Rejected(RejectReason.SENDER_CONSTRAINED)
    if "jti" in members and not isinstance(members["jti"], str):
        raise Rejected(RejectReason.CLAIM_INVALID)
    return validity


def _numeric_date(members: Mapping[str, Any], name: str) -> float:
    """Return a NumericDate (RFC 7519 section 2): a finite number, not text and not a boolean."""
    value = members.get(name)
    if value is None:
        raise Rejected(RejectReason.CLAIM_MISSING)
    if type(value) not in (int, float) or not 0 < value < _LATEST:
        raise Rejected(RejectReason.CLAIM_INVALID)
    return float(value)


def is_issuer_url(issuer: str, rules: ClaimsRules) -> bool:
    """Return whether Descope writes this URL as the issuer of the project's tokens.

    On one of the issuer hosts:
    - `https://<host>/<project>`
    - `https://<host>/v1/apps/<project>`, and `/<tenant>` behind it
    - `https://<host>/v1/apps/agentic/<project>/<server>`
    """
    found = _ISSUER_URL.fullmatch(issuer)
    return (
        found is not None
        and found["host"] in rules.issuer_hosts
        and rules.project_id in (found["bare"], found["app"], found["agentic"])
    )


def _check_audience(audience: Any, rules: ClaimsRules) -> None:
    listed = [audience] if isinstance(audience, str) else audience
    if not isinstance(listed, (list, tuple)) or not all(isinstance(a, str) for a in listed):
        raise Rejected(RejectReason.AUDIENCE)
    accepted = frozenset({rules.project_id}) if rules.audience is None else rules.audience
    if not rules.any_audience and accepted.isdisjoint(listed):
        raise Rejected(RejectReason.AUDIENCE)

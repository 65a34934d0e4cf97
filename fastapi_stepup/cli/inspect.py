"""`inspect`: what a session token is worth, check by check."""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fastapi_stepup import _clock
from fastapi_stepup._options import is_number
from fastapi_stepup.claims import Claims
from fastapi_stepup.cli.output import Report, Row, Section, Style, in_words
from fastapi_stepup.errors import (
    ConfigurationError,
    InvalidToken,
    KeysUnavailable,
    RejectReason,
)
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.policy.alternative import facts_of
from fastapi_stepup.policy.policy import StepUpPolicy
from fastapi_stepup.tokens.jws import ASYMMETRIC_ALGORITHMS

# The verifier's checks in its order, with the reasons of each and what to do about it.
CHECKS: Final[tuple[tuple[str, frozenset[RejectReason], str], ...]] = (
    ("size", frozenset({RejectReason.TOO_LARGE}), "Tokens have at most 16 KiB (max_token_size)."),
    (
        "form",
        frozenset({RejectReason.MALFORMED, RejectReason.HEADER}),
        "It is no compact JWS as the issuer signs it: look for what cut or decorated it.",
    ),
    (
        "algorithm",
        frozenset({RejectReason.ALGORITHM}),
        "Descope signs with RS256; another algorithm has to be listed in algorithms=.",
    ),
    ("type", frozenset({RejectReason.TYPE}), "Its header has another typ: see types=."),
    ("key id", frozenset({RejectReason.KEY_ID}), "Its header names no key."),
    (
        "key",
        frozenset({RejectReason.UNKNOWN_KEY}),
        "The project does not publish that key: another project's token, or a retired key.",
    ),
    ("signature", frozenset({RejectReason.SIGNATURE}), "It was changed, or another key signed it."),
    (
        "claims",
        frozenset({RejectReason.CLAIM_MISSING, RejectReason.CLAIM_INVALID}),
        "A claim that must be there is missing or of an odd type.",
    ),
    ("expiry", frozenset({RejectReason.EXPIRED}), "It has expired: refresh the session."),
    (
        "start",
        frozenset({RejectReason.NOT_YET_VALID}),
        "It is of the future: compare the clocks (`fastapi-stepup check`).",
    ),
    ("lifetime", frozenset({RejectReason.LIFETIME}), "It lives longer than is allowed."),
    (
        "issuer",
        frozenset({RejectReason.ISSUER}),
        "Another issuer made it: check the project id, or list the issuer in issuers=.",
    ),
    ("subject", frozenset({RejectReason.SUBJECT}), "Its sub is missing or unusable."),
    (
        "audience",
        frozenset({RejectReason.AUDIENCE}),
        "It is for another API: check audience=.",
    ),
    (
        "session",
        frozenset({RejectReason.NOT_A_SESSION}),
        "It is a refresh token or another kind of token; send the session token.",
    ),
    (
        "sender",
        frozenset({RejectReason.SENDER_CONSTRAINED}),
        "It is bound to a key of its sender (cnf), which is not supported.",
    ),
    ("revocation", frozenset({RejectReason.REVOKED}), "is_revoked says that it is revoked."),
)

_SAFE_TEXTS: Final = frozenset(
    {"DS", "DSR", "email", "sms", "totp", "webauthn", "mfa", "oauth", "whatsapp", "pwd", "fed"}
    | {"JWT", "at+jwt", "none", "HS256", "HS384", "HS512"}
    | ASYMMETRIC_ALGORITHMS
)
_TIMES: Final = ("iat", "nbf", "exp", "auth_time")
_MOST: Final = 64


def inspect_token(
    token: str,
    *,
    project_id: str | None = None,
    base_url: str | None = None,
    issuers: tuple[str, ...] = (),
    audience: tuple[str, ...] | None = None,
    policies: tuple[str, ...] = (),
    show_claims: bool = False,
    clock: Callable[[], float] = _clock.wall,
    guard: StepUpGuard | None = None,
) -> Report:
    """Return what *token* says, and which checks it passes.

    Without a project nothing is verified: header, claims and times are shown as they stand.
    Shows no value of a claim that could be personal unless *show_claims* says so.

    Args:
        token: The token, without `Bearer`.
        project_id: The Descope project; its keys are fetched.
        base_url: Another host of Descope's API.
        issuers: Further issuers.
        audience: Accepted audiences.
        policies: Policies in the notation of `policy_from`.
        show_claims: Show the values of all claims.
        clock: Gives epoch seconds.
        guard: Verifies instead of one made from the options above.

    Raises:
        ConfigurationError: An option cannot be used.
    """
    now = clock()
    asked = [(text, policy_from(text)) for text in policies]
    header, members = _decoded(token)
    sections = [
        _members("Header", header, now, show=show_claims),
        _members("Claims", members, now, show=show_claims),
    ]
    data: dict[str, Any] = {
        "verified": None,
        "reason": None,
        "header": _shown(header, show=show_claims),
        "claims": _shown(members, show=show_claims),
    }
    if guard is None and project_id is None:
        summary = "Nothing was verified: give --project-id to check signature and claims."
        return Report(tuple(sections), data, summary)
    guard = guard or StepUpGuard.for_descope(
        project_id, base_url=base_url, issuers=issuers, audience=audience, clock=clock
    )
    try:
        claims, reason = asyncio.run(_verify(guard, token))
    except KeysUnavailable:
        data["reason"] = "keys_unavailable"
        summary = "The project's keys cannot be had now. `fastapi-stepup check` says why."
        return Report(tuple(sections), data, summary, found=True)
    sections.append(_checks(reason))
    data |= {"verified": claims is not None, "reason": reason}
    if claims is None:
        advice = next(advice for _, reasons, advice in CHECKS if reason in reasons)
        return Report(tuple(sections), data, f"Rejected ({reason}). {advice}", found=True)
    table, data["policies"] = _policies(claims, asked, now)
    sections.append(table)
    return Report(tuple(sections), data, "Accepted as a session token.")


def policy_from(text: str) -> StepUpPolicy:
    """Return the policy that a text such as `max_age=5m amr=webauthn,totp` describes.

    Raises:
        ConfigurationError: It describes none.
    """
    options: dict[str, Any] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals or name not in {"max_age", "amr", "acr"}:
            msg = f'--policy takes "max_age=5m amr=webauthn,totp acr=…", not {word!r}.'
            raise ConfigurationError(msg)
        if name == "max_age":
            options[name] = int(value) if value.isdecimal() else value
        else:
            options[name] = value.split(",")
    return StepUpPolicy(**options)


async def _verify(guard: StepUpGuard, token: str) -> tuple[Claims | None, RejectReason | None]:
    async with guard:
        await guard.keys.warm_up()  # so that the signature is checked before the claims
        try:
            return await guard.verify(token), None
        except InvalidToken as error:
            return None, error.reason


def _decoded(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and payload as far as they can be read; nothing of it is trusted."""
    parts = [*token.split("."), "", ""][:2]
    return _object(parts[0]), _object(parts[1])


def _object(segment: str) -> dict[str, Any]:
    try:
        raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _members(title: str, members: Mapping[str, Any], now: float, *, show: bool) -> Section:
    rows = []
    for position, (name, value) in enumerate(members.items()):
        known = show or (len(name) <= _MOST and name.isidentifier())
        label = name if known else f"(member {position + 1})"
        rows.append(Row((label, _in_short(name, value, show=show), _when(name, value, now))))
    return Section(title, ("name", "value", ""), tuple(rows))


def _shown(members: Mapping[str, Any], *, show: bool) -> dict[str, Any]:
    if show:
        return dict(members)
    return {
        name: _in_short(name, value, show=False)
        for name, value in members.items()
        if name.isidentifier()
    }


def _in_short(name: str, value: Any, *, show: bool) -> str:
    if show or _is_safe(name, value):
        return json.dumps(value)
    if isinstance(value, str):
        return f"text, {len(value)} characters"
    if is_number(value):
        return "number"
    return f"{'list' if isinstance(value, list) else 'object'} of {len(value)}"


def _is_safe(name: str, value: Any) -> bool:
    """Return whether a value cannot be personal: a time, a flag, a word of the protocol."""
    if isinstance(value, list):
        return all(isinstance(item, str) and item in _SAFE_TEXTS for item in value)
    if isinstance(value, str):
        return value in _SAFE_TEXTS
    return value is None or isinstance(value, bool) or (name in _TIMES and is_number(value))


def _when(name: str, value: Any, now: float) -> str:
    if name not in _TIMES or isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    try:
        moment = datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return "no time"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC, {in_words(value - now)} " + (
        "from now" if value > now else "ago"
    )


def _checks(reason: RejectReason | None) -> Section:
    rows, failed = [], False
    for name, reasons, _ in CHECKS:
        style: Style | None = "note" if failed else "good"
        outcome = "not reached" if failed else "passed"
        if reason in reasons:
            failed, style, outcome = True, "bad", f"failed: {reason}"
        rows.append(Row((name, outcome), style))
    return Section("Checks", ("check", "outcome"), tuple(rows))


def _met_until(policy: StepUpPolicy, claims: Claims, now: float) -> float:
    """Return until when an alternative that is met stays met; the longest one counts."""
    met = [each for each in policy.alternatives if not each.assess(facts_of(claims.evidence, now))]
    return max((each.met_until(claims.evidence) for each in met), default=now)


def _policies(
    claims: Claims, asked: list[tuple[str, StepUpPolicy]], now: float
) -> tuple[Section, list[dict[str, Any]]]:
    """Return which policies the claims meet, and until when."""
    rows, data = [], []
    for text, policy in asked or [("any step-up", StepUpPolicy())]:
        unmet = policy.assess(claims, now=now)
        until = min(claims.expires_at, _met_until(policy, claims, now))
        if unmet:
            said = ", ".join(f"{each.requirement} {each.reason}" for each in unmet)
        else:
            said = f"for {in_words(until - now)} more"
        rows.append(Row((str(policy), "no" if unmet else "yes", said)))
        data.append(
            {
                "policy": text,
                "met": not unmet,
                "unmet": [f"{each.requirement} {each.reason}" for each in unmet],
                "until": None if unmet else until,
            }
        )
    return Section("Policies", ("policy", "met", ""), tuple(rows)), data

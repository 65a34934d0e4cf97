"""StepUpPolicy: what a step-up must look like, decided without I/O."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from fastapi_stepup._log import logger
from fastapi_stepup._options import Duration, duration, is_number
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ConfigurationError, ImpersonationRefused, StepUpRequired

Requirement = Literal["step_up", "amr", "acr"]
Reason = Literal["missing", "expired"]

_JUST_NOW: Final = 60
_ROUNDING: Final = 5  # Seconds that an issuer's clocks may differ between auth_time and iat.
_VALUE: Final = re.compile(r"[!#-\[\]-~]+")
_AMR: Final = frozenset(
    {"email", "fed", "mfa", "oauth", "otp", "pwd", "sms", "totp", "webauthn", "whatsapp"}
)
_MISNAMED: Final = {
    "authenticator": "totp",
    "biometric": "webauthn",
    "fido2": "webauthn",
    "magiclink": "email",
    "enchantedlink": "email",
    "passkey": "webauthn",
    "passkeys": "webauthn",
    "password": "pwd",
    "saml": "fed",
    "social": "oauth",
    "sso": "fed",
    "2fa": "mfa",
}


@dataclass(frozen=True, slots=True)
class Unmet:
    """One requirement that the claims do not meet.

    Args:
        requirement: `"step_up"`, `"amr"` or `"acr"`.
        reason: `"missing"`, or `"expired"` when a step-up is there but too old.
    """

    requirement: Requirement
    reason: Reason


@dataclass(frozen=True, slots=True)
class StepUpPolicy:
    """What a route asks of a session beyond being signed in.

    - All of it must hold: `su` is `true`, the step-up is no older than *max_age*, one of *amr* was
      used, and one of *acr* was reached.
    - Whatever a token does not say is unmet. So is the step-up of an impersonated session (`act`):
      its user proved nothing.
    - The age of a step-up counts from `auth_time`, where the token has one (RFC 9470 section 6.1).
      Descope's tokens have none: there it counts from `iat` of the token that carries `su`. A
      refresh ends a step-up, so that age cannot be renewed silently.

    Does not check the token itself: only give it claims of a verified one.

    Args:
        max_age: Longest age of the step-up: seconds, a `timedelta`, or `"90s"`, `"5m"`, `"2h"`,
            `"1d"`. Whole seconds. `None` accepts it for as long as the token lives. `0` accepts
            only the second of the step-up itself and is hardly ever what you want.
        amr: Authentication methods (RFC 8176, Descope's `"sms"`, `"webauthn"`, `"mfa"` …); any one
            of them meets the requirement. A value that Descope writes in another way, such as
            `"passkey"`, logs a warning with the right one.
        acr: Authentication context classes; any one of them meets the requirement.

    Raises:
        ConfigurationError: A duration or a value cannot be used; the message says what can.
    """

    max_age: int | None
    amr: tuple[str, ...]
    acr: tuple[str, ...]

    def __init__(
        self,
        *,
        max_age: Duration | None = None,
        amr: Iterable[str] | str = (),
        acr: Iterable[str] | str = (),
    ) -> None:
        seconds = None if max_age is None else duration("max_age", max_age)
        object.__setattr__(self, "max_age", seconds)
        object.__setattr__(self, "amr", _values("amr", amr))
        object.__setattr__(self, "acr", _values("acr", acr))

    def assess(self, claims: Claims, *, now: float) -> tuple[Unmet, ...]:
        """Return everything that *claims* leave unmet at *now* (epoch seconds); empty is a pass."""
        unmet: tuple[Unmet, ...] = ()
        if not claims.stepped_up or claims.impersonated:
            unmet = (Unmet("step_up", "missing"),)
        elif self.max_age is not None:
            proved = _proved_at(claims)
            if proved is None:
                unmet = (Unmet("step_up", "missing"),)
            elif math.floor(now) - proved > self.max_age:
                unmet = (Unmet("step_up", "expired"),)
        if self.amr and not set(self.amr).intersection(claims.amr):
            unmet += (Unmet("amr", "missing"),)
        if self.acr and not set(self.acr).intersection(claims.acr):
            unmet += (Unmet("acr", "missing"),)
        return unmet

    def is_met_by(self, claims: Claims, *, now: float) -> bool:
        """Return whether *claims* meet this policy at *now* (epoch seconds)."""
        return not self.assess(claims, now=now)

    def enforce(self, claims: Claims, *, now: float) -> None:
        """Let *claims* pass or say what is unmet.

        Raises:
            ImpersonationRefused: Another party acts for the user. No step-up can cure that.
            StepUpRequired: Something is missing or expired.
        """
        unmet = self.assess(claims, now=now)
        if unmet:
            if claims.impersonated:
                raise ImpersonationRefused
            raise StepUpRequired(
                [{"requirement": u.requirement, "reason": u.reason} for u in unmet],
                max_age=self.max_age,
                acr_values=self.acr,
                amr=self.amr,
                unmet_after_step_up=claims.stepped_up and now - claims.issued_at <= _JUST_NOW,
            )


def _proved_at(claims: Claims) -> float | None:
    """Return when the user proved their identity, in epoch seconds; `None` if that is unreadable.

    A proof cannot be later than the token that tells of it, so the earlier time counts.
    """
    stated = claims.get("auth_time", claims.issued_at)
    if not is_number(stated) or not 0 < stated <= claims.issued_at + _ROUNDING:
        return None
    return min(float(stated), claims.issued_at)


def _values(name: str, values: Iterable[str] | str) -> tuple[str, ...]:
    listed = (values,) if isinstance(values, str) or not isinstance(values, Iterable) else values
    listed = tuple(listed)
    for value in listed:
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            msg = (
                f"{name} takes strings of printable ASCII without spaces, quotes and "
                f"backslashes, not {value!r}."
            )
            raise ConfigurationError(msg)
    if name == "amr":
        for value in listed:
            _warn_of_other_name(value)
    return tuple(dict.fromkeys(listed))


def _warn_of_other_name(value: str) -> None:
    lowered = value.lower()
    plain = re.sub(r"[-_]", "", lowered)
    name = lowered if lowered in _AMR else _MISNAMED.get(plain)
    if name is not None and name != value:
        logger.warning('amr=%r is met by no session of Descope: it writes "%s".', value, name)

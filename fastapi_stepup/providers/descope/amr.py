"""Authentication methods in Descope's `amr` claim, and which step-up method proves which."""

import re
from collections.abc import Collection
from typing import Final

from fastapi_stepup.claims import Claims

MFA: Final = "mfa"
OTP: Final = "otp"

# `otp` is RFC 8176's word for any one-time code. Descope writes the channel instead; an app that
# adds the word to its tokens means these.
PROVED_BY: Final[dict[str, frozenset[str]]] = {
    "email": frozenset({"email", OTP}),
    "sms": frozenset({"sms", OTP}),
    "voice": frozenset({"voice", OTP}),
    "whatsapp": frozenset({"whatsapp", OTP}),
    "totp": frozenset({"totp", OTP}),
    "magiclink": frozenset({"email", "sms", "whatsapp"}),
    "enchantedlink": frozenset({"email"}),
    "passkey": frozenset({"webauthn"}),
    "oauth": frozenset({"oauth"}),
    "sso": frozenset({"fed"}),
    "notp": frozenset({"whatsapp"}),
}

_ACCESS_KEY: Final = re.compile(r"K[0-9A-Za-z]{20,40}")


def can_prove(method: str, accepted: Collection[str], known: Collection[str]) -> bool:
    """Return whether a step-up by *method* can put one of *accepted* into `amr`.

    Args:
        method: As a challenge lists it: a delivery of codes, or the name of another method.
        accepted: `amr` values, any one of which is enough.
        known: The `amr` of the session. Descope keeps it through a step-up, and adds `mfa` when
            there are two values or more.
    """
    proved = PROVED_BY.get(method, frozenset())
    if not proved.isdisjoint(accepted):
        return True
    earlier = set(known) - {MFA}
    return MFA in accepted and bool(earlier) and not proved - {OTP} <= earlier


def is_machine(claims: Claims) -> bool:
    """Return whether a session is that of an access key: it cannot be stepped up.

    Descope's ids of access keys start with `K`, those of users with `U`. A project may put its own
    text into `sub`; the id is then in `dsub`.
    """
    subject = claims.get("dsub") or claims.subject
    return isinstance(subject, str) and _ACCESS_KEY.fullmatch(subject) is not None

"""Names of authentication methods that tokens have, and those that people write instead."""

import re
from typing import Final

from fastapi_stepup._log import logger
from fastapi_stepup.errors import ConfigurationError

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
    "notp": "whatsapp",
    "passkeys": "webauthn",
    "password": "pwd",
    "saml": "fed",
    "social": "oauth",
    "sso": "fed",
    "2fa": "mfa",
}


def check_amr(value: str) -> None:
    """Refuse the names of step-up methods where a token has another one, and warn of letter case.

    Other issuers may write a known value in another letter case.
    """
    lowered = value.lower()
    name = _MISNAMED.get(re.sub(r"[-_]", "", lowered))
    if name is not None:
        msg = f'amr={value!r} is in no session: write "{name}", as tokens have it.'
        raise ConfigurationError(msg)
    if lowered in _AMR and lowered != value:
        logger.warning('amr=%r is met by no session of Descope: it writes "%s".', value, lowered)

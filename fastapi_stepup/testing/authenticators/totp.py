"""One-time passwords of an authenticator app: RFC 4226 and RFC 6238."""

import base64
import hmac
import secrets
from typing import Final

PERIOD: Final = 30
DIGITS: Final = 6
_KEY_BYTES: Final = 20
_DRIFT: Final = 1


def hotp(key: bytes, counter: int, *, digits: int = DIGITS, digest: str = "sha1") -> str:
    """Return the one-time password of *key* for *counter*.

    Args:
        key: The shared secret.
        counter: Zero or more.
        digits: The number of digits of the password.
        digest: `sha1`, `sha256` or `sha512`.

    References:
        RFC 4226 section 5.3, RFC 6238 section 1.2.
    """
    mac = hmac.digest(key, counter.to_bytes(8, "big"), digest)
    offset = mac[-1] & 0x0F
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**digits:0{digits}d}"


class TOTPAuthenticator:
    """An authenticator app as the service knows it: the secret and the last used counter.

    Guarantees:
    - A password is accepted once, and none older than an accepted one (RFC 6238 section 5.2).
    - Clocks may differ by one period of 30 seconds.
    - `repr` shows no secret.

    Args:
        secret: The key in base 32; by default a new one.
        used: The counter of the last accepted password.
    """

    def __init__(self, secret: str = "", used: int = -1) -> None:
        self._key = base64.b32decode(secret) if secret else secrets.token_bytes(_KEY_BYTES)
        self._used = used

    @property
    def secret(self) -> str:
        """The key in base 32, as it is typed into an app."""
        return base64.b32encode(self._key).decode()

    @property
    def used(self) -> int:
        """The counter of the last accepted password; -1 before the first."""
        return self._used

    def code(self, now: float) -> str:
        """Return the first unused password at or after *now*."""
        return hotp(self._key, max(int(now) // PERIOD, self._used + 1))

    def accepts(self, code: str, now: float) -> bool:
        """Return whether *code* is good at *now*; if it is, it is used up."""
        counter = int(now) // PERIOD
        for candidate in range(max(counter - _DRIFT, self._used + 1), counter + _DRIFT + 1):
            if hmac.compare_digest(hotp(self._key, candidate).encode(), code.encode()):
                self._used = candidate
                return True
        return False

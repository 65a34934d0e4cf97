"""Local stand-ins for Descope and for OpenID issuers, with assertions and a pytest plugin.

Names are imported on first use, because every pytest run of an environment loads the plugin.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi_stepup.testing.assertions import assert_step_up_challenge
    from fastapi_stepup.testing.authenticators.passkey import SoftwarePasskey
    from fastapi_stepup.testing.emulator.emulator import DescopeEmulator
    from fastapi_stepup.testing.emulator.methods.access_keys import AccessKey
    from fastapi_stepup.testing.emulator.models import Message, ReceivedRequest
    from fastapi_stepup.testing.emulator.sessions import Tokens
    from fastapi_stepup.testing.emulator.users import User
    from fastapi_stepup.testing.keys import REMOVE, SigningKey
    from fastapi_stepup.testing.oidc.issuer import OIDCIssuer

__all__ = [
    "REMOVE",
    "AccessKey",
    "DescopeEmulator",
    "Message",
    "OIDCIssuer",
    "ReceivedRequest",
    "SigningKey",
    "SoftwarePasskey",
    "Tokens",
    "User",
    "assert_step_up_challenge",
]

_EXPORTS = {
    "assertions": ("assert_step_up_challenge",),
    "authenticators.passkey": ("SoftwarePasskey",),
    "emulator.emulator": ("DescopeEmulator",),
    "emulator.methods.access_keys": ("AccessKey",),
    "emulator.models": ("Message", "ReceivedRequest"),
    "emulator.sessions": ("Tokens",),
    "emulator.users": ("User",),
    "keys": ("REMOVE", "SigningKey"),
    "oidc.issuer": ("OIDCIssuer",),
}
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, imported yet or not."""
    return sorted({*globals(), *__all__})

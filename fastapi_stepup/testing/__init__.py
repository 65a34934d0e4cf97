"""A local stand-in for Descope, and the assertions that go with it.

Everything here is imported on first use, because the pytest plugin is loaded by every pytest run of
an environment and must cost nothing to those that do not use it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi_stepup.testing.assertions import assert_step_up_challenge
    from fastapi_stepup.testing.authenticators.passkey import SoftwarePasskey
    from fastapi_stepup.testing.emulator.emulator import DescopeEmulator
    from fastapi_stepup.testing.emulator.methods.access_keys import AccessKey
    from fastapi_stepup.testing.emulator.project import Message, ReceivedRequest
    from fastapi_stepup.testing.emulator.sessions import Tokens
    from fastapi_stepup.testing.emulator.users import User
    from fastapi_stepup.testing.keys import REMOVE, SigningKey

__all__ = [
    "REMOVE",
    "AccessKey",
    "DescopeEmulator",
    "Message",
    "ReceivedRequest",
    "SigningKey",
    "SoftwarePasskey",
    "Tokens",
    "User",
    "assert_step_up_challenge",
]

_HOMES = {
    "REMOVE": "keys",
    "AccessKey": "emulator.methods.access_keys",
    "DescopeEmulator": "emulator.emulator",
    "Message": "emulator.project",
    "ReceivedRequest": "emulator.project",
    "SigningKey": "keys",
    "SoftwarePasskey": "authenticators.passkey",
    "Tokens": "emulator.sessions",
    "User": "emulator.users",
    "assert_step_up_challenge": "assertions",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, imported yet or not."""
    return sorted({*globals(), *__all__})

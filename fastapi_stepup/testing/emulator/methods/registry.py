"""All sign-in methods of one emulated project, and what they share."""

from starlette.routing import Route

from fastapi_stepup.testing.emulator.delivery import Courier
from fastapi_stepup.testing.emulator.methods.access_keys import AccessKeys
from fastapi_stepup.testing.emulator.methods.account import Account, PublicKeys
from fastapi_stepup.testing.emulator.methods.enchantedlink import EnchantedLink
from fastapi_stepup.testing.emulator.methods.flow import Flow
from fastapi_stepup.testing.emulator.methods.magiclink import MagicLink
from fastapi_stepup.testing.emulator.methods.notp import NOTP
from fastapi_stepup.testing.emulator.methods.oauth import OAuth
from fastapi_stepup.testing.emulator.methods.otp import OTP
from fastapi_stepup.testing.emulator.methods.password import Password
from fastapi_stepup.testing.emulator.methods.tenants import Tenants
from fastapi_stepup.testing.emulator.methods.totp import TOTP
from fastapi_stepup.testing.emulator.methods.webauthn import WebAuthn
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import get


class Rooms:
    """The rooms of the emulator, each with its endpoints.

    Args:
        project: Whose users sign in.
        select_keeps_step_up: Whether a stepped-up session stays so when a tenant is selected.

    Attributes:
        oauth: The one with the page that plays a provider.
        notp: The one with the page that plays WhatsApp.
        access_keys: The one that machines sign in at.
    """

    def __init__(self, project: Project, *, select_keeps_step_up: bool) -> None:
        self._project = project
        courier = Courier(project)
        otp, magic_link = OTP(project, courier), MagicLink(project, courier)
        self.oauth: OAuth = OAuth(project)
        self.notp: NOTP = NOTP(project)
        self.access_keys: AccessKeys = AccessKeys(project)
        self._rooms = (
            PublicKeys(project),
            Account(project),
            Tenants(project, keeps_step_up=select_keeps_step_up),
            otp,
            TOTP(project),
            magic_link,
            EnchantedLink(project, courier),
            WebAuthn(project),
            self.oauth,
            self.notp,
            Password(project, magic_link),
            self.access_keys,
            Flow(project, otp),
        )

    def routes(self) -> list[Route]:
        """Return every endpoint there is, the licence's included."""
        tier = {"rateLimitTier": "tier1"}
        # All SDKs ask for it as soon as they are given a management key.
        licence = get(self._project, "/v1/mgmt/license", lambda _: dict(tier))
        return [licence, *(route for room in self._rooms for route in room.routes())]

"""The sign-in methods of one emulated project."""

from typing import Protocol

from starlette.routing import Route

from fastapi_stepup.testing.emulator.delivery import Delivery
from fastapi_stepup.testing.emulator.methods.access_keys import AccessKeys
from fastapi_stepup.testing.emulator.methods.account import Account, PublicKeys
from fastapi_stepup.testing.emulator.methods.enchantedlink import EnchantedLink
from fastapi_stepup.testing.emulator.methods.flow import Flow
from fastapi_stepup.testing.emulator.methods.flow_pages import FlowPages
from fastapi_stepup.testing.emulator.methods.magiclink import MagicLink
from fastapi_stepup.testing.emulator.methods.notp import NOTP
from fastapi_stepup.testing.emulator.methods.oauth import OAuth
from fastapi_stepup.testing.emulator.methods.otp import OTP
from fastapi_stepup.testing.emulator.methods.password import Password
from fastapi_stepup.testing.emulator.methods.tenants import Tenants
from fastapi_stepup.testing.emulator.methods.totp import TOTP
from fastapi_stepup.testing.emulator.methods.webauthn import WebAuthn
from fastapi_stepup.testing.emulator.models import Message
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import get
from fastapi_stepup.testing.emulator.sessions import Tokens
from fastapi_stepup.testing.emulator.ui_package import UIPackage


class EmulatedMethod(Protocol):
    """A sign-in method, or another group of Descope's endpoints."""

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        ...


class EmulatedMethods:
    """Every sign-in method of one project, with its endpoints.

    Args:
        project: The emulated project.
        select_keeps_step_up: Whether a session stays stepped up when a tenant is selected.
        ui: The package of UI components that flows show, or None for plain HTML.

    Attributes:
        otp: One-time codes.
        oauth: Social login, SSO and SAML, with the page that plays a provider.
        notp: NOTP, with the page that plays WhatsApp.
        access_keys: The access keys of machines.
    """

    def __init__(
        self, project: Project, *, select_keeps_step_up: bool, ui: UIPackage | None
    ) -> None:
        self._project = project
        delivery = Delivery(project)
        otp, magic_link = OTP(project, delivery), MagicLink(project, delivery)
        totp, webauthn = TOTP(project), WebAuthn(project)
        self.otp: OTP = otp
        self.oauth: OAuth = OAuth(project)
        self.notp: NOTP = NOTP(project)
        self.access_keys: AccessKeys = AccessKeys(project)
        self._magic_link = magic_link
        self._enchanted_link = enchanted_link = EnchantedLink(project, delivery)
        self._flow = Flow(
            project,
            otp=otp,
            magic_link=magic_link,
            totp=totp,
            webauthn=webauthn,
            oauth=self.oauth,
        )
        self._methods: tuple[EmulatedMethod, ...] = (
            PublicKeys(project),
            Account(project),
            Tenants(project, keeps_step_up=select_keeps_step_up),
            otp,
            totp,
            magic_link,
            enchanted_link,
            webauthn,
            self.oauth,
            self.notp,
            Password(project, magic_link),
            self.access_keys,
            self._flow,
            FlowPages(project, ui),
        )

    def is_live(self, message: Message) -> bool:
        """Return whether the code or link of *message* would be accepted now."""
        if not message.token:
            return self.otp.is_live(message)
        links = (self._magic_link, self._enchanted_link)
        return any(method.is_live(message.token) for method in links)

    def open_link(self, token: str) -> Tokens | None:
        """Open a link that was sent, as `DescopeEmulator.open_link` says.

        Raises:
            Refusal: It is unknown, expired, or used.
        """
        if self._flow.open_link(token):
            return None
        if self._enchanted_link.is_live(token):
            self._enchanted_link.open(token)
            return None
        link = self._magic_link.open(token)
        reply = self._magic_link.finish(link)
        session, refresh = (str(reply[name]) for name in ("sessionJwt", "refreshJwt"))
        return Tokens(session, refresh, link.login.user.user_id, link.login.user.login_ids[0])

    def routes(self) -> list[Route]:
        """Return every endpoint, with the licence call of the management API."""
        tier = {"rateLimitTier": "tier1"}
        # Every SDK calls it as soon as it has a management key.
        licence = get(self._project, "/v1/mgmt/license", lambda _: dict(tier))
        return [licence, *(route for method in self._methods for route in method.routes())]

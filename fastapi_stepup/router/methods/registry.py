"""The step-up methods by name."""

from collections.abc import Iterable
from typing import Final

from fastapi_stepup.providers.descope.requests import Delivery
from fastapi_stepup.router.flow import StepUpFlow
from fastapi_stepup.router.methods.base import Method, StepUpMethod
from fastapi_stepup.router.methods.enchantedlink import EnchantedLink
from fastapi_stepup.router.methods.magiclink import MagicLink
from fastapi_stepup.router.methods.notp import NOTP
from fastapi_stepup.router.methods.oauth import OAuth
from fastapi_stepup.router.methods.otp import OTP
from fastapi_stepup.router.methods.passkey import Passkey
from fastapi_stepup.router.methods.sso import SSO
from fastapi_stepup.router.methods.totp import TOTP

# In the order of the documentation. OTP alone takes more than the flow: see `build_methods`.
STEP_UP_METHODS: Final[dict[str, type[StepUpMethod]]] = {
    method.name: method for method in (TOTP, MagicLink, EnchantedLink, Passkey, OAuth, SSO, NOTP)
}
NEED_REDIRECT_URI: Final = frozenset({"magiclink", "enchantedlink", "oauth", "sso"})


def build_methods(
    flow: StepUpFlow, names: Iterable[Method], deliveries: tuple[Delivery, ...]
) -> list[StepUpMethod]:
    """Return the methods called *names*, in that order.

    Args:
        flow: The steps that they share.
        names: Which methods.
        deliveries: How OTP may send its codes.
    """
    return [
        OTP(flow, deliveries) if name == "otp" else STEP_UP_METHODS[name](flow) for name in names
    ]

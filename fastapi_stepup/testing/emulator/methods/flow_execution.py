"""Execution: the state of one started flow, and the sentences that its user reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi_stepup.testing.emulator.errors import (
    CODE_EXPIRED,
    LINK_EXPIRED,
    RATE_LIMITED,
    TOO_MANY_ATTEMPTS,
    WRONG_CODE,
    Refusal,
)
from fastapi_stepup.testing.emulator.links import Link, with_query
from fastapi_stepup.testing.emulator.models import Call
from fastapi_stepup.testing.emulator.screens import LINK_SENT, LINK_SENT_AGAIN, is_method
from fastapi_stepup.testing.emulator.users import User

STEP_UP: Final = "step-up"
_RETURN: Final = "descope-login-flow"
_OF_A_RETURN: Final = (_RETURN, "t", "code", "err")
_TEXTS: Final = {
    WRONG_CODE: "The code is wrong.",
    TOO_MANY_ATTEMPTS: "Too many attempts. Ask for a new code.",
    CODE_EXPIRED: "The code has expired. Ask for a new one.",
    LINK_EXPIRED: "The link has expired or was used. Ask for a new one.",
}


SIGN_UP_OR_IN_METHODS: Final = (
    "otp-email",
    "magiclink-email",
    "passkey",
    "oauth-google",
    "oauth-github",
)


@dataclass
class Execution:
    """A started flow.

    Attributes:
        flow_id: The flow.
        id: The execution id.
        token: The refresh token of the user who steps up.
        page: The URL of the page with the component.
        home: The id of the first screen.
        methods: The methods that the user may choose.
        expires_at: When it expires, in seconds since the epoch.
        login_id: The login id of the user, once known.
        method: The chosen method.
        screen: The id of the current screen.
        step: The number of the current step.
        sent_to: The masked address of the last message.
        is_create: Whether the passkey is registered rather than used.
        links: The tokens of its magic links.
        opened: The opened magic link, for the page that polls.
    """

    flow_id: str
    token: str | None = field(repr=False)
    page: str = field(repr=False)
    home: str
    methods: tuple[str, ...]
    expires_at: float
    id: str = field(repr=False)
    login_id: str = field(default="", repr=False)
    method: str = ""
    screen: str = ""
    step: int = 0
    sent_to: Mapping[str, object] = field(default_factory=dict, repr=False)
    is_create: bool = False
    links: set[str] = field(default_factory=set, repr=False)
    opened: Link | None = field(default=None, repr=False)

    def call(self, call: Call, path: Mapping[str, str], **members: object) -> Call:
        """Return the call of a method's own endpoint for this flow."""
        options = {"loginOptions": {"stepup": True}} if self.flow_id == STEP_UP else {}
        body = {"loginId": self.login_id, **options, **members}
        return replace(call, path=path, body=body, token=self.token)

    @property
    def return_url(self) -> str:
        """The page's URL with the parameter that brings the user back to the current step."""
        parts = urlsplit(self.page)
        query = parse_qsl(parts.query, keep_blank_values=True)
        kept = [pair for pair in query if pair[0] not in _OF_A_RETURN]
        page = parts._replace(query=urlencode(kept)).geturl()
        return with_query(page, **{_RETURN: f"{self.id}_{self.step}"})


def methods_of(user: User) -> tuple[str, ...]:
    """Return the methods that a user can step up with, the usual ones first."""
    methods: list[str] = []
    if user.email:
        methods.append("otp-email")
    if user.phone:
        methods += ["otp-sms", "otp-voice", "otp-whatsapp"]
    if user.email or user.phone:
        methods.append("magiclink-email" if user.email else "magiclink-sms")
    if user.passkeys:
        methods.append("passkey")
    social = (f"oauth-{provider}" for provider, is_linked in user.providers.items() if is_linked)
    methods += filter(is_method, social)
    if user.authenticator:
        methods.append("totp")
    return tuple(methods)


def reported_on(execution: Execution) -> str:
    """Return the screen that reports a refusal: the current one, drawn anew where it polls."""
    again = {LINK_SENT: LINK_SENT_AGAIN, LINK_SENT_AGAIN: LINK_SENT}
    return again.get(execution.screen, execution.screen)


def text_of(refusal: Refusal) -> str:
    """Return the sentence for the user."""
    if refusal.error == RATE_LIMITED:
        return f"Too many messages. Try again in {refusal.retry_after} seconds."
    return _TEXTS.get(refusal.error) or refusal.message or refusal.error.description

"""Screens of the emulated flows, as HTML fragments for Descope's component.

A screen is written in two ways: in plain HTML, which needs no npm package, and with the elements of
`@descope/web-components-ui`, for Descope's own look. Both have the same ids and names.

Known of the real component: buttons are elements with `data-type="button"`, inputs have a `name`,
`{{path}}` is replaced in `descope-text`, errors go to `data-type="error-message"`, and an element
with `data-type="polling"` starts to poll. Guesses: every screen; a real project draws its own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

SIGN_UP_OR_IN: Final = "sign-up-or-in"
VERIFY_CODE: Final = "verify-code"
VERIFY_TOTP: Final = "verify-totp"
LINK_SENT: Final = "magic-link-sent"
LINK_SENT_AGAIN: Final = "magic-link-sent-again"
_CHOOSER: Final = "choose-method"
_PROVIDER = re.compile(r"oauth-[a-z0-9]+")
_METHODS: Final = {
    "otp-email": "Email me a code",
    "otp-sms": "Text me a code",
    "otp-voice": "Call me with a code",
    "otp-whatsapp": "Send me a code on WhatsApp",
    "magiclink-email": "Email me a magic link",
    "magiclink-sms": "Text me a magic link",
    "passkey": "Use a passkey",
    "totp": "Use an authenticator app",
}
_NAMES: Final = {"github": "GitHub", "gitlab": "GitLab", "linkedin": "LinkedIn"}


@dataclass(frozen=True, slots=True)
class Button:
    """A button that sends the screen.

    Attributes:
        id: Its id, which is the `interactionId` of the request.
        label: Its text.
        is_main: Whether Enter presses it and the fields must be valid.
    """

    id: str
    label: str
    is_main: bool = False


@dataclass(frozen=True, slots=True)
class Screen:
    """A screen of a flow.

    Attributes:
        title: The heading.
        text: A sentence below it, with `{{path}}` for values of the screen's state.
        field: The name of its input: `code`, `email`, or empty for none.
        buttons: Its buttons, in order.
        polls: Whether the component polls while it is shown.
    """

    title: str
    text: str
    field: str = ""
    buttons: tuple[Button, ...] = ()
    polls: bool = False


_SENT_TO: Final = "{{sentTo.maskedEmail}}{{sentTo.maskedPhone}}"
_RESEND: Final = Button("resend", "Send it again")
_BACK: Final = Button("back", "Back")
_SUBMIT: Final = Button("submit", "Continue", is_main=True)
_SCREENS: Final = {
    SIGN_UP_OR_IN: Screen(
        "Welcome",
        "Sign up or sign in.",
        "email",
        (
            _SUBMIT,
            Button("magiclink-email", "Email me a magic link"),
            Button("passkey", "Use a passkey"),
            Button("oauth-google", "Continue with Google"),
            Button("oauth-github", "Continue with GitHub"),
        ),
    ),
    VERIFY_CODE: Screen(
        "Enter the code", f"We sent it to {_SENT_TO}.", "code", (_SUBMIT, _RESEND, _BACK)
    ),
    VERIFY_TOTP: Screen(
        "Enter the code", "Your authenticator app shows it.", "code", (_SUBMIT, _BACK)
    ),
    LINK_SENT: Screen(
        "Open the link", f"We sent it to {_SENT_TO}.", buttons=(_RESEND, _BACK), polls=True
    ),
    LINK_SENT_AGAIN: Screen(
        "Open the link", f"We sent another to {_SENT_TO}.", buttons=(_RESEND, _BACK), polls=True
    ),
}


def is_method(name: str) -> bool:
    """Return whether *name* is the id of a method's button."""
    return name in _METHODS or _PROVIDER.fullmatch(name) is not None


def chooser_of(methods: Sequence[str]) -> str:
    """Return the id of the screen that has a button for each of *methods*."""
    return ".".join((_CHOOSER, *methods))


def screen_of(screen_id: str) -> Screen | None:
    """Return the screen with this id, or None."""
    name, *methods = screen_id.split(".")
    if name == _CHOOSER and methods and all(map(is_method, methods)):
        buttons = tuple(Button(method, _label(method)) for method in methods)
        return Screen("Confirm it is you", "Choose how.", buttons=buttons)
    return _SCREENS.get(screen_id)


def _label(method: str) -> str:
    if method in _METHODS:
        return _METHODS[method]
    provider = method.removeprefix("oauth-")
    return f"Continue with {_NAMES.get(provider, provider.capitalize())}"


def plain_html(screen: Screen) -> str:
    """Return *screen* in plain HTML."""
    lines = [
        "<descope-screen>",
        f"<h1>{escape(screen.title)}</h1>",
        f"<descope-text>{escape(screen.text)}</descope-text>",
    ]
    if screen.field == "code":
        lines.append(
            '<label>Code <input name="code" id="code" required pattern="[0-9]{6}" maxlength="6"'
            ' inputmode="numeric" autocomplete="one-time-code"></label>'
        )
    elif screen.field:
        lines.append(
            '<label>Email <input name="email" id="email" type="email" required'
            ' autocomplete="username"></label>'
        )
    if screen.polls:
        lines.append('<p data-type="polling" role="status">Waiting for the link to be opened …</p>')
    lines.append('<p data-type="error-message" class="hide" role="alert"></p>')
    lines += [
        f'<button type="button" data-type="button" id="{button.id}"'
        f"{_submits(button)}>{escape(button.label)}</button>"
        for button in screen.buttons
    ]
    return "\n".join([*lines, "</descope-screen>"])


def descope_html(screen: Screen) -> str:
    """Return *screen* with the elements of `@descope/web-components-ui`."""
    lines = [
        '<descope-container data-editor-type="container" direction="column" st-gap="16px"'
        ' st-align-items="safe center"'
        ' st-horizontal-padding="24px" st-vertical-padding="24px">',
        '<descope-text variant="h3" mode="primary" text-align="center">'
        f"{escape(screen.title)}</descope-text>",
        f'<descope-text variant="body1" mode="primary">{escape(screen.text)}</descope-text>',
    ]
    if screen.field == "code":
        lines.append(
            '<descope-passcode id="code" name="code" digits="6" required="true" full-width="true"'
            ' size="md" data-auto-submit="true"></descope-passcode>'
        )
    elif screen.field:
        lines.append(
            '<descope-email-field id="email" name="email" label="Email" required="true"'
            ' full-width="true" size="md" autocomplete="username"></descope-email-field>'
        )
    if screen.polls:
        lines.append('<descope-loader-linear data-type="polling"></descope-loader-linear>')
    lines.append(
        '<descope-text variant="body1" mode="error" data-type="error-message" class="hide">'
        "</descope-text>"
    )
    lines += [
        f'<descope-button data-type="{"biometrics" if button.id == "passkey" else "button"}"'
        f' id="{button.id}" full-width="true" size="md" mode="primary"'
        f' variant="{"contained" if button.is_main else "outline"}"{_submits(button)}>'
        f"{escape(button.label)}</descope-button>"
        for button in screen.buttons
    ]
    return "\n".join([*lines, "</descope-container>"])


def _submits(button: Button) -> str:
    # Enter presses the button with "auto-submit"; the others leave the fields unchecked.
    return ' auto-submit="true"' if button.is_main else ' formnovalidate="true"'

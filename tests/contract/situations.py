"""The situations of a client and what it is answered with; `test_responses` tries them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from fastapi_stepup import StepUpPolicy
from fastapi_stepup.testing import DescopeEmulator, SigningKey

ANN = "ann@example.com"
REALM = "P2abcdefghijklmnopqrstuvwxyz"
SENTENCES = {
    "unauthenticated": (
        "Authentication required",
        "Sign in and send the session token as a bearer token.",
    ),
    "invalid_request": (
        "Unreadable credentials",
        "Send exactly one session token, in one way.",
    ),
    "invalid_token": (
        "Invalid session token",
        "The session token is not valid or has expired. Sign in again.",
    ),
    "insufficient_user_authentication": (
        "Step-up authentication required",
        "This action needs a fresh proof that it is you. Complete a step-up and try again.",
    ),
    "impersonation_refused": (
        "Impersonation refused",
        "An impersonated session cannot do this. The account's owner has to.",
    ),
    "cross_site_request": (
        "Cross-site request refused",
        "A request that a cookie authenticates must come from this site's own pages: send "
        "Sec-Fetch-Site or Origin, or send the session token as a bearer token.",
    ),
    "keys_unavailable": (
        "Verification keys unavailable",
        "Sessions cannot be verified right now. Try again shortly.",
    ),
}

Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Row:
    """A situation of design section 5 and what it is answered with."""

    fields: Callable[[DescopeEmulator], Fields]
    status: int
    code: str
    policy: StepUpPolicy = field(default_factory=StepUpPolicy)
    challenge: str | None = None
    members: Mapping[str, Any] = field(default_factory=dict)

    @property
    def header(self) -> str | None:
        """The whole `WWW-Authenticate` field."""
        if self.challenge is None:
            return None
        parts = [f'Bearer realm="{REALM}"', *filter(None, [self.challenge])]
        return ", ".join(parts).replace("…", SENTENCES[self.code][1])

    @property
    def problem(self) -> dict[str, Any]:
        """The whole problem."""
        title, detail = SENTENCES[self.code]
        return {
            "type": f"urn:fastapi-stepup:problem:{self.code}",
            "title": title,
            "status": self.status,
            "detail": detail,
            "code": self.code,
            **self.members,
        }


def bearer(token: str) -> Fields:
    """Return the field that presents *token*."""
    return [("Authorization", f"Bearer {token}")]


def cookie(token: str) -> Fields:
    """Return the field that presents *token* in the session cookie."""
    return [("Cookie", f"DS={token}")]


INVALID_REQUEST = 'error="invalid_request", error_description="…"'
INVALID_TOKEN = 'error="invalid_token", error_description="…"'
INSUFFICIENT = 'error="insufficient_user_authentication", error_description="…"'
NOT_STEPPED_UP = {"requirement": "step_up", "reason": "missing"}
TOO_OLD = {"requirement": "step_up", "reason": "expired"}

SESSION_ROWS = [
    pytest.param(Row(lambda _: [], 401, "unauthenticated", challenge=""), id="no-credentials"),
    pytest.param(
        Row(lambda _: [("Authorization", "Basic YTpi")], 401, "unauthenticated", challenge=""),
        id="another-scheme",
    ),
    pytest.param(
        Row(
            lambda d: 2 * bearer(d.step_up(ANN).session_token),
            400,
            "invalid_request",
            challenge=INVALID_REQUEST,
        ),
        id="two-tokens",
    ),
    pytest.param(
        Row(
            lambda d: cookie("{0}; DS={0}x".format(d.step_up(ANN).session_token)),
            400,
            "invalid_request",
            challenge=INVALID_REQUEST,
        ),
        id="two-session-cookies",
    ),
    pytest.param(
        Row(
            lambda _: [("Authorization", "Bearer")],
            400,
            "invalid_request",
            challenge=INVALID_REQUEST,
        ),
        id="unreadable-authorization",
    ),
    pytest.param(
        Row(lambda _: bearer("x.y.z"), 401, "invalid_token", challenge=INVALID_TOKEN),
        id="malformed-token",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.token(su=True, key=SigningKey())),
            401,
            "invalid_token",
            challenge=INVALID_TOKEN,
        ),
        id="forged-token",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.step_up(ANN, expires_in=-10).session_token),
            401,
            "invalid_token",
            challenge=INVALID_TOKEN,
        ),
        id="expired-token",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.token(su=True, iss="P2anotherProject0000000000000")),
            401,
            "invalid_token",
            challenge=INVALID_TOKEN,
        ),
        id="foreign-token",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.step_up(ANN).refresh_token),
            401,
            "invalid_token",
            challenge=INVALID_TOKEN,
        ),
        id="refresh-token",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.token(su=True, act={"sub": "K2support"})),
            403,
            "impersonation_refused",
        ),
        id="impersonated-session",
    ),
    pytest.param(
        Row(
            lambda d: cookie(d.step_up(ANN).session_token),
            403,
            "cross_site_request",
        ),
        id="cookie-without-evidence",
    ),
    pytest.param(
        Row(
            lambda d: [
                *cookie(d.step_up(ANN).session_token),
                ("Origin", "https://evil.example"),
                ("Sec-Fetch-Site", "cross-site"),
            ],
            403,
            "cross_site_request",
        ),
        id="cookie-from-another-site",
    ),
]

STEP_UP_ROWS = [
    pytest.param(
        Row(
            lambda d: bearer(d.sign_in(ANN).session_token),
            401,
            "insufficient_user_authentication",
            challenge=INSUFFICIENT,
            members={"unmet": [NOT_STEPPED_UP]},
        ),
        id="session-without-step-up",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.token(su="true")),
            401,
            "insufficient_user_authentication",
            challenge=INSUFFICIENT,
            members={"unmet": [NOT_STEPPED_UP]},
        ),
        id="su-that-is-not-true",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.step_up(ANN, age=310).session_token),
            401,
            "insufficient_user_authentication",
            policy=StepUpPolicy(max_age="5m"),
            challenge=f'{INSUFFICIENT}, max_age="300"',
            members={"unmet": [TOO_OLD], "max_age": 300},
        ),
        id="step-up-too-old",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.step_up(ANN, amr=["email", "sms", "mfa"]).session_token),
            401,
            "insufficient_user_authentication",
            policy=StepUpPolicy(amr=["webauthn", "totp"]),
            challenge=INSUFFICIENT,
            members={
                "unmet": [{"requirement": "amr", "reason": "missing"}],
                "unmet_after_step_up": True,
                "amr": ["webauthn", "totp"],
            },
        ),
        id="wrong-factor",
    ),
    pytest.param(
        Row(
            lambda d: bearer(d.sign_in(ANN).session_token),
            401,
            "insufficient_user_authentication",
            policy=StepUpPolicy(max_age=60, amr="webauthn", acr=["phr", "phrh"]),
            challenge=f'{INSUFFICIENT}, acr_values="phr phrh", max_age="60"',
            members={
                "unmet": [
                    NOT_STEPPED_UP,
                    {"requirement": "amr", "reason": "missing"},
                    {"requirement": "acr", "reason": "missing"},
                ],
                "max_age": 60,
                "acr_values": ["phr", "phrh"],
                "amr": ["webauthn"],
            },
        ),
        id="everything-unmet",
    ),
]

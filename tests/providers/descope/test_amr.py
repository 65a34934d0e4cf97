"""Descope's `amr`: which step-up proves what, and whose session is a machine's."""

from typing import get_args

import pytest

from fastapi_stepup import Claims, StepUpGuard, stepup_router
from fastapi_stepup.providers.descope.amr import PROVED_BY, can_prove, is_machine
from fastapi_stepup.router.methods.base import Method

KEY = "K2abcdefghijklmnopqrstuvwxyz"


def test_method_proves(subtests: pytest.Subtests) -> None:
    """Its own value; and `mfa` where it is another factor than the first."""
    rows: list[tuple[str, set[str], tuple[str, ...], bool]] = [
        ("email", {"email"}, (), True),
        ("email", {"sms"}, (), False),
        ("email", {"sms", "email"}, ("sms",), True),
        ("voice", {"sms"}, (), False),
        ("totp", {"otp"}, (), True),
        ("passkey", {"otp"}, (), False),
        ("unheard-of", {"email"}, (), False),
        *(("magiclink", {sent_by}, (), True) for sent_by in ("email", "sms", "whatsapp")),
        ("email", {"mfa"}, (), False),
        ("email", {"mfa"}, ("mfa",), False),
        ("email", {"mfa"}, ("email",), False),
        ("email", {"mfa"}, ("email", "mfa"), False),
        ("email", {"mfa"}, ("sms",), True),
        ("email", {"mfa"}, ("sms", "email"), False),
        ("magiclink", {"mfa"}, ("email",), True),
        ("unheard-of", {"mfa"}, ("email",), False),
    ]
    for method, accepted, known, proves in rows:
        with subtests.test(f"{method} for {sorted(accepted)} after {known}"):
            assert can_prove(method, accepted, known) is proves


def test_every_offer_of_the_router_is_known() -> None:
    """A method that proves nothing would never be offered where `amr` is asked for."""
    guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")
    pages = ("https://shop.example/step-up",)
    stepup_router(guard, methods=get_args(Method), redirect_uris=pages, limits=None)

    (endpoints,) = guard.refusals.endpoints

    assert set(endpoints.methods) == set(PROVED_BY)


def test_access_keys_are_machines(subtests: pytest.Subtests) -> None:
    """By Descope's id, wherever the project keeps it."""
    rows: list[tuple[dict[str, object], bool]] = [
        ({"sub": KEY}, True),
        ({"sub": KEY[:20]}, False),
        ({"sub": KEY + "-"}, False),
        ({"sub": "U" + KEY}, False),
        ({"sub": "bot", "dsub": KEY}, True),
        ({"sub": KEY, "dsub": "U2x"}, False),
        ({"sub": KEY, "dsub": ""}, True),
        ({"sub": KEY, "dsub": [KEY]}, False),
    ]
    for claims, machine in rows:
        with subtests.test(repr(claims)):
            assert is_machine(Claims(claims)) is machine

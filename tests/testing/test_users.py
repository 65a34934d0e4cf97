"""Login ids that are addresses, and masked addresses."""

import pytest

from fastapi_stepup.testing import DescopeEmulator
from fastapi_stepup.testing.emulator.users import is_email, is_phone, masked_email, masked_phone


def test_addresses_and_numbers_are_distinguished(subtests: pytest.Subtests) -> None:
    """A login id is an address, a number, or neither."""
    rows: list[tuple[str, bool, bool]] = [
        ("ann@example.com", True, False),
        ("ann", False, False),
        ("a@b@c", False, False),
        ("+15550100012", False, True),
        ("2125551212", False, True),
        ("12345", False, False),
    ]
    for text, email, phone in rows:
        with subtests.test(text=text):
            assert (email, phone) == (is_email(text), is_phone(text))


@pytest.mark.parametrize(
    ("email", "masked"), [("ann@example.com", "a**@example.com"), ("a@b", "a*@b")]
)
def test_email_is_masked(email: str, masked: str) -> None:
    """The first letter and the domain stay, and something is always hidden."""
    assert masked == masked_email(email)


@pytest.mark.parametrize(("phone", "masked"), [("+15550100012", "+1********12"), ("1234", "12*34")])
def test_phone_is_masked(phone: str, masked: str) -> None:
    """Two characters at either end stay, and something is always hidden."""
    assert masked == masked_phone(phone)


def test_user_is_found_by_login_ids_that_changed(emulator: DescopeEmulator) -> None:
    """New login ids count at once, old ones no longer; another user's stays theirs."""
    ann, bob = emulator.user("ann@example.com"), emulator.create_user("bob")
    ann.login_ids = ("ann", "bob")
    assert emulator.user("ann") is ann
    assert emulator.user("bob") is bob
    with pytest.raises(LookupError):
        emulator.user("ann@example.com")
    bob.login_ids = ("robert",)
    ann.login_ids = ("ann", "bob")
    assert emulator.user("bob") is ann
    assert emulator.user("robert") is bob


def test_user_keeps_no_secret_in_its_text(emulator: DescopeEmulator) -> None:
    """Neither addresses nor the index of the project are in a `repr`."""
    text = repr(emulator.user("ann@example.com"))
    assert "ann" not in text
    assert "on_rename" not in text

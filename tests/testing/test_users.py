"""Login ids that are addresses, and masked addresses."""

import pytest

from fastapi_stepup.testing.emulator.users import is_email, is_phone, masked_email, masked_phone


@pytest.mark.parametrize(
    ("text", "email", "phone"),
    [
        ("ann@example.com", True, False),
        ("ann", False, False),
        ("a@b@c", False, False),
        ("+15550100012", False, True),
        ("2125551212", False, True),
        ("12345", False, False),
    ],
)
def test_addresses_and_numbers_are_distinguished(text: str, *, email: bool, phone: bool) -> None:
    """A login id is an address, a number, or neither."""
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

"""The users of the emulated project and Descope's JSON form of a user."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi_stepup.testing.authenticators.totp import TOTPAuthenticator
from fastapi_stepup.testing.authenticators.webauthn import Passkey
from fastapi_stepup.testing.emulator.errors import USER_EXISTS, Refusal
from fastapi_stepup.testing.keys import random_id

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_PHONE = re.compile(r"\+?\d[\d ()-]{5,}")


def is_email(text: str) -> bool:
    """Return whether *text* looks like an e-mail address."""
    return _EMAIL.fullmatch(text) is not None


def is_phone(text: str) -> bool:
    """Return whether *text* looks like a phone number."""
    return _PHONE.fullmatch(text) is not None


def masked_email(email: str) -> str:
    """Return `ann@example.com` as `a**@example.com`."""
    name, _, domain = email.partition("@")
    return f"{name[:1]}{'*' * max(len(name) - 1, 1)}@{domain}"


def masked_phone(phone: str) -> str:
    """Return `+15550100012` as `+1********12`."""
    return f"{phone[:2]}{'*' * max(len(phone) - 4, 1)}{phone[-2:]}"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of address that is not verified yet.

    Attributes:
        kind: `email` or `phone`.
        address: The new one.
        becomes_login_id: Whether the user may sign in with it, too.
    """

    kind: str
    address: str
    becomes_login_id: bool


@dataclass(eq=False)
class User:
    """A user of the emulated project; its fields may be changed at any time.

    Attributes:
        user_id: `U` and 27 characters: the `sub` of the user's tokens.
        login_ids: The login ids; the first is the one that the user was created with.
        email: The address of messages by e-mail.
        phone: The number of text messages, calls and WhatsApp.
        name: The display name.
        verified_email: Whether a code or link sent to `email` was verified.
        verified_phone: Whether a code or link sent to `phone` was verified.
        roles: The `roles` claim, left out when empty.
        permissions: The `permissions` claim, left out when empty.
        tenants: The `tenants` claim, left out when empty: tenant id to
            `{"roles": [], "permissions": []}`.
        seen: Whether the user signed in before (Descope's `firstSeen` is its opposite).
        created_at: When the user was created, in seconds since the epoch.
        authenticator: The authenticator app, if one is enrolled.
        passkeys: The passkeys by credential id.
        providers: The social providers that the user signed in with, each with `True`.
        sso: Whether the user signed in by SSO or SAML.
        password: The password, if the user has one.
        on_rename: Called before `login_ids` change; set by the project that has the user.
    """

    user_id: str
    login_ids: tuple[str, ...] = field(repr=False)
    email: str | None = field(default=None, repr=False)
    phone: str | None = field(default=None, repr=False)
    name: str = field(default="", repr=False)
    verified_email: bool = False
    verified_phone: bool = False
    roles: Sequence[str] = ()
    permissions: Sequence[str] = ()
    tenants: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    seen: bool = False
    created_at: int = 0
    authenticator: TOTPAuthenticator | None = field(default=None, repr=False)
    passkeys: dict[str, Passkey] = field(default_factory=dict, repr=False)
    providers: dict[str, bool] = field(default_factory=dict)
    sso: bool = False
    password: str | None = field(default=None, repr=False)
    on_rename: "Callable[[User, tuple[str, ...]], None] | None" = field(
        default=None, init=False, repr=False
    )

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; new login ids are found from now on."""
        if name == "login_ids" and self.__dict__.get("on_rename"):
            self.__dict__["on_rename"](self, tuple(value))
        object.__setattr__(self, name, value)

    @property
    def claims(self) -> dict[str, object]:
        """The claims of every token of the user, beyond `sub`."""
        claims: dict[str, object] = {
            "permissions": list(self.permissions),
            "roles": list(self.roles),
            "tenants": dict(self.tenants),
        }
        return {name: value for name, value in claims.items() if value}

    def as_json(self) -> dict[str, object]:
        """Return the user object of `me` and of every JWT response."""
        return {
            "loginIds": list(self.login_ids),
            "userId": self.user_id,
            "name": self.name,
            "givenName": "",
            "middleName": "",
            "familyName": "",
            "email": self.email or "",
            "phone": self.phone or "",
            "verifiedEmail": self.verified_email,
            "verifiedPhone": self.verified_phone,
            "roleNames": list(self.roles),
            "permissions": list(self.permissions),
            "userTenants": [
                {
                    "tenantId": tenant_id,
                    "tenantName": tenant_id,
                    "roleNames": tenant.get("roles", []),
                    "permissions": tenant.get("permissions", []),
                }
                for tenant_id, tenant in self.tenants.items()
            ],
            "status": "enabled",
            "externalIds": list(self.login_ids),
            "picture": "",
            "test": False,
            "customAttributes": {},
            "createdTime": self.created_at,
            "TOTP": self.authenticator is not None,
            "SAML": self.sso,
            "SCIM": False,
            "OIDC": False,
            "OAuth": dict(self.providers),
            "webauthn": bool(self.passkeys),
            "password": self.password is not None,
            "push": False,
            "ssoAppIds": [],
            "editable": True,
            "consentExpiration": 0,
        }


def new_user(
    login_id: str,
    *,
    created_at: int,
    login_ids: Sequence[str] = (),
    email: str | None = None,
    phone: str | None = None,
    name: str = "",
    roles: Sequence[str] = (),
    permissions: Sequence[str] = (),
    tenants: Mapping[str, Mapping[str, object]] | None = None,
) -> User:
    """Return a user with a fresh id.

    Addresses not given are taken from the login ids that look like one.

    Raises:
        ValueError: A login id is empty.
    """
    every_id = tuple(dict.fromkeys((login_id, *login_ids)))
    if not all(every_id):
        raise ValueError("A login id must not be empty.")
    return User(
        random_id("U"),
        every_id,
        email=email or next(filter(is_email, every_id), None),
        phone=phone or next(filter(is_phone, every_id), None),
        name=name,
        roles=roles,
        permissions=permissions,
        tenants=tenants or {},
        created_at=created_at,
    )


class Users:
    """The users by any of their login ids, compared exactly."""

    def __init__(self) -> None:
        self._users: list[User] = []
        self._by_login_id: dict[str, User] = {}

    def find(self, login_id: str) -> User | None:
        """Return the user with the login id *login_id*, or None."""
        return self._by_login_id.get(login_id)

    def everyone(self) -> list[User]:
        """Return all users, oldest first."""
        return list(self._users)

    def add(self, user: User) -> User:
        """Add *user* and return it.

        Raises:
            ValueError: One of the login ids belongs to a user already.
        """
        if any(map(self.find, user.login_ids)):
            raise ValueError("A user with this login id exists already.")
        self._users.append(user)
        self._by_login_id.update(dict.fromkeys(user.login_ids, user))
        user.on_rename = self._rename
        return user

    def _rename(self, user: User, login_ids: tuple[str, ...]) -> None:
        for login_id in user.login_ids:
            if self._by_login_id.get(login_id) is user:
                del self._by_login_id[login_id]
        for login_id in login_ids:
            self._by_login_id.setdefault(login_id, user)

    def with_passkey(self, credential_id: str) -> User | None:
        """Return the user with the passkey *credential_id*, or None."""
        return next((user for user in self._users if credential_id in user.passkeys), None)

    def change(self, user: User, change: Change) -> None:
        """Give *user* the address of *change*.

        Raises:
            Refusal: It was to become a login id and is another user's.
        """
        if change.becomes_login_id:
            if self.find(change.address) not in (None, user):
                raise Refusal(USER_EXISTS)
            user.login_ids = tuple(dict.fromkeys((*user.login_ids, change.address)))
        setattr(user, change.kind, change.address)

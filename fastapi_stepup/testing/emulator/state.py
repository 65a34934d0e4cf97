"""Users, keys and sessions of a project as JSON values, to keep them over a restart."""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from fastapi_stepup.testing.authenticators.totp import TOTPAuthenticator
from fastapi_stepup.testing.authenticators.webauthn import Passkey
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.sessions import Session
from fastapi_stepup.testing.emulator.users import User
from fastapi_stepup.testing.keys import SigningKey

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_OF_A_USER: Final = ("authenticator", "passkeys", "on_rename")
_OF_A_SESSION: Final = ("user", "key")


def exported(project: Project) -> dict[str, Any]:
    """Return users, keys and valid sessions of *project*. Messages and started sign-ins are not."""
    sessions = project.sessions
    valid = [session for session in sessions.every() if sessions.state_of(session) == "active"]
    return {
        "project_id": project.project_id,
        "keys": [{"kid": key.kid, "private": key.private_pem} for key in project.keys.every()],
        "users": [_user(user) for user in project.users.everyone()],
        "sessions": [_session(session) for session in valid],
    }


def imported(project: Project, state: Mapping[str, Any]) -> None:
    """Put users, keys and sessions of *state* into an empty project.

    Raises:
        ValueError: *state* is not of the form of `exported`, or another project's.
    """
    if not isinstance(state, Mapping) or state.get("project_id") != project.project_id:
        raise ValueError("The state is not one of this project.")
    try:
        keys = [SigningKey(kid=key["kid"], private_pem=key["private"]) for key in state["keys"]]
        project.keys.replace(keys)
        users = {user["user_id"]: _to_user(user) for user in state["users"]}
        for user in users.values():
            project.users.add(user)
        for session in state["sessions"]:
            rest = {**session, "amr": tuple(session["amr"])}
            user, key = users[rest.pop("user_id")], project.keys.find(rest.pop("kid"))
            project.sessions.restore(Session(user, key=key, **rest))
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"The state cannot be read: {error!r}.") from None


def _members(value: "DataclassInstance", left_out: tuple[str, ...]) -> dict[str, Any]:
    names = [field.name for field in fields(value) if field.name not in left_out]
    return {name: getattr(value, name) for name in names}


def _user(user: User) -> dict[str, Any]:
    app = user.authenticator
    return {
        **_members(user, _OF_A_USER),
        "authenticator": {"secret": app.secret, "used": app.used} if app else None,
        "passkeys": [
            {**_members(passkey, ("public_key",)), "public_key": _pem(passkey.public_key)}
            for passkey in user.passkeys.values()
        ],
    }


def _to_user(members: Mapping[str, Any]) -> User:
    app = members["authenticator"]
    passkeys = [
        Passkey(**{**passkey, "public_key": _public_key(passkey["public_key"])})
        for passkey in members["passkeys"]
    ]
    changed = {
        "login_ids": tuple(members["login_ids"]),
        "authenticator": TOTPAuthenticator(**app) if app else None,
        "passkeys": {passkey.credential_id: passkey for passkey in passkeys},
    }
    return User(**{**members, **changed})


def _session(session: Session) -> dict[str, Any]:
    return {
        **_members(session, _OF_A_SESSION),
        "user_id": session.user.user_id,
        "kid": session.key.kid,
    }


def _pem(key: EllipticCurvePublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _public_key(pem: str) -> EllipticCurvePublicKey:
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("A passkey's key is on an elliptic curve.")  # noqa: TRY004 - a wrong value
    return key

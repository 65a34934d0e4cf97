"""Passkeys (`/v1/auth/webauthn/`): two calls each, around what the browser does.

Known of the real service:
- `start` answers with `options`, a JSON text with the member `publicKey` for
  `navigator.credentials`; binary members are in base64url.
- `finish` takes the browser's answer as a JSON text.
- Sign-up-or-in answers with `create`: whether the browser must create a credential.
- An update that began with `mfa` answers with a session.

Guesses:
- The relying party is the host of the origin (a project setting of Descope's).
- The options beyond the challenge; only ES256 is offered.
- All refusals are 400 `E011004`.
- Sign-up-or-in gives no passkey to an existing user.

`testing.authenticators.webauthn` verifies the answers. `passkeyOptions` are accepted and ignored.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.routing import Route

from fastapi_stepup.testing.authenticators.webauthn import ES256, Ceremony, base64url
from fastapi_stepup.testing.emulator.errors import INVALID_ARGUMENT, USER_EXISTS, Refusal
from fastapi_stepup.testing.emulator.methods.signup import new_user_of
from fastapi_stepup.testing.emulator.models import Call, Login, Purpose
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import post
from fastapi_stepup.testing.emulator.users import User

AMR: Final = "webauthn"
_TIMEOUT: Final = 60_000


@dataclass(frozen=True, slots=True)
class _Transaction:
    kind: str
    ceremony: Ceremony
    expires_at: float
    user: User | None
    purpose: Purpose


class WebAuthn:
    """Sign-up, sign-in and update by passkey.

    Args:
        project: The emulated project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._transactions: dict[str, _Transaction] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        handlers = {
            "signup/start": self._sign_up_start,
            "signup/finish": self.finish_sign_up,
            "signin/start": self.start_sign_in,
            "signin/finish": self.finish_sign_in,
            "signup-in/start": self.start_sign_up_or_in,
            "update/start": self._update_start,
            "update/finish": self._update_finish,
        }
        return [
            post(self._project, f"/v1/auth/webauthn/{action}", handler)
            for action, handler in handlers.items()
        ]

    def _sign_up_start(self, call: Call) -> dict[str, object]:
        user = new_user_of(self._project, call)
        return self._create(call, "signup", self._project.login(call, user))

    def finish_sign_up(self, call: Call) -> Mapping[str, object]:
        """Register the passkey of a new user and return the JWT response."""
        transaction, answer = self._taken(call, "signup")
        assert transaction.user  # noqa: S101 - narrows: a sign-up has one
        if any(map(self._project.users.find, transaction.user.login_ids)):
            raise Refusal(USER_EXISTS)
        self._register(transaction, answer)
        self._project.users.add(transaction.user)
        return self._project.finish(Login(transaction.user, transaction.purpose), AMR)

    def start_sign_in(self, call: Call) -> dict[str, object]:
        """Return the options for a passkey of the user, or of any."""
        project = self._project
        if call.body.get("loginId"):
            login = project.login(call, project.user(call.text("loginId")))
            return self._get(call, login.user, login.purpose)
        # Without a login id the passkey names the user; in a step-up the refresh token does.
        purpose = project.purpose(call, call.members("loginOptions"))
        return self._get(call, purpose.session.user if purpose.session else None, purpose)

    def finish_sign_in(self, call: Call) -> Mapping[str, object]:
        """Verify the answer of a passkey and return the JWT response."""
        transaction, answer = self._taken(call, "signin")
        credential_id = str(answer.get("id"))
        user = transaction.user or self._project.users.with_passkey(credential_id)
        passkey = user.passkeys.get(credential_id) if user else None
        if user is None or passkey is None:
            raise Refusal(INVALID_ARGUMENT, "Unknown passkey")
        try:
            transaction.ceremony.verify(answer, passkey)
        except ValueError as error:
            raise Refusal(INVALID_ARGUMENT, f"Passkey refused: {error}") from None
        return self._project.finish(Login(user, transaction.purpose), AMR)

    def start_sign_up_or_in(self, call: Call) -> dict[str, object]:
        """Return the options for a new user or an existing one."""
        if self._project.users.find(call.text("loginId")):
            return self.start_sign_in(call)
        return self._sign_up_start(call)

    def _update_start(self, call: Call) -> dict[str, object]:
        user = self._project.caller(call)
        options = {"mfa": call.body.get("mfa")}
        return self._create(call, "update", self._project.login(call, user, options))

    def _update_finish(self, call: Call) -> Mapping[str, object]:
        transaction, answer = self._taken(call, "update")
        user = self._register(transaction, answer)
        if not transaction.purpose.session:
            return {}
        return {"jwt": self._project.finish(Login(user, transaction.purpose), AMR)}

    def _create(self, call: Call, kind: str, login: Login) -> dict[str, object]:
        user = login.user
        identifier, ceremony = self._begin(call, kind, user, login.purpose)
        name = user.login_ids[0]
        options = {
            "challenge": ceremony.challenge,
            "rp": {"id": ceremony.rp_id, "name": self._project.project_id},
            "user": {
                "id": base64url(user.user_id.encode()),
                "name": name,
                "displayName": user.name or name,
            },
            "pubKeyCredParams": [{"type": "public-key", "alg": ES256}],
            "timeout": _TIMEOUT,
            "excludeCredentials": _descriptors(user),
            "authenticatorSelection": {
                "residentKey": "preferred",
                "userVerification": "preferred",
            },
            "attestation": "none",
        }
        return _started(identifier, options, create=True)

    def _get(self, call: Call, user: User | None, purpose: Purpose) -> dict[str, object]:
        if user and not user.passkeys:
            raise Refusal(INVALID_ARGUMENT, "The user has no passkey")
        identifier, ceremony = self._begin(call, "signin", user, purpose)
        options = {
            "challenge": ceremony.challenge,
            "rpId": ceremony.rp_id,
            "timeout": _TIMEOUT,
            "allowCredentials": _descriptors(user) if user else [],
            "userVerification": "preferred",
        }
        return _started(identifier, options, create=False)

    def _begin(
        self, call: Call, kind: str, user: User | None, purpose: Purpose
    ) -> tuple[str, Ceremony]:
        origin = call.text("origin")
        rp_id = urlsplit(origin).hostname
        if not rp_id:
            raise Refusal(INVALID_ARGUMENT, "origin must be a URL with a host")
        ceremony = Ceremony(base64url(secrets.token_bytes(32)), origin, rp_id)
        expires_at = self._project.clock() + self._project.limits.code_lifetime
        identifier = secrets.token_hex(16)
        self._transactions[identifier] = _Transaction(kind, ceremony, expires_at, user, purpose)
        return identifier, ceremony

    def _taken(self, call: Call, kind: str) -> tuple[_Transaction, Mapping[str, Any]]:
        transaction = self._transactions.pop(call.text("transactionId"), None)
        if transaction is None or transaction.kind != kind:
            raise Refusal(INVALID_ARGUMENT, "No such transaction")
        if transaction.expires_at <= self._project.clock():
            raise Refusal(INVALID_ARGUMENT, "The transaction has expired")
        try:
            answer = json.loads(call.text("response"))
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Refusal(INVALID_ARGUMENT, "response must be a JSON object in a string")
        return transaction, answer

    def _register(self, transaction: _Transaction, answer: Mapping[str, Any]) -> User:
        assert transaction.user  # noqa: S101 - narrows: sign-up and update have one
        try:
            passkey = transaction.ceremony.registered(answer)
        except ValueError as error:
            raise Refusal(INVALID_ARGUMENT, f"Passkey refused: {error}") from None
        if self._project.users.with_passkey(passkey.credential_id):
            raise Refusal(INVALID_ARGUMENT, "The passkey is registered already")
        transaction.user.passkeys[passkey.credential_id] = passkey
        return transaction.user


def _descriptors(user: User) -> list[dict[str, str]]:
    return [{"type": "public-key", "id": credential_id} for credential_id in user.passkeys]


def _started(identifier: str, options: object, *, create: bool) -> dict[str, object]:
    text = json.dumps({"publicKey": options})
    return {"transactionId": identifier, "options": text, "create": create}

"""PythonAPI: the Python calls that control an emulated project.

Longer than most modules, because each call of a test documents its arguments and errors.
"""

import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi_stepup.testing.authenticators.passkey import SoftwarePasskey
from fastapi_stepup.testing.authenticators.totp import TOTPAuthenticator
from fastapi_stepup.testing.emulator.cookies import put_cookies
from fastapi_stepup.testing.emulator.errors import Refusal
from fastapi_stepup.testing.emulator.methods.access_keys import AccessKey
from fastapi_stepup.testing.emulator.methods.registry import EmulatedMethods
from fastapi_stepup.testing.emulator.models import Message, ReceivedRequest
from fastapi_stepup.testing.emulator.project import Project, Settings
from fastapi_stepup.testing.emulator.request_log import RequestLog
from fastapi_stepup.testing.emulator.sessions import Session, Tokens
from fastapi_stepup.testing.emulator.state import exported, imported
from fastapi_stepup.testing.emulator.users import User, new_user
from fastapi_stepup.testing.keys import HostileKey, KeyRing, SigningKey, random_id, replaced

_emulators: "Final[weakref.WeakSet[PythonAPI]]" = weakref.WeakSet()


class PythonAPI:
    """The calls of `DescopeEmulator` that need no HTTP request.

    Args:
        settings: The project's settings.

    Attributes:
        project_id: The project id.
        issuer: The `iss` of every token.
    """

    _project: Project
    _methods: EmulatedMethods

    def __init__(self, settings: Settings) -> None:
        self.project_id: str = settings.project_id
        self.issuer: str = settings.issuer
        self._settings = settings
        self._clock = settings.clock
        self._keys = KeyRing()
        self._unknown_user_id = random_id("U")
        self._request_log = RequestLog()
        self._passkeys: dict[str, SoftwarePasskey] = {}
        self._build()
        _emulators.add(self)

    def _build(self) -> None:
        """Make an empty project and its sign-in methods."""
        self._project = Project(self._settings, self._keys)
        self._methods = EmulatedMethods(
            self._project,
            select_keeps_step_up=self._settings.select_keeps_step_up,
            ui=self._settings.ui,
        )

    def _renew_locks(self) -> None:
        """Replace locks that a thread of the parent process may hold."""
        self._project.lock = threading.RLock()
        self._request_log.renew_lock()

    def reset(self) -> None:
        """Remove users, sessions, messages, passkeys, requests and failures. The keys stay."""
        with self._project.lock:
            self._request_log.clear()
            self._passkeys.clear()
            self._build()

    def create_user(
        self,
        login_id: str,
        *,
        email: str | None = None,
        phone: str | None = None,
        login_ids: Sequence[str] = (),
        name: str = "",
        roles: Sequence[str] = (),
        permissions: Sequence[str] = (),
        tenants: Mapping[str, Mapping[str, object]] | None = None,
    ) -> User:
        """Add a user and return it; its fields may be changed later.

        Args:
            login_id: The first login id.
            email: The address of messages by e-mail; by default the first login id that looks like
                an address.
            phone: The number of other messages; by default the first login id that looks like a
                number.
            login_ids: Further login ids.
            name: The display name.
            roles: The `roles` claim.
            permissions: The `permissions` claim.
            tenants: The `tenants` claim: tenant id to `{"roles": [...], "permissions": [...]}`.

        Raises:
            ValueError: A login id is empty or belongs to a user already.
        """
        user = new_user(
            login_id,
            created_at=int(self._clock()),
            login_ids=login_ids,
            email=email,
            phone=phone,
            name=name,
            roles=roles,
            permissions=permissions,
            tenants=tenants,
        )
        with self._project.lock:
            return self._project.users.add(user)

    def user(self, login_id: str) -> User:
        """Return the user with the login id *login_id*.

        Raises:
            LookupError: There is none.
        """
        with self._project.lock:
            user = self._project.users.find(login_id)
        if user is None:
            raise LookupError("The emulator has no user with this login id.")
        return user

    @property
    def users(self) -> list[User]:
        """The users, oldest first."""
        with self._project.lock:
            return self._project.users.everyone()

    @property
    def sessions(self) -> list[Session]:
        """Every session since the start or the last reset, oldest first."""
        with self._project.lock:
            return self._project.sessions.every()

    def state_of(self, session: Session) -> str:
        """Return `active`, `expired`, `logged out` or `revoked`."""
        with self._project.lock:
            return self._project.sessions.state_of(session)

    def sign_in(
        self,
        login_id: str,
        *,
        amr: Sequence[str] = ("email",),
        age: float = 0,
        expires_in: float | None = None,
        client: Any = None,
    ) -> Tokens:
        """Sign a user in, with no message sent; create the user when there is none.

        Args:
            login_id: The user's login id; an unknown user is created as by `create_user`.
            amr: The `amr` claim; a single text is a claim of one.
            age: Seconds since the sign-in: moves `iat` back. `exp` stays a whole lifetime from now,
                so an old session has not expired.
            expires_in: Seconds until the session JWT expires, in place of the whole lifetime. Zero
                or less gives an expired token.
            client: A `TestClient`, a client of `httpx` or `httpx2`, or a `requests.Session`. Its
                later requests carry the session cookies, as those of a page of the app do.

        Raises:
            TypeError: *client* has no cookie jar.
        """
        return self._signed_in(login_id, amr, age, expires_in, client, stepped_up=False)

    def step_up(
        self,
        login_id: str,
        *,
        amr: Sequence[str] = ("email", "mfa"),
        age: float = 0,
        expires_in: float | None = None,
        client: Any = None,
    ) -> Tokens:
        """Sign a user in and step the session up: as `sign_in`, and the session JWT has `su: true`.

        With `age=3600` the step-up is an hour old and the token has not expired: for tests of a
        policy's `max_age`.
        """
        return self._signed_in(login_id, amr, age, expires_in, client, stepped_up=True)

    def _signed_in(
        self,
        login_id: str,
        amr: Sequence[str],
        age: float,
        expires_in: float | None,
        client: Any,
        *,
        stepped_up: bool,
    ) -> Tokens:
        with self._project.lock:
            user = self._project.users.find(login_id) or self.create_user(login_id)
            user.seen = True
            methods = (amr,) if isinstance(amr, str) else tuple(amr)
            tokens = self._project.sessions.begin(
                user, methods, stepped_up=stepped_up, age=age, expires_in=expires_in
            )
        if client is not None:
            put_cookies(client, tokens)
        return tokens

    def totp_secret(self, login_id: str) -> str:
        """Return the secret of a user's authenticator app, in base 32; enrol one if there is none.

        Raises:
            LookupError: There is no such user.
        """
        return self._authenticator(login_id).secret

    def totp_code(self, login_id: str) -> str:
        """Return the code that a user's authenticator app shows: the first one not used yet.

        A code works once. A second call within 30 seconds of a sign-in returns the next period's
        code, which is accepted already. An app is enrolled if there is none.

        Raises:
            LookupError: There is no such user.
        """
        with self._project.lock:
            return self._authenticator(login_id).code(self._clock())

    def _authenticator(self, login_id: str) -> TOTPAuthenticator:
        with self._project.lock:
            user = self.user(login_id)
            user.authenticator = user.authenticator or TOTPAuthenticator()
            return user.authenticator

    def open_link(self, token: str) -> Tokens | None:
        """Open a link that was sent, as its user does, and return the session that it gives.

        - A magic link gives the session to the page that it leads to, here to the caller.
        - An enchanted link gives none: the client that waits collects it.
        - A magic link of a flow gives none: the flow goes on where the user began it.

        Args:
            token: The `token` of the message.

        Raises:
            LookupError: The link is unknown, expired, or used.
        """
        try:
            with self._project.lock:
                return self._methods.open_link(token)
        except Refusal:
            raise LookupError("The link is unknown, expired, or used.") from None

    def social_login(self, url: str, login_id: str, *, deny: bool = False) -> str:
        """Sign in at the provider of a social login, SSO or SAML; return the redirect URL.

        Completes the page at *url*, for tests without a browser.

        Args:
            url: The URL that the start of the sign-in answered.
            login_id: The login id of the account; an unknown one becomes a new user.
            deny: Decline instead.

        Returns:
            The redirect URL with `code`, or with `err` after declining.

        Raises:
            LookupError: No sign-in is pending at this URL: it is another one, or was used.
        """
        with self._project.lock:
            return self._methods.oauth.answer(url, login_id, deny=deny)

    def send_whatsapp(self, url: str, *, phone: str | None = None) -> None:
        """Send the WhatsApp message of a NOTP sign-in, as the page at *url* does.

        Args:
            url: The `redirectUrl` that the start of the sign-in answered.
            phone: The number it comes from; by default that of the user who signs in.

        Raises:
            LookupError: No message is expected at this URL: it is another one, or was used.
            ValueError: The number belongs to another user, or there is none.
        """
        try:
            with self._project.lock:
                self._methods.notp.answer(url, phone)
        except Refusal as refusal:
            raise ValueError(refusal.message or refusal.error.description) from None

    def passkey(self, origin: str) -> SoftwarePasskey:
        """Return the emulator's own software authenticator for *origin*; it keeps its keys.

        Args:
            origin: The origin of the page that asks, such as `https://shop.example`.
        """
        with self._project.lock:
            return self._passkeys.setdefault(origin, SoftwarePasskey(origin))

    def create_access_key(
        self, *, roles: Sequence[str] = (), permissions: Sequence[str] = ()
    ) -> AccessKey:
        """Add an access key and return it; its `secret` is exchanged for a session.

        Args:
            roles: The `roles` claim of its sessions.
            permissions: The `permissions` claim.
        """
        with self._project.lock:
            return self._methods.access_keys.create(roles, permissions)

    def token(
        self,
        *,
        header: Mapping[str, object] | None = None,
        key: HostileKey | None = None,
        **claims: object,
    ) -> str:
        """Return a JWT, by default that of a good session without step-up, with parts replaced.

        The value `REMOVE` leaves a claim or header parameter out; `None` is JSON `null`. The
        subject is no user of the project; pass `sub=tokens.user_id` for one. The emulator's own
        endpoints accept no refresh token made here.

        ```python
        descope.token(su="true")
        descope.token(exp=REMOVE)
        descope.token(header={"alg": "none"})
        descope.token(header={"alg": "HS256"})  # signed with the public key as the secret
        descope.token(key=SigningKey())  # a forgery under the right `kid`
        ```

        Args:
            header: Changes to `{"alg": "RS256", "kid": ..., "typ": "JWT"}`. The signature is made
                by the algorithm that it names, or by RS256 when that is unknown.
            key: The signing key: a `SigningKey`, a private key of `cryptography`, or bytes as an
                HMAC secret; by default the current key.
            **claims: Changes to the claims.

        Raises:
            TypeError: *key* does not fit the algorithm.
        """
        sessions = self._project.sessions
        with self._project.lock:
            good = {**sessions.registered(self._unknown_user_id), "amr": ["email"]}
            return sessions.sign(replaced(good, claims), header=header, key=key)

    @property
    def outbox(self) -> list[Message]:
        """The messages sent, oldest first: `outbox[-1].code` is the latest code."""
        return self._project.outbox

    def is_live(self, message: Message) -> bool:
        """Return whether *message* still works.

        A one-time code is live while it is unused, unexpired and the latest; a link while it is
        unused and unexpired.
        """
        with self._project.lock:
            return self._methods.is_live(message)

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs at present."""
        with self._project.lock:
            return self._keys.current

    @property
    def kids(self) -> list[str]:
        """The ids of the valid signing keys, the current one first."""
        with self._project.lock:
            return [key["kid"] for key in self._keys.jwks()]

    def export_state(self) -> dict[str, Any]:
        """Return users, keys and valid sessions as JSON values; private keys are among them."""
        with self._project.lock:
            return exported(self._project)

    def import_state(self, state: Mapping[str, Any]) -> None:
        """Replace users, keys and sessions by those of `export_state`; empty all else.

        Raises:
            ValueError: *state* is not of that form, or another project's.
        """
        with self._project.lock:
            self.reset()
            imported(self._project, state)

    def rotate_keys(self) -> SigningKey:
        """Sign with a new key from now on and return it; the twelve before it stay valid."""
        with self._project.lock:
            return self._keys.rotate()

    def revoke_keys(self) -> SigningKey:
        """Sign with a new key from now on and return it; every token signed before is void."""
        with self._project.lock:
            return self._keys.revoke()

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests that arrived, oldest first; control requests are not among them."""
        return self._request_log.requests

    def fail(
        self,
        status: int,
        times: int = 1,
        retry_after: int | None = None,
        *,
        path: str = "/",
        code: str | None = None,
        body: bytes | None = None,
    ) -> None:
        """Answer the next *times* requests with *status* in place of their normal reply.

        Args:
            status: The HTTP status.
            times: How many requests fail.
            retry_after: Seconds for a `Retry-After` header.
            path: Only requests whose path begins with this, such as `/v2/keys`.
            code: Descope's `errorCode`; by default one that suits the status.
            body: The whole body in place of Descope's error JSON, for a malformed answer.
        """
        self._request_log.fail(status, times, retry_after, path=path, code=code, body=body)

    def tamper(self, times: int = 1, **claims: object) -> None:
        """Replace claims of the next *times* session JWTs that leave by HTTP.

        Those are the session JWTs of a verification or a refresh, not of `sign_in` and `step_up`.

        For tests that a client of Descope rejects a wrong session: `sub` of another user,
        `su=REMOVE`, `drn="DSR"`, a foreign `iss`.
        """
        with self._project.lock:
            self._project.tampering.extend([claims] * times)


def _after_fork_in_child() -> None:
    for emulator in tuple(_emulators):
        emulator._renew_locks()  # noqa: SLF001  # this module's own hook


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)

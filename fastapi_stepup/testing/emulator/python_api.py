"""Driver: the Python calls that drive an emulated project."""

import time
from collections.abc import Callable, Mapping, Sequence

from fastapi_stepup.testing.authenticators.passkey import SoftwarePasskey
from fastapi_stepup.testing.authenticators.totp import AuthenticatorApp
from fastapi_stepup.testing.emulator.errors import Refusal
from fastapi_stepup.testing.emulator.methods.access_keys import AccessKey
from fastapi_stepup.testing.emulator.methods.registry import Rooms
from fastapi_stepup.testing.emulator.project import Message, Project, ReceivedRequest
from fastapi_stepup.testing.emulator.request_log import Reception
from fastapi_stepup.testing.emulator.sessions import Tokens
from fastapi_stepup.testing.emulator.users import User, new_user
from fastapi_stepup.testing.keys import HostileKey, KeyRing, SigningKey, random_id, replaced


class Driver:
    """What `DescopeEmulator` does by a Python call, without a request.

    Args:
        clock: The time in seconds since the epoch.
    """

    _project: Project
    _rooms: Rooms

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._keys = KeyRing()
        self._stranger = random_id("U")
        self._reception = Reception()
        self._passkeys: dict[str, SoftwarePasskey] = {}

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
            login_id: What the user signs in with.
            email: Where codes by e-mail go; by default the first login id that looks like an
                address.
            phone: Where other codes go; by default the first login id that looks like a number.
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
        """Return the user who signs in with *login_id*.

        Raises:
            LookupError: There is none.
        """
        with self._project.lock:
            user = self._project.users.find(login_id)
        if user is None:
            raise LookupError("The emulator has no user with this login id.")
        return user

    def sign_in(
        self,
        login_id: str,
        *,
        amr: Sequence[str] = ("email",),
        age: float = 0,
        expires_in: float | None = None,
    ) -> Tokens:
        """Sign a user in, with no message sent; create the user when there is none.

        Args:
            login_id: Who; created as by `create_user` when unknown.
            amr: How: the `amr` claim; a single text is a claim of one.
            age: How many seconds ago: moves `iat` back. `exp` stays a whole lifetime from now, so
                that an old session is old and not expired.
            expires_in: Seconds until the session JWT expires, in place of the whole lifetime. Zero
                or less gives a token that has expired.
        """
        return self._signed_in(login_id, amr, age, expires_in, stepped_up=False)

    def step_up(
        self,
        login_id: str,
        *,
        amr: Sequence[str] = ("email", "mfa"),
        age: float = 0,
        expires_in: float | None = None,
    ) -> Tokens:
        """Sign a user in and step the session up: as `sign_in`, and the session JWT has `su: true`.

        With `age=3600` the step-up is an hour old and the token still not expired, whatever the
        step-up
        lifetime: what trips is a policy's `max_age`.
        """
        return self._signed_in(login_id, amr, age, expires_in, stepped_up=True)

    def _signed_in(
        self,
        login_id: str,
        amr: Sequence[str],
        age: float,
        expires_in: float | None,
        *,
        stepped_up: bool,
    ) -> Tokens:
        with self._project.lock:
            user = self._project.users.find(login_id) or self.create_user(login_id)
            user.seen = True
            ways = (amr,) if isinstance(amr, str) else tuple(amr)
            return self._project.sessions.begin(
                user, ways, stepped_up=stepped_up, age=age, expires_in=expires_in
            )

    def totp_secret(self, login_id: str) -> str:
        """Return the secret of a user's authenticator app, in base 32; enrol one if there is none.

        Raises:
            LookupError: There is no such user.
        """
        return self._authenticator(login_id).secret

    def totp_code(self, login_id: str) -> str:
        """Return what a user's authenticator app shows: the first password not used yet.

        A password works once, so the second call within 30 seconds of a sign-in gives the next
        period's password, which is accepted already. An app is enrolled if there is none.

        Raises:
            LookupError: There is no such user.
        """
        with self._project.lock:
            return self._authenticator(login_id).code(self._clock())

    def _authenticator(self, login_id: str) -> AuthenticatorApp:
        with self._project.lock:
            user = self.user(login_id)
            user.authenticator = user.authenticator or AuthenticatorApp()
            return user.authenticator

    def social_login(self, url: str, login_id: str, *, deny: bool = False) -> str:
        """Sign in at the provider of a social login, SSO or SAML; return where that leads.

        Does what a person does on the page at *url*, for tests without a browser.

        Args:
            url: What the start of the sign-in answered.
            login_id: Whose account it is; a new user's when nobody has it.
            deny: Decline instead.

        Returns:
            The redirect URL with `code`, or with `err` after declining.

        Raises:
            LookupError: Nobody is expected at this address: it is another one, or was used.
        """
        with self._project.lock:
            return self._rooms.oauth.answer(url, login_id, deny=deny)

    def send_whatsapp(self, url: str, *, phone: str | None = None) -> None:
        """Send the WhatsApp message of a NOTP sign-in, as a person does on the page at *url*.

        Args:
            url: The `redirectUrl` that the start of the sign-in answered.
            phone: The number it comes from; by default that of the user who signs in.

        Raises:
            LookupError: No message is expected at this address: it is another one, or was used.
            ValueError: Nobody may sign in with this number, or there is none.
        """
        try:
            with self._project.lock:
                self._rooms.notp.answer(url, phone)
        except Refusal as refusal:
            raise ValueError(refusal.message or refusal.fault.description) from None

    def passkey(self, origin: str) -> SoftwarePasskey:
        """Return the emulator's own software authenticator for *origin*; it remembers its keys.

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
            return self._rooms.access_keys.create(roles, permissions)

    def token(
        self,
        *,
        header: Mapping[str, object] | None = None,
        key: HostileKey | None = None,
        **claims: object,
    ) -> str:
        """Return a JWT, by default that of a good session without step-up, with parts replaced.

        Give a claim or header parameter as `REMOVE` to leave it out; `None` is JSON `null`. The
        subject is a user that nobody knows; pass `sub=tokens.user_id` for a known one. The
        emulator's own endpoints take no refresh token made here.

        ```python
        descope.token(su="true")
        descope.token(exp=REMOVE)
        descope.token(header={"alg": "none"})
        descope.token(header={"alg": "HS256"})  # signed with the public key as the secret
        descope.token(key=SigningKey())  # a forgery under the right `kid`
        ```

        Args:
            header: Changes to `{"alg": "RS256", "kid": ..., "typ": "JWT"}`. The signature is made
                by the algorithm that it names, or RS256 when that is no known one.
            key: What signs: a `SigningKey`, a private key of `cryptography`, or bytes as an HMAC
                secret; by default the current key.
            **claims: Changes to the claims.

        Raises:
            TypeError: *key* does not fit the algorithm.
        """
        sessions = self._project.sessions
        with self._project.lock:
            good = {**sessions.registered(self._stranger), "amr": ["email"]}
            return sessions.sign(replaced(good, claims), header=header, key=key)

    @property
    def outbox(self) -> list[Message]:
        """The messages sent, oldest first: `outbox[-1].code` is the latest code."""
        return self._project.outbox

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs at present."""
        with self._project.lock:
            return self._keys.current

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
        return self._reception.requests

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
        """Answer the next *times* requests with *status* in place of doing what they ask.

        Args:
            status: The HTTP status.
            times: How many requests fail.
            retry_after: Seconds for a `Retry-After` header.
            path: Only requests whose path begins with this, such as `/v2/keys`.
            code: Descope's `errorCode`; by default one that suits the status.
            body: The whole body in place of Descope's error JSON, for an answer that makes no
                sense.
        """
        self._reception.fail(status, times, retry_after, path=path, code=code, body=body)

    def tamper(self, times: int = 1, **claims: object) -> None:
        """Replace claims of the next *times* session JWTs that leave by HTTP.

        Those are the ones of a verification or a refresh, not of `sign_in` and `step_up`.

        For tests of what a client of Descope does with a session it must not pass on: `sub` of
        another user, `su=REMOVE`, `drn="DSR"`, a foreign `iss`.
        """
        with self._project.lock:
            self._project.tampering.extend([claims] * times)

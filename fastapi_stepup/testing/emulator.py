"""DescopeEmulator: the local stand-in for Descope."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message as ASGIMessage, Receive, Scope, Send

from fastapi_stepup.testing.account import Account, PublicKeys
from fastapi_stepup.testing.control import CONTROL, CONTROL_PREFIX, EMULATOR_KEY
from fastapi_stepup.testing.faults import (
    INVALID_TOKEN,
    MALFORMED,
    RATE_LIMITED,
    SERVER_ERROR,
    Fault,
    Refusal,
)
from fastapi_stepup.testing.keys import HostileKey, KeyRing, SigningKey, random_id, replaced
from fastapi_stepup.testing.otp import OTP
from fastapi_stepup.testing.project import Message, Project, ReceivedRequest
from fastapi_stepup.testing.serving import served
from fastapi_stepup.testing.sessions import Sessions, Tokens
from fastapi_stepup.testing.users import User, new_user
from fastapi_stepup.testing.wire import answer_http_exception, answer_refusal

if TYPE_CHECKING:
    from fastapi_stepup.guard import StepUpGuard

DEFAULT_PROJECT_ID: Final = "P2LocalEmulatorProject000001"
_PROJECT_ID = re.compile(r"[A-Za-z0-9_-]+")
_FAULTS: Final = {fault.status: fault for fault in (INVALID_TOKEN, RATE_LIMITED)}


@dataclass
class _Failure:
    status: int
    times: int
    path: str
    body: bytes
    headers: Mapping[str, str]


class DescopeEmulator:
    """A Descope project in this process: an ASGI app, and Python calls to drive it.

    The official SDKs run against it unchanged. In a test it is attached to a guard, and the guard's
    HTTP goes to it without a network:

    ```python
    with DescopeEmulator(project_id=guard.project_id).attach(guard) as descope:
        ann = descope.sign_in("ann@example.com")
        response = client.post("/checkout", headers=ann.headers)
        assert_step_up_challenge(response)
    ```

    One emulator serves any number of event loops and threads. It holds no sockets and needs no
    closing. Its keys are its own: no other emulator's tokens verify against them. Control routes
    for other languages are under `/_emulator/` (see `fastapi_stepup.testing.control`).

    Known of the real service, and enforced:

    - Every call's bearer begins with the project id (401). `me`, refresh and logout need the
      refresh token.
    - A sign-in with `stepup` or `mfa` needs the refresh token. The verification that follows brings
      none: the service remembers with the code what it is for.
    - `su` is `true` on the session JWT of a step-up only. The refresh JWT never has it, so a
      refresh loses it. A stepped-up session expires after its own lifetime (default ten minutes).
    - One live code per user; tries, sends and lifetime of codes are limited; no reply contains a
      code.
    - A logout revokes refresh tokens. Session tokens stay good until they expire.
    - Twelve earlier keys stay valid when keys rotate; none when they are revoked.
    - Error bodies, error codes, masked addresses, and 429 with `Retry-After`.

    Guesses, because no public source says:

    - HTTP statuses of the error codes for one-time codes and sessions (401), and which code answers
      a step-up without a refresh token (400 `E011002`), with a bad one (401 `E061005`), with one of
      another user (400 `E011004`), and a wrong project id (401 `E011004`).
    - That the login id of a step-up must be one of the refresh token's user.
    - `amr` after step-up: earlier and new ways together, and `mfa` when they are two or more.
    - The sizes of the limits, the sends limit's error (429 `E130429`), and `sms` as the `amr` of a
      call.
    - Custom claims of a sign-in are nested in `nsec`.

    Args:
        project_id: `P` and 27 characters; any letters, digits, `-` and `_` are taken.
        issuer: The `iss` of every token; by default the bare project id, as Descope's default is.
        clock: The time in seconds since the epoch. Verifiers read their own clock: to test age,
            pass `age=` to `sign_in` and `step_up` rather than moving this.
        session_lifetime: Seconds that a plain session JWT is good for.
        step_up_lifetime: Seconds that a stepped-up session JWT is good for.
        refresh_lifetime: Seconds that a refresh JWT is good for.
        code_lifetime: Seconds that a one-time code is good for.
        max_attempts: Wrong codes (`E061102`) after which only a new code helps (`E061103`).
        max_sends: Messages to one user within *sends_window*.
        sends_window: Seconds over which sends are counted.

    Raises:
        ValueError: *project_id* has other characters.
    """

    def __init__(
        self,
        project_id: str = DEFAULT_PROJECT_ID,
        *,
        issuer: str | None = None,
        clock: Callable[[], float] = time.time,
        session_lifetime: int = 600,
        step_up_lifetime: int = 600,
        refresh_lifetime: int = 28 * 24 * 3600,
        code_lifetime: float = 180,
        max_attempts: int = 5,
        max_sends: int = 10,
        sends_window: float = 600,
    ) -> None:
        if not _PROJECT_ID.fullmatch(project_id):
            raise ValueError(
                "A project id has letters, digits, '-' and '_' only, like 'P' and 27 characters."
            )
        self.project_id = project_id
        self.issuer: str = issuer or project_id
        self.max_attempts = max_attempts
        self.max_sends = max_sends
        self.code_lifetime = code_lifetime
        self.requests: list[ReceivedRequest] = []
        self._clock = clock
        self._lifetimes = (session_lifetime, step_up_lifetime, refresh_lifetime)
        self._sends_window = sends_window
        self._keys = KeyRing()
        self._stranger = random_id("U")
        self._failures: list[_Failure] = []
        self._furnish()

    def __repr__(self) -> str:
        return f"DescopeEmulator(project_id={self.project_id!r})"

    def _furnish(self) -> None:
        session_lifetime, step_up_lifetime, refresh_lifetime = self._lifetimes
        sessions = Sessions(
            issuer=self.issuer,
            keys=self._keys,
            clock=self._clock,
            session_lifetime=session_lifetime,
            step_up_lifetime=step_up_lifetime,
            refresh_lifetime=refresh_lifetime,
        )
        project = Project(self.project_id, keys=self._keys, sessions=sessions, clock=self._clock)
        otp = OTP(
            project,
            code_lifetime=self.code_lifetime,
            max_attempts=self.max_attempts,
            max_sends=self.max_sends,
            sends_window=self._sends_window,
        )
        rooms = (PublicKeys(project), Account(project), otp)
        self._project = project
        self._app = Starlette(
            routes=[route for room in rooms for route in room.routes()],
            exception_handlers={
                Refusal: answer_refusal,
                HTTPException: answer_http_exception,
            },
        )

    @property
    def transport(self) -> httpx.ASGITransport:
        """A transport for `httpx.AsyncClient` that leads here, whatever the host."""
        return httpx.ASGITransport(app=self)

    @contextmanager
    def attach(self, guard: "StepUpGuard") -> "Iterator[DescopeEmulator]":
        """Send all of *guard*'s HTTP here until the context ends.

        The guard's key and verdict caches are empty at the start and as they were at the end.

        Raises:
            ValueError: The guard is for another project, so it would accept none of the tokens.
        """
        if guard.project_id != self.project_id:
            raise ValueError(
                f"The guard is for project {guard.project_id!r} and the emulator for "
                f"{self.project_id!r}; pass DescopeEmulator(project_id=guard.project_id)."
            )
        with guard.rerouted(self.transport):
            yield self

    @contextmanager
    def serve(self, *, port: int = 0) -> Iterator[str]:
        """Serve the emulator on loopback, from a thread, until the context ends.

        The value is the base URL, for SDKs that take no transport. `--host` and all else is in
        `python -m fastapi_stepup.testing`.

        Args:
            port: The port; 0 takes a free one.

        Raises:
            ImportError: uvicorn is not installed (the `demo` extra).
            OSError: The port is taken.
        """
        with served(self, port=port) as base_url:
            yield base_url

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
        if status in _FAULTS:
            known = _FAULTS[status]
        else:
            known = SERVER_ERROR if status >= SERVER_ERROR.status else MALFORMED
        fault = Fault(status, code or known.code, known.description)
        refusal = Refusal(fault, retry_after=retry_after)
        reply = JSONResponse(refusal.body, status, refusal.headers)
        headers = {"content-type": "application/json", **refusal.headers}
        content = bytes(reply.body) if body is None else body
        with self._project.lock:
            self._failures.append(_Failure(status, times, path, content, headers))

    def tamper(self, times: int = 1, **claims: object) -> None:
        """Replace claims of the next *times* session JWTs that leave by HTTP.

        Those are the ones of a verification or a refresh, not of `sign_in` and `step_up`.

        For tests of what a client of Descope does with a session it must not pass on: `sub` of
        another user, `su=REMOVE`, `drn="DSR"`, a foreign `iss`.
        """
        with self._project.lock:
            self._project.tampering.extend([claims] * times)

    def reset(self) -> None:
        """Forget users, sessions, messages, requests and failures. The keys stay."""
        with self._project.lock:
            self.requests.clear()
            self._failures.clear()
            self._furnish()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # The Python SDK joins base URL and path as text, so a trailing slash doubles one.
        scope = {**scope, "path": re.sub("//+", "/", scope["path"]), EMULATOR_KEY: self}
        if _route(scope).startswith(CONTROL_PREFIX):
            await CONTROL(scope, receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()

        async def replay() -> ASGIMessage:
            return {"type": "http.request", "body": body, "more_body": False}

        await (self._failed(request, body) or self._app)(scope, replay, send)

    def _failed(self, request: Request, body: bytes) -> Response | None:
        """Record the request and return the failure that is due, if one is."""
        try:
            decoded = json.loads(body)
        except ValueError:
            decoded = None
        path = _route(request.scope)
        received = ReceivedRequest(
            request.method, path, request.url.query, dict(request.headers), decoded
        )
        with self._project.lock:
            self.requests.append(received)
            for failure in self._failures:
                if failure.times > 0 and path.startswith(failure.path):
                    failure.times -= 1
                    return Response(failure.body, failure.status, failure.headers)
        return None


def _route(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))

"""The emulated project: users, sessions and limits that its sign-in methods share."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi_stepup.testing.emulator.errors import (
    INVALID_ARGUMENT,
    INVALID_BODY,
    MISSING_ARGUMENT,
    USER_NOT_FOUND,
    Refusal,
)
from fastapi_stepup.testing.emulator.models import Call, Login, Message, Purpose, members_of
from fastapi_stepup.testing.emulator.sessions import Sessions, Tokens
from fastapi_stepup.testing.emulator.token_responses import TokenResponses
from fastapi_stepup.testing.emulator.ui_package import UIPackage
from fastapi_stepup.testing.emulator.users import User, Users
from fastapi_stepup.testing.keys import KeyRing


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of codes and of messages.

    Attributes:
        code_lifetime: Seconds that a code or link is good for.
        max_attempts: Wrong codes after which tries are refused.
        max_sends: Messages to one user within *sends_window*.
        sends_window: Seconds over which sends are counted.
    """

    code_lifetime: float
    max_attempts: int
    max_sends: int
    sends_window: float


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one emulated project, as `DescopeEmulator` takes them.

    Attributes:
        project_id: The project id.
        issuer: The `iss` of every token.
        clock: The time in seconds since the epoch.
        limits: Limits of codes and of messages.
        responses: The place of tokens in replies.
        rotate_refresh: Whether a refresh replaces the refresh token.
        select_keeps_step_up: Whether a session stays stepped up when a tenant is selected.
        session_lifetime: Seconds that a plain session JWT is good for.
        step_up_lifetime: Seconds that a stepped-up session JWT is good for.
        refresh_lifetime: Seconds that a refresh JWT is good for.
        ui: The package of UI components that flows show, or None for plain HTML.
    """

    project_id: str
    issuer: str
    clock: Callable[[], float]
    limits: Limits
    responses: TokenResponses
    rotate_refresh: bool
    select_keeps_step_up: bool
    session_lifetime: int
    step_up_lifetime: int
    refresh_lifetime: int
    ui: UIPackage | None = None


class Project:
    """Users, sessions, keys and outbox of one emulated project.

    Guarantees:
    - Threads and event loops may share one project: each caller holds `lock` while it reads or
      changes anything.
    - Nothing belongs to an event loop.

    Args:
        settings: The project's settings.
        keys: The keys that sign its tokens.
    """

    def __init__(self, settings: Settings, keys: KeyRing) -> None:
        self.project_id: str = settings.project_id
        self.clock: Callable[[], float] = settings.clock
        self.limits: Limits = settings.limits
        self.responses: TokenResponses = settings.responses
        self.lock: threading.RLock = threading.RLock()
        self.keys = keys
        self.users: Users = Users()
        self.sessions: Sessions = Sessions(
            issuer=settings.issuer,
            keys=keys,
            clock=settings.clock,
            session_lifetime=settings.session_lifetime,
            step_up_lifetime=settings.step_up_lifetime,
            refresh_lifetime=settings.refresh_lifetime,
            rotates=settings.rotate_refresh,
        )
        self.outbox: list[Message] = []
        self.tampering: deque[Mapping[str, object]] = deque()

    def user(self, login_id: str) -> User:
        """Return the user who signs in with *login_id*.

        Raises:
            Refusal: There is none.
        """
        user = self.users.find(login_id)
        if user is None:
            raise Refusal(USER_NOT_FOUND, "Cannot find user")
        return user

    def caller(self, call: Call) -> User:
        """Return the user of the refresh token, who must be the one of the login id.

        Raises:
            Refusal: The refresh token is missing, not valid, or another user's.
        """
        user = self.sessions.find(call.token).user
        if self.users.find(call.text("loginId")) is not user:
            raise Refusal(INVALID_ARGUMENT, "The login id is not of the refresh token's user")
        return user

    def purpose(self, call: Call, options: Mapping[str, object]) -> Purpose:
        """Return the purpose of a sign-in with these login options.

        Raises:
            Refusal: The options are malformed, or they ask for `stepup` or `mfa` and the refresh
                token is missing or not valid.
        """
        names = ("stepup", "mfa", "revokeOtherSessions")
        flags = {name: options.get(name) or False for name in names}
        if not all(isinstance(flag, bool) for flag in flags.values()):
            raise Refusal(INVALID_BODY, "stepup, mfa and revokeOtherSessions must be booleans")
        session = None
        nested = members_of(options, "customClaims")
        if flags["stepup"] or flags["mfa"]:
            if call.token is None:
                raise Refusal(MISSING_ARGUMENT, "Missing refresh token for stepup/mfa")
            session = self.sessions.find(call.token)
        tenant = options.get("tenantId") or ""
        if not isinstance(tenant, str):
            raise Refusal(INVALID_BODY, "tenantId must be text")
        return Purpose(
            bool(flags["stepup"]),
            session,
            nested,
            ends_others=bool(flags["revokeOtherSessions"]),
            tenant=tenant,
        )

    def login(self, call: Call, user: User, options: Mapping[str, object] | None = None) -> Login:
        """Return the sign-in of *user* that *call* starts.

        Args:
            call: The request.
            user: The user who signs in.
            options: The login options; by default those of the body.

        Raises:
            Refusal: As for `purpose`, or the refresh token is another user's.
        """
        purpose = self.purpose(call, call.members("loginOptions") if options is None else options)
        if purpose.session and purpose.session.user is not user:
            raise Refusal(INVALID_ARGUMENT, "The login id is not of the refresh token's user")
        return Login(user, purpose)

    def finish(self, login: Login, amr: str) -> dict[str, object]:
        """Complete *login*, proved by *amr*, and return the JWT response.

        Raises:
            Refusal: The session that is stepped up was logged out in the meantime.
        """
        user, purpose = login.user, login.purpose
        earlier_amr: tuple[str, ...] = ()
        if purpose.session:
            self.sessions.check(purpose.session)
            if purpose.session.user is user:
                earlier_amr = purpose.session.amr
        if purpose.ends_others:
            self.sessions.end_all(user)
        first_seen = not user.seen
        user.seen = True
        tokens = self.sessions.begin(
            user,
            combined_amr(earlier_amr, amr),
            stepped_up=purpose.step_up,
            nested=purpose.nested,
            # Guess: a tenant that the user is not in is passed over.
            tenant=purpose.tenant if purpose.tenant in user.tenants else "",
            changes=self.tampered(),
        )
        return self.jwt_response(tokens, user, first_seen=first_seen)

    def tampered(self) -> Mapping[str, object]:
        """Return the claims to replace in the next session JWT that goes out by HTTP."""
        return self.tampering.popleft() if self.tampering else {}

    def jwt_response(
        self, tokens: Tokens, user: User, *, first_seen: bool = False
    ) -> dict[str, object]:
        """Return Descope's JWT response; its `cookie…` members are about the refresh token."""
        return {
            "sessionJwt": tokens.session_token,
            "refreshJwt": tokens.refresh_token,
            "cookieDomain": "",
            "cookiePath": "/",
            "cookieMaxAge": self.sessions.refresh_lifetime,
            "cookieExpiration": int(self.clock()) + self.sessions.refresh_lifetime,
            "user": user.as_json(),
            "firstSeen": first_seen,
            "sessionExpiration": tokens.claims.get("exp", 0),
        }


def combined_amr(earlier: tuple[str, ...], amr: str) -> tuple[str, ...]:
    """Return *earlier* and *amr* without repetition, and `mfa` when they are two or more.

    Guess: step-up keeps the earlier methods; Descope documents that for `mfa` only.
    """
    distinct = tuple(dict.fromkeys([*(name for name in earlier if name != "mfa"), amr]))
    return (*distinct, "mfa") if len(distinct) > 1 else distinct

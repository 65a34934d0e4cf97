"""The emulated project: what all its sign-in methods share."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fastapi_stepup.testing.emulator.errors import (
    INVALID_ARGUMENT,
    INVALID_BODY,
    MISSING_ARGUMENT,
    USER_NOT_FOUND,
    Refusal,
)
from fastapi_stepup.testing.emulator.sessions import Session, Sessions, Tokens
from fastapi_stepup.testing.emulator.token_responses import Answers
from fastapi_stepup.testing.emulator.users import Change, User, Users
from fastapi_stepup.testing.keys import KeyRing


@dataclass(frozen=True)
class Message:
    """A message that Descope would have sent. Its `repr` shows neither code nor addresses.

    Attributes:
        delivery: `email`, `sms`, `voice`, `whatsapp` or `im`.
        to: The address or number it went to.
        login_id: The login id of the request that caused it.
        user_id: Whose it is.
        code: The one-time code; empty when it is a link that was sent.
        step_up: Whether the message completes a step-up.
        link: What the user clicks; empty when it is a code that was sent.
        token: The token in the link, which its page sends back to Descope.
    """

    delivery: str
    to: str = field(repr=False)
    login_id: str = field(repr=False)
    user_id: str
    code: str = field(default="", repr=False)
    step_up: bool = False
    link: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class ReceivedRequest:
    """A request that reached the emulator. Its `repr` shows neither headers nor body.

    Attributes:
        method: The HTTP method.
        path: The path, without the query and with doubled slashes made one.
        query: The query string, without the question mark.
        headers: The headers by lower-case name.
        json: The decoded body, or None when it is empty or not JSON.
    """

    method: str
    path: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    json: object = field(repr=False)


@dataclass(frozen=True)
class Call:
    """A request for an endpoint of the project, authenticated by the project id.

    Attributes:
        path: The variable parts of the path.
        body: The JSON body, empty when there was none.
        token: The JWT in the bearer, behind the project id; in cookie mode, where it is missing,
            the one in the refresh cookie.
        key: What else is behind the project id: an access key.
        query: The parameters in the URL.
        base_url: The emulator's own URL, as the caller knows it.
    """

    path: Mapping[str, str]
    body: Mapping[str, object]
    token: str | None = field(repr=False)
    key: str = field(default="", repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    base_url: str = ""

    def text(self, name: str) -> str:
        """Return the string member *name* of the body.

        Raises:
            Refusal: It is missing, empty or no string.
        """
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise Refusal(INVALID_BODY, f"{name} must be a string and not empty")
        return value

    def members(self, name: str) -> Mapping[str, object]:
        """Return the object member *name* of the body; missing and `null` are empty.

        Raises:
            Refusal: It is no object.
        """
        return _members(self.body, name)


@dataclass(frozen=True)
class Purpose:
    """What a sign-in is for.

    Attributes:
        step_up: Whether the session will be stepped up.
        session: The session that step-up and MFA start from.
        nested: The custom claims that the sign-in asked for.
        ends_others: Whether the user's other sessions end.
    """

    step_up: bool = False
    session: Session | None = None
    nested: Mapping[str, object] = field(default_factory=dict)
    ends_others: bool = False


@dataclass(frozen=True)
class Login:
    """A sign-in under way: who it is for and what it is for.

    The sign-in of a step-up brings the refresh token; the verification does not. So the sign-in
    decides, and what it decided waits here.

    Attributes:
        user: Who signs in.
        purpose: What for.
        change: The address that the user gets with it.
    """

    user: User
    purpose: Purpose = field(default_factory=Purpose)
    change: Change | None = None

    @property
    def step_up(self) -> bool:
        """Whether the session will be stepped up."""
        return self.purpose.step_up


class Limits(NamedTuple):
    """How often and how long.

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


class Project:
    """Users, sessions, keys and outbox of one emulated project.

    Everything is plain Python: no event loop, no task, no async lock. Whoever reads or changes it
    holds `lock`, so any number of threads and event loops may use one project.
    """

    def __init__(
        self,
        project_id: str,
        *,
        keys: KeyRing,
        sessions: Sessions,
        clock: Callable[[], float],
        limits: Limits,
        answers: Answers,
    ) -> None:
        self.project_id = project_id
        self.clock = clock
        self.limits = limits
        self.answers = answers
        self.lock: threading.RLock = threading.RLock()
        self.keys = keys
        self.users: Users = Users()
        self.sessions = sessions
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
        """Return what a sign-in with these login options is for.

        Raises:
            Refusal: The options are malformed, or they ask for `stepup` or `mfa` and the refresh
                token is missing or not valid.
        """
        names = ("stepup", "mfa", "revokeOtherSessions")
        flags = {name: options.get(name) or False for name in names}
        if not all(isinstance(flag, bool) for flag in flags.values()):
            raise Refusal(INVALID_BODY, "stepup, mfa and revokeOtherSessions must be booleans")
        session = None
        nested = _members(options, "customClaims")
        if flags["stepup"] or flags["mfa"]:
            if call.token is None:
                raise Refusal(MISSING_ARGUMENT, "Missing refresh token for stepup/mfa")
            session = self.sessions.find(call.token)
        return Purpose(
            bool(flags["stepup"]), session, nested, ends_others=bool(flags["revokeOtherSessions"])
        )

    def login(self, call: Call, user: User, options: Mapping[str, object] | None = None) -> Login:
        """Return the sign-in of *user* that *call* starts.

        Args:
            call: The request.
            user: Who signs in.
            options: The login options; by default those of the body.

        Raises:
            Refusal: As for `purpose`, or the refresh token is another user's.
        """
        purpose = self.purpose(call, call.members("loginOptions") if options is None else options)
        if purpose.session and purpose.session.user is not user:
            raise Refusal(INVALID_ARGUMENT, "The login id is not of the refresh token's user")
        return Login(user, purpose)

    def finish(self, login: Login, amr: str) -> dict[str, object]:
        """Complete *login*, done by *amr*, and return the JWT response.

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

    That step-up keeps the earlier ways is a guess; Descope documents it for `mfa` only.
    """
    distinct = tuple(dict.fromkeys([*(name for name in earlier if name != "mfa"), amr]))
    return (*distinct, "mfa") if len(distinct) > 1 else distinct


def _members(holder: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = holder.get(name) or {}
    if not isinstance(value, Mapping):
        raise Refusal(INVALID_BODY, f"{name} must be an object")
    return value

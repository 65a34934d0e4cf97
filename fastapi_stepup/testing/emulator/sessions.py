"""Sessions of the emulated project, and their tokens."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from fastapi_stepup.testing.emulator.errors import INVALID_TOKEN, LOGGED_OUT, Refusal
from fastapi_stepup.testing.emulator.users import User
from fastapi_stepup.testing.keys import HostileKey, KeyRing, SigningKey, compact_jws, replaced

SESSION_NAME: Final = "DS"
REFRESH_NAME: Final = "DSR"


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a sign-in. Its `repr` shows no token and no login id.

    Attributes:
        session_token: The session JWT (`drn` is `DS`).
        refresh_token: The refresh JWT (`drn` is `DSR`).
        user_id: The `sub` of both.
        login_id: The user's first login id.
    """

    session_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    user_id: str
    login_id: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The session in an `Authorization` header."""
        return {"Authorization": f"Bearer {self.session_token}"}

    @property
    def cookies(self) -> dict[str, str]:
        """Both tokens under Descope's cookie names."""
        return {SESSION_NAME: self.session_token, REFRESH_NAME: self.refresh_token}

    @property
    def cookie_headers(self) -> dict[str, str]:
        """Both cookies and `Sec-Fetch-Site`, as a browser sends them from the same origin."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Cookie": cookies, "Sec-Fetch-Site": "same-origin"}

    @property
    def claims(self) -> dict[str, object]:
        """The claims of the session JWT, read without a check."""
        payload = self.session_token.split(".")[1]
        claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(f"{payload}=="))
        return claims


@dataclass(eq=False)
class Session:
    """One sign-in and the tokens issued for it.

    Attributes:
        user: The user who signed in.
        amr: The methods that were used.
        refresh_token: The latest refresh JWT.
        refresh_expires_at: When that expires.
        key: The key that signed it.
        nested: Custom claims of the sign-in, which Descope nests in `nsec`.
        tenant: The tenant that was selected, if one was.
        stepped_up_until: When the latest stepped-up session JWT expires.
        ended: Whether it was logged out.
        claims: The claims of the latest session JWT.
    """

    user: User
    amr: tuple[str, ...]
    refresh_token: str = field(repr=False)
    refresh_expires_at: int
    key: SigningKey = field(repr=False)
    nested: Mapping[str, object] = field(default_factory=dict)
    tenant: str = ""
    stepped_up_until: float = 0
    ended: bool = False
    claims: Mapping[str, object] = field(default_factory=dict, repr=False)


class Sessions:
    """The sessions of a project, by refresh token.

    Args:
        issuer: The `iss` of every token.
        keys: The keys that sign them.
        clock: The time in seconds since the epoch.
        session_lifetime: Seconds that a plain session JWT is good for.
        step_up_lifetime: Seconds that a stepped-up session JWT is good for.
        refresh_lifetime: Seconds that a refresh JWT is good for.
        rotates: Whether a refresh replaces the refresh JWT.
    """

    def __init__(
        self,
        *,
        issuer: str,
        keys: KeyRing,
        clock: Callable[[], float],
        session_lifetime: int,
        step_up_lifetime: int,
        refresh_lifetime: int,
        rotates: bool = False,
    ) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock
        self._by_refresh_token: dict[str, Session] = {}
        self._next_expiry: dict[tuple[object, ...], int] = {}
        self._lifetimes = {False: session_lifetime, True: step_up_lifetime}
        self.refresh_lifetime = refresh_lifetime
        self.rotates = rotates
        self.log: list[tuple[User, int]] = []

    def begin(
        self,
        user: User,
        amr: Sequence[str],
        *,
        stepped_up: bool = False,
        nested: Mapping[str, object] | None = None,
        tenant: str = "",
        changes: Mapping[str, object] | None = None,
        age: float = 0,
        expires_in: float | None = None,
    ) -> Tokens:
        """Sign *user* in and return the tokens.

        Args:
            user: The user who signs in.
            amr: The methods that were used.
            stepped_up: Whether the session JWT carries `su`.
            nested: Custom claims of the sign-in, which Descope nests in `nsec`.
            tenant: The tenant to select, if any.
            changes: Claims of the session JWT to replace.
            age: Seconds since the tokens were issued.
            expires_in: Seconds until the session JWT expires; by default its whole lifetime.
        """
        token, expires_at = self._refresh_token(user, amr, age=age, tenant=tenant)
        session = Session(
            user,
            tuple(amr),
            token,
            refresh_expires_at=expires_at,
            key=self._keys.current,
            nested=nested or {},
            tenant=tenant,
        )
        self._by_refresh_token[token] = session
        self.log.append((user, int(self._clock() - age)))
        return self.issue(
            session, stepped_up=stepped_up, changes=changes, age=age, expires_in=expires_in
        )

    def renew(self, session: Session) -> None:
        """Give *session* a new refresh JWT; with rotation, the one it had is no good any more."""
        if self.rotates:
            del self._by_refresh_token[session.refresh_token]
        token, expires_at = self._refresh_token(session.user, session.amr, tenant=session.tenant)
        session.refresh_token, session.refresh_expires_at = token, expires_at
        session.key = self._keys.current
        self._by_refresh_token[token] = session

    def _refresh_token(
        self, user: User, amr: Sequence[str], *, age: float = 0, tenant: str = ""
    ) -> tuple[str, int]:
        now = self._clock()
        expires_at = int(now) + self.refresh_lifetime
        claims: dict[str, object] = {
            "amr": list(amr),
            "drn": REFRESH_NAME,
            "exp": expires_at,
            "iat": int(now - age),
            "iss": self._issuer,
            "sub": user.user_id,
            **user.claims,
            **({"dct": tenant} if tenant else {}),
        }
        # Nothing in a Descope JWT is unique. Equal claims would make equal refresh tokens, so the
        # second such token of a user expires a second later, the third two.
        same = (user.user_id, claims["iat"], tuple(amr), tenant)
        claims["exp"] = expires_at = max(expires_at, self._next_expiry.get(same, 0))
        self._next_expiry[same] = expires_at + 1
        return self.sign(claims), expires_at

    def issue(
        self,
        session: Session,
        *,
        stepped_up: bool = False,
        changes: Mapping[str, object] | None = None,
        age: float = 0,
        expires_in: float | None = None,
    ) -> Tokens:
        """Return a new session JWT of *session*, with its present refresh JWT."""
        user = session.user
        claims = {
            **self.registered(user.user_id, stepped_up=stepped_up, age=age, expires_in=expires_in),
            "amr": list(session.amr),
            "rexp": f"{datetime.fromtimestamp(session.refresh_expires_at, UTC):%Y-%m-%dT%H:%M:%SZ}",
            **user.claims,
        }
        if stepped_up:
            session.stepped_up_until = float(str(claims["exp"]))
        if session.tenant:
            claims["dct"] = session.tenant
        if session.nested:
            claims["nsec"] = dict(session.nested)
        session.claims = replaced(claims, changes or {})
        session_token = self.sign(session.claims)
        return Tokens(session_token, session.refresh_token, user.user_id, user.login_ids[0])

    def registered(
        self,
        subject: str,
        *,
        stepped_up: bool = False,
        age: float = 0,
        expires_in: float | None = None,
    ) -> dict[str, object]:
        """Return the claims that every session JWT of *subject* has."""
        now = self._clock()
        expires_at = int(now + (self._lifetimes[stepped_up] if expires_in is None else expires_in))
        claims: dict[str, object] = {
            "drn": SESSION_NAME,
            "exp": expires_at,
            "iat": min(int(now - age), expires_at),
            "iss": self._issuer,
            "sub": subject,
        }
        if stepped_up:
            claims["su"] = True
        return claims

    def sign(
        self,
        claims: Mapping[str, object],
        *,
        header: Mapping[str, object] | None = None,
        key: HostileKey | None = None,
    ) -> str:
        """Return *claims* as a JWT under the current key, or under *header* and *key*."""
        current = self._keys.current
        good = {"alg": "RS256", "kid": current.kid, "typ": "JWT"}
        return compact_jws(replaced(good, header or {}), claims, current if key is None else key)

    def find(self, refresh_token: str | None) -> Session:
        """Return the session of *refresh_token*.

        Raises:
            Refusal: It was not issued here, has expired, was revoked with its key, or was logged
                out.
        """
        session = self._by_refresh_token.get(refresh_token or "")
        if session is None:
            raise Refusal(INVALID_TOKEN, "No refresh token of this project")
        return self.check(session)

    def check(self, session: Session) -> Session:
        """Return *session* if it is still valid.

        Raises:
            Refusal: Its refresh token has expired, was revoked with its key, or was logged out.
        """
        if not self._keys.holds(session.key) or session.refresh_expires_at <= self._clock():
            raise Refusal(INVALID_TOKEN, "The refresh token is no longer valid")
        if session.ended:
            raise Refusal(LOGGED_OUT)
        return session

    def every(self) -> list[Session]:
        """Return all sessions, oldest first."""
        return list(dict.fromkeys(self._by_refresh_token.values()))

    def restore(self, session: Session) -> None:
        """Add a session that an earlier emulator began."""
        self._by_refresh_token[session.refresh_token] = session

    def state_of(self, session: Session) -> str:
        """Return `active`, `expired`, `logged out` or `revoked`."""
        if session.ended:
            return "logged out"
        if not self._keys.holds(session.key):
            return "revoked"
        is_over = session.refresh_expires_at <= self._clock()
        return "expired" if is_over else "active"

    def end_all(self, user: User) -> None:
        """Log *user* out everywhere."""
        for session in self._by_refresh_token.values():
            session.ended = session.ended or session.user is user

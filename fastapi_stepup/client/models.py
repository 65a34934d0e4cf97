"""Values that StepUpAuth and its prompt exchange."""

import base64
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, TypeGuard

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class SessionTokens(Protocol):
    """A session as a sign-in returns it, such as `fastapi_stepup.testing.Tokens`."""

    @property
    def session_token(self) -> str:
        """The session JWT."""
        ...

    @property
    def refresh_token(self) -> str | None:
        """The refresh JWT. A step-up needs it."""
        ...


@dataclass(frozen=True, slots=True)
class StepUpTokens:
    """A session. Its `repr` shows no token."""

    session_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUpQuestion:
    """A question to the prompt: a code is asked for, or another method.

    Attributes:
        method: How the code was sent; `"totp"` for the one of an authenticator app.
        destination: Masked address or number that the code was sent to; `None` for `"totp"`.
        choices: All methods that are offered and can meet one of the alternatives, *method*
            included, those of the nearest first.
        max_age: Seconds that a step-up is good for at this route; `None` when it does not say.
        acr_values: Authentication contexts that would do.
        amr: Authentication methods that would do.
        unmet: Requirements that are not met, as `{"requirement": …, "reason": …}`.
        alternatives: All that would be enough, nearest first, as the problem lists them; empty
            where the attributes above say everything.
        problem: Code of the problem with the last answer, such as `"otp_rejected"`.
    """

    method: str
    destination: str | None
    choices: tuple[str, ...]
    max_age: int | None
    acr_values: tuple[str, ...]
    amr: tuple[str, ...]
    unmet: tuple[Mapping[str, str], ...]
    alternatives: tuple[Mapping[str, Any], ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """What a new authorization request has to ask for, so that the API lets the request in.

    Attributes:
        acr_values: Authentication context classes, most preferred first; any one will do.
        max_age: Allowed age of the login in seconds; `None` when the API does not say.
        amr: Authentication methods that would do. No request parameter asks for them.
        unmet: Requirements that are not met, as `{"requirement": …, "reason": …}`.
        resource_metadata: URL of the API's metadata (RFC 9728), as the API wrote it: unchecked.
    """

    acr_values: tuple[str, ...] = ()
    max_age: int | None = None
    amr: tuple[str, ...] = ()
    unmet: tuple[Mapping[str, Any], ...] = ()
    resource_metadata: str | None = None

    @property
    def wants(self) -> tuple[object, ...]:
        """Requirements of a new authorization. One meets all challenges with equal `wants`."""
        return self.acr_values, self.amr, self.max_age

    def parameters(self, *, essential: bool = False) -> dict[str, str]:
        """Return what to add to the authorization request (OpenID Connect Core 3.1.2.1).

        Age and class belong into one request: a new login for the one alone may lose the other.

        Args:
            essential: Ask by `claims` instead of `acr_values` (section 5.5.1.1). An issuer may
                ignore `acr_values`, and often does while a session lives; an essential class it
                may not. Only for issuers whose metadata have `claims_parameter_supported`. The two
                are never sent together: issuers then go by either.
        """
        asked: dict[str, str] = {}
        if self.acr_values and essential:
            acr = {"essential": True, "values": list(self.acr_values)}
            asked["claims"] = json.dumps({"id_token": {"acr": acr}}, separators=(",", ":"))
        elif self.acr_values:
            asked["acr_values"] = " ".join(self.acr_values)
        if self.max_age is not None:
            asked["max_age"] = str(self.max_age)
        return asked


NewTokens: TypeAlias = str | SessionTokens | None
Authorize: TypeAlias = Callable[[AuthorizationRequest], NewTokens | Awaitable[NewTokens]]
StepUpPrompt: TypeAlias = Callable[[StepUpQuestion], str | Awaitable[str | None] | None]


def new_session_of(answer: object, held: StepUpTokens) -> StepUpTokens:
    """Return the tokens that an authorization gave; a text is an access token alone.

    The refresh token stays the one that is *held* unless there is another.

    Raises:
        TypeError: They are no tokens.
        ValueError: A token cannot be sent.
    """
    if isinstance(answer, str):
        answer = StepUpTokens(answer)
    session = session_of(answer)
    del answer
    return StepUpTokens(session.session_token, session.refresh_token or held.refresh_token)


def session_of(tokens: object) -> StepUpTokens:
    """Return a copy of *tokens* that cannot change.

    Raises:
        TypeError: They are no session.
        ValueError: A token cannot be sent: it is empty, or no bearer token (RFC 6750 2.1).
    """
    session: object = getattr(tokens, "session_token", None)
    refresh: object = getattr(tokens, "refresh_token", None)
    if not isinstance(session, str) or not isinstance(refresh, str | None):
        msg = (
            "tokens must be a session: an object with session_token and refresh_token, such as "
            f"StepUpTokens; got {type(tokens).__name__}."
        )
        del session, refresh
        raise TypeError(msg)
    if not is_token(session) or not (refresh is None or is_token(refresh)):
        del session, refresh  # Error reports show the variables of each frame.
        msg = "A token has a character that no bearer token has, or is empty."
        raise ValueError(msg)
    return StepUpTokens(session, refresh)


def is_token(value: object) -> TypeGuard[str]:
    """Return whether *value* is text that can be sent as a bearer token (RFC 6750 2.1)."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def subject_of(token: str) -> str | None:
    """Return the `sub` of a JWT; `None` if it cannot be read. Does not verify anything."""
    payload = f"{token}..".split(".")[1]
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return None
    subject = claims.get("sub") if isinstance(claims, dict) else None
    return subject if isinstance(subject, str) else None

"""The error tree, and what each error tells a client.

```text
ConfigurationError (ValueError)    the program is set up wrong; raised at construction
StepUpError (starlette HTTPException)
├── Unauthenticated          401   no credentials
├── InvalidRequest           400   two tokens, or an unreadable Authorization field
├── InvalidToken             401   bad, expired, foreign or refresh token
├── StepUpRequired           401   a session that is not stepped up, too old, or by another factor
├── ImpersonationRefused     403   an impersonated session where step-up is asked
├── CrossSiteRequest         403   a cookie without same-origin evidence
├── KeysUnavailable          503   no usable key set
├── RevocationUnavailable    503   the application's own revocation check failed
└── HelperRouteError               answers of the helper routes only
    ├── InvalidBody            422   ├── SubjectMismatch        403
    ├── UnsupportedMediaType   415   ├── DeliveryUnavailable    400
    ├── BodyTooLarge           413   ├── TooManyAttempts        429
    ├── RefreshTokenRequired   400   ├── DescopeUnavailable     503
    ├── OTPRejected            400   ├── DescopeError           502
    ├── OTPExpired             400   ├── NoStepUpMethod         403
    ├── LinkRejected           400   └── ProviderRejected       400
    └── PasskeyRejected        400
```

What a client sees is fixed text from this file; no request data is ever reflected.
"""

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final

from starlette.exceptions import HTTPException

from fastapi_stepup.challenge import Challenge

PROBLEM_TYPE_PREFIX: Final = "urn:fastapi-stepup:problem:"
MAX_RETRY_AFTER: Final = 3600


class ConfigurationError(ValueError):
    """The program is configured wrong; the message says what to change."""


class RejectReason(StrEnum):
    """Why a token was refused: for operators and events, never sent to a client."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    HEADER = "header"
    ALGORITHM = "algorithm"
    TYPE = "type"
    KEY_ID = "key_id"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    CLAIM_MISSING = "claim_missing"
    CLAIM_INVALID = "claim_invalid"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    LIFETIME = "lifetime"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    SUBJECT = "subject"
    NOT_A_SESSION = "not_a_session"
    SENDER_CONSTRAINED = "sender_constrained"
    REVOKED = "revoked"


class FailureReason(StrEnum):
    """Why outbound HTTP gave nothing usable: a closed set, for operators, events and health.

    Up to `NOT_JSON` any request can fail so; the rest is about key sets.
    """

    CONNECT = "connect"
    TIMEOUT = "timeout"
    TRANSPORT = "transport"
    ENCODING = "encoding"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    REDIRECT = "redirect"
    THROTTLED = "throttled"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    STATUS = "status"
    NOT_MODIFIED = "not_modified"
    NOT_A_KEY_SET = "not_a_key_set"
    TOO_MANY_KEYS = "too_many_keys"
    NO_USABLE_KEY = "no_usable_key"
    UNEXPECTED = "unexpected"


class Problem(dict[str, Any]):
    """An RFC 9457 problem as the `detail` of an `HTTPException`.

    FastAPI's own handler puts it into JSON as it is. Starlette's own handler expects text and
    calls `encode`, which therefore gives the same JSON.
    """

    def encode(self, charset: str = "utf-8") -> bytes:
        """Return the problem as JSON text in *charset*."""
        return json.dumps(self, ensure_ascii=False, separators=(",", ":")).encode(charset)


class StepUpError(HTTPException):
    """Base of everything that a client is answered with.

    Both frameworks answer it with nothing registered, headers included. `problem` is the
    RFC 9457 body, `headers` holds `Cache-Control: no-store` and, where the status asks for one,
    exactly one challenge.

    Args:
        realm: The protection space named in the challenge; the guard fills it in.
        retry_after: Seconds until a retry makes sense, sent as `Retry-After`: rounded up, and
            kept between 1 and `MAX_RETRY_AFTER`.
        members: Extension members of the problem.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    text: ClassVar[str]
    challenge_error: ClassVar[str | None] = None
    challenges: ClassVar[bool] = False

    retry_after: int | None
    members: dict[str, Any]
    realm: str | None
    problem: Problem

    def __init_subclass__(
        cls,
        *,
        status: int | None = None,
        code: str = "",
        title: str = "",
        text: str = "",
        challenges: bool = False,
        challenge_error: str | None = None,
    ) -> None:
        """Take the wire form of a subclass; one without a status only groups others."""
        super().__init_subclass__()
        if status is not None:
            cls.status, cls.code, cls.title, cls.text = status, code, title, text
            cls.challenges, cls.challenge_error = challenges, challenge_error

    def __init__(
        self, *, realm: str | None = None, retry_after: float | None = None, **members: Any
    ) -> None:
        self.retry_after = (
            None if retry_after is None else math.ceil(min(max(1, retry_after), MAX_RETRY_AFTER))
        )
        self.members = members
        self.realm = realm
        self.problem = Problem()
        super().__init__(self.status, detail=self.problem)  # type: ignore[arg-type]
        self.bind(realm=realm)

    def bind(self, *, realm: str | None, **members: Any) -> None:
        """Complete the wire form with what only the guard knows: its realm and its routes."""
        self.realm = realm
        self.members = self.members | members
        self.problem.clear()
        self.problem |= {
            "type": PROBLEM_TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.text,
            "code": self.code,
            **self.members,
        }
        headers = {"Cache-Control": "no-store"}
        challenge = self.challenge()
        if challenge is not None:
            headers["WWW-Authenticate"] = str(challenge)
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        self.headers: Mapping[str, str] = headers

    def challenge(self) -> Challenge | None:
        """The challenge that goes with the answer, if its status asks for one."""
        if not self.challenges:
            return None
        described = self.text if self.challenge_error else None
        return Challenge.bearer(
            realm=self.realm, error=self.challenge_error, error_description=described
        )

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.text}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Unauthenticated(
    StepUpError,
    status=401,
    code="unauthenticated",
    title="Authentication required",
    text="Sign in and send the session token as a bearer token.",
    challenges=True,
):
    """No credentials came: 401 and a challenge without error code (RFC 6750 section 3.1)."""


class InvalidRequest(
    StepUpError,
    status=400,
    code="invalid_request",
    title="Unreadable credentials",
    text="Send exactly one session token, in one way.",
    challenges=True,
    challenge_error="invalid_request",
):
    """Two tokens, or an `Authorization` field that cannot be read (RFC 6750 section 3.1)."""


class InvalidToken(
    StepUpError,
    status=401,
    code="invalid_token",
    title="Invalid session token",
    text="The session token is not valid or has expired. Sign in again.",
    challenges=True,
    challenge_error="invalid_token",
):
    """The token does not pass: malformed, expired, foreign, forged or a refresh token.

    Args:
        reason: Why, for operators. A client is told no more than `invalid_token`.
    """

    def __init__(self, reason: RejectReason, *, realm: str | None = None) -> None:
        self.reason = reason
        super().__init__(realm=realm)

    def __repr__(self) -> str:
        return f"InvalidToken({self.reason.value})"


class StepUpRequired(
    StepUpError,
    status=401,
    code="insufficient_user_authentication",
    title="Step-up authentication required",
    text="This action needs a fresh proof that it is you. Complete a step-up and try again.",
    challenges=True,
    challenge_error="insufficient_user_authentication",
):
    """A valid session that does not meet the route's policy: the RFC 9470 challenge.

    Args:
        unmet: What is missing or expired, as `{"requirement": …, "reason": …}`.
        max_age: The policy's window in whole seconds.
        acr_values: Accepted authentication context classes; any one will do.
        amr: Accepted authentication methods; any one will do.
        unmet_after_step_up: Whether the session was stepped up just now and still falls short, so
            that the same step-up again would not help.
    """

    def __init__(
        self,
        unmet: list[dict[str, str]],
        *,
        max_age: int | None = None,
        acr_values: tuple[str, ...] = (),
        amr: tuple[str, ...] = (),
        unmet_after_step_up: bool = False,
        realm: str | None = None,
    ) -> None:
        self.max_age: int | None = max_age
        self.acr_values: tuple[str, ...] = acr_values
        members: dict[str, Any] = {"unmet": unmet}
        if unmet_after_step_up:
            members["unmet_after_step_up"] = True
        if max_age is not None:
            members["max_age"] = max_age
        if acr_values:
            members["acr_values"] = list(acr_values)
        if amr:
            members["amr"] = list(amr)
        super().__init__(realm=realm, **members)

    def challenge(self) -> Challenge:
        """The RFC 9470 section 3 challenge: everything unmet in one."""
        return Challenge.bearer(
            realm=self.realm,
            error=self.challenge_error,
            error_description=self.text,
            acr_values=self.acr_values,
            max_age=self.max_age,
        )


class ImpersonationRefused(
    StepUpError,
    status=403,
    code="impersonation_refused",
    title="Impersonation refused",
    text="An impersonated session cannot do this. The account's owner has to.",
):
    """An impersonated session (`act`) on a route that asks the real user to step up."""


class CrossSiteRequest(
    StepUpError,
    status=403,
    code="cross_site_request",
    title="Cross-site request refused",
    text=(
        "A request that a cookie authenticates must come from this site's own pages: send"
        " Sec-Fetch-Site or Origin, or send the session token as a bearer token."
    ),
):
    """A session cookie came without evidence that the request is same-origin."""


class KeysUnavailable(
    StepUpError,
    status=503,
    code="keys_unavailable",
    title="Verification keys unavailable",
    text="Sessions cannot be verified right now. Try again shortly.",
):
    """No usable key set can be had, so nothing can be verified; nobody is logged out."""

    def __init__(self, *, retry_after: float = 1, realm: str | None = None) -> None:
        super().__init__(realm=realm, retry_after=retry_after)


class RevocationUnavailable(
    StepUpError,
    status=503,
    code="revocation_unavailable",
    title="Revocation check unavailable",
    text="Sessions cannot be verified right now. Try again shortly.",
):
    """The application's `is_revoked` failed, so nothing is known; nobody is logged out."""

    def __init__(self, *, retry_after: float = 1, realm: str | None = None) -> None:
        super().__init__(realm=realm, retry_after=retry_after)


class HelperRouteError(StepUpError):
    """Base of the answers that only the helper routes give."""


class InvalidBody(
    HelperRouteError,
    status=422,
    code="invalid_body",
    title="Invalid request body",
    text="The request body does not have the members that this route takes.",
):
    """The JSON body is not what the route takes; its values are never echoed.

    Args:
        errors: `{"field": …, "problem": …}` for each member at fault, names only.
    """

    def __init__(self, errors: list[dict[str, str]] | None = None) -> None:
        members: dict[str, Any] = {"errors": errors} if errors else {}
        super().__init__(**members)


class UnsupportedMediaType(
    HelperRouteError,
    status=415,
    code="unsupported_media_type",
    title="Unsupported media type",
    text="Send the body as application/json.",
):
    """The body is not `application/json`, so a cross-site form could have sent it."""


class BodyTooLarge(
    HelperRouteError,
    status=413,
    code="body_too_large",
    title="Request body too large",
    text="The request body is larger than this route takes.",
):
    """The body is larger than these routes ever need."""


class RefreshTokenRequired(
    HelperRouteError,
    status=400,
    code="refresh_token_required",
    title="Refresh token required",
    text=(
        "Send the refresh token that belongs to this session, in the refresh cookie or as"
        " refresh_token in the body."
    ),
):
    """Descope steps a session up only for its refresh token, and none came."""


class DeliveryUnavailable(
    HelperRouteError,
    status=400,
    code="delivery_unavailable",
    title="Delivery method unavailable",
    text="A code cannot be sent to you this way. Choose another delivery method.",
):
    """The user has no address for this delivery method."""


class NoStepUpMethod(
    HelperRouteError,
    status=403,
    code="no_step_up_method",
    title="No way to step up",
    text="Your account has no way to confirm that it is you. Add one and try again.",
):
    """The user can use none of the mounted methods; asking again does not help.

    Args:
        enroll_uri: Where they can enrol one, if the app says so.
    """

    def __init__(self, *, enroll_uri: str | None = None) -> None:
        members: dict[str, Any] = {} if enroll_uri is None else {"enroll_uri": enroll_uri}
        super().__init__(**members)


class LinkRejected(
    HelperRouteError,
    status=400,
    code="link_rejected",
    title="Link rejected",
    text="That link does not work any more. Ask for a new one.",
):
    """The link's token is wrong, used or expired, or nothing is waiting for it."""


class PasskeyRejected(
    HelperRouteError,
    status=400,
    code="passkey_rejected",
    title="Passkey rejected",
    text="The passkey could not be verified. Try again.",
):
    """The passkey's answer does not fit the challenge."""


class ProviderRejected(
    HelperRouteError,
    status=400,
    code="provider_rejected",
    title="Provider's answer rejected",
    text="The sign-in at the provider could not be completed. Try again.",
):
    """The code that came back from a provider is wrong, used or expired."""


class OTPRejected(
    HelperRouteError,
    status=400,
    code="otp_rejected",
    title="Code rejected",
    text="That code is not right. Check it and try again.",
):
    """The code is wrong, or no code is waiting."""


class OTPExpired(
    HelperRouteError,
    status=400,
    code="otp_expired",
    title="Code expired",
    text="That code has expired. Ask for a new one.",
):
    """The code was right once; it is too old now."""


class TooManyAttempts(
    HelperRouteError,
    status=429,
    code="too_many_attempts",
    title="Too many attempts",
    text="Too many attempts. Wait a little and ask for a new code.",
):
    """Too many codes were tried or sent; `Retry-After` says when to try again."""

    def __init__(self, *, retry_after: float = 60) -> None:
        super().__init__(retry_after=retry_after)


class SubjectMismatch(
    HelperRouteError,
    status=403,
    code="subject_mismatch",
    title="Different user",
    text="The proof belongs to another account than the session. Sign in again.",
):
    """The proof belongs to another user than the session; no token is passed on."""


class DescopeUnavailable(
    HelperRouteError,
    status=503,
    code="descope_unavailable",
    title="Authentication service unavailable",
    text="The authentication service cannot be reached right now. Try again shortly.",
):
    """Descope cannot be reached or is out of order; nothing was changed here."""

    def __init__(self, *, retry_after: float = 5) -> None:
        super().__init__(retry_after=retry_after)


class DescopeError(
    HelperRouteError,
    status=502,
    code="descope_error",
    title="Unusable answer from the authentication service",
    text="The authentication service gave an answer that cannot be used.",
):
    """Descope answered something that cannot be trusted or understood."""

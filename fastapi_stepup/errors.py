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
    ├── OTPRejected            400   └── DescopeError           502
    └── OTPExpired             400
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


class Unauthenticated(StepUpError):
    """No credentials came: 401 and a challenge without error code (RFC 6750 section 3.1)."""

    status, code = 401, "unauthenticated"
    title = "Authentication required"
    text = "Sign in and send the session token as a bearer token."
    challenges = True


class InvalidRequest(StepUpError):
    """Two tokens, or an `Authorization` field that cannot be read (RFC 6750 section 3.1)."""

    status, code = 400, "invalid_request"
    title = "Unreadable credentials"
    text = "Send exactly one session token, in one way."
    challenges, challenge_error = True, "invalid_request"


class InvalidToken(StepUpError):
    """The token does not pass: malformed, expired, foreign, forged or a refresh token.

    Args:
        reason: Why, for operators. A client is told no more than `invalid_token`.
    """

    status, code = 401, "invalid_token"
    title = "Invalid session token"
    text = "The session token is not valid or has expired. Sign in again."
    challenges, challenge_error = True, "invalid_token"

    def __init__(self, reason: RejectReason, *, realm: str | None = None) -> None:
        self.reason = reason
        super().__init__(realm=realm)

    def __repr__(self) -> str:
        return f"InvalidToken({self.reason.value})"


class StepUpRequired(StepUpError):
    """A valid session that does not meet the route's policy: the RFC 9470 challenge.

    Args:
        unmet: What is missing or expired, as `{"requirement": …, "reason": …}`.
        max_age: The policy's window in whole seconds.
        acr_values: Accepted authentication context classes; any one will do.
        amr: Accepted authentication methods; any one will do.
    """

    status, code = 401, "insufficient_user_authentication"
    title = "Step-up authentication required"
    text = "This action needs a fresh proof that it is you. Complete a step-up and try again."
    challenges, challenge_error = True, "insufficient_user_authentication"

    def __init__(
        self,
        unmet: list[dict[str, str]],
        *,
        max_age: int | None = None,
        acr_values: tuple[str, ...] = (),
        amr: tuple[str, ...] = (),
        realm: str | None = None,
    ) -> None:
        self.max_age, self.acr_values = max_age, acr_values
        members: dict[str, Any] = {"unmet": unmet}
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


class ImpersonationRefused(StepUpError):
    """An impersonated session (`act`) on a route that asks the real user to step up."""

    status, code = 403, "impersonation_refused"
    title = "Impersonation refused"
    text = "An impersonated session cannot do this. The account's owner has to."


class CrossSiteRequest(StepUpError):
    """A session cookie came without evidence that the request is same-origin."""

    status, code = 403, "cross_site_request"
    title = "Cross-site request refused"
    text = (
        "A request that a cookie authenticates must come from this site's own pages: send "
        "Sec-Fetch-Site or Origin, or send the session token as a bearer token."
    )


class KeysUnavailable(StepUpError):
    """No usable key set can be had, so nothing can be verified; nobody is logged out."""

    status, code = 503, "keys_unavailable"
    title = "Verification keys unavailable"
    text = "Sessions cannot be verified right now. Try again shortly."

    def __init__(self, *, retry_after: float = 1, realm: str | None = None) -> None:
        super().__init__(realm=realm, retry_after=retry_after)


class RevocationUnavailable(StepUpError):
    """The application's `is_revoked` failed, so nothing is known; nobody is logged out."""

    status, code = 503, "revocation_unavailable"
    title = "Revocation check unavailable"
    text = "Sessions cannot be verified right now. Try again shortly."

    def __init__(self, *, retry_after: float = 1, realm: str | None = None) -> None:
        super().__init__(realm=realm, retry_after=retry_after)


class HelperRouteError(StepUpError):
    """Base of the answers that only the helper routes give."""


class InvalidBody(HelperRouteError):
    """The JSON body is not what the route takes; its values are never echoed.

    Args:
        errors: `{"field": …, "problem": …}` for each member at fault, names only.
    """

    status, code = 422, "invalid_body"
    title = "Invalid request body"
    text = "The request body does not have the members that this route takes."

    def __init__(self, errors: list[dict[str, str]] | None = None) -> None:
        members: dict[str, Any] = {"errors": errors} if errors else {}
        super().__init__(**members)


class UnsupportedMediaType(HelperRouteError):
    """The body is not `application/json`, so a cross-site form could have sent it."""

    status, code = 415, "unsupported_media_type"
    title = "Unsupported media type"
    text = "Send the body as application/json."


class BodyTooLarge(HelperRouteError):
    """The body is larger than these routes ever need."""

    status, code = 413, "body_too_large"
    title = "Request body too large"
    text = "The request body is larger than this route takes."


class RefreshTokenRequired(HelperRouteError):
    """Descope steps a session up only for its refresh token, and none came."""

    status, code = 400, "refresh_token_required"
    title = "Refresh token required"
    text = (
        "Send the refresh token that belongs to this session, in the refresh cookie or as "
        "refresh_token in the body."
    )


class DeliveryUnavailable(HelperRouteError):
    """The user has no address for this delivery method."""

    status, code = 400, "delivery_unavailable"
    title = "Delivery method unavailable"
    text = "A code cannot be sent to you this way. Choose another delivery method."


class OTPRejected(HelperRouteError):
    """The code is wrong, or no code is waiting."""

    status, code = 400, "otp_rejected"
    title = "Code rejected"
    text = "That code is not right. Check it and try again."


class OTPExpired(HelperRouteError):
    """The code was right once; it is too old now."""

    status, code = 400, "otp_expired"
    title = "Code expired"
    text = "That code has expired. Ask for a new one."


class TooManyAttempts(HelperRouteError):
    """Too many codes were tried or sent; `Retry-After` says when to try again."""

    status, code = 429, "too_many_attempts"
    title = "Too many attempts"
    text = "Too many attempts. Wait a little and ask for a new code."

    def __init__(self, *, retry_after: float = 60) -> None:
        super().__init__(retry_after=retry_after)


class SubjectMismatch(HelperRouteError):
    """The proof belongs to another user than the session; no token is passed on."""

    status, code = 403, "subject_mismatch"
    title = "Different user"
    text = "The proof belongs to another account than the session. Sign in again."


class DescopeUnavailable(HelperRouteError):
    """Descope cannot be reached or is out of order; nothing was changed here."""

    status, code = 503, "descope_unavailable"
    title = "Authentication service unavailable"
    text = "The authentication service cannot be reached right now. Try again shortly."

    def __init__(self, *, retry_after: float = 5) -> None:
        super().__init__(retry_after=retry_after)


class DescopeError(HelperRouteError):
    """Descope answered something that cannot be trusted or understood."""

    status, code = 502, "descope_error"
    title = "Unusable answer from the authentication service"
    text = "The authentication service gave an answer that cannot be used."

"""Descope's error replies, with error code and HTTP status.

The body is always JSON: `{"errorCode", "errorDescription", "errorMessage"}`. The error codes are
those that the official SDKs know.

Guesses: the statuses of the E06xxxx codes, except E062108 (400), E062503 and E062903 (401).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error reply of Descope.

    Attributes:
        status: The HTTP status.
        code: Descope's `errorCode`.
        description: Descope's `errorDescription`.
    """

    status: int
    code: str
    description: str


MALFORMED = ErrorReply(400, "E011001", "Request is malformed")
MISSING_ARGUMENT = ErrorReply(400, "E011002", "Request is missing required arguments")
INVALID_BODY = ErrorReply(400, "E011003", "Request failed validation")
INVALID_ARGUMENT = ErrorReply(400, "E011004", "Request contains invalid arguments")
NOT_FOUND = ErrorReply(404, "E011001", "No such endpoint in the emulator")
METHOD_NOT_ALLOWED = ErrorReply(405, "E011001", "The endpoint does not take this method")
UNKNOWN_PROJECT = ErrorReply(401, "E011004", "Unknown project")
INVALID_TOKEN = ErrorReply(401, "E061005", "Invalid token")
WRONG_CODE = ErrorReply(401, "E061102", "Invalid code")
TOO_MANY_ATTEMPTS = ErrorReply(401, "E061103", "Too many attempts")
CODE_EXPIRED = ErrorReply(401, "E061104", "Code expired")
EXCHANGE_FAILED = ErrorReply(401, "E061301", "Failed to exchange the code")
USER_EXISTS = ErrorReply(400, "E062107", "User already exists")
USER_NOT_FOUND = ErrorReply(400, "E062108", "User not found")
LINK_PENDING = ErrorReply(401, "E062503", "Enchanted link is still pending")
LINK_EXPIRED = ErrorReply(401, "E062504", "Token expired")
WRONG_ACCESS_KEY = ErrorReply(401, "E062803", "Invalid access key")
WRONG_PASSWORD = ErrorReply(401, "E062903", "Password sign-in failed")
LOGGED_OUT = ErrorReply(401, "E064001", "Refresh token was revoked by logout")
NOTP_PENDING = ErrorReply(401, "E066103", "NOTP sign-in is still pending")
FLOW_EXPIRED = ErrorReply(400, "E103205", "Flow timed out")
RATE_LIMITED = ErrorReply(429, "E130429", "API rate limit exceeded")
SERVER_ERROR = ErrorReply(500, "E010009", "Unknown server error")


class Refusal(Exception):
    """The request is answered with an error reply.

    Args:
        error: The reply.
        message: Descope's `errorMessage`: a sentence for the developer, never a secret.
        retry_after: Seconds for the `Retry-After` header.
    """

    def __init__(
        self, error: ErrorReply, message: str = "", *, retry_after: int | None = None
    ) -> None:
        super().__init__(error.description)
        self.error = error
        self.message = message
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, str]:
        """The JSON body of the reply."""
        description = self.error.description
        return {
            "errorCode": self.error.code,
            "errorDescription": description,
            "errorMessage": self.message or description,
        }

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the reply, beyond those of any JSON reply."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

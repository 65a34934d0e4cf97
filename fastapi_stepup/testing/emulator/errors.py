"""The error replies of Descope: one line per fault, with Descope's code and the HTTP status.

Body: `{"errorCode", "errorDescription", "errorMessage"}`, always JSON. The codes are those that
the official SDKs and their users know. The statuses of the E06xxxx codes are guesses, but for
E062108 (400), and for E062503 and E062903 (401).
"""

from typing import NamedTuple


class Fault(NamedTuple):
    """One way in which a request is refused."""

    status: int
    code: str
    description: str


MALFORMED = Fault(400, "E011001", "Request is malformed")
MISSING_ARGUMENT = Fault(400, "E011002", "Request is missing required arguments")
INVALID_BODY = Fault(400, "E011003", "Request failed validation")
INVALID_ARGUMENT = Fault(400, "E011004", "Request contains invalid arguments")
NOT_FOUND = Fault(404, "E011001", "No such endpoint in the emulator")
METHOD_NOT_ALLOWED = Fault(405, "E011001", "The endpoint does not take this method")
UNKNOWN_PROJECT = Fault(401, "E011004", "Unknown project")
INVALID_TOKEN = Fault(401, "E061005", "Invalid token")
WRONG_CODE = Fault(401, "E061102", "Invalid code")
TOO_MANY_ATTEMPTS = Fault(401, "E061103", "Too many attempts")
CODE_EXPIRED = Fault(401, "E061104", "Code expired")
EXCHANGE_FAILED = Fault(401, "E061301", "Failed to exchange the code")
USER_EXISTS = Fault(400, "E062107", "User already exists")
USER_NOT_FOUND = Fault(400, "E062108", "User not found")
LINK_PENDING = Fault(401, "E062503", "Enchanted link is still pending")
LINK_EXPIRED = Fault(401, "E062504", "Token expired")
WRONG_ACCESS_KEY = Fault(401, "E062803", "Invalid access key")
WRONG_PASSWORD = Fault(401, "E062903", "Password sign-in failed")
LOGGED_OUT = Fault(401, "E064001", "Refresh token was revoked by logout")
NOTP_PENDING = Fault(401, "E066103", "NOTP sign-in is still pending")
RATE_LIMITED = Fault(429, "E130429", "API rate limit exceeded")
SERVER_ERROR = Fault(500, "E010009", "Unknown server error")


class Refusal(Exception):
    """A request is answered with a fault.

    Args:
        fault: What happened.
        message: Descope's `errorMessage`: a sentence for the developer, never a secret.
        retry_after: Seconds for the `Retry-After` header.
    """

    def __init__(self, fault: Fault, message: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(fault.description)
        self.fault = fault
        self.message = message
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, str]:
        """The JSON body of the reply."""
        _, code, description = self.fault
        return {
            "errorCode": code,
            "errorDescription": description,
            "errorMessage": self.message or description,
        }

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the reply, beyond those of any JSON reply."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

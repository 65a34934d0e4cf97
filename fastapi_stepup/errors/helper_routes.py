"""Errors that only the helper routes answer with."""

from typing import Any

from fastapi_stepup.errors.base import StepUpError


class HelperRouteError(StepUpError):
    """Base of the answers that only the helper routes give."""


class InvalidBody(HelperRouteError):
    """The JSON body has not the form that the route takes. Its values are never echoed.

    Args:
        errors: `{"field": …, "problem": …}` for each member at fault, names only.
    """

    status = 422
    code = "invalid_body"
    title = "Invalid request body"
    text = "The request body does not have the members that this route takes."

    def __init__(self, errors: list[dict[str, str]] | None = None) -> None:
        members: dict[str, Any] = {"errors": errors} if errors else {}
        super().__init__(**members)


class UnsupportedMediaType(HelperRouteError):
    """The body is not `application/json`. A cross-site form could have sent it."""

    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"
    text = "Send the body as application/json."


class BodyTooLarge(HelperRouteError):
    """The body is larger than any helper route needs."""

    status = 413
    code = "body_too_large"
    title = "Request body too large"
    text = "The request body is larger than this route takes."


class RefreshTokenRequired(HelperRouteError):
    """No refresh token was sent. Descope steps a session up only for its refresh token."""

    status = 400
    code = "refresh_token_required"
    title = "Refresh token required"
    text = (
        "Send the refresh token that belongs to this session, in the refresh cookie or as"
        " refresh_token in the body."
    )


class DeliveryUnavailable(HelperRouteError):
    """The user cannot use this delivery or method: nothing is on file, or Descope has it not."""

    status = 400
    code = "delivery_unavailable"
    title = "Step-up method unavailable"
    text = "You cannot confirm it this way. Choose another delivery or method."


class NoStepUpMethod(HelperRouteError):
    """The user can use none of the mounted methods. Asking again does not help.

    Args:
        enroll_uri: Page where the user can enrol one.
    """

    status = 403
    code = "no_step_up_method"
    title = "No way to step up"
    text = "Your account has no way to confirm that it is you. Add one and try again."

    def __init__(self, *, enroll_uri: str | None = None) -> None:
        members: dict[str, Any] = {} if enroll_uri is None else {"enroll_uri": enroll_uri}
        super().__init__(**members)


class LinkRejected(HelperRouteError):
    """The link's token is wrong, used or expired, or nothing is pending for it."""

    status = 400
    code = "link_rejected"
    title = "Link rejected"
    text = "That link does not work any more. Ask for a new one."


class PasskeyRejected(HelperRouteError):
    """The passkey's answer does not fit the challenge."""

    status = 400
    code = "passkey_rejected"
    title = "Passkey rejected"
    text = "The passkey could not be verified. Try again."


class ProviderRejected(HelperRouteError):
    """The code that the provider returned is wrong, used or expired."""

    status = 400
    code = "provider_rejected"
    title = "Provider's answer rejected"
    text = "The sign-in at the provider could not be completed. Try again."


class OTPRejected(HelperRouteError):
    """The code is wrong, or no code is pending."""

    status = 400
    code = "otp_rejected"
    title = "Code rejected"
    text = "That code is not right. Check it and try again."


class OTPExpired(HelperRouteError):
    """The code is too old."""

    status = 400
    code = "otp_expired"
    title = "Code expired"
    text = "That code has expired. Ask for a new one."


class OTPExhausted(HelperRouteError):
    """The code was tried too often and is void. Waiting does not help, a new code does."""

    status = 400
    code = "otp_exhausted"
    title = "Code used up"
    text = "That code was tried too often and does not work any more. Ask for a new code."


class TooManyAttempts(HelperRouteError):
    """Too many codes were tried or sent. `Retry-After` says when to try again."""

    status = 429
    code = "too_many_attempts"
    title = "Too many attempts"
    text = "Too many attempts. Wait a little and try again."

    def __init__(self, *, retry_after: float = 60) -> None:
        super().__init__(retry_after=retry_after)


class SubjectMismatch(HelperRouteError):
    """The proof belongs to another user than the session. No token is passed on."""

    status = 403
    code = "subject_mismatch"
    title = "Different user"
    text = (
        "The proof belongs to another account. Use the account that you are signed in with, or"
        " sign in again."
    )


class DescopeUnavailable(HelperRouteError):
    """Descope cannot be reached or answers 5xx. Nothing was changed here."""

    status = 503
    code = "descope_unavailable"
    title = "Authentication service unavailable"
    text = "The authentication service cannot be reached right now. Try again shortly."

    def __init__(self, *, retry_after: float = 5) -> None:
        super().__init__(retry_after=retry_after)


class DescopeError(HelperRouteError):
    """Descope answered something that cannot be trusted or understood."""

    status = 502
    code = "descope_error"
    title = "Unusable answer from the authentication service"
    text = "The authentication service gave an answer that cannot be used. Try again later."

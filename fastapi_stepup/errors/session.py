"""Errors about the session that a request presents."""

from typing import Any, ClassVar

from fastapi_stepup.challenge import Challenge
from fastapi_stepup.errors.base import StepUpError
from fastapi_stepup.errors.reasons import RejectReason


class Unauthenticated(StepUpError):
    """No credentials were sent: a challenge without error code (RFC 6750 section 3.1)."""

    status = 401
    code = "unauthenticated"
    title = "Authentication required"
    text = "Sign in and send the session token as a bearer token."
    challenges = True


class InvalidRequest(StepUpError):
    """Two tokens, or an `Authorization` field that cannot be read (RFC 6750 section 3.1)."""

    status = 400
    code = "invalid_request"
    title = "Unreadable credentials"
    text = "Send exactly one session token, in one way."
    challenges = True
    challenge_error: ClassVar[str | None] = "invalid_request"


class InvalidToken(StepUpError):
    """The token was rejected: malformed, expired, foreign, forged or a refresh token.

    Args:
        reason: Why, for operators. A client is told no more than `invalid_token`.
    """

    status = 401
    code = "invalid_token"
    title = "Invalid session token"
    text = "The session token is not valid or has expired. Sign in again."
    challenges = True
    challenge_error: ClassVar[str | None] = "invalid_token"

    def __init__(self, reason: RejectReason, *, realm: str | None = None) -> None:
        self.reason = reason
        super().__init__(realm=realm)

    def _reason(self) -> str:
        return self.reason.value

    def __repr__(self) -> str:
        return f"InvalidToken({self.reason.value})"


class StepUpRequired(StepUpError):
    """A valid session does not meet the policy: the RFC 9470 challenge.

    Args:
        unmet: What is missing, expired or used, as `{"requirement": …, "reason": …}`.
        max_age: The policy's window in whole seconds.
        acr_values: Accepted authentication context classes; any one will do.
        amr: Accepted authentication methods; any one will do.
        alternatives: All that would be enough, nearest first, each with what is unmet; the members
            above are those of the first one.
        unmet_after_step_up: True if the session was stepped up in the last minute and still falls
            short. The same step-up again would not help.
    """

    status = 401
    code = "insufficient_user_authentication"
    title = "Step-up authentication required"
    text = "This action needs a fresh proof that it is you. Complete a step-up and try again."
    challenges = True
    challenge_error: ClassVar[str | None] = "insufficient_user_authentication"

    def __init__(
        self,
        unmet: list[dict[str, str]],
        *,
        max_age: int | None = None,
        acr_values: tuple[str, ...] = (),
        amr: tuple[str, ...] = (),
        alternatives: tuple[dict[str, Any], ...] = (),
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
        if alternatives:
            members["alternatives"] = list(alternatives)
        super().__init__(realm=realm, **members)

    def _reason(self) -> str:
        unmet = self.members["unmet"]
        return ", ".join(f"{each['requirement']} {each['reason']}" for each in unmet)

    def challenge(self) -> Challenge:
        """Return one challenge with all that is unmet (RFC 9470 section 3)."""
        return Challenge.bearer(
            realm=self.realm,
            error=self.challenge_error,
            error_description=self.text,
            acr_values=self.acr_values,
            max_age=self.max_age,
            resource_metadata=self.resource_metadata,
        )


class ImpersonationRefused(StepUpError):
    """An impersonated session (`act`) was sent where the user must step up."""

    status = 403
    code = "impersonation_refused"
    title = "Impersonation refused"
    text = "An impersonated session cannot do this. The account's owner has to."


class CrossSiteRequest(StepUpError):
    """A session cookie was sent without evidence that the request is same-origin."""

    status = 403
    code = "cross_site_request"
    title = "Cross-site request refused"
    text = (
        "A request that a cookie authenticates must come from this site's own pages: send"
        " Sec-Fetch-Site or Origin, or send the session token as a bearer token."
    )


class PageOriginRequired(CrossSiteRequest):
    """A passkey step-up was asked for without the origin of a page that may use it.

    The origin goes to Descope and into the passkey's signature, so it is never guessed.
    """

    text = (
        "A passkey works on a page of this site only. Send this request from there with fetch():"
        " the browser adds Origin."
    )


class KeysUnavailable(StepUpError):
    """There is no usable key set, so no token can be verified. No session ends by this."""

    status = 503
    code = "keys_unavailable"
    title = "Verification keys unavailable"
    text = "Sessions cannot be verified right now. Try again shortly."

    def __init__(self, *, retry_after: float = 1, realm: str | None = None) -> None:
        super().__init__(realm=realm, retry_after=retry_after)


class RevocationUnavailable(StepUpError):
    """The application's `is_revoked` hook failed. No session ends by this."""

    status = 503
    code = "revocation_unavailable"
    title = "Revocation check unavailable"
    text = "Sessions cannot be verified right now. Try again shortly."

    def __init__(self, *, retry_after: float = 1, realm: str | None = None) -> None:
        super().__init__(realm=realm, retry_after=retry_after)


class StepUpBusy(StepUpError):
    """The one-time step-up is in use by another request, which may still give it back."""

    status = 409
    code = "step_up_busy"
    title = "Step-up in use"
    text = "Another request is using this step-up. Try again shortly."

    def __init__(self, *, realm: str | None = None) -> None:
        super().__init__(realm=realm, retry_after=1)


class OneTimeUnavailable(StepUpError):
    """The store of one-time step-ups cannot be asked. No session ends by this."""

    status = 503
    code = "one_time_unavailable"
    title = "One-time check unavailable"
    text = "It cannot be checked right now whether this step-up was used. Try again shortly."

    def __init__(self, *, retry_after: float = 1, realm: str | None = None) -> None:
        super().__init__(realm=realm, retry_after=retry_after)

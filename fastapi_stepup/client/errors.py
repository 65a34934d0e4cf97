"""Errors of a step-up that a client could not finish."""

from collections.abc import Mapping
from typing import Any, Self


class StepUpFailed(Exception):
    """The step-up failed. The text is the server's own sentence for a person.

    Attributes:
        code: Code of the server's problem. Codes of this client are `"cancelled"`, `"failed"` (the
            answer has no problem), `"no_session"` (no token, or none that can be sent),
            `"no_step_up_method"` (no offered method proves what is asked for),
            `"redirected"` (a route of the step-up led elsewhere, which is not followed),
            `"subject_mismatch"` (the new session is another user's), `"unreadable"` (the body
            cannot be decoded) and `"unmet_authentication_requirements"` (see `StepUpUnmet`).
        problem: The whole problem; empty when the server gave none.
        retry_after: Seconds after which another try makes sense.
    """

    def __init__(
        self,
        code: str,
        *,
        problem: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.code = code
        self.problem: Mapping[str, Any] = problem or {}
        self.retry_after = retry_after
        detail = self.problem.get("detail")
        text = detail if isinstance(detail, str) and detail else code
        # JSON may hold halves of characters, which no terminal and no log can write.
        super().__init__(text.encode("utf-8", "replace").decode())

    def copy(self) -> Self:
        """Return an equal error, for another request that waited for the same prompt."""
        return type(self)(self.code, problem=self.problem, retry_after=self.retry_after)


class StepUpCancelled(StepUpFailed):
    """The prompt gave no code."""


class StepUpUnmet(StepUpFailed):
    """The request was refused again with the tokens of a new authorization.

    The issuer ignores what it was asked for, or gave a login that is weaker or older than that. No
    second round is made, and the tokens from before are kept. `problem` is that of the second
    refusal.
    """

"""Step: reports what a helper route decided, as an event and an audit record."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from starlette.requests import Request

from fastapi_stepup import _clock
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import StepUpError
from fastapi_stepup.events import MethodName, StepUpFinished, StepUpStarted
from fastapi_stepup.guard.decisions import Decisions, outcome_of, reason_of

Action = Literal["start", "finish"]


class Step:
    """One request that starts or finishes a step-up.

    Args:
        decisions: Where it is reported.
        request: The request.
        method: The method.
        action: Which of both it is.

    Attributes:
        claims: Who the caller is, as soon as that is known.
        is_pending: True if there is nothing to report yet.
    """

    def __init__(
        self, decisions: Decisions, request: Request, method: MethodName, action: Action
    ) -> None:
        self.claims: Claims | None = None
        self.is_pending = False
        self._decisions = decisions
        self._request = request
        self._method = method
        self._action: Action = action
        self._started = _clock.monotonic()

    def ended(self, error: Exception | None) -> None:
        """Report how it ended. A start that did not succeed is in the audit trail only."""
        if self.is_pending:
            return
        outcome: Literal["succeeded", "refused", "failed"] = "succeeded"
        reason = None
        if isinstance(error, StepUpError):
            outcome, reason = outcome_of(error), reason_of(error)
        elif error is not None:
            outcome, reason = "failed", "error"
        emit = self._decisions.emit
        if self._action == "finish":
            duration = _clock.monotonic() - self._started
            finished = "finished" if outcome == "succeeded" else outcome
            emit(StepUpFinished(self._method, finished, duration))
        elif outcome == "succeeded":
            emit(StepUpStarted(self._method))
        self._decisions.record(
            self._request,
            self._action,
            outcome,
            claims=self.claims,
            method=self._method,
            reason=reason,
        )


@contextmanager
def reporting(
    decisions: Decisions, request: Request, method: MethodName, action: Action | None
) -> Iterator[Step | None]:
    """Report what the block does, whichever way it ends; `None` as action reports nothing."""
    if action is None or not decisions.active:
        yield None
        return
    step = Step(decisions, request, method, action)
    try:
        yield step
    except Exception as error:
        step.ended(error)
        raise
    step.ended(None)

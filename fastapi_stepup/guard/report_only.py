"""Authorizing for entry points that return no claims: report-only mode refuses nothing there."""

from collections.abc import Awaitable

from starlette.exceptions import WebSocketException
from starlette.requests import HTTPConnection

from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import StepUpError
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.guard.request_state import keep_policy
from fastapi_stepup.policy.policy import StepUpPolicy


def authorize_or_report(
    guard: StepUpGuard, connection: HTTPConnection, policy: StepUpPolicy | None = None
) -> Awaitable[Claims | None]:
    """Do what `StepUpGuard.authorize` does, and in report-only mode report its refusal.

    Returns `None` where there is no valid session and the refusal was only reported. A refusal that
    is raised is in no event yet: the caller may let the request pass all the same.

    Raises:
        StepUpError: As `authorize`.
        WebSocketException: As `authorize`.
    """
    if guard.report_only:
        return _reported(guard, connection, policy)
    return guard.authorize(connection, policy, entry_point=None)


async def _reported(
    guard: StepUpGuard, connection: HTTPConnection, policy: StepUpPolicy | None
) -> Claims | None:
    try:
        return await guard.authorize(connection, policy, entry_point=None)
    except (StepUpError, WebSocketException) as refusal:
        code = refusal.code if isinstance(refusal, StepUpError) else refusal.reason
        is_reported = guard.refusals.is_reported(code)
        guard.decisions.refused(connection, refusal, "middleware", reported=is_reported)
    keep_policy(connection, guard, policy)
    return None

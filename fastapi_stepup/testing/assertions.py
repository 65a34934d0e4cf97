"""Assertions about the responses of a guarded app."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from fastapi_stepup.challenge import Challenge

_CODE: Final = "insufficient_user_authentication"


class HasChallenge(Protocol):
    """A response of `httpx`, `httpx2`, Starlette's `TestClient` or `requests`."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, in any letter case; repeated ones joined by commas."""
        ...

    def json(self) -> Any:
        """Return the decoded body."""
        ...


def assert_step_up_challenge(
    response: HasChallenge,
    *,
    max_age: int | None = None,
    acr_values: Sequence[str] | None = None,
    amr: Sequence[str] | None = None,
    unmet: Sequence[Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Assert that *response* asks a signed-in user to step up, and return its problem.

    Checks the whole refusal:
    - status 401 and `Cache-Control: no-store`;
    - exactly one challenge with `error="insufficient_user_authentication"` in `WWW-Authenticate`;
    - a problem in the body, bare or as FastAPI's `detail`, with the values of the challenge.

    Args:
        response: From `httpx`, `httpx2` or a `TestClient`.
        max_age: The window in seconds that both must name; not checked when None.
        acr_values: The context classes that both must name, in order; not checked when None.
        amr: The `amr` values that the problem must name; not checked when None.
        unmet: The problem's `unmet`, as `[{"requirement": "step_up", "reason": "missing"}]`; when
            None, any non-empty list is accepted.

    Returns:
        The problem of RFC 9457, without FastAPI's wrapping.

    Raises:
        AssertionError: The response is another one. The message describes it, without tokens and
            without text of the body.

    References:
        RFC 9470 section 3, RFC 9457 section 3.1.
    """
    challenges = _challenges(response)
    seen = f"{response.status_code} with {_described(challenges)}"
    problem = _problem(response)
    _same("the status", response.status_code, 401, seen)
    _same("Cache-Control", response.headers.get("cache-control"), "no-store", seen)
    ours = [challenge for challenge in challenges if challenge.error == _CODE]
    _same(f"the number of {_CODE} challenges", len(ours), 1, seen)
    challenge = ours[0]
    _same("the challenge's scheme", challenge.scheme.lower(), "bearer", seen)
    _same("the problem's code", problem.get("code"), _CODE, seen)
    _same("the problem's status", problem.get("status"), 401, seen)
    _same("the problem's max_age", problem.get("max_age"), challenge.max_age, seen)
    in_problem = list(problem.get("acr_values", ()))
    _same("the problem's acr_values", in_problem, list(challenge.acr_values), seen)
    if max_age is not None:
        _same("max_age", challenge.max_age, max_age, seen)
    if acr_values is not None:
        _same("acr_values", list(challenge.acr_values), list(acr_values), seen)
    if amr is not None:
        _same("amr", list(problem.get("amr", ())), list(amr), seen)
    if unmet is not None:
        _same("unmet", problem.get("unmet"), [dict(requirement) for requirement in unmet], seen)
    elif not problem.get("unmet"):
        raise AssertionError(f"Expected the problem to say what is unmet, saw {seen}.")
    return problem


def _same(what: str, actual: object, expected: object, seen: str) -> None:
    if actual != expected:
        raise AssertionError(f"Expected {what} to be {expected!r}, not {actual!r}; saw {seen}.")


def _challenges(response: HasChallenge) -> list[Challenge]:
    try:
        return Challenge.parse(response.headers.get("www-authenticate", ""))
    except ValueError as error:
        raise AssertionError(f"WWW-Authenticate cannot be read: {error}") from None


def _described(challenges: Sequence[Challenge]) -> str:
    if not challenges:
        return "no challenge"
    described = (
        f"{challenge.scheme} error={challenge.error!r} max_age={challenge.max_age!r}"
        for challenge in challenges
    )
    return f"the challenge {' and '.join(described)}"


def _problem(response: HasChallenge) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    wrapped = body.get("detail") if isinstance(body, dict) else None
    problem = wrapped if isinstance(wrapped, dict) else body
    return problem if isinstance(problem, dict) else {}

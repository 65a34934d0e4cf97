"""Reading a 401: what the server asks for, and the routes to go to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx

from fastapi_stepup.challenge import Challenge
from fastapi_stepup.client.errors import StepUpFailed
from fastapi_stepup.client.models import StepUpQuestion

DELIVERIES: Final = ("email", "sms", "voice", "whatsapp")
_CODE: Final = "insufficient_user_authentication"


@dataclass(frozen=True, slots=True)
class StepUpChallenge:
    """A step-up challenge that this client can meet: requirements and routes."""

    routes: Mapping[str, Mapping[str, httpx.URL]]
    max_age: int | None
    acr_values: tuple[str, ...]
    amr: tuple[str, ...]
    unmet: tuple[Mapping[str, str], ...]

    @classmethod
    def read(cls, request: httpx.Request, response: httpx.Response) -> Self | None:
        """Return the challenge of *response*; `None` if the app has to handle the answer.

        Values come from the body, which says more, and else from the header.
        """
        # A redirect may have led to another origin, which must not ask the user anything.
        here = origin_of(request.url)
        if not is_refusal(response) or origin_of(response.url) != here:
            return None
        body = json_object(response)
        problem = body["detail"] if isinstance(body.get("detail"), dict) else body
        challenge = _challenge(response)
        if problem.get("code") != _CODE and challenge is None:
            return None
        amr = texts(problem.get("amr"))
        routes = _routes(problem, request.url)
        named = {} if "mfa" in amr else {name: routes[name] for name in routes if name in amr}
        # Stepped up just now, and not enough: only another method helps.
        if problem.get("unmet_after_step_up") is True:
            routes = named
        if not routes:
            return None
        max_age, unmet = problem.get("max_age"), problem.get("unmet")
        in_header = challenge or Challenge.bearer()
        return cls(
            routes=named or routes,
            max_age=max_age if isinstance(max_age, int) else in_header.max_age,
            acr_values=texts(problem.get("acr_values")) or in_header.acr_values,
            amr=amr,
            unmet=tuple(unmet) if isinstance(unmet, list) else (),
        )

    @property
    def wants(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What a step-up must prove; two challenges with equal `wants` are met by one step-up."""
        return self.amr, self.acr_values

    def question(self, method: str, destination: str | None, problem: str | None) -> StepUpQuestion:
        """Return the question for the prompt."""
        return StepUpQuestion(
            method=method,
            destination=destination,
            choices=tuple(self.routes),
            max_age=self.max_age,
            acr_values=self.acr_values,
            amr=self.amr,
            unmet=self.unmet,
            problem=problem,
        )


def _challenge(response: httpx.Response) -> Challenge | None:
    try:
        challenges = Challenge.parse(response.headers.get("www-authenticate", ""))
    except ValueError:
        return None
    ours = (c for c in challenges if c.scheme.lower() == "bearer" and c.error == _CODE)
    return next(ours, None)


def _routes(problem: Mapping[str, Any], url: httpx.URL) -> dict[str, dict[str, httpx.URL]]:
    """Return the routes of the offered methods that this client knows.

    Empty if any of them is on another origin: no token goes there.
    """
    step_up = problem.get("step_up")
    if not isinstance(step_up, dict):
        return {}
    uris = step_up.get("uris")
    totp = uris.get("totp") if isinstance(uris, dict) else None
    routes: dict[str, dict[str, httpx.URL]] = {}
    for method in texts(step_up.get("methods")):
        names = ("verify_uri",) if method == "totp" else ("start_uri", "verify_uri")
        source = {"totp": totp}.get(method, step_up)
        if method not in (*DELIVERIES, "totp") or not isinstance(source, dict):
            continue
        try:
            found = {name: url.join(source[name]) for name in names}
        except (KeyError, TypeError, httpx.InvalidURL):
            continue
        if any(origin_of(target) != origin_of(url) for target in found.values()):
            return {}
        routes[method] = found
    return routes


def failure_of(reply: httpx.Response) -> StepUpFailed:
    """Return the error for a refused request of the step-up."""
    body = json_object(reply)
    problem = body["detail"] if isinstance(body.get("detail"), dict) else body
    wait = reply.headers.get("retry-after", "")
    return StepUpFailed(
        text(problem.get("code")) or "failed",
        problem=problem,
        retry_after=int(wait) if wait.isascii() and wait.isdigit() else None,
    )


def json_object(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object in the body; an empty one if there is none."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def text(value: object) -> str | None:
    """Return *value* if it is text."""
    return value if isinstance(value, str) else None


def texts(values: object) -> tuple[str, ...]:
    """Return the texts in a list; none if *values* is no list."""
    listed = values if isinstance(values, list) else []
    return tuple(value for value in listed if isinstance(value, str))


def origin_of(url: httpx.URL) -> tuple[str, str, int | None]:
    """Return scheme, host and port of *url*; a scheme's own port is `None`."""
    return url.scheme, url.host, url.port


def is_refusal(response: httpx.Response) -> bool:
    """Return whether *response* is a 401, the only status that may carry a challenge."""
    return response.status_code == httpx.codes.UNAUTHORIZED

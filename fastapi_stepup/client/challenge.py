"""Reading a 401: what the server asks for, and the routes to go to.

Nothing that a server writes makes these functions raise.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

from fastapi_stepup.challenge import Challenge
from fastapi_stepup.client.errors import StepUpFailed, StepUpUnmet
from fastapi_stepup.client.libraries import INVALID_URL, URL, Response
from fastapi_stepup.client.models import (
    AuthorizationRequest,
    StepUpQuestion,
    StepUpTokens,
    is_token,
)
from fastapi_stepup.providers.descope.amr import MFA, can_prove

Origin: TypeAlias = tuple[str, bytes, int | None]
DELIVERIES: Final = ("email", "sms", "voice", "whatsapp")
_CODE: Final = "insufficient_user_authentication"
_UNAUTHORIZED: Final = 401
# Python itself refuses to read longer numbers; ten digits are 300 years.
_SECONDS: Final = re.compile(r"[0-9]{1,10}")
# They are joined by spaces for the issuer, so one that has a space would be two.
_CLASS: Final = re.compile(r"[!-~]+")
_MOST_SECONDS: Final = 10**10


@dataclass(frozen=True, slots=True)
class StepUpChallenge:
    """A step-up challenge for this client: requirements, and the routes that can meet one of them.

    Without routes there is no way to meet it, neither for this client nor for another one.
    """

    routes: Mapping[str, Mapping[str, Any]]
    wanted: tuple[tuple[str, ...], ...]
    alternatives: tuple[Mapping[str, Any], ...]
    max_age: int | None
    acr_values: tuple[str, ...]
    amr: tuple[str, ...]
    unmet: tuple[Mapping[str, str], ...]

    @classmethod
    def read(cls, response: Response) -> Self | None:
        """Return the challenge of *response*; `None` if the app has to handle the answer.

        Values come from the body, which says more, and else from the header.
        """
        demand = _demand(response)
        if demand is None:
            return None
        problem, in_header = demand
        offered, wanted = _routes(problem, response.url), _wanted(problem)
        routes = _leading(offered, wanted)
        if problem.get("unmet_after_step_up") is True:
            # Stepped up just now, and not enough: only another method helps.
            routes = _leading(offered, [amr for amr in wanted if amr and MFA not in amr])
            if not routes:
                return None
        if not routes and not _is_complete(problem, offered):
            return None
        return cls(
            routes=routes,
            wanted=wanted,
            alternatives=_objects(problem.get("alternatives")),
            max_age=_seconds(problem.get("max_age"), in_header.max_age),
            acr_values=_texts(problem.get("acr_values")) or in_header.acr_values,
            amr=_texts(problem.get("amr")),
            unmet=_objects(problem.get("unmet")),
        )

    @property
    def wants(self) -> tuple[object, ...]:
        """Requirements of a step-up. One step-up meets all challenges with equal `wants`."""
        return self.wanted, self.acr_values

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
            alternatives=self.alternatives,
            problem=problem,
        )


def authorization_request(response: Response) -> AuthorizationRequest | None:
    """Return what a new authorization has to ask for; `None` if *response* asks for none.

    Values come from the body, which says more, and else from the header.
    """
    demand = _demand(response)
    if demand is None:
        return None
    problem, in_header = demand
    return AuthorizationRequest(
        acr_values=tuple(
            one
            for one in _texts(problem.get("acr_values")) or in_header.acr_values
            if _CLASS.fullmatch(one)
        ),
        max_age=_seconds(problem.get("max_age"), in_header.max_age),
        amr=_texts(problem.get("amr")),
        unmet=_objects(problem.get("unmet")),
        resource_metadata=in_header.params.get("resource_metadata"),
    )


def unmet_again(response: Response) -> StepUpUnmet:
    """Return the error for a request that was refused again after a new authorization."""
    return StepUpUnmet("unmet_authentication_requirements", problem=_problem(response))


def failure_of(reply: Response) -> StepUpFailed:
    """Return the error for a refused request of the step-up."""
    problem = _problem(reply)
    wait = reply.headers.get("retry-after", "")
    return StepUpFailed(
        _text(problem.get("code")) or "failed",
        problem=problem,
        retry_after=int(wait) if _SECONDS.fullmatch(wait) else None,
    )


def destination_of(reply: Response) -> str | None:
    """Return the masked destination of a code that was sent, if *reply* names it."""
    return _text(_json_object(reply).get("destination"))


def tokens_of(reply: Response, held: StepUpTokens) -> StepUpTokens | None:
    """Return the session in *reply*; `None` if it has no token that can be sent.

    The refresh token stays the one that is *held* unless the reply has another.
    """
    session = _json_object(reply)
    token, refresh = session.get("session_token"), session.get("refresh_token")
    if not is_token(token):
        return None
    return StepUpTokens(token, refresh if is_token(refresh) else held.refresh_token)


def origin_of(url: URL) -> Origin:
    """Return scheme, host and port of *url*; a scheme's own port is `None`."""
    return url.scheme, url.raw_host, url.port


def is_refusal(response: Response) -> bool:
    """Return whether *response* is a 401, the only status that may carry a challenge."""
    return response.status_code == _UNAUTHORIZED


def _demand(response: Response) -> tuple[dict[str, Any], Challenge] | None:
    """Return problem and challenge of a step-up refusal, either of which may be empty."""
    if not is_refusal(response):
        return None
    # A redirect may have led to another origin, and from there back to a URL of its choice.
    hops = [response.url, *(earlier.url for earlier in response.history)]
    if len({origin_of(url) for url in hops}) > 1:
        return None
    problem = _problem(response)
    challenge = _challenge(response)
    if problem.get("code") != _CODE and challenge is None:
        return None
    return problem, challenge or Challenge.bearer()


def _challenge(response: Response) -> Challenge | None:
    try:
        challenges = Challenge.parse(response.headers.get("www-authenticate", ""))
    except ValueError:
        return None
    ours = (c for c in challenges if c.scheme.lower() == "bearer" and c.error == _CODE)
    return next(ours, None)


def _wanted(problem: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Return the `amr` values of each alternative, nearest first; none for one that takes any.

    Of several clauses the server offers only what proves one that is still unmet.
    """
    ways = _objects(problem.get("alternatives")) or (problem,)
    clauses = ([_list(one) or [one] for one in _list(way.get("amr"))] for way in ways)
    return tuple(_texts([value for clause in way for value in clause]) for way in clauses)


def _leading(
    routes: Mapping[str, dict[str, Any]], wanted: Iterable[tuple[str, ...]]
) -> dict[str, dict[str, Any]]:
    """Return those of *routes* that can meet an alternative, by the nearest one first."""
    return {
        name: routes[name]
        for amr in wanted
        for name in routes
        if not amr or MFA in amr or can_prove(name, amr, known=())
    }


def _is_complete(problem: Mapping[str, Any], routes: Mapping[str, object]) -> bool:
    """Return whether this client knows all offered methods: it may say that none will do."""
    step_up = problem.get("step_up")
    methods = step_up.get("methods") if isinstance(step_up, dict) else None
    return isinstance(methods, list) and len(_texts(methods)) == len(methods) <= len(routes)


def _routes(problem: Mapping[str, Any], url: URL) -> dict[str, dict[str, Any]]:
    """Return the routes of the offered methods that this client knows.

    Empty if any of them is on another origin, or names a user: no token goes there.
    """
    step_up = problem.get("step_up")
    if not isinstance(step_up, dict):
        return {}
    uris = step_up.get("uris")
    totp = uris.get("totp") if isinstance(uris, dict) else None
    routes: dict[str, dict[str, Any]] = {}
    for method in _texts(step_up.get("methods")):
        names = ("verify_uri",) if method == "totp" else ("start_uri", "verify_uri")
        source = {"totp": totp}.get(method, step_up)
        if method not in (*DELIVERIES, "totp") or not isinstance(source, dict):
            continue
        try:
            found = {name: url.join(source[name]) for name in names}
            foreign = any(
                origin_of(target) != origin_of(url) or target.userinfo for target in found.values()
            )
        except (KeyError, *INVALID_URL):
            continue
        if foreign:
            return {}
        routes[method] = found
    return routes


def _problem(response: Response) -> dict[str, Any]:
    """Return the problem in the body, which FastAPI puts into `detail` by default."""
    body = _json_object(response)
    detail = body.get("detail")
    return detail if isinstance(detail, dict) else body


def _json_object(response: Response) -> dict[str, Any]:
    """Return the JSON object in the body; an empty one if there is none."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: object) -> tuple[Mapping[str, Any], ...]:
    return tuple(one for one in _list(value) if isinstance(one, dict))


def _seconds(value: object, default: int | None) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return default
    return value if 0 <= value < _MOST_SECONDS else default


def _text(value: object) -> str | None:
    """Return *value* if it is text, without the halves of characters that JSON allows."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _texts(values: object) -> tuple[str, ...]:
    return tuple(value for value in _list(values) if isinstance(value, str))

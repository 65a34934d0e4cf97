"""The session of StepUpAuth: which request is sent next, and which requests share a step-up.

Nothing here does I/O. The generators give one step at a time; StepUpAuth carries it out, in its
synchronous or asynchronous form, and sends the result back in.
"""

import threading
from collections.abc import Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, TypeAlias, TypeVar

from fastapi_stepup._secret import Secret
from fastapi_stepup.client.challenge import (
    DELIVERIES,
    StepUpChallenge,
    authorization_request,
    destination_of,
    failure_of,
    tokens_of,
    unmet_again,
)
from fastapi_stepup.client.errors import StepUpCancelled, StepUpFailed
from fastapi_stepup.client.libraries import Request, Response, post
from fastapi_stepup.client.models import AuthorizationRequest, StepUpTokens, subject_of

_SEND_AGAIN: Final = frozenset({"otp_expired", "otp_exhausted"})
_ASK_AGAIN: Final = _SEND_AGAIN | {"otp_rejected"}


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """A request of the step-up itself, which carries secrets in its body."""

    request: Any


class _Outcome(Enum):
    """What became of a refused request when a step-up has ended."""

    ANOTHER = auto()  # The step-up was for other requirements.
    SAME = auto()
    ANSWERED = auto()  # It was sent again as a part of it.


@dataclass(eq=False, slots=True)
class RunningStepUp:
    """A step-up that is running, and the requests that wait for it."""

    challenge: StepUpChallenge | AuthorizationRequest
    done: threading.Event = field(default_factory=threading.Event)
    failure: StepUpFailed | None = None
    waits_for: "list[RunningStepUp]" = field(default_factory=list)

    def depends_on(self, other: "RunningStepUp") -> bool:
        """Return whether this one cannot end before *other* has ended."""
        return self is other or any(one.depends_on(other) for one in self.waits_for)


_Result = TypeVar("_Result")
Plan: TypeAlias = Generator[Any, Any, _Result]

# The step-ups on whose behalf the current thread or task runs: their prompts and event hooks may
# use a client, and must not wait there for the step-up that waits for them.
_INSIDE: ContextVar[tuple[RunningStepUp, ...]] = ContextVar("fastapi_stepup_inside", default=())
_WAITING: Final = threading.Lock()


class _WouldWaitForItself(Exception):
    """A request belongs to the step-up that it would have to wait for."""


class SharedSession:
    """The tokens of one account, for all requests that are sent with them.

    Args:
        tokens: The session to begin with.
        method: The method to use first.
        on_tokens: Called with each new session.
        attempts: Number of wrong codes after which the step-up fails.
        authorizes: Whether new tokens come from an authorization instead of the API's own routes.
    """

    def __init__(
        self,
        tokens: StepUpTokens,
        *,
        method: str | None,
        on_tokens: Callable[[StepUpTokens], object] | None,
        attempts: int,
        authorizes: bool,
    ) -> None:
        self.tokens: StepUpTokens = tokens
        self._method = method or ""
        self._on_tokens = on_tokens
        self._attempts = attempts
        self._authorizes = authorizes
        self._lock = threading.Lock()
        self._running: RunningStepUp | None = None

    def exchange(self, request: Request) -> Plan[None]:
        """Send *request*, step up if the answer asks for it, and send what was refused again."""
        asked = False
        while True:
            tokens = self.tokens
            request.headers["Authorization"] = f"Bearer {tokens.session_token}"
            response: Response = yield request
            challenge = self._challenge(response)
            if challenge is None or (asked and not self._authorizes):
                return
            if asked:
                raise unmet_again(response)
            # After a redirect this is another request than the first one, which was carried out.
            request = response.request
            try:
                outcome = yield from self._join(challenge, request, tokens)
            except _WouldWaitForItself:
                return
            if outcome is _Outcome.ANSWERED:
                return
            asked = outcome is _Outcome.SAME

    def _challenge(self, response: Response) -> StepUpChallenge | AuthorizationRequest | None:
        if self._authorizes:
            return authorization_request(response)
        return StepUpChallenge.read(response)

    def _join(
        self,
        challenge: StepUpChallenge | AuthorizationRequest,
        request: Request,
        tokens: StepUpTokens,
    ) -> Plan[_Outcome]:
        """Step up for *challenge*, or wait while another request does."""
        outcome = _Outcome.ANOTHER
        while True:
            with self._lock:
                if self.tokens != tokens:
                    return outcome
                running = self._running
                if running is None:
                    running = self._running = RunningStepUp(challenge)
                    break
            yield from self._wait(running)
            if running.failure is not None:
                raise running.failure.copy()
            if running.challenge.wants == challenge.wants:
                outcome = _Outcome.SAME
        _INSIDE.set((*_INSIDE.get(), running))
        try:
            if isinstance(challenge, AuthorizationRequest):
                yield from self._authorize(challenge, request)
                return _Outcome.ANSWERED
            self.tokens = yield from self._step_up(challenge, request)
        except StepUpFailed as failure:
            running.failure = failure
            raise
        finally:
            _INSIDE.set(tuple(one for one in _INSIDE.get() if one is not running))
            with self._lock:
                self._running = None
            running.done.set()
        self._adopt(self.tokens)
        return _Outcome.SAME

    def _wait(self, running: RunningStepUp) -> Plan[None]:
        inside = _INSIDE.get()
        with _WAITING:
            if any(running.depends_on(one) for one in inside):
                raise _WouldWaitForItself
            for one in inside:
                one.waits_for.append(running)
        try:
            yield running
        finally:
            with _WAITING:
                for one in inside:
                    one.waits_for.remove(running)

    def _step_up(self, challenge: StepUpChallenge, request: Request) -> Plan[StepUpTokens]:
        if not challenge.routes:
            raise StepUpFailed("no_step_up_method")
        wanted = self._method
        method = wanted if wanted in challenge.routes else next(iter(challenge.routes))
        problem: str | None = None
        wrong = 0
        destination = yield from self._start(challenge, request, method)
        while True:
            answer: Secret | None = yield challenge.question(method, destination, problem)
            if answer is None:
                raise StepUpCancelled("cancelled")
            if answer in challenge.routes:
                method, problem = str(answer), None
                destination = yield from self._start(challenge, request, method)
                continue
            reply = yield self._post(challenge, request, method, "verify_uri", code=answer)
            if reply.is_success:
                return self._stepped_up(reply)
            failure = failure_of(reply)
            wrong += 1
            if failure.code not in _ASK_AGAIN or wrong >= self._attempts:
                raise failure
            problem = failure.code
            if problem in _SEND_AGAIN:
                destination = yield from self._start(challenge, request, method)

    def _authorize(self, asked: AuthorizationRequest, request: Request) -> Plan[None]:
        """Authorize anew, and send *request* again with the new tokens.

        The tokens from before stay if the new ones are refused too.
        """
        tokens: StepUpTokens | None = yield asked
        if tokens is None:
            raise StepUpCancelled("cancelled")
        self._check_same_subject(tokens)
        request.headers["Authorization"] = f"Bearer {tokens.session_token}"
        try:
            response: Response = yield request
        except GeneratorExit:
            self._adopt(tokens)  # The request failed on its way, which says nothing against them.
            raise
        # A redirect means that the request itself was carried out.
        if response.request is request and self._challenge(response) is not None:
            raise unmet_again(response)
        self._adopt(tokens)

    def _start(self, challenge: StepUpChallenge, request: Request, method: str) -> Plan[str | None]:
        """Have a code sent and return its masked destination; `None` for an authenticator app."""
        if method == "totp":
            return None
        reply: Response = yield self._post(challenge, request, method, "start_uri")
        if not reply.is_success:
            raise failure_of(reply)
        return destination_of(reply)

    def _post(
        self,
        challenge: StepUpChallenge,
        request: Request,
        method: str,
        uri: str,
        **members: str,
    ) -> OwnRequest:
        if method in DELIVERIES:
            members["delivery"] = method
        if self.tokens.refresh_token is not None:
            members["refresh_token"] = Secret(self.tokens.refresh_token)
        return OwnRequest(
            post(
                request,
                challenge.routes[method][uri],
                headers={"Authorization": f"Bearer {self.tokens.session_token}"},
                json=members,
                extensions={"timeout": request.extensions.get("timeout", {})},
            )
        )

    def _adopt(self, tokens: StepUpTokens) -> None:
        self.tokens = tokens
        if self._on_tokens is not None:
            self._on_tokens(tokens)

    def _stepped_up(self, reply: Response) -> StepUpTokens:
        tokens = tokens_of(reply, self.tokens)
        if tokens is None:
            raise StepUpFailed("no_session")
        self._check_same_subject(tokens)
        return tokens

    def _check_same_subject(self, tokens: StepUpTokens) -> None:
        """Refuse another user's tokens: a request is repeated as who made it, or not at all."""
        before, after = subject_of(self.tokens.session_token), subject_of(tokens.session_token)
        if before is not None and after is not None and before != after:
            raise StepUpFailed("subject_mismatch")

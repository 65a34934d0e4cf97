"""StepUpAuth: an `httpx.Auth` that steps its session up when a server asks for it."""

import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Final, TypeAlias, TypeVar

import anyio
import anyio.to_thread
import httpx

from fastapi_stepup.client.challenge import (
    DELIVERIES,
    StepUpChallenge,
    failure_of,
    is_refusal,
    json_object,
    origin_of,
    text,
)
from fastapi_stepup.client.errors import StepUpCancelled, StepUpFailed
from fastapi_stepup.client.models import (
    SessionTokens,
    StepUpPrompt,
    StepUpQuestion,
    StepUpTokens,
)

_TRY_AGAIN: Final = frozenset({"otp_rejected", "otp_expired"})
_POLL_SECONDS: Final = 0.02


class _RunningStepUp:
    """A step-up that is running, and the requests that wait for it."""

    def __init__(self, challenge: StepUpChallenge) -> None:
        self.challenge = challenge
        self.done = threading.Event()
        self.failure: StepUpFailed | None = None


# The steps of a request without any I/O: a request to send, a question to ask, a running
# step-up to wait for. The sync and the async flow carry them out and send the result back in.
_Result = TypeVar("_Result")
_Plan: TypeAlias = Generator["httpx.Request | StepUpQuestion | _RunningStepUp", Any, _Result]


class StepUpAuth(httpx.Auth):
    """Sends a session token, and steps the session up when a route asks for it.

    ```python
    def prompt(question: StepUpQuestion) -> str | None:
        return input(f"Code sent to {question.destination}: ")


    with httpx.Client(base_url="https://shop.example", auth=StepUpAuth(tokens, prompt)) as client:
        client.post("/checkout", json=cart)
    ```

    A request that is answered with a step-up challenge (RFC 9470) of an app with `stepup_router`
    starts a step-up: a code is sent, *prompt* is asked for it, and the request is sent once more
    with the new session. What comes back then is returned, whatever it is, and so is every other
    answer, as it came. Requests that run in parallel, in threads or tasks, share one prompt. All
    that is sent goes through the client's own transport and timeouts.

    Request bodies are read into memory, so that they can be sent twice. Tokens go to one origin
    only; requests to others pass without them. Does not refresh a session that has expired, and
    does not sign anybody in. One object serves any number of clients, threads and event loops.

    A client's call raises `StepUpCancelled` when the prompt gives no code, and `StepUpFailed` when
    the step-up is refused; neither is an `httpx.HTTPError`. What the prompt itself raises comes out
    of the call that asked it.

    Args:
        tokens: The session to begin with.
        prompt: Gives the code, as text. One of the question's `choices` in place of a code has one
            sent that way: the same again, or another. `None` cancels. It may be asynchronous for an
            `httpx.AsyncClient`; there, a plain one is called in a thread.
        method: What to use first, if it is offered: `"email"`, `"sms"`, `"voice"`, `"whatsapp"` or
            `"totp"`; by default the first that is offered.
        origin: Where the tokens may go, such as `"https://shop.example"`; by default the origin of
            the first request.
        on_tokens: Called with each new session, to keep it.
        attempts: How many wrong codes are too many.

    References:
        RFC 9470 section 4.
    """

    def __init__(
        self,
        tokens: SessionTokens,
        prompt: StepUpPrompt,
        *,
        method: str | None = None,
        origin: str | None = None,
        on_tokens: Callable[[StepUpTokens], object] | None = None,
        attempts: int = 3,
    ) -> None:
        self._tokens = StepUpTokens(tokens.session_token, tokens.refresh_token)
        self._prompt = prompt
        self._method = method
        self._origin = None if origin is None else origin_of(httpx.URL(origin))
        self._on_tokens = on_tokens
        self._attempts = attempts
        self._lock = threading.Lock()
        self._running: _RunningStepUp | None = None

    def __repr__(self) -> str:
        return "StepUpAuth()"

    @property
    def tokens(self) -> StepUpTokens:
        """The session as it is now."""
        return self._tokens

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Authenticate *request* for an `httpx.Client`."""
        if not self._is_ours(request):
            yield request
            return
        request.read()
        plan = self._exchange(request)
        answer: Any = None
        try:
            while True:
                step = plan.send(answer)
                if isinstance(step, httpx.Request):
                    answer = yield step
                    if step is not request or is_refusal(answer):
                        answer.read()
                elif isinstance(step, StepUpQuestion):
                    answer = self._ask(step)
                else:
                    step.done.wait()
        except StopIteration:
            return
        finally:
            plan.close()

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authenticate *request* for an `httpx.AsyncClient`."""
        if not self._is_ours(request):
            yield request
            return
        await request.aread()
        plan = self._exchange(request)
        answer: Any = None
        try:
            while True:
                step = plan.send(answer)
                if isinstance(step, httpx.Request):
                    answer = yield step
                    if step is not request or is_refusal(answer):
                        await answer.aread()
                elif isinstance(step, StepUpQuestion):
                    answer = await self._ask_async(step)
                else:
                    # The step-up may run in another thread or event loop: no event reaches across.
                    while not step.done.is_set():  # noqa: ASYNC110
                        await anyio.sleep(_POLL_SECONDS)
        except StopIteration:
            return
        finally:
            plan.close()

    def _is_ours(self, request: httpx.Request) -> bool:
        origin = origin_of(request.url)
        with self._lock:
            self._origin = self._origin or origin
        return origin == self._origin

    def _ask(self, question: StepUpQuestion) -> str | None:
        answer = self._prompt(question)
        if answer is None or isinstance(answer, str):
            return answer
        if inspect.iscoroutine(answer):
            answer.close()
        msg = "The prompt is asynchronous: it needs an httpx.AsyncClient."
        raise TypeError(msg)

    async def _ask_async(self, question: StepUpQuestion) -> str | None:
        if _is_asynchronous(self._prompt):
            answer = self._prompt(question)
        else:
            # In a tuple: trio takes a coroutine from a thread for a mistake.
            (answer,) = await anyio.to_thread.run_sync(lambda: (self._prompt(question),))
        return await answer if inspect.isawaitable(answer) else answer

    def _exchange(self, request: httpx.Request) -> "_Plan[None]":
        asked = False
        while True:
            token = self._tokens.session_token
            request.headers["Authorization"] = f"Bearer {token}"
            response = yield request
            challenge = None if asked else StepUpChallenge.read(request, response)
            if challenge is None:
                return
            asked = yield from self._join(challenge, request, token)

    def _join(
        self, challenge: StepUpChallenge, request: httpx.Request, token: str
    ) -> "_Plan[bool]":
        """Step up or wait for it, and return whether the step-up was for this *challenge*."""
        shared = False
        while True:
            with self._lock:
                if self._tokens.session_token != token:
                    return shared
                running = self._running
                if running is None:
                    running = self._running = _RunningStepUp(challenge)
                    break
            yield running
            if running.failure is not None:
                raise running.failure.copy()
            shared = running.challenge.wants == challenge.wants
        try:
            self._tokens = yield from self._step_up(challenge, request)
        except StepUpFailed as failure:
            running.failure = failure
            raise
        finally:
            with self._lock:
                self._running = None
            running.done.set()
        if self._on_tokens is not None:
            self._on_tokens(self._tokens)
        return True

    def _step_up(self, challenge: StepUpChallenge, request: httpx.Request) -> "_Plan[StepUpTokens]":
        wanted = self._method or ""
        method = wanted if wanted in challenge.routes else next(iter(challenge.routes))
        problem: str | None = None
        wrong = 0
        destination = yield from self._start(challenge, request, method)
        while True:
            answer = yield challenge.question(method, destination, problem)
            if answer is None:
                raise StepUpCancelled("cancelled")
            if answer in challenge.routes:
                method, problem = answer, None
                destination = yield from self._start(challenge, request, method)
                continue
            reply = yield self._post(challenge, request, method, "verify_uri", code=answer)
            if reply.is_success:
                return self._stepped_up(reply)
            failure = failure_of(reply)
            wrong += 1
            if failure.code not in _TRY_AGAIN or wrong >= self._attempts:
                raise failure
            problem = failure.code
            if problem == "otp_expired":
                destination = yield from self._start(challenge, request, method)

    def _start(
        self, challenge: StepUpChallenge, request: httpx.Request, method: str
    ) -> "_Plan[str | None]":
        """Have a code sent and return its masked destination; `None` for an authenticator app."""
        if method == "totp":
            return None
        reply = yield self._post(challenge, request, method, "start_uri")
        if not reply.is_success:
            raise failure_of(reply)
        return text(json_object(reply).get("destination"))

    def _post(
        self,
        challenge: StepUpChallenge,
        request: httpx.Request,
        method: str,
        uri: str,
        **members: str,
    ) -> httpx.Request:
        if method in DELIVERIES:
            members["delivery"] = method
        if self._tokens.refresh_token is not None:
            members["refresh_token"] = self._tokens.refresh_token
        return httpx.Request(
            "POST",
            challenge.routes[method][uri],
            headers={"Authorization": f"Bearer {self._tokens.session_token}"},
            json=members,
            extensions={"timeout": request.extensions.get("timeout", {})},
        )

    def _stepped_up(self, reply: httpx.Response) -> StepUpTokens:
        session = json_object(reply)
        token = text(session.get("session_token"))
        if token is None:
            raise StepUpFailed("no_session")
        refresh_token = text(session.get("refresh_token"))
        return StepUpTokens(token, refresh_token or self._tokens.refresh_token)


def _is_asynchronous(prompt: StepUpPrompt) -> bool:
    call = type(prompt).__call__
    return inspect.iscoroutinefunction(prompt) or inspect.iscoroutinefunction(call)

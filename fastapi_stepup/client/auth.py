"""StepUpAuth: an `httpx.Auth` that steps its session up when a server asks for it."""

import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import anyio.to_thread
import httpx

from fastapi_stepup._options import is_plain_function
from fastapi_stepup._secret import Secret
from fastapi_stepup.client.challenge import Origin, is_refusal, origin_of
from fastapi_stepup.client.errors import StepUpFailed
from fastapi_stepup.client.libraries import INVALID_URL, UNREADABLE, AuthBase, Request, Response
from fastapi_stepup.client.models import (
    AuthorizationRequest,
    Authorize,
    SessionTokens,
    StepUpPrompt,
    StepUpQuestion,
    StepUpTokens,
    new_session_of,
    session_of,
)
from fastapi_stepup.client.session import OwnRequest, RunningStepUp, SharedSession

_POLL_SECONDS: Final = 0.02


class StepUpAuth(AuthBase):
    """Sends a session token, and steps the session up when a route asks for it.

    ```python
    def prompt(question: StepUpQuestion) -> str | None:
        return input(f"Code sent to {question.destination}: ")


    with httpx.Client(base_url="https://shop.example", auth=StepUpAuth(tokens, prompt)) as client:
        client.post("/checkout", json=cart)
    ```

    A step-up challenge (RFC 9470) of an app with `stepup_router` starts a step-up: a code is sent,
    *prompt* is asked for it, and the refused request is sent once more with the new session.

    - The answer to that is returned, and so is every other answer, as it came.
    - The refused request is the one that got the 401. A POST that was carried out and redirected to
      a guarded page is not sent again: the page is.
    - Parallel requests, in threads or tasks, share one prompt. A request that the prompt itself or
      an event hook sends meanwhile does not wait for it: its 401 is returned.
    - With *authorize* there is no prompt: a challenge of any API that answers RFC 9470 goes to this
      callback, which signs the user in anew at the issuer and returns the new tokens.
    - A request that is refused again with those raises `StepUpUnmet`: no second round is made.
    - Tokens go to one origin only. Requests to others pass without them.
    - The step-up's own requests use the client's transport and timeouts, and follow no redirect.
    - Request bodies are read into memory, so that they can be sent twice.
    - One object serves any number of clients of httpx and httpx2, threads and event loops.
    - Does not refresh an expired session, and does not sign a user in.

    A client's call raises `StepUpCancelled` when prompt or callback return nothing, and
    `StepUpFailed` when the step-up fails, whatever the server wrote; neither is an
    `httpx.HTTPError`. What the prompt itself raises comes out of the call that asked it.

    Args:
        tokens: The session to begin with.
        prompt: Returns the code, as text. One of the question's `choices` instead has a code sent
            that way: the same again, or another. `None` cancels. It may be asynchronous for an
            `AsyncClient`; there, a plain one is called in a thread. For APIs with `stepup_router`.
        authorize: Called with an `AuthorizationRequest` in place of a prompt. Returns an access
            token, or `StepUpTokens` if there is a new refresh token too; `None` cancels. It may be
            asynchronous, as *prompt* may.
        method: The method to use first, if it is offered: `"email"`, `"sms"`, `"voice"`,
            `"whatsapp"` or `"totp"`; by default the first that is offered.
        origin: The origin that gets the tokens, such as `"https://shop.example"`; by default that
            of the first request.
        on_tokens: Called with each new session, to keep it.
        attempts: Number of wrong codes after which the step-up fails.

    Raises:
        TypeError: *tokens* are no session, *prompt* or *authorize* cannot be called, or not just
            one of the two is given.
        ValueError: A token cannot be sent, or *origin* is no origin.

    References:
        RFC 9470 sections 4 and 5.
    """

    def __init__(
        self,
        tokens: SessionTokens,
        prompt: StepUpPrompt | None = None,
        *,
        authorize: Authorize | None = None,
        method: str | None = None,
        origin: str | None = None,
        on_tokens: Callable[[StepUpTokens], object] | None = None,
        attempts: int = 3,
    ) -> None:
        if (prompt is None) == (authorize is None):
            raise TypeError("Give either prompt or authorize.")
        for name, given in (("prompt", prompt), ("authorize", authorize)):
            if given is not None and not callable(given):
                returned = "the code" if name == "prompt" else "new tokens"
                kind = type(given).__name__
                msg = f"{name} must be a function that returns {returned}; got {kind}."
                raise TypeError(msg)
        self._session = SharedSession(
            session_of(tokens),
            method=method,
            on_tokens=on_tokens,
            attempts=attempts,
            authorizes=authorize is not None,
        )
        self._callback: Any = prompt or authorize
        self._lock = threading.Lock()
        self._origin = None if origin is None else _checked_origin(origin)

    def __repr__(self) -> str:
        return "StepUpAuth()"

    @property
    def tokens(self) -> StepUpTokens:
        """The session as it is now."""
        return self._session.tokens

    def sync_auth_flow(self, request: Request) -> Generator[Any, Any, None]:
        """Authenticate *request* for a `Client`."""
        if not self._is_ours(request):
            yield request
            return
        request.read()
        plan = self._session.exchange(request)
        answer: Any = None
        try:
            while True:
                step = plan.send(answer)
                if isinstance(step, RunningStepUp):
                    step.done.wait()
                    answer = None
                elif isinstance(step, StepUpQuestion | AuthorizationRequest):
                    answer = self._ask(step)
                else:
                    own = isinstance(step, OwnRequest)
                    answer = yield step.request if own else step
                    if own or is_refusal(answer):
                        _read(answer)
        except StopIteration:
            return
        finally:
            plan.close()

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Any, Any]:
        """Authenticate *request* for an `AsyncClient`."""
        if not self._is_ours(request):
            yield request
            return
        await request.aread()
        plan = self._session.exchange(request)
        answer: Any = None
        try:
            while True:
                step = plan.send(answer)
                if isinstance(step, RunningStepUp):
                    await _end_of(step)
                    answer = None
                elif isinstance(step, StepUpQuestion | AuthorizationRequest):
                    answer = await self._ask_async(step)
                else:
                    own = isinstance(step, OwnRequest)
                    answer = yield step.request if own else step
                    if own or is_refusal(answer):
                        await _aread(answer)
        except StopIteration:
            return
        finally:
            plan.close()

    def _is_ours(self, request: Request) -> bool:
        origin = origin_of(request.url)
        with self._lock:
            self._origin = self._origin or origin
        return origin == self._origin

    def _ask(self, question: StepUpQuestion | AuthorizationRequest) -> Any:
        return self._checked(question, _Given(self._callback(question)))

    async def _ask_async(self, question: StepUpQuestion | AuthorizationRequest) -> Any:
        if not is_plain_function(self._callback):
            given = _Given(self._callback(question))
        else:
            given = await anyio.to_thread.run_sync(lambda: _Given(self._callback(question)))
        if inspect.isawaitable(given.answer):
            given = _Given(await given.answer)
        return self._checked(question, given)

    def _checked(self, question: StepUpQuestion | AuthorizationRequest, given: "_Given") -> Any:
        if given.answer is None:
            return None
        if inspect.isawaitable(given.answer):
            if inspect.iscoroutine(given.answer):
                given.answer.close()
            kind = "prompt" if isinstance(question, StepUpQuestion) else "callback authorize"
            raise TypeError(f"The {kind} is asynchronous: it needs an httpx.AsyncClient.")
        if isinstance(question, StepUpQuestion):
            return _code(given)
        return new_session_of(given.answer, self._session.tokens)


@dataclass(frozen=True, slots=True)
class _Given:
    """The answer of a prompt: no frame shows it, and trio lets it pass from a thread."""

    answer: Any = field(repr=False)


def _checked_origin(origin: str) -> Origin:
    try:
        url = httpx.URL(origin)
    except INVALID_URL:
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        msg = 'origin must be an origin such as "https://shop.example".'
        raise ValueError(msg)
    return origin_of(url)


def _code(given: _Given) -> Secret:
    """Return the code so that no frame of a later error shows it."""
    if isinstance(given.answer, str):
        return Secret(given.answer)
    kind = type(given.answer).__name__
    msg = f"The prompt must return the code as text, or None; it returned {kind}."
    msg += " An asynchronous prompt needs an httpx.AsyncClient."
    raise TypeError(msg)


async def _end_of(running: RunningStepUp) -> None:
    # The step-up may run in another thread or event loop: no event reaches across.
    while not running.done.is_set():  # noqa: ASYNC110  # a thread sets it, so no event of a loop can
        await anyio.sleep(_POLL_SECONDS)


def _read(response: Response) -> None:
    try:
        response.read()
    except UNREADABLE:
        raise StepUpFailed("unreadable") from None


async def _aread(response: Response) -> None:
    try:
        await response.aread()
    except UNREADABLE:
        raise StepUpFailed("unreadable") from None
